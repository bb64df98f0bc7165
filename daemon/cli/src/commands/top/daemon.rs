//! Threads of `remit top` that ask the daemon, wait for keys or for signals. Each sends events, and none draws.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::frame::FrameError;
use remit_common::id_prefix::NotAnId;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;

use super::page::Approvable;
use super::state::{Action, Event, Shown};
use crate::client::admin_socket;
use crate::commands::{job, pending, status};
use crate::error::{Exit, Failure};
use crate::render::job_end::{self, Ended};
use crate::render::output::Context;
use crate::render::request::{self, Detail};
use crate::render::units;

/// Between two tries to reach a daemon that is gone.
const RETRY: Duration = Duration::from_secs(1);
/// Lists that wait to be asked for: jobs and status.
const POLLS: usize = 2;

pub struct DaemonWatch {
    context: Arc<Context>,
    events: Sender<Event>,
    polls: SyncSender<Action>,
}

impl DaemonWatch {
    /// Starts to watch the requests, from the state `seen` on.
    pub fn start(context: Context, events: Sender<Event>, seen: u64) -> io::Result<Self> {
        let context = Arc::new(context);
        let (polls, asked) = sync_channel(POLLS);
        let one = (Arc::clone(&context), events.clone());
        thread::Builder::new().spawn(move || watch(&one.0, &one.1, seen))?;
        let one = (Arc::clone(&context), events.clone());
        thread::Builder::new().spawn(move || poll(&one.0, &one.1, &asked))?;
        Ok(Self {
            context,
            events,
            polls,
        })
    }

    /// Starts to carry out an action; events tell its end. Fails if no thread can be started.
    pub fn act(&self, action: Action) -> io::Result<()> {
        if let Action::PollJobs | Action::PollStatus = action {
            // If it is full, the events of those that wait allow the next one.
            let _ = self.polls.try_send(action);
            return Ok(());
        }
        let (context, events) = (Arc::clone(&self.context), self.events.clone());
        thread::Builder::new()
            .spawn(move || carry_out(&context, &events, action))
            .map(drop)
    }
}

/// The daemon answers when the list differs from the one that was seen, so nothing is asked again and again.
fn watch(context: &Context, events: &Sender<Event>, seen: u64) {
    let mut seen = Some(seen);
    loop {
        let (event, is_lost) = match pending::list(context, seen) {
            Ok(list) => {
                seen = Some(list.state);
                (Event::Pending(list), false)
            }
            Err(failure) => {
                // Another daemon counts from the beginning.
                seen = None;
                (failed(failure), true)
            }
        };
        if events.send(event).is_err() {
            return;
        }
        if is_lost {
            thread::sleep(RETRY);
        }
    }
}

fn poll(context: &Context, events: &Sender<Event>, asked: &Receiver<Action>) {
    for action in asked {
        let event = match action {
            Action::PollStatus => status::ask(context).map(Event::Status),
            _ => jobs(context),
        };
        if events.send(event.unwrap_or_else(failed)).is_err() {
            return;
        }
    }
}

fn jobs(context: &Context) -> Result<Event, Failure> {
    let all = AdminRequest::Jobs { limit: u32::MAX };
    admin_socket::ask(context, all, |reply| match reply {
        AdminReply::Jobs { jobs, omitted } => Some(Event::Jobs { jobs, omitted }),
        _ => None,
    })
}

/// A daemon that restarts comes back. Nothing else gets better by waiting, such as another protocol or a lost group.
fn failed(failure: Failure) -> Event {
    let may_return = match &failure {
        Failure::Client(
            ClientError::NotRunning { .. }
            | ClientError::Broken(FrameError::Closed | FrameError::Io(_)),
        ) => true,
        Failure::Client(ClientError::Refused(refusal)) => refusal.code == Code::DaemonUnavailable,
        _ => false,
    };
    match may_return {
        true => Event::Lost(failure.sentence()),
        false => Event::Failed(failure),
    }
}

fn carry_out(context: &Context, events: &Sender<Event>, action: Action) {
    let event = match action {
        Action::PollJobs | Action::PollStatus => return,
        Action::Show(job) => Event::Shown(show(context, job).map_err(|why| why.sentence())),
        Action::Approve(what) => return approve(context, events, what),
        Action::Deny(job, why) => {
            done(admin_socket::done(context, AdminRequest::Deny { job, why }))
        }
        Action::Stop(job) => done(job::stop_as_administrator(context, job, None).map(|job| {
            let name = units::name(job.job);
            format!("{name} ended: {}", Ended::from(&job).account())
        })),
    };
    let _ = events.send(event);
}

fn done(sentence: Result<String, Failure>) -> Event {
    Event::Done(sentence.unwrap_or_else(|why| why.sentence()))
}

fn approve(context: &Context, events: &Sender<Event>, what: Approvable) {
    let approved = admin_socket::approve(context, what.job, what.digest, None);
    let starts = matches!(approved, Ok((_, 0)));
    let _ = events.send(done(approved.map(|(sentence, _)| sentence)));
    if starts && let Ok(job) = admin_socket::any_job(context, what.job.to_string(), true) {
        let _ = events.send(Event::Ended(job_end::sentence(&job)));
    }
}

/// Returns the page that `remit show` prints.
fn show(context: &Context, job: JobId) -> Result<Shown, Failure> {
    let title = units::name(job);
    let id = job
        .to_string()
        .parse()
        .map_err(|error: NotAnId| Refusal::from(error))?;
    let verified = admin_socket::verified(context, id);
    let verified = verified.map(|verified| (remit_page::shown(&verified), verified.is_withheld()));
    match verified {
        Ok((shown, is_withheld)) => Ok(Shown {
            title: format!("request {title}"),
            page: request::page(&shown, Detail::Short),
            approvable: Some(Approvable {
                job: shown.pending.job,
                digest: shown.pending.digest,
                signed: shown.pending.signed,
                is_withheld,
            }),
        }),
        Err(Failure::Client(ClientError::Refused(refusal))) if refusal.code == Code::NotFound => {
            let job = admin_socket::any_job(context, job.to_string(), false)?;
            Ok(Shown {
                title: format!("job {title}"),
                page: job_end::page_with_story(&job),
                approvable: None,
            })
        }
        Err(error) => Err(error),
    }
}

/// Waits for signals that end the program. Call it before any other thread starts: threads inherit the signal mask.
pub fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    const ENDS: [(Signal, Exit); 4] = [
        (Signal::SIGINT, Exit::INTERRUPTED),
        (Signal::SIGTERM, Exit::TERMINATED),
        (Signal::SIGHUP, Exit::HUNG_UP),
        (Signal::SIGQUIT, Exit::INTERRUPTED),
    ];
    let mut signals = SigSet::empty();
    ENDS.iter().for_each(|(signal, _)| signals.add(*signal));
    signals.thread_block()?;
    thread::Builder::new().spawn(move || {
        while let Ok(signal) = signals.wait() {
            let exit = ENDS.iter().find(|(one, _)| *one == signal);
            let exit = exit.map_or(Exit::TERMINATED, |(_, exit)| *exit);
            let _ = events.send(Event::Signal(exit));
        }
    })?;
    Ok(())
}
