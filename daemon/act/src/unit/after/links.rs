//! Follows symbolic links of the machine as it is, and as it will be after the change.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use remit_common::changed::Becomes;

use super::Changed;
use super::names::name_by_link;

/// Links that are followed for one path, as the kernel does.
const LINKS: usize = 40;

/// Where a path leads.
pub struct Way {
    /// Each link that is passed.
    pub links: Vec<PathBuf>,
    pub end: PathBuf,
    /// It passes a link whose target is not known, which is `end`.
    pub is_unknown: bool,
}

/// A link in a directory of units.
#[derive(Debug)]
pub struct UnitLink {
    pub path: PathBuf,
    own: String,
    /// The names of all that it leads to.
    leads: Vec<String>,
}

enum Found {
    NoLink,
    Target(PathBuf),
    Unknown,
}

impl Changed {
    /// Follows a path after the change.
    pub fn way(&self, path: &Path) -> Way {
        follow(path, |at| match self.all.get(at) {
            Some(Becomes::Link(Some(target))) => {
                Found::Target(PathBuf::from(OsStr::from_bytes(target)))
            }
            Some(Becomes::Link(None)) => Found::Unknown,
            Some(_) => Found::NoLink,
            None => on_machine(at),
        })
    }

    /// Returns all that is passed on the way to a path, and its end: of the machine as it is, and after the change.
    pub fn ways(&self, path: &Path) -> Vec<PathBuf> {
        let ways = [follow(path, on_machine), self.way(path)];
        let all = ways.into_iter();
        all.flat_map(|way| way.links.into_iter().chain([way.end]))
            .collect()
    }

    /// Returns the links in the directories of units after the change.
    pub fn links(&self, search: &[String]) -> &[UnitLink] {
        self.links.get_or_init(|| {
            let all = search.iter().flat_map(|dir| self.links_in(Path::new(dir)));
            all.collect()
        })
    }

    fn links_in(&self, dir: &Path) -> Vec<UnitLink> {
        let dir = self.way(dir).end;
        let there = fs::read_dir(&dir).into_iter().flatten().flatten();
        let there = there.map(|entry| dir.join(entry.file_name()));
        let there = there.filter(|path| !self.makes(path));
        let made = self.all.keys().filter(|path| self.is_link(path));
        let made = made.filter(|path| path.parent() == Some(&dir)).cloned();
        let link = |path: PathBuf| {
            let way = self.way(&path);
            let mut passed = way.links.iter().skip_while(|link| **link != path);
            let own = text(passed.next()?)?;
            let leads = passed.chain([&way.end]).filter_map(|path| text(path));
            Some(UnitLink {
                own,
                leads: leads.collect(),
                path,
            })
        };
        there.chain(made).filter_map(link).collect()
    }

    /// Returns the names that a unit has after the change by links in the directories of units, and its own.
    pub fn names(&self, name: &str, search: &[String]) -> BTreeSet<String> {
        let links = self.links(search).iter();
        let by_link = links.filter_map(|link| {
            let mut leads = link.leads.iter();
            leads.find_map(|target| name_by_link(&link.own, target, name))
        });
        by_link.chain([name.to_owned()]).collect()
    }
}

fn text(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// Follows links of the machine as far as there is something.
pub fn real(path: &Path) -> PathBuf {
    follow(path, on_machine).end
}

fn on_machine(path: &Path) -> Found {
    match fs::read_link(path) {
        Ok(target) => Found::Target(target),
        Err(_) => Found::NoLink,
    }
}

fn follow(path: &Path, find: impl Fn(&Path) -> Found) -> Way {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter(|part| *part != Component::RootDir);
        parts
            .rev()
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(path), Vec::new());
    let mut is_unknown = false;
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(&part);
        let target = match find(&at) {
            Found::NoLink => continue,
            Found::Target(target) if links.len() < LINKS => target,
            Found::Target(_) | Found::Unknown => {
                links.push(at.clone());
                is_unknown = true;
                break;
            }
        };
        links.push(at.clone());
        match target.is_absolute() {
            true => at = PathBuf::from("/"),
            false => _ = at.pop(),
        }
        left.extend(parts(&target).into_iter().filter(|part| part != "."));
    }
    Way {
        links,
        end: at,
        is_unknown,
    }
}
