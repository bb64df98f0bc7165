//! Says what a unit executes when it starts, stops, restarts or reloads, as which user, and what its settings make of that.
//! If the service manager does not say who runs a command, the line says root.

mod identity;
mod settings;

use std::collections::HashMap;

use remit_common::text;
use zbus::{OwnedVariant, Variant};

use super::effects::Act;
use super::manager::{Known, SYSTEMD};
use crate::args::Fault;
use crate::bus::Bus;
use identity::{Account, Identity, Prefixes};

/// Bytes of the words of one command. A longer one is refused, because an approver could not see all of it.
const RAW: usize = 2 << 10;

pub type Properties = HashMap<String, OwnedVariant>;
type ExecEx = (
    String,
    Vec<String>,
    Vec<String>,
    u64,
    u64,
    u64,
    u64,
    u32,
    i32,
    i32,
);
/// An entry of `ExecStart`: sockets and an older manager have only this. It has no prefixes.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

const ON_START: [(&str, &str); 4] = [
    ("ExecCondition", "to decide whether it starts"),
    ("ExecStartPre", "before its start"),
    (MAIN, "to start"),
    ("ExecStartPost", "after its start"),
];
const ON_STOP: [(&str, &str); 3] = [
    ("ExecStop", "to stop"),
    ("ExecStopPre", "before its stop"),
    ("ExecStopPost", "after its stop"),
];
const ON_RELOAD: [(&str, &str); 2] = [
    ("ExecReload", "to reload"),
    ("ExecReloadPost", "after its reload"),
];
/// The only commands for which `PermissionsStartOnly=` and `RootDirectoryStartOnly=` change nothing.
const MAIN: &str = "ExecStart";
/// What the manager makes itself of the settings of a mount or a swap, and only when it runs it.
const OF_MANAGER: [&str; 5] = [
    "ExecMount",
    "ExecRemount",
    "ExecUnmount",
    "ExecActivate",
    "ExecDeactivate",
];

/// The lines about one unit.
#[derive(Debug, Default)]
pub struct Executed {
    pub of_root: Vec<String>,
    pub of_others: Vec<String>,
    pub settings: Vec<String>,
}

impl Executed {
    pub fn all(&self) -> impl Iterator<Item = &String> {
        let commands = self.of_root.iter().chain(&self.of_others);
        commands.chain(&self.settings)
    }
}

pub async fn executes(bus: &Bus, unit: &Known, act: Act) -> Result<Executed, Fault> {
    let kind = unit.id.rsplit_once('.').map_or("", |(_, kind)| kind);
    let interface = match kind {
        "service" => "org.freedesktop.systemd1.Service",
        "socket" => "org.freedesktop.systemd1.Socket",
        "path" => "org.freedesktop.systemd1.Path",
        "mount" => "org.freedesktop.systemd1.Mount",
        "swap" => "org.freedesktop.systemd1.Swap",
        _ => return Ok(Executed::default()),
    };
    let mut all = bus.get_all(&SYSTEMD, &unit.object, interface).await?;
    if kind == "service" {
        // The manager leaves it out of the list of all.
        let hidden = identity::START_ONLY;
        let value = bus.get(&SYSTEMD, &unit.object, interface, hidden).await;
        all.extend(value.ok().map(|value| (hidden.to_owned(), value)));
    }
    lines(&unit.id, act, &all, &identity::account)
}

fn lines(
    unit: &str,
    act: Act,
    all: &Properties,
    account: &dyn Fn(&str) -> Account,
) -> Result<Executed, Fault> {
    if !act.is_of_jobs() {
        return Ok(Executed::default());
    }
    let identity = Identity::new(unit, all, account)?;
    let mut lines = Executed::default();
    for (property, when) in at(act, all) {
        for command in commands(property, all)? {
            let whom = identity.of(&command.prefixes, property != MAIN);
            let name = command.name.as_deref();
            let name = name.map(|name| format!(", under the name {}", settings::quoted(name)));
            let list = match identity::is_root(&whom) {
                true => &mut lines.of_root,
                false => &mut lines.of_others,
            };
            list.push(format!(
                "{when}, {unit} executes as {whom}{}: {}",
                name.unwrap_or_default(),
                command.line
            ));
        }
    }
    lines.of_root.extend(of_manager(unit, act, all)?);
    lines.of_root.extend(settings::socket(unit, all));
    lines.of_root.extend(settings::path(unit, act, all));
    lines.of_root.extend(settings::removed(unit, act, all));
    if lines.all().next().is_some() {
        lines.settings = settings::lines(unit, all);
    }
    Ok(lines)
}

