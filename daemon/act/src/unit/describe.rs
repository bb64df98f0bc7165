//! Describes the effects of a verb on a unit for the approver: files, commands and their user, and units that start,
//! stop, restart or reload with it. The lines depend only on these facts; they contain no times and no pids.

use std::time::Duration;

use remit_common::builtin::UnitName;
use remit_common::text;
use zbus::OwnedVariant;

use super::effects::{self, Act};
use super::install;
use super::manager::{Known, Manager, SYSTEMD, named, search_path};
use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

/// Shorter than the timeout of the caller.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of one command line. A longer one is refused, because an approver could not see all of it.
const COMMAND: usize = 8 << 10;
/// Bytes of all lines. This is less than the daemon reads.
const LINES: usize = 48 << 10;
const NAMES: usize = 4 << 10;

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
/// An entry of `ExecStart`: an older manager has only this.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

const ON_START: [(&str, &str); 4] = [
    ("ExecCondition", "to decide whether it starts"),
    ("ExecStartPre", "before its start"),
    ("ExecStart", "to start"),
    ("ExecStartPost", "after its start"),
];
const ON_STOP: [(&str, &str); 3] = [
    ("ExecStop", "to stop"),
    ("ExecStopPre", "before its stop"),
    ("ExecStopPost", "after its stop"),
];
const ON_RELOAD: [(&str, &str); 1] = [("ExecReload", "to reload")];

pub async fn print(verb: UnitVerb, name: &UnitName, made: Option<&str>) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    if let Some(file) = made
        && bus.unit(name.as_str()).await?.load == "not-found"
    {
        let file = text::line(file.as_bytes(), COMMAND);
        println!(
            "unit '{name}' is not there yet: {file}, which the change makes, says what it runs"
        );
        return Ok(());
    }
    for line in lines(&bus, verb, name.as_str()).await? {
        println!("{}", text::line(line.as_bytes(), COMMAND));
    }
    Ok(())
}

pub async fn print_reload() -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    println!("the service manager reads the files of all units again, and runs its generators");
    let changed = super::changed(&bus).await?;
    if let Some(line) = list("units whose files have changed before", &changed)? {
        println!("{line}");
    }
    Ok(())
}

