//! Verbs on units (org.freedesktop.systemd1(5)): what a verb does is judged, the service manager is asked, its job waited
//! for, its result told.

pub mod describe;
mod effects;
mod install;
mod manager;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_core::Stream;
use remit_common::builtin::UnitName;
use remit_common::service::is_protected;
use remit_common::text;
use tokio::time::timeout_at;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, message};

use self::manager::{Known, Manager, SYSTEMD, UNIT, WORD};
use crate::args::UnitVerb;
use crate::bus::{Bus, said};
use crate::{Fault, journal};

/// Units whose files are compared with what the manager has read, before it is to read all of them again.
const LOADED: usize = 8192;
/// Of units with changed files, how many are named.
const NAMED: usize = 5;

/// A unit file that was linked or unlinked: what happened, where, and to what it leads.
type Change = (String, String, String);
/// A unit as `ListUnits` has it.
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

/// Carries out a verb, and tells on standard output what came of it.
pub async fn act(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    act_on(&Bus::system().await?, verb, name.as_str()).await
}

async fn act_on(bus: &Bus, verb: UnitVerb, name: &str) -> Result<(), Fault> {
    let unit = named(bus, name).await?;
    effects::of(bus, verb, &unit).await?;
    match verb {
        UnitVerb::Enable => link(bus, verb, "EnableUnitFiles", &unit).await,
        UnitVerb::Disable => link(bus, verb, "DisableUnitFiles", &unit).await,
        UnitVerb::Start => job(bus, "StartUnit", &unit).await,
        UnitVerb::Stop => job(bus, "StopUnit", &unit).await,
        UnitVerb::Restart => job(bus, "RestartUnit", &unit).await,
        UnitVerb::Reload => job(bus, "ReloadUnit", &unit).await,
    }
}

/// The unit, if it exists under this very name and is protected under none.
async fn named(bus: &Bus, name: &str) -> Result<Known, Fault> {
    let unit = bus.unit(name).await?;
    is_as_named(name, &unit.id, &unit.names).map_err(Fault::Refused)?;
    match unit.load.as_str() {
        "loaded" => Ok(unit),
        "not-found" => Err(Fault::Refused(format!("there is no unit '{name}'"))),
        state => Err(Fault::Refused(format!(
            "unit '{name}' is not loaded: it is {}",
            text::line(state.as_bytes(), WORD)
        ))),
    }
}

/// The directories of unit files, the one that counts most first.
async fn search_path(bus: &Bus) -> Result<Vec<String>, Fault> {
    bus.get(&SYSTEMD, SYSTEMD.path, SYSTEMD.manager, "UnitPath")
        .await
}

/// Whether it may be changed by this name. What rules deny and people approve is the name that was asked
/// for: by another name of it, it would be another unit than they know.
fn is_as_named(name: &str, id: &str, names: &[String]) -> Result<(), String> {
    for known in names.iter().map(String::as_str).chain([id]) {
        if let Some(why) = is_protected(known) {
            let known = text::line(known.as_bytes(), WORD);
            return Err(format!(
                "unit '{name}' is '{known}', which is protected: {why}"
            ));
        }
    }
    match name == id {
        true => Ok(()),
        false => {
            let id = text::line(id.as_bytes(), WORD);
            Err(format!(
                "unit '{name}' is '{id}': ask for it by that name, which rules and people know"
            ))
        }
    }
}

/// Has the service manager make a job of a verb, and waits until it is over.
async fn job(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
    // Before the call: a job can be over before its answer is read.
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
    let ended = timeout_at(bus.end, ended(&mut removed, &manager, &asked)).await;
    let result = ended.unwrap_or_else(|_| Ok("still waiting: remit-act gave up".into()))?;
    let after = state(bus, unit).await?;
    println!("{method} {}: {result}", unit.id);
    println!("before: {before}");
    println!("after:  {after}");
    journal::show(&unit.id, since);
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

/// The result of a job. Anybody can send a signal: that of the manager's own connection counts.
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
        let told: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
        match told {
            Ok((_, ended, _, result)) if ended == *job => return Ok(result),
            Ok(_) => {}
            Err(error) => return Err(Fault::Failed(said(&error))),
        }
    }
    Err(Fault::Failed("the system bus has ended".into()))
}

/// `active (running), main process 4711`
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

/// Refuses to have the files of all units read again where some were changed since: they would come into force by a
/// verb that is about another unit.
async fn nothing_waits_for_a_reload(bus: &Bus) -> Result<(), Fault> {
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

/// Enables or disables a unit, and has the manager read its files again.
async fn link(bus: &Bus, verb: UnitVerb, method: &str, unit: &Known) -> Result<(), Fault> {
    install::linked(bus, verb, unit, &search_path(bus).await?).await?;
    nothing_waits_for_a_reload(bus).await?;
    let id = unit.id.as_str();
    let files = [id];
    let changes: Vec<Change> = match method {
        // Links that others made are not replaced.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_changed_by_its_own_name_alone() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let both = names(&["mysql.service", "mariadb.service"]);
        assert_eq!(
            is_as_named("mariadb.service", "mariadb.service", &both),
            Ok(())
        );
        let other = is_as_named("mysql.service", "mariadb.service", &both).unwrap_err();
        assert!(other.contains("is 'mariadb.service'"), "{other}");
        let bus = names(&["x.service", "dbus.service"]);
        for (name, id) in [("x.service", "dbus.service"), ("x.service", "x.service")] {
            let said = is_as_named(name, id, &bus).unwrap_err();
            assert!(
                said.contains("'dbus.service', which is protected"),
                "{said}"
            );
        }
    }
}
