//! Which units start without anybody's help: those that a target, a timer, a socket, a path or another such unit pulls
//! in. A target counts as started, so this finds too many units rather than too few.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::words;
use super::unit::{Unit, template};

/// Settings that name units which start with this one, or because of it.
const PULLS: [&str; 9] = [
    "Wants",
    "Requires",
    "BindsTo",
    "Upholds",
    "OnFailure",
    "OnSuccess",
    "Unit",
    "Sockets",
    "Service",
];

pub fn started(units: &BTreeMap<String, Unit>, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let mut started = BTreeSet::new();
    let targets = units.keys().filter(|name| name.ends_with(".target"));
    let mut left: Vec<String> = wanted.iter().chain(targets).cloned().collect();
    while let Some(name) = left.pop() {
        if !started.insert(name.clone()) {
            continue;
        }
        let unit = units.get(&name);
        for (_, setting) in unit
            .iter()
            .flat_map(|unit| PULLS.iter().flat_map(|key| unit.list(key)))
        {
            let names = words(&setting.value).into_iter();
            left.extend(names.filter_map(|name| String::from_utf8(name).ok()));
        }
        left.extend(activated(&name, unit.is_some_and(accepts)));
        left.extend(template(&name));
    }
    started
}

/// Each connection gets an instance of its own.
fn accepts(unit: &Unit) -> bool {
    matches!(unit.value("Accept"), Some(b"yes" | b"true" | b"1" | b"on"))
}

/// The service that a timer, path or socket of this name starts.
fn activated(name: &str, accepts: bool) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    match suffix {
        "timer" | "path" | "automount" => Some(format!("{stem}.service")),
        "socket" if accepts => Some(format!("{stem}@.service")),
        "socket" => Some(format!("{stem}.service")),
        _ => None,
    }
}
