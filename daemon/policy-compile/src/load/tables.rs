//! Checks what an administrator expects of the policy: verdicts of `[[test]]`, and `accepts` and `rejects` of a command.

use std::ops::Range;

use remit_common::builtin::Builtin;
use remit_common::wire::Effect;
use remit_plan::PlanPath;
use remit_policy::call::subject::{Call, Subject};
use remit_policy::decide::{CallerIds, Terms, Verdict};
use remit_policy::model::command::Command;
use remit_policy::model::machine::Machine;
use remit_policy::model::policy::{CHANGE, Policy, RUN};
use remit_policy::model::rule::Nature;
use remit_policy::quoted;

use super::loading::unknown_profile;
use super::parameters::{choice, scalar};
use super::reader::{Fields, Need, Report, WithSpan, entries, mistyped, string};
use super::text::warn_of_pattern;

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
    /// False for a user of another machine.
    has_known_groups: bool,
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
    let paths = fields.strings("paths", Need::Optional, report);
    let paths = paths.iter().filter_map(|path| plan_path(path, report));
    let paths: Vec<PlanPath> = paths.collect();
    if let Some(call) = &mut call {
        call.paths = paths;
    }
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
    let has_known_groups = machine.knows_groups() || caller.value.starts_with(['%', '#']);
    let subject = match Subject::named(caller.value, machine) {
        Ok(subject) => Some(subject),
        Err(why) => {
            let help =
                "write an existing user, a \"%group\", or a number as \"#1000\" or \"%#100\"";
            match is_number_of_account(caller.value) {
                true => {
                    let message = format!("{why}, so it cannot be tested");
                    report.error_with_help(caller.span, message, help);
                }
                // An error would keep the daemon from starting once an account is removed.
                false => report.warning(caller.span, format!("not tested: {why}"), Some(help)),
            }
            None
        }
    };
    Some(Test {
        subject: subject?,
        call: call?,
        expected: expected?,
        has_known_groups,
        span: span?,
    })
}

fn is_number_of_account(word: &str) -> bool {
    word.starts_with('#') || word.starts_with("%#")
}

fn plan_path(path: &WithSpan<&str>, report: &mut Report<'_>) -> Option<PlanPath> {
    warn_of_pattern(path, report);
    let refuse = |why| {
        let help = "write the absolute path of a file, as \"/etc/nginx/nginx.conf\"";
        let message = format!("{}: {why}", quoted(path.value));
        report.error_with_help(path.span.clone(), message, help);
    };
    PlanPath::new(path.value).map_err(refuse).ok()
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
    pub(crate) fn check(&self, policy: &Policy, has_all_accounts: bool, report: &mut Report<'_>) {
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
        if let Some(why) = self.call.wrong_paths(policy) {
            let help = "delete 'paths' from this [[test]]";
            report.error_with_help(self.span.clone(), why, help);
            return;
        }
        let call = self.call_today(policy, report);
        if self.expected == Expected::Deny
            && let Some(why) = proves_no_denial(&call, policy)
        {
            let message = format!("this is denied whatever the rules are: {why}");
            let help = "write the call as a caller would; only the rules are to refuse it";
            report.error_with_help(self.span.clone(), message, help);
            return;
        }
        let caller = self.subject.caller();
        if !self.has_known_groups && self.depends_on_groups(&call, policy) {
            let message = "not tested: the verdict depends on the groups of this user";
            let help = "check the policy on its own machine, or write who = \"%GROUP\"";
            report.warning(self.span.clone(), message.into(), Some(help));
            return;
        }
        if self.expected != Expected::Deny
            && let Some((rule, path)) = policy.unasked_path(caller, &call.ask())
        {
            let (_, why) = verdict(caller, &call, policy);
            let message = format!(
                "the verdict depends on the paths of the plan: {why}; but for a plan of '{path}' alone rule {rule} asks for no approval"
            );
            let help = format!(
                "write paths = [\"{path}\"] and verdict = \"allow\" in this [[test]], or the paths that it means; write one \
                 for each verdict"
            );
            report.error_with_help(self.span.clone(), message, &help);
            return;
        }
        let (found, why) = verdict(caller, &call, policy);
        if found != self.expected {
            let (expected, found) = (self.expected.name(), found.name());
            let message = format!("expected {expected}, got {found}: {why}");
            let help = format!(
                "change the rules, or write verdict = \"{found}\"; 'remit policy explain' shows every rule"
            );
            match has_all_accounts {
                true => report.error_with_help(self.span.clone(), message, &help),
                // A rule that names a missing account grants nothing, which may be all that is wrong.
                false => report.missing_account(self.span.clone(), message, &help),
            }
        }
    }

    /// Returns the completed call to judge. Once, commands that look in base host had effect change. An older file's
    /// test asks for it by `change`, which is always refused now, so `deny` would prove nothing.
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

    /// Returns true if membership in one group changes what is found. Each rule is about one of them, so pairs change no more.
    fn depends_on_groups(&self, call: &Call, policy: &Policy) -> bool {
        let caller = self.subject.caller();
        let found = |gids: &[u32]| {
            let caller = CallerIds { gids, ..caller };
            let is_unasked = policy.unasked_path(caller, &call.ask()).is_some();
            (verdict(caller, call, policy).0, is_unasked)
        };
        let alone = found(caller.gids);
        let mut groups = policy.groups_named().iter();
        groups.any(|gid| found(&[caller.gids, &[*gid]].concat()) != alone)
    }
}

