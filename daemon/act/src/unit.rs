//! Verbs on units (org.freedesktop.systemd1(5)): the service manager is asked, its job waited for,
//! its result told.
//!
//! What stops with it, since it needs the unit or cannot be beside it, is looked at: nothing protected does. What a
//! start pulls in besides the unit is not.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_core::Stream;
use remit_common::builtin::UnitName;
use remit_common::service::is_protected;
use remit_common::text;
use tokio::time::timeout_at;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, message};

use crate::args::UnitVerb;
use crate::bus::{Bus, Service, said};
use crate::{Fault, journal};

const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    manager: "org.freedesktop.systemd1.Manager",
};
const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// Lists of units that stop when the one that has the list stops, and when it starts (systemd.unit(5)).
const STOPPED_BY_STOP: [&str; 5] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", NEWEST];
/// The one that systemd before 249 does not know.
const NEWEST: &str = "PropagatesStopTo";
const STOPPED_BY_START: [&str; 2] = ["Conflicts", "ConflictedBy"];
/// Units looked at to know what is stopped as well. Where there are more, the verb is refused.
const OTHERS: usize = 256;
/// Bytes of a name or a state that are shown.
const WORD: usize = 256;

/// A unit file that was linked or unlinked: what happened, where, and to what it leads.
type Change = (String, String, String);

/// A unit as the service manager has it.
struct Unit {
    object: OwnedObjectPath,
    id: String,
}

/// Carries out a verb, and tells on standard output what came of it.
pub async fn act(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    act_on(&Bus::system().await?, verb, name.as_str()).await
}

async fn act_on(bus: &Bus, verb: UnitVerb, name: &str) -> Result<(), Fault> {
    let unit = load(bus, name).await?;
    match verb {
        UnitVerb::Enable => link(bus, "EnableUnitFiles", &unit.id).await,
        UnitVerb::Disable => link(bus, "DisableUnitFiles", &unit.id).await,
        UnitVerb::Start => {
            stops_others(bus, &unit, &STOPPED_BY_START).await?;
            job(bus, "StartUnit", &unit).await
        }
        UnitVerb::Stop => {
            stops_others(bus, &unit, &STOPPED_BY_STOP).await?;
            job(bus, "StopUnit", &unit).await
        }
        UnitVerb::Restart => {
            stops_others(bus, &unit, &STOPPED_BY_START).await?;
            stops_others(bus, &unit, &STOPPED_BY_STOP).await?;
            job(bus, "RestartUnit", &unit).await
        }
        UnitVerb::Reload => job(bus, "ReloadUnit", &unit).await,
    }
}

/// The unit, if it exists under this very name and is protected under none.
async fn load(bus: &Bus, name: &str) -> Result<Unit, Fault> {
    let object: OwnedObjectPath = bus.call(&SYSTEMD, "LoadUnit", &name).await?;
    let id: String = bus.get(&SYSTEMD, object.as_str(), UNIT, "Id").await?;
    let names: Vec<String> = bus.get(&SYSTEMD, object.as_str(), UNIT, "Names").await?;
    is_as_named(name, &id, &names).map_err(Fault::Refused)?;
    match word(bus, &object, "LoadState").await?.as_str() {
        "loaded" => Ok(Unit { object, id }),
        "not-found" => Err(Fault::Refused(format!("there is no unit '{name}'"))),
        state => Err(Fault::Refused(format!(
            "unit '{name}' is not loaded: it is {state}"
        ))),
    }
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

/// Refuses what would stop a protected unit with it: one of `lists`, or one that stops with one of those.
async fn stops_others(bus: &Bus, unit: &Unit, lists: &[&str]) -> Result<(), Fault> {
    let refused = |what: String| Fault::Refused(format!("with '{}' {what}", unit.id));
    let mut seen = listed(bus, &unit.object, lists).await?;
    let mut next = 0;
    while let Some(other) = seen.get(next).cloned() {
        next += 1;
        if seen.len() > OTHERS {
            return Err(refused(format!("more than {OTHERS} others stop")));
        }
        let object: OwnedObjectPath = bus.call(&SYSTEMD, "LoadUnit", &other).await?;
        if word(bus, &object, "ActiveState").await? == "inactive" {
            continue;
        }
        if let Some(why) = is_protected(&other) {
            let other = text::line(other.as_bytes(), WORD);
            return Err(refused(format!(
                "'{other}' stops, which is protected: {why}"
            )));
        }
        for one in listed(bus, &object, &STOPPED_BY_STOP).await? {
            if one != unit.id && !seen.contains(&one) {
                seen.push(one);
            }
        }
    }
    Ok(())
}

/// The units in some lists of a unit.
async fn listed(bus: &Bus, of: &OwnedObjectPath, lists: &[&str]) -> Result<Vec<String>, Fault> {
    let mut all = Vec::new();
    for list in lists {
        match bus
            .get::<Vec<String>>(&SYSTEMD, of.as_str(), UNIT, list)
            .await
        {
            Ok(units) => all.extend(units),
            Err(Fault::Failed(why)) if *list == NEWEST && why.contains(NEWEST) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

/// Has the service manager make a job of a verb, and waits until it is over.
async fn job(bus: &Bus, method: &str, unit: &Unit) -> Result<(), Fault> {
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
async fn state(bus: &Bus, unit: &Unit) -> Result<String, Fault> {
    let active = word(bus, &unit.object, "ActiveState").await?;
    let sub = word(bus, &unit.object, "SubState").await?;
    let mut said = format!("{active} ({sub})");
    if unit.id.ends_with(".service") {
        let service = "org.freedesktop.systemd1.Service";
        let pid: u32 = bus
            .get(&SYSTEMD, unit.object.as_str(), service, "MainPID")
            .await?;
        if pid != 0 {
            said.push_str(&format!(", main process {pid}"));
        }
    }
    Ok(said)
}

async fn word(bus: &Bus, object: &OwnedObjectPath, property: &str) -> Result<String, Fault> {
    let word: String = bus.get(&SYSTEMD, object.as_str(), UNIT, property).await?;
    Ok(text::line(word.as_bytes(), WORD))
}

/// Enables or disables a unit, and has the manager read its files again.
async fn link(bus: &Bus, method: &str, id: &str) -> Result<(), Fault> {
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
