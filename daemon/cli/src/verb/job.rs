//! `remit job`: one job, its state or its output.

mod grep;
mod summary;

use std::io;

use remit_common::names::JobId;
use remit_common::outcome::{JobReport, Stream};
use remit_common::result::{JobResult, PageResult};

use super::jobs;
use crate::app::Context;
use crate::args::{JobArgs, JobsArgs};
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::Streams;
use crate::interrupt::Interrupt;
use crate::outlet;
use crate::output::{self, Form};
use crate::sink::Sink;

/// Shows the job, or prints of its output. With `--wait` or `--follow` the exit status is the job's.
pub fn job(context: &Context, args: &JobArgs) -> Result<Exit, Failure> {
    let Some(id) = args.id else {
        return jobs::jobs(context, &JobsArgs::mine());
    };
    let mut daemon = Daemon::connect(&context.runtime)?;
    let mut report = daemon.report(id)?;
    if args.follow && context.form == Form::Text {
        return follow(context, args, &mut daemon, report);
    }
    let mut exit = Exit::OK;
    if args.wait || args.follow {
        report = daemon.ended(report).map_err(|why| why.leaves(id))?;
        exit = Exit::of_job(&report);
    }
    if let Some(pattern) = &args.grep {
        return grep::grep(&mut daemon, id, args, pattern, context.form);
    }
    match (args.stream(), context.form) {
        (Some(stream), form) => print(&mut daemon, &report, id, stream, args, form)?,
        (None, Form::Json) => output::json(&JobResult::from(&report))?,
        (None, Form::Text) => output::text(&summary::summary(&report))?,
    }
    Ok(exit)
}

/// Passes on what the job writes until its end, and says how it ended.
fn follow(
    context: &Context,
    args: &JobArgs,
    daemon: &mut Daemon,
    report: JobReport,
) -> Result<Exit, Failure> {
    let id = report.job;
    let interrupt = Interrupt::look_on(context.runtime.socket(), id)?;
    let from = |stream| start(args, &report, stream);
    let mut streams = match args.stream() {
        Some(stream) => Streams::one(stream, from(stream)),
        None => Streams::both(from(Stream::Stdout), from(Stream::Stderr)),
    };
    let ended = match report.ending {
        Some(_) => Ok(report),
        None => streams.follow(daemon, report),
    };
    let report = ended.map_err(|why| why.leaves(id))?;
    interrupt.ended();
    streams.rest(daemon, &report)?;
    ending::notes(&report);
    Ok(Exit::of_job(&report))
}

/// The byte of a stream to follow from.
fn start(args: &JobArgs, report: &JobReport, stream: Stream) -> u64 {
    match args.tail {
        Some(tail) => outlet::captured(report, stream).total.saturating_sub(tail),
        None => args.offset.unwrap_or(0),
    }
}

/// Prints a part of one stream: for people all of it, for programs one page.
fn print(
    daemon: &mut Daemon,
    report: &JobReport,
    id: JobId,
    stream: Stream,
    args: &JobArgs,
    form: Form,
) -> Result<(), Failure> {
    let offset = match args.tail {
        // Of what is kept: the end of a long output may not be.
        Some(tail) => daemon.end(id, stream)?.saturating_sub(tail),
        None => args.offset.unwrap_or(0),
    };
    let limit = args.tail.or(args.limit).unwrap_or(u64::MAX);
    match form {
        Form::Json => {
            let page = daemon.page(id, stream, offset, limit)?;
            output::json(&PageResult::from(&page))
        }
        Form::Text => {
            let mut sink = Sink::new(io::stdout().lock());
            let next = daemon.copy(id, stream, offset, limit, &mut sink)?;
            sink.finish()?;
            let total = outlet::captured(report, stream).total;
            let end = match args.tail {
                Some(_) => total,
                None => offset.saturating_add(limit).min(total),
            };
            match report.ending {
                Some(_) => outlet::lost(report, stream, offset..end, next),
                // What is written meanwhile is not missing.
                None => Ok(()),
            }
        }
    }
}
