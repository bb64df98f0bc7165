//! Result of an extraction, and its budgets while it is collected.

use std::fmt;

use remit_plan::{Change, Entry, Plan, PlanError, PlanPath};

use crate::bounds::{BASE_BYTES, FILE_BYTES, LISTED_NAMES, MESSAGES, NEW_BYTES, PLAN_ENTRIES};
use crate::refusal::{Omission, PlanNote, PlanRefusal, RefusalReason};

/// **Invariant:** there is a plan only if there is no refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extraction {
    entries: Vec<Entry>,
    pub notes: Vec<PlanNote>,
    /// Notes beyond [`MESSAGES`].
    pub further_notes: usize,
    pub refusals: Vec<PlanRefusal>,
    /// Refusals beyond [`MESSAGES`].
    pub further_refusals: usize,
    /// Files, links and special files that were touched and are equal to the host's.
    pub equal: usize,
    /// Changes in directories of logs, caches and temporary files that are left out.
    pub scratch: usize,
    /// The path of these that comes first in their order.
    pub first_scratch: Option<PlanPath>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// There are refusals.
    Refused,
    /// There is no entry, or more than [`remit_plan::CONTENT_BYTES`], or a fault of this crate.
    Plan(PlanError),
}

#[derive(Debug)]
pub struct Collector {
    extraction: Extraction,
    new_bytes: u64,
    base_bytes: u64,
    names: usize,
}

/// A bound is reached. The refusal is in the collector.
#[derive(Debug)]
pub struct Halt;

impl Extraction {
    /// Entries sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Makes the plan of all entries. Its contents are those that `ContentSource` writes, in the order of its entries.
    pub fn plan(&self) -> Result<Plan, NoPlan> {
        if !self.refusals.is_empty() {
            return Err(NoPlan::Refused);
        }
        Plan::new(self.entries.clone()).map_err(NoPlan::Plan)
    }
}

impl Collector {
    pub fn new() -> Self {
        Self {
            extraction: Extraction::default(),
            new_bytes: NEW_BYTES,
            base_bytes: BASE_BYTES,
            names: LISTED_NAMES,
        }
    }

    pub fn finish(mut self) -> Extraction {
        self.extraction.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.extraction
    }

    pub fn entries(&self) -> &[Entry] {
        &self.extraction.entries
    }

    pub fn change(&mut self, path: PlanPath, change: Change) -> Result<(), RefusalReason> {
        if self.extraction.entries.len() >= PLAN_ENTRIES {
            return Err(RefusalReason::ManyEntries);
        }
        self.extraction.entries.push(Entry { path, change });
        Ok(())
    }

    pub fn note(&mut self, path: &PlanPath, omission: Omission) {
        if self.extraction.notes.len() >= MESSAGES {
            self.extraction.further_notes += 1;
            return;
        }
        let path = path.as_bytes().to_vec();
        self.extraction.notes.push(PlanNote { path, omission });
    }

    pub const fn count_equal(&mut self) {
        self.extraction.equal += 1;
    }

    pub fn count_scratch(&mut self, path: &PlanPath) {
        self.extraction.scratch += 1;
        let first = &mut self.extraction.first_scratch;
        if first.as_ref().is_none_or(|first| path < first) {
            *first = Some(path.clone());
        }
    }

    /// Keeps a refusal. Fails after one that ends the extraction.
    pub fn keep<T>(&mut self, result: Result<T, PlanRefusal>) -> Result<Option<T>, Halt> {
        let refusal = match result {
            Ok(value) => return Ok(Some(value)),
            Err(refusal) => refusal,
        };
        let is_final = refusal.reason.is_final();
        // The one that ends it says most.
        if is_final && self.extraction.refusals.len() >= MESSAGES {
            self.extraction.refusals.pop();
            self.extraction.further_refusals += 1;
        }
        if self.extraction.refusals.len() < MESSAGES {
            self.extraction.refusals.push(refusal);
        } else {
            self.extraction.further_refusals += 1;
        }
        if is_final { Err(Halt) } else { Ok(None) }
    }

    /// Takes a new file's bytes from the budget, before any of them is read.
    pub fn take_new(&mut self, size: u64) -> Result<(), RefusalReason> {
        if size > FILE_BYTES {
            return Err(RefusalReason::LargeFile(size));
        }
        let all = NEW_BYTES - self.new_bytes + size;
        let left = self.new_bytes.checked_sub(size);
        self.new_bytes = left.ok_or(RefusalReason::ManyNewBytes(all))?;
        Ok(())
    }

    pub fn take_base(&mut self, size: u64) -> Result<(), RefusalReason> {
        let left = self.base_bytes.checked_sub(size);
        self.base_bytes = left.ok_or(RefusalReason::ManyBaseBytes)?;
        Ok(())
    }

    /// Returns the names that may still be listed.
    pub const fn names(&mut self) -> &mut usize {
        &mut self.names
    }
}

impl fmt::Display for NoPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("some changes cannot be planned"),
            Self::Plan(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for NoPlan {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::{Metadata, New};

    use super::*;

    #[test]
    fn budgets_end() {
        let mut found = Collector::new();
        let large = RefusalReason::LargeFile(FILE_BYTES + 1);
        assert_eq!(found.take_new(FILE_BYTES + 1), Err(large));
        for _ in 0..4 {
            assert_eq!(found.take_new(FILE_BYTES), Ok(()));
        }
        assert_eq!(found.take_new(0), Ok(()));
        assert_eq!(
            found.take_new(1),
            Err(RefusalReason::ManyNewBytes(NEW_BYTES + 1))
        );
        assert_eq!(found.take_base(BASE_BYTES), Ok(()));
        assert_eq!(found.take_base(1), Err(RefusalReason::ManyBaseBytes));
    }

    #[test]
    fn entries_end() {
        let mut found = Collector::new();
        let meta = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let mut add = |number: usize| {
            let path = PlanPath::new(format!("/d/{number}")).unwrap();
            let new = New::Directory;
            found.change(path, Change::Create { new, meta })
        };
        assert!((0..PLAN_ENTRIES).all(|number| add(number).is_ok()));
        assert_eq!(add(PLAN_ENTRIES), Err(RefusalReason::ManyEntries));
        let extraction = found.finish();
        assert!(extraction.entries.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(
            extraction.plan().map(|plan| plan.entries().len()),
            Ok(PLAN_ENTRIES)
        );
    }

    #[test]
    fn refusals_are_kept_up_to_a_number_and_the_last_one() {
        let mut found = Collector::new();
        for number in 0..MESSAGES + 5 {
            let path = number.to_string();
            let refusal = RefusalReason::MountPoint.at(path.as_bytes());
            assert!(matches!(found.keep::<()>(Err(refusal)), Ok(None)));
        }
        let last = RefusalReason::ManyNames.at(b"/d");
        assert!(found.keep::<()>(Err(last.clone())).is_err());
        let extraction = found.finish();
        assert_eq!(extraction.refusals.len(), MESSAGES);
        assert_eq!(extraction.refusals.last(), Some(&last));
        assert_eq!(extraction.further_refusals, 6);
        assert_eq!(extraction.plan(), Err(NoPlan::Refused));
    }
}
