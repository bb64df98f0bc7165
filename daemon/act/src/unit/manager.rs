//! Loads a unit by its first name, if that may be changed, with what checks of verbs need (org.freedesktop.systemd1(5)).

use std::collections::HashMap;

use remit_common::builtin::check_first_name;
use remit_common::service::is_protected;
use remit_common::text;
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::args::Fault;
use crate::bus::{Bus, Service};

pub const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    manager: "org.freedesktop.systemd1.Manager",
};
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub const WORD: usize = 256;

const STOPPED_BY_STOP: [&str; 5] = [
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];
const STOPPED_BY_START: [&str; 2] = ["Conflicts", "ConflictedBy"];
const STOPPED_BY_END: [&str; 2] = ["BoundBy", "PropagatesStopTo"];
const RESTARTED_BY_RESTART: [&str; 4] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"];
const STARTED_BY_START: [&str; 5] = ["Requires", "Wants", "BindsTo", "Upholds", "Triggers"];
const STARTED_BY_END: [(&str, &str); 2] = [
    ("OnSuccess", "OnSuccessJobMode"),
    ("OnFailure", "OnFailureJobMode"),
];
/// Modes for dependencies alone (systemctl(1), `--job-mode=`). `isolate` stops all other units, `flush` cancels jobs.
const MODES: [&str; 5] = [
    "replace",
    "fail",
    "replace-irreversibly",
    "ignore-dependencies",
    "ignore-requirements",
];
const RELOADED_BY_RELOAD: [&str; 1] = ["PropagatesReloadTo"];
/// Active units in this list start the stopped unit again.
const UPHELD_BY: [&str; 1] = ["UpheldBy"];
/// Units that lose a user when this unit stops; they stop if they have `StopWhenUnneeded=yes`.
const KEPT_UP: [&str; 4] = ["Requires", "Requisite", "Wants", "BindsTo"];
/// Stand-in instance name, to read the files of the template that an `Accept=yes` socket starts for a connection.
const CONNECTION: &str = "0";
const ACTIONS: [&str; 4] = [
    "FailureAction",
    "SuccessAction",
    "StartLimitAction",
    "JobTimeoutAction",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub object: String,
    pub id: String,
    pub names: Vec<String>,
    pub load: String,
    pub active: String,
    pub fragment: String,
    pub drop_ins: Vec<String>,
    /// The file that a generator made it from, if it says so.
    pub source: String,
    /// The files have changed since the manager read them.
    pub is_stale: bool,
    /// `DefaultDependencies=yes`, as ordinary services have it.
    pub has_default_dependencies: bool,
    /// Actions on the whole machine, such as `FailureAction=reboot`.
    pub actions: Vec<String>,
    pub stopped_by_stop: Vec<String>,
    pub stopped_by_start: Vec<String>,
    pub stopped_by_end: Vec<String>,
    pub restarted_by_restart: Vec<String>,
    pub started_by_start: Vec<String>,
    pub started_by_end: Vec<String>,
    pub reloaded_by_reload: Vec<String>,
    pub upheld_by: Vec<String>,
    pub kept_up: Vec<String>,
    pub stops_unneeded: bool,
    /// Its stop undoes a state: `Type=oneshot`, `RemainAfterExit=yes` and `ExecStop=`.
    pub undoes: bool,
}

impl Known {
    /// Returns true if a stop or a conflict would end something.
    pub fn is_up(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "failed")
    }
}

pub trait Manager {
    async fn unit(&self, name: &str) -> Result<Known, Fault>;
}

impl Manager for Bus {
    async fn unit(&self, name: &str) -> Result<Known, Fault> {
        let object: OwnedObjectPath = self.call(&SYSTEMD, "LoadUnit", &name).await?;
        let all = self.get_all(&SYSTEMD, object.as_str(), UNIT).await?;
        let mut known = Properties(all).known(name)?;
        known.object = object.as_str().to_owned();
        if known.id.ends_with(".socket") {
            let template = template(self, &known).await?;
            known.started_by_start.extend(template);
        }
        if known.id.ends_with(".service") && !known.has_default_dependencies {
            known.undoes = undoes(self, &known.object).await?;
        }
        Ok(known)
    }
}

/// Returns the service template of an `Accept=yes` socket. No property of the socket lists it.
async fn template(bus: &Bus, socket: &Known) -> Result<Option<String>, Fault> {
    let interface = "org.freedesktop.systemd1.Socket";
    let accepts: bool = bus
        .get(&SYSTEMD, &socket.object, interface, "Accept")
        .await?;
    Ok(accepts.then(|| of_connection(&socket.id)))
}

/// Returns `sync@0.service` for `sync.socket` and for its instance `sync@a.socket` (systemd.socket(5), `Accept=`).
fn of_connection(socket: &str) -> String {
    let stem = socket.strip_suffix(".socket").unwrap_or(socket);
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    format!("{prefix}@{CONNECTION}.service")
}

