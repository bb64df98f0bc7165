//! Reads the tables `[[grant]]` into rules about existing names.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use remit_common::caps;
use remit_common::signed::Signed;
use remit_common::text::is_plain;
use remit_common::wire::Effect;

use crate::load::accounts::{Unknown, grantees};
use crate::load::commits::refuse_one_off;
use crate::load::limits::seconds;
use crate::load::loading::Loading;
use crate::load::parameters::choice;
use crate::load::reader::{Fields, Need, Report, WithSpan};
use crate::load::text::{PATH, is_rule_name, is_variable};
use crate::load::unused::OptionalKeys;
use crate::load::visibility::warn_of_visibility;
use remit_policy::call::variables::never_permitted;
use remit_policy::model::approval::{Approval, Count};
use remit_policy::model::glob::Glob;
use remit_policy::model::policy::{CHANGE, RUN};
use remit_policy::model::profile::Profile;
use remit_policy::model::rule::{GrantRule, RuleId};
use remit_policy::model::scope::Scope;
use remit_policy::quoted;

/// Seconds in which an approval can be given: a day at most.
const EXPIRES: RangeInclusive<u64> = 10..=24 * 3600;

impl Loading<'_> {
    pub(crate) fn read_rules(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for fields in top.tables("grant", "[[grant]]", report) {
            if self.has_capacity(&fields, report) {
                self.grant(fields, report);
            }
        }
        for fields in top.tables("deny", "[[deny]]", report) {
            if self.has_capacity(&fields, report) {
                self.deny(fields, report);
            }
        }
    }

    fn has_capacity(&self, fields: &Fields<'_>, report: &mut Report<'_>) -> bool {
        let is_within_limit = self.grants.len() + self.denies.len() < caps::POLICY_RULES;
        if !is_within_limit {
            let message = format!("there are too many rules: over {}", caps::POLICY_RULES);
            report.error_with_help(
                fields.header(),
                message,
                "merge rules: 'to' and 'allow' are lists",
            );
        }
        is_within_limit
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
        let effect = choice("effect", fields.string("effect", report), &effects, report);
        let paths = self.paths(&mut fields, &allowed, approval.is_some(), report);
        let confirm_s = self.confirm(&mut fields, &allowed, report);
        let acts = self.acts(&mut fields, &allowed, report);
        let run_profile = fields
            .key_span("run_profile")
            .or_else(|| fields.key_span("profile"));
        let optional = OptionalKeys::find(&fields);
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
            paths,
            confirm_s,
            acts,
        };
        self.check_commits(&rule, &allowed, report);
        if rule.approval.is_none() {
            self.refuse_unapproved(&rule, unconfined, &allowed, report);
        }
        warn_of_visibility(&rule, run_profile, report);
        self.check_private_files(&rule, &allowed, report);
        refuse_one_off(&rule, &allowed, report);
        self.check_patterns(&rule, &allowed, report);
        self.warn_of_unused(&rule, optional, report);
        self.grants.push(rule);
    }

    /// Reads the rule's identity. A name belongs to one rule only, because it is in the audit log.
    pub(crate) fn id(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) -> RuleId {
        let line = report.line(fields.header().start);
        let file = report.file().to_owned();
        let name = fields.string("name", report).and_then(|name| {
            if !is_rule_name(name.value) {
                let message = format!("invalid rule name {}", quoted(name.value));
                let help = "1 to 64 of a-z 0-9 . _ -, the first a letter or digit";
                report.error_with_help(name.span, message, help);
                return None;
            }
            if let Some(first) = self.taken.get(name.value) {
                let message = format!("the rule at {first} has the name '{}'", name.value);
                report.error_with_help(name.span, message, "choose another name, or delete it");
                return None;
            }
            let location = format!("{file}:{line}");
            self.taken.insert(name.value.to_owned(), location);
            Some(name.value.to_owned())
        });
        RuleId { file, line, name }
    }

    pub(crate) fn globs(
        &mut self,
        list: &[WithSpan<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) -> Vec<Glob> {
        let mut found = Vec::new();
        for item in list {
            if !is_glob(item.value) {
                let message = format!("invalid command name {}", quoted(item.value));
                let small = item.value.to_ascii_lowercase();
                let small = Some(small).filter(|small| is_glob(small));
                let small = small.map_or(String::new(), |small| format!("write \"{small}\": "));
                let help = format!(
                    "{small}a name, or one with '*' for any text: \"run\", \"nginx.test\", \"nginx.*\""
                );
                report.error_with_help(item.span.clone(), message, &help);
                continue;
            }
            let stars = item.value.bytes().filter(|byte| *byte == b'*').count();
            if stars > Glob::STARS {
                let (shown, most) = (quoted(item.value), Glob::STARS);
                let message = format!("{shown} has {stars} '*', and a pattern at most {most}");
                let help = "write several patterns in the list";
                report.error_with_help(item.span.clone(), message, help);
                continue;
            }
            let glob = Glob::new(item.value);
            if !self.matches_something(&glob) {
                let message = format!("there is no command {}", quoted(item.value));
                let meant = report.similar(item.value, self.names());
                let meant = meant.map(|meant| format!("did you mean '{meant}'?"));
                match unmatched {
                    Unmatched::Warns => {
                        let message = format!("{message}: this grants nothing");
                        report.warning(item.span.clone(), message, meant.as_deref());
                    }
                    Unmatched::Refuses => {
                        let message = format!("{message}, so this denial would deny nothing");
                        let help =
                            meant.unwrap_or_else(|| "define it, or delete it from the list".into());
                        report.error_with_help(item.span.clone(), message, &help);
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
        let matches = self.names().any(|name| glob.matches(name));
        self.matched.insert(glob.as_str().to_owned(), matches);
        matches
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let commands = self.commands.keys().map(String::as_str);
        [RUN, CHANGE].into_iter().chain(builtins).chain(commands)
    }

    /// Reads the sandbox of `run`: one in which no program can do harm.
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
        let named = fields.string("run_profile", report);
        let older = fields.old_string("profile", report);
        let is_new = named.is_some();
        if let (Some(named), Some(older)) = (&named, &older) {
            let message = "'run_profile' and 'profile' are the same key".into();
            let help = format!(
                "write run_profile = \"{}\", and delete 'profile'",
                named.value
            );
            report.error_with_help(older.span.clone(), message, &help);
        }
        let Some(named) = named.or(older) else {
            return read();
        };
        if !is_new && let Some(span) = fields.key_span("profile") {
            let shown = quoted(named.value);
            let help = format!("write run_profile = \"{}\"", shown.trim_matches('\''));
            report.warning(
                span,
                "'profile' of a [[grant]] is now called 'run_profile'".into(),
                Some(&help),
            );
        }
        let Some(profile) = self.profile(&named, report) else {
            return read();
        };
        let run = scope.is_any() && allow.iter().any(|glob| glob.matches(RUN));
        if !run {
            let help = "delete it, or add \"run\" to 'allow': a command has its own profile";
            if is_new {
                let message =
                    "'run_profile' is only for 'run', which this rule does not allow".into();
                report.error_with_help(named.span, message, help);
            } else {
                let message = "'profile' is only for 'run', which this rule does not allow".into();
                report.warning(named.span, message, Some(help));
            }
        } else if let Some(inspect) = profile.inspect {
            let message = format!(
                "'run' cannot be granted in the profile {}: {}",
                quoted(&profile.name),
                inspect.only_for()
            );
            let help = "grant one of these commands by its name; see 'inspect' in remit-policy(5)";
            report.error_with_help(named.span, message, help);
        } else if !profile.takes_any_program() {
            let why = match profile.changes_nothing() {
                true => "its base is for a command",
                false => "whatever somebody runs there may change the host or reach beyond it",
            };
            let name = quoted(&profile.name);
            let message = format!("'run' cannot be granted in the profile {name}: {why}");
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
            let message = format!("'approval' must be {WHAT}");
            let by = value.get_ref().as_array().and_then(|list| list.first());
            let by = by.unwrap_or(value).get_ref().as_str();
            let by = by.filter(|by| {
                !by.is_empty() && by.chars().all(|char| is_plain(char) && char != '"')
            });
            let help = format!(
                "write approval = {{ by = [\"{}\"] }}",
                by.unwrap_or("%remit-admin")
            );
            report.error_with_help(value.span(), message, &help);
            return None;
        };
        let mut fields = Fields::new("approval", value.span(), table);
        let errors = report.errors();
        let by = fields.strings("by", Need::Required, report);
        let is_list = report.errors() == errors;
        if let (true, Some(span)) = (by.is_empty() && is_list, fields.span_of("by")) {
            let help = "write by = [\"%remit-admin\"]";
            report.error_with_help(span, "nobody could ever approve this".into(), help);
        }
        let by = grantees(
            &by,
            Unknown::Warns,
            self.machine,
            &mut self.resolved,
            report,
        );
        let count = count(&mut fields, report);
        let signed = fields.string("signed", report);
        let signed = choice(
            "signed",
            signed,
            &Signed::ALL.map(|one| (one.as_str(), one)),
            report,
        );
        let expires_s = seconds("expires", &EXPIRES, &mut fields, report);
        fields.finish(report);
        let expires_s = expires_s.unwrap_or(Approval::EXPIRES_S);
        Some(Approval::new(by, count, expires_s).with_signed(signed))
    }
}

fn count(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Count {
    let number = fields.integer("count", (1, Count::ALL.len() as i64), report);
    let at = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
    at.and_then(|at| Count::ALL.get(at).copied())
        .unwrap_or_default()
}

#[derive(Clone, Copy)]
pub(crate) enum Unmatched {
    /// The command may come later, with a package.
    Warns,
    /// The command that should be denied is not.
    Refuses,
}

fn is_glob(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
    (1..=caps::NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn variables(list: &[WithSpan<&str>], report: &mut Report<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in list {
        match never_permitted(item.value) {
            None => {
                found.insert(item.value.to_owned());
            }
            Some(why) => {
                let message = format!("no caller may set {}: {why}", quoted(item.value));
                let help = match item.value {
                    PATH => "delete it, and name programs by their whole path",
                    name if !is_variable(name) => "write the whole name of a variable, as \"TZ\"",
                    _ => {
                        "delete it; a fixed value can be set in 'env' of a [[command]] or a [profile]"
                    }
                };
                report.error_with_help(item.span.clone(), message, help);
            }
        }
    }
    found
}
