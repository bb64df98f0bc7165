//! Whether a plan can lock people out of the machine: then its commit is undone unless somebody confirms it. It decides
//! by where a path lies, because a mistake in such a file may be anywhere in it.

use remit_common::escape;

use crate::deciding::{is_above_logins, listed};
use crate::login_programs;
use crate::plan::{Change, Entry, Kind, Plan};
use crate::risk::Risk;

/// How units begin without which nobody logs in over the network.
const REACHED_BY: &[&str] = &[
    "NetworkManager.",
    "firewalld.",
    "networking.",
    "nftables.",
    "ssh.",
    "ssh@",
    "sshd.",
    "sshd@",
    "systemd-logind.",
    "systemd-networkd.",
    "ufw.",
];

impl Plan {
    /// Returns how it can lock people out: its first such path, and what that decides. `None` if no path does.
    #[must_use]
    pub fn can_lock_out(&self) -> Option<String> {
        let mut all = self
            .entries()
            .iter()
            .filter_map(|entry| Some((&entry.path, lock_out(entry)?)));
        all.next().map(|(path, why)| {
            let path = escape::in_quotes(path.as_bytes(), 200);
            format!("'{path}': {why}")
        })
    }
}

/// Returns how a change of this path can lock people out.
#[must_use]
pub fn lock_out(entry: &Entry) -> Option<String> {
    let path = &entry.path;
    if path.holds_login_keys() {
        return Some(Risk::LoginKeys.to_string());
    }
    if let Some(risk) = listed(path).find(|risk| risk.is_of_logins()) {
        return Some(risk.to_string());
    }
    let is_unit = |part: &[u8]| {
        let mut units = REACHED_BY.iter();
        units.any(|unit| part.starts_with(unit.as_bytes()))
    };
    let mut parts = path.as_bytes().split(|byte| *byte == b'/');
    if parts.any(|part| part == b"systemd") && parts.any(is_unit) {
        return Some("people log in by this unit".to_owned());
    }
    // A program that is new runs in no login yet.
    if !matches!(entry.change, Change::Create { .. }) && login_programs::is_of_logins(path) {
        return Some("logins run it".to_owned());
    }
    // Who may not enter a directory reads nothing in it, and sshd takes no keys from a home that others can write.
    let is_kept = match entry.change {
        Change::SetMetadata { .. } | Change::Remove { .. } => true,
        // A link to a directory can have it beneath it.
        Change::Replace { base, .. } | Change::ReplaceKind { base, .. } => {
            base.stat.kind == Kind::Symlink
        }
        Change::Create { .. } => false,
    };
    let is_home = path.parent() == b"/home" || [&b"/home"[..], b"/root"].contains(&path.as_bytes());
    (is_kept && (is_home || is_above_logins(path) || login_programs::are_beneath(path)))
        .then(|| "what decides about logins lies beneath it".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::OldCapabilities;
    use crate::PlanPath;
    use crate::plan::{Base, Content, Kind, Metadata, New, Source, Stat};

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn lines_of(path: &str, change: Change) -> Option<String> {
        let path = PlanPath::new(path).unwrap();
        Plan::new(vec![Entry { path, change }])
            .unwrap()
            .can_lock_out()
    }

    #[test]
    fn files_of_logins_network_and_boot_can_lock_out() {
        let content = Content {
            size: 0,
            sha256: [0; 32],
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let new = New::File(content);
        for (path, why) in [
            ("/etc/ssh/sshd_config.d/x.conf", Some("over ssh")),
            ("/etc/pam.d/sshd", Some("how people log in")),
            ("/etc/nsswitch.conf", Some("how people log in")),
            ("/etc/nologin", Some("how people log in")),
            ("/etc/sudoers.d/x", Some("become root")),
            ("/home/bob/.ssh/authorized_keys", Some("log in with a key")),
            ("/etc/netplan/x.yaml", Some("can be reached")),
            ("/etc/network/interfaces", Some("can be reached")),
            ("/etc/NetworkManager/x", Some("can be reached")),
            ("/etc/systemd/network/x.network", Some("can be reached")),
            ("/etc/resolv.conf", Some("can be reached")),
            ("/etc/nftables.conf", Some("can be reached")),
            ("/etc/ufw/x", Some("can be reached")),
            ("/etc/fstab", Some("boots with it")),
            ("/boot/grub/grub.cfg", Some("boots with it")),
            ("/etc/ld.so.preload", Some("every program loads")),
            ("/etc/ld.so.conf.d/x", Some("code programs load")),
            (
                "/etc/systemd/system/ssh.service.d/x.conf",
                Some("by this unit"),
            ),
            ("/etc/systemd/system/site.service", None),
            ("/srv/ssh.service", None),
            ("/etc/nginx/nginx.conf", None),
            ("/etc/sshd", None),
            ("/etc/hosts", None),
            ("/home/bob/x", None),
        ] {
            let found = lines_of(path, Change::Create { new, meta: META });
            match (found, why) {
                (Some(found), Some(why)) => {
                    assert!(found.starts_with(&format!("'{path}': ")), "{found}");
                    assert!(found.contains(why), "{found}");
                }
                (found, why) => assert_eq!(found.as_deref(), why, "{path}"),
            }
        }
    }

    fn base(kind: Kind) -> Base {
        let stat = Stat {
            kind,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size: 0,
            meta: META,
        };
        Base {
            stat,
            sha256: None,
            capabilities: OldCapabilities::Unread,
        }
    }

    #[test]
    fn programs_of_logins_can_lock_out() {
        for (path, is_one) in [
            ("/usr/sbin/sshd", true),
            ("/sbin/sshd", true),
            ("/usr/bin/sshd", true),
            ("/bin/login", true),
            ("/usr/bin/bash", true),
            ("/bin/sh", true),
            ("/usr/bin/sudo", true),
            ("/usr/lib/openssh/sshd-session", true),
            ("/usr/libexec/openssh/sshd-auth", true),
            ("/usr/libexec/sudo/sudoers.so", true),
            ("/lib/x86_64-linux-gnu/security/pam_unix.so", true),
            ("/usr/lib/aarch64-linux-gnu/security/pam_unix.so", true),
            ("/usr/lib64/security/pam_unix.so", true),
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", true),
            ("/lib64/ld-linux-x86-64.so.2", true),
            ("/lib/x86_64-linux-gnu/libpam.so.0", true),
            ("/usr/lib/systemd/systemd", true),
            ("/usr/lib/systemd/systemd-logind", true),
            (
                "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so",
                true,
            ),
            ("/usr/local/bin/bash", false),
            ("/usr/sbin/nginx", false),
            ("/usr/bin/ssh", false),
            ("/usr/bin/bashbug", false),
            ("/usr/lib/openssh/sftp-server", false),
            ("/usr/lib/x86_64-linux-gnu/libc.so", false),
            ("/usr/lib/x86_64-linux-gnu/libz.so.1", false),
            ("/usr/lib/systemd/system/nginx.service", false),
            ("/var/lib/lxc/a/rootfs/usr/sbin/sshd", false),
            ("/srv/root/lib/x86_64-linux-gnu/libc.so.6", false),
        ] {
            let (base, meta) = (base(Kind::File), META);
            let content = Content {
                size: 0,
                sha256: [0; 32],
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            };
            for change in [
                Change::Replace {
                    base,
                    content,
                    meta,
                },
                Change::Remove { base },
                Change::SetMetadata {
                    base,
                    meta: Metadata { mode: 0, ..META },
                },
            ] {
                let why = lines_of(path, change);
                let is_found = why.is_some_and(|why| why.ends_with("': logins run it"));
                assert_eq!(is_found, is_one, "{path}");
            }
            // A package with a shell that no account has yet.
            let new = New::File(content);
            assert_eq!(lines_of(path, Change::Create { new, meta }), None, "{path}");
        }
    }

    #[test]
    fn directory_above_such_files_can_lock_out() {
        let base = base(Kind::Directory);
        let meta = Metadata { mode: 0, ..META };
        let closed = |path: &str| lines_of(path, Change::SetMetadata { base, meta });
        for path in [
            "/etc",
            "/home",
            "/home/bob",
            "/root",
            "/lib",
            "/usr",
            "/usr/bin",
            "/sbin",
            "/usr/lib64",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/security",
            "/usr/libexec/openssh",
            "/usr/lib/openssh",
        ] {
            assert!(closed(path).is_some(), "{path}");
        }
        for path in ["/srv", "/var/spool", "/usr/local/bin", "/usr/lib/nginx"] {
            assert_eq!(closed(path), None, "{path}");
        }
        let new = New::Directory;
        assert_eq!(
            lines_of("/home/new", Change::Create { new, meta: META }),
            None
        );
    }
}