async fn undoes(bus: &Bus, object: &str) -> Result<bool, Fault> {
    let interface = "org.freedesktop.systemd1.Service";
    let all = bus.get_all(&SYSTEMD, object, interface).await?;
    let mut own = Properties(all);
    let stays = own.take("RemainAfterExit").unwrap_or(true);
    let kind: String = own.take("Type").unwrap_or_default();
    Ok(kind == "oneshot" && stays && !own.is_empty_list("ExecStop"))
}

/// Properties of one interface. A property that an older manager does not have counts as empty.
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)?.try_into().ok()
    }

    fn word(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    /// Returns the units in these lists. An unreadable list is an error: it could name a protected unit.
    fn lists(&self, names: &[&str], unit: &str) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        for name in names {
            match self.0.get(*name).map(|value| &**value) {
                None => {}
                Some(zbus::Variant::Array(list)) => {
                    for word in list.iter() {
                        let zbus::Variant::Str(word) = word else {
                            return Err(odd(unit, name));
                        };
                        all.push(word.as_str().to_owned());
                    }
                }
                Some(_) => return Err(odd(unit, name)),
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Returns the job mode (`OnFailureJobMode=isolate`) if the units started at the end affect unrelated units.
    fn mode_of_end(&mut self, list: &str, mode: &str, unit: &str) -> Result<Option<String>, Fault> {
        if self.lists(&[list], unit)?.is_empty() {
            return Ok(None);
        }
        let value = self.word(mode);
        let is_plain = MODES.contains(&value.as_str());
        Ok((!is_plain).then(|| format!("{mode}={}", text::line(value.as_bytes(), WORD))))
    }

    fn is_empty_list(&self, name: &str) -> bool {
        match self.0.get(name).map(|value| &**value) {
            Some(zbus::Variant::Array(all)) => all.is_empty(),
            Some(_) | None => false,
        }
    }

    fn known(mut self, name: &str) -> Result<Known, Fault> {
        let mut actions = Vec::new();
        for name in ACTIONS {
            let action = self.word(name);
            if !matches!(action.as_str(), "" | "none") {
                actions.push(format!("{name}={}", text::line(action.as_bytes(), WORD)));
            }
        }
        for (list, mode) in STARTED_BY_END {
            actions.extend(self.mode_of_end(list, mode, name)?);
        }
        let lists = |of: &[&str]| self.lists(of, name);
        let mut known = Known {
            names: lists(&["Names"])?,
            actions,
            stopped_by_stop: lists(&STOPPED_BY_STOP)?,
            stopped_by_start: lists(&STOPPED_BY_START)?,
            stopped_by_end: lists(&STOPPED_BY_END)?,
            restarted_by_restart: lists(&RESTARTED_BY_RESTART)?,
            started_by_start: lists(&STARTED_BY_START)?,
            started_by_end: lists(&STARTED_BY_END.map(|(list, _)| list))?,
            reloaded_by_reload: lists(&RELOADED_BY_RELOAD)?,
            upheld_by: lists(&UPHELD_BY)?,
            kept_up: lists(&KEPT_UP)?,
            drop_ins: lists(&["DropInPaths"])?,
            ..Known::default()
        };
        known.id = self.word("Id");
        known.load = self.word("LoadState");
        known.active = self.word("ActiveState");
        known.fragment = self.word("FragmentPath");
        known.source = self.word("SourcePath");
        known.is_stale = self.take("NeedDaemonReload").unwrap_or(true);
        known.has_default_dependencies = self.take("DefaultDependencies").unwrap_or(false);
        known.stops_unneeded = self.take("StopWhenUnneeded").unwrap_or(false);
        Ok(known)
    }
}

fn odd(unit: &str, property: &str) -> Fault {
    let unit = text::line(unit.as_bytes(), WORD);
    Fault::Failed(format!(
        "the service manager lists {property} of unit '{unit}' oddly: what would be touched cannot be known"
    ))
}

/// Loads the unit. Refuses it if this is not its first name, or if one of its names is protected.
pub async fn named(bus: &Bus, name: &str) -> Result<Known, Fault> {
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

pub async fn search_path(bus: &Bus) -> Result<Vec<String>, Fault> {
    bus.get(&SYSTEMD, SYSTEMD.path, SYSTEMD.manager, "UnitPath")
        .await
}

fn is_as_named(name: &str, id: &str, names: &[String]) -> Result<(), String> {
    for known in names.iter().map(String::as_str).chain([id]) {
        if let Some(why) = is_protected(known) {
            let known = text::line(known.as_bytes(), WORD);
            return Err(format!(
                "unit '{name}' is '{known}', which is protected: {why}"
            ));
        }
    }
    check_first_name(name, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q03_template_of_accepting_socket_is_named() {
        for (socket, service) in [
            ("sync.socket", "sync@0.service"),
            ("sync@a.socket", "sync@0.service"),
            ("a-b.socket", "a-b@0.service"),
        ] {
            assert_eq!(of_connection(socket), service);
        }
    }

    #[test]
    fn unit_alias_is_refused() {
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
