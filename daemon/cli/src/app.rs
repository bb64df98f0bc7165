//! From arguments to an exit status.

use std::ffi::OsString;
use std::process::ExitCode;

use remit_common::names::Runtime;

use crate::args::{AuditVerb, Cli, PolicyVerb, Verb};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::verb;

/// What every verb needs to know.
pub struct Context {
    /// Where the sockets are.
    pub runtime: Runtime,
    /// For people or for programs.
    pub form: Form,
}

/// Runs the verb that the arguments name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => return Failure::Usage(error).report(Form::Text).into(),
    };
    let context = Context {
        runtime: Runtime::new(&cli.runtime),
        form: if cli.json { Form::Json } else { Form::Text },
    };
    match dispatch(&context, cli.verb) {
        Ok(exit) => output::finish(exit).into(),
        Err(failure) => failure.report(context.form).into(),
    }
}

fn dispatch(context: &Context, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Run(args) => verb::run::run(context, args),
        Verb::Change(args) => verb::change::change(context, args),
        Verb::Try(args) => verb::r#try::attempt(context, args),
        Verb::Access(args) => verb::access::access(context, args),
        Verb::Host(args) => verb::host::host(context, args),
        Verb::Jobs(args) => verb::jobs::jobs(context, &args),
        Verb::Job(args) => verb::job::job(context, &args),
        Verb::Stop(args) => verb::stop::stop(context, &args),
        Verb::History(args) => verb::history::history(context, &args),
        Verb::Pending(args) => verb::pending::pending(context, &args),
        Verb::Show(args) => verb::show::show(context, args),
        Verb::Approve(args) => verb::approve::approve(context, args),
        Verb::Deny(args) => verb::deny::deny(context, args),
        Verb::Grant(args) => verb::grant::grant(context, args),
        Verb::Grants => verb::grants::grants(context),
        Verb::Revoke(args) => verb::revoke::revoke(context, &args),
        Verb::Status => verb::status::status(context),
        Verb::Doctor => verb::doctor::doctor(context),
        Verb::Lock(args) => verb::lock::lock(context, args),
        Verb::Unlock => verb::lock::unlock(context),
        Verb::Policy { verb } => match verb {
            PolicyVerb::Check(args) => verb::policy::check(context, &args),
            PolicyVerb::Test(args) => verb::policy::test(context, &args),
            PolicyVerb::Explain(args) => verb::policy::explain(context, &args),
            PolicyVerb::Diff(args) => verb::policy::diff(context, &args),
            PolicyVerb::Reload(args) => verb::policy::reload(context, &args),
        },
        Verb::Audit { verb } => match verb {
            AuditVerb::Verify(args) => verb::audit::verify(context, &args),
            AuditVerb::Show(args) => verb::audit::show(context, &args),
            AuditVerb::Export(args) => verb::audit::export(context, &args),
        },
        Verb::Enroll(args) => verb::enroll::enroll(context, &args),
        Verb::Unenroll(args) => verb::unenroll::unenroll(context, &args),
        Verb::ClientConfig(args) => verb::client_config::client_config(context, args),
        Verb::Completions(args) => verb::completions::completions(&args),
    }
}
