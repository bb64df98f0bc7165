//! What a caller may do, and whether something would be allowed.

use remit_common::builtin::{self, COMMANDS, Command};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Access, AccessReport, Asked, CommandView, Effect, ProfileView};
use remit_link::Answer;
use remit_policy::{Ask, Verdict};

use crate::warden::{Warden, by};

impl Warden {
    /// Answers a question of a session's.
    ///
    /// # Errors
    /// The session is gone, or what is asked about is no argv and no named command.
    pub fn access(&self, session: u64, access: &Access) -> Result<Answer, Refusal> {
        let subject = self.subject(session)?;
        let grants = self.policy.policy.access(by(&subject)).grants;
        let profiles = match grants.is_empty() {
            true => Vec::new(),
            false => vec![read_profile()],
        };
        let named = access.name.as_deref().map(builtin::find).transpose()?;
        if let (Some(argv), None) = (&access.argv, named) {
            remit_policy::check_argv(argv)?;
        }
        let asked = match (&access.argv, named) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let text = "'argv' and 'name' exclude each other";
                return Err(Refusal::new(Code::InvalidArgs, text).object("name"));
            }
            (argv, _) => {
                let program = argv.iter().flatten().next();
                let ask = Ask::Run {
                    profile: access.profile.as_deref(),
                    argv0: program.map_or(&[], |arg| arg.as_slice()),
                    env_names: &[],
                };
                Some(match self.open_for_work() {
                    Ok(()) => asked(self.policy.policy.decide(by(&subject), &ask)),
                    Err(refusal) => Asked {
                        allowed: false,
                        rule: refusal.by,
                        why: refusal.message,
                        lift: refusal.lift,
                        approval: None,
                    },
                })
            }
        };
        let commands = match named {
            Some(command) => vec![explained(command)],
            None if grants.is_empty() => Vec::new(),
            None => COMMANDS.iter().map(listed).collect(),
        };
        Ok(Answer::Access(Box::new(AccessReport {
            user: subject.user().to_owned(),
            uid: subject.uid(),
            grants,
            asked,
            profiles,
            commands,
            more_commands: 0,
        })))
    }
}

/// A named command in one line.
fn listed(command: &Command) -> CommandView {
    CommandView {
        usage: command.usage(),
        summary: command.summary.to_owned(),
        args: Vec::new(),
        approval: None,
        profile: "read".into(),
        effect: Effect::Read,
    }
}

/// The same, with a line for each argument.
fn explained(command: &Command) -> CommandView {
    let args = command.args.iter();
    CommandView {
        args: args
            .map(|arg| format!("{}: {}", arg.name, arg.what))
            .collect(),
        ..listed(command)
    }
}

fn asked(verdict: Verdict) -> Asked {
    match verdict {
        Verdict::Allow(grant) => Asked {
            allowed: true,
            rule: Some(grant.basis().to_string()),
            why: format!(
                "it runs in profile {}, without approval; the kernel keeps it from changing anything",
                grant.profile().name
            ),
            lift: None,
            approval: None,
        },
        Verdict::Ask(pending) => Asked {
            allowed: false,
            rule: Some(pending.basis().to_string()),
            why: pending.approval().to_string(),
            lift: None,
            approval: Some(pending.approval().to_string()),
        },
        Verdict::Deny(denial) => Asked {
            allowed: false,
            rule: denial.rule.map(|rule| rule.to_string()),
            why: denial.what,
            lift: denial.lift,
            approval: None,
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
