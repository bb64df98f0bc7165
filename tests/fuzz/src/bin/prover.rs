//! Files of strangers that `remit-prove` reads: whatever is in them, the look ends with a bounded number of facts, its
//! report shows no raw byte, and the same report is no news. The input is files with a NUL between them, and the first line of
//! each is a path of `FILES`; or `acl` and an access list or capabilities. Root is needed: cron reads only files that are root's.
#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_plan::permitted_capabilities;
use remit_policy::{MachineTable, Policy};
use remit_prove::compare::{SeenPaths, compare};
use remit_prove::grants::Grants;
use remit_prove::machine::entry::parse_acl;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::report::{Goals, Subject, prove};
use remit_prove::{sources, text};

/// Each kind of text that a source reads. Those in `/opt` are executable.
const FILES: [&str; 33] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/sudoers",
    "/etc/sudoers.d/a",
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d/a",
    "/etc/cron.daily/a",
    "/var/spool/cron/crontabs/agent",
    "/etc/systemd/system/a.service",
    "/etc/systemd/system/a.timer",
    "/etc/systemd/system/a@.service",
    "/etc/systemd/system/a.service.d/a.conf",
    "/etc/systemd/system/b.service",
    "/etc/polkit-1/rules.d/a.rules",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d/a.conf",
    "/etc/pam.d/a",
    "/etc/logrotate.d/a",
    "/etc/apt/apt.conf.d/a",
    "/etc/dpkg/dpkg.cfg.d/a",
    "/etc/udev/rules.d/a.rules",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/gitconfig",
    "/usr/share/dbus-1/system-services/a.service",
    "/home/agent/.ssh/authorized_keys",
    "/root/.ssh/authorized_keys",
    "/opt/a",
    "/opt/b",
    "/usr/bin/a",
    "/etc/update-motd.d/a",
];
/// Programs without which a text is not read.
const PROGRAMS: [&str; 8] = [
    "/usr/bin/sudo",
    "/usr/sbin/cron",
    "/usr/lib/polkit-1/polkitd",
    "/usr/sbin/logrotate",
    "/usr/bin/apt-get",
    "/usr/bin/dpkg",
    "/usr/bin/udevadm",
    "/usr/bin/systemctl",
];
/// The directory that becomes the machine.
const ROOT: &str = "/mnt";
const AGENT: u32 = 5001;
/// Beyond what 16 KiB can name.
const FACTS: usize = 100_000;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let (policy, _) = remit_policy_compile::load(&[], &MachineTable::default()).expect("nothing");
    policy
});

fn at(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

fn put(path: &str, content: &[u8], mode: u32) {
    let path = at(path);
    fs::write(&path, content).expect("an own file");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("an own file");
}

/// A file system in memory that only this process sees: nothing of it is left, however the process ends.
fn lay_out() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root, for a mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("an own namespace");
    mount(
        none,
        ROOT,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .expect("an own namespace");
    for path in FILES.iter().chain(&PROGRAMS) {
        fs::create_dir_all(at(path).parent().expect("it is absolute")).expect("an own directory");
    }
    for path in PROGRAMS {
        put(path, b"\x7fELF", 0o755);
    }
    put("/etc/pam.d/sshd", b"", 0o644);
}

libfuzzer_sys::fuzz_target!(
    init: lay_out(),
    |bytes: &[u8]| {
        if let Some(value) = bytes.strip_prefix(b"acl\n") {
            let _ = (parse_acl(value, 1), permitted_capabilities(value));
            return;
        }
        lay("/etc/passwd", b"root:x:0:0::/root:/bin/sh\nagent:x:5001:5001::/home/agent:/bin/sh\n");
        lay("/etc/group", b"root:x:0:\nagent:x:5001:\nops:x:6001:agent\n");
        let mut laid = Vec::new();
        for file in bytes.split(|byte| *byte == 0).take(8) {
            let end = file.iter().position(|byte| *byte == b'\n').unwrap_or(file.len());
            let (name, content) = (&file[..end], file.get(end + 1..).unwrap_or_default());
            let name = FILES.iter().find(|path| path.as_bytes() == name);
            if let Some(path) = name {
                lay(path, content);
                laid.push(*path);
            }
        }
        look(bytes.len());
        for path in laid {
            let _ = fs::remove_file(at(path));
        }
    }
);

fn lay(path: &str, content: &[u8]) {
    let is_program = path.starts_with("/opt/") || path.contains(".d/a") || path.contains("/bin/");
    let mode = match path {
        _ if path.starts_with("/etc/cron.d/") || path.starts_with("/etc/sudoers") => 0o600,
        _ if is_program || path.starts_with("/etc/cron.daily") => 0o755,
        _ => 0o600,
    };
    put(path, content, mode);
}

fn look(length: usize) {
    let machine = Machine::open(Path::new(ROOT), Bounds::default()).expect("it is there");
    let (mut facts, commands) =
        sources::begin(&machine, |_| (), &[&POLICY], "remit-admin").finish([]);
    facts.obeys.extend(commands.into_iter().flatten());
    let count = facts.obeys.len() + facts.powerful.len() + facts.sudo.len() + facts.same_keys.len();
    assert!(count < FACTS, "{count} facts of {length} bytes");
    let subject = Subject {
        name: "agent".to_owned(),
        uid: AGENT,
    };
    let grants = Grants::default();
    let report = prove(&facts, &grants, &[subject], &Goals::default(), &|| false);
    for verbose in [false, true] {
        let shown = text::text(&report, verbose);
        let is_raw = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(is_raw), "{shown:?}");
    }
    let news = compare(Some(&SeenPaths::of(&report)), &report);
    assert!(!news.is_news() && news.gone.is_empty(), "{news:?}");
}
