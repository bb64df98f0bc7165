//! Decides requests by a compiled policy, and binds arguments to its commands. This crate is pure: it takes a
//! [`Policy`] that `remit-policy-compile` made of texts, and answers questions by [`Policy::decide`]. The same inputs
//! give the same verdict on any machine. It must not open files or use the user database, the clock, the network or the
//! process environment. The crate's `clippy.toml` refuses such calls. Three rules hold everywhere:
//! - Only a `[[grant]]` allows; an empty list means none. Root may also try a profile ([`Ask::Try`]),
//!   which gives root nothing that root does not have.
//! - A matching `[[deny]]` wins over every grant.
//! - One error in one file refuses the whole load.
#![forbid(unsafe_code)]

/// One call: its subject, its request, its environment, and the values that are bound to a command.
pub mod call {
    pub mod bind;
    pub mod env;
    pub mod request;
    pub mod subject;
    pub mod value;
    pub mod variables;
}

pub mod decide;
pub mod exchange;

/// What a policy is made of: data.
pub mod model {
    pub mod accepted;
    pub mod approval;
    pub mod asking;
    pub mod bounds;
    pub mod capabilities;
    pub mod command;
    pub mod diagnostic;
    pub(crate) mod encoded;
    pub mod glob;
    pub mod machine;
    pub mod membership;
    pub mod names;
    mod narrower;
    pub mod paths;
    pub mod pattern;
    pub(crate) mod plans;
    pub mod policy;
    pub mod profile;
    pub mod rule;
    pub mod scope;
    pub mod settings;
}

pub use crate::decide::pre_approval::{NotGivable, PartlyComplete, PreApproval};
pub use call::env::{PATH_DIRS, environment, is_default_variable};
pub use call::request::{check_argv, check_cwd, check_env_count, check_script, check_stdin_size};
pub use call::subject::{Call, Subject};
pub use decide::access::{Access, Usable};
pub use decide::acts::Act;
pub use decide::approval::{Consent, Lifted, NotApprover, Pending, PlanWithin};
pub use decide::denial::Denial;
pub use decide::{Ask, Basis, CallerIds, Grant, Terms, Verdict};
pub use model::accepted::AcceptedPath;
pub use model::approval::{Approval, Count, Proof};
pub use model::asking::Asking;
pub use model::command::{
    ArgvElement, Command, CommitUse, Invocation, Param, ParamKind, Part, PassAs, PathIs, Stdin,
    Word,
};
pub use model::diagnostic::{Diagnostic, Excerpt, Severity, Source, quoted};
pub use model::glob::Glob;
pub use model::machine::{HostAddress, Ids, Machine, MachineTable, Program};
pub use model::pattern::Pattern;
pub use model::policy::Named;
pub use model::policy::{CHANGE, Policy, RUN};
pub use model::profile::{
    Base, Destination, Eyes, Inspect, Listed, Network, Profile, ProfileLimits, User,
};
pub use model::rule::{Principal, RuleId};
pub use model::scope::Scope;
