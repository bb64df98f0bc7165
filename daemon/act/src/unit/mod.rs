//! Runs verbs on units (org.freedesktop.systemd1(5)): checks effects, asks the service manager, waits for its job.

pub mod after;
pub mod describe;
pub mod effects;
mod executed;
mod install;
mod job;
mod journal;
mod link;
mod manager;
mod section;
pub mod seen;

use after::Changed;
use effects::Act;
use link::link;
use manager::{SYSTEMD, UNIT, WORD, named, search_path};
use remit_common::builtin::UnitName;
use remit_common::text;
use zbus::OwnedObjectPath;

use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

/// Maximum number of loaded units that are checked for changed files before a daemon-reload.
const LOADED: usize = 8192;
const NAMED: usize = 5;

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
    let effects = effects::compute(bus, verb, &unit, &also).await?;
    let method = match verb {
        UnitVerb::Enable | UnitVerb::Disable => return link(bus, verb, &unit.id, &also).await,
        UnitVerb::Start => "StartUnit",
        UnitVerb::Stop => "StopUnit",
        UnitVerb::Restart => "RestartUnit",
        UnitVerb::Reload => "ReloadUnit",
    };
    let others = Act::from_verb(verb).map(|act| effects.now(&unit, act));
    job::job(bus, method, &unit, &others.unwrap_or_default()).await
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
            "files of other units were changed and not read again yet, and this would bring them into force: {}{}; the \
             command service.daemon_reload, or systemctl daemon-reload, reads them first",
            changed.join(" "),
            match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            }
        ))),
    }
}
