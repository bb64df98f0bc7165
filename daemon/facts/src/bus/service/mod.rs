//! Asks the service manager for what built-in commands show: one unit, a list of units, or failed units; and for a snapshot
//! for all units and unit files. Reads the properties of a unit at the object path derived from its name, as systemctl
//! does. The manager then also answers for units that are not in memory. Nothing is started or changed.

use std::collections::HashMap;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use remit_common::builtin::{Builtin, UnitName, UnitPattern, UnitState};
use remit_wire::host::List;
use remit_wire::service::{
    Condition, ManagerAnswer, Process, ServiceFacts, UnitFacts, UnitLine, Usage,
};
use tokio::time::Instant;
use zbus::OwnedVariant;

use super::{Bus, Decoding, PATIENCE, SYSTEMD, Unit, connect, interface, seconds};
use crate::now;
use crate::read::{Sources, Why, shown};

const UNITS: usize = 2000;
const NAMES: usize = 32;
const SIMILAR: usize = 8;
/// The manager uses this value for "no limit" and "not known" (org.freedesktop.systemd1(5)).
const NONE: u64 = u64::MAX;

const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// Returns the data as JSON, or the reason, within about two seconds. Must run on a tokio runtime with time enabled.
/// `decode_by` runs the decoding of lists on a thread that may block, at most one at a time.
pub async fn service_json(command: &Builtin, at: &Sources, decode_by: fn(Decoding)) -> Vec<u8> {
    let answer = match connect(&at.run, Instant::now() + PATIENCE).await {
        Ok(bus) => Bus { decode_by, ..bus }.tell(command).await,
        Err(why) => Err(why),
    };
    let facts = ServiceFacts {
        time: now(),
        answer,
    };
    // Plain data with string keys always serializes.
    serde_json::to_vec(&facts).unwrap_or_default()
}

impl Bus {
    async fn tell(&self, command: &Builtin) -> Result<ManagerAnswer, Why> {
        self.present(&SYSTEMD).await?;
        match command {
            Builtin::ServiceStatus { unit } => {
                Ok(ManagerAnswer::Unit(Box::new(self.unit(unit).await?)))
            }
            Builtin::ServiceList { state, pattern } => {
                let units = self.list_units().await?;
                Ok(ManagerAnswer::List(list(units, *state, pattern.as_ref())))
            }
            Builtin::ServiceFailed => self.units().await.map(ManagerAnswer::Failed),
            Builtin::Logs(_) => Err("the journal is not asked here".into()),
        }
    }

    async fn unit(&self, name: &UnitName) -> Result<UnitFacts, Why> {
        let path = object_path(name.as_str());
        let unit = self.properties(&path, UNIT).await?;
        let own = match interface(name.as_str()) {
            Some(kind) => self.properties(&path, &kind).await?,
            None => Properties::default(),
        };
        let mut facts = facts(unit, own, Clocks::now());
        if facts.load == "not-found" && facts.active == "inactive" {
            facts.similar = similar(&self.list_units().await.unwrap_or_default(), name);
        }
        Ok(facts)
    }

    async fn properties(&self, path: &str, interface: &str) -> Result<Properties, Why> {
        let all = "org.freedesktop.DBus.Properties";
        let of = &(interface,);
        self.call(SYSTEMD.name, path, all, "GetAll", of)
            .await
            .map(Properties)
    }
}

/// Returns a unit's object path: bytes but letters and digits become `_` and 2 hex digits (sd_bus_path_encode(3)).
fn object_path(name: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => path.push(char::from(byte)),
            b'0'..=b'9' if at > 0 => path.push(char::from(byte)),
            other => path += &format!("_{other:02x}"),
        }
    }
    path
}

fn list(
    units: Vec<Unit>,
    state: Option<UnitState>,
    pattern: Option<&UnitPattern>,
) -> List<UnitLine> {
    let named = |name: &str| match pattern {
        Some(pattern) => pattern.matches(name),
        None => name.ends_with(".service"),
    };
    let wanted = |unit: &Unit| {
        let (name, _, load, active, sub, ..) = unit;
        let states = [load.as_str(), active, sub];
        // A unit that others only mention is left out, unless the query asks for that state.
        named(name)
            && state.map_or(load != "not-found", |state| {
                states.contains(&state.as_str())
            })
    };
    let mut lines: Vec<UnitLine> = units
        .into_iter()
        .filter(wanted)
        .map(|(name, description, load, active, sub, ..)| UnitLine {
            name: shown(&name),
            description: shown(&description),
            load: shown(&load),
            active: shown(&active),
            sub: shown(&sub),
        })
        .collect();
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    List::cut(lines, UNITS)
}

