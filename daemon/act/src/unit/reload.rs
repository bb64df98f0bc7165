//! Has the service manager read the files of all units again, and finds units whose files have changed since it did.

use remit_common::text;
use zbus::OwnedObjectPath;

use super::manager::{SYSTEMD, UNIT, WORD};
use crate::args::Fault;
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

/// Has the service manager read the files of all units again, and run its generators.
pub async fn reload_all() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let changed = changed(&bus).await?.len();
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    println!("the files of all units were read again; of {changed} loaded units they had changed");
    Ok(())
}

/// Returns the loaded units whose files have changed since they were read.
pub async fn changed(bus: &Bus) -> Result<Vec<String>, Fault> {
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
pub async fn refuse_pending_reload(bus: &Bus) -> Result<(), Fault> {
    let changed = changed(bus).await?;
    match changed.is_empty() {
        true => Ok(()),
        false => Err(Fault::Refused(format!(
            "files of other units were changed and not read again yet, and this would bring them into force: {}; the \
             command service.daemon_reload, or systemctl daemon-reload, reads them first",
            text::first_of(changed, NAMED)
        ))),
    }
}
