//! The policy in force, and the load of the next one.

use remit_common::prove::PermittedGrant;
use remit_common::refusal::Refusal;
use remit_link::Owner;
use remit_policy::{CallerIds, Grant, Lifted, Pending, Verdict};
use remit_trail::RecordVerdict;

use super::{Live, Loading, PATIENCE, PolicyErrors, PolicyInForce, findings, in_short, short};
use crate::approval::grants::Grants;
use crate::audit::reports::Reports;
use crate::audit::{Event, Record};
use crate::config::shadow::{Sent, Shadow};
use crate::config::{MachineLimits, Settings};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::Question;
use crate::identity::peer::Subject;
use crate::request::{Call, PolicyContext, RequestSummary, ShadowVerdict, with_requester};
use crate::sandbox::Sandboxes;
use crate::service::log::{self, Weight};
use crate::startup::error::Fatal;

#[derive(Debug)]
pub enum Decided {
    Granted(Grant),
    /// A temporary grant allows it, if one of its uses is spent.
    Lifted(Lifted),
    Asks(Box<Pending>),
}

#[derive(Debug)]
pub struct Policies {
    pub live: Live,
    pub sandboxes: Sandboxes,
    /// Why the last load was refused.
    pub error: Option<String>,
    pub loading: Option<Loading>,
    /// Loads that have ended and that somebody asked for.
    pub asked_loads: u64,
    /// Account that caused the last reload that no administrator requested.
    pub reloaded_for: Option<Owner>,
    /// Keys of `remit.toml` that a reload found changed.
    pub needs_restart: Vec<&'static str>,
    /// Requests that loads have ended since the last answer about a load.
    pub voided: usize,
}

impl Policies {
    pub const fn new(live: Live, sandboxes: Sandboxes) -> Self {
        Self {
            live,
            sandboxes,
            error: None,
            loading: None,
            asked_loads: 0,
            reloaded_for: None,
            needs_restart: Vec::new(),
            voided: 0,
        }
    }

    /// Completes a call by the policy in force, for a subject that this policy knows.
    pub fn complete(&self, subject: &Subject, call: &mut Call) {
        if let Ok(caller) = self.caller_ids(subject) {
            call.complete(&self.live.policy, caller);
        }
    }

    /// Describes a request for its records, which its requester can read. Without a rule that grants them the command, it is
    /// described as one that no policy has.
    pub fn summary_of(&self, subject: &Subject, call: &Call) -> RequestSummary {
        let caller = self.caller_ids(subject).ok();
        let named = caller.zip(call.named());
        let command = named.and_then(|(ids, name)| self.live.policy.granted_command(ids, name));
        RequestSummary::new(call, command.map(AsRef::as_ref))
    }

    /// Fails if the policy in force has another account under this uid.
    pub fn caller_ids<'a>(&self, subject: &'a Subject) -> Result<CallerIds<'a>, Refusal> {
        self.live.knows(subject.uid(), subject.user())?;
        Ok(subject.caller_ids())
    }

    /// Returns true if the verdict about this call can depend on more than its name: a rule of the policy in force or of the
    /// shadow policy grants it to the subject, or root tries it.
    pub fn may_grant(&self, subject: &Subject, call: &Call) -> bool {
        let Ok(caller) = self.caller_ids(subject) else {
            return false;
        };
        let shadow = self.live.shadow.as_ref().map(Shadow::policy);
        let mut policies = [&self.live.policy].into_iter().chain(shadow);
        let is_granted = |name| policies.any(|policy| policy.is_granted(caller, name));
        caller.uid == 0 || call.named().is_some_and(is_granted)
    }

    pub const fn has_shadow(&self) -> bool {
        self.live.shadow.is_some()
    }

    /// Returns what the shadow policy says of this request, if it is something else than what this policy says. `args`: as
    /// they were sent.
    pub fn shadow_verdict(
        &self,
        subject: &Subject,
        call: &Call,
        args: &[(String, String)],
    ) -> Option<ShadowVerdict> {
        let shadow = self.live.shadow.as_ref()?;
        let caller = self.caller_ids(subject).ok()?;
        let sent = Sent { caller, call, args };
        shadow.judge(&self.live.policy, &self.live.floor, sent)
    }

    /// Applies the policy and the temporary grants. Denials are errors.
    pub fn decide(
        &self,
        grants: &Grants,
        subject: &Subject,
        call: &Call,
    ) -> Result<Decided, Refusal> {
        let (names, caller_ids) = (call.env_names(), self.caller_ids(subject)?);
        let (floor, effect) = (&self.live.floor, call.effect());
        match floor.decide(&self.live.policy, caller_ids, (&call.ask(&names), effect)) {
            Verdict::Allow(grant) => Ok(Decided::Granted(grant)),
            Verdict::Ask(pending) if !floor.takes_grants(effect) => {
                Ok(Decided::Asks(Box::new(pending)))
            }
            Verdict::Ask(pending) => Ok(match grants.by_grant(subject, pending, call) {
                Ok(lifted) => Decided::Lifted(lifted),
                Err(pending) => Decided::Asks(Box::new(pending)),
            }),
            Verdict::Deny(denial) => Err(denial.for_user(subject.uid(), subject.user()).into()),
        }
    }

    pub fn setting<'a>(&'a self, limits: &'a MachineLimits) -> PolicyContext<'a> {
        PolicyContext {
            digest: &self.live.digest,
            sandboxes: &self.sandboxes,
            limits,
            protected: &self.live.protected,
        }
    }

    /// Starts to read the policy again. The one in force stays until the new one is complete and valid. `in_force`:
    /// temporary grants.
    pub fn reload(
        &mut self,
        settings: &Settings,
        (people, in_force): (&Question, &[PermittedGrant]),
        asked: Option<&Subject>,
        reactor: &mut Reactor,
    ) -> Result<(), Fatal> {
        if let Some(loading) = &mut self.loading {
            // Its files may be older than this request, so it loads once more afterwards.
            loading.again = true;
            loading.asked_again = asked.cloned().or(loading.asked_again.take());
            return Ok(());
        }
        let running = PolicyInForce {
            live: &self.live,
            config: &settings.config,
            in_force,
        };
        let loading = Loading::start(&settings.args, Some(running), people, asked)?;
        reactor
            .add(loading.fd(), Token::Policy, Interest::Read)
            .map_err(Fatal::call("cannot watch the policy's child"))?;
        self.loading = Some(loading);
        reactor.timers.add(PATIENCE, Timer::Policy);
        Ok(())
    }

    pub fn reject(&mut self, reports: &mut Reports, why: PolicyErrors, asked: Option<&Subject>) {
        let text = format_args!("the new policy is refused, the old policy stays in force:\n{why}");
        log::beside(&reports.audit, Weight::Error, text);
        let message = format!(
            "{} was refused, {} stays in force: {}",
            asked.map_or("a new policy".to_owned(), |by| format!(
                "{}'s new policy",
                by.user()
            )),
            short(&self.live.digest),
            in_short(&why)
        );
        let record = Record::new(Event::Policy, message)
            .with_error_priority()
            .field("POLICY", &self.live.digest)
            .field("VERDICT", RecordVerdict::Refused.name())
            .field("CAUSE", findings(&why).join("; "));
        reports.audit.note(with_requester(record, asked));
        self.error = Some(why);
    }
}