/// Returns the properties with commands of an act. One that is not known here can be for every act.
fn at<'a>(act: Act, all: &'a Properties) -> Vec<(&'a str, &'static str)> {
    let known = || ON_START.iter().chain(&ON_STOP).chain(&ON_RELOAD);
    let base = |name: &'a str| name.strip_suffix("Ex").unwrap_or(name);
    let mut others: Vec<&str> = all
        .iter()
        .filter(|(name, value)| name.starts_with("Exec") && has_entries(value))
        .map(|(name, _)| base(name))
        .filter(|name| !OF_MANAGER.contains(name) && known().all(|(known, _)| known != name))
        .collect();
    others.sort_unstable();
    others.dedup();
    let on = match act {
        // A started unit can end by itself, or fail, so its stop commands count too.
        Act::Start => [ON_START.as_slice(), &ON_STOP].concat(),
        Act::Stop => ON_STOP.to_vec(),
        Act::Restart => [ON_STOP.as_slice(), &ON_START].concat(),
        Act::Reload => ON_RELOAD.to_vec(),
        Act::Release | Act::Later | Act::Trigger => Vec::new(),
    };
    let others = others.into_iter().map(|name| (name, "at another time"));
    on.into_iter().chain(others).collect()
}

/// Returns true for a list of structures that has one: the names of other lists begin with the same letters.
fn has_entries(value: &OwnedVariant) -> bool {
    match &**value {
        Variant::Array(list) => list
            .iter()
            .next()
            .is_some_and(|one| matches!(one, Variant::Structure(_))),
        _ => false,
    }
}

struct Command {
    line: String,
    /// `argv[0]`, if it is not the path of the program.
    name: Option<String>,
    prefixes: Prefixes,
}

fn commands(property: &str, all: &Properties) -> Result<Vec<Command>, Fault> {
    let odd = |_| Fault::Failed(format!("the service manager lists {property} oddly"));
    let copy = |value: &OwnedVariant| value.try_clone().map_err(|_| odd(()));
    let newer = all.get(&format!("{property}Ex"));
    if let Some(value) = newer {
        let list: Vec<ExecEx> = copy(value)?.try_into().map_err(|_| odd(()))?;
        let all = list.into_iter();
        return all
            .map(|(path, argv, flags, ..)| Command::new(path, argv, Prefixes::known(&flags)))
            .collect();
    }
    let Some(value) = all.get(property) else {
        return Ok(Vec::new());
    };
    let list: Vec<Exec> = copy(value)?.try_into().map_err(|_| odd(()))?;
    let all = list.into_iter();
    all.map(|(path, argv, ..)| Command::new(path, argv, Prefixes::Unknown))
        .collect()
}

impl Command {
    fn new(path: String, argv: Vec<String>, prefixes: Prefixes) -> Result<Self, Fault> {
        let mut argv = argv.into_iter();
        let name = argv.next().filter(|name| *name != path);
        let words: Vec<String> = [path].into_iter().chain(argv).collect();
        let named = name.as_ref().map_or(0, String::len);
        let length: usize = words.iter().map(|word| word.len() + 3).sum();
        if length + named > RAW {
            let why = format!("a command of more than {RAW} bytes cannot be shown");
            return Err(Fault::Refused(why));
        }
        Ok(Self {
            line: text::command_line(&words, usize::MAX),
            name,
            prefixes,
        })
    }
}

/// Returns what the manager executes for a mount or a swap. A helper of the type runs as root, with the source and options.
fn of_manager(unit: &str, act: Act, all: &Properties) -> Result<Option<String>, Fault> {
    let text = |name: &str| settings::text(all, name).unwrap_or_default();
    let (what, mount_point, kind, options) =
        (text("What"), text("Where"), text("Type"), text("Options"));
    let (is_mount, is_swap) = (unit.ends_with(".mount"), unit.ends_with(".swap"));
    let (when, words) = match (act, is_mount, is_swap) {
        (Act::Start | Act::Restart | Act::Reload, true, _) => {
            let when = if act == Act::Reload {
                "to reload"
            } else {
                "to start"
            };
            let argv = ["mount", "-t", &kind, "-o", &options, &what, &mount_point];
            (when, argv.map(str::to_owned).to_vec())
        }
        (Act::Stop, true, _) => ("to stop", vec!["umount".to_owned(), mount_point]),
        (Act::Start | Act::Restart, _, true) => {
            let argv = ["swapon", "-o", &options, &what];
            ("to start", argv.map(str::to_owned).to_vec())
        }
        (Act::Stop, _, true) => ("to stop", vec!["swapoff".to_owned(), what]),
        _ => return Ok(None),
    };
    let command = Command::new(
        words.first().cloned().unwrap_or_default(),
        words,
        Prefixes::Unknown,
    )?;
    Ok(Some(format!(
        "{when}, {unit} executes as root: {}",
        command.line
    )))
}

#[cfg(test)]
mod tests;
