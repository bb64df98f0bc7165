//! Reports patterns of grants that match commands beyond their rule: commands that change the host, or of another file
//! with more access than the profile `read`. A name in a later file must not be enough for a grant, so such a pattern
//! includes them only if its rule says so. The report has the line to write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use remit_common::text::first_of;
use remit_common::wire::Effect;

use crate::load::loading::Loading;
use crate::load::reader::{Report, WithSpan};
use remit_policy::model::command::Command;
use remit_policy::model::glob::Glob;
use remit_policy::model::paths::nested;
use remit_policy::model::policy::{CHANGE, Named};
use remit_policy::model::profile::Inspect;
use remit_policy::model::rule::{GrantRule, Nature, RuleId};
use remit_policy::quoted;

const NAMES: usize = 4;

/// A pattern that would include commands which change the host or exceed 'read', if its rule said so.
pub(crate) struct Unsaid {
    rule: RuleId,
    span: Range<usize>,
    pattern: String,
    kind: Kind,
    commands: Vec<Arc<Command>>,
    asks: bool,
    /// The rule has its patterns include changes. What they never include is reported only if its approval lapses.
    is_of_changes: bool,
}

/// The rules that allow a command, by their positions.
#[derive(Default)]
struct AllowedBy {
    first: Option<usize>,
    /// The first without an approval.
    free: Option<usize>,
}

/// [`AllowedBy`] of each command that a pattern leaves out. Each rule may leave out all commands, so it is computed once.
pub(crate) struct Allowing(BTreeMap<String, AllowedBy>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Changes,
    Commits,
    Unconfined,
    Inspects,
    Beyond,
}

impl Kind {
    fn of(command: &Command) -> Option<Self> {
        match Nature::of(command) {
            Nature::Looks | Nature::OneOff => None,
            Nature::Commits => Some(Self::Commits),
            Nature::LooksBeyond { .. } => Some(Self::Beyond),
            Nature::LooksUnconfined => Some(Self::Unconfined),
            Nature::Inspects => Some(Self::Inspects),
            Nature::Changes => Some(Self::Changes),
        }
    }

    fn which(self) -> &'static str {
        match self {
            Self::Changes => "which changes the host",
            Self::Commits => "which changes files as a plan says, or undoes that,",
            Self::Unconfined => "which runs without a sandbox",
            Self::Inspects => "which sees what only root sees",
            Self::Beyond => "whose profile gives more than 'read'",
        }
    }
}

/// Returns why a rule cannot show private files below what this entry names.
fn too_wide(glob: &Glob, protected: &[String]) -> Option<String> {
    let shown = quoted(glob.as_str());
    let directory = glob.literal().unwrap_or_else(|| {
        let fixed = glob.as_str().split('*').next().unwrap_or_default();
        fixed
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory)
    });
    let depth = directory.split('/').filter(|part| !part.is_empty()).count();
    if depth < 2 {
        return Some(format!("{shown} names no directory below the first level"));
    }
    let own = protected.iter().find(|own| nested(own, directory))?;
    Some(format!("{shown} overlaps '{own}', which is remit's own"))
}

