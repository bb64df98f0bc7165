//! `remit job`: one job, its state or its output.

use std::io;

use remit_common::outcome::{Captured, JobReport, Stream};
use remit_common::result::{JobResult, PageResult};

use crate::app::Context;
use crate::args::JobArgs;
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::output::{self, Form};
use crate::sink::Sink;
use crate::table;

/// Shows the job, or prints a stream of it. With `--wait` the exit status is the job's.
pub fn job(context: &Context, args: &JobArgs) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let mut report = daemon.report(args.id)?;
    let mut exit = Exit::OK;
    if args.wait {
        report = daemon.ended(report)?;
        exit = Exit::of_job(&report);
    }
    match (args.stream(), context.form) {
        (Some(stream), form) => print(&mut daemon, &report, stream, args, form)?,
        (None, Form::Json) => output::json(&JobResult::from(&report))?,
        (None, Form::Text) => output::text(&summary(&report))?,
    }
    Ok(exit)
}

/// Prints a part of one stream: for people all of it, for programs one page.
fn print(
    daemon: &mut Daemon,
    report: &JobReport,
    stream: Stream,
    args: &JobArgs,
    form: Form,
) -> Result<(), Failure> {
    let total = match stream {
        Stream::Stdout => report.stdout.total,
        Stream::Stderr => report.stderr.total,
    };
    let (offset, limit) = match args.tail {
        Some(tail) => (total.saturating_sub(tail), tail),
        None => (args.offset.unwrap_or(0), args.limit.unwrap_or(u64::MAX)),
    };
    match form {
        Form::Json => {
            let page = daemon.page(args.id, stream, offset, limit)?;
            output::json(&PageResult::from(&page))
        }
        Form::Text => {
            let mut sink = Sink::new(io::stdout().lock());
            daemon.copy(args.id, stream, offset, limit, &mut sink)?;
            Ok(sink.finish()?)
        }
    }
}

/// The job on a screen.
fn summary(report: &JobReport) -> String {
    let mut lines = format!("job {}\n", report.job);
    let mut fact = |name: &str, value: String| lines += &table::fact(name, &value);
    fact("command", report.command.clone());
    fact("state", state(report));
    fact("started", human::time(report.started_ms / 1000));
    if let Some(ending) = &report.ending {
        fact("ran for", human::duration(ending.runtime_ms));
        fact("cpu time", human::duration(ending.cpu_usec / 1000));
        fact("peak memory", human::bytes(ending.memory_peak));
        let gone = match ending.kill_verified {
            true => "all gone, verified",
            false => "some may still run: their end could not be verified",
        };
        fact("processes", gone.to_owned());
    }
    fact("stdout", size(&report.stdout));
    fact("stderr", size(&report.stderr));
    if let Some(enforced) = &report.enforced {
        fact("profile", enforced.profile.clone());
        fact("uid", enforced.uid.to_string());
        fact("walls", enforced.walls.join(", "));
        fact("limits", enforced.limits.join(", "));
    }
    for note in &report.notes {
        fact("note", note.clone());
    }
    lines
}

fn state(report: &JobReport) -> String {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    match (ending::sentence(report), exit) {
        (Some(sentence), _) => format!("{} ({sentence})", report.state.as_str()),
        (None, Some(exit)) => format!("{} with status {exit}", report.state.as_str()),
        (None, None) => report.state.as_str().to_owned(),
    }
}

fn size(captured: &Captured) -> String {
    format!("{} bytes", captured.total)
}