fn similar(units: &[Unit], name: &UnitName) -> Vec<String> {
    let stem = name.stem().to_ascii_lowercase();
    let like = |other: &str| {
        let other = other.to_ascii_lowercase();
        let short = other.split(['.', '@']).next().unwrap_or_default();
        other.contains(&stem) || short.len() > 2 && stem.contains(short)
    };
    let names = units.iter().filter(|unit| unit.2 != "not-found");
    let names = names.map(|unit| unit.0.as_str());
    let mut names: Vec<String> = names
        .filter(|name| like(name) && !name.ends_with(".device"))
        .map(shown)
        .collect();
    // The closer the length, the likelier the match.
    names.sort_by_key(|name| (name.len().abs_diff(stem.len()), name.clone()));
    names.truncate(SIMILAR);
    names
}

#[derive(Default)]
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)?.try_into().ok()
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.take::<String>(name)?;
        Some(shown(&text)).filter(|text| !text.is_empty())
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        let texts: Vec<String> = self.take(name).unwrap_or_default();
        texts.iter().take(NAMES).map(|text| shown(text)).collect()
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        self.take(name).filter(|number| *number != NONE)
    }

    fn small(&mut self, name: &str) -> Option<u64> {
        self.take::<u32>(name).map(u64::from)
    }

    fn time(&mut self, name: &str) -> Option<u64> {
        self.number(name).filter(|time| *time > 0).map(seconds)
    }
}

fn facts(mut unit: Properties, mut own: Properties, clocks: Clocks) -> UnitFacts {
    let result = own.text("Result");
    UnitFacts {
        name: unit.text("Id").unwrap_or_default(),
        description: unit.text("Description").unwrap_or_default(),
        load: unit.text("LoadState").unwrap_or_default(),
        load_error: unit
            .take::<(String, String)>("LoadError")
            .map(|(_, text)| shown(&text))
            .filter(|text| !text.is_empty()),
        active: unit.text("ActiveState").unwrap_or_default(),
        sub: unit.text("SubState").unwrap_or_default(),
        file_state: unit.text("UnitFileState"),
        fragment: unit.text("FragmentPath"),
        drop_ins: unit.texts("DropInPaths"),
        needs_reload: unit.take("NeedDaemonReload").unwrap_or(false),
        since: unit.time("StateChangeTimestamp"),
        condition: condition(&mut unit),
        triggered_by: unit.texts("TriggeredBy"),
        triggers: unit.texts("Triggers"),
        documentation: unit.texts("Documentation"),
        process: process(&mut own, result.as_deref()),
        result,
        usage: Usage {
            memory: own.number("MemoryCurrent"),
            memory_peak: own.number("MemoryPeak"),
            memory_max: own.number("MemoryMax"),
            tasks: own.number("TasksCurrent"),
            tasks_max: own.number("TasksMax"),
            cpu_usec: own
                .number("CPUUsageNSec")
                .map(|nanoseconds| nanoseconds / 1000),
        },
        listen: listen(&mut own),
        connections: own.small("NConnections"),
        accepted: own.small("NAccepted"),
        next: next(&mut own, clocks),
        last: own.time("LastTriggerUSec"),
        mounted: own.text("What"),
        similar: Vec::new(),
    }
}

/// Both clocks at the same moment, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    real: u64,
    monotonic: u64,
}

impl Clocks {
    fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        };
        Self {
            real: read(ClockId::CLOCK_REALTIME),
            monotonic: read(ClockId::CLOCK_MONOTONIC),
        }
    }
}

/// Returns when a timer elapses next, in seconds since 1970: the earlier of its calendar time and its time since boot.
fn next(own: &mut Properties, clocks: Clocks) -> Option<u64> {
    let calendar = own.number("NextElapseUSecRealtime");
    let since_boot = own.number("NextElapseUSecMonotonic").filter(|at| *at > 0);
    let since_boot =
        since_boot.map(|at| (clocks.real.saturating_add(at)).saturating_sub(clocks.monotonic));
    let both = calendar.filter(|at| *at > 0).into_iter().chain(since_boot);
    both.min().map(seconds)
}

