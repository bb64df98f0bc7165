//! How checks of plans ended, for those who approve the plan. A restart forgets them, and nothing depends on them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use remit_common::names::JobId;

use remit_approval::CheckEnd;

use crate::job::floor::in_words;

/// Checks that are remembered of one user, and the number of users.
const OWN: usize = 32;
const USERS: usize = 256;

#[derive(Debug, Default)]
pub struct PlanChecks(BTreeMap<u32, VecDeque<PlanCheck>>);

#[derive(Debug)]
pub struct PlanCheck {
    /// Of the plan, in hexadecimal.
    pub plan: String,
    /// The command and its arguments.
    pub command: String,
    pub job: JobId,
    pub is_well: bool,
    /// It ran in a copy of the machine, where the plan decides about its program, too.
    pub is_in_copy: bool,
    /// Time since boot (CLOCK_BOOTTIME).
    pub ended: Duration,
}

impl PlanChecks {
    /// Only the last run of a command on a plan counts.
    pub fn on_ended(&mut self, uid: u32, check: PlanCheck) {
        if self.0.len() >= USERS && !self.0.contains_key(&uid) {
            let oldest = self
                .0
                .iter()
                .min_by_key(|(_, own)| own.back().map(|last| last.ended));
            if let Some(uid) = oldest.map(|(uid, _)| *uid) {
                self.0.remove(&uid);
            }
        }
        let own = self.0.entry(uid).or_default();
        own.retain(|known| (&known.plan, &known.command) != (&check.plan, &check.command));
        if own.len() >= OWN {
            own.pop_front();
        }
        own.push_back(check);
    }

    /// Returns the checks of this user's plan for an approver, oldest first.
    pub fn ends(&self, uid: u32, plan: &str, now: Duration) -> Vec<CheckEnd> {
        let own = self.0.get(&uid).into_iter().flatten();
        own.filter(|check| check.plan == plan)
            .map(|check| {
                let end = match check.is_well {
                    true => "exit 0",
                    false => "FAILED",
                };
                let copy = match check.is_in_copy {
                    true => " in a copy with all of the plan",
                    false => "",
                };
                let ago = in_words(now.saturating_sub(check.ended).as_secs());
                let (command, job) = (&check.command, check.job.short());
                CheckEnd {
                    is_well: check.is_well,
                    text: format!("{end}{copy}, {ago} ago [{job}]: {command}"),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plan: &str, command: &str, is_well: bool, ended: u64) -> PlanCheck {
        PlanCheck {
            plan: plan.to_owned(),
            command: command.to_owned(),
            job: JobId([7; 16]),
            is_well,
            is_in_copy: command.starts_with("copy"),
            ended: Duration::from_secs(ended),
        }
    }

    #[test]
    fn last_run_of_each_command_is_shown() {
        let mut checks = PlanChecks::default();
        checks.on_ended(7, check("aa", "nginx.check", true, 1));
        checks.on_ended(7, check("bb", "nginx.check", true, 2));
        checks.on_ended(7, check("aa", "nginx.check", false, 3));
        checks.on_ended(7, check("aa", "nginx.check x=1", true, 4));
        checks.on_ended(7, check("aa", "copy.check", true, 5));
        checks.on_ended(8, check("aa", "nginx.check", true, 5));
        let ends = checks.ends(7, "aa", Duration::from_secs(10));
        let texts = ends.iter().map(|end| (end.is_well, end.text.as_str()));
        let expect = [
            (false, "FAILED, 7 s ago [07070707]: nginx.check"),
            (true, "exit 0, 6 s ago [07070707]: nginx.check x=1"),
            (
                true,
                "exit 0 in a copy with all of the plan, 5 s ago [07070707]: copy.check",
            ),
        ];
        assert_eq!(texts.collect::<Vec<_>>(), expect);
        assert!(checks.ends(9, "aa", Duration::ZERO).is_empty());
        assert!(checks.ends(7, "cc", Duration::ZERO).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut checks = PlanChecks::default();
        for uid in 0..1000 {
            for plan in 0..40 {
                let one = check(&plan.to_string(), "a.b", true, u64::from(uid));
                checks.on_ended(uid, one);
            }
        }
        assert_eq!(checks.0.len(), USERS);
        assert!(checks.0.values().all(|own| own.len() == OWN));
        assert!(checks.ends(999, "39", Duration::ZERO).len() == 1);
    }
}
