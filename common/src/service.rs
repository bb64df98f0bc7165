//! Units that no unit verb may change, and units whose start ends the machine's normal operation. Protected units carry
//! the machine, its sandbox layers, its records, or a person's access to repair what an agent did. A policy cannot
//! shorten the lists. The caller repeats the checks with every name that the service manager has for a unit.

use crate::builtin::UNIT_KINDS;

/// Units whose start interrupts operation or opens a root shell, if another unit pulls them in. By name: [`is_protected`].
const DISRUPTIVE: [&str; 24] = [
    "ctrl-alt-del",
    "debug-shell",
    "emergency",
    "exit",
    "factory-reset*",
    "final",
    "fwupd-offline-update",
    "halt",
    "hibernate",
    "hybrid-sleep",
    "initrd*",
    "kexec*",
    "packagekit-offline-update",
    "poweroff",
    "reboot",
    "rescue",
    "runlevel0",
    "runlevel1",
    "runlevel6",
    "shutdown",
    "soft-reboot",
    "suspend*",
    "system-update*",
    "umount",
];
const DISRUPTIVE_SERVICES: [&str; 9] = [
    "systemd-exit",
    "systemd-halt",
    "systemd-hibernate*",
    "systemd-hybrid-sleep",
    "systemd-kexec",
    "systemd-poweroff",
    "systemd-reboot",
    "systemd-soft-reboot",
    "systemd-suspend*",
];

#[must_use]
pub fn is_disruptive(name: &str) -> bool {
    let (template, _) = parts(name);
    let is_one = |pattern: &&str| is_named(template, pattern);
    DISRUPTIVE.iter().any(is_one) || DISRUPTIVE_SERVICES.iter().any(is_one)
}

/// systemd.unit(5), "System Unit Search Path", first to last: a unit can be replaced and extended in any of them.
/// `system.attached` is of portablectl(1).
pub const UNIT_DIRECTORIES: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Kinds that start and stop without pulling in others: no target, mount or slice.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];

/// Names without kind. A final `*` matches any text. An instance is protected like its template.
struct Protected {
    names: &'static [&'static str],
    why: &'static str,
}

const PROTECTED: [Protected; 14] = [
    // Includes sshd-unix-local@, sshd-keygen@, and the Debian name with its socket and instances.
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
    // An agent must not stop the service that controls it.
    Protected {
        names: &["remit*"],
        why: "it is remit's own",
    },
    // Includes journald, logind, udevd, networkd, resolved, poweroff, reboot and kexec.
    Protected {
        names: &["systemd-*", "dbus*", "kexec*"],
        why: "the machine itself runs on it",
    },
    Protected {
        names: &[
            "networking",
            "network",
            "NetworkManager*",
            "ModemManager",
            "ofono",
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
            "tailscale",
            "tailscaled",
            "network-manager",
            "zerotier-one",
            "strongswan*",
            "ipsec",
            "netbird*",
            "cloudflared*",
            "frr",
            "bird",
            "bird6",
            "keepalived",
            "openvswitch*",
            "ovs-*",
            "ovsdb-server",
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
            "crowdsec*",
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
            "fapolicyd",
            "usbguard*",
            "wazuh-agent",
            "falco*",
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
            // Stopping it unmounts file systems on LVM, multipath and the device mapper.
            "blk-availability",
            "iscsi",
            "iscsi-shutdown",
            "zfs-*",
            "autofs",
            "rbdmap",
            "drbd*",
            "dmraid-activation",
            "stratisd*",
            "nvmf-*",
        ],
        why: "file systems depend on it",
    },
    Protected {
        names: &["rsyslog*", "syslog", "syslog-ng*"],
        why: "it keeps the machine's log",
    },
    Protected {
        names: &[
            "amazon-ssm-agent",
            "google-guest-agent*",
            "walinuxagent",
            "waagent",
            "qemu-guest-agent",
            "open-vm-tools",
            "vmtoolsd",
            "hv-kvp-daemon",
            "hypervkvpd",
        ],
        why: "the machine is managed by it from outside",
    },
    // The text after their @ goes to a program that executes it as root.
    Protected {
        names: &["modprobe", "podman-kube"],
        why: "its instance is given to a program that does as root what it says",
    },
    Protected {
        names: &["fwupd-offline-update", "packagekit-offline-update"],
        why: "it reboots the machine",
    },
];

