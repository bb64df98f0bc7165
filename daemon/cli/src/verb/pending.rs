//! `remit pending`: what waits for an approval, and what comes.

use std::collections::HashSet;

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::names::JobId;
use remit_common::text;
use serde_json::{Value, json};

use crate::admin;
use crate::app::Context;
use crate::args::PendingArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::table::{self, Table};
use crate::{human, request};

/// The longest command and the longest reason in a list, in bytes: `remit show` has them whole.
const CUT: usize = 32;

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
        for request in &now.requests {
            if known.contains(&request.job) {
                continue;
            }
            match context.form {
                Form::Json => output::json(&request::pending_json(request))?,
                Form::Text => output::text(&line(request))?,
            }
        }
        known = now.requests.iter().map(|request| request.job).collect();
        seen = Some(now.state);
    }
}

fn show(list: &List) -> String {
    if list.requests.is_empty() {
        return format!(
            "nothing waits for an approval\n{}",
            table::more(list.omitted.into())
        );
    }
    let mut table = Table::new(["REQUEST", "YOURS", "USER", ">LEFT", "COMMAND", "REASON"]);
    for request in &list.requests {
        let cells = row(request);
        table.row(cells.each_ref().map(String::as_str));
    }
    table.render() + &table::more(list.omitted.into())
}

fn row(request: &PendingView) -> [String; 6] {
    let cut = |words: &str| text::line(words.as_bytes(), CUT);
    [
        request::name(request.job),
        match request.yours {
            true => "yes".to_owned(),
            false => "no".to_owned(),
        },
        cut(&request.user),
        human::duration(request.left_ms),
        cut(&request.command),
        cut(&request.reason),
    ]
}

/// One alone, as in the table.
fn line(request: &PendingView) -> String {
    let [name, yours, user, left, command, reason] = row(request).map(|cell| table::cell(&cell));
    format!("  {name:<9}  {yours:<5}  {user:<12}  {left:>12}  {command:<24}  {reason}\n")
}
