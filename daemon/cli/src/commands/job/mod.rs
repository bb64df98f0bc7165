//! `remit job` shows the state or output of one job; `remit stop` stops it and waits for its end.

mod grep;

use std::io;

use nix::unistd::geteuid;
use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;
use remit_wire::outcome::{Captured, Ending, FollowUp, JobReport, State, Stream};
use remit_wire::result::{JobResult, PageResult};
use remit_wire::{Reply, Request};
use serde_json::Value;

use super::jobs;
use crate::args::{JobArgs, JobsArgs, StopArgs};
use crate::client::admin_socket;
use crate::client::ctrl_c::Interrupt;
use crate::client::follow::{self, Streams};
use crate::client::user_socket::{self, Daemon};
use crate::error::{Exit, Failure};
use crate::render::job_end::{self, Ended, refused};
use crate::render::output::{self, Context, Form, Sink};
use crate::render::{failure, table, units};

/// Shows the job or its output. With `--wait` or `--follow` the exit status is the job's.
pub fn job(context: &Context, args: &JobArgs) -> Result<Exit, Failure> {
    let Some(id) = &args.id else {
        return jobs::jobs(context, &JobsArgs::mine());
    };
    let (mut daemon, id) = match find(context, id)? {
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
        (None, Form::Text) => output::text(&context.width.fold(&summary(&report)))?,
    }
    Ok(exit)
}

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
        Form::Text => output::page(&job_end::page_with_story(job))?,
    }
    Ok(Exit::OK)
}

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
        Some(tail) => follow::captured(report, stream).total.saturating_sub(tail),
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
            let total = follow::captured(report, stream).total;
            let end = match args.tail {
                Some(_) => total,
                None => offset.saturating_add(limit).min(total),
            };
            match report.ending {
                Some(_) => follow::lost(report, stream, offset..end, next),
                None => Ok(()), // Bytes written since are not missing.
            }
        }
    }
}

/// Uses the administrators' socket for another user's job, otherwise the users' socket.
pub fn stop(context: &Context, args: &StopArgs) -> Result<Exit, Failure> {
    match find(context, &args.id)? {
        NamedJob::Other(job) => {
            let job = stop_as_administrator(context, job.job, args.signal)?;
            tell(
                context.form,
                job.job,
                (Ended::from(&job), &job.then),
                || Ok(jobs::any(&job)),
            )
        }
        NamedJob::Own(mut daemon, job) => {
            let report = daemon.stop(job, args.signal)?;
            let end = (Ended::from(&report), &report.then[..]);
            tell(context.form, report.job, end, || {
                serde_json::to_value(JobResult::from(&report))
            })
        }
    }
}

pub fn stop_as_administrator(
    context: &Context,
    job: JobId,
    signal: Option<i32>,
) -> Result<AnyJob, Failure> {
    let stop = AdminRequest::Stop { job, signal };
    admin_socket::ask(context, stop, |reply| match reply {
        AdminReply::Stopped(job) => Some(*job),
        _ => None,
    })
}

fn tell(
    form: Form,
    job: JobId,
    (ended, then): (Ended<'_>, &[FollowUp]),
    json: impl FnOnce() -> serde_json::Result<Value>,
) -> Result<Exit, Failure> {
    match form {
        Form::Json => output::json(&json().map_err(io::Error::other)?)?,
        Form::Text => {
            let then = then.iter().map(|one| job_end::follow_up(one) + "\n");
            let then: String = then.collect();
            output::text(&format!("{job} ended: {}\n{then}", ended.account()))?;
        }
    }
    match ended.doubt() {
        None => Ok(Exit::OK),
        Some(doubt) => {
            output::note(doubt);
            Ok(Exit::REFUSED)
        }
    }
}

/// A named job. Candidates are the caller's own jobs, for administrators all jobs: nobody learns of other jobs.
enum NamedJob {
    Own(Box<Daemon>, JobId),
    Other(AnyJob),
}

/// Asks the administrators' socket first if the caller may: the users' socket would refuse and record it.
fn find(context: &Context, id: &IdPrefix) -> Result<NamedJob, Failure> {
    let listed = match admin_socket::may_ask(context) {
        true => admin_socket::any_job(context, id.clone(), false),
        false => return own(context, id),
    };
    match listed {
        Ok(job) if job.uid == geteuid().as_raw() => {
            let daemon = Daemon::connect(&context.runtime)?;
            Ok(NamedJob::Own(Box::new(daemon), job.job))
        }
        Ok(job) => Ok(NamedJob::Other(job)),
        Err(refused @ Failure::Client(ClientError::Refused(_))) => Err(refused),
        Err(_) => own(context, id), // A fault of that socket must not hide the caller's own jobs.
    }
}

pub fn own_id(daemon: &mut Daemon, id: &IdPrefix) -> Result<JobId, Failure> {
    if let Some(job) = id.whole() {
        return Ok(job);
    }
    let Reply::Jobs(jobs) = daemon.call(Request::Jobs { limit: u32::MAX })? else {
        return Err(Failure::off_protocol());
    };
    let found = id.choose(jobs, |job| job.job_id)?;
    Ok(found.ok_or_else(Refusal::no_such_job)?.job_id)
}

fn own(context: &Context, id: &IdPrefix) -> Result<NamedJob, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let job = own_id(&mut daemon, id)?;
    Ok(NamedJob::Own(Box::new(daemon), job))
}

