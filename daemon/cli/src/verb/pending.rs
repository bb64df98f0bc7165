//! `remit pending`: what waits for an approval, and what comes.

use std::collections::HashSet;

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::names::JobId;
use serde_json::{Value, json};

use crate::admin;
use crate::app::Context;
use crate::args::PendingArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::{decided, fold, human, request, table};

/// The requests as they are now.
pub struct List {
    state: u64,
    /// Oldest first.
    pub requests: Vec<PendingView>,
    omitted: u32,
}

/// Lists them; or prints each once, and each new one as it comes, until somebody ends this or the
/// daemon does.
pub fn pending(context: &Context, args: &PendingArgs) -> Result<Exit, Failure> {
    if args.watch {
        return watch(context);
    }
    let list = list(context, None)?;
    match context.form {
        Form::Json => {
            let requests: Vec<Value> = list.requests.iter().map(request::pending_json).collect();
            output::json(&json!({ "requests": requests, "omitted": list.omitted }))?;
        }
        Form::Text => output::text(&show(&list))?,
    }
    Ok(Exit::OK)
}

/// The list; once the daemon has answered with `seen`, as soon as it is another one.
pub fn list(context: &Context, seen: Option<u64>) -> Result<List, Failure> {
    admin::ask(
        context,
        AdminRequest::Pending { seen },
        |reply| match reply {
            AdminReply::Pending {
                state,
                requests,
                omitted,
            } => Some(List {
                state,
                requests,
                omitted,
            }),
            _ => None,
        },
    )
}

fn watch(context: &Context) -> Result<Exit, Failure> {
    let mut seen = None;
    let mut known: HashSet<JobId> = HashSet::new();
    loop {
        let now = list(context, seen)?;
        if seen.is_none() && context.form == Form::Text {
            output::note("requests are printed as they come; Ctrl-C leaves");
            output::text(&heading())?;
        }
        for request in &now.requests {
            if known.contains(&request.job) {
                continue;
            }
            match context.form {
                Form::Json => output::json(&request::pending_json(request))?,
                Form::Text => output::text(&(entry(request) + &line(request)))?,
            }
        }
        let is_over = |job: &&JobId| now.requests.iter().all(|request| request.job != **job);
        // What does not fit into the answer still waits.
        if context.form == Form::Text && now.omitted == 0 {
            for job in known.iter().filter(is_over) {
                output::text(&over(context, *job))?;
            }
        }
        known = now.requests.iter().map(|request| request.job).collect();
        seen = Some(now.state);
    }
}

/// What an approver types; nothing for somebody who cannot approve it.
fn line(request: &PendingView) -> String {
    match request.yours {
        true => format!("{:14}: remit approve {}\n", "", request::name(request.job)),
        false => String::new(),
    }
}

/// What became of one that waits no longer.
fn over(context: &Context, job: JobId) -> String {
    let name = request::name(job);
    match decided::ask(context, job.to_string(), false) {
        Ok(job) if job.kill_verified.is_some() => format!("  {}\n", decided::sentence(&job)),
        Ok(job) => format!("  {name}: approved, {}\n", job.state.as_str()),
        Err(_) => format!("  {name}: waits no longer\n"),
    }
}

fn heading() -> String {
    row("REQUEST", "CAN APPROVE", "USER", "LEFT", "COMMAND")
}

fn show(list: &List) -> String {
    if list.requests.is_empty() {
        return format!(
            "nothing waits for an approval\n{}",
            table::more(list.omitted.into())
        );
    }
    let requests: String = list.requests.iter().map(entry).collect();
    heading() + &requests + &table::more(list.omitted.into())
}

/// One of them: two lines within 80 columns, on the second why, in the words of who asks. A mark stands before
/// those, as on the page that `remit show` makes.
fn entry(request: &PendingView) -> String {
    let yours = match request.yours {
        true => "yes",
        false => "no",
    };
    let left = human::duration(request.left_ms);
    let name = request::name(request.job);
    let reason = fold::cut(&request.reason, 64);
    row(&name, yours, &request.user, &left, &request.command) + &format!("{:14}| {reason}\n", "")
}

fn row(name: &str, yours: &str, user: &str, left: &str, command: &str) -> String {
    format!(
        "  {name:<9}  {yours:<11}  {}  {left:>11}  {}\n",
        fold::cell(user, 12),
        fold::cut(command, 27)
    )
}
