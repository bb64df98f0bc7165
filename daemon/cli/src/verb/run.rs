//! `remit run`: run something, wait for its end, pass on what it wrote.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use remit_common::builtin;
use remit_common::caps;
use remit_common::outcome::{Captured, JobReport, State, Stream};
use remit_common::refusal::{Code, Refusal};
use remit_common::result::JobResult;
use remit_common::wire::{Bytes, Purpose, Request, Run, What};

use crate::app::Context;
use crate::args::{self, Cli, RunArgs};
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Form};
use crate::sink::Sink;

/// How long the first answer may take, in milliseconds. A short command is done
/// in one exchange; of a longer one the id is known so soon that Ctrl-C can
/// stop it, and that a lost connection loses no job.
const FIRST_WAIT_MS: u32 = 100;

/// Runs what the arguments say. The exit status is the command's.
pub fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let report = carry_out(context, request(args)?)?;
    Ok(Exit::of_job(&report))
}

/// Has the daemon run it, waits for its end and writes its result.
pub fn carry_out(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let report = daemon.job(Request::Run(run))?;
    interrupt.started(report.job);
    let report = daemon.ended(report)?;
    interrupt.ended();
    pass_on(context.form, &mut daemon, &report)?;
    Ok(report)
}

/// Writes the result of an ended job.
pub fn pass_on(form: Form, daemon: &mut Daemon, report: &JobReport) -> Result<(), Failure> {
    let written = match form {
        Form::Json => output::json(&JobResult::from(report)),
        Form::Text => {
            let stdout = whole(daemon, report, Stream::Stdout, io::stdout().lock());
            let stderr = whole(daemon, report, Stream::Stderr, io::stderr().lock());
            read_to_the_end(stdout).and(read_to_the_end(stderr))
        }
    };
    ending::notes(report);
    read_to_the_end(written)
}

/// A reader that left early, as `head` does, is no failure of the command.
fn read_to_the_end(written: Result<(), Failure>) -> Result<(), Failure> {
    match written {
        Err(Failure::Gone) => Ok(()),
        other => other,
    }
}

/// All bytes of one stream: the part in the report, and the rest in pages.
fn whole<W: Write + IsTerminal>(
    daemon: &mut Daemon,
    report: &JobReport,
    stream: Stream,
    to: W,
) -> Result<(), Failure> {
    let Captured {
        total, head, tail, ..
    } = match stream {
        Stream::Stdout => &report.stdout,
        Stream::Stderr => &report.stderr,
    };
    let mut sink = Sink::new(to);
    sink.write(head)?;
    let mut copied = (head.len() as u64).saturating_add(tail.len() as u64);
    if copied >= *total {
        sink.write(tail)?;
    } else {
        let from = head.len() as u64;
        let rest = total.saturating_sub(from);
        copied = daemon.copy(report.job, stream, from, rest, &mut sink)?;
    }
    sink.finish()?;
    if copied < *total {
        let name = match stream {
            Stream::Stdout => "standard output",
            Stream::Stderr => "standard error",
        };
        let lost = format!("only {copied} of the {total} bytes of {name} are kept");
        // A job that was ended for writing too much has said so with its status.
        if report.state != State::OutputLimit {
            return Err(Failure::Output(io::Error::other(lost)));
        }
        output::note(&lost);
    }
    Ok(())
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
