//! The table of calls: which ones are forwarded or get an empty reply; all others are refused. No IO.

use std::collections::BTreeSet;

use remit_common::service::is_protected;

use crate::message::Call;

/// Calls that read, by interface. `Properties.Get` and its kind are permitted on all services: they are how a bus is read.
const READS: &[(&str, &[&str])] = &[
    (
        "org.freedesktop.DBus",
        &[
            "Hello",
            "GetNameOwner",
            "NameHasOwner",
            "ListNames",
            "ListActivatableNames",
            "ListQueuedOwners",
            "GetConnectionUnixUser",
            "GetConnectionUnixProcessID",
            "GetConnectionCredentials",
            "GetConnectionSELinuxSecurityContext",
            "GetId",
        ],
    ),
    ("org.freedesktop.DBus.Properties", &["Get", "GetAll"]),
    ("org.freedesktop.DBus.Introspectable", &["Introspect"]),
    ("org.freedesktop.DBus.Peer", &["Ping", "GetMachineId"]),
    ("org.freedesktop.DBus.ObjectManager", &["GetManagedObjects"]),
    (
        "org.freedesktop.systemd1.Manager",
        &[
            "GetUnit",
            "LoadUnit",
            "GetUnitByPID",
            "GetUnitByInvocationID",
            "GetUnitByControlGroup",
            "GetUnitProcesses",
            "GetJob",
            "GetJobAfter",
            "GetJobBefore",
            "ListUnits",
            "ListUnitsFiltered",
            "ListUnitsByPatterns",
            "ListUnitsByNames",
            "ListJobs",
            "ListUnitFiles",
            "ListUnitFilesByPatterns",
            "GetUnitFileState",
            "GetDefaultTarget",
            "GetUnitFileLinks",
            "LookupDynamicUserByName",
            "LookupDynamicUserByUID",
            "GetDynamicUsers",
        ],
    ),
    ("org.freedesktop.systemd1.Unit", &["GetProcesses"]),
    ("org.freedesktop.systemd1.Service", &["GetProcesses"]),
    ("org.freedesktop.systemd1.Scope", &["GetProcesses"]),
    ("org.freedesktop.systemd1.Slice", &["GetProcesses"]),
    (
        "org.freedesktop.login1.Manager",
        &[
            "ListSessions",
            "ListSessionsEx",
            "ListUsers",
            "ListSeats",
            "ListInhibitors",
            "GetSession",
            "GetSessionByPID",
            "GetUser",
            "GetUserByPID",
            "GetSeat",
            "CanPowerOff",
            "CanReboot",
            "CanHalt",
            "CanSuspend",
            "CanHibernate",
        ],
    ),
    ("org.freedesktop.hostname1", &["Describe"]),
    ("org.freedesktop.timedate1", &["ListTimezones"]),
    (
        "org.freedesktop.network1.Manager",
        &[
            "ListLinks",
            "GetLinkByName",
            "GetLinkByIndex",
            "Describe",
            "DescribeLink",
        ],
    ),
    ("org.freedesktop.network1.Link", &["Describe"]),
    ("org.freedesktop.resolve1.Manager", &["GetLink"]),
    (
        "org.freedesktop.machine1.Manager",
        &[
            "ListMachines",
            "ListImages",
            "GetMachine",
            "GetMachineByPID",
        ],
    ),
    (
        "org.freedesktop.NetworkManager",
        &["GetDevices", "GetAllDevices"],
    ),
    (
        "org.freedesktop.NetworkManager.Settings",
        &["ListConnections"],
    ),
    (
        "org.freedesktop.NetworkManager.Settings.Connection",
        &["GetSettings"],
    ),
];

/// Members that list all that a service has, of the service manager several ms of its only thread.
const LISTS: &[&str] = &[
    "Describe",
    "DescribeLink",
    "GetManagedObjects",
    "GetUnitFileLinks",
    "ListUnitFiles",
    "ListUnitFilesByPatterns",
    "ListUnits",
    "ListUnitsByNames",
    "ListUnitsByPatterns",
    "ListUnitsFiltered",
];
/// Calls that a list counts as. Of the rate and the burst of a job that is 10 lists a second after 50.
pub const LIST: u32 = 20;

/// Members for which the service manager reads directories of unit files, or `/proc` for each process of a unit.
const SEARCHES: &[&str] = &["GetProcesses", "GetUnitFileState", "GetUnitProcesses"];
/// Calls that a search counts as: 40 searches a second after 200. `systemctl status` makes one for each unit that runs.
pub const SEARCH: u32 = 5;

