//! Paths that are not what a plan was made for.

use std::fmt;

use crate::PlanPath;
use crate::plan::{Entry, Plan, Stat};

/// A path that is not what the plan was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub path: PlanPath,
    pub why: &'static str,
}

impl Plan {
    pub fn conflicts(&self, mut now: impl FnMut(&PlanPath) -> Option<Stat>) -> Vec<Conflict> {
        let conflict = |entry: &Entry| {
            let why = match (entry.change.base(), now(&entry.path)) {
                (None, None) => None,
                (None, Some(_)) => Some("it exists"),
                (Some(_), None) => Some("it does not exist"),
                (Some(base), Some(now)) => base.stat.difference(&now, true),
            };
            let path = entry.path.clone();
            why.map(|why| Conflict { path, why })
        };
        self.entries().iter().filter_map(conflict).collect()
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why } = self;
        write!(
            f,
            "'{path}' is not what the plan was made for: {why}; plan again"
        )
    }
}
