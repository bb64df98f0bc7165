//! What a verb on a unit would do, in lines for whoever approves it: the files, what is executed as whom, what starts and
//! stops with it. The lines are the same as long as that is the same: no times, no process numbers.

use std::time::Duration;

use remit_common::builtin::UnitName;
use remit_common::text;
use zbus::OwnedVariant;

use super::effects::{self, Effects};
use super::install;
use super::manager::{Known, SYSTEMD};
use super::{named, search_path};
use crate::Fault;
use crate::args::UnitVerb;
use crate::bus::Bus;

/// Shorter than whoever asks waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of one command line; a longer one is refused, since nobody could see it whole.
const COMMAND: usize = 8 << 10;
/// Of a list of names.
const NAMES: usize = 4 << 10;

/// A command as `ExecStartEx` has it: path, argv, flags, and when it ran.
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
/// As `ExecStart` has it, which an older manager has alone.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// Lists of commands, and the words for them.
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

/// Prints the lines.
pub async fn print(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    for line in lines(&bus, verb, name.as_str()).await? {
        println!("{}", text::line(line.as_bytes(), COMMAND));
    }
    Ok(())
}

async fn lines(bus: &Bus, verb: UnitVerb, name: &str) -> Result<Vec<String>, Fault> {
    let unit = named(bus, name).await?;
    let effects = effects::of(bus, verb, &unit).await?;
    let mut lines = vec![files(&unit)];
    if unit.is_stale {
        lines.push(format!(
            "the files of {} were changed after the service manager read them: it acts by what it has read",
            unit.id
        ));
    }
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
    lines.extend(executes(bus, &unit, verb).await?);
    let Effects { starts, stops } = effects;
    let names: Vec<String> = starts.iter().map(|known| known.id.clone()).collect();
    lines.extend(list("may start with it, or when it ends", &names)?);
    lines.extend(list("stops with it", &stops)?);
    for known in &starts {
        lines.extend(executes(bus, known, UnitVerb::Start).await?);
    }
    Ok(lines)
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

/// The names on one line; none, no line.
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

/// The commands that a verb has the manager execute.
async fn executes(bus: &Bus, unit: &Known, verb: UnitVerb) -> Result<Vec<String>, Fault> {
    let interface = match unit.id.rsplit_once('.') {
        Some((_, "service")) => "org.freedesktop.systemd1.Service",
        Some((_, "socket")) => "org.freedesktop.systemd1.Socket",
        Some((_, "mount")) => "org.freedesktop.systemd1.Mount",
        Some((_, "swap")) => "org.freedesktop.systemd1.Swap",
        _ => return Ok(Vec::new()),
    };
    let on: Vec<(&str, &str)> = match verb {
        UnitVerb::Start | UnitVerb::Enable => ON_START.to_vec(),
        UnitVerb::Stop => ON_STOP.to_vec(),
        UnitVerb::Restart => [ON_STOP.as_slice(), &ON_START].concat(),
        UnitVerb::Reload => ON_RELOAD.to_vec(),
        UnitVerb::Disable => Vec::new(),
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
            let as_whom = match command.is_privileged {
                true => "root, without the unit's sandbox",
                false => user.as_str(),
            };
            lines.push(format!(
                "{when}, {} executes as {as_whom}{inside}: {}",
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

/// The program's path and what it is given, quoted as for a shell.
fn command_line(path: &str, argv: &[String]) -> Result<String, Fault> {
    let given = argv.iter().skip(1).map(String::as_str);
    let words: Vec<&str> = [path].into_iter().chain(given).collect();
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
