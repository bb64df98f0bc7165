//! Entries of edits as a bundle.

use remit_plan::{Bundle, Plan, PlanError};

use crate::Planned;

/// Returns the plan of these entries with the bytes that it needs.
pub fn bundle(mut planned: Vec<Planned>) -> Result<Bundle, PlanError> {
    planned.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let (mut entries, mut new, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for one in planned {
        entries.push(one.entry);
        new.extend(one.new.unwrap_or_default());
        old.push(one.old.unwrap_or_default());
    }
    let plan = Plan::new(entries)?;
    let shown = plan.shown_old().into_iter().zip(old);
    let old = shown.filter_map(|(shown, old)| shown.map(|_| old));
    Bundle::new(&plan, &new, &old.collect::<Vec<_>>().concat())
}
