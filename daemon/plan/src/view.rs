//! An entry of a plan with its bytes, as far as they are known.

use crate::plan::{Entry, Metadata};
use crate::{Plan, hex};

/// An entry with the bytes before and after it, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub entry: &'a Entry,
    pub old: Option<&'a [u8]>,
    pub new: Option<&'a [u8]>,
}

impl Plan {
    /// Returns the id of the commit of this plan, for its undo: half of the digest.
    #[must_use]
    pub fn commit_id(&self) -> String {
        let digest = self.digest();
        hex(digest.get(..16).unwrap_or(&digest))
    }
}

impl<'a> View<'a> {
    /// Returns true if it has a file whose old bytes neither the requester nor the reader of the page has read.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.known_old().is_none() && self.entry.change.has_unread_base()
    }

    /// Returns the old bytes of its diff. There is none of an upload: all old lines would seem to be removed.
    #[must_use]
    pub fn known_old(&self) -> Option<&'a [u8]> {
        self.old.filter(|_| self.entry.change.uploaded().is_none())
    }
}

/// Returns `mode 0644, owner 0:0`.
#[must_use]
pub fn metadata(meta: Metadata) -> String {
    format!("mode {:04o}, owner {}:{}", meta.mode, meta.uid, meta.gid)
}