async fn lines(bus: &Bus, verb: UnitVerb, name: &str) -> Result<Vec<String>, Fault> {
    let unit = named(bus, name).await?;
    let effects = effects::compute(bus, verb, &unit).await?;
    let mut lines = vec![files(&unit)];
    lines.extend(stale(&unit));
    if matches!(verb, UnitVerb::Enable | UnitVerb::Disable) {
        let linked = install::linked(bus, verb, &unit, &search_path(bus).await?).await?;
        lines.extend(list("with it, the same is done to", &linked.also)?);
        lines.extend(list("other names that it gets or loses", &linked.alias)?);
        lines.extend(list(
            "units that need it from then on",
            &linked.required_by,
        )?);
        lines.push("the service manager reads the files of all units again".to_owned());
    }
    let own = match verb {
        UnitVerb::Start | UnitVerb::Enable => Some(Act::Start),
        UnitVerb::Stop => Some(Act::Stop),
        UnitVerb::Restart => Some(Act::Restart),
        UnitVerb::Reload => Some(Act::Reload),
        UnitVerb::Disable => None,
    };
    if let Some(act) = own {
        lines.extend(executes(bus, &unit, act).await?);
    }
    if effects.units() > 0 {
        lines.push(format!("units that change with it: {}", effects.units()));
    }
    for (act, what) in [
        (Act::Start, "may start with it, or when it ends"),
        (Act::Stop, "stops with it"),
        (Act::Restart, "restarts with it"),
        (Act::Reload, "reloads with it"),
    ] {
        lines.extend(list(what, &effects.names(act))?);
    }
    for (known, act) in effects.all() {
        let executed = executes(bus, known, *act).await?;
        if executed.is_empty() {
            continue;
        }
        // A unit can both start and stop: its lines are added once.
        for line in [files(known)]
            .into_iter()
            .chain(stale(known))
            .chain(executed)
        {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    match lines.iter().map(|line| line.len() + 1).sum::<usize>() > LINES {
        false => Ok(lines),
        true => Err(Fault::Refused(format!(
            "{} units change with '{name}', and what they execute is more than {LINES} bytes: more than anybody can look at",
            effects.units()
        ))),
    }
}

fn stale(unit: &Known) -> Option<String> {
    unit.is_stale.then(|| {
        format!(
            "the files of {} were changed after the service manager read them: it acts by what it has read",
            unit.id
        )
    })
}

fn files(unit: &Known) -> String {
    let mut line = match unit.fragment.as_str() {
        "" => format!("{} has no file", unit.id),
        path => format!("{} is defined in {path}", unit.id),
    };
    for path in &unit.drop_ins {
        line.push_str(" and ");
        line.push_str(path);
    }
    line
}

fn list(what: &str, names: &[String]) -> Result<Option<String>, Fault> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    match names.join(" ") {
        all if all.is_empty() => Ok(None),
        all if all.len() > NAMES => Err(Fault::Refused(format!(
            "{what}: more units than anybody can look at"
        ))),
        all => Ok(Some(format!("{what}: {all}"))),
    }
}

async fn executes(bus: &Bus, unit: &Known, act: Act) -> Result<Vec<String>, Fault> {
    let interface = match unit.id.rsplit_once('.') {
        Some((_, "service")) => "org.freedesktop.systemd1.Service",
        Some((_, "socket")) => "org.freedesktop.systemd1.Socket",
        Some((_, "mount")) => "org.freedesktop.systemd1.Mount",
        Some((_, "swap")) => "org.freedesktop.systemd1.Swap",
        _ => return Ok(Vec::new()),
    };
    let on: Vec<(&str, &str)> = match act {
        // A started unit can end by itself, or fail, so its stop commands count too.
        Act::Start => [ON_START.as_slice(), &ON_STOP].concat(),
        Act::Stop => ON_STOP.to_vec(),
        Act::Restart => [ON_STOP.as_slice(), &ON_START].concat(),
        Act::Reload => ON_RELOAD.to_vec(),
        Act::Release => Vec::new(),
    };
    let mut all = bus.get_all(&SYSTEMD, &unit.object, interface).await?;
    let text = |value: Option<OwnedVariant>| value.and_then(|value| String::try_from(value).ok());
    let user = text(all.remove("User")).filter(|user| !user.is_empty());
    let own = all.remove("DynamicUser");
    let has_own = own.and_then(|value| bool::try_from(value).ok()) == Some(true);
    let user = match (user, has_own) {
        (_, true) => "a user of its own".to_owned(),
        (Some(user), false) => user,
        (None, false) => "root".to_owned(),
    };
    let root = text(all.remove("RootDirectory")).filter(|root| !root.is_empty());
    let image = text(all.remove("RootImage")).filter(|root| !root.is_empty());
    let inside = root
        .or(image)
        .map(|root| format!(", within {root}"))
        .unwrap_or_default();
    let mut lines = Vec::new();
    for (property, when) in on {
        let newer = all.remove(&format!("{property}Ex"));
        let older = all.remove(property);
        for command in commands(newer, older)? {
            let run_as = match command.is_privileged {
                true => "root, without the unit's sandbox",
                false => user.as_str(),
            };
            lines.push(format!(
                "{when}, {} executes as {run_as}{inside}: {}",
                unit.id, command.line
            ));
        }
    }
    Ok(lines)
}

struct Command {
    line: String,
    is_privileged: bool,
}

fn commands(
    newer: Option<OwnedVariant>,
    older: Option<OwnedVariant>,
) -> Result<Vec<Command>, Fault> {
    let odd = |_| Fault::Failed("the service manager lists commands oddly".into());
    let mut all = Vec::new();
    if let Some(value) = newer {
        let list: Vec<ExecEx> = value.try_into().map_err(odd)?;
        for (path, argv, flags, ..) in list {
            let is_privileged = flags
                .iter()
                .any(|flag| flag == "privileged" || flag == "no-setuid");
            let line = command_line(&path, &argv)?;
            all.push(Command {
                line,
                is_privileged,
            });
        }
    } else if let Some(value) = older {
        let list: Vec<Exec> = value.try_into().map_err(odd)?;
        for (path, argv, ..) in list {
            let line = command_line(&path, &argv)?;
            all.push(Command {
                line,
                is_privileged: false,
            });
        }
    }
    Ok(all)
}

fn command_line(path: &str, argv: &[String]) -> Result<String, Fault> {
    let args = argv.iter().skip(1).map(String::as_str);
    let words: Vec<&str> = [path].into_iter().chain(args).collect();
    let length: usize = words.iter().map(|word| word.len() + 3).sum();
    if length > COMMAND / 4 {
        let why = format!(
            "a command of more than {} bytes cannot be shown",
            COMMAND / 4
        );
        return Err(Fault::Refused(why));
    }
    Ok(text::command_line(&words, COMMAND))
}
