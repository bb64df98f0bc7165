//! `remit run`: run something, and pass on what it writes until its end.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use remit_common::builtin;
use remit_common::caps;
use remit_common::outcome::JobReport;
use remit_common::refusal::{Code, Refusal};
use remit_common::result::JobResult;
use remit_common::wire::{Bytes, Purpose, Run, What};

use crate::app::Context;
use crate::args::{self, Cli, RunArgs};
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::Streams;
use crate::interrupt::Interrupt;
use crate::output::{self, Form};

/// How long the first answer may take, in milliseconds. A short command is done
/// in one exchange; of a longer one the id is known so soon that Ctrl-C can
/// stop it, and that a lost connection loses no job.
const FIRST_WAIT_MS: u32 = 100;

/// Runs what the arguments say. The exit status is the command's.
pub fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let report = carry_out(context, request(args)?)?;
    Ok(Exit::of_job(&report))
}

/// Has the daemon run it, passes on what it writes until its end, and says how it ended.
pub fn carry_out(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let report = daemon.run(run)?;
    let job = report.job;
    interrupt.started(job);
    let mut streams = Streams::both(0, 0);
    let ended = match (report.ending.is_some(), context.form) {
        (true, _) => Ok(report),
        (false, Form::Json) => daemon.ended(report),
        (false, Form::Text) => streams.follow(&mut daemon, report),
    };
    let report = ended.map_err(|failure| failure.leaves(job))?;
    let pressed = interrupt.ended();
    let written = match context.form {
        Form::Json => output::json(&JobResult::from(&report)),
        Form::Text => streams.rest(&mut daemon, &report),
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
    if from_stdin && args.stdin {
        let error = Cli::command().error(
            ErrorKind::ArgumentConflict,
            "standard input cannot be both the script ('--script-file -') and its input ('--stdin')",
        );
        return Err(Failure::Usage(error));
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
                false => script(&file)?,
            },
            interpreter,
        },
        (None, None, Some(name)) => named(name, &args.argv)?,
        (None, None, None) => What::Argv(args::bytes(&args.argv)),
    };
    let stdin = match args.stdin {
        true => Some(bounded(&mut io::stdin(), "standard input", caps::STDIN)?),
        false => None,
    };
    Ok(Run {
        what,
        cwd: args.cwd.map(|dir| dir.into_os_string().into_vec().into()),
        env: args
            .env
            .into_iter()
            .map(|variable| (variable.name.into(), variable.value.into()))
            .collect(),
        stdin,
        profile: args.profile,
        wait_ms: None,
        max_runtime_s: args.timeout,
        request_id: args.request_id,
        purpose: Purpose::Use,
    })
}

/// A command of remit's own; each word after its name is `KEY=VALUE`.
fn named(name: String, words: &[OsString]) -> Result<What, Failure> {
    let pair = |word: &OsString| match word.to_str() {
        Some(word) => builtin::pair(&name, word).map_err(|refusal| {
            let meant = meant(&name, word).map(|meant| format!("'{meant}' is likely meant"));
            let then = meant.or(refusal.next).unwrap_or_default();
            usage(&format!("{}; {then}", refusal.message))
        }),
        None => Err(Failure::Input(Refusal::new(
            Code::InvalidArgs,
            format!("an argument of '{name}' is not UTF-8"),
        ))),
    };
    let args = words.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(What::Named { name, args })
}

/// The word as it was most likely meant: `ssh` is the unit of `service.status`.
fn meant(name: &str, word: &str) -> Option<String> {
    let command = builtin::find(name).ok()?;
    let mut args = command.args.iter().map(|arg| arg.name);
    let key = args.find(|name| matches!(*name, "unit" | "pattern"))?;
    Some(format!("{key}={word}"))
}

fn usage(why: &str) -> Failure {
    Failure::Usage(Cli::command().error(ErrorKind::ValueValidation, why))
}

fn script(file: &Path) -> Result<Bytes, Failure> {
    let name = format!("script '{}'", file.display());
    let mut opened = std::fs::File::open(file).map_err(|error| unreadable(&name, &error))?;
    bounded(&mut opened, &name, caps::SCRIPT)
}

/// All that is to be read, unless that is more than `cap` bytes.
fn bounded(from: &mut impl Read, name: &str, cap: usize) -> Result<Bytes, Failure> {
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
