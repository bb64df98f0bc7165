//! Compares units with the change of files that comes before the command: what the service manager says is of the
//! machine before it. An entry can define a unit, change it by a drop-in or a link, or change what starts with it.

mod links;
mod names;
mod removed;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use remit_common::changed::{self, Becomes, ChangedPath};

use super::install;
use super::manager::Known;
use super::section::Install;
use crate::args::Fault;
use links::{UnitLink, Way};
pub use names::names_of_directories;
use names::names_of_files;

/// The paths that the change creates, changes or removes. A directory by itself, a mode and an owner change no unit; the mode of a
/// generator can.
#[derive(Debug, Default)]
pub struct Changed {
    all: BTreeMap<PathBuf, Becomes>,
    /// Generators make units of these.
    of_generators: BTreeSet<PathBuf>,
    /// Only their mode or owner changes. The mode of a generator decides whether the service manager runs it.
    modes: BTreeSet<PathBuf>,
    generators: Vec<PathBuf>,
    /// Those of the directories of units, which are always the same.
    links: OnceCell<Vec<UnitLink>>,
}

/// The service manager runs what is in these (systemd.generator(7)).
const GENERATORS: [&str; 4] = [
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
];

/// Which file defines a unit after the change.
#[derive(Debug, PartialEq, Eq)]
pub enum Definition {
    Made(PathBuf),
    /// The change leaves it as it is.
    There(PathBuf),
    Missing,
}

impl Changed {
    /// Reads what remitd gives on standard input. Nothing changes if the command follows no change of files.
    pub fn before(follows: bool) -> Result<Self, Fault> {
        if !follows {
            return Ok(Self::default());
        }
        let failed = |why: &str| Fault::Failed(format!("the paths of the change: {why}"));
        let mut bytes = Vec::new();
        let read = std::io::stdin()
            .take(changed::BYTES)
            .read_to_end(&mut bytes);
        read.map_err(|error| failed(&error.to_string()))?;
        let all = changed::decode(&bytes).ok_or_else(|| failed("they are damaged"))?;
        Ok(Self::new(all))
    }

    pub fn new(all: impl IntoIterator<Item = ChangedPath>) -> Self {
        let kinds = ["system-generators", "system-environment-generators"];
        let dirs = kinds.map(|kind| GENERATORS.map(|dir| Path::new(dir).join(kind)));
        let mut changed = Self {
            generators: dirs.concat(),
            ..Self::default()
        };
        for one in all {
            let path = PathBuf::from(OsString::from_vec(one.path));
            let is_generator = path
                .parent()
                .is_some_and(|dir| dir.as_os_str().as_bytes().ends_with(b"-generators"));
            match one.becomes {
                Becomes::Directory => continue,
                Becomes::Same if !is_generator => {
                    changed.modes.insert(path);
                    continue;
                }
                _ => {}
            }
            if one.is_for_generators {
                changed.of_generators.insert(path.clone());
            }
            changed.all.insert(path, one.becomes);
        }
        changed
    }

    /// Returns the paths that can change what this unit is: its files, those of its drop-ins, and links on the way to them.
    pub fn of(&self, unit: &Known, search: &[String]) -> BTreeSet<&Path> {
        if self.all.is_empty() {
            return BTreeSet::new();
        }
        let known = unit.names.iter().chain([&unit.id]);
        let names: BTreeSet<String> = known
            .flat_map(|name| self.names(name, search))
            .chain(unit.names.iter().cloned())
            .collect();
        let read = [&unit.fragment, &unit.source]
            .into_iter()
            .chain(&unit.drop_ins)
            .filter(|path| !path.is_empty());
        let read: BTreeSet<PathBuf> = read
            .flat_map(|path| self.ways(Path::new(path)))
            .chain(
                names
                    .iter()
                    .flat_map(|name| self.beneath(&names_of_files(name), search)),
            )
            .collect();
        let inside: BTreeSet<PathBuf> = names
            .iter()
            .flat_map(|name| self.beneath(&names_of_directories(name), search))
            .collect();
        self.filtered(|path| {
            read.contains(path) || path.ancestors().any(|above| inside.contains(above))
        })
    }

