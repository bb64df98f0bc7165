//! Runs verbs on units (org.freedesktop.systemd1(5)): checks effects, asks the service manager, waits for its job.

pub mod after;
mod bus_names;
pub mod describe;
pub mod effects;
mod executed;
mod install;
mod job;
mod journal;
mod link;
mod manager;
pub mod reload;
mod section;
pub mod seen;

use after::Changed;
use effects::Act;
use link::link;
use manager::{named, search_path};
use remit_common::builtin::UnitName;

use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

pub async fn act(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    act_on(&Bus::system().await?, verb, name.as_str()).await
}

async fn act_on(bus: &Bus, verb: UnitVerb, name: &str) -> Result<(), Fault> {
    let unit = named(bus, name).await?;
    let also = match verb {
        UnitVerb::Enable | UnitVerb::Disable => {
            let search = search_path(bus).await?;
            let links = install::linked(bus, verb, &unit, &search).await?;
            if verb == UnitVerb::Disable {
                describe::removed(&unit.id, &links, &Changed::default(), &search)?;
            }
            links.also
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
