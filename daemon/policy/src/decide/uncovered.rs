//! Refusals of calls that a caller's rules cover only with other arguments, or with changes of other paths.

use std::collections::BTreeSet;

use remit_common::refusal::Code;
use remit_plan::PlanPath;

use crate::decide::changes::CallPaths;
use crate::decide::denial::Denial;
use crate::model::command::CommitUse;
use crate::model::policy::Named;
use crate::model::rule::{Coverage, GrantRule, Nature};
use crate::model::scope::Scope;

/// Rules, and what they are about, that a refusal names.
const MOST: usize = 4;

/// For a caller with a grant for other arguments.
pub(super) fn other_arguments<'a>(
    uid: u32,
    name: &str,
    granting: impl Iterator<Item = &'a GrantRule>,
) -> Denial {
    let rules: Vec<&GrantRule> = granting.collect();
    let scopes: BTreeSet<&Scope> = rules.iter().map(|rule| &rule.scope).collect();
    let scopes = alternatives(scopes.into_iter());
    Denial {
        code: Code::DeniedRule,
        object: Some(name.to_owned()),
        rule: rules.first().map(|rule| rule.id.clone()),
        what: format!("'{name}' is granted only with {scopes}"),
        lift: more_in("args", &rules),
        next: match uid {
            0 => "call it with such arguments, or add others to that rule".into(),
            _ => "call it with such arguments, or ask an administrator for others".into(),
        },
    }
}

/// For changes with a path that no single rule has beneath its paths. `None` if one has all. The path of an undo is not
/// named: the commit may be another user's.
pub(super) fn other_paths<'a>(
    named: Named<'_>,
    changes: &CallPaths<'_>,
    granting: impl Iterator<Item = &'a GrantRule>,
) -> Option<Denial> {
    let rules: Vec<&GrantRule> = granting.filter(|rule| !changes.are_within(rule)).collect();
    let closest = rules.first()?;
    let all: Vec<PlanPath> = rules.iter().flat_map(|rule| rule.paths.clone()).collect();
    // Each path may lie beneath those of some rule.
    let path = changes.outside(&all);
    let path = path.or_else(|| changes.outside(&closest.paths))?;
    let name = named.name();
    let is_undo = match named {
        Named::Builtin(_) => false,
        Named::Command(command) => command.commit_use() == Some(CommitUse::Undo),
    };
    let coverages = rules.iter().map(|rule| rule.coverage(Nature::Commits));
    let coverages: BTreeSet<Coverage<'_>> = coverages.map(Coverage::without_acts).collect();
    let coverages = alternatives(coverages.into_iter());
    Some(Denial {
        code: Code::DeniedRule,
        object: (!is_undo).then(|| path.to_string()),
        rule: Some(closest.id.clone()),
        what: match is_undo {
            true => format!("'{name}' is granted only with {coverages}, and the commit has others"),
            false => {
                format!("'{name}' is granted only with {coverages}, and the plan changes '{path}'")
            }
        },
        lift: more_in("paths", &rules),
        next: match is_undo {
            true => "tell the person you work for which commit is to be undone",
            false => {
                "make a plan that changes nothing else, or one plan for the paths of each rule"
            }
        }
        .into(),
    })
}

/// Returns the administrator's way: any of these rules can be widened.
fn more_in(key: &str, rules: &[&GrantRule]) -> Option<String> {
    let at = |rule: &&GrantRule| format!("{}:{}", rule.id.file, rule.id.line);
    let rules = (!rules.is_empty()).then(|| alternatives(rules.iter().map(at)))?;
    Some(format!("more in '{key}' of the [[grant]] at {rules}"))
}

fn alternatives<T: ToString>(all: impl ExactSizeIterator<Item = T>) -> String {
    let more = all.len().saturating_sub(MOST);
    let shown = all.take(MOST).map(|one| one.to_string());
    let more = (more > 0).then(|| format!("{more} more"));
    shown.chain(more).collect::<Vec<_>>().join(", or ")
}
