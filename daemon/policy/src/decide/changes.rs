//! Which rules are about the paths that a call changes.

use remit_plan::{Bundle, PlanPath};

use crate::decide::Ask;
use crate::model::rule::GrantRule;

/// The paths that a call changes, as far as they are known. Without them each rule is about the call.
#[derive(Debug, Default)]
pub(crate) struct CallPaths<'a> {
    paths: Vec<&'a PlanPath>,
    plan: Option<&'a Bundle>,
}

impl<'a> CallPaths<'a> {
    pub(super) fn new(ask: &Ask<'a>) -> Self {
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

    /// Returns the first path that is in none of these directories and is none of these files. No `paths`: all are allowed.
    pub(super) fn outside(&self, paths: &[PlanPath]) -> Option<&'a PlanPath> {
        let is_in = |path: &PlanPath| paths.iter().any(|own| path.is_in(own.as_bytes()));
        let mut all = self.paths.iter().copied();
        all.find(|path| !paths.is_empty() && !is_in(path))
    }

    /// Returns true if the rule allows to change all of these paths.
    pub(super) fn are_within(&self, rule: &GrantRule) -> bool {
        self.outside(&rule.paths).is_none()
    }

    /// Returns true if one of these paths is among those of the rule, or above one: its approval and its `confirm` are needed,
    /// whichever rule allows the change. The right to write to a directory or to move it decides on all beneath it.
    pub(super) fn touch(&self, rule: &GrantRule) -> bool {
        let is_own = |path: &PlanPath| {
            let mut paths = rule.paths.iter();
            paths.any(|own| path.is_in(own.as_bytes()) || own.is_in(path.as_bytes()))
        };
        let are_all = self.paths.is_empty() || rule.paths.is_empty();
        are_all || self.paths.iter().any(|path| is_own(path))
    }
}
