//! Distribution, kernel, names, and signs of virtualization.

use std::ops::ControlFlow;

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

/// Returns the value of `key` in an os-release file (os-release(5): shell-like quotes).
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
    if let Ok(kind) = read::word(&at.proc.join("device-tree/hypervisor/compatible")) {
        return Ok(kind);
    }
    let mut flag = false;
    read::lines(&at.proc.join("cpuinfo"), 4 << 20, |line| {
        match line.strip_prefix("flags") {
            Some(flags) => {
                flag = flags
                    .split_ascii_whitespace()
                    .any(|flag| flag == "hypervisor");
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    })?;
    Ok(if flag { "unknown hypervisor" } else { "none" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
