//! The programs of ours that a view has in place of others: none of them is ever planned.

use remit_common::view::{STAND_IN_MODE, STAND_INS};
use remit_plan::{Metadata, PlanPath, Stat, sha256};

use crate::refusal::RefusalReason;

const OWNER: Metadata = Metadata {
    mode: STAND_IN_MODE,
    uid: 0,
    gid: 0,
};

/// Returns true for a stand-in where and as it was: something wrote or set what was there. Fails for one with another path,
/// owner or mode.
pub fn is_untouched(path: &PlanPath, stat: &Stat, hash: [u8; 32]) -> Result<bool, RefusalReason> {
    let mut same = STAND_INS
        .iter()
        .filter(|stand_in| stand_in.text.len() as u64 == stat.size)
        .filter(|stand_in| sha256(stand_in.text) == hash)
        .peekable();
    if same.peek().is_none() {
        return Ok(false);
    }
    let at = path.as_bytes().strip_prefix(b"/").unwrap_or_default();
    match stat.meta == OWNER && same.any(|stand_in| stand_in.path.as_bytes() == at) {
        true => Ok(true),
        false => Err(RefusalReason::StandIn),
    }
}
