//! Checks every path before anything changes, and makes the new files in private directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, mkdirat};
use remit_plan::{Change, Direction, FIXED_DIRECTORY, Kind, Movement, New, is_fixed, too_long};
use remit_sys::sys;

use crate::disks;
use crate::failure::Failure;
use crate::journal::{JournalFile, count};
use crate::link;
use crate::lists;
use crate::new_file;
use crate::renumbered::is_overlay;
use crate::reversal::capability_conflict;
use crate::tree::{Attributes, Operation, about, attributes, hash, look, open_file};

/// Compares a path with what the direction expects there, and takes a lease of a file that will leave it.
pub fn check(operation: &mut Operation<'_>, direction: Direction) -> Result<(), Failure> {
    let entry = operation.entry;
    let fail = |error: io::Error| Failure::new(entry, &error);
    if operation.is_in_fixed_directory(direction).map_err(fail)? {
        return Err(Failure::changed(entry, FIXED_DIRECTORY));
    }
    let found = operation.target().map_err(fail)?;
    let now = found.as_ref().map(|found| &found.stat);
    if let Some(why) = entry.change.difference(direction, operation.inode, now) {
        return Err(Failure::changed(entry, why));
    }
    let Some(found) = found else {
        return Ok(());
    };
    let expected = operation.leaving(direction).and_then(|side| side.sha256);
    let base = entry
        .change
        .base()
        .filter(|_| direction == Direction::Commit);
    let is_mode = matches!(entry.change, Change::SetMetadata { .. });
    let is_bound = entry.change.binds_bytes();
    if let Some(why) = found.obstacle() {
        return Err(Failure::changed(entry, why));
    }
    let Some(parent) = operation.parent.as_ref() else {
        return Ok(());
    };
    if found.stat.kind == Kind::Symlink {
        return link::check(entry, parent, &operation.name, expected);
    }
    let file = open_file(parent, &operation.name).map_err(fail)?;
    if sys::stat_of(file.as_fd()).map_err(fail)?.st_ino != found.stat.ino {
        return Err(Failure::changed(entry, "it is another file"));
    }
    operation.attributes = attributes(&file).map_err(fail)?;
    if let Some(why) = lists::stay(&entry.change, direction, &file).map_err(fail)? {
        return Err(Failure::changed(entry, why));
    }
    let own = operation
        .attributes
        .get(sys::FILE_CAPABILITIES)
        .map(Vec::as_slice);
    if let Some(why) = capability_conflict(&entry.change, direction, own) {
        return Err(Failure::changed(entry, why));
    }
    if found.stat.kind == Kind::File && (is_bound || !is_mode) {
        lease(&file).map_err(|why| Failure::changed(entry, why))?;
    }
    // An undo of another mode does not depend on the bytes.
    let is_compared = found.stat.kind == Kind::File && (base.is_some() || is_bound || !is_mode);
    if let Some(why) = too_long(found.stat.size).filter(|_| is_compared) {
        return Err(Failure::changed(entry, why));
    }
    if is_compared {
        let known = expected.or(operation.sha256);
        let now = Some(hash(&file).map_err(fail)?);
        if known.is_some() && now != known {
            return Err(Failure::changed(entry, "its bytes have changed"));
        }
        if known.is_none() && is_bound && direction == Direction::Undo {
            return Err(Failure::changed(
                entry,
                "its bytes at the commit are not known",
            ));
        }
        // Only then: a second try must not take changed bytes for those of the commit.
        operation.sha256 = now;
    }
    operation.held = Some(file);
    Ok(())
}

