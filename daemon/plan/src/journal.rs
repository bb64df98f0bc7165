//! The journal of a commit as bytes. Its phase is one byte at [`Journal::PHASE`], so a kill leaves the old phase or the
//! new one; the rest is written once, and the rows at its end once more.
//!
//! | bytes | content |
//! |---|---|
//! | 16 | `remit commit 02 LF` |
//! | 8 | phase (one letter), zeros |
//! | 8 | length of the plan, little-endian |
//! | | the plan |
//! | 8 each | inode number of each entry's new file, little-endian; 0 without one, or before all are staged |
//! | 32 each | SHA-256 of each file whose owner or mode needs it and whose plan has none; 0 before all are staged |
//! | 56 each | a [`PlanDirectory`] for each directory of an entry, by path: inode number, time and owner; length of the path, number, time and owner of the mount point; 0 before it is made |
//! | 1 each, maybe absent | of the undo which began last, unless it was a partial one: an [`UndoMark`] of each entry |

use crate::codec::PlanError;
use crate::directories::{self, PlanDirectories, PlanDirectory, parents};
use crate::plan::{Entry, Plan};
use crate::{ENTRIES, PLAN_BYTES};

const MAGIC: &[u8; 16] = b"remit commit 02\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Staging = b'S',
    Applying = b'A',
    Done = b'D',
    /// Done, and the old files are kept for an undo.
    Kept = b'K',
    Back = b'B',
    /// Given up: what is left was changed by somebody else, and what was kept is beside the journal.
    Left = b'L',
    Undoing = b'u',
    Undone = b'v',
    /// Undone, and nothing is kept.
    Gone = b'V',
    /// Undone but for what somebody else has changed since; the old files of that are beside the journal.
    Parted = b'P',
}

const PHASES: [Phase; 10] = [
    Phase::Staging,
    Phase::Applying,
    Phase::Done,
    Phase::Kept,
    Phase::Back,
    Phase::Left,
    Phase::Undoing,
    Phase::Undone,
    Phase::Gone,
    Phase::Parted,
];

impl Phase {
    /// Returns true if a recovery takes back or finishes a commit in this phase. Before that nothing undoes it.
    #[must_use]
    pub const fn needs_recovery(self) -> bool {
        !matches!(self, Self::Kept | Self::Left | Self::Parted)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    pub phase: Phase,
    pub plan: Plan,
    /// Of new files, by entry.
    pub inodes: Vec<u64>,
    /// Of files whose plan has none, by entry: see [`crate::Change::has_journaled_hash`].
    pub hashes: Vec<Option<[u8; 32]>>,
    /// In which the commit acted, without those that are not made yet.
    pub directories: PlanDirectories,
    /// By entry, as far as there are: what the undo has found.
    pub marks: Vec<UndoMark>,
}

/// What a whole undo has found of an entry before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UndoMark {
    /// It is undone in this one.
    Due = 0,
    /// An earlier undo, which goes on, has undone it.
    Undone = 1,
    /// A directory with things of others in it.
    Stays = 2,
    /// A directory that goes with all that is in it.
    Whole = 3,
    /// It goes with such a directory.
    Inside = 4,
}

impl Journal {
    pub const HEAD: usize = 32;
    pub const PHASE: u64 = 16;
    pub const MOST: usize = Self::HEAD + PLAN_BYTES + (8 + 32 + PlanDirectory::BYTES + 1) * ENTRIES;

