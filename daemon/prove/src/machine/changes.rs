//! Files as they would be after a change that is not made yet. A look sees these instead of the machine's own.

use std::collections::BTreeMap;

use remit_common::prove::{Content, FileAfter, FileChange};

use super::entry::{Entry, Kind};
use crate::path::FilePath;

/// By real path: a plan names no path behind a link.
#[derive(Debug, Default)]
pub struct Changes {
    all: BTreeMap<FilePath, Option<FileAfter>>,
    /// Names in each directory, sorted, and whether they are there after it: a plan has thousands, and so has a look.
    within: BTreeMap<FilePath, Vec<(Vec<u8>, bool)>>,
}

/// What a change says of a path.
#[derive(Debug)]
pub enum Changed<'c> {
    Removed,
    /// To another kind, or new.
    Whole(Entry),
    /// Owner and mode of what is there.
    Metadata(&'c FileAfter),
}

impl Changes {
    /// A path that is no path of a file is an error: what it would open is not known.
    pub fn new(changes: &[FileChange]) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for FileChange { path, after } in changes {
            let plain = FilePath::new(path).filter(|path| !path.parts().any(|part| part == b".."));
            let plain = plain.ok_or("a path of the change is not a plain path")?;
            all.insert(plain, after.clone());
        }
        let mut within: BTreeMap<FilePath, Vec<(Vec<u8>, bool)>> = BTreeMap::new();
        for (path, after) in &all {
            if let Some(directory) = path.parent() {
                let name = (path.name().to_vec(), after.is_some());
                within.entry(directory).or_default().push(name);
            }
        }
        within.values_mut().for_each(|names| names.sort());
        Ok(Self { all, within })
    }

    pub fn of(&self, path: &FilePath) -> Option<Changed<'_>> {
        let Some(after) = self.all.get(path)? else {
            return Some(Changed::Removed);
        };
        let kind = match &after.content {
            Content::Same => return Some(Changed::Metadata(after)),
            Content::Directory => Kind::Directory,
            Content::File(_) | Content::Unknown => Kind::File,
            Content::Link(text) => Kind::Link(text.to_vec()),
        };
        Some(Changed::Whole(Entry {
            kind,
            uid: after.uid,
            gid: after.gid,
            mode: after.mode,
            acl: Vec::new(),
            capabilities: after.capabilities,
        }))
    }

    /// The new bytes of a file. `None`: its bytes do not change.
    pub fn content(&self, path: &FilePath) -> Option<&Content> {
        let after = self.all.get(path)?.as_ref()?;
        match &after.content {
            Content::Same => None,
            content => Some(content),
        }
    }

    /// Names that are new in this directory, and those that are removed: both sorted.
    pub fn names(&self, directory: &FilePath) -> (Vec<&[u8]>, Vec<&[u8]>) {
        let names = self.within.get(directory).into_iter().flatten();
        let (there, removed): (Vec<_>, Vec<_>) = names.partition(|(_, is_there)| *is_there);
        (bytes(&there), bytes(&removed))
    }
}

fn bytes<'a>(names: &[&'a (Vec<u8>, bool)]) -> Vec<&'a [u8]> {
    names.iter().map(|(name, _)| name.as_slice()).collect()
}
