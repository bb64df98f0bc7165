//! Units of the system's service manager: what they execute, as whom, and which of them start without anybody's help.

mod graph;
mod instances;
mod layout;
mod manager;
mod parse;
mod rights;
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use remit_common::builtin::UNIT_KINDS;
use remit_common::service::UNIT_DIRECTORIES;

use super::execution::Execution;
use super::sudo_commands::fits;
use super::variables::{self, libraries};
use crate::facts::{Source, When, template};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;
use graph::{pulls, started};
pub(super) use instances::named_instances;
use instances::new_instances;
pub(crate) use layout::Layout;
use parse::{command_lines, expand};
pub(super) use parse::{settings, words};
use unit::{Unit, is_read};

/// Times that instances name further ones.
const ROUNDS: usize = 8;

pub fn look(look: &mut Look<'_>) {
    manager::look(look);
    let mut layout = layout(look);
    layout.wanted.extend(super::bus::units(look.machine));
    let mut left: BTreeSet<String> = layout.files.keys().cloned().collect();
    // Instances of templates that something starts.
    left.extend(layout.wanted.iter().cloned());
    let mut units = BTreeMap::new();
    for _ in 0..ROUNDS {
        if left.is_empty() {
            break;
        }
        for name in std::mem::take(&mut left) {
            if let Some(unit) = unit(look, &layout, &name) {
                units.insert(name, unit);
            }
        }
        let pulled = pulls(&units).into_values().flatten();
        let pulled = pulled.map(|(name, _)| name);
        left.extend(new_instances(look, &layout, pulled, |name| {
            units.contains_key(name)
        }));
    }
    look.units = layout;
    let pulls = pulls(&units);
    let started = started(&pulls, &look.units.wanted);
    look.facts.units = units.keys().cloned().collect();
    for (name, unit) in &units {
        let when = match started.contains(name) {
            true => When::ByItself,
            false => When::Started(name.clone()),
        };
        files(look, unit, &when);
        executions(look, name, unit, &when);
    }
    let pulls = pulls.into_iter().flat_map(|(name, pulled)| {
        let pulled = pulled.into_iter();
        pulled.map(move |(other, source)| (name.clone(), other, source))
    });
    // A unit that starts by itself needs nobody to start it.
    look.facts.pulls = pulls
        .filter(|(_, other, _)| !started.contains(other))
        .collect();
}

fn layout(look: &mut Look<'_>) -> Layout {
    let mut layout = Layout::default();
    let mut seen = BTreeSet::new();
    for directory in UNIT_DIRECTORIES.map(FilePath::fixed) {
        look.obeys(
            0,
            directory.clone(),
            RuleId::UnitDirectory,
            &When::ByItself,
            &Source::whole(&directory),
        );
        let real = look.machine.entry(&directory).map(|(real, _)| real);
        // On a merged /usr, /lib/systemd/system is the same directory again.
        if real.is_none_or(|real| !seen.insert(real)) {
            continue;
        }
        for name in look.machine.list(&directory) {
            let (Some(path), Ok(name)) = (directory.join(&name), String::from_utf8(name)) else {
                continue;
            };
            let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
            if UNIT_KINDS.contains(&kind) {
                layout.files.entry(name).or_insert(path);
            } else if let Some(unit) = name.strip_suffix(".d") {
                for file in look.machine.list(&path) {
                    if let Some(path) = path.join(&file).filter(|_| file.ends_with(b".conf")) {
                        let of = layout.drop_ins.entry(unit.to_owned()).or_default();
                        of.entry(file).or_insert(path);
                    }
                }
                look.obeys(
                    0,
                    path.clone(),
                    RuleId::DropIn,
                    &When::ByItself,
                    &Source::whole(&path),
                );
            } else if name.ends_with(".wants")
                || name.ends_with(".requires")
                || name.ends_with(".upholds")
            {
                let names = look.machine.list(&path).into_iter();
                layout
                    .wanted
                    .extend(names.filter_map(|name| String::from_utf8(name).ok()));
            }
        }
    }
    layout
}

/// Reads a unit, or an instance by its template.
fn unit(look: &mut Look<'_>, layout: &Layout, name: &str) -> Option<Unit> {
    let template = template(name);
    let file = layout
        .files
        .get(name)
        .or_else(|| layout.files.get(template.as_deref()?))?;
    let mut unit = Unit::default();
    let mut drop_ins: BTreeMap<&[u8], &FilePath> = BTreeMap::new();
    for of in drop_in_names(name, template.as_deref()) {
        for (file, path) in layout.drop_ins.get(&of).into_iter().flatten() {
            drop_ins.entry(file).or_insert(path);
        }
    }
    for path in std::iter::once(file).chain(drop_ins.into_values()) {
        let content = look.machine.read(path).unwrap_or_default();
        let found = settings(&content).into_iter();
        let found = found.filter(|setting| is_read(name, setting));
        unit.settings
            .extend(found.map(|setting| (path.clone(), setting)));
        unit.files.push(path.clone());
    }
    Some(unit)
}

/// The names whose `.d` directories hold drop-ins of a unit, the most special first.
fn drop_in_names(name: &str, template: Option<&str>) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    names.extend(template.map(ToOwned::to_owned));
    if let Some((stem, suffix)) = name.rsplit_once('.') {
        let cuts = stem.match_indices('-').map(|(at, _)| at);
        for at in cuts.collect::<Vec<_>>().into_iter().rev() {
            names.extend(stem.get(..=at).map(|prefix| format!("{prefix}.{suffix}")));
        }
        names.push(suffix.to_owned());
    }
    names
}