    /// Returns the journal of a commit that begins, and the position of its rows.
    #[must_use]
    pub fn begin(plan: &Plan, directories: &PlanDirectories) -> (Vec<u8>, u64) {
        let plan_bytes = plan.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u64::from(Phase::Staging as u8).to_le_bytes());
        bytes.extend((plan_bytes.len() as u64).to_le_bytes());
        bytes.extend(plan_bytes);
        let at = bytes.len();
        bytes.extend(Self::encode_rows(plan, &[], &[], directories));
        (bytes, at as u64)
    }

    /// Returns the bytes of these rows, by entry. Missing ones are zeros.
    #[must_use]
    pub fn encode_rows(
        plan: &Plan,
        inodes: &[u64],
        hashes: &[Option<[u8; 32]>],
        directories: &PlanDirectories,
    ) -> Vec<u8> {
        let count = plan.entries().len();
        let inodes = inodes.iter().chain(std::iter::repeat(&0)).take(count);
        let hashes = hashes.iter().chain(std::iter::repeat(&None));
        let hashes = plan.entries().iter().zip(hashes);
        let hashes = hashes.filter(|(entry, _)| entry.change.has_journaled_hash());
        inodes
            .flat_map(|inode| inode.to_le_bytes())
            .chain(hashes.flat_map(|(_, hash)| hash.unwrap_or_default()))
            .chain(directories::encode(plan, directories))
            .collect()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let damaged = PlanError::Format("it is no journal of this version");
        let phase = Self::phase_of(bytes)?;
        let body = bytes.get(Self::HEAD - 8..).ok_or(damaged.clone())?;
        let (length, body) = body.split_first_chunk().ok_or(damaged.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (plan, rows) = body.split_at_checked(length).ok_or(damaged.clone())?;
        let plan = Plan::decode(plan)?;
        let entries = plan.entries();
        let rows = rows.split_at_checked(8 * entries.len());
        let (inodes, hashes) = rows.ok_or(damaged.clone())?;
        let (inodes, _) = inodes.as_chunks();
        let inodes = inodes.iter().map(|row| u64::from_le_bytes(*row)).collect();
        let has_hash = |entry: &&Entry| entry.change.has_journaled_hash();
        let count = entries.iter().filter(has_hash).count();
        let rows = hashes.split_at_checked(32 * count);
        let (hashes, rest) = rows.ok_or(damaged.clone())?;
        let rows = directories::decode(&plan, rest);
        let (directories, marks) = rows.ok_or(damaged.clone())?;
        if marks.len() > entries.len() {
            return Err(damaged);
        }
        let (hashes, _) = hashes.as_chunks();
        let marks = marks
            .iter()
            .map(|mark| UndoMark::from_byte(*mark))
            .collect();
        let mut rows = hashes.iter();
        let hash = |entry: &Entry| {
            let row = if has_hash(&entry) { rows.next() } else { None };
            row.copied().filter(|hash| hash != &[0; 32])
        };
        let hashes = entries.iter().map(hash).collect();
        Ok(Self {
            phase,
            plan,
            inodes,
            hashes,
            directories,
            marks,
        })
    }

    /// Returns the position of the marks of an undo, which end it.
    #[must_use]
    pub fn marks_at(&self) -> u64 {
        let rows = Self::encode_rows(&self.plan, &[], &[], &PlanDirectories::new());
        (Self::HEAD + self.plan.encode().len() + rows.len()) as u64
    }

    /// Returns the phase of a journal, by its first bytes.
    pub fn phase_of(bytes: &[u8]) -> Result<Phase, PlanError> {
        let damaged = PlanError::Format("it is no journal of this version");
        let body = bytes.strip_prefix(MAGIC).ok_or(damaged.clone())?;
        let phase = u64::from_le_bytes(*body.first_chunk().ok_or(damaged.clone())?);
        let mut phases = PHASES.into_iter();
        phases
            .find(|one| u64::from(*one as u8) == phase)
            .ok_or(damaged)
    }

    /// Returns false if a power cut has left fewer numbers than there are new files and directories. Then no step was made.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        let mut both = self.plan.entries().iter().zip(&self.inodes);
        self.directories.len() == parents(&self.plan).len()
            && both.all(|(entry, inode)| *inode != 0 || entry.change.makes().is_none())
    }
}

impl UndoMark {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Undone,
            2 => Self::Stays,
            3 => Self::Whole,
            4 => Self::Inside,
            _ => Self::Due,
        }
    }
}
