//! What the service manager knows of a unit (org.freedesktop.systemd1(5)), as far as verbs are judged by it. It reads,
//! and changes nothing.

use std::collections::HashMap;

use remit_common::text;
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::Fault;
use crate::bus::{Bus, Service};

/// The service manager on the bus.
pub const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    manager: "org.freedesktop.systemd1.Manager",
};
/// The interface of every unit.
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// Bytes of a name or a state in a message.
pub const WORD: usize = 256;

/// Lists of units that stop when the one that has the list stops, and when it starts (systemd.unit(5)).
const STOPPED_BY_STOP: [&str; 5] = [
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];
const STOPPED_BY_START: [&str; 2] = ["Conflicts", "ConflictedBy"];
/// Lists of units that a start starts, at once or when it triggers them.
const STARTED_BY_START: [&str; 5] = ["Requires", "Wants", "BindsTo", "Upholds", "Triggers"];
/// Lists of units that start when the unit ends.
const STARTED_BY_END: [&str; 2] = ["OnSuccess", "OnFailure"];
/// What the machine does when a unit ends, fails, or starts too often.
const ACTIONS: [&str; 4] = [
    "FailureAction",
    "SuccessAction",
    "StartLimitAction",
    "JobTimeoutAction",
];

/// A unit, as far as verbs are judged by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its object on the bus.
    pub object: String,
    /// Its first name.
    pub id: String,
    /// All its names.
    pub names: Vec<String>,
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `inactive`, `failed`.
    pub active: String,
    /// Its file, and those that add to it.
    pub fragment: String,
    pub drop_ins: Vec<String>,
    /// The manager has not read its files since they changed.
    pub is_stale: bool,
    /// It has the dependencies that services of a running machine have.
    pub has_default_dependencies: bool,
    /// `FailureAction=reboot`: actions of the machine that it causes.
    pub actions: Vec<String>,
    pub stopped_by_stop: Vec<String>,
    pub stopped_by_start: Vec<String>,
    pub started_by_start: Vec<String>,
    pub started_by_end: Vec<String>,
    /// It keeps a state that its stop undoes: `Type=oneshot`, `RemainAfterExit=yes` and `ExecStop=`.
    pub undoes: bool,
}

impl Known {
    /// Whether a stop or a conflict ends something of it.
    pub fn is_up(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "failed")
    }
}

/// Answers what a unit is.
pub trait Manager {
    /// The unit of this name, loaded if it was not.
    async fn unit(&self, name: &str) -> Result<Known, Fault>;
}

impl Manager for Bus {
    async fn unit(&self, name: &str) -> Result<Known, Fault> {
        let object: OwnedObjectPath = self.call(&SYSTEMD, "LoadUnit", &name).await?;
        let all = self.get_all(&SYSTEMD, object.as_str(), UNIT).await?;
        let mut known = Properties(all).known();
        known.object = object.as_str().to_owned();
        if known.id.ends_with(".service") && !known.has_default_dependencies {
            known.undoes = undoes(self, &known.object).await?;
        }
        Ok(known)
    }
}

async fn undoes(bus: &Bus, object: &str) -> Result<bool, Fault> {
    let interface = "org.freedesktop.systemd1.Service";
    let all = bus.get_all(&SYSTEMD, object, interface).await?;
    let mut own = Properties(all);
    let stays = own.take("RemainAfterExit").unwrap_or(true);
    let kind: String = own.take("Type").unwrap_or_default();
    Ok(kind == "oneshot" && stays && !own.is_empty_list("ExecStop"))
}

/// The properties of one interface. One that an older manager does not have is as if it were empty.
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)?.try_into().ok()
    }

    fn word(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    fn lists(&mut self, names: &[&str]) -> Vec<String> {
        let all = names.iter().map(|name| self.take::<Vec<String>>(name));
        all.flatten().flatten().collect()
    }

    fn is_empty_list(&self, name: &str) -> bool {
        match self.0.get(name).map(|value| &**value) {
            Some(zbus::Variant::Array(all)) => all.is_empty(),
            Some(_) | None => false,
        }
    }

    fn known(mut self) -> Known {
        let mut actions = Vec::new();
        for name in ACTIONS {
            let action = self.word(name);
            if !matches!(action.as_str(), "" | "none") {
                actions.push(format!("{name}={}", text::line(action.as_bytes(), WORD)));
            }
        }
        Known {
            object: String::new(),
            id: self.word("Id"),
            names: self.lists(&["Names"]),
            load: self.word("LoadState"),
            active: self.word("ActiveState"),
            fragment: self.word("FragmentPath"),
            drop_ins: self.lists(&["DropInPaths"]),
            is_stale: self.take("NeedDaemonReload").unwrap_or(true),
            has_default_dependencies: self.take("DefaultDependencies").unwrap_or(false),
            actions,
            stopped_by_stop: self.lists(&STOPPED_BY_STOP),
            stopped_by_start: self.lists(&STOPPED_BY_START),
            started_by_start: self.lists(&STARTED_BY_START),
            started_by_end: self.lists(&STARTED_BY_END),
            undoes: false,
        }
    }
}
