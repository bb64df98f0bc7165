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

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanCheckEnd {
    Well,
    Failed,
    /// It was asked for, and no program of it ran.
    NotRun,
}

#[derive(Debug)]
pub struct PlanCheck {
    /// Of the plan, in hexadecimal.
    pub plan: String,
    /// Of the command with all its arguments.
    pub key: [u8; 32],
    /// The same, as it is shown.
    pub command: String,
    /// `None` if there was none.
    pub job: Option<JobId>,
    pub end: PlanCheckEnd,
    /// It ran in a copy of the machine, where the plan decides about its program, too.
    pub is_in_copy: bool,
    /// Time since boot (CLOCK_BOOTTIME).
    pub ended: Duration,
}

impl PlanChecks {
    /// Only the last request for a command on a plan counts. Those that failed are remembered longer than others.
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
        own.retain(|known| (&known.plan, &known.key) != (&check.plan, &check.key));
        if own.len() >= OWN {
            let well = own.iter().position(|one| one.end == PlanCheckEnd::Well);
            own.remove(well.unwrap_or(0));
        }
        own.push_back(check);
    }

    /// A check was refused before it was a job: its older end counts no more.
    pub fn on_refused(&mut self, uid: u32, plan: &str, key: &[u8; 32], now: Duration) {
        let mut own = self.0.get_mut(&uid).into_iter().flatten();
        if let Some(known) = own.find(|known| (known.plan.as_str(), &known.key) == (plan, key)) {
            (known.end, known.job, known.ended) = (PlanCheckEnd::NotRun, None, now);
        }
    }

    /// Returns the checks of this user's plan for an approver, oldest first.
    pub fn ends(&self, uid: u32, plan: &str, now: Duration) -> Vec<CheckEnd> {
        let own = self.0.get(&uid).into_iter().flatten();
        own.filter(|check| check.plan == plan)
            .map(|check| {
                let end = match (check.end, check.is_in_copy) {
                    (PlanCheckEnd::Well, false) => "exit 0",
                    (PlanCheckEnd::Well, true) => {
                        "exit 0 in a copy with all of the plan, which decides what runs there"
                    }
                    (PlanCheckEnd::Failed, false) => "FAILED",
                    (PlanCheckEnd::Failed, true) => "FAILED in a copy with all of the plan",
                    (PlanCheckEnd::NotRun, _) => "DID NOT RUN",
                };
                let ago = in_words(now.saturating_sub(check.ended).as_secs());
                let job = check.job.map(|job| format!(" [{}]", job.short()));
                let (command, job) = (&check.command, job.unwrap_or_default());
                CheckEnd {
                    is_well: check.end == PlanCheckEnd::Well,
                    text: format!("{end}, {ago} ago{job}: {command}"),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PlanCheckEnd::{Failed, NotRun, Well};

    fn check(plan: &str, command: &str, end: PlanCheckEnd, ended: u64) -> PlanCheck {
        PlanCheck {
            plan: plan.to_owned(),
            key: key(command),
            command: command.chars().take(15).collect(),
            job: Some(JobId([7; 16])),
            end,
            is_in_copy: command.starts_with("copy"),
            ended: Duration::from_secs(ended),
        }
    }

    fn key(command: &str) -> [u8; 32] {
        let mut key = [0; 32];
        key[..command.len()].copy_from_slice(command.as_bytes());
        key
    }

    fn texts(checks: &PlanChecks, plan: &str) -> Vec<(bool, String)> {
        let ends = checks.ends(7, plan, Duration::from_secs(10));
        ends.into_iter()
            .map(|end| (end.is_well, end.text))
            .collect()
    }

    #[test]
    fn last_run_of_each_command_is_shown() {
        let mut checks = PlanChecks::default();
        checks.on_ended(7, check("aa", "nginx.check", Well, 1));
        checks.on_ended(7, check("bb", "nginx.check", Well, 2));
        checks.on_ended(7, check("aa", "nginx.check", Failed, 3));
        checks.on_ended(7, check("aa", "nginx.check x=1", Well, 4));
        // Shown alike, and another one.
        checks.on_ended(7, check("aa", "nginx.check x=12", Failed, 4));
        checks.on_ended(7, check("aa", "copy.check", Well, 5));
        checks.on_ended(8, check("aa", "nginx.check", Well, 5));
        let expect = [
            (false, "FAILED, 7 s ago [07070707]: nginx.check"),
            (true, "exit 0, 6 s ago [07070707]: nginx.check x=1"),
            (false, "FAILED, 6 s ago [07070707]: nginx.check x=1"),
            (
                true,
                "exit 0 in a copy with all of the plan, which decides what runs there, 5 s ago [07070707]: copy.check",
            ),
        ];
        let expect = expect.map(|(is_well, text)| (is_well, text.to_owned()));
        assert_eq!(texts(&checks, "aa"), expect);
        assert!(checks.ends(9, "aa", Duration::ZERO).is_empty());
        assert!(checks.ends(7, "cc", Duration::ZERO).is_empty());
    }

    #[test]
    fn check_that_did_not_run_leaves_no_older_end() {
        let mut checks = PlanChecks::default();
        let now = Duration::from_secs(8);
        for plan in ["aa", "bb"] {
            checks.on_ended(7, check(plan, "copy.check", Well, 1));
        }
        checks.on_refused(7, "aa", &key("other"), now);
        checks.on_refused(8, "aa", &key("copy.check"), now);
        assert!(texts(&checks, "aa")[0].0);
        checks.on_refused(7, "aa", &key("copy.check"), now);
        let refused = (false, "DID NOT RUN, 2 s ago: copy.check".to_owned());
        assert_eq!(texts(&checks, "aa"), [refused]);
        assert!(texts(&checks, "bb")[0].0);
        checks.on_ended(7, check("bb", "copy.check", NotRun, 9));
        let failed = (
            false,
            "DID NOT RUN, 1 s ago [07070707]: copy.check".to_owned(),
        );
        assert_eq!(texts(&checks, "bb"), [failed]);
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_failed() {
        let mut checks = PlanChecks::default();
        for uid in 0..1000 {
            for plan in 0..40 {
                let end = if plan == 0 { Failed } else { Well };
                let one = check(&plan.to_string(), "a.b", end, u64::from(uid));
                checks.on_ended(uid, one);
            }
        }
        assert_eq!(checks.0.len(), USERS);
        assert!(checks.0.values().all(|own| own.len() == OWN));
        assert_eq!(checks.ends(999, "39", Duration::ZERO).len(), 1);
        assert_eq!(checks.ends(999, "0", Duration::ZERO).len(), 1);
        assert!(checks.ends(999, "1", Duration::ZERO).is_empty());
        for plan in 100..140 {
            checks.on_ended(999, check(&plan.to_string(), "a.b", Failed, 2000));
        }
        assert_eq!(checks.0[&999].len(), OWN);
    }
}
