//! Distribution, kernel, names, and signs of virtualization.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use remit_wire::host::Os;

use crate::read::{self, Gaps, Sources, Why};

/// Vendor and product strings of the firmware, and their hypervisor.
const FIRMWARE: &[(&str, &str)] = &[
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("OpenStack", "openstack"),
    ("DigitalOcean", "digitalocean"),
    ("Hetzner", "hetzner"),
    ("Alibaba", "alibaba"),
    ("Apple Virtualization", "apple"),
    ("Nutanix", "nutanix"),
    ("Virtual Machine", "hyper-v"),
];

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Os {
    let release = read::text(&at.etc.join("os-release"), 64 << 10)
        .or_else(|_| read::text(&at.usr.join("lib/os-release"), 64 << 10));
    let mut field = |fact, key| {
        let text = release.as_ref().map_err(Clone::clone);
        let value = text.and_then(|text| {
            os_release(text, key).ok_or_else(|| format!("os-release has no {key}"))
        });
        gaps.known(fact, value)
    };
    let (id, version, name) = (
        field("os.id", "ID"),
        field("os.version", "VERSION_ID"),
        field("os.name", "PRETTY_NAME"),
    );
    let kernel = |name: &str| read::word(&at.proc.join("sys/kernel").join(name));
    Os {
        id,
        version,
        name,
        kernel: gaps.known("os.kernel", kernel("osrelease")),
        arch: std::env::consts::ARCH.to_owned(),
        hostname: gaps.known("os.hostname", kernel("hostname")),
        init: gaps.known("os.init", read::word(&at.proc.join("1/comm"))),
        timezone: gaps.known("os.timezone", timezone(at)),
        virt: gaps.known("os.virt", virt(at)),
    }
}

fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value))?;
    let mut plain = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => plain.extend(chars.next()),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) => plain.push(c),
        }
    }
    (!plain.is_empty()).then(|| read::shown(&plain))
}

/// Returns the name of the time zone, from the link /etc/localtime or from /etc/timezone.
fn timezone(at: &Sources) -> Result<String, Why> {
    let path = at.etc.join("localtime");
    match std::fs::read_link(&path) {
        Ok(link) => {
            let link = link.to_string_lossy();
            let zone = link
                .split_once("zoneinfo/")
                .map_or(&*link, |(_, zone)| zone);
            Ok(read::shown(zone))
        }
        Err(err) => {
            read::word(&at.etc.join("timezone")).map_err(|_| read::cannot("read", &path, &err))
        }
    }
}

/// Seconds without a correction that make an alert. systemd-timesyncd asks every 34 minutes at least.
const UNCORRECTED: u64 = 24 * 60 * 60;

/// Returns a sentence about a clock that systemd-timesyncd(8) does not correct, by the file that it touches each time.
pub(crate) fn clock(at: &Sources, now: u64) -> Option<String> {
    let dir = at.run.join("systemd/timesync");
    if !dir.is_dir() {
        return None;
    }
    let unsynchronised =
        "the clock is not synchronised: systemd-timesyncd has reached no time server";
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    match std::fs::metadata(dir.join("synchronized")).and_then(|file| file.modified()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(format!("{unsynchronised} since it started"))
        }
        Err(_) => None,
        Ok(touched) => {
            let ago = now.checked_sub(since_epoch(touched)?.as_secs())?;
            let hours = ago / 3600;
            (ago > UNCORRECTED).then(|| format!("{unsynchronised} for {hours} hours"))
        }
    }
}

