//! `remit jobs`: lists the caller's jobs, or for administrators those of all users.

use std::collections::HashMap;

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_wire::client::{self, ClientError};
use remit_wire::outcome::{JobSummary, QueuePosition, State};
use remit_wire::result::FollowUpResult;
use remit_wire::{Reply, Request};
use serde_json::{Value, json};

use super::pending;
use crate::args::JobsArgs;
use crate::client::user_socket::{self, Daemon};
use crate::error::{Exit, Failure};
use crate::render::job_end::{self, Ended};
use crate::render::output::{self, Context, Form};
use crate::render::table::{self, Table};
use crate::render::units;

pub fn jobs(context: &Context, args: &JobsArgs) -> Result<Exit, Failure> {
    if !args.mine
        && let Some((jobs, omitted)) = jobs_of_all_users(context)?
    {
        // An error in the list of requests must not hide the list of jobs.
        let asked = match jobs.iter().any(|job| awaits(job.state)) {
            true => pending::list(context, None).map_or_else(|_| Vec::new(), |list| list.requests),
            false => Vec::new(),
        };
        let asked = asked.into_iter().map(|one| (one.job, one.by)).collect();
        return show(context, args, jobs, omitted, &asked);
    }
    let mut daemon = Daemon::connect(&context.runtime)?;
    // Requests all, to count the omitted ones. The daemon sends as many as fit into a frame.
    let Reply::Jobs(jobs) = daemon.call(Request::Jobs { limit: u32::MAX })? else {
        return Err(Failure::off_protocol());
    };
    let mut asked = Asked::new();
    for job in jobs.iter().filter(|job| awaits(job.state)) {
        if let Some(approval) = daemon.report(job.job_id)?.approval {
            asked.insert(job.job_id, approval.by);
        }
    }
    let mut own: Vec<OwnJob> = Vec::new();
    for job in jobs {
        let is_shown = own.len() < usize::try_from(args.limit).unwrap_or(usize::MAX);
        // On the wire, denied and void requests have the same state.
        let code = match (job.state, is_shown) {
            (State::Denied, true) => Ended::from(&daemon.report(job.job_id)?).code(),
            (_, _) => None,
        };
        own.push(OwnJob { job, code });
    }
    show(context, args, own, 0, &asked)
}

type Asked = HashMap<JobId, Vec<String>>;

fn awaits(state: State) -> bool {
    state == State::AwaitingApproval
}