fn parts(name: &str) -> (&str, &str) {
    let (stem, kind) = match name.rsplit_once('.') {
        Some((stem, kind)) if UNIT_KINDS.contains(&kind) => (stem, kind),
        _ => (name, "service"),
    };
    let template = stem.split_once('@').map_or(stem, |(template, _)| template);
    (template, kind)
}

fn is_named(template: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => template.starts_with(start),
        None => template == pattern,
    }
}

/// Returns the snap and the program of `snap.NAME.PROGRAM`, the name of a unit that snapd makes. A second copy of a snap is `NAME_COPY`.
fn of_snap(template: &str) -> Option<[&str; 2]> {
    let (snap, program) = template.strip_prefix("snap.")?.split_once('.')?;
    Some([snap.split_once('_').map_or(snap, |(snap, _)| snap), program])
}

/// Returns the reason why no unit verb may change this unit, or `None`. A name without a kind is a service.
#[must_use]
pub fn is_protected(name: &str) -> Option<&'static str> {
    let (template, kind) = parts(name);
    if !KINDS.contains(&kind) {
        return Some("only services, sockets, timers and paths can be changed by name");
    }
    let snap = of_snap(template).into_iter().flatten();
    let names: Vec<&str> = snap.chain([template]).collect();
    let is_one = |pattern: &&str| names.iter().any(|name| is_named(name, pattern));
    let mut all = PROTECTED.iter();
    let found = all.find(|protected| protected.names.iter().any(is_one));
    found.map(|protected| protected.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c08_a_start_that_ends_normal_work_is_disruptive() {
        for name in [
            "rescue.target",
            "emergency.service",
            "debug-shell.service",
            "reboot.target",
            "systemd-reboot.service",
            "systemd-hibernate-resume@x.service",
            "shutdown.target",
            "systemd-suspend.service",
        ] {
            assert!(is_disruptive(name), "{name}");
        }
        for name in [
            "network-online.target",
            "systemd-networkd-wait-online.service",
            "nginx.service",
            "exit-report.service",
        ] {
            assert!(!is_disruptive(name), "{name}");
        }
    }

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
            "ModemManager.service",
            "ofono.service",
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
    fn c02_units_below_file_systems_and_records_are_protected() {
        let names = [
            "blk-availability.service",
            "iscsi.service",
            "iscsi-shutdown.service",
            "zfs-mount.service",
            "autofs.service",
            "drbd.service",
            "nvmf-autoconnect.service",
            "rsyslog.service",
            "syslog.socket",
            "syslog-ng@default.service",
            "wazuh-agent.service",
            "usbguard-dbus.service",
            "zerotier-one.service",
            "keepalived.service",
            "qemu-guest-agent.service",
            "network-manager.service",
            "packagekit-offline-update.service",
        ];
        for name in names {
            assert!(is_protected(name).is_some(), "{name}");
        }
    }

    #[test]
    fn units_of_snaps_are_protected_by_snap_or_program() {
        for name in [
            "snap.amazon-ssm-agent.amazon-ssm-agent.service",
            "snap.tailscale.tailscaled.service",
            "snap.network-manager.networkmanager.service",
            "snap.zerotier.zerotier-one.service",
            "snap.tailscale_second.web.service",
            "open-vm-tools.service",
            "vmtoolsd.service",
            "hv-kvp-daemon.service",
            "hypervkvpd.service",
            "openvswitch-switch.service",
            "ovs-vswitchd.service",
            "ovsdb-server.service",
            "ovs-record-hostname.service",
        ] {
            assert!(is_protected(name).is_some(), "{name}");
        }
        for name in [
            "snap.nextcloud.apache.service",
            "snap.lxd.daemon.service",
            "snap.ssh-report.run.timer",
            "snap.tailscale",
            "my.tailscale.tailscaled.service",
        ] {
            assert_eq!(is_protected(name), None, "{name}");
        }
    }

    #[test]
    fn c03_templates_that_execute_their_instance_are_protected() {
        for name in ["modprobe@x.service", "podman-kube@srv-x.yaml.service"] {
            assert!(is_protected(name).is_some(), "{name}");
        }
        assert_eq!(is_protected("podman.service"), None);
    }

    #[test]
    fn units_not_to_act_on_are_protected() {
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