impl Loading<'_> {
    /// Checks the entries of `allow` in a rule that is the next one to be added. With `effect = "read"` none may name a
    /// command that changes the host.
    pub(crate) fn check_patterns(
        &mut self,
        rule: &GrantRule,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) {
        let is_read = rule.effect == Some(Effect::Read);
        for entry in allowed {
            let glob = Glob::new(entry.value);
            let all = self.commands.values();
            let all = all.filter_map(|defined| defined.value.as_ref());
            let mut matching = all.filter(|one| glob.matches(&one.name) && suits(rule, one));
            if glob.literal().is_some() {
                let changing = matching.find(|one| one.effect == Effect::Change);
                let changing = changing.map(|one| one.name.as_str());
                let one_off = (entry.value == CHANGE).then_some(CHANGE);
                if let Some(name) = changing.or(one_off).filter(|_| is_read) {
                    let message =
                        format!("'{name}' changes the host, and this rule says effect = \"read\"");
                    let help = "take 'effect' out, or the name: a rule of its own can allow it";
                    report.error_with_help(entry.span.clone(), message, help);
                }
                continue;
            }
            let left: Vec<(Kind, &Arc<Command>)> = matching
                .filter_map(|one| Some((Kind::of(one)?, one)))
                .collect();
            let is_beyond = |(kind, _): &(Kind, &Arc<Command>)| *kind == Kind::Beyond;
            if is_read && !left.is_empty() && !left.iter().any(is_beyond) {
                self.warn_of_unused_pattern((rule, &glob), entry.span.clone(), report);
            }
            for kind in [
                Kind::Changes,
                Kind::Commits,
                Kind::Unconfined,
                Kind::Inspects,
                Kind::Beyond,
            ] {
                // effect = "read" says that neither changes nor commands without a sandbox are meant.
                if kind != Kind::Beyond && is_read {
                    continue;
                }
                // Commands that its names or other patterns allow are not left out.
                let is_left = |one: &&Arc<Command>| !rule.allows(&one.name, Nature::of(one));
                let of = left.iter().filter(|(own, _)| *own == kind);
                let commands: Vec<Arc<Command>> =
                    of.map(|(_, one)| *one).filter(is_left).cloned().collect();
                if commands.is_empty() {
                    continue;
                }
                self.unsaid.push(Unsaid {
                    rule: rule.id.clone(),
                    span: entry.span.clone(),
                    pattern: entry.value.to_owned(),
                    kind,
                    commands,
                    asks: rule.approval.is_some(),
                    is_of_changes: rule.effect == Some(Effect::Change),
                });
            }
        }
    }

    /// Refuses a rule that shows private files unless another person reads each request, and the rule itself names the
    /// directories: so what is private beyond them, remit's own files too, stays private.
    pub(crate) fn check_private_files(
        &self,
        rule: &GrantRule,
        allowed: &[WithSpan<&str>],
        report: &mut Report<'_>,
    ) {
        const HELP: &str = "write approval = { by = [\"%GROUP\"] } and args = { path = [\"/etc/nginx/*\"] } in a [[grant]] \
                            of its own";
        let shows_file = |name: &str| {
            let command = self.commands.get(name)?.value.as_ref()?;
            (command.profile.inspect == Some(Inspect::File)).then_some(command)
        };
        let found = allowed
            .iter()
            .filter_map(|item| Some((item, shows_file(item.value)?)));
        for (item, command) in found {
            let mut refuse = |why: &str| {
                let message = format!("'{}' shows private files: {why}", command.name);
                report.error_with_help(item.span.clone(), message, HELP);
            };
            if rule.approval.is_none() {
                refuse("each request needs an approval");
            }
            let paths = command.params.iter().filter(|param| param.kind.is_path());
            for param in paths {
                let mut args = rule.scope.args();
                match args.find(|(name, _)| *name == param.name) {
                    None => refuse(&format!("'{}' in 'args' has to say which", param.name)),
                    Some((_, globs)) => globs
                        .iter()
                        .filter_map(|glob| too_wide(glob, &self.machine.protected()))
                        .for_each(|why| refuse(&why)),
                }
            }
        }
    }

    /// Returns which rules allow the commands that patterns leave out. All rules are read.
    pub(crate) fn allowing(&self) -> Allowing {
        let mut allowing = BTreeMap::new();
        for command in self.unsaid.iter().flat_map(|unsaid| &unsaid.commands) {
            if allowing.contains_key(&command.name) {
                continue;
            }
            let nature = Nature::of(command);
            let rules = self.grants.iter().enumerate();
            let mut by = AllowedBy::default();
            for (position, rule) in rules.filter(|(_, rule)| rule.allows(&command.name, nature)) {
                by.first = by.first.or(Some(position));
                by.free = by.free.or(rule.approval.is_none().then_some(position));
                if by.free.is_some() {
                    break;
                }
            }
            allowing.insert(command.name.clone(), by);
        }
        Allowing(allowing)
    }

    /// Reports the patterns of one file. Errors: another rule allows a command without this rule's approval.
    pub(crate) fn report_unsaid(&self, allowing: &Allowing, report: &mut Report<'_>) {
        let file = report.file();
        let here = self.unsaid.iter();
        for unsaid in here.filter(|unsaid| unsaid.rule.file == file) {
            let pattern = quoted(&unsaid.pattern);
            // It leaves out these commands, so a rule that allows one is another.
            let by = |command: &Arc<Command>| allowing.0.get(&command.name);
            // An error would leave only a grant of the whole name, of any path.
            let is_warning = unsaid.is_of_changes || unsaid.kind == Kind::Commits;
            let mut eased = unsaid.commands.iter().filter_map(|one| {
                let by = by(one)?;
                // What only rules with an approval allow needs one all the same.
                let other = if is_warning { by.free } else { by.first };
                Some((&one.name, self.grants.get(other?)?))
            });
            if let Some((name, other)) = eased.next().filter(|_| unsaid.asks) {
                let message = format!(
                    "{pattern} does not ask for an approval of {name}, {} and which rule {} allows",
                    unsaid.kind.which(),
                    other.id
                );
                let help = match unsaid.kind {
                    Kind::Changes => {
                        "effect = \"change\" in this [[grant]] has its patterns ask for such commands, \
                         too; if that is not meant, write effect = \"read\""
                    }
                    Kind::Commits if unsaid.is_of_changes => {
                        "write the name whole in 'allow', and 'paths': then this [[grant]] asks for it there, too"
                    }
                    Kind::Commits => {
                        "write the name whole in 'allow', and 'paths': then this [[grant]] asks for it there, too; \
                         if that is not meant, write effect = \"read\""
                    }
                    Kind::Unconfined | Kind::Inspects | Kind::Beyond => {
                        "write the name whole in 'allow': then this [[grant]] asks for it, too"
                    }
                };
                match is_warning {
                    true => report.warning(unsaid.span.clone(), message, Some(help)),
                    false => report.error_with_help(unsaid.span.clone(), message, help),
                }
                continue;
            }
            if unsaid.is_of_changes {
                continue;
            }
            // A command that only reads is not reported if another rule allows it: that rule is meant.
            let is_missed = |command: &&Arc<Command>| {
                unsaid.kind == Kind::Changes || by(command).is_none_or(|by| by.first.is_none())
            };
            let missed: Vec<&str> = unsaid
                .commands
                .iter()
                .filter(is_missed)
                .map(|command| command.name.as_str())
                .collect();
            if missed.is_empty() {
                continue;
            }
            let all = missed.join("\", \"");
            let shown = first_of(&missed, NAMES);
            match unsaid.kind {
                Kind::Changes => {
                    let message =
                        format!("{pattern} does not allow {shown}: a pattern allows no change");
                    let help = "write such a name whole, or effect = \"change\" in this [[grant]] for all that its \
                                patterns match; effect = \"read\" says that commands that look are meant";
                    report.warning(unsaid.span.clone(), message, Some(help));
                }
                Kind::Unconfined => {
                    let message = format!(
                        "{pattern} does not allow {shown}: a pattern allows no command without a sandbox"
                    );
                    let help = format!(
                        "write \"{all}\" in 'allow' of a [[grant]] with unconfined = true, or effect = \"read\" here if \
                         they are not meant"
                    );
                    report.warning(unsaid.span.clone(), message, Some(&help));
                }
                Kind::Commits | Kind::Inspects => {
                    let what = match unsaid.kind {
                        Kind::Commits => "commit or undo of changes of files",
                        _ => "command that sees what only root sees",
                    };
                    let message =
                        format!("{pattern} does not allow {shown}: a pattern allows no {what}");
                    let help = format!(
                        "write \"{all}\" in 'allow', or effect = \"read\" here if they are not meant"
                    );
                    report.warning(unsaid.span.clone(), message, Some(&help));
                }
                Kind::Beyond => {
                    let message = format!(
                        "{pattern} does not allow {shown}: a pattern allows no command of another file whose \
                         profile gives more than 'read'"
                    );
                    let help = format!("write in 'allow': \"{all}\"");
                    report.warning(unsaid.span.clone(), message, Some(&help));
                }
            }
        }
    }
}

fn suits(rule: &GrantRule, command: &Arc<Command>) -> bool {
    rule.scope.is_any() || rule.scope.suits(Named::Command(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_neither_anywhere_nor_remits_own() {
        let own = ["/var/lib/remit".to_owned(), "/etc/remit".to_owned()];
        for wide in [
            "*",
            "/etc/*",
            "/var/lib/*",
            "/var/lib/re*",
            "/var/lib/remit/*",
            "/var/lib/remit/spool/*",
            "/var/lib/remit/spool/1.out",
            "/etc/remit/*",
        ] {
            assert!(too_wide(&Glob::new(wide), &own).is_some(), "{wide}");
        }
        for fine in [
            "/etc/nginx/*",
            "/var/lib/remitted/*",
            "/var/log/nginx/a.log",
        ] {
            assert_eq!(too_wide(&Glob::new(fine), &own), None, "{fine}");
        }
    }
}