fn files(look: &mut Look<'_>, unit: &Unit, when: &When) {
    for file in &unit.files {
        look.obeys(
            0,
            file.clone(),
            RuleId::UnitFile,
            when,
            &Source::whole(file),
        );
    }
}

fn executions(look: &mut Look<'_>, name: &str, unit: &Unit, when: &When) {
    const EXEC: [&str; 10] = [
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecReloadPost",
        "ExecStopPre",
        "ExecStop",
        "ExecStopPost",
        "ExecMount",
    ];
    let root = (0, when.clone());
    let user = user(look, name, unit);
    let own = rights::identity(look, (name, unit), user, when);
    let mut run_as: BTreeSet<&(u32, When)> = own.iter().collect();
    let directory = unit.value("WorkingDirectory").unwrap_or(b"/");
    let directory = expand(directory.strip_prefix(b"-").unwrap_or(directory), name).0;
    for key in ["RootDirectory", "RootImage"] {
        if let Some((file, setting)) = unit.list(key).last() {
            let line = setting.line;
            let why = format!("what it runs beneath {key} of its line {line} is not followed");
            look.machine.unknown(file, why);
        }
    }
    let search = search_path(look, unit);
    let environment = environment(look, unit).unwrap_or_else(|| search.clone());
    for (file, setting) in EXEC.iter().flat_map(|key| unit.list(key)) {
        let (value, takes_instance) = expand(&setting.value, name);
        let shown = [setting.key.as_slice(), b"=", &setting.value].concat();
        let source = Source::line(file, setting.line, &shown);
        for command in command_lines(&value) {
            let Some(identity) = (if command.is_full {
                Some(&root)
            } else {
                own.as_ref()
            }) else {
                continue;
            };
            run_as.insert(identity);
            let (uid, when) = (identity.0, &identity.1);
            // The manager looks for a name by its own search path, systemd.exec(5).
            let is_path = command
                .argv
                .first()
                .is_some_and(|program| program.contains(&b'/'));
            let by = Execution {
                path: if is_path { &environment } else { &search }.clone(),
                directory: FilePath::new(&directory),
                ..Execution::new(uid, RuleId::UnitProgram, when.clone(), source.clone())
            };
            look.executes(&by, &command.argv);
            if takes_instance {
                let program = command.argv.first().cloned().unwrap_or_default();
                look.facts
                    .templates
                    .push((name.to_owned(), uid, program, source.clone()));
            }
        }
    }
    for (file, setting) in unit.list("EnvironmentFile") {
        let value = expand(&setting.value, name).0;
        let path = value.strip_prefix(b"-").unwrap_or(&value);
        let source = Source::line(
            file,
            setting.line,
            &[b"EnvironmentFile=", value.as_slice()].concat(),
        );
        for path in fitting(look, path) {
            for (uid, when) in &run_as {
                let path = path.clone();
                look.obeys(*uid, path, RuleId::EnvironmentFile, when, &source);
            }
        }
    }
    for (file, setting) in unit.list("Environment") {
        for word in words(&setting.value) {
            let source = Source::line(
                file,
                setting.line,
                &[b"Environment=", word.as_slice()].concat(),
            );
            for (uid, when) in &run_as {
                libraries(look, *uid, &word, when, &source);
            }
        }
    }
}

/// Returns the files that a pattern of EnvironmentFile= fits in its last part, and their directory: a new one can fit, too.
fn fitting(look: &Look<'_>, path: &[u8]) -> Vec<FilePath> {
    let Some(path) = FilePath::new(path) else {
        return Vec::new();
    };
    let is_pattern = path.as_bytes().iter().any(|byte| b"*?[".contains(byte));
    let Some(directory) = path.parent().filter(|_| is_pattern) else {
        return vec![path];
    };
    let names = look.machine.list(&directory).into_iter();
    let names = names.filter(|name| fits(path.name(), name));
    let mut found: Vec<FilePath> = names.filter_map(|name| directory.join(name)).collect();
    found.push(directory);
    found
}

/// Returns the search path that the programs of a unit get as a variable.
fn environment(look: &Look<'_>, unit: &Unit) -> Option<Vec<FilePath>> {
    let variables = unit.list("Environment").into_iter();
    let mut variables = variables.flat_map(|(file, one)| {
        let words = words(&one.value).into_iter();
        words.filter_map(|word| variables::search_path(look, file, &word, &[]))
    });
    variables.next_back()
}

fn search_path(look: &Look<'_>, unit: &Unit) -> Vec<FilePath> {
    let own = unit.list("ExecSearchPath");
    let own = own
        .iter()
        .flat_map(|(_, one)| one.value.split(|byte| *byte == b':'));
    let own = match unit.files.first() {
        Some(file) => look.search_path(file, own),
        None => Vec::new(),
    };
    match own.is_empty() {
        true => super::execution::PATH
            .iter()
            .filter_map(FilePath::new)
            .collect(),
        false => own,
    }
}

/// Returns the uid of its processes. `None`: a user that is unknown, or made for each run.
fn user(look: &mut Look<'_>, name: &str, unit: &Unit) -> Option<u32> {
    let is_dynamic = unit.is_on("DynamicUser");
    let Some(user) = unit.value("User") else {
        return (!is_dynamic).then_some(0);
    };
    let text = String::from_utf8(expand(user, name).0).unwrap_or_default();
    let uid = text.parse().ok().or_else(|| look.facts.accounts.uid(&text));
    let is_open = is_dynamic || text.is_empty();
    if let (None, false, Some(file)) = (uid, is_open, unit.files.first()) {
        let why = format!("its user '{}' is unknown", text.escape_default());
        look.machine.unknown(file, why);
    }
    uid
}