fn condition(unit: &mut Properties) -> Option<Condition> {
    let held: bool = unit.take("ConditionResult")?;
    let time = unit.time("ConditionTimestamp").filter(|_| !held)?;
    // Type, trigger, negated, parameter, state. A state below zero means that the condition failed.
    let all: Vec<(String, bool, bool, String, i32)> = unit.take("Conditions").unwrap_or_default();
    let unmet = all.iter().filter(|(.., state)| *state < 0).take(NAMES);
    let unmet = unmet.map(|(kind, _, negated, parameter, _)| {
        let not = if *negated { "!" } else { "" };
        shown(&format!("{kind}={not}{parameter}"))
    });
    Some(Condition {
        time,
        unmet: unmet.collect(),
    })
}

/// An entry of ExecStart: path, argv, ignore failure, start and end on both clocks, pid, code and status of its end.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

fn process(own: &mut Properties, result: Option<&str>) -> Option<Process> {
    let pid = own.small("MainPID")?;
    let commands: Vec<Exec> = own.take("ExecStart").unwrap_or_default();
    let exited = own.time("ExecMainExitTimestamp").filter(|_| pid == 0);
    let code: i32 = own.take("ExecMainCode").unwrap_or_default();
    // CLD_* of sigaction(2). The manager keeps the last end while the next process runs.
    let ended = match code {
        1 => Some("exited"),
        2 => Some("killed"),
        3 => Some("dumped"),
        _ => None,
    };
    let ended = ended.filter(|_| exited.is_some() || result.is_some_and(|text| text != "success"));
    Some(Process {
        pid,
        command: commands
            .first()
            .map(|(_, argv, ..)| remit_common::text::command_line(argv, 256)),
        status: own.take("ExecMainStatus").filter(|_| ended.is_some()),
        ended: ended.map(str::to_owned),
        started: own.time("ExecMainStartTimestamp"),
        exited,
        restarts: own.small("NRestarts"),
        says: own.text("StatusText"),
    })
}

fn listen(own: &mut Properties) -> Vec<String> {
    let all: Vec<(String, String)> = own.take("Listen").unwrap_or_default();
    let lines = all.iter().take(NAMES);
    lines
        .map(|(kind, address)| shown(&format!("{kind} {address}")))
        .collect()
}

#[cfg(test)]
mod tests;

/// More units than any machine has. Each takes about 200 bytes here.
const MOST: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedUnitFile {
    pub(crate) name: String,
    pub(crate) state: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedUnit {
    pub(crate) name: String,
    pub(crate) active: String,
    pub(crate) sub: String,
}

pub(crate) async fn unit_files(at: &Sources, end: Instant) -> Result<Vec<ListedUnitFile>, Why> {
    let bus = manager(at, end).await?;
    let (to, path, interface) = (SYSTEMD.name, SYSTEMD.path, SYSTEMD.manager);
    let files: Vec<(String, String)> = bus.call(to, path, interface, "ListUnitFiles", &()).await?;
    bounded(files.len(), "unit files")?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let files = files.into_iter();
    Ok(files
        .map(|(path, state)| ListedUnitFile {
            name: name(&path),
            state,
        })
        .collect())
}

pub(crate) async fn unit_states(at: &Sources, end: Instant) -> Result<Vec<ListedUnit>, Why> {
    let units = manager(at, end).await?.list_units().await?;
    bounded(units.len(), "units")?;
    let units = units.into_iter();
    Ok(units
        .map(|(name, _, _, active, sub, ..)| ListedUnit { name, active, sub })
        .collect())
}

async fn manager(at: &Sources, end: Instant) -> Result<Bus, Why> {
    let bus = connect(&at.run, end).await?;
    bus.present(&SYSTEMD).await?;
    Ok(bus)
}

fn bounded(count: usize, what: &str) -> Result<(), Why> {
    match count <= MOST {
        true => Ok(()),
        false => Err(format!(
            "the service manager lists {count} {what}, more than {MOST}"
        )),
    }
}