fn virt(at: &Sources) -> Result<String, Why> {
    if let Ok(engine) = read::word(&at.run.join("systemd/container")) {
        return Ok(engine);
    }
    if at.run.join(".containerenv").exists() {
        return Ok("podman".to_owned());
    }
    let dmi = |name: &str| read::word(&at.sys.join("class/dmi/id").join(name)).unwrap_or_default();
    let firmware = ["sys_vendor", "product_name", "bios_vendor"]
        .map(dmi)
        .join("\n");
    // EC2 also rents bare metal under the same vendor name.
    let metal = firmware.contains(".metal");
    let maker = FIRMWARE
        .iter()
        .find(|(sign, _)| firmware.contains(sign) && !metal);
    if let Some((_, hypervisor)) = maker {
        return Ok((*hypervisor).to_owned());
    }
    if let Ok(kind) = read::word(&at.sys.join("hypervisor/type")) {
        return Ok(kind);
    }
    let tree = at.proc.join("device-tree");
    match &*compatible(&tree.join("hypervisor")) {
        "" => {}
        "linux,kvm" => return Ok("kvm".to_owned()),
        kind if kind.starts_with("xen") => return Ok("xen".to_owned()),
        kind => return Ok(kind.to_owned()),
    }
    let nodes = read::entries(&tree).unwrap_or_default();
    if nodes
        .iter()
        .any(|node| read::name(node).starts_with("fw-cfg@"))
    {
        return Ok("qemu".to_owned());
    }
    let board = compatible(&tree);
    if board == "linux,dummy-virt" {
        return Ok("unknown hypervisor".to_owned());
    }
    let mut flag = None;
    read::lines(&at.proc.join("cpuinfo"), 4 << 20, |line| {
        match line.strip_prefix("flags") {
            Some(flags) => {
                let mut flags = flags.split_ascii_whitespace();
                flag = Some(flags.any(|flag| flag == "hypervisor"));
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    })?;
    match flag {
        Some(true) => Ok("unknown hypervisor".to_owned()),
        Some(false) => Ok("none".to_owned()),
        // Only x86 has that flag.
        None if firmware.trim().is_empty() && board.is_empty() => {
            Err("this machine has neither DMI tables nor a device tree".to_owned())
        }
        None => Ok("none".to_owned()),
    }
}

/// Returns the first, most exact name of a node of the device tree, or an empty text.
fn compatible(node: &Path) -> String {
    let names = read::text(&node.join("compatible"), 4096).unwrap_or_default();
    read::shown(names.split('\0').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn clock_that_nothing_corrects_is_an_alert() {
        let scratch = Scratch::new();
        let at = scratch.sources();
        assert_eq!(clock(&at, 1_000), None, "systemd-timesyncd does not run");
        std::fs::create_dir_all(scratch.path().join("run/systemd/timesync")).unwrap();
        let said = clock(&at, 1_000).unwrap();
        assert!(said.ends_with("since it started"), "{said}");
        let file = "run/systemd/timesync/synchronized";
        scratch.put(&[(file, b"")]);
        let file = std::fs::File::open(scratch.path().join(file)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000))
            .unwrap();
        for (now, expect) in [
            (1_000_000, None),
            (1_000_000 + UNCORRECTED, None),
            (1_000_000 + 30 * 3600, Some("for 30 hours")),
            (999_000, None), // A clock that was set back since.
        ] {
            let said = clock(&at, now);
            let is_it = said
                .as_ref()
                .map(|said| expect.is_some_and(|end| said.ends_with(end)));
            assert_eq!(is_it, expect.map(|_| true), "{now}: {said:?}");
        }
    }

    #[test]
    fn hypervisor_is_known_by_its_signs() {
        const X86: (&str, &[u8]) = ("proc/cpuinfo", b"flags\t\t: fpu hypervisor\n");
        const METAL: (&str, &[u8]) = ("proc/cpuinfo", b"flags\t\t: fpu\n");
        const ARM: (&str, &[u8]) = ("proc/cpuinfo", b"Features\t: fp asimd\n");
        let tree = |name: &str| format!("proc/device-tree/{name}");
        let (board, node, xen) = (
            tree("compatible"),
            tree("fw-cfg@9020000/reg"),
            tree("hypervisor/compatible"),
        );
        let vendor = "sys/class/dmi/id/sys_vendor";
        type Case<'a> = (&'a [(&'a str, &'a [u8])], Option<&'a str>);
        let cases: &[Case<'_>] = &[
            (&[X86], Some("unknown hypervisor")),
            (&[METAL], Some("none")),
            (&[ARM], None),
            (&[ARM, (vendor, b"Ampere")], Some("none")),
            (&[ARM, (vendor, b"QEMU")], Some("qemu")),
            (&[ARM, (&board, b"raspberrypi,4-model-b\0")], Some("none")),
            (
                &[ARM, (&board, b"linux,dummy-virt\0"), (&node, b"")],
                Some("qemu"),
            ),
            (
                &[ARM, (&board, b"linux,dummy-virt\0")],
                Some("unknown hypervisor"),
            ),
            (&[ARM, (&xen, b"xen,xen-4.17\0xen,xen\0")], Some("xen")),
        ];
        for (files, expect) in cases {
            let scratch = Scratch::new();
            scratch.put(files);
            let said = virt(&scratch.sources());
            assert_eq!(said.as_deref().ok(), *expect, "{files:?}: {said:?}");
        }
    }

    #[test]
    fn os_release_quotes_are_taken_off() {
        let text =
            "# c\nID=debian\nPRETTY_NAME=\"A \\\"b\\\" 'c'\"\nX='a\\b'\nEMPTY=\nVERSION_ID=12";
        for (key, value) in [
            ("ID", Some("debian")),
            ("PRETTY_NAME", Some("A \"b\" 'c'")),
            ("X", Some("a\\b")),
            ("EMPTY", None),
            ("VERSION_ID", Some("12")),
            ("NONE", None),
        ] {
            assert_eq!(os_release(text, key).as_deref(), value, "{key}");
        }
    }
}
