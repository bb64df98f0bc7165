//! Explains why a plan of changes of files is not what a rule allows.

use remit_common::refusal::Code;
use remit_plan::{Bundle, Plan, PlanPath, View};

use crate::decide::CallerIds;
use crate::decide::denial::Denial;
use crate::model::rule::{GrantRule, Nature};

/// For a plan with a path that no single rule has beneath its paths. `None` if one has all.
pub(crate) fn outside<'a>(
    name: &str,
    plan: &Plan,
    mut granting: impl Iterator<Item = &'a GrantRule>,
) -> Option<Denial> {
    let (rule, path) = granting.find_map(|rule| Some((rule, rule.outside(plan)?)))?;
    let (id, own) = (&rule.id, rule.coverage(Nature::Commits).without_acts());
    Some(Denial {
        code: Code::DeniedRule,
        object: Some(path.to_string()),
        rule: Some(id.clone()),
        what: format!("'{name}' is granted only with {own}, and the plan changes '{path}'"),
        lift: Some(format!(
            "more in 'paths' of the [[grant]] at {}:{}",
            id.file, id.line
        )),
        next: "make a plan that changes nothing else, or one plan for the paths of each rule"
            .into(),
    })
}

/// For a plan that these rules allow without an approval, if each of them leaves a path to a person.
pub(crate) fn needs_a_person(
    name: &str,
    allowing: &[&GrantRule],
    bundle: &Bundle,
    requester: CallerIds<'_>,
) -> Option<Denial> {
    let judged = allowing
        .iter()
        .map(|rule| (rule, first_reason(bundle, &rule.paths, requester)));
    // Each of these rules alone allows the plan.
    let (rule, reason) = judged.min_by_key(|(_, reason)| reason.is_some())?;
    let (path, why) = reason?;
    let id = &rule.id;
    Some(Denial {
        code: Code::DeniedRule,
        object: Some(path.to_string()),
        rule: Some(id.clone()),
        what: format!("'{name}' without an approval cannot change '{path}': {why}"),
        lift: Some(format!(
            "approval = {{ by = [\"%GROUP\"] }} in the [[grant]] at {}:{}, or in another for such paths",
            id.file, id.line
        )),
        next: "leave this path out of the plan, and tell the person you work for what it should be"
            .into(),
    })
}

/// Returns the first path that needs an approval, and why: it is worse than its bytes, or would reveal the content.
pub(crate) fn first_reason<'a>(
    bundle: &'a Bundle,
    named: &[PlanPath],
    requester: CallerIds<'_>,
) -> Option<(&'a PlanPath, String)> {
    bundle.views().find_map(|view| {
        let why = remit_plan::needs_approval(&view, named);
        let why = why.or_else(|| guess(&view, requester))?;
        Some((&view.entry.path, why))
    })
}

/// Returns why a base may be a guess: the requester cannot have read what it hashes. The owner is compared first.
fn guess(view: &View<'_>, requester: CallerIds<'_>) -> Option<String> {
    let base = view.entry.change.base()?;
    let is_readable = base.stat.meta.lets_read(requester.uid, requester.gids);
    (base.sha256.is_some() && !is_readable).then(|| {
        format!(
            "its owner and mode do not let uid {} read it, and the commit would tell whether it has the plan's old bytes",
            requester.uid
        )
    })
}
