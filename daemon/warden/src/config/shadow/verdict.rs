//! Compares what two policies say of one request. Pure.

use remit_common::text;
use remit_policy::{Ask, CallerIds, Policy, Stdin, Terms, Verdict};

use crate::job::floor::Floor;
use crate::request::Call;

/// Bytes of the reason in a record.
const CAUSE: usize = 300;

/// What the shadow policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowVerdict {
    /// `allow`, `ask` or `deny`.
    pub verdict: &'static str,
    pub rule: Option<String>,
    pub cause: Option<String>,
    pub policy: String,
}

/// What a policy says, with its own definition of the command.
enum Decision {
    Verdict(Verdict),
    /// A rule allows the command, but not with these arguments or this input. Without its values: one may be a secret.
    WrongArguments(String),
}

impl ShadowVerdict {
    /// Returns the verdict of the second policy if the first one's is another. Both have the same `[floor]`, and no
    /// grant for a time counts.
    pub fn between(
        (live, shadow): (&Policy, &Policy),
        floor: &Floor,
        caller: CallerIds<'_>,
        call: &Call,
    ) -> Option<Self> {
        let now = Decision::of(live, floor, caller, call);
        let then = Decision::of(shadow, floor, caller, call);
        if now.is_like(&then) {
            return None;
        }
        let cause = |text: &str| Some(text::line(text.as_bytes(), CAUSE));
        let (verdict, rule, cause) = match then {
            Decision::Verdict(Verdict::Allow(grant)) => {
                let rule = Some(grant.basis().to_string());
                ("allow", rule, cause(&in_profile(grant.terms())))
            }
            Decision::Verdict(Verdict::Ask(pending)) => {
                let asks = format!("{}, {}", pending.approval(), in_profile(pending.terms()));
                ("ask", Some(pending.rule().to_string()), cause(&asks))
            }
            Decision::Verdict(Verdict::Deny(denial)) => {
                let rule = denial.rule.map(|rule| rule.to_string());
                ("deny", rule, cause(&denial.what))
            }
            Decision::WrongArguments(rule) => (
                "deny",
                Some(rule),
                cause("the command takes other arguments"),
            ),
        };
        Some(Self {
            verdict,
            rule,
            cause,
            policy: shadow.digest().to_owned(),
        })
    }
}

fn in_profile(terms: &Terms) -> String {
    format!("in profile {}", terms.profile().name)
}

impl Decision {
    fn of(policy: &Policy, floor: &Floor, caller: CallerIds<'_>, call: &Call) -> Self {
        let names = call.env_names();
        let (ask, has_stdin) = (call.ask(&names), call.has_stdin());
        // Each policy completes the arguments by its own types.
        let mut completed = Vec::new();
        let ask = match ask {
            Ask::Command { name, effect, args } => {
                completed.extend_from_slice(args);
                policy.complete(name, &mut completed);
                let args = &completed;
                Ask::Command { name, effect, args }
            }
            Ask::Commit { name, args, plan } => {
                completed.extend_from_slice(args);
                policy.complete(name, &mut completed);
                let args = &completed;
                Ask::Commit { name, args, plan }
            }
            other @ (Ask::Run { .. } | Ask::Change { .. } | Ask::Try { .. }) => other,
        };
        let verdict = floor.over(policy.decide(caller, &ask), call.effect());
        let (terms, rule) = match &verdict {
            Verdict::Allow(grant) => (grant.terms(), grant.basis().to_string()),
            Verdict::Ask(pending) => (pending.terms(), pending.rule().to_string()),
            Verdict::Deny(_) => return Self::Verdict(verdict),
        };
        let Some(command) = terms.command() else {
            return Self::Verdict(verdict);
        };
        let is_plan = call.file_change().is_some();
        let takes_it = !has_stdin || (command.stdin == Stdin::Plan) == is_plan;
        match takes_it && command.bind(&completed, has_stdin).is_ok() {
            true => Self::Verdict(verdict),
            false => Self::WrongArguments(rule),
        }
    }

    /// Another rule or sentence is no other verdict.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Verdict(Verdict::Allow(a)), Self::Verdict(Verdict::Allow(b))) => {
                a.terms().is_like(b.terms())
            }
            (Self::Verdict(Verdict::Ask(a)), Self::Verdict(Verdict::Ask(b))) => {
                a.approval() == b.approval() && a.terms().is_like(b.terms())
            }
            (a, b) => a.refuses() && b.refuses(),
        }
    }

    fn refuses(&self) -> bool {
        matches!(
            self,
            Self::Verdict(Verdict::Deny(_)) | Self::WrongArguments(_)
        )
    }
}
