//! Runs the verb that the arguments name and returns its exit status.

use std::ffi::OsString;
use std::process::ExitCode;

use remit_common::names::Runtime;

use crate::args::{AuditVerb, Cli, PolicyVerb, Verb};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::display::Width;
use crate::render::output::{self, Form};
use crate::{checks, commands, completion};

pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
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
        Verb::Grant(args) => commands::grant::grant(context, args),
        Verb::Grants => commands::grant::grants(context),
        Verb::Revoke(args) => commands::grant::revoke(context, &args),
        Verb::Status => commands::status::status(context),
        Verb::Doctor(args) => checks::doctor(context, &args),
        Verb::Lock(args) => commands::status::lock(context, args),
        Verb::Unlock => commands::status::unlock(context),
        Verb::Policy { verb } => match verb {
            PolicyVerb::Check(args) => commands::policy::check(context, &args),
            PolicyVerb::Test(args) => commands::policy::test(context, &args),
            PolicyVerb::Explain(args) => commands::policy::explain(context, &args),
            PolicyVerb::Diff(args) => commands::policy::diff(context, &args),
            PolicyVerb::Reload(args) => commands::policy::reload(context, &args),
        },
        Verb::Audit { verb } => match verb {
            AuditVerb::Verify(args) => commands::audit::verify(context, &args),
            AuditVerb::Show(args) => commands::audit::show(context, &args),
            AuditVerb::Export(args) => commands::audit::export(context, &args),
        },
        Verb::Enroll(args) => commands::enroll::enroll(context, &args),
        Verb::Unenroll(args) => commands::enroll::unenroll(context, &args),
        Verb::ClientConfig(args) => commands::client_config::client_config(context, args),
        Verb::Completions(args) => completion::completions(&args),
    }
}
