//! `remit policy`: checks and explains policy files, and makes the daemon reload them. Every verb except reload reads
//! the files itself and resolves names on this machine, as a load by the daemon would.

mod check;
mod examples;
mod explain;
mod files;
mod outcome;

pub use check::check;
pub use examples::test;
pub use explain::explain;
pub use files::{diff, reload};
