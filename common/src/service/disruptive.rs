//! Units by whose start the machine leaves its normal work, or opens a root shell. A closed list of names.
//!
//! It is asked of units that another one pulls in. A unit that is asked for by name is answered by [`super::is_protected`].

use super::protected::{is_named, parts};

/// Of any kind.
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
/// The services that the targets above start.
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

/// Whether a start of the unit of this name takes the machine out of its normal work.
#[must_use]
pub fn is_disruptive(name: &str) -> bool {
    let (template, _) = parts(name);
    let is_one = |pattern: &&str| is_named(template, pattern);
    DISRUPTIVE.iter().any(is_one) || DISRUPTIVE_SERVICES.iter().any(is_one)
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
}
