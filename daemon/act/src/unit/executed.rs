//! Says what a unit executes when it starts, stops, restarts or reloads, and as which user.

use remit_common::text;
use zbus::OwnedVariant;

use super::effects::Act;
use super::manager::{Known, SYSTEMD};
use crate::args::Fault;
use crate::bus::Bus;

/// Bytes of one command line. A longer one is refused, because an approver could not see all of it.
pub const COMMAND: usize = 8 << 10;

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

pub async fn executes(bus: &Bus, unit: &Known, act: Act) -> Result<Vec<String>, Fault> {
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
