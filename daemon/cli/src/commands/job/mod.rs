//! `remit job`: shows the state or output of one job.

mod grep;
mod summary;

use std::io;

use remit_common::admin::AnyJob;
use remit_common::names::JobId;
use remit_common::outcome::{JobReport, Stream};
use remit_common::refusal::{Code, Refusal};
use remit_common::result::{JobResult, PageResult};

use super::jobs;
use crate::args::{JobArgs, JobsArgs};
use crate::client::ctrl_c::Interrupt;
use crate::client::follow::Streams;
use crate::client::job_stream;
use crate::client::named_job::{self, NamedJob};
use crate::client::stream_writer::Sink;
use crate::client::user_socket::Daemon;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::decided;
use crate::render::job_end;
use crate::render::output::{self, Form};

/// Shows the job or its output. With `--wait` or `--follow` the exit status is the job's.
pub fn job(context: &Context, args: &JobArgs) -> Result<Exit, Failure> {
    let Some(id) = &args.id else {
        return jobs::jobs(context, &JobsArgs::mine());
    };
    let (mut daemon, id) = match named_job::find(context, id)? {
        NamedJob::Own(daemon, id) => (daemon, id),
        NamedJob::Other(job) => return of_other_user(context, args, &job),
    };
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
        (None, Form::Text) => output::text(&context.width.fold(&summary::summary(&report)))?,
    }
    Ok(exit)
}

/// Shows the state of another user's job to an administrator.
fn of_other_user(context: &Context, args: &JobArgs, job: &AnyJob) -> Result<Exit, Failure> {
    if args.is_for_owner() {
        let id = job.job.short();
        let text = format!(
            "job {id} belongs to '{}': only its owner can wait for it and read its output",
            job.user
        );
        let state = format!("remit job {id} shows its state");
        let refusal = Refusal::new(Code::DeniedRule, text).lift(state);
        return Err(Failure::Machine(refusal));
    }
    match context.form {
        Form::Json => output::json(&jobs::any(job))?,
        Form::Text => output::text(&decided::page(job))?,
    }
    Ok(Exit::OK)
}

/// Passes on the output until the job's end, and prints how it ended.
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
    job_end::notes(&report);
    Ok(Exit::of_job(&report))
}

fn start(args: &JobArgs, report: &JobReport, stream: Stream) -> u64 {
    match args.tail {
        Some(tail) => job_stream::captured(report, stream)
            .total
            .saturating_sub(tail),
        None => args.offset.unwrap_or(0),
    }
}

/// Prints a part of one stream: all of it as text, one page as JSON.
fn print(
    daemon: &mut Daemon,
    report: &JobReport,
    id: JobId,
    stream: Stream,
    args: &JobArgs,
    form: Form,
) -> Result<(), Failure> {
    let offset = match args.tail {
        // Counts from the last kept byte, because the end of a long output may be lost.
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
            let total = job_stream::captured(report, stream).total;
            let end = match args.tail {
                Some(_) => total,
                None => offset.saturating_add(limit).min(total),
            };
            match report.ending {
                Some(_) => job_stream::lost(report, stream, offset..end, next),
                // Bytes written since are not missing.
                None => Ok(()),
            }
        }
    }
}
