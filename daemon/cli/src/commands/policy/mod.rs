//! `remit policy`: checks and explains policy files, and makes the daemon reload them. Every verb except reload reads
//! the files itself, with the caller's rights, and resolves names on this machine. The result is what a load by the
//! daemon would give.

mod check;
mod diff;
mod examples;
mod explain;
mod files;
mod outcome;

pub use check::check;
pub use diff::{diff, reload};
pub use examples::test;
pub use explain::explain;
