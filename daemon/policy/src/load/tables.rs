//! The tables `[[test]]`: verdicts that an administrator expects, asked of the policy as it was loaded.

use std::ops::Range;

use remit_common::builtin::Builtin;

use crate::call::subject::{Call, Subject};
use crate::decide::{Terms, Verdict};
use crate::load::diagnostic::quoted;
use crate::load::kinds::choice;
use crate::load::reader::{Fields, Report, mistyped, string};
use crate::model::machine::Machine;
use crate::model::policy::Policy;

/// A verdict without its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Allow,
    Ask,
    Deny,
}

impl Expected {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// One table, read.
pub(crate) struct Test {
    subject: Subject,
    call: Call,
    expected: Expected,
    span: Range<usize>,
}

/// Reads one table; `None` after an error.
pub(crate) fn read(
    mut fields: Fields<'_>,
    machine: &dyn Machine,
    report: &mut Report<'_>,
) -> Option<Test> {
    let who = fields.required("who", report);
    let mut call = call(&mut fields, report);
    let profile = fields.string("profile", report);
    let verdicts = [Expected::Allow, Expected::Ask, Expected::Deny];
    let verdicts = verdicts.map(|verdict| (verdict.name(), verdict));
    let verdict = fields.required("verdict", report);
    let span = verdict.as_ref().map(|verdict| verdict.span.clone());
    let expected = choice(verdict, &verdicts, report);
    fields.finish(report);
    if let (Some(profile), Some(call)) = (profile, &mut call) {
        if call.name.is_some() {
            let message = "'profile' is that of 'run' alone: a command has one of its own".into();
            report.error(profile.span, message);
        } else {
            call.profile = Some(profile.value.to_owned());
        }
    }
    let who = who?;
    let subject = match Subject::named(who.value, machine) {
        Ok(subject) => Some(subject),
        Err(why) => {
            report.error(who.span, format!("{why}, so nothing can be asked about it"));
            None
        }
    };
    Some(Test {
        subject: subject?,
        call: call?,
        expected: expected?,
        span: span?,
    })
}

fn call(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Call> {
    const WHAT: &str = "a string, as \"run nginx.test\", or a list of words";
    let Some(value) = fields.get("what") else {
        fields.lacks("what", report);
        return None;
    };
    let call = if let Some(text) = value.get_ref().as_str() {
        Call::split(text)
    } else if let Some(list) = value.get_ref().as_array() {
        let words: Option<Vec<&str>> = list.iter().map(|word| Some(string(word)?.value)).collect();
        let Some(words) = words else {
            mistyped("what", WHAT, value, report);
            return None;
        };
        Call::parse(&words)
    } else {
        mistyped("what", WHAT, value, report);
        return None;
    };
    call.map_err(|why| report.error(value.span(), why)).ok()
}

impl Test {
    /// Asks the policy, and reports another answer than the one expected.
    pub(crate) fn check(&self, policy: &Policy, report: &mut Report<'_>) {
        if let Some(name) = &self.call.name
            && policy.named(name).is_none()
        {
            let message = format!("there is no command {}", quoted(name));
            let help = "a verdict on it would prove nothing";
            report.error_with_help(self.span.clone(), message, help);
            return;
        }
        if let Some(name) = &self.call.profile
            && policy.profile(name).is_none()
        {
            let message = format!("there is no profile {}", quoted(name));
            report.error(self.span.clone(), message);
            return;
        }
        let (found, why) = self.verdict(policy);
        if found != self.expected {
            let (expected, found) = (self.expected.name(), found.name());
            report.error(
                self.span.clone(),
                format!("expected {expected}, got {found}: {why}"),
            );
        }
    }

    fn verdict(&self, policy: &Policy) -> (Expected, String) {
        match policy.decide(self.subject.who(), &self.call.ask()) {
            Verdict::Deny(denial) => (Expected::Deny, denial.what),
            Verdict::Allow(grant) => match self.fits(grant.terms()) {
                Ok(()) => (Expected::Allow, format!("rule {}", grant.basis())),
                Err(why) => (Expected::Deny, why),
            },
            Verdict::Ask(pending) => match self.fits(pending.terms()) {
                Ok(()) => {
                    let why = format!("rule {} {}", pending.rule(), pending.approval());
                    (Expected::Ask, why)
                }
                Err(why) => (Expected::Deny, why),
            },
        }
    }

    /// Whether the arguments are those of the command. Who may not use it has been refused before.
    fn fits(&self, terms: &Terms) -> Result<(), String> {
        let refused = match (terms.command(), &self.call.name) {
            (Some(command), _) => command.bind(&self.call.args, false).err(),
            (None, Some(name)) => Builtin::parse(name, &self.call.args).err(),
            (None, None) => None,
        };
        refused.map_or(Ok(()), |refusal| Err(refusal.message))
    }
}
