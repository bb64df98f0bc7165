//! A plan with the new bytes, and the old ones as far as an approver can read them. The requester sends it, the
//! approver's client shows it, and `remit-commit` takes the new bytes from it.
//!
//! Format: the plan's length (8 bytes, little-endian), the plan, the new bytes of each entry but of uploads, the
//! old bytes of each entry that has them. Both are in the order of the entries; the plan says how many bytes each of them has.

use std::ops::Range;

use crate::codec::PlanError;
use crate::lines::TableChange;
use crate::plan::{Content, Plan, Source};
use crate::view::View;
use crate::{BUNDLE_BYTES, must_read, sha256};

const LENGTH: &str =
    "it does not have as many bytes as it says; if it was made by another release, plan again";

/// **Invariant:** all bytes have the hashes that the plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    plan: Plan,
    bytes: Vec<u8>,
    ranges: Vec<ByteRanges>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByteRanges {
    old: Option<Range<usize>>,
    new: Option<Range<usize>>,
}

impl Content {
    /// Of bytes beside the plan, without capabilities or a time of their own.
    #[must_use]
    pub fn bundled(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        }
    }
}

impl Bundle {
    /// `new` and `old` have the bytes of all entries, one after the other.
    pub fn new(plan: &Plan, new: &[u8], old: &[u8]) -> Result<Self, PlanError> {
        let encoded = plan.encode();
        let length = (encoded.len() as u64).to_le_bytes();
        Self::decode([&length, encoded.as_slice(), new, old].concat())
    }

    /// Fails for a plan that cannot be, for bytes with another hash, and above [`BUNDLE_BYTES`].
    pub fn decode(bytes: Vec<u8>) -> Result<Self, PlanError> {
        if bytes.len() > BUNDLE_BYTES {
            return Err(PlanError::Bundle);
        }
        let cut = PlanError::Format("it is cut");
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or(cut.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let plan = Plan::decode(rest.get(..length).ok_or(cut)?)?;
        let mut end = 8 + length;
        // A length from the plan can be longer than the bytes; `holds` finds that.
        let mut next = |size: u64| {
            let start = end;
            end = end.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
            start..end
        };
        let mut ranges = vec![ByteRanges::default(); plan.entries().len()];
        for (at, entry) in ranges.iter_mut().zip(plan.entries()) {
            at.new = entry.change.bundled().map(|content| next(content.size));
        }
        let shown_old = plan.shown_old();
        for (at, old) in ranges.iter_mut().zip(&shown_old) {
            at.old = old.map(|(size, _)| next(size));
        }
        if bytes.len() != end {
            return Err(PlanError::Format(LENGTH));
        }
        let holds = |range: &Option<Range<usize>>, sha: Option<[u8; 32]>| {
            let part = range.clone().and_then(|range| bytes.get(range));
            part.map(sha256) == sha
        };
        let all = plan.entries().iter().zip(shown_old);
        for (at, (entry, old)) in ranges.iter().zip(all) {
            let new = entry.change.bundled().map(|content| content.sha256);
            let old = old.map(|(_, sha256)| sha256);
            if !holds(&at.new, new) || !holds(&at.old, old) {
                let (path, why) = (entry.path.clone(), "its bytes have another hash");
                return Err(PlanError::Entry { path, why });
            }
        }
        let bundle = Self {
            plan,
            bytes,
            ranges,
        };
        for view in bundle
            .views()
            .filter(|view| view.entry.change.is_of_lines())
        {
            let checked = TableChange::decode(view.new.unwrap_or_default());
            checked.map_err(|why| PlanError::Entry {
                path: view.entry.path.clone(),
                why,
            })?;
        }
        // Not of each plan: what a later release refuses must not keep the journal of an earlier one from being read.
        must_read::check_uploads(&bundle.views().collect::<Vec<_>>())?;
        Ok(bundle)
    }

    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        let part = |range: &Option<Range<usize>>| {
            let range = range.clone()?;
            self.bytes.get(range)
        };
        self.plan
            .entries()
            .iter()
            .zip(&self.ranges)
            .map(move |(entry, at)| View {
                entry,
                old: part(&at.old),
                new: part(&at.new),
            })
    }
}
