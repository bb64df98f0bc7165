//! Tests the complete report: on a tree of fake files, and on this machine against its own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use remit_wire::host::List;
use serde_json::Value;

use super::*;

mod live;

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join("remit-facts-XXXXXX");
        Self(nix::unistd::mkdtemp(&path).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn put(&self, files: &[(&str, &[u8])]) -> &Self {
        for (name, bytes) in files {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        self
    }

    pub(crate) fn sources(&self) -> Sources {
        let at = |name: &str| self.0.join(name);
        Sources {
            proc: at("proc"),
            sys: at("sys"),
            etc: at("etc"),
            run: at("run"),
            usr: at("usr"),
            var: at("var"),
            kernel: Kernel::NotAsked,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const MOUNTINFO: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
22 21 0:20 / /proc rw - proc proc rw
23 21 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
24 21 8:2 / /data\\040x rw - xfs /dev/sda2 ro
25 21 0:50 / /home rw - nfs4 server:/home rw
";

fn machine() -> Scratch {
    let id = "0123456789abcdef".repeat(4);
    let group = |file: &str| format!("sys/fs/cgroup/system.slice/docker-{id}.scope/{file}");
    let mut wtmp = utmp::fake(2, "~", "reboot", "6.1.0-1", 100);
    wtmp.extend(utmp::fake(1, "~", "shutdown", "6.1.0-1", 150));
    wtmp.extend(utmp::fake(2, "~", "reboot", "6.1.0-2", 200));
    let scratch = Scratch::new();
    scratch.put(&[
        ("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n"),
        ("etc/timezone", b"Europe/Paris\n"),
        ("etc/passwd", b"root:x:0:0::/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n"),
        ("etc/group", b"sudo:x:27:alice\n"),
        ("etc/resolv.conf", b"nameserver 192.0.2.1\n"),
        ("proc/sys/kernel/osrelease", b"6.1.0-2\n"),
        ("proc/sys/kernel/hostname", b"web1\n"),
        ("proc/1/comm", b"systemd\n"),
        ("proc/1/stat", b"1 (systemd) S 0\n"),
        ("proc/1/mountinfo", MOUNTINFO.as_bytes()),
        ("proc/loadavg", b"0.50 1.25 2.00 1/300 999\n"),
        ("proc/pressure/cpu", b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("proc/stat", b"cpu  50 0 50 100 0 0 0 0\ncpu0 50 0 50 100 0 0 0 0\nintr 1\nbtime 200\n"),
        ("proc/cpuinfo", b"processor : 0\nmodel name\t: Test CPU\nflags\t\t: fpu hypervisor\n"),
        ("proc/meminfo", b"MemTotal: 1000 kB\nMemAvailable: 500 kB\nHugePages_Total: 2\nHugepagesize: 2048 kB\nHugetlb: 1052672 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"),
        ("proc/vmstat", b"oom_kill 2\n"),
        ("proc/uptime", b"60.5 1.0\n"),
        (
            "proc/net/tcp",
            b"  sl  local_address rem_address st\n 0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 1\n",
        ),
        ("proc/net/udp", b"  sl  local_address rem_address st\n"),
        ("proc/net/snmp", b"Tcp: RtoMin CurrEstab\nTcp: 200 4\n"),
        ("sys/class/dmi/id/sys_vendor", b"QEMU\n"),
        ("sys/block/sda/size", b"2048\n"),
        ("sys/block/sda/ro", b"0\n"),
        ("sys/block/sda/stat", b"1 2 30 4 5 6 70 8 9 10 11\n"),
        ("sys/block/sda/sda1/size", b"1024\n"),
        ("sys/block/sda/sda1/partition", b"1\n"),
        ("sys/block/loop0/size", b"0\n"),
        ("sys/block/nvme0c0n1/size", b"2048\n"),
        ("sys/block/nvme0c0n1/hidden", b"1\n"),
        (&group("cgroup.procs"), b"77\n"),
        (&group("cgroup.events"), b"populated 1\nfrozen 0\n"),
        ("usr/lib/modules/6.1.0-2/modules.dep", b""),
        ("usr/lib/modules/6.0.0-gone/leftover", b""),
        ("run/reboot-required", b""),
        ("run/reboot-required.pkgs", b"linux-image\nlinux-image\n"),
        ("var/lib/dpkg/status", b"Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok unpacked\n"),
        ("var/log/wtmp", &wtmp),
    ]);
    scratch
}

#[test]
fn machine_of_files_is_reported() {
    let machine = machine();
    let report = gather(&[], &machine.sources(), BusFacts::default());

    let os = report.os.unwrap();
    assert_eq!(
        (os.id.as_deref(), os.version.as_deref(), os.name.as_deref()),
        (Some("debian"), Some("12"), Some("Debian 12"))
    );
    assert_eq!(
        (
            os.kernel.as_deref(),
            os.hostname.as_deref(),
            os.init.as_deref()
        ),
        (Some("6.1.0-2"), Some("web1"), Some("systemd"))
    );
    assert_eq!(
        (os.timezone.as_deref(), os.virt.as_deref()),
        (Some("Europe/Paris"), Some("qemu"))
    );
    let cpu = report.cpu.unwrap();
    assert_eq!(
        (cpu.model.as_deref(), cpu.count, cpu.usage.user.0),
        (Some("Test CPU"), 1, 2500)
    );
    assert_eq!(
        report
            .memory
            .as_ref()
            .map(|memory| (memory.total, memory.huge, memory.oom_kills)),
        Some((1000 << 10, Some((1 << 30) + (4 << 20)), Some(2)))
    );

    let disks = report.disks.unwrap();
    assert_eq!(
        disks.items.len(),
        1,
        "an empty and a hidden device are left out"
    );
    assert_eq!(
        (
            disks.items[0].size,
            disks.items[0].read,
            disks.items[0].written
        ),
        (1 << 20, Some(30 * 512), Some(70 * 512))
    );
    assert_eq!(disks.items[0].parts.items[0].name, "sda1");

    let mounts = report.mounts.unwrap();
    assert_eq!((mounts.pseudo, mounts.list.items.len()), (2, 3));
    let mount = |target: &str| {
        mounts
            .list
            .items
            .iter()
            .find(|mount| mount.target == target)
            .unwrap()
    };
    assert!(!mount("/").read_only && mount("/data x").read_only);
    assert!(
        mount("/home")
            .why
            .as_ref()
            .is_some_and(|why| why.contains("network file system"))
    );

    let ports = report.ports.unwrap();
    assert_eq!((ports.unix, ports.established), (None, Some(4)));
    let ssh = &ports.tcp.unwrap().items[0];
    assert_eq!(
        (ssh.addr.as_str(), ssh.port, ssh.user.as_str()),
        ("0.0.0.0", 22, "alice")
    );
    assert!(ssh.owner.is_none() && ssh.why.is_some());

    assert_eq!(report.containers.unwrap().items[0].id, "0123456789ab");
    let boots = report.boots.unwrap();
    assert_eq!((boots.uptime, boots.booted), (Some(60), Some(200)));
    let last: Vec<_> = boots
        .last
        .unwrap()
        .items
        .iter()
        .map(|boot| (boot.start, boot.end))
        .collect();
    assert_eq!(last, [(200, None), (100, Some(150))]);
    let packages = report.packages.unwrap();
    assert_eq!(
        (
            packages.kind.as_str(),
            packages.installed,
            packages.broken.map(|list| list.total())
        ),
        ("dpkg", Some(1), Some(1))
    );
    let updates = report.updates.unwrap();
    assert_eq!(
        (updates.reboot_flag, updates.reboot_for.items),
        (Some(true), vec!["linux-image".to_owned()])
    );
    assert_eq!(updates.kernels.unwrap().items, ["6.1.0-2"]);
    assert_eq!(
        report.alerts,
        [
            "file system '/data x' was mounted for writing and is read-only: the kernel stopped writing after an error, or it was remounted",
            "2 processes killed for lack of memory since boot",
            "a reboot is required for: linux-image",
            "1 package half installed: b (unpacked)"
        ]
    );
    assert!(
        report
            .gaps
            .iter()
            .any(|gap| gap.fact == "network.interfaces")
    );
}

#[test]
fn boots_are_shown_and_a_missing_current_one_is_a_gap() {
    for (booted, is_current) in [("200", true), ("800", true), ("801", false), ("x", true)] {
        let machine = machine();
        let stat = format!("cpu  50 0 50 100 0 0 0 0\nbtime {booted}\n");
        machine.put(&[("proc/stat", stat.as_bytes())]);
        let report = gather(&[Section::Boots], &machine.sources(), BusFacts::default());
        let last = report.boots.unwrap().last.unwrap();
        assert_eq!(last.items.len(), 2, "{booted}");
        let gap = report.gaps.iter().find(|gap| gap.fact == "boots.last");
        let says = gap.is_some_and(|gap| gap.why.contains("or the clock was set"));
        assert_eq!(says, !is_current, "{booted}: {gap:?}");
    }
}

/// A line of /proc/pressure. `minute` is the average of a minute.
fn pressure_line(name: &str, minute: &str) -> String {
    format!("{name} avg10=0.00 avg60={minute} avg300=0.00 total=1\n")
}

#[test]
fn pressure_of_processors_is_that_of_some_tasks() {
    for (name, some, full, expect) in [
        ("cpu", "60.00", Some("0.00"), true),
        ("cpu", "60.00", None, true),
        ("cpu", "40.00", Some("0.00"), false),
        ("memory", "60.00", Some("0.00"), false),
        ("memory", "60.00", Some("30.00"), true),
        ("io", "60.00", Some("0.00"), false),
    ] {
        let machine = machine();
        let full = full.map_or_else(String::new, |minute| pressure_line("full", minute));
        let text = pressure_line("some", some) + &full;
        machine.put(&[(&format!("proc/pressure/{name}"), text.as_bytes())]);
        let report = gather(&[], &machine.sources(), BusFacts::default());
        let alert = format!("{name} pressure");
        let found = report.alerts.iter().any(|one| one.starts_with(&alert));
        assert_eq!(found, expect, "{name} {text}: {:?}", report.alerts);
    }
}

#[test]
fn empty_machine_is_all_gaps() {
    let report = gather(&[], &Scratch::new().sources(), BusFacts::default());
    assert!(report.load.is_none() && report.memory.is_none() && report.packages.is_none());
    assert!(report.gaps.len() > 20, "{:?}", report.gaps);
    every_null_has_a_reason(&report);
}

#[test]
fn unrequested_section_is_null_without_gap() {
    let machine = machine();
    let report = gather(
        &[Section::Load, Section::Load],
        &machine.sources(),
        BusFacts::default(),
    );
    assert_eq!(report.load.as_ref().map(|load| load.five.0), Some(125));
    assert!(report.os.is_none() && report.ports.is_none());
    assert!(
        report.gaps.iter().all(|gap| gap.fact.starts_with("load.")),
        "{:?}",
        report.gaps
    );
}

#[tokio::test]
async fn report_is_put_together_on_a_runtime() {
    let machine = machine();
    let report = report(
        vec![Section::Units, Section::Users, Section::Os],
        machine.sources(),
    )
    .await;
    assert_eq!(
        report.os.and_then(|os| os.hostname).as_deref(),
        Some("web1")
    );
    let facts: Vec<&str> = report.gaps.iter().map(|gap| gap.fact.as_str()).collect();
    assert_eq!(facts, ["units", "users.sessions"]);
    assert!(
        report
            .gaps
            .iter()
            .all(|gap| gap.why.starts_with("no system bus at '")),
        "{:?}",
        report.gaps
    );
}

#[test]
fn nulls_of_whole_machine_have_reasons() {
    let machine = machine();
    let bus = BusFacts {
        units: Some(Err("no bus".into())),
        sessions: Some(Err("no bus".into())),
    };
    every_null_has_a_reason(&gather(&[], &machine.sources(), bus));
}

#[test]
fn report_on_disk_noise_never_panics() {
    use proptest::prelude::*;
    let names: Vec<String> = {
        let machine = machine();
        let mut found = Vec::new();
        files(machine.path(), &mut found);
        found
            .iter()
            .map(|path| {
                path.strip_prefix(machine.path())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    };
    proptest!(ProptestConfig::with_cases(16), |(noise in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..200)| {
        let odd = machine();
        for (index, name) in names.iter().enumerate() {
            let whole = std::fs::read(odd.path().join(name)).unwrap();
            let bytes = if index % 2 == 0 { &whole[..cut.min(whole.len())] } else { &noise };
            odd.put(&[(name, bytes)]);
        }
        let report = gather(&[], &odd.sources(), BusFacts::default());
        prop_assert!(serde_json::to_string(&report).unwrap().len() <= JSON_CHARS);
    });
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for path in read::entries(directory).unwrap() {
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// Facts for which null is a documented answer.
const MAY_BE_NULL: &[&str] = &[
    "full",
    "model",
    "rotational",
    "read_only",
    "read",
    "written",
    "degraded",
    "kind",
    "mac",
    "master",
    "counters",
    "src",
    "metric",
    "dev",
    "user_unit",
    "unit",
    "comm",
    "status",
    "tty",
    "from",
    "since",
    "end",
    "kernel",
    "why",
    "system",
    "jobs",
];

/// Asserts that each null has a gap, a `why` in the same object, or documentation.
fn every_null_has_a_reason(report: &HostReport) {
    fn walk(value: &Value, path: &str, gaps: &[Gap], beside: Option<&Value>) {
        match value {
            Value::Null => {
                let name = path.rsplit('.').next().unwrap_or_default();
                let has_reason = gaps.iter().any(|gap| path == gap.fact)
                    || beside
                        .and_then(|object| object.get("why"))
                        .is_some_and(Value::is_string)
                    || (path.contains('.') && MAY_BE_NULL.contains(&name));
                assert!(has_reason, "'{path}' is null without a reason");
            }
            Value::Object(fields) => {
                for (name, field) in fields.iter().filter(|(name, _)| *name != "gaps") {
                    walk(
                        field,
                        format!("{path}.{name}").trim_start_matches('.'),
                        gaps,
                        Some(value),
                    );
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, gaps, None)),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(report).unwrap();
    if report.units.is_none() {
        json.as_object_mut().unwrap().remove("units");
    }
    walk(&json, "", &report.gaps, None);
}
