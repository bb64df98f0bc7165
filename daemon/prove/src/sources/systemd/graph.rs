//! Which units start without anybody's help: those that a target, a timer, a socket, a path or another such unit pulls
//! in. A target counts as started, so this finds too many units rather than too few.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::{expand, words};
use super::unit::Unit;
use crate::facts::{Source, template};

/// Settings that name units which start with this one, because of it, or are enabled with it.
const PULLS: [&str; 10] = [
    "Wants",
    "Requires",
    "BindsTo",
    "Upholds",
    "OnFailure",
    "OnSuccess",
    "Unit",
    "Sockets",
    "Service",
    "Also",
];

/// A unit that starts with another one, and where that is written.
pub type Pulled = (String, Source);

pub fn pulls(units: &BTreeMap<String, Unit>) -> BTreeMap<String, Vec<Pulled>> {
    let all = units
        .iter()
        .map(|(name, unit)| (name.clone(), pulled(name, unit)));
    all.collect()
}

pub fn pulled(name: &str, unit: &Unit) -> Vec<Pulled> {
    let mut found = Vec::new();
    for (file, setting) in PULLS.iter().flat_map(|key| unit.list(key)) {
        let shown = [setting.key.as_slice(), b"=", &setting.value].concat();
        let source = Source::line(file, setting.line, &shown);
        let names = words(&setting.value).into_iter();
        let names = names.filter_map(|word| String::from_utf8(expand(&word, name).0).ok());
        found.extend(names.map(|name| (name, source.clone())));
    }
    let file = unit.files.first();
    // Each connection gets an instance of its own.
    if let (Some(other), Some(file)) = (activated(name, unit.is_on("Accept")), file) {
        found.push((other, Source::whole(file)));
    }
    found
}

pub fn started(
    pulls: &BTreeMap<String, Vec<Pulled>>,
    wanted: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut started = BTreeSet::new();
    let targets = pulls.keys().filter(|name| name.ends_with(".target"));
    let mut left: Vec<String> = wanted.iter().chain(targets).cloned().collect();
    while let Some(name) = left.pop() {
        if !started.insert(name.clone()) {
            continue;
        }
        let others = pulls.get(&name).into_iter().flatten();
        left.extend(others.map(|(other, _)| other.clone()));
        left.extend(template(&name));
    }
    started
}

/// The unit that a timer, path, socket or automount of this name starts.
fn activated(name: &str, accepts: bool) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    match suffix {
        "timer" | "path" => Some(format!("{stem}.service")),
        "automount" => Some(format!("{stem}.mount")),
        "socket" if accepts => Some(format!("{stem}@.service")),
        "socket" => Some(format!("{stem}.service")),
        _ => None,
    }
}
