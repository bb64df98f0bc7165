//! `remit policy`: what policy files mean, told without the daemon; and the reload of them.
//!
//! All but the reload read the files themselves, with the rights of whoever calls, and ask this machine
//! what the names in them stand for. They say what a load by the daemon would make of them.

mod check;
mod diff;
mod examples;
mod explain;
mod files;
mod outcome;
mod profile;
mod reach;
mod reload;

pub use check::check;
pub use diff::diff;
pub use examples::test;
pub use explain::explain;
pub use reload::reload;
