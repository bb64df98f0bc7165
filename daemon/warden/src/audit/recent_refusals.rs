//! Keeps the newest refusals for `remit status`. The audit log has all of them.

use std::collections::VecDeque;

use remit_common::admin::RecentRefusal;
use remit_common::refusal::Refusal;
use remit_common::{caps, text};

use crate::event_loop::timers;

const SENTENCE: usize = 300;

#[derive(Debug, Default)]
pub struct Refusals(VecDeque<RecentRefusal>);

impl Refusals {
    pub fn add(&mut self, user: Option<&str>, refusal: &Refusal) {
        self.0.truncate(caps::RECENT_REFUSALS.saturating_sub(1));
        self.0.push_front(RecentRefusal {
            at_ms: timers::unix_ms(),
            user: user.map(str::to_owned),
            code: refusal.code,
            message: text::line(refusal.message.as_bytes(), SENTENCE),
        });
    }

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
