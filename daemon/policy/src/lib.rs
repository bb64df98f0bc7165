//! What an administrator allows, read from text and turned into verdicts.
//!
//! This crate is pure. It takes the bytes of policy files and a table of
//! account names, and answers questions about them: [`load`], then
//! [`Policy::decide`]. The same inputs give the same verdict on any machine.
//!
//! Not here: opening files, asking the user database, the clock, the network,
//! the environment of the process. `clippy.toml` beside this crate refuses
//! those calls.
//!
//! Three rules hold everywhere:
//! - nothing is allowed that no `[[grant]]` allows, and an empty list means none;
//! - a matching `[[deny]]` wins over every grant;
//! - one error in one file refuses the whole load.
#![forbid(unsafe_code)]

mod accounts;
mod decide;
mod diagnostic;
mod env;
mod load;
mod reader;
mod request;
mod rule;

pub use accounts::{AccountTable, Accounts};
pub use decide::{Ask, Denial, Grant, Verdict, Who};
pub use diagnostic::{Diagnostic, Severity};
pub use env::{PATH_DIRS, environment};
pub use load::{Policy, Source, load};
pub use request::{check_argv, check_cwd, check_script, check_stdin};
pub use rule::{Profile, RuleId};
