//! Which paths of a plan belong to the packages that it installs, changes or removes, by dpkg's lists. A requester can write
//! these lists, so it decides no more than what is named first.

use std::collections::HashSet;

use crate::deciding::as_merged;
use crate::dpkg::{INFO, SCRIPTS, word};
use crate::plan::{Change, Entry};
use crate::view::View;
use crate::{OLD_BYTES, PlanPath, is_read};

/// What dpkg and its triggers write for any package.
const OF_ALL: [&[u8]; 4] = [
    b"/etc/ld.so.cache",
    b"/var/lib/dpkg/status",
    b"/var/lib/dpkg/status-old",
    b"/var/lib/dpkg/triggers",
];

/// Names of the packages whose lists a plan has, as dpkg's files have them: `tree`, `libx:amd64`.
pub struct PackageNames<'a>(HashSet<&'a [u8]>);

impl<'a> PackageNames<'a> {
    /// Of the paths of a plan.
    pub fn new(paths: impl Iterator<Item = &'a PlanPath>) -> Self {
        let list = |path: &'a PlanPath| {
            let (name, kind) = of_dpkg(path)?;
            is_list(name, kind).then_some(name)
        };
        Self(paths.filter_map(list).collect())
    }

    /// Returns true if an approver has to read what is in this file of the plan: also a script that dpkg runs for a package
    /// which the plan does not touch.
    #[must_use]
    pub fn is_read(&self, path: &PlanPath, size: u64) -> bool {
        let of_others = |(name, kind): (&[u8], &[u8])| {
            let mut scripts = SCRIPTS.iter();
            scripts.any(|end| kind == end.as_bytes()) && !self.0.contains(name)
        };
        is_read(path, size) || size <= OLD_BYTES && of_dpkg(path).is_some_and(of_others)
    }
}

/// Returns true for the list of a package that an approver reads the name of.
fn is_list(name: &[u8], kind: &[u8]) -> bool {
    kind == b".list" && word(name).is_some()
}

/// Returns the name of the package and the ending of one of dpkg's files about packages.
fn of_dpkg(path: &PlanPath) -> Option<(&[u8], &[u8])> {
    let name = path.name();
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    (path.parent() == INFO).then(|| name.split_at(dot))
}

pub struct OfPackages<'a> {
    names: PackageNames<'a>,
    /// Paths in the lists as they become, and in those that were there before.
    new: HashSet<&'a [u8]>,
    old: HashSet<&'a [u8]>,
}

impl<'a> OfPackages<'a> {
    pub fn new(views: &[View<'a>]) -> Self {
        let names = PackageNames::new(views.iter().map(|view| &view.entry.path));
        let (mut new, mut old) = (HashSet::new(), HashSet::new());
        let is_of_list = |view: &View<'_>| {
            let parts = of_dpkg(&view.entry.path);
            parts.is_some_and(|(name, kind)| is_list(name, kind))
        };
        for view in views.iter().copied().filter(is_of_list) {
            new.extend(view.new.into_iter().flat_map(paths));
            let before = match view.entry.change {
                Change::Create { .. } => None,
                // What the list was may be too long for the bundle.
                _ => view.old.or(view.new),
            };
            old.extend(before.into_iter().flat_map(paths));
        }
        Self { names, new, old }
    }

    /// A new package has no file that is there already: what it changes belongs to another.
    pub fn has(&self, entry: &Entry) -> bool {
        let path = &entry.path;
        if self.names.0.is_empty() {
            return false;
        }
        let listed = match entry.change {
            Change::Create { .. } => &self.new,
            _ => &self.old,
        };
        let has = |path: &[u8]| listed.contains(as_merged(path));
        OF_ALL.iter().any(|dir| path.is_in(dir))
            || of_dpkg(path).is_some_and(|(name, _)| self.names.0.contains(name))
            || has(path.as_bytes())
            || source(path).is_some_and(|source| has(&source))
    }
}

fn paths(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b'\n').map(as_merged)
}

/// Returns the path of the Python file that a compiled one was made from.
fn source(path: &PlanPath) -> Option<Vec<u8>> {
    let dir = path.parent().strip_suffix(b"__pycache__")?;
    let name = path.name().strip_suffix(b".pyc")?;
    let end = name.iter().position(|byte| *byte == b'.')?;
    Some([dir, name.get(..end)?, b".py"].concat())
}
