//! Names of units by which the message bus starts services: `Alias=dbus-org.bluez.service`. Each service of the bus has one.

use remit_common::service::is_protected;

/// Those of the machine's own units. A unit with one of them is protected, whatever its own name is.
const OF_MACHINE: [&str; 19] = [
    "dbus-fi.w1.wpa_supplicant1",
    "dbus-org.fedoraproject.FirewallD1",
    "dbus-org.freedesktop.NetworkManager",
    "dbus-org.freedesktop.PolicyKit1",
    "dbus-org.freedesktop.home1",
    "dbus-org.freedesktop.hostname1",
    "dbus-org.freedesktop.import1",
    "dbus-org.freedesktop.locale1",
    "dbus-org.freedesktop.login1",
    "dbus-org.freedesktop.machine1",
    "dbus-org.freedesktop.network1",
    "dbus-org.freedesktop.nm-dispatcher",
    "dbus-org.freedesktop.oom1",
    "dbus-org.freedesktop.portable1",
    "dbus-org.freedesktop.resolve1",
    "dbus-org.freedesktop.systemd1",
    "dbus-org.freedesktop.sysupdate1",
    "dbus-org.freedesktop.timedate1",
    "dbus-org.freedesktop.timesync1",
];
const OF_WICKED: &str = "dbus-org.opensuse.Network";

/// Returns true for the name of a service after the domain of a name of the bus, and not for those of the bus itself.
pub fn is_bus_name(name: &str) -> bool {
    let domain = name.strip_suffix(".service").and_then(|stem| {
        let (domain, _) = stem.strip_prefix("dbus-")?.split_once('.')?;
        Some(domain)
    });
    domain.is_some_and(|domain| {
        let is_of_bus = matches!(domain, "broker" | "daemon");
        !is_of_bus && domain.bytes().all(|byte| byte.is_ascii_lowercase())
    })
}

/// As [`is_protected`], of a unit by any of its names; `first` is its own. By a name of the bus the unit is judged by its
/// own one, unless the machine runs on it.
pub fn is_protected_as(name: &str, first: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let is_of_machine = OF_MACHINE.contains(&stem) || stem.starts_with(OF_WICKED);
    match name != first && is_bus_name(name) && !is_of_machine {
        true => is_protected(first),
        false => is_protected(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_bus_are_judged_by_the_unit() {
        for (name, first, is) in [
            ("dbus-org.bluez.service", "bluetooth.service", false),
            (
                "dbus-org.freedesktop.Avahi.service",
                "avahi-daemon.service",
                false,
            ),
            (
                "dbus-org.freedesktop.ModemManager1.service",
                "ModemManager.service",
                true,
            ),
            ("dbus-org.ofono.service", "ofono.service", true),
            ("dbus-com.redhat.tuned.service", "tuned.service", false),
            ("bluetooth.service", "bluetooth.service", false),
            // The own name decides.
            ("dbus-org.bluez.service", "dbus-org.bluez.service", true),
            ("dbus-org.new.Wicked.service", "wickedd.service", true),
            (
                "dbus-org.freedesktop.sysupdate1.service",
                "systemd-sysupdated.service",
                true,
            ),
            (
                "dbus-org.freedesktop.login1.service",
                "systemd-logind.service",
                true,
            ),
            // The machine runs on it, whatever has the name.
            (
                "dbus-org.freedesktop.login1.service",
                "bluetooth.service",
                true,
            ),
            ("dbus-org.freedesktop.hostname1.service", "a.service", true),
            ("dbus-org.freedesktop.systemd1.service", "a.service", true),
            ("dbus-org.freedesktop.sysupdate1.service", "a.service", true),
            ("dbus-fi.w1.wpa_supplicant1.service", "a.service", true),
            ("dbus-org.opensuse.Network.DHCP4.service", "a.service", true),
            // No names of the bus.
            ("dbus.service", "a.service", true),
            ("dbus-broker.service", "a.service", true),
            ("dbus-broker.x.service", "a.service", true),
            ("dbus-daemon.service", "a.service", true),
            ("dbus-org.bluez.socket", "a.socket", true),
            ("sshd.service", "a.service", true),
        ] {
            assert_eq!(is_protected_as(name, first).is_some(), is, "{name} {first}");
        }
        // By such a name alone it is not known what has it.
        assert!(is_protected("dbus-org.bluez.service").is_some());
    }
}
