//! Files as they would be after a change that is not made yet. A look sees these instead of the machine's own.

use std::collections::BTreeMap;

use remit_common::prove::{Content, FileAfter, FileChange};

use super::entry::{Entry, Kind};
use crate::path::FilePath;

/// By real path: a plan names no path behind a link.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<FilePath, Option<FileAfter>>);

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
        Ok(Self(all))
    }

    pub fn of(&self, path: &FilePath) -> Option<Changed<'_>> {
        let Some(after) = self.0.get(path)? else {
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
        let after = self.0.get(path)?.as_ref()?;
        match &after.content {
            Content::Same => None,
            content => Some(content),
        }
    }

    /// Names that are new in this directory, and those that are removed.
    pub fn names(&self, directory: &FilePath) -> (Vec<&[u8]>, Vec<&[u8]>) {
        let (mut there, mut removed) = (Vec::new(), Vec::new());
        let within = self.0.iter();
        for (path, after) in within.filter(|(path, _)| path.parent().as_ref() == Some(directory)) {
            match after {
                Some(_) => there.push(path.name()),
                None => removed.push(path.name()),
            }
        }
        (there, removed)
    }
}
