//! Edits of files that a client asks for, applied to what is there, and plans as people read them. The code is pure: it
//! reads no file and no clock. Neither remitd nor `remit-commit` links it.

#![forbid(unsafe_code)]

mod bundle;
mod diff;
mod edit;
mod kinds;
mod order;
mod packages;
mod patch;
mod patch_names;
mod view;

pub use bundle::bundle;
pub use diff::{Tabs, diff, show};
pub use edit::{Action, Edit, EditError, Edits, Found, Planned, Problem, Replacement};
pub use kinds::{COUNTED, kinds};
pub use order::sort_worst_first;
pub use packages::{Packages, packages};
pub use patch::{PatchError, hunk_lines, patch};
pub use patch_names::file_name;
pub use view::ViewText;

/// Largest encoded list of edits, in bytes.
pub const EDITS_BYTES: usize = 32 << 20;
