//! Warns of keys and patterns of a grant that have no effect. It refuses nothing: what they are about may come later.

use std::ops::Range;

use remit_common::builtin::COMMANDS;
use remit_policy::model::command::Command;
use remit_policy::model::glob::Glob;
use remit_policy::model::policy::{CHANGE, RUN};
use remit_policy::model::profile::Base;
use remit_policy::model::rule::{GrantRule, Nature};
use remit_policy::quoted;

use crate::load::loading::Loading;
use crate::load::reader::{Fields, Report};

/// Where a rule has the keys that can be without an effect.
pub(crate) struct OptionalKeys {
    env: Option<Range<usize>>,
    unconfined: Option<Range<usize>>,
}

impl OptionalKeys {
    pub(crate) fn find(fields: &Fields<'_>) -> Self {
        Self {
            env: fields.key_span("env"),
            unconfined: fields.key_span("unconfined"),
        }
    }
}

impl Loading<'_> {
    pub(crate) fn warn_of_unused(
        &self,
        rule: &GrantRule,
        optional: OptionalKeys,
        report: &mut Report<'_>,
    ) {
        let runs = rule.allows(RUN, Nature::Looks) || rule.allows(CHANGE, Nature::OneOff);
        if let (false, false, Some(span)) = (runs, rule.env.is_empty(), optional.env) {
            let message = "'env' has no effect: this rule allows neither 'run' nor 'change'".into();
            let help = "delete it; a command has the variables of its [[command]] and its profile";
            report.warning(span, message, Some(help));
        }
        let Some(span) = optional.unconfined.filter(|_| rule.unconfined) else {
            return;
        };
        let (message, help) = if rule.approval.is_some() {
            (
                "'unconfined' has no effect beside 'approval': the approval applies",
                "delete unconfined = true",
            )
        } else if !self.may_allow(rule, |command| command.profile.base == Base::Host) {
            (
                "'unconfined' has no effect: this rule allows no command of base host",
                "delete it, or write the whole name of such a command in 'allow'",
            )
        } else {
            return;
        };
        report.warning(span, message.into(), Some(help));
    }

    /// Returns false if it allows none of these commands. A command that is missing or has an error may be one.
    fn may_allow(&self, rule: &GrantRule, is_one: impl Fn(&Command) -> bool) -> bool {
        let is_missing = |glob: &Glob| !self.names().any(|name| glob.matches(name));
        let mut commands = self.commands.iter();
        rule.allow.iter().any(is_missing)
            || commands.any(|(name, defined)| match &defined.value {
                Some(command) => is_one(command) && rule.allows(name, Nature::of(command)),
                None => rule.allow.iter().any(|glob| glob.matches(name)),
            })
    }

    /// Warns of a pattern of a rule that says its effect, if no command that it matches is included.
    pub(crate) fn warn_of_unused_pattern(
        &self,
        (rule, glob): (&GrantRule, &Glob),
        span: Range<usize>,
        report: &mut Report<'_>,
    ) {
        let allows = |name: &str| rule.allows_by(glob, name, Nature::Looks);
        let mut builtins = COMMANDS.iter().map(|builtin| builtin.name).chain([RUN]);
        let mut commands = self.commands.iter();
        let is_used = builtins.any(allows)
            || commands.any(|(name, defined)| {
                let is_known = defined.value.as_ref();
                is_known.is_none_or(|command| rule.allows_by(glob, name, Nature::of(command)))
                    && glob.matches(name)
            });
        if !is_used {
            let message = format!(
                "{} allows nothing here: all commands that it matches change the host, have no sandbox, or see what only root sees",
                quoted(glob.as_str())
            );
            let help = "write their names whole, or another 'effect', or delete it";
            report.warning(span, message, Some(help));
        }
    }
}
