//! remit: the command line of remitd. It has only its user's rights; the daemon alone decides permissions and sandbox.
#![forbid(unsafe_code)]

mod args;
mod checks;
mod completion;
mod enrollment;
mod error;
mod external_program;
mod json_file;
mod own_file;

use std::ffi::OsString;
use std::process::ExitCode;

use remit_common::names::Runtime;

use crate::args::{AuditVerb, Cli, PolicyVerb, Verb};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units::Width;

/// Connections to the daemon, and what verbs ask over them.
mod client {
    pub(crate) mod activation;
    pub(crate) mod admin_socket;
    pub(crate) mod ctrl_c;
    pub(crate) mod follow;
    mod helper;
    pub(crate) mod prover;
    pub(crate) mod ssh;
    pub(crate) mod user_socket;
    pub(crate) mod verifier;
}

mod commands {
    pub mod access;
    pub mod approve;
    pub mod approve_on;
    pub mod approver_shell;
    pub mod audit {
        //! `remit audit`: reads records with the caller's rights. The daemon is asked only for the newest one.

        mod chain;
        mod collector;
        mod filter;
        mod gaps;
        mod head;
        mod journal;
        mod journal_order;
        mod list;
        mod record;
        mod report;
        mod shown_check;
        mod signatures;
        mod source;
        mod span_reader;
        mod story;
        mod undo_links;
        mod verify;

        pub use chain::Chain;
        pub use filter::Span;
        pub use list::export;
        pub use record::AuditRecord;
        pub use report::report;
        pub use source::RecordSource;
        pub use span_reader::{SpanReader, TimedRecords};
        pub use verify::verify;

        use crate::args::RecordsArgs;
        use crate::error::{Exit, Failure};
        use crate::render::output::Context;

        pub fn show(context: &Context, args: &RecordsArgs) -> Result<Exit, Failure> {
            match &args.story {
                Some(job) => story::story(context, &args.source_args, job),
                None => list::list(context, args),
            }
        }
    }
    pub mod client_config;
    pub mod enroll;
    pub mod enroll_approver;
    pub mod enroll_inspect;
    pub mod grant;
    pub mod history;
    pub mod host;
    mod input;
    pub mod job;
    pub mod jobs;
    pub mod metrics;
    pub mod pending;
    pub mod plan;
    pub mod plan_check;
    pub mod plan_output;
    pub mod policy {
        //! `remit policy`: checks and explains policy files, and makes the daemon reload them. Every verb except reload
        //! reads the files itself and resolves names here, as a load by the daemon would.

        mod approver_keys;
        mod check;
        mod examples;
        mod explain;
        mod files;
        mod groups;
        mod outcome;
        mod replay;

        pub use check::check;
        pub use examples::test;
        pub use explain::explain;
        pub use files::{diff, directory, of_args, reload, unloaded};
        pub use groups::{asks_for_changes, broker_word, group_words};
        pub use replay::replay;
    }
    pub mod prove;
    pub mod run;
    pub mod signing;
    pub mod status;
    pub mod top;
    pub mod transfer;
}

/// Reads sshd's effective settings and authorized_keys files as sshd does (sshd(8), sshd_config(5)). Changes nothing.
mod openssh {
    pub mod blocks;
    pub mod effective;
    pub mod keys;
    pub mod options;
    pub mod pattern;
}

/// Text for people and programs: tables, columns, units, JSON, colors. Text of others is escaped here.
mod render {
    pub(crate) mod failure;
    pub(crate) mod job_end;
    pub(crate) mod output;
    pub(crate) mod plan;
    pub(crate) mod request;
    pub(crate) mod request_json;
    pub(crate) mod table;
    pub(crate) mod units;
    pub(crate) mod untrusted_columns;
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if completion::complete(&args) {
        return output::finish(Exit::OK).into();
    }
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => return Failure::Usage(error).report(Form::Text).into(),
    };
    let context = Context {
        runtime: Runtime::new(&cli.runtime),
        form: if cli.json { Form::Json } else { Form::Text },
        width: Width::of_stdout(),
    };
    match dispatch(&context, cli.verb) {
        Ok(exit) => output::finish(exit).into(),
        Err(failure) => failure.report(context.form).into(),
    }
}

fn dispatch(context: &Context, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Run(args) => commands::run::run(context, args),
        Verb::Change(args) => commands::run::change(context, args),
        Verb::Plan(args) => commands::plan::plan(context, args),
        Verb::Undo(args) => commands::plan::undo(context, args),
        Verb::Put(args) => commands::transfer::put(context, &args),
        Verb::Get(args) => commands::transfer::get(context, &args),
        Verb::Try(args) => commands::run::attempt(context, args),
        Verb::Access(args) => commands::access::access(context, args),
        Verb::Host(args) => commands::host::host(context, args),
        Verb::Jobs(args) => commands::jobs::jobs(context, &args),
        Verb::Job(args) => commands::job::job(context, &args),
        Verb::Stop(args) => commands::job::stop(context, &args),
        Verb::History(args) => commands::history::history(context, &args),
        Verb::Pending(args) => commands::pending::pending(context, &args),
        Verb::Show(args) => commands::approve::show(context, args),
        Verb::Approve(args) => commands::approve::approve(context, args),
        Verb::Deny(args) => commands::approve::deny(context, args),
        Verb::Confirm(args) => commands::status::confirm(context, args),
        Verb::Grant(args) => commands::grant::grant(context, args),
        Verb::Grants => commands::grant::grants(context),
        Verb::Revoke(args) => commands::grant::revoke(context, &args),
        Verb::Top => commands::top::top(context),
        Verb::Status => commands::status::status(context),
        Verb::Metrics(args) => commands::metrics::metrics(context, &args),
        Verb::Prove(args) => commands::prove::prove(context, &args),
        Verb::Doctor(args) => checks::doctor(context, &args),
        Verb::Lock(args) => commands::status::lock(context, args),
        Verb::Unlock => commands::status::unlock(context),
        Verb::Resume(args) => commands::status::resume(context, args),
        Verb::Policy { verb } => match verb {
            PolicyVerb::Check(args) => commands::policy::check(context, &args),
            PolicyVerb::Test(args) => commands::policy::test(context, &args),
            PolicyVerb::Explain(args) => commands::policy::explain(context, &args),
            PolicyVerb::Diff(args) => commands::policy::diff(context, &args),
            PolicyVerb::Replay(args) => commands::policy::replay(context, &args),
            PolicyVerb::Reload(args) => commands::policy::reload(context, &args),
        },
        Verb::Audit { verb } => match verb {
            AuditVerb::Verify(args) => commands::audit::verify(context, &args),
            AuditVerb::Show(args) => commands::audit::show(context, &args),
            AuditVerb::Export(args) => commands::audit::export(context, &args),
            AuditVerb::Report(args) => commands::audit::report(context, &args),
        },
        Verb::Enroll(args) => commands::enroll::enroll(context, &args),
        Verb::EnrollApprover(args) => commands::enroll_approver::enroll_approver(context, &args),
        Verb::ApproverShell => commands::approver_shell::approver_shell(context),
        Verb::Unenroll(args) => commands::enroll::unenroll(context, &args),
        Verb::ClientConfig(args) => commands::client_config::client_config(context, args),
        Verb::Completions(args) => completion::completions(&args),
    }
}
