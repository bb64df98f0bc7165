//! Runs verbs on units (org.freedesktop.systemd1(5)): checks effects, asks the service manager, waits for its job.

pub mod after;
pub mod describe;
pub mod effects;
mod executed;
mod install;
mod manager;
mod section;

use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use after::Changed;
use futures_core::Stream;
use manager::{Known, SYSTEMD, UNIT, WORD, named, search_path};
use remit_common::builtin::UnitName;
use remit_common::text;
use tokio::time::timeout_at;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, message};

use crate::args::{Fault, UnitVerb};
use crate::bus::{Bus, said};

/// Maximum number of loaded units that are checked for changed files before a daemon-reload.
const LOADED: usize = 8192;
const NAMED: usize = 5;
/// The result of a job that is not seen to end.
const GOES_ON: &str = "it has not ended within nine minutes; the job goes on";

type Change = (String, String, String);
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

pub async fn act(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    act_on(&Bus::system().await?, verb, name.as_str()).await
}

async fn act_on(bus: &Bus, verb: UnitVerb, name: &str) -> Result<(), Fault> {
    let unit = named(bus, name).await?;
    let also = match verb {
        UnitVerb::Enable | UnitVerb::Disable => {
            let search = search_path(bus).await?;
            let links = install::linked(bus, verb, &unit, &search).await?;
            if verb == UnitVerb::Enable {
                links.also
            } else {
                describe::removed(&unit.id, &links, &Changed::default(), &search)?;
                Vec::new()
            }
        }
        _ => Vec::new(),
    };
    effects::compute(bus, verb, &unit, &also).await?;
    match verb {
        UnitVerb::Enable => link(bus, "EnableUnitFiles", &unit).await,
        UnitVerb::Disable => link(bus, "DisableUnitFiles", &unit).await,
        UnitVerb::Start => job(bus, "StartUnit", &unit).await,
        UnitVerb::Stop => job(bus, "StopUnit", &unit).await,
        UnitVerb::Restart => job(bus, "RestartUnit", &unit).await,
        UnitVerb::Reload => job(bus, "ReloadUnit", &unit).await,
    }
}

async fn job(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
    // Subscribe before the call: the job can end before its reply is read.
    bus.call::<_, ()>(&SYSTEMD, "Subscribe", &()).await?;
    let manager = bus.owner(&SYSTEMD).await?;
    let mut removed = jobs_removed(bus).await?;
    let before = state(bus, unit).await?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let asked: OwnedObjectPath = bus
        .call(&SYSTEMD, method, &(unit.id.as_str(), "replace"))
        .await?;
    let ended = timeout_at(bus.end_of_jobs(), ended(&mut removed, &manager, &asked)).await;
    let result = ended.unwrap_or_else(|_| Ok(GOES_ON.to_owned()))?;
    let after = state(bus, unit).await?;
    println!("{method} {}: {result}", unit.id);
    println!("before: {before}");
    println!("after:  {after}");
    show_journal(&unit.id, since);
    match result.as_str() {
        "done" if !after.starts_with("failed") => Ok(()),
        "done" => Err(Fault::Failed(format!(
            "'{}' failed right after it",
            unit.id
        ))),
        other => Err(Fault::Failed(format!("{method} of '{}': {other}", unit.id))),
    }
}

async fn jobs_removed(bus: &Bus) -> Result<MessageStream, Fault> {
    let failed = |error| Fault::Failed(format!("cannot wait for a job: {}", said(&error)));
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(SYSTEMD.name)
        .path(SYSTEMD.path)
        .interface(SYSTEMD.manager)
        .member("JobRemoved")
        .build()
        .map_err(failed)?;
    MessageStream::for_match_rule(rule, &bus.connection, None)
        .await
        .map_err(failed)
}

/// Waits for the result of a job. Any process can send a signal, so only the manager's own connection counts.
async fn ended(
    removed: &mut MessageStream,
    manager: &str,
    job: &OwnedObjectPath,
) -> Result<String, Fault> {
    while let Some(signal) = poll_fn(|context| Pin::new(&mut *removed).poll_next(context)).await {
        let signal: Message = signal.map_err(|error| Fault::Failed(said(&error)))?;
        if signal.header().sender().map(|sender| sender.as_str()) != Some(manager) {
            continue;
        }
        let body = signal.body();
        let reported: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
        match reported {
            Ok((_, ended, _, result)) if ended == *job => return Ok(result),
            Ok(_) => {}
            Err(error) => return Err(Fault::Failed(said(&error))),
        }
    }
    Err(Fault::Failed("the system bus has ended".into()))
}

