//! The units that no unit verb may change: to lose one is to lose the machine, its walls, its record,
//! or the way in that a person needs to make good what an agent did. A closed list, the same for every
//! host; a policy cannot shorten it.
//!
//! It knows names alone. Who acts asks again with every name that the service manager has for a unit.

/// What can be started and stopped by name without taking others along: no target, mount or slice.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];
/// Every kind that a unit can have (systemd.unit(5)). A name with no such ending is a service's.
const ALL_KINDS: [&str; 11] = [
    "service",
    "socket",
    "timer",
    "path",
    "target",
    "mount",
    "automount",
    "swap",
    "device",
    "slice",
    "scope",
];

/// Names without their kind; `*` at the end stands for any text. An instance is what its template is.
struct Protected {
    names: &'static [&'static str],
    why: &'static str,
}

const PROTECTED: [Protected; 10] = [
    // Also sshd-unix-local@ and sshd-keygen@, and the Debian name with its socket and instances.
    Protected {
        names: &["ssh", "sshd*", "dropbear*"],
        why: "people reach the machine by it",
    },
    Protected {
        names: &[
            "getty",
            "serial-getty",
            "console-getty",
            "container-getty",
            "autovt",
        ],
        why: "people log in by it where the network fails",
    },
    Protected {
        names: &[
            "user",
            "user-runtime-dir",
            "elogind",
            "sssd*",
            "nslcd",
            "winbind",
            "nscd",
        ],
        why: "sessions and accounts of people depend on it",
    },
    Protected {
        names: &["emergency", "rescue", "debug-shell", "initrd*"],
        why: "it takes the machine out of its normal work",
    },
    // What judges an agent is not the agent's to stop.
    Protected {
        names: &["remit*"],
        why: "it is remit's own",
    },
    // journald, logind, udevd, networkd, resolved; poweroff, reboot and kexec too.
    Protected {
        names: &["systemd-*", "dbus*", "kexec*"],
        why: "the machine itself runs on it",
    },
    Protected {
        names: &[
            "networking",
            "network",
            "NetworkManager*",
            "networkd-dispatcher",
            "ifup",
            "ifplugd",
            "wpa_supplicant*",
            "iwd",
            "dhcpcd*",
            "dhclient*",
            "netplan*",
            "connman*",
            "wicked*",
            "wg-quick",
            "openvpn*",
            "tailscaled",
        ],
        why: "the machine is reached through it",
    },
    Protected {
        names: &[
            "nftables",
            "iptables",
            "ip6tables",
            "ebtables",
            "arptables",
            "netfilter-persistent",
            "ufw",
            "firewalld",
            "shorewall*",
            "ferm",
            "fail2ban",
        ],
        why: "it keeps strangers out",
    },
    Protected {
        names: &[
            "polkit*",
            "auditd",
            "audit-rules",
            "apparmor",
            "snapd.apparmor",
            "selinux*",
        ],
        why: "it decides or records who may do what",
    },
    Protected {
        names: &[
            "lvm2-*",
            "dm-event",
            "multipathd",
            "iscsid",
            "open-iscsi",
            "mdmonitor",
        ],
        why: "file systems depend on it",
    },
];

/// Why no unit verb may change the unit of this name; `None` where one may. A name without a kind is
/// that of a service.
#[must_use]
pub fn is_protected(name: &str) -> Option<&'static str> {
    let (stem, kind) = match name.rsplit_once('.') {
        Some((stem, kind)) if ALL_KINDS.contains(&kind) => (stem, kind),
        _ => (name, "service"),
    };
    if !KINDS.contains(&kind) {
        return Some("only services, sockets, timers and paths can be changed by name");
    }
    let template = stem.split_once('@').map_or(stem, |(template, _)| template);
    let is_one = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => template.starts_with(start),
        None => template == *pattern,
    };
    let mut all = PROTECTED.iter();
    let found = all.find(|protected| protected.names.iter().any(is_one));
    found.map(|protected| protected.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_needs_is_protected() {
        let names = [
            "ssh",
            "sshd",
            "ssh.service",
            "ssh.socket",
            "sshd.service",
            "sshd.socket",
            "ssh@5-10.0.0.1:22.service",
            "sshd@1.service",
            "sshd-unix-local@7.service",
            "getty@tty1.service",
            "serial-getty@ttyS0.service",
            "user@1000.service",
            "user@0",
            "emergency.service",
            "rescue",
            "remitd",
            "remitd.service",
            "remitd.socket",
            "remit-broker.service",
            "dbus.service",
            "dbus.socket",
            "dbus-broker.service",
            "dbus-org.freedesktop.login1.service",
            "systemd-journald.service",
            "systemd-journald.socket",
            "systemd-logind",
            "systemd-udevd.service",
            "systemd-tmpfiles-clean.timer",
            "systemd-reboot.service",
            "networking",
            "NetworkManager.service",
            "NetworkManager-wait-online.service",
            "ifup@eth0.service",
            "wpa_supplicant@wlan0.service",
            "dhcpcd.service",
            "netplan-ovs-cleanup.service",
            "connman.service",
            "nftables.service",
            "iptables",
            "ufw.service",
            "firewalld.service",
            "fail2ban.service",
            "polkit.service",
            "auditd.service",
            "apparmor.service",
            "selinux-autorelabel-mark.service",
        ];
        for name in names {
            assert!(is_protected(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_no_unit_to_act_on_is_protected() {
        let names = [
            "-.mount",
            "home.mount",
            "init.scope",
            "session-1.scope",
            "system.slice",
            "-.slice",
            "multi-user.target",
            "nginx.target",
            "swap.swap",
            "dev-sda.device",
            "proc.automount",
        ];
        for name in names {
            assert!(
                is_protected(name).is_some_and(|why| why.starts_with("only services")),
                "{name}"
            );
        }
    }

    #[test]
    fn what_people_run_on_it_is_not() {
        let names = [
            "nginx",
            "nginx.service",
            "php8.2-fpm.service",
            "postgresql@15-main.service",
            "redis.socket",
            "backup.timer",
            "inbox.path",
            "sshguard.service",
            "ssh-report.timer",
            "users.service",
            "userdb@x.service",
            "network-report.service",
            "my-systemd-app.service",
            "gettys.service",
            "app.v2",
            "SSHD.service",
            "",
        ];
        for name in names {
            assert_eq!(is_protected(name), None, "{name}");
        }
    }
}
