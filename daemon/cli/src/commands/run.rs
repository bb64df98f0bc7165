//! `remit run` and `remit change` run a command and pass on its output. `remit try` lets root run something in a
//! profile without a grant, and shows what confined it.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::unistd::geteuid;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text, traceparent};
use remit_wire::client::ClientError;
use remit_wire::outcome::{Enforced, JobReport, State};
use remit_wire::result::JobResult;
use remit_wire::{Purpose, Run, What};

use super::input::{self, bounded, conflict, file_of, usage};
use crate::args::{self, CallArgs, ChangeArgs, RunArgs, TryArgs};
use crate::client::ctrl_c::Interrupt;
use crate::client::follow::Streams;
use crate::client::user_socket::Daemon;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::job_end;
use crate::render::output::{self, Form};

/// Milliseconds to wait for the end in the first request. A short command needs only one exchange. The id of a longer
/// one is known early, so Ctrl-C can stop it. A lost connection then does not lose the job.
const FIRST_WAIT_MS: u32 = 100;

pub fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let no_wait = args.call.no_wait;
    let run = request(args)?;
    let report = match no_wait {
        true => start_detached(context, run)?,
        false => run_attached(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

/// Starts the job without waiting, and prints its id. A job that has already ended is shown as usual.
pub fn start_detached(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let report = daemon.run(run)?;
    if report.ending.is_some() {
        return finish(context, &mut daemon, Streams::both(0, 0), report, false);
    }
    job_end::tell_approval(&report);
    match context.form {
        Form::Json => output::json(&JobResult::from(&report))?,
        Form::Text => output::text(&format!("job {} {}\n", report.job, report.state.as_str()))?,
    }
    Ok(report)
}

/// Runs the job, passes on its output until its end, and prints how it ended.
pub fn run_attached(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let report = daemon.run(run)?;
    let job = report.job;
    match report.state {
        State::AwaitingApproval => interrupt.awaits(job),
        _ => interrupt.started(job),
    }
    job_end::tell_approval(&report);
    let mut streams = Streams::both(0, 0);
    let ended = match (report.ending.is_some(), context.form) {
        (true, _) => Ok(report),
        (false, Form::Json) => daemon.ended(report),
        (false, Form::Text) => streams.follow(&mut daemon, report),
    };
    let report = ended.map_err(|failure| failure.leaves(job))?;
    let pressed = interrupt.ended();
    finish(context, &mut daemon, streams, report, pressed)
}

/// Shows the rest of an ended job. If Ctrl-C was `pressed`, always prints how it ended.
fn finish(
    context: &Context,
    daemon: &mut Daemon,
    streams: Streams,
    report: JobReport,
    pressed: bool,
) -> Result<JobReport, Failure> {
    let written = match context.form {
        Form::Json => output::json(&JobResult::from(&report)),
        Form::Text => streams.rest(daemon, &report),
    };
    match pressed {
        true => job_end::stopped(&report),
        false => job_end::notes(&report),
    }
    match written {
        // A reader that stops early, such as `head`, is not a failure of the command.
        Ok(()) | Err(Failure::Gone) => Ok(report),
        Err(failure) => Err(failure),
    }
}

fn request(args: RunArgs) -> Result<Run, Failure> {
    let from_stdin = args.script_file.as_deref() == Some(Path::new("-"));
    if from_stdin && args.call.stdin {
        return Err(conflict(
            "the script ('--script-file -')",
            "its input ('--stdin')",
        ));
    }
    if args.name.is_none() && !args.call.secret.is_empty() {
        return Err(usage(
            "'--secret' gives an argument of a command: it needs '--name'",
        ));
    }
    let interpreter = args.interpreter.map(|name| name.into_vec().into());
    let what = match (args.script, args.script_file, args.name) {
        (Some(text), ..) => What::Script {
            text: text.into_vec().into(),
            interpreter,
        },
        (None, Some(file), _) => What::Script {
            text: match from_stdin {
                true => bounded(&mut io::stdin(), "standard input", caps::SCRIPT)?,
                false => file_of("script", &file, caps::SCRIPT)?,
            },
            interpreter,
        },
        (None, None, Some(name)) => input::named_command(name, &args.argv, &args.call)?,
        (None, None, None) => What::Argv(args::bytes(&args.argv)),
    };
    Ok(Run {
        cwd: args.cwd.map(|dir| dir.into_os_string().into_vec().into()),
        env: args
            .env
            .into_iter()
            .map(|variable| (variable.name.into(), variable.value.into()))
            .collect(),
        profile: args.profile,
        ..new_run(what, args.call, Purpose::Use)?
    })
}

fn new_run(what: What, call: CallArgs, purpose: Purpose) -> Result<Run, Failure> {
    let stdin = match call.stdin {
        true => Some(bounded(&mut io::stdin(), "standard input", caps::STDIN)?),
        false => None,
    };
    Ok(Run {
        traceparent: claimed_trace(),
        what,
        cwd: None,
        env: Vec::new(),
        stdin,
        profile: None,
        wait_ms: None,
        max_runtime_s: call.timeout,
        request_id: call.request_id,
        purpose,
    })
}

/// Returns a valid `TRACEPARENT`, the caller's trace.
fn claimed_trace() -> Option<String> {
    traceparent::checked(std::env::var("TRACEPARENT").ok())
}

/// Runs the command and passes on its output. The exit status is the command's.
pub fn change(context: &Context, args: ChangeArgs) -> Result<Exit, Failure> {
    let no_wait = args.call.no_wait;
    let run = change_request(args)?;
    let report = match no_wait {
        true => start_detached(context, run)?,
        false => run_attached(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

fn change_request(args: ChangeArgs) -> Result<Run, Failure> {
    let ChangeArgs {
        name,
        reason,
        call,
        words,
    } = args;
    let mut words = words.into_iter();
    let name = match name {
        Some(name) => name,
        None => match words.next() {
            Some(word) => named_by(word.as_encoded_bytes())?,
            None => return Err(usage("it names no command; 'remit access' lists them")),
        },
    };
    let words: Vec<_> = words.collect();
    let what = input::named_command(name, &words, &call)?;
    new_run(what, call, Purpose::Change { reason })
}

fn named_by(word: &[u8]) -> Result<String, Failure> {
    match std::str::from_utf8(word) {
        Ok(name) if !name.contains('=') => Ok(name.to_owned()),
        Ok(pair) => Err(usage(&format!(
            "'{}' is an argument: the command's name comes first",
            text::line(pair.as_bytes(), 64)
        ))),
        Err(_) => {
            let why = "the name of the command is not UTF-8";
            Err(Failure::Input(Refusal::new(Code::InvalidArgs, why)))
        }
    }
}

/// Runs the command, then prints what was enforced. The exit status is the command's.
pub fn attempt(context: &Context, args: TryArgs) -> Result<Exit, Failure> {
    let report = run_attached(context, try_request(args)).map_err(|failure| match failure {
        // Membership in the group would not help: only root may try.
        Failure::Client(ClientError::NotAllowed { .. }) if !geteuid().is_root() => {
            Failure::NotRoot("try")
        }
        other => other,
    })?;
    if context.form == Form::Text
        && let Some(enforced) = &report.enforced
    {
        enforced_lines(enforced)
            .iter()
            .for_each(|line| output::note(line));
    }
    Ok(Exit::of_job(&report))
}

fn try_request(args: TryArgs) -> Run {
    Run {
        traceparent: None,
        what: match args.script {
            Some(text) => What::Script {
                text: text.into_vec().into(),
                interpreter: None,
            },
            None => What::Argv(args::bytes(&args.argv)),
        },
        cwd: args.cwd.map(|dir| dir.into_os_string().into_vec().into()),
        env: Vec::new(),
        stdin: None,
        profile: args.profile,
        wait_ms: None,
        max_runtime_s: args.timeout,
        request_id: None,
        purpose: Purpose::Try,
    }
}

fn enforced_lines(enforced: &Enforced) -> Vec<String> {
    let landlock = match enforced.landlock {
        0 => "landlock: none".to_owned(),
        version => format!("landlock: version {version}"),
    };
    let mut lines = vec![
        format!("profile: {}", enforced.profile),
        format!("uid: {}", enforced.uid),
        landlock,
    ];
    lines.push(format!("layers: {}", enforced.layers.join(", ")));
    lines.extend(
        enforced
            .limits
            .iter()
            .map(|limit| format!("limit: {limit}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_and_limit_is_shown() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            layers: vec!["identity".into(), "seccomp".into()],
            landlock: 0,
            limits: vec!["runtime 300 s".into()],
        };
        let expect =
            "profile: read|uid: 7|landlock: none|layers: identity, seccomp|limit: runtime 300 s";
        assert_eq!(enforced_lines(&enforced).join("|"), expect);
    }
}
