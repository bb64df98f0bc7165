//! Which bytes of files the page of an undo shows as diffs. It reads what is kept as root, and shows it only if the requester
//! could read it before the commit.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_plan::{Change, Entry, New, UNDO_TEXT, sha256};

use super::Undo;

/// Bytes of one file whose diff the page of an undo has, and of all.
const DIFFED_FILE: usize = 64 << 10;
const DIFFED: usize = 1 << 20;

impl Undo {
    /// Returns the diffs of files, as far as the requester may read both of each, in the bytes that these lines leave. `read` reads with the
    /// rights of the requester: `Some(None)` if it sees that nothing is there. None for an undo with contents: services
    /// write to such files all the time.
    pub fn diffs(
        &self,
        lines: &[String],
        uid: u32,
        read: impl Fn(&Path, usize) -> Option<Option<Vec<u8>>>,
    ) -> Result<Vec<String>, String> {
        let journal = self.journal()?;
        if self.with_contents {
            return Ok(Vec::new());
        }
        let used: usize = lines.iter().map(|line| line.len() + 1).sum();
        let left = Cell::new(DIFFED);
        let bytes = |at: usize, entry: &Entry| {
            let most = left.get().min(DIFFED_FILE);
            let path = Path::new(OsStr::from_bytes(entry.path.as_bytes()));
            let now = match (entry.change.makes(), &entry.change) {
                (Some(New::File(content)), _) => {
                    let now = read(path, most)??;
                    Some((sha256(&now) == content.sha256).then_some(now)?)
                }
                // What was private is where its directory was.
                (None, Change::Remove { .. }) if read(path, most)?.is_none() => None,
                _ => return None,
            };
            let again = match entry.change.base() {
                Some(base) if base.stat.meta.lets_read(uid, &[]) => {
                    let again = self.kept(entry, at)?.read(most)?;
                    Some((Some(sha256(&again)) == base.sha256).then_some(again)?)
                }
                Some(_) => return None,
                None => None,
            };
            let is_opened = |above: &Entry| {
                let is_set = matches!(above.change, Change::SetMetadata { .. });
                is_set && above.path != entry.path && entry.path.is_in(above.path.as_bytes())
            };
            if journal.plan.entries().iter().any(is_opened) {
                return None;
            }
            let both = [now, again];
            let size: usize = both.iter().flatten().map(Vec::len).sum();
            left.set(left.get().saturating_sub(size));
            Some(both)
        };
        let most = UNDO_TEXT.saturating_sub(used);
        Ok(journal.plan.undo_diffs(bytes, most))
    }
}
