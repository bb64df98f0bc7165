//! Reads `paths` and `acts` of a grant, and refuses grants of commits and undos that nobody would look at.

use std::collections::BTreeSet;

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use remit_common::caps;
use remit_plan::{PlanPath, path_is_refused, unnamed_in_system};
use remit_policy::model::command::{Command, CommitUse};
use remit_policy::model::glob::Glob;
use remit_policy::model::membership::is_within;
use remit_policy::model::policy::{CHANGE, Named};
use remit_policy::model::rule::{Coverage, GrantRule, Nature};
use remit_policy::quoted;

use crate::load::limits::seconds;
use crate::load::loading::Loading;
use crate::load::reader::{Fields, Need, Report, WithSpan};
use crate::load::text::{is_name, warn_of_pattern};

/// Seconds within which a commit is to be confirmed. Sooner nobody has logged in.
const CONFIRM: RangeInclusive<u64> = 10..=3600;

impl Loading<'_> {
    pub(crate) fn paths(
        &self,
        fields: &mut Fields<'_>,
        allowed: &[WithSpan<&str>],
        asks: bool,
        report: &mut Report<'_>,
    ) -> Vec<PlanPath> {
        let list = fields.strings("paths", Need::Optional, report);
        let Some(span) = fields.span_of("paths") else {
            return Vec::new();
        };
        if list.is_empty() {
            let help = "list directories or files, as \"/etc/nginx\", or delete 'paths'";
            report.error_with_help(span, "'paths' has no path".into(), help);
            return Vec::new();
        }
        if list.len() > caps::PROFILE_PATHS {
            let message = format!("a rule lists at most {} paths", caps::PROFILE_PATHS);
            let help = "list a directory above them, or write a second rule";
            report.error_with_help(span.clone(), message, help);
        }
        let is_meant = |command: &Command| command.commit_use().is_some();
        let about = ("paths", "commits of files");
        self.refuse_without(about, is_meant, (span, allowed), report);
        let own = self.machine.protected();
        let path = |item: &WithSpan<&str>| {
            warn_of_pattern(item, report);
            let shown = quoted(item.value);
            let found = PlanPath::new(item.value).map_err(|why| why.to_string());
            let found =
                found.and_then(
                    |path| match own.iter().any(|own| path.is_in(own.as_bytes())) {
                        true => Err("it is remit's own, which no plan can change".to_owned()),
                        false => Ok(path),
                    },
                );
            let report_it = |why: String| {
                let help = "write the absolute path of a directory or a file, as \"/etc/nginx\"";
                report.error_with_help(item.span.clone(), format!("{shown}: {why}"), help);
            };
            let path = found.map_err(report_it).ok()?;
            let refused = path_is_refused(&path).map(|why| {
                let message = format!("no plan can change {shown}: {why}");
                (message, "delete it from the list")
            });
            let unnamed = || {
                let why = unnamed_in_system(&path, std::slice::from_ref(&path)).filter(|_| !asks);
                why.map(|_| {
                    let message =
                        format!("no plan can change {shown} or what is in it without an approval");
                    (
                        message,
                        "write files or directories in it, as \"/etc/nginx\"",
                    )
                })
            };
            if let Some((message, help)) = refused.or_else(unnamed) {
                report.warning(item.span.clone(), message, Some(help));
            }
            Some(path)
        };
        let mut paths: Vec<PlanPath> = list.iter().filter_map(path).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    pub(crate) fn confirm(
        &self,
        fields: &mut Fields<'_>,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) -> Option<u32> {
        let confirm_s = seconds("confirm", &CONFIRM, fields, report);
        if let Some(span) = fields.span_of("confirm") {
            let is_meant = |command: &Command| command.commit_use() == Some(CommitUse::Commit);
            let about = ("confirm", "commits of files");
            self.refuse_without(about, is_meant, (span, allowed), report);
        }
        confirm_s
    }

    /// Reads `acts`: whole names, because whoever reads the rule has to see what an approval of a commit includes.
    pub(crate) fn acts(
        &self,
        fields: &mut Fields<'_>,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) -> BTreeSet<String> {
        let list = fields.strings("acts", Need::Optional, report);
        if let Some(span) = fields.span_of("acts") {
            let about = ("acts", "commits and undoes of files");
            self.refuse_without(about, Command::takes_acts, (span, allowed), report);
        }
        let mut acts = BTreeSet::new();
        for item in &list {
            let shown = quoted(item.value);
            let command = self
                .commands
                .get(item.value)
                .map(|defined| defined.value.as_ref());
            match command {
                None if is_name(item.value) && !self.names().any(|name| name == item.value) => {
                    let message = format!(
                        "there is no command {shown}: nothing of this name can follow a commit"
                    );
                    let meant = report.similar(item.value, self.names());
                    let meant = meant.map(|meant| format!("did you mean '{meant}'?"));
                    report.warning(item.span.clone(), message, meant.as_deref());
                }
                None => {
                    let message = format!("{shown} is not the whole name of a [[command]]");
                    let help = "write each command that can follow, as \"service.reload\"";
                    report.error_with_help(item.span.clone(), message, help);
                    continue;
                }
                // The command has an error of its own.
                Some(None) => {}
                Some(Some(command)) => {
                    if let Some(why) = command.cannot_follow() {
                        let message = format!("{shown} cannot follow a commit: {why}");
                        let help = "delete it from the list; it can be asked for by itself";
                        report.error_with_help(item.span.clone(), message, help);
                    }
                }
            }
            acts.insert(item.value.to_owned());
        }
        acts
    }

    /// Refuses a key of a rule that allows none of the commands that it is about. One with an error of its own may be one.
    fn refuse_without(
        &self,
        (key, what): (&str, &str),
        is_meant: impl Fn(&Command) -> bool,
        (span, allowed): (Range<usize>, &[WithSpan<&str>]),
        report: &mut Report<'_>,
    ) {
        let may_be_meant = |item: &WithSpan<&str>| {
            let defined = self.commands.get(item.value);
            defined.is_some_and(|defined| defined.value.as_deref().is_none_or(&is_meant))
        };
        if !allowed.iter().any(may_be_meant) {
            let message = format!("'{key}' is only about {what}, which this rule does not allow");
            let help = "delete it, or add \"plan.commit\" to 'allow'";
            report.error_with_help(span, message, help);
        }
    }

    /// Without an approval a commit needs paths, and an undo is refused: what it puts back is not in its words.
    pub(crate) fn check_commits(
        &mut self,
        rule: &GrantRule,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) {
        if rule.approval.is_some() {
            return;
        }
        for item in allowed {
            let name = item.value;
            let (message, help) = match self.commit_use(name) {
                Some(CommitUse::Commit) if !rule.paths.is_empty() => {
                    let unasked = (self.grants.len(), name.to_owned(), item.span.clone());
                    self.unasked.push(unasked);
                    continue;
                }
                Some(CommitUse::Commit) => (
                    format!("'{name}' without an approval could change any file"),
                    "add approval = { by = [\"%GROUP\"] }, or paths = [\"/srv/app\"]",
                ),
                Some(CommitUse::Undo) => (
                    format!("'{name}' always needs an approval: somebody reads what it puts back"),
                    "add approval = { by = [\"%GROUP\"] }, in a [[grant]] of its own if need be",
                ),
                _ => continue,
            };
            report.error_with_help(item.span.clone(), message, help);
        }
    }

    /// Warns of commits in one file that need an approval although their rule asks for none: each of its paths lies beneath
    /// one of a rule that asks.
    pub(crate) fn report_asked(&self, report: &mut Report<'_>) {
        let file = report.file();
        let here = self.unasked.iter();
        let here = here.filter_map(|(position, name, span)| {
            let rule = self.grants.get(*position)?;
            (rule.id.file == file).then_some((rule, name, span))
        });
        for (rule, name, span) in here {
            let asks = |path: &PlanPath| {
                let one = Coverage {
                    paths: std::slice::from_ref(path),
                    ..rule.coverage(Nature::Commits)
                };
                self.grants.iter().find(|other| {
                    other.approval.is_some()
                        && other.allows(name, Nature::Commits)
                        && other.coverage(Nature::Commits).includes(&one)
                        && is_within(&rule.to, &other.to, self.machine)
                })
            };
            let asking: Option<Vec<&GrantRule>> = rule.paths.iter().map(asks).collect();
            let Some(first) = asking.as_ref().and_then(|asking| asking.first()) else {
                continue;
            };
            let message = format!(
                "'{name}' asks here, too: these paths are also those of rule {}, which has an approval",
                first.id
            );
            let help = "write paths that no [[grant]] with an approval has, or narrow its 'paths'";
            report.warning(span.clone(), message, Some(help));
        }
    }

    fn commit_use(&self, name: &str) -> Option<CommitUse> {
        let defined = self.commands.get(name)?;
        defined.value.as_ref()?.commit_use()
    }

    /// Refuses risky commands in a rule without approval, but for those without a sandbox if the rule says that it is meant.
    pub(crate) fn refuse_unapproved(
        &self,
        rule: &GrantRule,
        is_meant: bool,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) {
        for item in allowed {
            let glob = Glob::new(item.value);
            let is_one = |command: &&Arc<Command>| {
                let is_meant = is_meant && !command.shows_any_file();
                let has_rules_of_its_own = matches!(
                    command.commit_use(),
                    Some(CommitUse::Commit | CommitUse::Undo)
                );
                !is_meant
                    && !has_rules_of_its_own
                    && glob.matches(&command.name)
                    && rule.patterns_reach(&glob, Nature::of(command))
                    && rule.scope.suits(Named::Command(command))
            };
            let Some(command) = self.risky.values().find(is_one) else {
                continue;
            };
            let (what, instead) = match command.shows_any_file() {
                true => (
                    "any program of a plan with the eyes of root",
                    "use a profile without eyes = \"root\"",
                ),
                false => ("without sandbox", "unconfined = true if it is meant"),
            };
            let message = format!(
                "'{}' would run {what} (profile '{}') and without approval",
                command.name, command.profile.name
            );
            let help = format!("add approval = {{ by = [\"%GROUP\"] }}, or {instead}");
            report.error_with_help(item.span.clone(), message, &help);
        }
    }
}

/// Refuses one-off changes without an approval. `unconfined = true` does not permit them.
pub(crate) fn refuse_one_off(
    rule: &GrantRule,
    allowed: &[WithSpan<&str>],
    report: &mut Report<'_>,
) {
    let is_one = |item: &&WithSpan<&str>| rule.approval.is_none() && item.value == CHANGE;
    for item in allowed.iter().filter(is_one) {
        let message =
            "'change' grants any program and script as root, so it always needs an approval".into();
        let help = "add approval = { by = [\"%GROUP\"] }: each run is approved by itself";
        report.error_with_help(item.span.clone(), message, help);
    }
}
