//! The verdict on one request.

use crate::load::Policy;
use crate::rule::{Profile, RuleId};

/// Who asks: ids that the kernel gave for the peer of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The effective uid at connect (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// All gids at connect, the primary one too (SO_PEERCRED, SO_PEERGROUPS).
    pub gids: &'a [u32],
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Run any program or script.
    Run {
        /// The sandbox asked for; `read` when none is.
        profile: Option<&'a str>,
        /// The program, or the interpreter of a script. Not judged by a
        /// policy of today: the sandbox makes any program harmless.
        argv0: &'a [u8],
        /// Names of the variables that the caller wants set.
        env_names: &'a [&'a [u8]],
    },
}

/// The answer to an [`Ask`].
#[must_use]
#[derive(Debug)]
pub enum Verdict {
    /// It may run, exactly so.
    Allow(Grant),
    /// It may not.
    Deny(Denial),
}

/// A permission. Only [`Policy::decide`] makes one.
#[derive(Debug)]
pub struct Grant {
    profile: Profile,
    rule: RuleId,
    env: Vec<String>,
}

impl Grant {
    /// The sandbox to run in.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The rule that decided.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// Names of the variables that the caller may set, sorted.
    pub fn env(&self) -> &[String] {
        &self.env
    }
}

/// A refusal, in words for the agent and for the administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that refused; `None` when no rule allows it.
    pub rule: Option<RuleId>,
    /// What was refused and why, one sentence.
    pub what: String,
    /// What an administrator can do to allow it.
    pub lift: Option<String>,
    /// What the agent can do instead.
    pub next: String,
}

/// One line of what somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantView {
    /// The rule that grants it.
    pub rule: RuleId,
    /// What it grants: `run`.
    pub allow: Vec<String>,
    /// In which sandbox.
    pub profile: Profile,
    /// Variables that the caller may set, sorted.
    pub env: Vec<String>,
}

impl Policy {
    /// Judges one request. Total: any input has a verdict.
    pub fn decide(&self, who: Who<'_>, ask: &Ask<'_>) -> Verdict {
        let Ask::Run { .. } = ask;
        Verdict::Deny(Denial {
            rule: None,
            what: format!("no rule of the policy lets uid {} do this", who.uid),
            lift: None,
            next: "ask for a grant".into(),
        })
    }

    /// What this caller may do, after denials.
    pub fn access(&self, _who: Who<'_>) -> Vec<GrantView> {
        Vec::new()
    }
}
