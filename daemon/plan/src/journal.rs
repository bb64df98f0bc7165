//! The journal of a commit as bytes. Its phase is one byte at [`Journal::PHASE`], so a kill leaves the old phase or the
//! new one; the rest is written once, and the inode numbers at its end once more.
//!
//! | bytes | content |
//! |---|---|
//! | 16 | `remit commit 01 LF` |
//! | 8 | phase (one letter), zeros |
//! | 8 | length of the plan, little-endian |
//! | | the plan |
//! | 8 each | inode number of each entry's new file, little-endian; 0 without one, or before all are staged |

use crate::plan::{Change, Plan, PlanError};
use crate::{ENTRIES, PLAN_BYTES};

const MAGIC: &[u8; 16] = b"remit commit 01\n";

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
}

const PHASES: [Phase; 9] = [
    Phase::Staging,
    Phase::Applying,
    Phase::Done,
    Phase::Kept,
    Phase::Back,
    Phase::Left,
    Phase::Undoing,
    Phase::Undone,
    Phase::Gone,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    pub phase: Phase,
    pub plan: Plan,
    /// Of new files, by entry.
    pub inodes: Vec<u64>,
}

impl Journal {
    /// Bytes before the plan.
    pub const HEAD: usize = 32;
    /// Position of the phase.
    pub const PHASE: u64 = 16;
    /// Length of the longest journal.
    pub const MOST: usize = Self::HEAD + PLAN_BYTES + 8 * ENTRIES;

    /// Returns the journal of a commit that begins, and the position of its inode numbers.
    #[must_use]
    pub fn begin(plan: &Plan) -> (Vec<u8>, u64) {
        let plan_bytes = plan.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u64::from(Phase::Staging as u8).to_le_bytes());
        bytes.extend((plan_bytes.len() as u64).to_le_bytes());
        bytes.extend(plan_bytes);
        let at = bytes.len();
        bytes.resize(at + 8 * plan.entries().len(), 0);
        (bytes, at as u64)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let damaged = PlanError::Format("it is no journal of this version");
        let phase = Self::phase_of(bytes)?;
        let body = bytes.get(Self::HEAD - 8..).ok_or(damaged.clone())?;
        let (length, body) = body.split_first_chunk().ok_or(damaged.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (plan, rows) = body.split_at_checked(length).ok_or(damaged.clone())?;
        let plan = Plan::decode(plan)?;
        let (rows, rest) = rows.as_chunks();
        if !rest.is_empty() || rows.len() != plan.entries().len() {
            return Err(damaged);
        }
        let inodes = rows.iter().map(|row| u64::from_le_bytes(*row)).collect();
        Ok(Self {
            phase,
            plan,
            inodes,
        })
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

    /// Returns false if a power cut has left fewer numbers than there are new files. Then no step was made.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        let mut both = self.plan.entries().iter().zip(&self.inodes);
        both.all(|(entry, inode)| *inode != 0 || !entry.change.has_new())
    }
}

impl Change {
    /// Returns true if it has a new file or directory.
    #[must_use]
    pub const fn has_new(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Replace { .. } => true,
            Self::SetMetadata { .. } | Self::Remove { .. } => false,
        }
    }
}
