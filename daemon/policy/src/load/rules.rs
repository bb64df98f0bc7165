//! The tables `[[grant]]` and `[[deny]]`: they become rules about names that exist.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use remit_common::caps;
use remit_common::wire::Effect;

use crate::call::variables::never_permitted;
use crate::load::accounts::{Unknown, grantees};
use crate::load::diagnostic::quoted;
use crate::load::kinds::choice;
use crate::load::limits::seconds;
use crate::load::loading::Loading;
use crate::load::reader::{Fields, Need, Placed, Report, mistyped};
use crate::load::text::is_rule_name;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::glob::Glob;
use crate::model::names::RUN;
use crate::model::profile::Profile;
use crate::model::rule::{DenyRule, GrantRule, RuleId};
use crate::model::scope::Scope;

/// Seconds that somebody is asked for an approval: a day at most.
const EXPIRES: RangeInclusive<u64> = 10..=24 * 3600;
/// What they are unless said.
pub(crate) const EXPIRES_DEFAULT: u32 = 600;

impl Loading<'_> {
    /// Adds the rules of one file.
    pub(crate) fn read_rules(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for fields in top.tables("grant", "[[grant]]", report) {
            if self.has_room(&fields, report) {
                self.grant(fields, report);
            }
        }
        for fields in top.tables("deny", "[[deny]]", report) {
            if self.has_room(&fields, report) {
                self.deny(fields, report);
            }
        }
    }

    fn has_room(&self, fields: &Fields<'_>, report: &mut Report<'_>) -> bool {
        let room = self.grants.len() + self.denies.len() < caps::POLICY_RULES;
        if !room {
            let message = format!("there are too many rules: over {}", caps::POLICY_RULES);
            report.error(fields.header(), message);
        }
        room
    }

    fn grant(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let to = fields.strings("to", Need::Required, report);
        let to = grantees(
            &to,
            Unknown::Warns,
            self.machine,
            &mut self.resolved,
            report,
        );
        let allowed = fields.strings("allow", Need::Required, report);
        let allow = self.globs(&allowed, Unmatched::Warns, report);
        let scope = self.scope(&mut fields, &allowed, Unmatched::Warns, report);
        let profile = self.profile_of_run(&mut fields, &allow, &scope, report);
        let env = variables(&fields.strings("env", Need::Optional, report), report);
        let approval = self.approval(&mut fields, report);
        let unconfined = fields.boolean("unconfined", report);
        let effects = [("read", Effect::Read), ("change", Effect::Change)];
        let effect = choice(fields.string("effect", report), &effects, report);
        fields.finish(report);
        let rule = GrantRule {
            id,
            to,
            allow,
            effect,
            scope,
            profile,
            env,
            approval,
            unconfined,
        };
        if rule.approval.is_none() && !unconfined {
            self.refuse_unconfined(&rule, &allowed, report);
        }
        self.check_patterns(&rule, &allowed, report);
        self.grants.push(rule);
    }

    fn deny(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let to = fields.strings("to", Need::Required, report);
        let to = grantees(
            &to,
            Unknown::Refuses,
            self.machine,
            &mut self.resolved,
            report,
        );
        let denied = fields.strings("deny", Need::Required, report);
        let deny = self.globs(&denied, Unmatched::Refuses, report);
        let scope = self.scope(&mut fields, &denied, Unmatched::Refuses, report);
        fields.finish(report);
        self.denies.push(DenyRule {
            id,
            to,
            deny,
            scope,
        });
    }

    /// The rule's identity. A name belongs to one rule only: it stands in the audit.
    fn id(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) -> RuleId {
        let line = report.line(fields.header().start);
        let file = report.file().to_owned();
        let name = fields.string("name", report).and_then(|name| {
            if !is_rule_name(name.value) {
                let message = format!("{} cannot name a rule", quoted(name.value));
                let help = "1 to 64 of a-z 0-9 . _ -, the first a letter or digit";
                report.error_with_help(name.span, message, help);
                return None;
            }
            if let Some(first) = self.taken.get(name.value) {
                let message = format!("the name '{}' is taken by {first}", name.value);
                report.error(name.span, message);
                return None;
            }
            let place = format!("{file}:{line}");
            self.taken.insert(name.value.to_owned(), place);
            Some(name.value.to_owned())
        });
        RuleId { file, line, name }
    }

    fn globs(
        &mut self,
        list: &[Placed<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) -> Vec<Glob> {
        let mut found = Vec::new();
        for item in list {
            if !is_glob(item.value) {
                let message = format!("{} cannot name a command", quoted(item.value));
                let help =
                    "a name, or one with '*' for any text: \"run\", \"nginx.test\", \"nginx.*\"";
                report.error_with_help(item.span.clone(), message, help);
                continue;
            }
            let stars = item.value.bytes().filter(|byte| *byte == b'*').count();
            if stars > Glob::STARS {
                let (shown, most) = (quoted(item.value), Glob::STARS);
                let message = format!("{shown} has {stars} '*', and a pattern at most {most}");
                let help = "several patterns in the list say the same";
                report.error_with_help(item.span.clone(), message, help);
                continue;
            }
            let glob = Glob::new(item.value);
            if report.proves() && !self.matches_something(&glob) {
                let message = format!("there is no command {}", quoted(item.value));
                match unmatched {
                    Unmatched::Warns => {
                        let message = format!("{message}: this grants nothing");
                        report.warning(item.span.clone(), message, None);
                    }
                    Unmatched::Refuses => {
                        let message = format!("{message}, so this denial would deny nothing");
                        let help = "define it, or take it out of the list";
                        report.error_with_help(item.span.clone(), message, help);
                    }
                }
            }
            found.push(glob);
        }
        found
    }

    fn matches_something(&mut self, glob: &Glob) -> bool {
        if let Some(known) = self.matched.get(glob.as_str()) {
            return *known;
        }
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let commands = self.commands.keys().map(String::as_str);
        let mut names = [RUN].into_iter().chain(builtins).chain(commands);
        let matches = names.any(|name| glob.matches(name));
        self.matched.insert(glob.as_str().to_owned(), matches);
        matches
    }

    /// The sandbox of `run`: one in which nothing that a caller thinks of can do harm.
    fn profile_of_run(
        &self,
        fields: &mut Fields<'_>,
        allow: &[Glob],
        scope: &Scope,
        report: &mut Report<'_>,
    ) -> Arc<Profile> {
        let read = || {
            self.profiles
                .get("read")
                .map(|read| Arc::clone(&read.value))
        };
        let read = || read().unwrap_or_else(|| Arc::new(Profile::read()));
        let Some(named) = fields.string("profile", report) else {
            return read();
        };
        let Some(profile) = self.profile(&named, report) else {
            return read();
        };
        let run = scope.is_any() && allow.iter().any(|glob| glob.matches(RUN));
        if !run {
            let message = "'profile' is that of 'run', which this rule does not allow".into();
            report.warning(
                named.span,
                message,
                Some("a command has a profile of its own"),
            );
        } else if !profile.changes_nothing() {
            let message = format!(
                "'run' cannot be granted in the profile {}: whatever somebody runs there may change \
                 the host or reach beyond it",
                quoted(&profile.name)
            );
            let help = "define a [[command]] that runs in it, and grant that";
            report.error_with_help(named.span, message, help);
        }
        profile
    }

    fn approval(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Approval> {
        const WHAT: &str = "\"none\" or a table, as { by = [\"%sre\"], expires = \"10min\" }";
        let value = fields.get("approval")?;
        if value.get_ref().as_str() == Some("none") {
            return None;
        }
        let Some(table) = value.get_ref().as_table() else {
            mistyped("approval", WHAT, value, report);
            return None;
        };
        let mut fields = Fields::new("approval", value.span(), table);
        let errors = report.errors();
        let by = fields.strings("by", Need::Required, report);
        // What is no list has been reported.
        let is_list = report.errors() == errors;
        if let (true, Some(span)) = (by.is_empty() && is_list, fields.span_of("by")) {
            report.error(span, "nobody could ever approve this".into());
        }
        let by = grantees(
            &by,
            Unknown::Warns,
            self.machine,
            &mut self.resolved,
            report,
        );
        let expires_s = seconds("expires", &EXPIRES, &mut fields, report);
        fields.finish(report);
        Some(Approval::new(by, expires_s.unwrap_or(EXPIRES_DEFAULT)))
    }

    /// Nobody runs a command that no sandbox holds unless another agrees, or the rule says that it is
    /// meant.
    fn refuse_unconfined(
        &self,
        rule: &GrantRule,
        allowed: &[Placed<&str>],
        report: &mut Report<'_>,
    ) {
        for item in allowed {
            let glob = Glob::new(item.value);
            let mut unconfined = self.unconfined.values();
            let is_one = |command: &&Arc<Command>| {
                let named =
                    glob.matches(&command.name) && rule.patterns_reach(&glob, command.effect);
                named && rule.scope.suits(command)
            };
            if let Some(command) = unconfined.find(is_one) {
                let message = format!(
                    "'{}' would run without sandbox (profile '{}') and without approval",
                    command.name, command.profile.name
                );
                let help =
                    "add approval = { by = [\"%GROUP\"] }, or unconfined = true if it is meant";
                report.error_with_help(item.span.clone(), message, help);
            }
        }
    }
}

/// What happens when a rule names no command that there is.
#[derive(Clone, Copy)]
pub(crate) enum Unmatched {
    /// What is granted may come later, with a package.
    Warns,
    /// What should be denied is not.
    Refuses,
}

fn is_glob(text: &str) -> bool {
    let may_stand =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
    (1..=caps::NAME).contains(&text.len()) && text.bytes().all(may_stand)
}

fn variables(list: &[Placed<&str>], report: &mut Report<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in list {
        match never_permitted(item.value) {
            None => {
                found.insert(item.value.to_owned());
            }
            Some(why) => {
                let message = format!("no caller may set {}: {why}", quoted(item.value));
                report.error(item.span.clone(), message);
            }
        }
    }
    found
}