fn jobs_of_all_users(context: &Context) -> Result<Option<(Vec<AnyJob>, u32)>, Failure> {
    let all = AdminRequest::Jobs { limit: u32::MAX };
    match client::admin(&context.runtime.admin_socket(), all) {
        Ok(AdminReply::Jobs { jobs, omitted }) => Ok(Some((jobs, omitted))),
        Ok(_) => Err(Failure::off_protocol()),
        // If no daemon runs, the request on the other socket fails and reports it.
        Err(ClientError::NotAllowed { .. } | ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub trait Listed<const N: usize> {
    const HEADINGS: [&str; N];

    fn id(&self) -> JobId;
    fn uid(&self) -> u32;
    fn state(&self) -> State;
    fn word(&self) -> &'static str;
    fn row(&self, state: &str) -> [String; N];
    fn json(&self) -> Value;
}

struct OwnJob {
    job: JobSummary,
    code: Option<Code>,
}

impl Listed<6> for OwnJob {
    const HEADINGS: [&str; 6] = [
        "#JOB", "?STARTED", "~STATE", ">EXIT", ">?OUTPUT", "~COMMAND",
    ];

    fn id(&self) -> JobId {
        self.job.job_id
    }

    fn uid(&self) -> u32 {
        0 // every job has the same owner
    }

    fn state(&self) -> State {
        self.job.state
    }

    fn word(&self) -> &'static str {
        job_end::word(self.job.state, self.code)
    }

    fn row(&self, state: &str) -> [String; 6] {
        [
            self.job.job_id.to_string(),
            units::time(self.job.started_ms / 1000),
            state.to_owned(),
            status(self.job.exit),
            units::bytes(self.job.output_bytes),
            self.job.command.clone(),
        ]
    }

    fn json(&self) -> Value {
        with_code(json!(self.job), self.code)
    }
}

impl Listed<7> for AnyJob {
    const HEADINGS: [&str; 7] = [
        "#JOB",
        "USER",
        "?STARTED",
        ">?RUNTIME",
        "~STATE",
        ">EXIT",
        "~COMMAND",
    ];

    fn id(&self) -> JobId {
        self.job
    }

    fn uid(&self) -> u32 {
        self.uid
    }

    fn state(&self) -> State {
        self.state
    }

    fn word(&self) -> &'static str {
        Ended::from(self).word()
    }

    fn row(&self, state: &str) -> [String; 7] {
        let state = match self.kill_verified {
            Some(false) => format!("{state}, stuck"),
            Some(true) | None => state.to_owned(),
        };
        [
            self.job.to_string(),
            self.user.clone(),
            units::time(self.started_ms / 1000),
            match (self.state, self.runtime_ms) {
                // If the daemon crashed during the job, nobody measured it.
                (State::Interrupted, 0) => String::new(),
                (state, _) if state.is_waiting() => String::new(),
                (_, ms) => units::duration(ms),
            },
            state,
            status(self.exit),
            self.command.clone(),
        ]
    }

    fn json(&self) -> Value {
        any(self)
    }
}

pub fn any(job: &AnyJob) -> Value {
    let then: Vec<FollowUpResult> = job.then.iter().map(FollowUpResult::from).collect();
    let mut any = json!({
        "job_id": job.job.to_string(),
        "user": job.user,
        "uid": job.uid,
        "command": job.command,
        "state": job.state,
        "exit": job.exit,
        "cause": job.cause,
        "started_ms": job.started_ms,
        "runtime_ms": job.runtime_ms,
        "kill_verified": job.kill_verified,
    });
    any = with_code(any, Ended::from(job).code());
    if let (Some(unconfirmed), Some(any)) = (&job.unconfirmed, any.as_object_mut()) {
        any.insert("unconfirmed".to_owned(), json!(unconfirmed));
    }
    if let (false, Some(any)) = (then.is_empty(), any.as_object_mut()) {
        any.insert("then".to_owned(), json!(then));
    }
    any
}

fn with_code(mut job: Value, code: Option<Code>) -> Value {
    if let (Some(code), Some(job)) = (code, job.as_object_mut()) {
        job.insert("code".to_owned(), json!(code));
    }
    job
}

fn status(exit: Option<i32>) -> String {
    exit.map(|exit| exit.to_string()).unwrap_or_default()
}

/// Shows the first of these jobs. `omitted` older ones are not in `jobs`.
fn show<const N: usize, J: Listed<N>>(
    context: &Context,
    args: &JobsArgs,
    jobs: Vec<J>,
    omitted: u32,
    asked: &Asked,
) -> Result<Exit, Failure> {
    // Omitted jobs may be first in the queue, so positions are unknown.
    let queue_positions = match omitted {
        0 => queue_positions(&jobs),
        _ => vec![None; jobs.len()],
    };
    let mut rows: Vec<(J, Option<QueuePosition>)> = jobs.into_iter().zip(queue_positions).collect();
    // Live jobs come first, so none of them is omitted after one that has ended.
    let has_all_live = args.running && rows.iter().any(|(job, _)| !is_live(job.state()));
    let omitted = if has_all_live { 0 } else { omitted };
    if args.running {
        rows.retain(|(job, _)| is_live(job.state()));
    }
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let cut = rows.len().saturating_sub(limit);
    rows.truncate(limit);
    let omitted = u64::from(omitted).saturating_add(cut as u64);
    match context.form {
        Form::Json => {
            let jobs: Vec<Value> = rows.iter().map(|row| row_json(row, asked)).collect();
            output::json(&json!({ "jobs": jobs, "omitted": omitted }))?;
        }
        Form::Text if rows.is_empty() => {
            output::text(&format!("no jobs\n{}", table::more(omitted)))?
        }
        Form::Text => {
            let mut table = Table::new(J::HEADINGS);
            for (job, in_queue) in &rows {
                let state = state(job.word(), *in_queue, asked.get(&job.id()));
                let cells = job.row(&state);
                table.row(cells.each_ref().map(String::as_str));
            }
            output::text(&(table.render(context.width) + &table::more(omitted)))?;
        }
    }
    Ok(Exit::OK)
}

fn is_live(state: State) -> bool {
    state == State::Running || state.is_waiting()
}

fn state(word: &str, in_queue: Option<QueuePosition>, by: Option<&Vec<String>>) -> String {
    match (in_queue, by) {
        (Some(in_queue), _) => format!("{word}, {}", user_socket::queue_position(in_queue)),
        (None, Some(by)) => format!("{word} by {}", by.join(", ")),
        (None, None) => word.to_owned(),
    }
}

fn row_json<const N: usize, J: Listed<N>>(
    (job, in_queue): &(J, Option<QueuePosition>),
    asked: &Asked,
) -> Value {
    let mut value = job.json();
    if let Some(keys) = value.as_object_mut() {
        let in_queue = in_queue.map(|in_queue| ("place".to_owned(), json!(in_queue)));
        let by = asked.get(&job.id()).map(|by| ("by".to_owned(), json!(by)));
        keys.extend(in_queue.into_iter().chain(by));
    }
    value
}

/// Returns the queue position of each queued job. The list is newest first; the oldest job of a user runs next.
pub fn queue_positions<const N: usize, J: Listed<N>>(jobs: &[J]) -> Vec<Option<QueuePosition>> {
    let is_queued = |job: &&J| job.state() == State::Queued;
    let mut after = jobs.iter();
    jobs.iter()
        .map(|job| {
            after.next();
            let count = |jobs: std::slice::Iter<'_, J>| {
                let of_owner = |other: &&J| other.uid() == job.uid();
                u32::try_from(jobs.filter(is_queued).filter(of_owner).count()).unwrap_or(u32::MAX)
            };
            is_queued(&job).then(|| QueuePosition {
                position: count(after.clone()).saturating_add(1),
                of: count(jobs.iter()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(uid: u32, state: State) -> AnyJob {
        AnyJob {
            then: Vec::new(),
            job: JobId([0; 16]),
            user: String::new(),
            uid,
            command: String::new(),
            state,
            exit: None,
            cause: None,
            unconfirmed: None,
            started_ms: 0,
            runtime_ms: 0,
            kill_verified: None,
        }
    }

    #[test]
    fn the_oldest_of_each_user_is_the_next() {
        use State::{Exited, Queued, Running};
        let newest_first = [
            (1, Queued, Some((3, 3))),
            (2, Queued, Some((1, 1))),
            (1, Running, None),
            (1, Queued, Some((2, 3))),
            (1, Exited, None),
            (1, Queued, Some((1, 3))),
        ];
        let jobs: Vec<AnyJob> = newest_first
            .iter()
            .map(|(uid, state, _)| job(*uid, *state))
            .collect();
        let expect = newest_first
            .map(|(_, _, in_queue)| in_queue.map(|(position, of)| QueuePosition { position, of }));
        assert_eq!(queue_positions(&jobs), expect);
    }
}