fn verdict(caller: CallerIds<'_>, call: &Call, policy: &Policy) -> (Expected, String) {
    match policy.decide(caller, &call.ask()) {
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

/// Finds a call that is refused for a mistake of its own: it says nothing about the rules.
fn proves_no_denial(call: &Call, policy: &Policy) -> Option<String> {
    let named = policy.named(call.name.as_deref()?)?;
    if named.effect() != call.effect {
        let (name, tool) = (named.name(), verb(named.effect()));
        return Some(format!("'{tool}' asks for {name}"));
    }
    let refusal = named.check_names(&call.args).err();
    refusal.map(|refusal| refusal.message)
}

fn verb(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => RUN,
        Effect::Change => CHANGE,
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

pub(crate) struct Examples {
    accepts: Vec<Example>,
    rejects: Vec<Example>,
}

struct Example {
    args: Vec<(String, String)>,
    span: Range<usize>,
}

pub(crate) fn read_examples(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Examples {
    Examples {
        accepts: list(fields, "accepts", report),
        rejects: list(fields, "rejects", report),
    }
}

fn list(fields: &mut Fields<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<Example> {
    const WHAT: &str = "a list of tables, as [{ argument = \"value\" }]";
    let Some(value) = fields.get(key) else {
        return Vec::new();
    };
    let Some(items) = value.get_ref().as_array() else {
        mistyped(key, WHAT, value, report);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items.iter() {
        let Some(table) = item.get_ref().as_table() else {
            mistyped(key, WHAT, item, report);
            continue;
        };
        let mut args = Vec::new();
        for (name, value) in entries(table) {
            let one = std::slice::from_ref(value);
            let values = value.get_ref().as_array().map_or(one, |list| list);
            for value in values {
                match scalar(value) {
                    Some(text) => args.push((name.value.to_owned(), text)),
                    None => {
                        let expected = "a string, an integer, a boolean or a list of them";
                        mistyped(name.value, expected, value, report);
                    }
                }
            }
        }
        let span = item.span();
        found.push(Example { args, span });
    }
    found
}

impl Examples {
    pub(crate) fn check(&self, command: &Command, report: &mut Report<'_>) {
        for example in &self.accepts {
            if let Err(refusal) = command.bind(&example.args, false) {
                let message = format!("this should be accepted, but {}", refusal.message);
                let help = "widen the type of the argument, or delete this example";
                report.error_with_help(example.span.clone(), message, help);
            }
        }
        for example in &self.rejects {
            let (message, help) = if let Some(why) = proves_nothing(command, &example.args) {
                let message = format!("this is refused whatever the types are: {why}");
                (
                    message,
                    "write every required argument and no other; only one value is wrong",
                )
            } else if command.bind(&example.args, false).is_ok() {
                let message = "this should be refused, but it is accepted".to_owned();
                let help = "narrow the type of an argument (pattern, values, min, max), or delete this example";
                (message, help)
            } else {
                continue;
            };
            report.error_with_help(example.span.clone(), message, help);
        }
    }
}

/// Finds an example that is refused for a mistake of its own: it says nothing about the types.
fn proves_nothing(command: &Command, args: &[(String, String)]) -> Option<String> {
    let known = |name: &str| command.params.iter().any(|param| param.name == name);
    if let Some((name, _)) = args.iter().find(|(name, _)| !known(name)) {
        return Some(format!("there is no argument {}", quoted(name)));
    }
    let passed = |name: &str| args.iter().any(|(passed, _)| passed == name);
    let missing = |name: &str| format!("'{name}' is missing");
    let mut required = command.params.iter().filter(|param| param.required());
    let lacking = required.find(|param| !passed(&param.name));
    lacking.map(|param| missing(&param.name))
}
