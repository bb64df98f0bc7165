//! What a caller may do, and whether something would be allowed.

use remit_common::refusal::Refusal;
use remit_common::wire::{Access, AccessReport, Asked, ProfileView};
use remit_link::Answer;
use remit_policy::{Ask, Verdict};

use crate::warden::{Warden, by};

impl Warden {
    /// Answers a question of a session's.
    ///
    /// # Errors
    /// The session is gone, or the argv asked about is none.
    pub fn access(&self, session: u64, access: &Access) -> Result<Answer, Refusal> {
        let subject = self.subject(session)?;
        let grants = self.policy.policy.access(by(&subject));
        let profiles = match grants.is_empty() {
            true => Vec::new(),
            false => vec![read_profile()],
        };
        let asked = match &access.argv {
            None => None,
            Some(argv) => {
                remit_policy::check_argv(argv)?;
                let ask = Ask::Run {
                    profile: access.profile.as_deref(),
                    argv0: argv.first().map_or(&[], |arg| arg.as_slice()),
                    env_names: &[],
                };
                Some(match self.open_for_work() {
                    Ok(()) => asked(self.policy.policy.decide(by(&subject), &ask)),
                    Err(refusal) => Asked {
                        allowed: false,
                        rule: refusal.by,
                        why: refusal.message,
                        lift: refusal.lift,
                    },
                })
            }
        };
        Ok(Answer::Access(Box::new(AccessReport {
            user: subject.user().to_owned(),
            uid: subject.uid(),
            grants,
            asked,
            profiles,
        })))
    }
}

fn asked(verdict: Verdict) -> Asked {
    match verdict {
        Verdict::Allow(grant) => Asked {
            allowed: true,
            rule: Some(grant.rule().to_string()),
            why: format!(
                "it runs in profile {}, without approval; the kernel keeps it from changing anything",
                grant.profile().name()
            ),
            lift: None,
        },
        Verdict::Deny(denial) => Asked {
            allowed: false,
            rule: denial.rule.map(|rule| rule.to_string()),
            why: denial.what,
            lift: denial.lift,
        },
    }
}

fn read_profile() -> ProfileView {
    ProfileView {
        name: "read".into(),
        summary: "any program or script, as an own uid without privilege: sees what an operator's \
                  account sees (files, logs, processes, network state), can change nothing, reaches \
                  no network; /tmp is private and empty"
            .into(),
    }
}
