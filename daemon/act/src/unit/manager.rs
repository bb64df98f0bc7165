//! Loads a unit by its first name, if that may be changed, with what checks of verbs need (org.freedesktop.systemd1(5)).

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use remit_common::builtin::check_first_name;
use remit_common::text;
use zbus::{OwnedObjectPath, OwnedVariant};

use super::after::names_of_directories;
use super::bus_names::is_protected_as;
use crate::args::Fault;
use crate::bus::{Bus, Service};

pub const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    manager: "org.freedesktop.systemd1.Manager",
};
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub const WORD: usize = 256;
/// Where enable and disable make and remove links: the lasting ones alone.
pub const CONFIG: &str = "/etc/systemd/system";

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
const STARTED_BY_START: [&str; 3] = ["Requires", "Wants", "BindsTo"];
/// These start again whenever they have ended.
const STARTED_LATER: [&str; 2] = ["Upholds", "Triggers"];
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
/// The same by a connection, a time or a path.
const TRIGGERED_BY: [&str; 1] = ["TriggeredBy"];
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
    pub started_later: Vec<String>,
    /// A stand-in for the services that a socket starts, one for each connection.
    pub connection: Option<String>,
    pub started_by_end: Vec<String>,
    pub reloaded_by_reload: Vec<String>,
    pub upheld_by: Vec<String>,
    pub triggered_by: Vec<String>,
    pub kept_up: Vec<String>,
    pub stops_unneeded: bool,
    /// Its stop undoes a state: `Type=oneshot`, `RemainAfterExit=yes` and `ExecStop=`.
    pub undoes: bool,
    /// Of the last time that the manager started it.
    pub invocation: Vec<u8>,
}

impl Known {
    /// Returns true if a stop or a conflict would end something.
    pub fn is_up(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "failed")
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.names.iter().any(|own| own == name)
    }
}

pub trait Manager {
    async fn unit(&self, name: &str) -> Result<Known, Fault>;
}

impl Manager for Bus {
    async fn unit(&self, name: &str) -> Result<Known, Fault> {
        let object: OwnedObjectPath = self.call(&SYSTEMD, "LoadUnit", &name).await?;
        let all = self.get_all(&SYSTEMD, object.as_str(), UNIT).await?;
        let mut known = InterfaceProperties(all).known(name)?;
        known.object = object.as_str().to_owned();
        if known.id.ends_with(".socket") {
            known.connection = connection(self, &known).await?;
            known.started_later.extend(known.connection.clone());
        }
        if known.id.ends_with(".service") && !known.has_default_dependencies {
            known.undoes = undoes(self, &known.object).await?;
        }
        Ok(known)
    }
}

/// Returns a stand-in for the services of an `Accept=yes` socket. No property of the socket lists them.
async fn connection(bus: &Bus, socket: &Known) -> Result<Option<String>, Fault> {
    let interface = "org.freedesktop.systemd1.Socket";
    let accepts: bool = bus
        .get(&SYSTEMD, &socket.object, interface, "Accept")
        .await?;
    if !accepts {
        return Ok(None);
    }
    let service = of_connection(&socket.id);
    let object: OwnedObjectPath = bus.call(&SYSTEMD, "LoadUnit", &service).await?;
    let all = bus.get_all(&SYSTEMD, object.as_str(), UNIT).await?;
    let known = InterfaceProperties(all).known(&service)?;
    is_as_template(&service, &known)?;
    Ok(Some(service))
}

/// Returns `sync@0.service` for `sync.socket` and for its instance `sync@a.socket` (systemd.socket(5), `Accept=`).
fn of_connection(socket: &str) -> String {
    let stem = socket.strip_suffix(".socket").unwrap_or(socket);
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    format!("{prefix}@{CONNECTION}.service")
}

/// Refuses a stand-in that is defined by another file than its template.
fn is_as_template(service: &str, known: &Known) -> Result<(), Fault> {
    let file = Path::new(&known.fragment).file_name();
    let template = service.replacen(&format!("@{CONNECTION}."), "@.", 1);
    let is_same = known.id == service && known.names.iter().all(|name| name == service);
    match is_same && (known.load == "not-found" || file == Some(OsStr::new(&template))) {
        true => Ok(()),
        false => Err(differs(service, &known.fragment)),
    }
}

/// Refuses a socket if a service of a connection can differ from what is shown.
pub fn is_as_shown(socket: &Known, search: &[String]) -> Result<(), Fault> {
    let mut all = socket.connection.iter().flat_map(|service| {
        let dirs = search.iter();
        dirs.map(move |dir| has_no_instance(service, Path::new(dir)))
    });
    all.try_for_each(|result| result)
}

/// Refuses a directory of units with a file or a directory for one instance of this service alone, whatever the connection.
fn has_no_instance(service: &str, dir: &Path) -> Result<(), Fault> {
    let cannot = |error: io::Error| {
        let dir = text::line(dir.as_os_str().as_bytes(), WORD);
        Fault::Refused(format!(
            "'{dir}', which can have files for '{service}', cannot be read: {error}"
        ))
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(cannot)?,
    };
    let begins = beginnings(service);
    for entry in entries {
        let name = entry.map_err(cannot)?.file_name();
        let name = name.as_bytes();
        let of_one = begins.iter().any(|begin| {
            let rest = name.strip_prefix(begin.as_bytes());
            rest.is_some_and(|rest| !rest.starts_with(b".service"))
        });
        if of_one {
            return Err(differs(service, &String::from_utf8_lossy(name)));
        }
    }
    Ok(())
}