/// Calls with an empty reply of the proxy's own: no signal reaches a job, so a subscription changes nothing.
const EMPTY: &[(&str, &[&str])] = &[
    ("org.freedesktop.DBus", &["AddMatch", "RemoveMatch"]),
    (
        "org.freedesktop.systemd1.Manager",
        &["Subscribe", "Unsubscribe"],
    ),
];

/// Services that the bus may start for a call. They only answer, and end by themselves.
const STARTED: &[&str] = &[
    "org.freedesktop.hostname1",
    "org.freedesktop.timedate1",
    "org.freedesktop.locale1",
];

/// Commands that do what a member does. `true`: the call's first argument is a unit, or a list of units.
const INSTEAD: &[(&str, &[&str], &str, bool)] = &[
    (
        "org.freedesktop.systemd1.Manager",
        &["StartUnit"],
        "service.start",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["StopUnit"],
        "service.stop",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["RestartUnit", "TryRestartUnit"],
        "service.restart",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &[
            "ReloadUnit",
            "ReloadOrRestartUnit",
            "ReloadOrTryRestartUnit",
        ],
        "service.reload",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["EnableUnitFiles"],
        "service.enable",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["DisableUnitFiles"],
        "service.disable",
        true,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["Reload"],
        "service.daemon_reload",
        false,
    ),
    (
        "org.freedesktop.systemd1.Manager",
        &["Reboot"],
        "system.reboot",
        false,
    ),
    (
        "org.freedesktop.login1.Manager",
        &["Reboot", "RebootWithFlags"],
        "system.reboot",
        false,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forward { may_start: bool },
    Empty,
    Refused,
}

#[derive(Debug, Default)]
pub struct Table {
    added: BTreeSet<String>,
}

impl Table {
    #[must_use]
    pub fn new(added: Vec<String>) -> Self {
        let added = added.into_iter().collect();
        Self { added }
    }

    #[must_use]
    pub fn decide(&self, call: &Call<'_>) -> Verdict {
        if has(EMPTY, call) {
            return Verdict::Empty;
        }
        match has(READS, call) || self.added.contains(&call.name()) {
            true => Verdict::Forward {
                may_start: STARTED.contains(&call.destination),
            },
            false => Verdict::Refused,
        }
    }
}

/// Returns as how many calls it counts.
#[must_use]
pub fn weight(call: &Call<'_>) -> u32 {
    match call.member {
        member if LISTS.contains(&member) => LIST,
        member if SEARCHES.contains(&member) => SEARCH,
        _ => 1,
    }
}

fn has(table: &[(&str, &[&str])], call: &Call<'_>) -> bool {
    table
        .iter()
        .any(|(interface, members)| *interface == call.interface && members.contains(&call.member))
}

/// Returns the sentence of a refusal: the call, and what answers instead.
#[must_use]
pub fn refusal(call: &Call<'_>) -> String {
    let name = call.name();
    let command = INSTEAD.iter().find(|(interface, members, ..)| {
        *interface == call.interface && members.contains(&call.member)
    });
    let instead = match command {
        None => "Use change for commands that change; access lists them".to_owned(),
        Some((_, _, command, false)) => format!("Use change {command}"),
        Some((_, _, command, true)) => match unit(call) {
            Some(unit) => match is_protected(unit) {
                Some(why) => format!("No command changes {unit}: {why}"),
                None => format!("Use change {command} {unit}"),
            },
            None => format!("Use change {command}"),
        },
    };
    format!("Refused by remit: {name} is not a look; the bus is read-only here. {instead}")
}

/// Returns the first argument if it is the name of a unit: a string, or the first one of a list.
fn unit<'a>(call: &Call<'a>) -> Option<&'a str> {
    let body = match call.signature.as_bytes() {
        [b's', ..] => call.body,
        [b'a', b's', ..] => call.body.get(4..)?,
        _ => return None,
    };
    let (length, text) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@\\".contains(&byte);
    (1..=255)
        .contains(&text.len())
        .then_some(text)
        .filter(|text| text.bytes().all(is_safe))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(interface: &'a str, member: &'a str) -> Call<'a> {
        Call {
            serial: 1,
            wants_reply: true,
            path: "/",
            interface,
            member,
            destination: "org.freedesktop.systemd1",
            signature: "",
            body: b"",
        }
    }

    #[test]
    fn table_has_valid_calls_each_once() {
        let all: Vec<String> = READS
            .iter()
            .chain(EMPTY)
            .flat_map(|(interface, members)| {
                members
                    .iter()
                    .map(move |member| format!("{interface}.{member}"))
            })
            .collect();
        let once: BTreeSet<&String> = all.iter().collect();
        assert_eq!(once.len(), all.len());
        assert!(all.iter().all(|name| remit_common::bus::is_call(name)));
        let read: Vec<&str> = READS
            .iter()
            .flat_map(|(_, members)| *members)
            .copied()
            .collect();
        let mut weighed = LISTS.iter().chain(SEARCHES);
        assert!(weighed.all(|member| read.contains(member)));
        assert!(LISTS.iter().all(|member| !SEARCHES.contains(member)));
        // A member of a known command must not be forwarded.
        for (interface, members, ..) in INSTEAD {
            for member in *members {
                let verdict = Table::default().decide(&call(interface, member));
                assert_eq!(verdict, Verdict::Refused, "{member}");
            }
        }
    }

    #[test]
    fn calls_outside_the_table_are_refused() {
        let table = Table::new(vec!["org.example.Foo.GetState".to_owned()]);
        let forward = |may_start| Verdict::Forward { may_start };
        for (interface, member, expect) in [
            ("org.freedesktop.DBus.Properties", "Get", forward(false)),
            ("org.freedesktop.DBus.Properties", "Set", Verdict::Refused),
            ("org.freedesktop.DBus", "AddMatch", Verdict::Empty),
            ("org.freedesktop.DBus", "RequestName", Verdict::Refused),
            (
                "org.freedesktop.DBus",
                "StartServiceByName",
                Verdict::Refused,
            ),
            (
                "org.freedesktop.DBus.Monitoring",
                "BecomeMonitor",
                Verdict::Refused,
            ),
            ("org.example.Foo", "GetState", forward(false)),
            ("org.example.Foo", "SetState", Verdict::Refused),
            ("", "Get", Verdict::Refused),
            ("", "Hello", Verdict::Refused),
        ] {
            assert_eq!(
                table.decide(&call(interface, member)),
                expect,
                "{interface}.{member}"
            );
        }
        let mut started = call("org.freedesktop.DBus.Properties", "GetAll");
        started.destination = "org.freedesktop.hostname1";
        assert_eq!(table.decide(&started), forward(true));
    }

    #[test]
    fn refusal_names_the_command_that_answers() {
        let manager = "org.freedesktop.systemd1.Manager";
        let (one, list) = (b"\x05\0\0\0a.b@c\0", b"\x0a\0\0\0\x05\0\0\0a.b@c\0");
        let hidden = b"\x05\0\0\0a\x1b[2J\0";
        for (interface, member, signature, body, expect) in [
            (
                manager,
                "RestartUnit",
                "ss",
                &one[..],
                "Use change service.restart a.b@c",
            ),
            (
                manager,
                "RestartUnit",
                "ss",
                &b"\x0b\0\0\0ssh.service\0"[..],
                "here. No command changes ssh.service: people reach the machine by it",
            ),
            (
                manager,
                "ReloadOrRestartUnit",
                "ss",
                &one[..],
                "Use change service.reload a.b@c",
            ),
            (
                manager,
                "EnableUnitFiles",
                "asbb",
                &list[..],
                "Use change service.enable a.b@c",
            ),
            (
                manager,
                "StopUnit",
                "ss",
                &hidden[..],
                "here. Use change service.stop",
            ),
            (
                manager,
                "StopUnit",
                "ss",
                &b"\xff\xff\xff\xffa\0"[..],
                "here. Use change service.stop",
            ),
            (
                manager,
                "StartUnit",
                "u",
                &one[..],
                "here. Use change service.start",
            ),
            (
                manager,
                "Reboot",
                "",
                &b""[..],
                "here. Use change system.reboot",
            ),
            // No command switches the machine off.
            (
                manager,
                "PowerOff",
                "",
                &b""[..],
                "Use change for commands that change; access lists them",
            ),
            (
                "org.freedesktop.login1.Manager",
                "PowerOffWithFlags",
                "t",
                &b""[..],
                "Use change for commands that change; access lists them",
            ),
            (
                manager,
                "Reload",
                "",
                &b""[..],
                "here. Use change service.daemon_reload",
            ),
            (
                "org.freedesktop.login1.Manager",
                "Reboot",
                "b",
                &one[..],
                "Use change system.reboot",
            ),
        ] {
            let mut call = call(interface, member);
            (call.signature, call.body) = (signature, body);
            let text = refusal(&call);
            let begin = format!(
                "Refused by remit: {interface}.{member} is not a look; the bus is read-only here."
            );
            assert!(text.starts_with(&begin) && text.ends_with(expect), "{text}");
        }
    }
}
