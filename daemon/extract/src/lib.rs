//! Finds what a program changed in a copy-on-write view of the machine, as entries of a `remit-plan` plan with bases.
//! It must not write, follow a link, or need a privileged attribute (`trusted.overlay.*`).
//!
//! **Invariant:** every path of an upper directory is in the plan, in a note, in a count, or in a refusal.
//!
//! **Invariant:** nothing depends on how many names, bytes or levels a program made: see `bounds.rs`.

#![forbid(unsafe_code)]

mod asked;
mod attributes;
mod base;
mod bounds;
mod compare;
mod content;
mod extraction;
mod fitted;
mod handover;
mod input;
mod kept;
mod listing;
mod node;
mod other_kind;
mod output;
mod packages;
mod refusal;
mod removal;
mod rules;
mod stand_in;
mod step;
mod table;
mod walk;

pub use bounds::{
    ATTRIBUTES, BASE_BYTES, FILE_BYTES, LISTED_NAMES, MESSAGES, NEW_BYTES, PLAN_ENTRIES,
};
pub use content::{ContentError, ContentSource};
pub use extraction::{Extraction, NoPlan};
pub use input::{CopiedMachine, Overlay};
pub use node::NodeKind;
pub use output::print;
pub use refusal::{Omission, PlanNote, PlanRefusal, RefusalReason};
pub use walk::extract;