/// Returns how the names of its files and directories begin: `a-b@` and `a-@`.
fn beginnings(service: &str) -> BTreeSet<String> {
    let names = names_of_directories(service).into_iter();
    let begins = names.filter_map(|name| Some(name.split_once('@')?.0.to_owned() + "@"));
    begins.collect()
}

fn differs(service: &str, by: &str) -> Fault {
    Fault::Refused(format!(
        "what a connection starts can differ by '{}' from '{service}': it cannot be shown before; an administrator does it by \
         systemctl",
        text::line(by.as_bytes(), WORD)
    ))
}

async fn undoes(bus: &Bus, object: &str) -> Result<bool, Fault> {
    let interface = "org.freedesktop.systemd1.Service";
    let all = bus.get_all(&SYSTEMD, object, interface).await?;
    let mut own = InterfaceProperties(all);
    let stays = own.take("RemainAfterExit").unwrap_or(true);
    let kind: String = own.take("Type").unwrap_or_default();
    Ok(kind == "oneshot" && stays && !own.is_empty_list("ExecStop"))
}

/// Properties of one interface. A property that an older manager does not have counts as empty.
pub struct InterfaceProperties(pub HashMap<String, OwnedVariant>);

impl InterfaceProperties {
    pub fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)?.try_into().ok()
    }

    pub fn word(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    /// Returns the units in these lists. An unreadable list is an error: it could name a protected unit.
    pub fn lists(&self, names: &[&str], unit: &str) -> Result<Vec<String>, Fault> {
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
            started_later: lists(&STARTED_LATER)?,
            started_by_end: lists(&STARTED_BY_END.map(|(list, _)| list))?,
            reloaded_by_reload: lists(&RELOADED_BY_RELOAD)?,
            upheld_by: lists(&UPHELD_BY)?,
            triggered_by: lists(&TRIGGERED_BY)?,
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
        known.invocation = self.take("InvocationID").unwrap_or_default();
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
        if let Some(why) = is_protected_as(known, id) {
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
    fn connection_is_shown_by_a_file_that_it_shares_with_all() {
        let known = |id: &str, fragment: &str| Known {
            id: id.to_owned(),
            names: vec![id.to_owned()],
            load: "loaded".to_owned(),
            fragment: fragment.to_owned(),
            ..Known::default()
        };
        let is_shown = |known: &Known| is_as_template("sync@0.service", known).is_ok();
        assert!(is_shown(&known("sync@0.service", "/etc/sync@.service")));
        for (id, fragment) in [
            ("sync@0.service", "/etc/sync@0.service"),
            ("sync@0.service", ""),
            ("other@0.service", "/etc/sync@.service"),
        ] {
            assert!(!is_shown(&known(id, fragment)), "{id} {fragment}");
        }
        let mut more = known("sync@0.service", "/etc/sync@.service");
        more.names.push("other@0.service".to_owned());
        assert!(!is_shown(&more));
        let mut none = known("sync@0.service", "");
        none.load = "not-found".to_owned();
        assert!(is_shown(&none));
    }

    #[test]
    fn files_for_one_connection_are_refused() {
        let dir = std::env::temp_dir().join(format!("remit-act-connection-{}", std::process::id()));
        for (name, is_of_one) in [
            ("a-b@.service", false),
            ("a-b@.service.d", false),
            ("a-@.service.d", false),
            ("a-.service.d", false),
            ("a-bc@0.service", false),
            ("a-b@0.service", true),
            ("a-b@0.service.d", true),
            ("a-@0.service.d", true),
            ("a-b@0.service.wants", true),
            ("a-b@3-127.0.0.1:9-127.0.0.1:5000.service.d", true),
        ] {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join(name)).unwrap();
            let refused = has_no_instance("a-b@0.service", &dir).is_err();
            assert_eq!(refused, is_of_one, "{name}");
        }
        fs::remove_dir_all(&dir).unwrap();
        assert!(has_no_instance("a-b@0.service", &dir).is_ok());
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
        let own = "bluetooth.service";
        let bluetooth = names(&[own, "dbus-org.bluez.service"]);
        assert_eq!(is_as_named(own, own, &bluetooth), Ok(()));
        for (id, other) in [
            (
                "systemd-logind.service",
                "dbus-org.freedesktop.login1.service",
            ),
            ("x.service", "dbus-org.freedesktop.login1.service"),
        ] {
            let said = is_as_named("x.service", id, &names(&[id, other])).unwrap_err();
            assert!(said.contains("is protected"), "{said}");
        }
        for (name, id) in [("x.service", "dbus.service"), ("x.service", "x.service")] {
            let said = is_as_named(name, id, &bus).unwrap_err();
            assert!(
                said.contains("'dbus.service', which is protected"),
                "{said}"
            );
        }
    }
}