pub fn summary(report: &JobReport) -> String {
    let mut lines = format!("job {}\n", report.job);
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    fact("command", &report.command);
    fact("state", &state(report));
    if let Some(asked) = &report.approval {
        fact("asked", &job_end::approvers(asked));
        fact("until", &job_end::approval_end(asked));
        fact("they type", &asked.line);
        fact("digest", &asked.digest);
    }
    let at = |ms: u64| units::time(ms / 1000);
    match has_started(report) {
        true => fact("started", &at(report.started_ms)),
        false => fact("asked for", &at(report.started_ms)),
    }
    if report.waited_ms > 0 {
        fact("waited", &units::duration(report.waited_ms));
    }
    if let Some(ending) = &report.ending {
        if is_measured(report, ending) {
            fact(
                "ended",
                &at(report.started_ms.saturating_add(ending.runtime_ms)),
            );
            fact("ran for", &units::duration(ending.runtime_ms));
            fact("cpu time", &units::duration(ending.cpu_usec / 1000));
            fact("peak memory", &units::bytes(ending.memory_peak));
        }
        let ended = Ended::from(report);
        let verified = ended.is_verified().then_some("all gone, verified");
        if let Some(processes) = ended.doubt().or(verified) {
            fact("processes", processes);
        }
    }
    if let Some(next) = report
        .ending
        .as_ref()
        .and_then(|ending| ending.next.as_ref())
    {
        fact("next", &failure::typed(next));
    }
    fact("stdout", &size(&report.stdout));
    fact("stderr", &size(&report.stderr));
    if let Some(enforced) = &report.enforced {
        fact("profile", &enforced.profile);
        fact("uid", &enforced.uid.to_string());
        fact("layers", &enforced.layers.join(", "));
        fact("limits", &enforced.limits.join(", "));
    }
    for denial in &report.denials {
        for (at, line) in refused(denial).iter().enumerate() {
            fact(if at == 0 { "denial" } else { "" }, line);
        }
    }
    for note in &report.notes {
        fact("note", &failure::typed(note));
    }
    lines
}

fn has_started(report: &JobReport) -> bool {
    match &report.ending {
        // After a daemon crash, confinement of the job is unknown.
        Some(ending) => report.state == State::Interrupted || is_measured(report, ending),
        None => !report.state.is_waiting(),
    }
}

/// Returns true if the run was measured. A job may have ended in the queue, or the daemon may have crashed first.
fn is_measured(report: &JobReport, ending: &Ending) -> bool {
    let confined = report.enforced.is_some() && report.state != State::Interrupted;
    confined || ending.runtime_ms > 0
}

fn state(report: &JobReport) -> String {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    let name = Ended::from(report).word();
    match (Ended::from(report).sentence(), exit, report.queue_position) {
        (Some(sentence), _, _) => format!("{name} ({sentence})"),
        (None, Some(exit), _) => format!("{name} with status {exit}"),
        (None, None, Some(queue_position)) => {
            format!("{name}, {}", user_socket::queue_position(queue_position))
        }
        (None, None, None) => name.to_owned(),
    }
}

fn size(captured: &Captured) -> String {
    format!(
        "{}, {}",
        units::count(captured.total, "byte"),
        units::count(captured.lines, "line")
    )
}
