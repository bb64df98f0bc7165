//! Which rules are about the paths that a call changes, and whether its verdict depends on them.

use std::borrow::Borrow;

use remit_plan::{Bundle, PlanPath};

use crate::decide::{Ask, CallerIds, Verdict};
use crate::model::policy::Policy;
use crate::model::rule::{GrantRule, RuleId};

/// The paths that a call changes, as far as they are known. Without them each rule is about the call.
#[derive(Debug, Default)]
pub struct CallPaths<'a> {
    paths: Vec<&'a PlanPath>,
    plan: Option<&'a Bundle>,
}

impl<'a> CallPaths<'a> {
    #[must_use]
    pub fn new(ask: &Ask<'a>) -> Self {
        match *ask {
            Ask::Commit { plan, .. } => Self {
                paths: plan.plan().entries().iter().map(|one| &one.path).collect(),
                plan: Some(plan),
            },
            Ask::Paths { paths, .. } => Self {
                paths: paths.iter().collect(),
                plan: None,
            },
            Ask::Run { .. } | Ask::Command { .. } | Ask::Change { .. } | Ask::Try { .. } => {
                Self::default()
            }
        }
    }

    /// Returns the plan that is to be committed.
    pub(super) fn plan(&self) -> Option<&'a Bundle> {
        self.plan
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &'a PlanPath> {
        self.paths.iter().copied()
    }

    /// Returns the first path that no plan may have, and why.
    pub(super) fn refused(&self) -> Option<(&'a PlanPath, &'static str)> {
        let mut paths = self.paths();
        paths.find_map(|path| Some((path, remit_plan::path_is_refused(path)?)))
    }

    /// Returns the first path that is in none of these directories and is none of these files. No `paths`: all are allowed.
    pub(super) fn outside(&self, paths: &[PlanPath]) -> Option<&'a PlanPath> {
        let is_in = |path: &PlanPath| paths.iter().any(|own| path.is_in(own.as_bytes()));
        self.paths().find(|path| !paths.is_empty() && !is_in(path))
    }

    /// Returns true if the rule allows to change all of these paths.
    #[must_use]
    pub fn are_within(&self, rule: &GrantRule) -> bool {
        self.outside(&rule.paths).is_none()
    }

    /// Returns true if one of these paths is among those of the rule, or above one: its approval and its `confirm` are needed,
    /// whichever rule allows the change. The right to write to a directory or to move it decides on all beneath it.
    #[must_use]
    pub fn touch(&self, rule: &GrantRule) -> bool {
        meet(&rule.paths, &self.paths)
    }
}

/// Returns true if one of these paths is one of `own`, or lies beneath or above one. No paths on a side mean any.
pub(crate) fn meet(own: &[PlanPath], paths: &[impl Borrow<PlanPath>]) -> bool {
    let is_own = |path: &PlanPath| {
        let mut own = own.iter();
        own.any(|own| path.is_in(own.as_bytes()) || own.is_in(path.as_bytes()))
    };
    own.is_empty() || paths.is_empty() || paths.iter().any(|path| is_own(path.borrow()))
}

impl Policy {
    /// Returns a rule, and a path within it, for a call without paths that needs an approval: a plan of that path alone is
    /// allowed by the rule and needs none. Takes time in proportion to the rules about the call, squared.
    #[must_use]
    pub fn unasked_path(&self, caller: CallerIds<'_>, ask: &Ask<'_>) -> Option<(RuleId, PlanPath)> {
        let Ask::Command { name, args, .. } = *ask else {
            return None;
        };
        let Verdict::Ask(_) = self.decide(caller, ask) else {
            return None;
        };
        let rules = self.rules_about(caller, name);
        let unasked = rules.into_iter().filter(|rule| rule.approval.is_none());
        let mut paths = unasked.flat_map(|rule| &rule.paths);
        let rule_of = |path: &PlanPath| {
            let paths = std::slice::from_ref(path);
            match self.decide(caller, &Ask::Paths { name, args, paths }) {
                Verdict::Allow(grant) => grant.basis().rule().cloned(),
                Verdict::Ask(_) | Verdict::Deny(_) => None,
            }
        };
        // A rule about what is beneath the path counts for the path itself, and not for another name in it.
        let another = |path: &PlanPath| {
            let mut name = path.as_bytes().to_vec();
            name.extend(b"/another-file");
            PlanPath::new(name).ok()
        };
        paths.find_map(|path| {
            let all = [Some(path.clone()), another(path)];
            let mut all = all.into_iter().flatten();
            all.find_map(|path| Some((rule_of(&path)?, path)))
        })
    }
}