async fn state(bus: &Bus, unit: &Known) -> Result<String, Fault> {
    let active = word(bus, unit, "ActiveState").await?;
    let sub = word(bus, unit, "SubState").await?;
    let mut said = format!("{active} ({sub})");
    if unit.id.ends_with(".service") {
        let service = "org.freedesktop.systemd1.Service";
        let pid: u32 = bus.get(&SYSTEMD, &unit.object, service, "MainPID").await?;
        if pid != 0 {
            said.push_str(&format!(", main process {pid}"));
        }
    }
    Ok(said)
}

async fn word(bus: &Bus, unit: &Known, property: &str) -> Result<String, Fault> {
    let word: String = bus.get(&SYSTEMD, &unit.object, UNIT, property).await?;
    Ok(text::line(word.as_bytes(), WORD))
}

/// Has the service manager read the files of all units again, and run its generators.
pub async fn reload_all() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let changed = changed(&bus).await?.len();
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    println!("the files of all units were read again; of {changed} loaded units they had changed");
    Ok(())
}

/// Returns the loaded units whose files have changed since they were read.
async fn changed(bus: &Bus) -> Result<Vec<String>, Fault> {
    let all: Vec<Listed> = bus.call(&SYSTEMD, "ListUnits", &()).await?;
    if all.len() > LOADED {
        return Err(Fault::Refused(format!(
            "more than {LOADED} units are loaded"
        )));
    }
    let mut changed = Vec::new();
    for (name, .., object, _, _, _) in all {
        if bus
            .get(&SYSTEMD, object.as_str(), UNIT, "NeedDaemonReload")
            .await?
        {
            changed.push(text::line(name.as_bytes(), WORD));
        }
    }
    Ok(changed)
}

/// Refuses a daemon-reload if files of any loaded unit changed: a verb about another unit would bring them into force.
async fn refuse_pending_reload(bus: &Bus) -> Result<(), Fault> {
    let mut changed = changed(bus).await?;
    let more = changed.len().saturating_sub(NAMED);
    changed.truncate(NAMED);
    match (changed.is_empty(), more) {
        (true, _) => Ok(()),
        (false, more) => Err(Fault::Refused(format!(
            "files of other units were changed and not read again yet, and this would bring them into force: {}{}; an \
             administrator runs systemctl daemon-reload first",
            changed.join(" "),
            match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            }
        ))),
    }
}

async fn link(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
    refuse_pending_reload(bus).await?;
    let id = unit.id.as_str();
    let files = [id];
    let changes: Vec<Change> = match method {
        // `false` (force): existing links of other units are not replaced.
        "EnableUnitFiles" => {
            let body = (files.as_slice(), false, false);
            let (carries, changes): (bool, Vec<Change>) = bus.call(&SYSTEMD, method, &body).await?;
            if !carries {
                println!("'{id}' has no [Install] section: nothing starts it at boot by that");
            }
            changes
        }
        _ => {
            bus.call(&SYSTEMD, method, &(files.as_slice(), false))
                .await?
        }
    };
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    println!("{method} {id}: {} changed", changes.len());
    for (what, link, to) in changes {
        let line = match to.is_empty() {
            true => format!("{what} {link}"),
            false => format!("{what} {link} -> {to}"),
        };
        println!("{}", text::line(line.as_bytes(), 4 * WORD));
    }
    Ok(())
}

const JOURNALCTL: &str = "/usr/bin/journalctl";
const LINES: &str = "--lines=10";
// Bytes read in all, and bytes shown of one line.
const MOST: u64 = 64 << 10;
const LINE: usize = 1000;

/// Prints the last journal lines of a unit since a time, by one journalctl. An unreadable journal is no failure.
fn show_journal(unit: &str, since: Duration) {
    match last_lines(unit, since) {
        Ok(said) if said.trim_ascii().is_empty() => println!("It has written nothing since."),
        Ok(said) => {
            println!("Its last lines since:");
            for line in said.trim_ascii_end().split(|byte| *byte == b'\n') {
                println!("  {}", text::line(line, LINE));
            }
        }
        Err(error) => println!("Its lines cannot be shown: '{JOURNALCTL}': {error}"),
    }
}

fn last_lines(unit: &str, since: Duration) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new(JOURNALCTL)
        .env_clear()
        .env("TZ", "UTC")
        .args(["--quiet", "--no-pager", "--output=short-iso", LINES])
        .arg(format!(
            "--since=@{}.{:06}",
            since.as_secs(),
            since.subsec_micros()
        ))
        .arg(format!("--unit={unit}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MOST).read_to_end(&mut said)?;
    }
    child.wait()?;
    Ok(said)
}
