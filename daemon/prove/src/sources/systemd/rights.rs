//! What processes of a unit have beyond their account: groups and ambient capabilities, systemd.exec(5).

use remit_common::capability;

use super::parse::{Setting, expand, words};
use super::unit::Unit;
use crate::facts::{Source, UnitRights, When};
use crate::grants::JOB;
use crate::look::Look;
use crate::path::FilePath;
use crate::sources::setid::STRONG;

/// Returns as whom, and when, a unit runs what is not root's. `None`: an account that is not known or is made for each run,
/// and no more.
pub fn identity(
    look: &mut Look<'_>,
    (name, unit): (&str, &Unit),
    uid: Option<u32>,
    when: &When,
) -> Option<(u32, When)> {
    let mut rights = Vec::new();
    if uid != Some(0) {
        rights = groups(look, name, unit, uid);
        rights.extend(capabilities(unit).into_iter().map(|source| (None, source)));
    }
    if rights.is_empty() {
        return Some((uid?, when.clone()));
    }
    let unit = name.to_owned();
    let when = When::Unit {
        name: unit.clone(),
        needs_start: matches!(when, When::Started(_)),
    };
    look.facts
        .unit_rights
        .push(UnitRights { unit, uid, rights });
    Some((uid.unwrap_or(JOB), when))
}

fn groups(
    look: &Look<'_>,
    name: &str,
    unit: &Unit,
    uid: Option<u32>,
) -> Vec<(Option<u32>, Source)> {
    let accounts = &look.facts.accounts;
    let user = uid.and_then(|uid| accounts.name_of(uid));
    let own = user.map(|user| accounts.gids(user)).unwrap_or_default();
    let mut found = Vec::new();
    let lines = unit.list("Group").into_iter().last().into_iter();
    for (file, setting) in lines.chain(unit.list("SupplementaryGroups")) {
        for word in words(&expand(&setting.value, name).0) {
            let group = String::from_utf8_lossy(&word);
            match group.parse().ok().or_else(|| accounts.gid(&group)) {
                Some(gid) if own.contains(&gid) => {}
                Some(gid) => found.push((Some(gid), source(file, setting))),
                None if unit.is_on("DynamicUser") => {}
                None => {
                    let why = format!("its group '{}' is unknown", group.escape_default());
                    look.machine.unknown(file, why);
                }
            }
        }
    }
    found
}

/// Returns the lines that give a capability which leads to root. A line with `~` takes from those before, or the first one
/// gives all others.
fn capabilities(unit: &Unit) -> Vec<Source> {
    let mut set = 0;
    let mut lines = Vec::new();
    for (file, setting) in unit.list("AmbientCapabilities") {
        let (is_inverted, names) = match setting.value.strip_prefix(b"~") {
            Some(names) => (true, names),
            None => (false, setting.value.as_slice()),
        };
        let names = std::str::from_utf8(names).unwrap_or_default();
        let numbers = names
            .split_ascii_whitespace()
            .filter_map(capability::number);
        let listed = numbers.fold(0, |set: u64, number| set | 1 << number);
        let gives = match is_inverted {
            false => listed,
            true if lines.is_empty() => !listed,
            true => {
                set &= !listed;
                0
            }
        };
        set |= gives;
        lines.push((gives, source(file, setting)));
    }
    let strong = lines
        .into_iter()
        .filter(|(gives, _)| gives & set & STRONG != 0);
    strong.map(|(_, source)| source).collect()
}

fn source(file: &FilePath, setting: &Setting) -> Source {
    let shown = [setting.key.as_slice(), b"=", &setting.value].concat();
    Source::line(file, setting.line, &shown)
}
