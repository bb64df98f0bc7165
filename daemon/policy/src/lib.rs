//! Compiles the text of an administrator's policy and decides requests by it.
//!
//! This crate is pure: it takes the bytes of policy files and a table of account names, and answers
//! questions by [`load`] and [`Policy::decide`]. The same inputs give the same verdict on any machine.
//!
//! It must not open files or use the user database, the clock, the network or the process environment.
//! The crate's `clippy.toml` refuses such calls.
//!
//! ```
//! use remit_policy::{Ask, Ids, MachineTable, Source, Verdict, CallerIds, load};
//!
//! let text = r##"
//! [[grant]]
//! name = "operators-look"        # else file and line name it
//! to = ["%ops", "deploy", "#64001", "%#64001"]  # users, %groups, #uid, %#gid
//! allow = ["run"]                # any command or script
//! run_profile = "read"           # of run; the default
//! env = ["TZ", "LANG"]           # variables that a caller may set
//! approval = "none"              # the default
//!
//! [[command]]                    # reached by its name alone, with arguments of these types
//! name = "nginx.test"
//! summary = "Check an nginx configuration file"
//! argv = ["/usr/sbin/nginx", "-t", "-c", "{config}"]
//! effect = "read"
//! profile = "nginx"
//! args.config = { type = "path", under = "/etc/nginx", default = "/etc/nginx/nginx.conf" }
//! rejects = [{ config = "/etc/shadow" }, { config = "-p" }]
//!
//! [profile.nginx]                # its sandbox
//! base = "strict"
//! read = ["/etc/nginx"]
//!
//! [[grant]]
//! to = ["%ops"]
//! allow = ["nginx.*"]
//!
//! [[test]]                       # a load that gives another verdict is refused
//! who = "%ops"
//! what = "run nginx.test config=/etc/nginx/nginx.conf"
//! verdict = "allow"
//!
//! [[deny]]                       # wins over every grant
//! to = ["#64002"]
//! deny = ["run"]
//! "##;
//! let machine = MachineTable {
//!     users: [("deploy".into(), Ids { uid: 1001, gid: 1001 })].into(),
//!     groups: [("ops".into(), 900)].into(),
//!     ..MachineTable::default()
//! };
//! let source = Source { name: "20-ops.toml".into(), text: text.into() };
//! let Ok((policy, warnings)) = load(&[source], &machine) else { panic!() };
//! assert!(warnings.is_empty());
//!
//! let ask = Ask::Run { profile: None, argv0: b"df", env_names: &[b"TZ"] };
//! let may = |uid, gids| matches!(policy.decide(CallerIds { uid, gids }, &ask), Verdict::Allow(_));
//! assert!(may(1001, &[100]) && may(64005, &[100, 900]));
//! assert!(!may(64002, &[900]) && !may(0, &[0]));
//!
//! let nginx = policy.command("nginx.test").ok_or("it is defined")?;
//! let escape = [("config".to_owned(), "/etc/nginx/../shadow".to_owned())];
//! assert!(nginx.bind(&escape, false).is_err() && nginx.bind(&[], false).is_ok());
//! # Ok::<(), &str>(())
//! ```
//!
//! Three rules hold everywhere:
//! - Only a `[[grant]]` allows; an empty list means none. Root may also try a profile ([`Ask::Try`]),
//!   which gives root nothing that root does not have.
//! - A matching `[[deny]]` wins over every grant.
//! - One error in one file refuses the whole load.
#![forbid(unsafe_code)]

/// One call: its subject, its request, its environment, and the values that are bound to a command.
mod call {
    pub(crate) mod bind;
    pub(crate) mod env;
    pub(crate) mod request;
    pub(crate) mod subject;
    pub(crate) mod value;
    pub(crate) mod variables;
}

mod decide;
mod load;

/// What a policy is made of: data.
mod model {
    pub(crate) mod approval;
    pub(crate) mod base;
    pub(crate) mod capabilities;
    pub(crate) mod command;
    pub(crate) mod glob;
    pub(crate) mod machine;
    pub(crate) mod names;
    pub(crate) mod pattern;
    pub(crate) mod policy;
    pub(crate) mod profile;
    pub(crate) mod rule;
    pub(crate) mod scope;
}

mod print;

pub use crate::decide::pre_approval::{NotGivable, PreApproval, Recipient};
pub use call::env::{PATH_DIRS, environment, is_default_variable};
pub use call::request::{check_argv, check_cwd, check_env_count, check_script, check_stdin};
pub use call::subject::{Call, Subject};
pub use decide::access::{Access, Usable};
pub use decide::approval::{Consent, Lifted, NotApprover, Pending};
pub use decide::denial::Denial;
pub use decide::diff::diff;
pub use decide::explain::Explanation;
pub use decide::{Ask, Basis, CallerIds, Grant, Terms, Verdict};
pub use load::diagnostic::{Diagnostic, Severity};
pub use load::{Source, load, load_again};
pub use model::approval::Approval;
pub use model::command::{
    ArgvElement, Command, Invocation, Param, ParamKind, Part, PassAs, PathIs, Stdin, Word,
};
pub use model::glob::Glob;
pub use model::machine::{Ids, Machine, MachineTable, Program};
pub use model::names::Named;
pub use model::pattern::Pattern;
pub use model::policy::{Asking, Policy};
pub use model::profile::{Base, Destination, Listed, Network, Profile, ProfileLimits, User};
pub use model::rule::RuleId;
pub use model::scope::Scope;
