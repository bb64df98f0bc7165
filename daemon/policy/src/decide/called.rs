//! A named command with the arguments of a call, and whether a rule covers it.

use remit_plan::{Plan, PlanPath};

use crate::model::policy::Named;
use crate::model::rule::GrantRule;

/// A named command, and the arguments of a call.
pub type Called<'a> = (Named<'a>, &'a [(String, String)]);

impl<'a> Named<'a> {
    pub fn with(self, args: &'a [(String, String)]) -> Called<'a> {
        (self, args)
    }
}

impl GrantRule {
    /// Returns true if its scope covers this call. `None` is a run of any program.
    pub fn covers(&self, call: Option<Called<'_>>) -> bool {
        let covers = |(named, args): Called<'_>| self.is_about(named, args);
        self.scope.is_any() || call.is_some_and(covers)
    }

    /// Returns true if it covers this call, or if its approval is needed all the same: the call shows what the rule is
    /// about among others. Then another rule must allow the call.
    pub fn counts_for(&self, call: Option<Called<'_>>) -> bool {
        let shows = |(named, args): Called<'_>| self.scope.is_shown_by(named, args);
        self.covers(call) || (self.approval.is_some() && call.is_some_and(shows))
    }

    /// Returns true if one path of the plan is among its paths, or above one: its approval and its `confirm` are needed,
    /// whichever rule allows the plan. A user who may write to a directory or move it decides on all beneath it.
    pub fn touches(&self, plan: &Plan) -> bool {
        let mut entries = plan.entries().iter();
        let is_own = |path: &PlanPath| {
            let mut paths = self.paths.iter();
            paths.any(|own| path.is_in(own.as_bytes()) || own.is_in(path.as_bytes()))
        };
        self.paths.is_empty() || entries.any(|entry| is_own(&entry.path))
    }
}

pub fn lists(rule: &GrantRule, name: &[u8]) -> bool {
    rule.env.iter().any(|listed| listed.as_bytes() == name)
}
