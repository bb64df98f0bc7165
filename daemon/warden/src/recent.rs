//! The newest refusals, for `remit status`. The trail has them all.

use std::collections::VecDeque;

use remit_common::admin::RecentRefusal;
use remit_common::refusal::Refusal;
use remit_common::{caps, text};

use crate::clock;

/// Of a sentence.
const SENTENCE: usize = 300;

/// The last few; older ones are forgotten.
#[derive(Debug, Default)]
pub struct Refusals(VecDeque<RecentRefusal>);

impl Refusals {
    /// Keeps one more.
    pub fn add(&mut self, user: Option<&str>, refusal: &Refusal) {
        self.0.truncate(caps::RECENT_REFUSALS.saturating_sub(1));
        self.0.push_front(RecentRefusal {
            at_ms: clock::unix_ms(),
            user: user.map(str::to_owned),
            code: refusal.code,
            message: text::line(refusal.message.as_bytes(), SENTENCE),
        });
    }

    /// Those kept, newest first.
    pub fn list(&self) -> Vec<RecentRefusal> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::refusal::Code;

    #[test]
    fn the_newest_are_kept_newest_first() {
        let mut refusals = Refusals::default();
        for number in 0..9 {
            let refusal = Refusal::new(Code::Busy, format!("{number}\n{}", "x".repeat(999)));
            refusals.add(Some("alice"), &refusal);
        }
        let list = refusals.list();
        let first: Vec<_> = list.iter().map(|r| &r.message[..3]).collect();
        assert_eq!(first, ["8\\n", "7\\n", "6\\n", "5\\n", "4\\n"]);
        assert!(list.iter().all(|r| r.message.len() < SENTENCE + 10));
    }
}
