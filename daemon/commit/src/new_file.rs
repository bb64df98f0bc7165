//! A new file in its slot: its bytes, attributes, owner, mode, capabilities and time. It is not at its path yet.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, futimens, utimensat};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use remit_plan::{Content, Entry, Metadata, is_dropped, is_taken, unkept};
use remit_sys::sys;
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::lists;
use crate::tree::{Attributes, Operation, attributes};

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// Of the attributes that a new file takes over, what the policy of the machine sets.
const LABELS: [&[u8]; 2] = [b"security.selinux", b"security.SMACK64"];
/// Writes the file of an operation in its slot. `contents` has its bytes at `range`; `taken` are attributes of the old file.
pub fn write(
    operation: &Operation<'_>,
    beside: impl AsFd,
    (contents, range): (&File, Range<u64>),
    (content, meta): (Content, Metadata),
    taken: Option<&Attributes>,
) -> io::Result<()> {
    let slot = operation.slot.as_c_str();
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(beside, slot, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0; 1 << 16], range.start);
    while at < range.end {
        let length = usize::try_from(range.end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..length).unwrap_or_default();
        contents.read_exact_at(part, at)?;
        hash.update(&*part);
        file.write_all(part)?;
        at += length as u64;
    }
    if <[u8; 32]>::from(hash.finalize()) != content.sha256 {
        return Err(io::Error::other("its bytes are not those of the plan"));
    }
    if let Some(taken) = taken {
        let own = attributes(&file)?;
        for name in own
            .keys()
            .filter(|name| !taken.contains_key(*name) && !is_dropped(name.to_bytes()))
        {
            sys::remove_xattr(&file, name)?;
        }
        for (name, value) in taken
            .iter()
            .filter(|(name, value)| own.get(*name) != Some(value))
        {
            sys::set_xattr(&file, name, value)?;
        }
    }
    set_kept_metadata(&file, meta)?;
    // A new owner takes them away.
    if let Some(own) = content.capabilities {
        sys::set_xattr(&file, sys::FILE_CAPABILITIES, &own.encode())?;
    }
    let old = operation.held.as_ref().map(File::metadata).transpose()?;
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?.num_nanoseconds();
    let time = kept_time(operation.entry, now, old.map(|old| old.mtime()));
    if let Some((seconds, rest)) = time {
        futimens(&file, &TimeSpec::UTIME_OMIT, &TimeSpec::new(seconds, rest))?;
    }
    Ok(())
}

/// Returns the time that a new file has from the plan: seconds, later than those of the old file, and nanoseconds.
///
/// A program that looks at times has to see that it is another file: cron compares whole seconds, and the service manager
/// reads a unit again if its file is newer. So the requester chooses no time of a unit, and none before the old file's.
fn kept_time(entry: &Entry, now: i64, old: Option<i64>) -> Option<(i64, i64)> {
    let time = entry.time(now)?;
    let (seconds, rest) = (time.div_euclid(SECOND), time.rem_euclid(SECOND));
    old.is_none_or(|old| seconds > old)
        .then_some((seconds, rest))
}

impl Operation<'_> {
    /// Gives the file that comes back the time of now, if the service manager compares it with the time of what it has read: an
    /// older file would not be read again, and the unit would stay what it was.
    pub fn renew(&self, slots: &OwnedFd) -> Result<(), Failure> {
        if !self.entry.path.is_compared_by_time() {
            return Ok(());
        }
        let (now, flags) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
        let renewed = utimensat(
            slots,
            self.slot.as_c_str(),
            &TimeSpec::UTIME_OMIT,
            &now,
            flags,
        );
        renewed.map_err(|error| {
            Failure::doing(self.entry, "set the time of its old file", &error.into())
        })
    }
}

/// Removes what a new file or directory has from the nearest directory that the plan does not make.
pub fn remove_lists(operation: &Operation<'_>, made: impl AsFd, meta: Metadata) -> io::Result<()> {
    let anchor = sys::stat_of(operation.anchor.fd.as_fd())?;
    sys::remove_lists_of(anchor.st_uid, made, meta.uid)
}

pub fn set_metadata(file: impl AsFd, meta: Metadata) -> io::Result<()> {
    sys::own(file.as_fd(), (meta.uid, meta.gid), meta.mode)
}

/// Sets mode and owner of a new file that nobody else reaches. Fails if its file system does not keep them: FAT says nothing.
pub fn set_kept_metadata(file: impl AsFd, meta: Metadata) -> io::Result<()> {
    set_metadata(&file, meta)?;
    let now = sys::stat_of(file.as_fd())?;
    let now = Metadata {
        mode: now.st_mode & 0o7777,
        uid: now.st_uid,
        gid: now.st_gid,
    };
    match now == meta {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "its file system does not keep mode {:04o}, owner {}:{}: it has mode {:04o}, owner {}:{}",
            meta.mode, meta.uid, meta.gid, now.mode, now.uid, now.gid
        ))),
    }
}

fn is_any(name: &CStr, list: &[&[u8]]) -> bool {
    list.iter().any(|start| name.to_bytes().starts_with(start))
}

/// Returns the attributes that a new file takes over, whose owner and mode change like this. Errors: one that cannot be kept.
pub fn copied(attributes: &Attributes, metas: (Metadata, Metadata)) -> Result<Attributes, String> {
    let mut names = attributes.keys().map(|name| name.to_bytes());
    if let Some(why) = names.find_map(unkept) {
        return Err(why);
    }
    let kept = attributes
        .iter()
        .filter(|(name, _)| is_taken(name.to_bytes()) && lists::is_kept(name, metas));
    Ok(kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
}

/// Returns true if a file has `now` what it took over from the `old` one, and nothing else. A security label belongs to the
/// path: a relabel of the machine sets both, and differently, because the old file has another path now.
pub fn is_copied(now: &Attributes, old: &Attributes, metas: (Metadata, Metadata)) -> bool {
    let compared = |all: &Attributes| -> Attributes {
        let is_set = |name: &CStr| !is_dropped(name.to_bytes()) && !is_any(name, &LABELS);
        let all = all.iter().filter(|(name, _)| is_set(name));
        all.map(|(name, value)| (name.clone(), lists::without_mode(name, value)))
            .collect()
    };
    copied(old, metas).is_ok_and(|copied| compared(&copied) == compared(now))
}
