//! `remit run`: run something, and pass on what it writes until its end.

use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use remit_common::caps;
use remit_common::outcome::{JobReport, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::result::JobResult;
use remit_common::traceparent;
use remit_common::wire::{Bytes, Purpose, Run, What};

use crate::app::Context;
use crate::approval;
use crate::args::{self, Cli, GivenArgs, RunArgs};
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::Streams;
use crate::interrupt::Interrupt;
use crate::output::{self, Form};
use crate::verb::named;

/// How long the first answer may take, in milliseconds. A short command is done
/// in one exchange; of a longer one the id is known so soon that Ctrl-C can
/// stop it, and that a lost connection loses no job.
const FIRST_WAIT_MS: u32 = 100;

/// Runs what the arguments say. The exit status is the command's.
pub fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let no_wait = args.given.no_wait;
    let run = request(args)?;
    let report = match no_wait {
        true => leave(context, run)?,
        false => carry_out(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

/// Has the daemon run it, and tells where it is. One that has ended by then is told of as ever.
pub fn leave(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let report = daemon.run(run)?;
    if report.ending.is_some() {
        return finish(context, &mut daemon, Streams::both(0, 0), report, false);
    }
    approval::tell(&report);
    match context.form {
        Form::Json => output::json(&JobResult::from(&report))?,
        Form::Text => output::text(&format!("job {} {}\n", report.job, report.state.as_str()))?,
    }
    Ok(report)
}

/// Has the daemon run it, passes on what it writes until its end, and says how it ended.
pub fn carry_out(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let report = daemon.run(run)?;
    let job = report.job;
    match report.state {
        State::AwaitingApproval => interrupt.awaits(job),
        _ => interrupt.started(job),
    }
    approval::tell(&report);
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

/// Shows what is left of an ended job, and says how it ended; all of that where it was to be stopped.
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
        true => ending::stopped(&report),
        false => ending::notes(&report),
    }
    match written {
        // A reader that left early, as `head` does, is no failure of the command.
        Ok(()) | Err(Failure::Gone) => Ok(report),
        Err(failure) => Err(failure),
    }
}

fn request(args: RunArgs) -> Result<Run, Failure> {
    let from_stdin = args.script_file.as_deref() == Some(Path::new("-"));
    if from_stdin && args.given.stdin {
        return Err(conflict(
            "the script ('--script-file -')",
            "its input ('--stdin')",
        ));
    }
    if args.name.is_none() && !args.given.secret.is_empty() {
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
        (None, None, Some(name)) => named::what(name, &args.argv, &args.given)?,
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
        ..given(what, args.given, Purpose::Use)?
    })
}

/// What is to run, with what it is given.
pub fn given(what: What, given: GivenArgs, purpose: Purpose) -> Result<Run, Failure> {
    let stdin = match given.stdin {
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
        max_runtime_s: given.timeout,
        request_id: given.request_id,
        purpose,
    })
}

/// The trace that this is part of, as programs are told of theirs: `TRACEPARENT`, where it is one.
fn claimed_trace() -> Option<String> {
    traceparent::checked(std::env::var("TRACEPARENT").ok())
}

/// Arguments that make no sense.
pub fn usage(why: &str) -> Failure {
    Failure::Usage(Cli::command().error(ErrorKind::ValueValidation, why))
}

/// There is one standard input.
pub fn conflict(one: &str, other: &str) -> Failure {
    let why = format!("standard input cannot be both {one} and {other}");
    Failure::Usage(Cli::command().error(ErrorKind::ArgumentConflict, why))
}

/// What stands in a file, unless that is more than `cap` bytes.
pub fn file_of(what: &str, file: &Path, cap: usize) -> Result<Bytes, Failure> {
    let name = format!("{what} '{}'", file.display());
    let mut opened = std::fs::File::open(file).map_err(|error| unreadable(&name, &error))?;
    bounded(&mut opened, &name, cap)
}

/// All that is to be read, unless that is more than `cap` bytes.
pub fn bounded(from: &mut impl Read, name: &str, cap: usize) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    from.take(cap as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(name, &error))?;
    if bytes.len() > cap {
        let message = format!("{name} has more than {cap} bytes");
        return Err(Failure::Input(Refusal::new(Code::TooLarge, message)));
    }
    Ok(bytes.into())
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let message = format!("cannot read {name}: {error}");
    Failure::Input(Refusal::new(Code::InvalidArgs, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_taken_up_to_its_cap() {
        assert_eq!(bounded(&mut &b"abc"[..], "x", 3).unwrap().as_ref(), b"abc");
        let Err(Failure::Input(refusal)) = bounded(&mut &b"abcd"[..], "x", 3) else {
            panic!("one byte too many is refused");
        };
        assert_eq!(refusal.code, Code::TooLarge);
        assert_eq!(refusal.message, "x has more than 3 bytes");
    }
}
