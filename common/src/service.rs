//! Units that the machine needs, and units whose start ends its normal operation.

mod protected;

use protected::{is_named, parts};

pub use protected::is_protected;

/// Units whose start interrupts normal operation or opens a root shell. The list applies to units that another unit pulls
/// in. [`is_protected`] covers units requested by name.
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

/// Returns true if starting this unit interrupts normal operation.
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