impl Operation<'_> {
    /// Returns whether a step makes or moves a name in a directory that keeps its names.
    fn is_in_fixed_directory(&self, direction: Direction) -> io::Result<bool> {
        if matches!(
            self.entry.change.movement(direction),
            Movement::SetMetadata { .. }
        ) {
            return Ok(false);
        }
        for directory in self.parent.as_deref().into_iter().chain([&self.anchor.fd]) {
            let found = look(directory, c".")?;
            if found.is_some_and(|found| is_fixed(found.attributes)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks that the file which an undo puts back is kept, and that the new one has the attributes that the commit gave
    /// it: what an administrator has set since would go with it.
    pub fn check_slot(&self, journal: &JournalFile) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        let change = &self.entry.change;
        if !matches!(
            change.movement(Direction::Undo),
            Movement::Enter | Movement::Exchange
        ) {
            return Ok(());
        }
        let gone = || Failure::changed(self.entry, "its old file is not kept any more");
        let slots = self.slots(journal).map_err(fail)?.ok_or_else(gone)?;
        let found = look(slots, &self.slot).map_err(fail)?;
        let entering = change.entering(Direction::Undo, self.inode);
        found
            .filter(|found| found.stat.ino == entering)
            .ok_or_else(gone)?;
        match change {
            Change::Replace { base, meta, .. }
            | Change::ReplaceKind {
                base,
                new: New::File(_),
                meta,
            } => {
                let old = match base.stat.kind {
                    Kind::File => open_file(slots, &self.slot).and_then(attributes),
                    _ => Ok(Attributes::new()),
                };
                let (old, metas) = (old.map_err(fail)?, (base.stat.meta, *meta));
                let mut now = self.attributes.clone();
                if base.stat.kind == Kind::Symlink {
                    // Of the directory.
                    now.retain(|name, _| !sys::ACCESS_LISTS.contains(&name.as_c_str()));
                }
                let is_same = new_file::is_copied(&now, &old, metas);
                let why = "its attributes have changed since the commit";
                is_same
                    .then_some(())
                    .ok_or_else(|| Failure::changed(self.entry, why))
            }
            _ => Ok(()),
        }
    }
}

/// Fails if a directory that leaves its path has more in it than what leaves it before.
pub fn check_directories(
    operations: &[Operation<'_>],
    direction: Direction,
) -> Result<(), Failure> {
    let leaves =
        |operation: &&Operation<'_>| operation.entry.change.movement(direction) == Movement::Leave;
    let mut leaving: BTreeMap<&[u8], usize> = BTreeMap::new();
    for operation in operations.iter().filter(leaves) {
        *leaving.entry(operation.entry.path.parent()).or_default() += 1;
    }
    for operation in operations.iter().filter(leaves) {
        let Some(held) = &operation.held else {
            continue;
        };
        let most = 2 + leaving
            .get(operation.entry.path.as_bytes())
            .copied()
            .unwrap_or_default();
        let count = held.metadata().and_then(|meta| match meta.is_dir() {
            true => count(held),
            false => Ok(0),
        });
        let wrong = match count {
            Ok(count) => {
                (count > most).then(|| Failure::changed(operation.entry, "it is not empty"))
            }
            Err(error) => Some(Failure::new(operation.entry, &error)),
        };
        if let Some(why) = wrong {
            return Err(why);
        }
    }
    Ok(())
}

pub fn lease(file: &File) -> Result<(), String> {
    sys::take_read_lease(file).map_err(|error| match error.raw_os_error() {
        Some(libc::EAGAIN) => "somebody has it open for writing".to_owned(),
        _ => format!("cannot find out whether somebody has it open for writing: {error}"),
    })
}

/// Returns true if nobody has opened a file for writing since its lease was taken. The kernel refuses the second lease
/// as soon as a writer has begun to open the file, which is before that writer waits for the first one to end.
pub fn is_free(file: &File) -> bool {
    sys::has_read_lease(file) && sys::take_read_lease(file).is_ok()
}

/// Makes the new file or directory of an operation. `contents` has its bytes at `range`.
pub fn stage(
    operation: &mut Operation<'_>,
    contents: &File,
    range: Range<u64>,
) -> Result<Option<OwnedFd>, String> {
    let entry = operation.entry;
    let fail = |error: io::Error| about(entry, format!("cannot prepare it: {error}"));
    let slot = operation.slot.clone();
    if let (Some(New::Link(target)), Some(meta)) = (entry.change.makes(), entry.change.meta()) {
        let beside = operation.anchor.make_beside().map_err(fail)?;
        let made = link::make(operation, beside, (contents, range), (target, meta));
        operation.inode = made.map_err(fail)?;
        return Ok(None);
    }
    let (content, meta) = match entry.change {
        Change::Create {
            new: New::Directory,
            meta,
        } => {
            let beside = operation.anchor.make_beside().map_err(fail)?;
            mkdirat(beside, slot.as_c_str(), Mode::S_IRWXU).map_err(|error| fail(error.into()))?;
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let made = sys::open_plain(beside.as_fd(), &slot, flags).map_err(fail)?;
            new_file::set_kept_metadata(&made, meta).map_err(fail)?;
            new_file::remove_lists(operation, &made, meta).map_err(fail)?;
            operation.inode = sys::stat_of(made.as_fd()).map_err(fail)?.st_ino;
            return Ok(Some(made));
        }
        Change::Create {
            new: New::File(content) | New::Link(content),
            meta,
        }
        | Change::ReplaceKind {
            new: New::File(content) | New::Link(content),
            meta,
            ..
        }
        | Change::Replace { content, meta, .. } => (content, meta),
        Change::ReplaceKind { .. } | Change::SetMetadata { .. } | Change::Remove { .. } => {
            // The number of a file is checked already.
            let base = entry.change.base();
            let is_file = base.is_some_and(|base| base.stat.kind == Kind::File);
            if !is_file && is_overlay(&operation.anchor.fd).map_err(fail)? {
                operation.anchor.make_beside().map_err(fail)?;
            }
            return Ok(None);
        }
    };
    // A link has no attributes for the file that replaces it.
    let taken = match entry.change {
        Change::Replace { base, meta, .. } => {
            let metas = (base.stat.meta, meta);
            let copied = new_file::copied(&operation.attributes, metas);
            Some(copied.map_err(|why| about(entry, why))?)
        }
        _ => None,
    };
    let beside = operation.anchor.make_beside().map_err(fail)?;
    let bytes = (contents, range);
    new_file::write(operation, beside, bytes, (content, meta), taken.as_ref()).map_err(fail)?;
    let file = open_file(beside, &slot).map_err(fail)?;
    if taken.is_none() {
        new_file::remove_lists(operation, &file, meta).map_err(fail)?;
    }
    lease(&file).map_err(|why| about(entry, why))?;
    disks::check_number(entry, &file, beside)?;
    operation.inode = sys::stat_of(file.as_fd()).map_err(fail)?.st_ino;
    operation.staged = Some(file);
    Ok(None)
}

/// Returns true if the new file in its slot is what was planned, and nobody waits to write it.
pub fn is_untouched(operation: &Operation<'_>, slots: impl AsFd) -> io::Result<bool> {
    let Some(found) = look(&slots, &operation.slot)? else {
        return Ok(true);
    };
    if found.stat.ino != operation.inode {
        return Ok(false);
    }
    let Some(content) = operation.entry.change.content() else {
        return Ok(true);
    };
    if let Some(New::Link(target)) = operation.entry.change.makes() {
        return link::is_to(slots, &operation.slot, Some(target.sha256));
    }
    let is_free = operation.staged.as_ref().is_none_or(is_free);
    Ok(is_free && hash(&open_file(slots, &operation.slot)?)? == content.sha256)
}
