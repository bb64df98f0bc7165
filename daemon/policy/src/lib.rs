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
//! ```
//! use remit_policy::{Ask, Ids, MachineTable, Source, Verdict, Who, load};
//!
//! let text = r##"
//! [[grant]]
//! name = "operators-look"        # else file and line name it
//! to = ["%ops", "deploy", "#64001", "%#64001"]  # users, %groups, #uid, %#gid
//! allow = ["run"]                # any command or script
//! profile = "read"               # the default
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
//! let may = |uid, gids| matches!(policy.decide(Who { uid, gids }, &ask), Verdict::Allow(_));
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
//! - nothing is allowed that no `[[grant]]` allows, and an empty list means none; but root may
//!   try a profile ([`Ask::Try`]), which gives root nothing that root has not;
//! - a matching `[[deny]]` wins over every grant;
//! - one error in one file refuses the whole load.
#![forbid(unsafe_code)]

mod call;
mod decide;
mod load;
mod model;
mod print;

pub use call::env::{PATH_DIRS, environment};
pub use call::request::{check_argv, check_cwd, check_env_count, check_script, check_stdin};
pub use call::subject::{Call, Subject};
pub use decide::access::{Access, Usable};
pub use decide::approval::{Consent, Lifted, NotApprover, Pending};
pub use decide::beforehand::{Beforehand, NotGivable, Recipient};
pub use decide::denial::Denial;
pub use decide::diff::diff;
pub use decide::explain::Explanation;
pub use decide::{Ask, Basis, Grant, Terms, Verdict, Who};
pub use load::diagnostic::{Diagnostic, Severity};
pub use load::{Source, load, load_again};
pub use model::approval::Approval;
pub use model::command::{
    Command, Given, Invocation, Kind, Param, Part, Pass, PathIs, Stdin, Word,
};
pub use model::glob::Glob;
pub use model::machine::{Ids, Machine, MachineTable, Program};
pub use model::names::Named;
pub use model::pattern::Pattern;
pub use model::policy::{Asking, Policy};
pub use model::profile::{Base, Destination, Listed, Network, Profile, ProfileLimits, User};
pub use model::rule::RuleId;
pub use model::scope::Scope;
