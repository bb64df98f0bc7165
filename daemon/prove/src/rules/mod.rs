//! Applies the rules of `rule.rs`: turns facts into clauses.

mod accounts;
mod changed_accounts;
mod extracted;
mod files;
mod grants;
mod obeys;
mod permits;
mod sudo;
mod sudo_writes;
mod writers;

use crate::closure::Clauses;
use crate::facts::Facts;
use crate::grants::Grants;

pub use accounts::engines;
pub use files::{group, user};

/// Turns facts into clauses with all rules.
pub fn clauses(facts: &Facts, grants: &Grants) -> Clauses {
    let mut clauses = Clauses::default();
    accounts::rules(facts, &mut clauses);
    obeys::rules(facts, &mut clauses);
    sudo::rules(facts, &mut clauses);
    writers::rules(facts, &mut clauses);
    permits::rules(facts, &mut clauses);
    grants::rules(facts, grants, &mut clauses);
    files::rules(facts, &mut clauses);
    clauses
}