    /// Returns all paths that the service manager can read: units, links between them, its settings, its generators and
    /// what these read.
    pub fn of_manager(&self, search: &[String]) -> BTreeSet<&Path> {
        let generators: BTreeSet<PathBuf> = self
            .generators
            .iter()
            .flat_map(|dir| self.ways_in(dir))
            .collect();
        let modes = self.modes.iter().map(PathBuf::as_path);
        let modes = modes.filter(|path| generators.contains(*path));
        let ways: BTreeSet<PathBuf> = search
            .iter()
            .flat_map(|dir| self.ways(Path::new(dir)))
            .chain(generators.iter().cloned())
            .collect();
        let linked: BTreeSet<PathBuf> = self
            .links(search)
            .iter()
            .flat_map(|link| self.ways(&link.path))
            .collect();
        let mut all = self.filtered(|path| {
            relative(path, search).is_some()
                || self.of_generators.contains(path)
                || path
                    .parent()
                    .is_some_and(|dir| dir.components().any(|part| part.as_os_str() == "systemd"))
                || ways.iter().any(|way| way.starts_with(path))
                || path.ancestors().any(|above| linked.contains(above))
        });
        all.extend(modes);
        all
    }

    /// Returns each way to a directory and to the files in it, now and after the change.
    fn ways_in(&self, dir: &Path) -> Vec<PathBuf> {
        let real = [links::real(dir), self.way(dir).end];
        let there = real.iter().flat_map(|dir| {
            let there = fs::read_dir(dir).into_iter().flatten().flatten();
            there.map(|entry| dir.join(entry.file_name()))
        });
        let made = self.all.keys();
        let made = made.filter(|path| real.iter().any(|dir| path.parent() == Some(dir)));
        let files: Vec<PathBuf> = there.chain(made.cloned()).collect();
        let files = files.iter().flat_map(|path| self.ways(path));
        self.ways(dir).into_iter().chain(files).collect()
    }

    /// Returns the paths that these lines name, by a word of its own, by links, or as what is in a directory two levels deep or more.
    pub fn named(&self, lines: &[String]) -> BTreeSet<&Path> {
        if self.all.is_empty() {
            return BTreeSet::new();
        }
        let is_end = |c: char| c.is_whitespace() || "'\"=:,;()".contains(c);
        let words = lines.iter().flat_map(|line| line.split(is_end));
        let words: BTreeSet<&str> = words.filter(|word| word.starts_with('/')).collect();
        let ways: BTreeSet<PathBuf> = words
            .iter()
            .flat_map(|word| self.ways(Path::new(word)))
            .collect();
        self.filtered(|path| {
            let mut above = path.ancestors().skip(1);
            ways.contains(path)
                || above.any(|dir| dir.components().count() > 2 && ways.contains(dir))
        })
    }

    fn filtered(&self, is_one: impl Fn(&Path) -> bool) -> BTreeSet<&Path> {
        let all = self.all.keys().map(PathBuf::as_path);
        all.filter(|path| is_one(path)).collect()
    }

    /// Returns each way to these names beneath the search path, now and after the change.
    fn beneath(&self, names: &[String], search: &[String]) -> Vec<PathBuf> {
        let all = names.iter().flat_map(|name| {
            let all = search.iter().map(move |dir| Path::new(dir).join(name));
            all.flat_map(|path| self.ways(&path))
        });
        all.collect()
    }

    /// Returns the file that defines a unit after the change: the first in the order of the service manager. Refuses a link
    /// of the change that leads to no file of it.
    pub fn definition(&self, name: &str, search: &[String]) -> Result<Definition, Fault> {
        for file in names_of_files(name) {
            for dir in search {
                let path = Path::new(dir).join(&file);
                let way = self.way(&path);
                let is_made = matches!(self.all.get(&way.end), Some(Becomes::File(_)));
                let is_linked = way.links.iter().any(|link| self.is_link(link));
                if is_linked && !is_made {
                    return Err(self.refused(name, &way));
                }
                if is_made {
                    self.is_no_alias(name, &file, &way, search)?;
                    return Ok(Definition::Made(way.end));
                }
                let is_gone = matches!(self.all.get(&way.end), Some(Becomes::Gone));
                if !is_gone && fs::symlink_metadata(&way.end).is_ok() {
                    return Ok(Definition::There(way.end));
                }
            }
        }
        Ok(Definition::Missing)
    }

    fn is_link(&self, path: &Path) -> bool {
        matches!(self.all.get(path), Some(Becomes::Link(_)))
    }

    fn refused(&self, name: &str, way: &Way) -> Fault {
        let link = way.links.iter().find(|link| self.is_link(link));
        Fault::Refused(format!(
            "the change makes {} a symbolic link, and '{name}' is read by it: what the command does cannot be shown; ask for \
             it by itself after the change",
            quoted(link.unwrap_or(&way.end))
        ))
    }

