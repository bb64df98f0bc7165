//! Reads bytes of files and links in pieces, with their hash. No file is in memory as a whole.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use remit_plan::{Entry, Kind, New, PlanPath};
use sha2::{Digest, Sha256};

use crate::input::{CopiedMachine, Overlay};
use crate::node::{Node, NodeKind, open_file};
use crate::table;

/// Receives bytes in pieces of at most 64 KiB.
pub type PieceSink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;
const PIECE: usize = 64 << 10;

#[derive(Debug)]
pub enum ContentError {
    Read(io::Error),
    /// The bytes are not those of the entry.
    Changed,
    Sink(io::Error),
    /// No overlay has this path.
    Outside,
}

/// Reopens the files of a plan's entries, for one who writes a bundle.
#[derive(Clone, Copy, Debug)]
pub struct ContentSource<'a> {
    machine: &'a CopiedMachine,
}

impl<'a> ContentSource<'a> {
    #[must_use]
    pub const fn new(machine: &'a CopiedMachine) -> Self {
        Self { machine }
    }

    /// Writes the new bytes or the new link's target; nothing for an entry without content. After an error `sink` may
    /// have wrong bytes, because the hash is known at the end.
    pub fn write_new(&self, entry: &Entry, sink: PieceSink<'_>) -> Result<(), ContentError> {
        let Some(content) = entry.change.content() else {
            return Ok(());
        };
        let is_link = matches!(entry.change.makes(), Some(New::Link(_)));
        let overlay = overlay_of(self.machine, &entry.path)?;
        if entry.change.is_of_lines() {
            return write_lines(overlay, entry, content.sha256, sink);
        }
        let expected = (content.size, content.sha256);
        write(overlay, &overlay.upper, entry, is_link, expected, sink)
    }

    /// Writes the old bytes of a file or of a link's target, with this size and hash.
    pub fn write_old(
        &self,
        entry: &Entry,
        expected: (u64, [u8; 32]),
        sink: PieceSink<'_>,
    ) -> Result<(), ContentError> {
        let Some(base) = entry.change.base() else {
            return Ok(());
        };
        let is_link = base.stat.kind == Kind::Symlink;
        let overlay = overlay_of(self.machine, &entry.path)?;
        write(overlay, &overlay.lower, entry, is_link, expected, sink)
    }
}

/// Returns the innermost overlay that has the path.
pub fn overlay_of<'a>(
    machine: &'a CopiedMachine,
    path: &PlanPath,
) -> Result<&'a Overlay, ContentError> {
    let all = machine.overlays.iter();
    let has = |overlay: &&Overlay| overlay.at == b"/" || path.is_in(&overlay.at);
    let innermost = all.filter(has).max_by_key(|overlay| overlay.at.len());
    innermost.ok_or(ContentError::Outside)
}

fn write_lines(
    overlay: &Overlay,
    entry: &Entry,
    expected: [u8; 32],
    sink: PieceSink<'_>,
) -> Result<(), ContentError> {
    let name = c_string(entry.path.name())?;
    let open = |root: &OwnedFd| -> Result<File, ContentError> {
        let parent = open_parent(overlay, root.as_fd(), &entry.path)?;
        Ok(open_file(&parent, &name)?)
    };
    let found = table::changes(&open(&overlay.lower)?, &open(&overlay.upper)?);
    let text = found.map_err(|_| ContentError::Changed)?.text;
    if remit_plan::sha256(&text) != expected {
        return Err(ContentError::Changed);
    }
    sink(&text).map_err(ContentError::Sink)
}

fn write(
    overlay: &Overlay,
    root: &OwnedFd,
    entry: &Entry,
    is_link: bool,
    expected: (u64, [u8; 32]),
    sink: PieceSink<'_>,
) -> Result<(), ContentError> {
    let name = c_string(entry.path.name())?;
    let parent = open_parent(overlay, root.as_fd(), &entry.path)?;
    let sha256 = if is_link {
        let target = readlinkat(&parent, name.as_c_str())?.into_vec();
        sink(&target).map_err(ContentError::Sink)?;
        remit_plan::sha256(&target)
    } else {
        let file = open_file(&parent, &name)?;
        if Node::from_fd(&file)?.kind != NodeKind::File {
            return Err(ContentError::Changed);
        }
        read_pieces(&file, expected.0, sink)?
    };
    (sha256 == expected.1)
        .then_some(())
        .ok_or(ContentError::Changed)
}

pub fn open_parent(
    overlay: &Overlay,
    root: BorrowedFd<'_>,
    path: &PlanPath,
) -> Result<OwnedFd, ContentError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut parent = root.try_clone_to_owned().map_err(ContentError::Read)?;
    let relative = path.parent().strip_prefix(overlay.at.as_slice());
    let parts = relative.unwrap_or_default().split(|byte| *byte == b'/');
    for part in parts.filter(|part| !part.is_empty()) {
        let name = c_string(part)?;
        parent = openat(&parent, name.as_c_str(), flags, Mode::empty())?;
    }
    Ok(parent)
}

/// Reads exactly `size` bytes of a file, and returns their hash.
pub fn read_pieces(file: &File, size: u64, sink: PieceSink<'_>) -> Result<[u8; 32], ContentError> {
    let (mut hash, mut piece, mut left) = (Sha256::new(), vec![0; PIECE], size);
    let mut from = file.take(size);
    while left > 0 {
        let length = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length.map_err(ContentError::Read)?,
        };
        let bytes = piece.get(..length).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or(ContentError::Changed)?;
        hash.update(bytes);
        sink(bytes).map_err(ContentError::Sink)?;
        left = left.saturating_sub(bytes.len() as u64);
    }
    Ok(hash.finalize().into())
}

pub fn c_string(name: &[u8]) -> Result<CString, ContentError> {
    CString::new(name).map_err(|_| ContentError::Outside)
}

impl From<Errno> for ContentError {
    fn from(errno: Errno) -> Self {
        Self::Read(errno.into())
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read it: {error}"),
            Self::Changed => f.write_str("its bytes are not those of the plan; plan again"),
            Self::Sink(error) => write!(f, "cannot write its bytes: {error}"),
            Self::Outside => f.write_str("it is in no overlay of the plan"),
        }
    }
}

impl std::error::Error for ContentError {}
