//! Checks the tables `[[test]]`: verdicts that an administrator expects of the loaded policy.

use std::ops::Range;

use remit_common::builtin::Builtin;
use remit_common::wire::Effect;

use crate::load::loading::unknown_profile;
use crate::load::parameters::choice;
use crate::load::reader::{Fields, Report, mistyped, string};
use remit_policy::call::subject::{Call, Subject};
use remit_policy::decide::{Terms, Verdict};
use remit_policy::model::machine::Machine;
use remit_policy::model::policy::Policy;
use remit_policy::model::rule::Nature;
use remit_policy::quoted;

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

pub(crate) struct Test {
    subject: Subject,
    call: Call,
    expected: Expected,
    span: Range<usize>,
}

pub(crate) fn read(
    mut fields: Fields<'_>,
    machine: &dyn Machine,
    report: &mut Report<'_>,
) -> Option<Test> {
    let caller = fields.required("who", report);
    let mut call = call(&mut fields, report);
    let profile = fields.string("profile", report);
    let verdicts = [Expected::Allow, Expected::Ask, Expected::Deny];
    let verdicts = verdicts.map(|verdict| (verdict.name(), verdict));
    let verdict = fields.required("verdict", report);
    let span = verdict.as_ref().map(|verdict| verdict.span.clone());
    let expected = choice("verdict", verdict, &verdicts, report);
    fields.finish(report);
    if let (Some(profile), Some(call)) = (profile, &mut call) {
        if call.name.is_some() {
            let message = "'profile' is only for 'run': a command has its own profile".into();
            report.error_with_help(profile.span, message, "delete 'profile' from this [[test]]");
        } else {
            call.profile = Some(profile.value.to_owned());
        }
    }
    let caller = caller?;
    let subject = match Subject::named(caller.value, machine) {
        Ok(subject) => Some(subject),
        Err(why) => {
            report.error_with_help(
                caller.span,
                format!("{why}, so it cannot be tested"),
                "write an existing user, a \"%group\", or a number as \"#1000\" or \"%#100\"",
            );
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
    let help = "write what = \"run nginx.test\", or \"change NAME KEY=VALUE\" for a command of effect change";
    call.map_err(|why| report.error_with_help(value.span(), why, help))
        .ok()
}

impl Test {
    pub(crate) fn check(&self, policy: &Policy, report: &mut Report<'_>) {
        if let Some(name) = &self.call.name
            && policy.named(name).is_none()
        {
            let message = format!("there is no command {}", quoted(name));
            let names: Vec<&str> = policy.all_named().map(|named| named.name()).collect();
            let help = match report.similar(name, names) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => {
                    "define it as a [[command]], or delete this [[test]]: it would prove nothing"
                        .into()
                }
            };
            report.error_with_help(self.span.clone(), message, &help);
            return;
        }
        if let Some(name) = &self.call.profile
            && policy.profile(name).is_none()
        {
            let message = format!("there is no profile {}", quoted(name));
            let known: Vec<&str> = policy.profiles().map(|one| one.name.as_str()).collect();
            let help = unknown_profile(name, &known, report);
            report.error_with_help(self.span.clone(), message, &help);
            return;
        }
        let call = self.call_today(policy, report);
        let (found, why) = self.verdict(&call, policy);
        if found != self.expected {
            let (expected, found) = (self.expected.name(), found.name());
            report.error_with_help(
                self.span.clone(),
                format!("expected {expected}, got {found}: {why}"),
                &format!(
                    "change the rules, or write verdict = \"{found}\"; 'remit policy explain' shows every rule"
                ),
            );
        }
    }

    /// Returns the completed call to judge. Before commands of effect read could run in base host, those that look had
    /// effect change. A test of an older file asks for such a command by `change`, which would always be refused now: a
    /// test for `deny` would prove nothing.
    fn call_today(&self, policy: &Policy, report: &mut Report<'_>) -> Call {
        let call = self.call.clone().completed(policy);
        let named = self
            .call
            .name
            .as_deref()
            .and_then(|name| policy.named(name));
        let looks = named.is_some_and(|named| named.nature() == Nature::LooksUnconfined);
        if !looks || self.call.effect == Effect::Read {
            return call;
        }
        let name = self.call.name.as_deref().unwrap_or_default();
        let message = format!("'{name}' is now of effect read, so 'run' asks for it");
        let help = format!("write what = \"run {name}\", with the same arguments");
        report.warning(self.span.clone(), message, Some(&help));
        Call {
            effect: Effect::Read,
            ..call
        }
    }

    fn verdict(&self, call: &Call, policy: &Policy) -> (Expected, String) {
        match policy.decide(self.subject.caller(), &call.ask()) {
            Verdict::Deny(denial) => (Expected::Deny, denial.what),
            Verdict::Allow(grant) => match fits(call, grant.terms()) {
                Ok(()) => (Expected::Allow, format!("rule {}", grant.basis())),
                Err(why) => (Expected::Deny, why),
            },
            Verdict::Ask(pending) => match fits(call, pending.terms()) {
                Ok(()) => {
                    let why = format!("rule {} {}", pending.rule(), pending.approval());
                    (Expected::Ask, why)
                }
                Err(why) => (Expected::Deny, why),
            },
        }
    }
}

/// Checks the arguments of the command. A caller without a grant is already refused.
fn fits(call: &Call, terms: &Terms) -> Result<(), String> {
    let refused = match (terms.command(), &call.name) {
        (Some(command), _) => command.bind(&call.args, false).err(),
        (None, Some(name)) => Builtin::parse(name, &call.args).err(),
        (None, None) => None,
    };
    refused.map_or(Ok(()), |refusal| Err(refusal.message))
}