    /// Refuses a link to another unit: the service manager takes both for names of that.
    fn is_no_alias(
        &self,
        name: &str,
        file: &str,
        way: &Way,
        search: &[String],
    ) -> Result<(), Fault> {
        let dirs: Vec<PathBuf> = search
            .iter()
            .map(|dir| self.way(Path::new(dir)).end)
            .collect();
        let passed = way.links.iter().chain([&way.end]);
        let mut units = passed.filter(|path| {
            path.parent()
                .is_some_and(|parent| dirs.iter().any(|dir| dir == parent))
        });
        match units.find(|path| path.file_name() != Some(OsStr::new(file))) {
            None => Ok(()),
            Some(other) => Err(Fault::Refused(format!(
                "the change makes '{name}' another name of {}: ask for that",
                quoted(other)
            ))),
        }
    }

    /// Returns the drop-ins of a unit after the change, of the machine and of the change, and the files of the change that links
    /// among them lead to.
    pub fn drop_ins(&self, name: &str, search: &[String]) -> Result<BTreeSet<PathBuf>, Fault> {
        let mut all = BTreeSet::new();
        for name in self.names(name, search) {
            let own = names_of_directories(&name).into_iter();
            for own in own.filter(|own| own.ends_with(".d")) {
                for dir in search {
                    let way = self.way(&Path::new(dir).join(&own));
                    if way.is_unknown {
                        return Err(self.refused(&name, &way));
                    }
                    all.extend(self.drop_ins_in(&way.end));
                }
            }
        }
        Ok(all)
    }

    fn drop_ins_in(&self, directory: &Path) -> Vec<PathBuf> {
        let there = fs::read_dir(directory).into_iter().flatten().flatten();
        let there = there.map(|entry| directory.join(entry.file_name()));
        let made = self.all.keys();
        let made = made.filter(|path| path.parent() == Some(directory));
        let is_there = |path: &PathBuf| !matches!(self.all.get(path), Some(Becomes::Gone));
        let is_drop_in = |path: &PathBuf| path.extension() == Some(OsStr::new("conf"));
        let all = there
            .chain(made.cloned())
            .filter(is_there)
            .filter(is_drop_in);
        let with_target = |path: PathBuf| {
            let end = self.way(&path).end;
            let target = (end != path && self.all.contains_key(&end)).then_some(end);
            [Some(path), target].into_iter().flatten()
        };
        all.flat_map(with_target).collect()
    }

    /// Returns true if the change makes or changes this file.
    pub fn makes(&self, path: &Path) -> bool {
        self.all.contains_key(path)
    }

    /// Returns the links of `enable` and `disable` by the files that a unit has after the change. Refuses what cannot be
    /// known before it.
    pub fn install(&self, name: &str, file: &Path, search: &[String]) -> Result<Install, Fault> {
        let mut all = Install::default();
        let drop_ins = self.drop_ins(name, search)?;
        for path in [file.to_owned()].iter().chain(&drop_ins) {
            let add = self.text(path).and_then(|text| all.add(&text, name));
            add.map_err(|why| Fault::Refused(format!("{}: {why}", quoted(path))))?;
        }
        match all.also.is_empty() {
            true => Ok(all),
            false => Err(Fault::Refused(format!(
                "the change makes '{name}' enable other units with it (Also=), which cannot be looked at before: enable it by itself after \
                 the change"
            ))),
        }
    }

    fn text(&self, path: &Path) -> Result<String, String> {
        match self.all.get(path) {
            Some(Becomes::File(Some(bytes))) => {
                String::from_utf8(bytes.clone()).map_err(|_| "it is no text".to_owned())
            }
            None if self.ways(path).iter().all(|path| !self.makes(path)) => {
                install::read(path).map_err(|error| format!("it cannot be read: {error}"))
            }
            _ => Err("the change makes it, and what it says cannot be known before: enable the unit by itself after the change".to_owned()),
        }
    }
}

pub fn quoted(path: &Path) -> String {
    let path = remit_common::escape::in_quotes(path.as_os_str().as_bytes(), usize::MAX);
    format!("'{path}'")
}

/// Returns the part of a path that is beneath a directory of units, by its name or by where that leads.
fn relative<'a>(path: &'a Path, search: &[String]) -> Option<&'a Path> {
    let beneath = |dir: &Path| {
        path.strip_prefix(dir)
            .ok()
            .filter(|rest| *rest != Path::new(""))
    };
    search
        .iter()
        .map(Path::new)
        .find_map(|dir| beneath(dir).or_else(|| beneath(&links::real(dir))))
}

#[cfg(test)]
mod tests;
