//! Computes the links of enable and disable: the `[Install]` sections of a unit, and of the units that these name.
//! The service manager follows `Also=` and `Alias=` silently (systemd.unit(5)). So the files are read here, and
//! protected units among those names are refused. Writes nothing.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use remit_common::service::{is_disruptive, is_protected};
use remit_common::text;

use crate::args::{Fault, UnitVerb};
use super::manager::{Known, Manager, WORD};

const OTHERS: usize = 256;
const MOST: u64 = 1 << 20;

/// Names in `[Install]`, with specifiers resolved.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// Units that are enabled or disabled with this unit.
    pub also: Vec<String>,
    pub alias: Vec<String>,
    /// Units that require this unit after an enable.
    pub required_by: Vec<String>,
}

/// Collects the units and names that are linked with a unit.
pub async fn linked(
    manager: &impl Manager,
    verb: UnitVerb,
    unit: &Known,
    search: &[String],
) -> Result<Install, Fault> {
    let mut all = Install::default();
    let mut queue = vec![unit.clone()];
    let mut next = 0;
    while let Some(known) = queue.get(next).cloned() {
        next += 1;
        let one = read_install(&known, search)?;
        for name in one.also.iter().chain(&one.alias) {
            refuse_protected(unit, name)?;
        }
        if verb == UnitVerb::Enable {
            let services = one.required_by.iter();
            for name in services.filter(|name| !name.ends_with(".target")) {
                refuse_protected(unit, name)?;
            }
        }
        for name in &one.also {
            if queue.len() > OTHERS {
                let id = line(&unit.id);
                let why = format!("with '{id}' more than {OTHERS} others are enabled");
                return Err(Fault::Refused(why));
            }
            if queue.iter().any(|known| known.id == *name) || all.also.contains(name) {
                continue;
            }
            let other = manager.unit(name).await?;
            for name in other.names.iter().chain([&other.id]) {
                refuse_protected(unit, name)?;
            }
            all.also.push(name.clone());
            if other.load == "loaded" {
                queue.push(other);
            }
        }
        all.alias.extend(one.alias);
        all.required_by.extend(one.required_by);
    }
    Ok(all)
}

fn refuse_protected(unit: &Known, name: &str) -> Result<(), Fault> {
    let disruptive = is_disruptive(name).then_some("it ends the machine's normal work");
    match is_protected(name).or(disruptive) {
        None => Ok(()),
        Some(why) => Err(Fault::Refused(format!(
            "with '{}' the links of '{}' change, which is protected: {why}",
            line(&unit.id),
            line(name)
        ))),
    }
}

/// Reads the `[Install]` sections of a unit's files. The manager's files must be those on disk.
fn read_install(known: &Known, search: &[String]) -> Result<Install, Fault> {
    let id = line(&known.id);
    if known.is_stale {
        return Err(stale(&id));
    }
    if known.fragment.is_empty() {
        return Err(Fault::Refused(format!("unit '{id}' has no file")));
    }
    if is_overshadowed(known, search) {
        return Err(stale(&id));
    }
    let mut all = Install::default();
    for path in [&known.fragment].into_iter().chain(&known.drop_ins) {
        let read = read(path).map_err(|error| {
            let path = line(path);
            Fault::Refused(format!(
                "the file '{path}' of unit '{id}' cannot be read: {error}; the profile of the command must list it"
            ))
        })?;
        all.add(&read, &known.id)
            .map_err(|why| Fault::Refused(format!("'{}': {why}", line(path))))?;
    }
    Ok(all)
}

fn stale(id: &str) -> Fault {
    Fault::Refused(format!(
        "the files of unit '{id}' were changed and not read again yet: an administrator runs systemctl daemon-reload first"
    ))
}

/// Returns true if a unit file of higher priority exists than the one that the manager has read.
fn is_overshadowed(known: &Known, search: &[String]) -> bool {
    let real = fs::canonicalize(&known.fragment).ok();
    let Some(file) = Path::new(&known.fragment).file_name() else {
        return true;
    };
    for dir in search {
        let path = Path::new(dir).join(file);
        if fs::symlink_metadata(&path).is_ok() {
            return fs::canonicalize(&path).ok() != real;
        }
    }
    false
}

fn read(path: &str) -> io::Result<String> {
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    match file.take(MOST + 1).read_to_string(&mut text)? as u64 {
        length if length > MOST => Err(io::Error::other("it is longer than 1 MiB")),
        _ => Ok(text),
    }
}

impl Install {
    /// Adds the `[Install]` sections of a file. It follows systemd.syntax(7) with one exception: an empty value does
    /// not reset a list. A name is rather refused than missed.
    fn add(&mut self, text: &str, unit: &str) -> Result<(), String> {
        let mut is_install = false;
        for line in whole_lines(text) {
            let line = line.trim();
            if line.starts_with('[') {
                is_install = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_install) else {
                continue;
            };
            let names = match key.trim_end() {
                "Also" => &mut self.also,
                "Alias" => &mut self.alias,
                "RequiredBy" => &mut self.required_by,
                _ => continue,
            };
            for word in value.split_whitespace() {
                names.push(resolved(word.trim_matches(['"', '\'']), unit)?);
            }
        }
        Ok(())
    }
}

fn whole_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut whole = String::new();
    let is_comment = |line: &&str| !line.trim_start().starts_with(['#', ';']);
    for line in text.lines().filter(is_comment) {
        match line.strip_suffix('\\') {
            Some(start) => {
                whole.push_str(start);
                whole.push(' ');
            }
            None => {
                whole.push_str(line);
                lines.push(std::mem::take(&mut whole));
            }
        }
    }
    lines.push(whole);
    lines
}

fn resolved(word: &str, unit: &str) -> Result<String, String> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut name = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            name.push(c);
            continue;
        }
        match rest.next() {
            Some('%') => name.push('%'),
            Some('i') => name.push_str(instance),
            Some('p') => name.push_str(prefix),
            Some('j') => name.push_str(prefix.rsplit('-').next().unwrap_or_default()),
            Some('n') => name.push_str(unit),
            Some('N') => name.push_str(stem),
            _ => {
                let word = line(word);
                return Err(format!("'{word}' in [Install] cannot be resolved"));
            }
        }
    }
    Ok(name)
}

fn line(name: &str) -> String {
    text::line(name.as_bytes(), WORD)
}

#[cfg(test)]
mod tests;
