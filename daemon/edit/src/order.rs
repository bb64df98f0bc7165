//! The order in which people read the paths of a plan.

use remit_plan::{Context, Risk, View, risks};

/// Sorts by the worst risk, then by path: what gives root never follows what fills a page. Of one risk the paths come first
/// that belong to no package of the plan. `is_packed`: hashes of many contents are not compared by people, so they come after
/// what can be read.
pub fn sort_worst_first(views: &mut [View<'_>], is_packed: bool) {
    let context = Context::new(views.iter().copied());
    views.sort_by_cached_key(|view| {
        let rank = risks(view)
            .into_iter()
            .find(|risk| !(is_packed && *risk == Risk::Uploaded));
        let is_of_package = context.is_of_package(view.entry);
        let is_unseen = is_packed && view.new.is_none();
        (rank.is_none(), rank, is_of_package, is_unseen)
    });
}
