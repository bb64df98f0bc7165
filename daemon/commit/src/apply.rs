//! One operation is one atomic step, and its reverse. A step looks at what it moved only afterwards, when nobody can
//! exchange it any more; a reverse looks at what is there, so that it can be repeated.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{RenameFlags, renameat2};
use remit_plan::{Change, Direction, Kind, LISTED, Metadata, Movement, Side, Stat};
use remit_sys::sys;

use crate::failure::Failure;
use crate::journal::{JournalFile, count};
use crate::link;
use crate::lists;
use crate::new_file::set_metadata;
use crate::reversal::{Reversal, has_lasted, raises, reversal};
use crate::stage::{is_free, lease};
use crate::tree::{Operation, Tree, about, attributes, hash, look, open_file};

const PLAIN: RenameFlags = RenameFlags::RENAME_NOREPLACE;
const EXCHANGE: RenameFlags = RenameFlags::RENAME_EXCHANGE;

impl Operation<'_> {
    pub fn leaving(&self, direction: Direction) -> Option<Side> {
        self.entry.change.leaving(direction, self.inode)
    }

    /// `now` is at the path.
    pub fn leaving_now(&self, direction: Direction, now: &Stat) -> Option<Side> {
        self.entry
            .change
            .leaving_now(direction, self.inode, now.meta)
    }

    fn enter(&self, slots: &OwnedFd, flags: RenameFlags) -> Result<(), Failure> {
        self.in_parent(|parent| {
            renameat2(
                slots,
                self.slot.as_c_str(),
                parent,
                self.name.as_c_str(),
                flags,
            )
        })
    }

    /// Moves what is at the path beside the journal, or on another file system into the private directory. Returns where it is.
    fn leave<'a>(&'a self, journal: &'a JournalFile) -> Result<&'a OwnedFd, Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        let (name, slot) = (self.name.as_c_str(), self.slot.as_c_str());
        let parent = self.parent.as_ref();
        let parent = parent.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        match renameat2(parent, name, &journal.kept, slot, PLAIN) {
            Ok(()) => Ok(&journal.kept),
            Err(nix::Error::EXDEV) => {
                let beside = self.anchor.make_beside().map_err(fail)?;
                renameat2(parent, name, beside, slot, PLAIN).map_err(|error| fail(error.into()))?;
                Ok(beside)
            }
            Err(error) => Err(fail(error.into())),
        }
    }

    fn in_parent(&self, rename: impl FnOnce(&OwnedFd) -> nix::Result<()>) -> Result<(), Failure> {
        let parent = self.parent.as_ref().ok_or(nix::Error::ENOENT);
        let moved = parent.and_then(|parent| rename(parent));
        moved.map_err(|error| Failure::new(self.entry, &error.into()))
    }

    fn existing_slots<'a>(&'a self, journal: &'a JournalFile) -> Result<&'a OwnedFd, Failure> {
        let slots = self.slots(journal);
        let slots = slots.map_err(|error| Failure::new(self.entry, &error))?;
        let missing = || about(self.entry, "its private directory is missing");
        slots.ok_or_else(|| Failure::Changed(missing()))
    }

    /// Makes the step. After an error it may be made: [`Self::revert`] finds out.
    pub fn make(
        &self,
        tree: &Tree,
        journal: &JournalFile,
        direction: Direction,
    ) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        let parent = self.parent.as_deref();
        self.is_same(parent.is_some_and(|parent| tree.leads_to(self.entry.path.parent(), parent)))?;
        match self.entry.change.movement(direction) {
            movement @ (Movement::Enter | Movement::Exchange) => {
                let slots = self.existing_slots(journal)?;
                if direction == Direction::Undo {
                    self.renew(slots)?;
                }
                if movement == Movement::Enter {
                    return self.enter(slots, PLAIN);
                }
                self.enter(slots, EXCHANGE)?;
                self.check_left(slots, direction)
            }
            Movement::Leave => self.check_left(self.leave(journal)?, direction),
            Movement::SetMetadata { to, .. } => {
                let now = self.target().map_err(fail)?;
                let is_expected = now.is_some_and(|now| {
                    let side = self.leaving_now(direction, &now.stat);
                    side.is_some_and(|side| side.difference(&now.stat).is_none())
                });
                match self.held.as_ref().filter(|_| is_expected) {
                    Some(file) => {
                        set_metadata(file, to).map_err(fail)?;
                        self.check_set(file, to, direction)
                    }
                    None => Err(Failure::changed(
                        self.entry,
                        "somebody has changed it in the meantime",
                    )),
                }
            }
        }
    }

    pub fn check_anchor(&self, tree: &Tree) -> Result<(), Failure> {
        self.is_same(tree.leads_to(&self.anchor.path, &self.anchor.fd))
    }

    fn is_same(&self, same: bool) -> Result<(), Failure> {
        let other = || {
            Failure::changed(
                self.entry,
                "its directory was moved or replaced in the meantime",
            )
        };
        same.then_some(()).ok_or_else(other)
    }

    /// Checks that no writer waits for the file that left the path. One that waits for the new file may go on with it.
    pub fn check_leases(&self) -> Result<(), Failure> {
        let change = &self.entry.change;
        let is_leased = change.binds_bytes() || !matches!(change, Change::SetMetadata { .. });
        let file = self.held.as_ref().filter(|_| is_leased);
        let file = file.filter(|file| file.metadata().is_ok_and(|file| file.is_file()));
        match file.filter(|file| !is_free(file)) {
            Some(_) => Err(Failure::changed(
                self.entry,
                "somebody opens it for writing in the meantime",
            )),
            None => Ok(()),
        }
    }

    /// Checks that the file which has got this owner and mode is the one that was compared: who could write to it before
    /// may not any more.
    fn check_set(&self, file: &File, to: Metadata, direction: Direction) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        if let Some(why) = lists::stay(&self.entry.change, direction, file).map_err(fail)? {
            return Err(Failure::changed(self.entry, why));
        }
        if !self.entry.change.binds_bytes() {
            return Ok(());
        }
        let changed = |why: &str| {
            Err(Failure::changed(
                self.entry,
                format!("{why} in the meantime"),
            ))
        };
        let base = self.entry.change.base().map(|base| base.stat);
        let Some(found) = self.target().map_err(fail)? else {
            return changed("it was removed");
        };
        // A new mode changes the value of an ACL.
        let names = attributes(file).map_err(fail)?;
        match base {
            Some(base) if base.ino != found.stat.ino => changed("it is another file"),
            Some(base) if base.size != found.stat.size => changed("its size has changed"),
            _ if found.stat.meta != to => changed("its mode or owner has changed"),
            _ if found.links > 1 => changed("it got another name"),
            _ if !names.keys().eq(self.attributes.keys()) => changed("its attributes have changed"),
            _ if Some(hash(file).map_err(fail)?) != self.sha256 => {
                changed("its bytes have changed")
            }
            _ => self.check_leases(),
        }
    }

    fn check_left(&self, slots: &OwnedFd, direction: Direction) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        let changed = |why: &str| Failure::changed(self.entry, format!("{why} in the meantime"));
        let found = look(slots, &self.slot)
            .map_err(fail)?
            .ok_or_else(|| changed("it was lost"))?;
        let expected = self
            .leaving(direction)
            .ok_or_else(|| changed("it appeared"))?;
        if self.is_whole && expected.inode == found.stat.ino {
            return Ok(());
        }
        if let Some(why) = expected.difference(&found.stat) {
            return Err(changed(why));
        }
        let Some(held) = &self.held else {
            return match found.stat.kind {
                Kind::Symlink => link::check(self.entry, slots, &self.slot, expected.sha256),
                _ => Ok(()),
            };
        };
        match found.stat.kind {
            Kind::File if found.links > 1 => Err(changed("it got another name")),
            Kind::File if Some(hash(held).map_err(fail)?) != self.sha256 => {
                Err(changed("its bytes have changed"))
            }
            Kind::Directory if count(held).map_err(fail)? > 2 => {
                Err(Failure::changed(self.entry, "it is not empty"))
            }
            _ if attributes(held).map_err(fail)? != self.attributes => {
                Err(changed("its attributes have changed"))
            }
            _ => self.check_leases(),
        }
    }

    /// Takes the step back if it was made. Fails if somebody else has changed the path since; then it stays as it is.
    pub fn revert(&self, journal: &JournalFile, direction: Direction) -> Result<(), Failure> {
        let reverted = self.taken_back(journal, direction);
        reverted.map_err(|failure| self.blamed(failure))
    }

    /// Whoever may write a directory can also fill its disk, and keep it full.
    pub fn blamed(&self, failure: Failure) -> Failure {
        let stat = sys::stat_of(self.anchor.fd.as_fd());
        let is_roots = stat.is_ok_and(|stat| stat.st_uid == 0 && stat.st_mode & 0o022 == 0);
        match failure {
            Failure::Full(line) if !is_roots => Failure::Changed(line),
            failure => failure,
        }
    }

    fn taken_back(&self, journal: &JournalFile, direction: Direction) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::new(self.entry, &error);
        let left = |why: &str| {
            let line = about(self.entry, format!("{why}; it was left as it is"));
            Err(Failure::Changed(line))
        };
        let change = &self.entry.change;
        let now = self.target().map_err(fail)?.map(|now| now.stat);
        let slotted = self
            .slotted(journal)
            .map_err(fail)?
            .map(|found| found.stat.ino);
        let entering = change.entering(direction, self.inode);
        match reversal(change, direction, self.inode, now.as_ref(), slotted) {
            // The private directory was moved away, or is on a file system that is not mounted.
            Reversal::Nothing
                if slotted.is_none() && change.movement(direction) == Movement::Exchange =>
            {
                let leaving = self.leaving(direction).map(|side| side.inode);
                match now.map(|now| now.ino) {
                    now if now == leaving => Ok(()),
                    Some(now) if now == entering => left("its old file is gone"),
                    _ => left("neither its old nor its new file is there"),
                }
            }
            Reversal::Nothing => Ok(()),
            Reversal::Left(why) if self.is_whole => {
                let slot = self.slot.to_string_lossy();
                left(&format!(
                    "{why}, and what was taken away is kept beside the journal, as '{slot}'"
                ))
            }
            Reversal::Left(why) => left(why),
            Reversal::Enter => {
                let slots = self.existing_slots(journal)?;
                self.renew(slots)?;
                self.enter(slots, PLAIN)
            }
            Reversal::Exchange => {
                let slots = self.existing_slots(journal)?;
                self.renew(slots)?;
                self.enter(slots, EXCHANGE)?;
                let came = look(slots, &self.slot).map_err(fail)?;
                if came.is_some_and(|came| came.stat.ino == entering) {
                    return Ok(());
                }
                self.enter(slots, EXCHANGE)?;
                left("somebody has replaced it")
            }
            Reversal::Leave => {
                let slots = self.leave(journal)?;
                let came = look(slots, &self.slot).map_err(fail)?.map(|came| came.stat);
                let is_full = match came.map(|came| came.kind) {
                    Some(Kind::Directory) => {
                        count(open_file(slots, &self.slot).map_err(fail)?).map_err(fail)? > 2
                    }
                    _ => false,
                };
                if came.is_some_and(|came| came.ino == entering) && !is_full {
                    return Ok(());
                }
                self.enter(slots, PLAIN)?;
                left("somebody has replaced it or made files in it")
            }
            Reversal::SetMetadata(meta) => {
                let parent = self.parent.as_ref();
                let parent = parent.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
                let file = open_file(parent, &self.name).map_err(fail)?;
                let opened = sys::stat_of(file.as_fd()).map_err(fail)?.st_ino;
                if now.is_none_or(|now| now.ino != opened) {
                    return left("it is another file");
                }
                match now.filter(|now| change.binds_bytes() && raises(meta, now.meta)) {
                    Some(now) => match self.raise(&file, now, meta).map_err(fail)? {
                        Some(why) => left(&why),
                        None => Ok(()),
                    },
                    None => {
                        set_metadata(&file, meta).map_err(fail)?;
                        match now {
                            Some(now)
                                if lists::stay_at_root(&file, now.meta, meta).map_err(fail)? =>
                            {
                                set_metadata(&file, now.meta).map_err(fail)?;
                                left(LISTED)
                            }
                            _ => Ok(()),
                        }
                    }
                }
            }
        }
    }

    /// Sets a mode or owner with which the file is trusted more than with `now`. Returns why not if somebody else may
    /// have written to it since the commit, or still may.
    fn raise(&self, file: &File, now: Stat, meta: Metadata) -> io::Result<Option<String>> {
        let size = self.entry.change.base().map(|base| base.stat.size);
        if size != Some(now.size) {
            return Ok(Some("its size has changed".to_owned()));
        }
        if let Err(why) = lease(file) {
            return Ok(Some(why));
        }
        let is_same = || Ok::<_, io::Error>(Some(hash(file)?) == self.sha256);
        if !is_same()? {
            return Ok(Some("its bytes have changed".to_owned()));
        }
        set_metadata(file, meta)?;
        // Asked only now, when the owner until now can make none any more.
        let why = match lists::stay_at_root(file, now.meta, meta)? {
            true => LISTED,
            false if is_same()? && is_free(file) => return Ok(None),
            false => "somebody opens it for writing",
        };
        set_metadata(file, now.meta)?;
        Ok(Some(why.to_owned()))
    }

    /// Returns true if the new directory in its slot has something in it, which others have made.
    pub fn holds_others(&self, journal: &JournalFile) -> io::Result<bool> {
        let Some(slots) = self.slots(journal)? else {
            return Ok(false);
        };
        let found = look(slots, &self.slot)?;
        let is_own = found.is_some_and(|found| {
            found.stat.kind == Kind::Directory && found.stat.ino == self.inode
        });
        Ok(is_own && count(open_file(slots, &self.slot)?)? > 2)
    }

    pub fn is_undone(&self, journal: &JournalFile) -> io::Result<bool> {
        let (now, slotted) = self.seen(journal)?;
        Ok(self
            .entry
            .change
            .is_undone(self.inode, now.as_ref(), slotted))
    }

    /// Returns true if the step is made still, as far as the slot says.
    pub fn has_lasted(&self, journal: &JournalFile, direction: Direction) -> io::Result<bool> {
        let (now, slotted) = self.seen(journal)?;
        let change = &self.entry.change;
        let now = now.as_ref();
        Ok(has_lasted(change, direction, self.inode, now, slotted))
    }

    fn seen(&self, journal: &JournalFile) -> io::Result<(Option<Stat>, Option<u64>)> {
        let now = self.target()?.map(|now| now.stat);
        let slotted = self.slotted(journal)?.map(|found| found.stat.ino);
        Ok((now, slotted))
    }
}
