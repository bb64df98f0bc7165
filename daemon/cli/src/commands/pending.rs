//! `remit pending`: lists requests that wait for approval, or watches them.

use std::collections::HashMap;

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::names::JobId;
use remit_common::text;
use serde_json::{Value, json};

use super::signing::afar;
use crate::args::PendingArgs;
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units::Width;
use crate::render::untrusted_columns::Page;
use crate::render::{job_end, request_json, table, units, untrusted_columns};

/// At least; a wider terminal shows more of the command and the reason, and a narrower one folds them.
const COLUMNS: usize = 80;
/// Columns before the command, without those of user and time left, and before the reason.
const BEFORE_COMMAND: usize = 30;
const BEFORE_REASON: usize = 16;
const USER: &str = "USER";
const LEFT: &str = "LEFT";

/// Columns of a list: its own, and those of the cells whose width depends on the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    all: usize,
    user: usize,
    left: usize,
}

impl Columns {
    /// Those for any request: a list that is watched has its heading before its requests.
    fn widest(width: Width) -> Self {
        Self {
            all: width.limit().unwrap_or(COLUMNS).max(COLUMNS),
            user: 12,
            left: 11,
        }
    }

    /// No wider than these requests need: the command has the rest.
    fn for_list(requests: &[PendingView], width: Width) -> Self {
        let most = Self::widest(width);
        let users = requests
            .iter()
            .map(|one| untrusted_columns::columns(&one.user));
        let left = requests
            .iter()
            .map(|one| units::duration(one.left_ms).len());
        Self {
            user: users.fold(USER.len(), usize::max).min(most.user),
            left: left.fold(LEFT.len(), usize::max).min(most.left),
            ..most
        }
    }

    const fn command(self) -> usize {
        self.all
            .saturating_sub(BEFORE_COMMAND + self.user + self.left)
    }

    const fn reason(self) -> usize {
        self.all.saturating_sub(BEFORE_REASON)
    }
}

#[derive(Debug)]
pub struct List {
    pub state: u64,
    pub requests: Vec<PendingView>,
    pub omitted: u32,
}

pub fn pending(context: &Context, args: &PendingArgs) -> Result<Exit, Failure> {
    match (args.watch, context.form) {
        (true, Form::Json) => watch_lists(context),
        (true, Form::Text) => watch(context, args.is_afar),
        (false, form) => {
            let list = list(context, None)?;
            match form {
                Form::Json => output::json(&json_list(&list))?,
                Form::Text => output::text(&show(&list, context.width, args.is_afar))?,
            }
            Ok(Exit::OK)
        }
    }
}

fn json_list(list: &List) -> Value {
    let requests: Vec<Value> = list.requests.iter().map(request_json::pending).collect();
    json!({ "requests": requests, "omitted": list.omitted })
}

/// Prints the whole list at each change: a program that reads it also sees which requests are gone.
fn watch_lists(context: &Context) -> Result<Exit, Failure> {
    output::end_without_reader();
    let mut seen = None;
    loop {
        let now = list(context, seen)?;
        output::json_part(&json_list(&now))?;
        seen = Some(now.state);
    }
}

pub fn list(context: &Context, seen: Option<u64>) -> Result<List, Failure> {
    admin_socket::ask(
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

fn watch(context: &Context, is_afar: bool) -> Result<Exit, Failure> {
    let width = context.width;
    let columns = Columns::widest(width);
    let mut seen = None;
    // With the number of missing approvals: a request is shown again when somebody has approved it.
    let mut known: HashMap<JobId, u8> = HashMap::new();
    output::end_without_reader();
    loop {
        let now = list(context, seen)?;
        if seen.is_none() {
            output::note("waiting for requests; Ctrl-C leaves");
            output::part(&folded(&heading(columns), width))?;
        }
        for request in &now.requests {
            if known.get(&request.job) == Some(&request.missing) {
                continue;
            }
            let lines = entry(request, columns) + &line(request, is_afar);
            output::part(&folded(&lines, width))?;
        }
        let is_over = |job: &&JobId| now.requests.iter().all(|request| request.job != **job);
        // A request omitted from the answer may still wait.
        if now.omitted == 0 {
            for job in known.keys().filter(is_over) {
                output::part(&folded(&over(context, *job), width))?;
            }
        }
        let requests = now.requests.iter();
        known = requests
            .map(|request| (request.job, request.missing))
            .collect();
        seen = Some(now.state);
    }
}

/// Escapes the lines, and folds them as a page.
fn folded(lines: &str, width: Width) -> String {
    let mut page = Page::default();
    for line in lines.lines() {
        page.line(&text::line(line.as_bytes(), usize::MAX));
    }
    page.text(false, width)
}

/// Returns the command that an approver types; empty if the caller cannot approve. `is_afar`: the key is on another machine.
fn line(request: &PendingView, is_afar: bool) -> String {
    let name = units::name(request.job);
    match request.yours {
        true => format!(
            "{:14}: {}\n",
            "",
            approval(&name, request.signed.is_some(), is_afar)
        ),
        false => String::new(),
    }
}

fn approval(id: &str, is_signed: bool, is_afar: bool) -> String {
    match (is_signed, is_afar) {
        (false, _) => format!("remit approve {id}"),
        (true, false) => format!("remit approve {id} --signed"),
        (true, true) => afar(id),
    }
}

/// Returns the line below a list: what to type for any of these requests.
fn next(requests: &[PendingView], is_afar: bool) -> String {
    let is_signed = |one: &PendingView| one.signed.is_some();
    let approve = match requests.iter().all(is_signed) {
        false if requests.iter().any(is_signed) => match is_afar {
            true => format!("remit approve ID, or with a signature {}", afar("ID")),
            false => "remit approve ID [--signed]".to_owned(),
        },
        is_signed => approval("ID", is_signed, is_afar),
    };
    format!("to go on: remit show ID; {approve}; remit deny ID -m WHY\n")
}

fn over(context: &Context, job: JobId) -> String {
    let name = units::name(job);
    match admin_socket::any_job(context, job.to_string(), false) {
        Ok(job) if job.kill_verified.is_some() => format!("  {}\n", job_end::sentence(&job)),
        Ok(job) => format!("  {name}: approved, {}\n", job.state.as_str()),
        Err(_) => format!("  {name}: no longer pending\n"),
    }
}

fn heading(columns: Columns) -> String {
    row("REQUEST", "CAN APPROVE", USER, LEFT, "COMMAND", columns)
}

fn show(list: &List, width: Width, is_afar: bool) -> String {
    let columns = Columns::for_list(&list.requests, width);
    if list.requests.is_empty() {
        return format!(
            "no requests wait for an approval\n{}",
            table::more(list.omitted.into())
        );
    }
    let entries = list.requests.iter().map(|request| entry(request, columns));
    let lines = heading(columns)
        + &entries.collect::<String>()
        + &table::more(list.omitted.into())
        + &next(&list.requests, is_afar);
    folded(&lines, width)
}

/// Formats a request in two lines, and more for what is claimed. After a mark, as in `remit show`, are untrusted words of the requester.
fn entry(request: &PendingView, columns: Columns) -> String {
    let yours = match request.yours {
        true => "yes",
        false => "no",
    };
    let left = units::duration(request.left_ms);
    let name = units::name(request.job);
    let reason = match request.reason.as_str() {
        "" => ": no reason was given".to_owned(),
        reason => format!("| {}", untrusted_columns::cut(reason, columns.reason())),
    };
    let signed = request
        .signed
        .map(|signed| format!("{:14}: needs {}\n", "", signed.asked()));
    let set = request.set.map(|set| format!("{:14}: set {set}\n", ""));
    let behalf = request.behalf.as_ref().map(|behalf| {
        let words = format!("unverified: for {behalf}");
        let words = untrusted_columns::cut(&words, columns.reason());
        format!("{:14}| {words}\n", "")
    });
    let approved_by = match request.approved_by.as_slice() {
        [] => String::new(),
        approved_by => format!(
            "{:14}: approved by {}; {} missing\n",
            "",
            approved_by.join(", "),
            units::count(request.missing, "approval")
        ),
    };
    row(
        &name,
        yours,
        &request.user,
        &left,
        &request.command,
        columns,
    ) + &format!("{:14}{reason}\n", "")
        + &behalf.unwrap_or_default()
        + &set.unwrap_or_default()
        + &signed.unwrap_or_default()
        + &approved_by
}

fn row(name: &str, yours: &str, user: &str, left: &str, command: &str, columns: Columns) -> String {
    format!(
        "  {name:<9}  {yours:<11}  {}  {left:>width$}  {}\n",
        untrusted_columns::cell(user, columns.user),
        untrusted_columns::cut(command, columns.command()),
        width = columns.left,
    )
}

#[cfg(test)]
mod tests {
    use remit_common::signed::Signed;

    use super::*;
    use crate::commands::top::tests::request;

    #[test]
    fn command_has_the_columns_that_the_others_do_not_need() {
        let command = "service.restart unit=nginx.service";
        for (user, left_ms, cut) in [
            ("agent", 599_000, command),
            ("agent", 90_000, command),
            (
                "a-user-with-a-long-name",
                599_000,
                "service.restart unit=nginx…",
            ),
        ] {
            let list = List {
                state: 1,
                requests: vec![PendingView {
                    user: user.to_owned(),
                    left_ms,
                    command: command.to_owned(),
                    ..request(7)
                }],
                omitted: 0,
            };
            let rows = show(&list, Width::columns(80), false);
            let mut rows = rows.lines();
            let (heading, row) = (rows.next().unwrap(), rows.next().unwrap());
            assert!(row.ends_with(&format!("  {cut}")), "{row}");
            let begins = heading.find("COMMAND").unwrap();
            let before = row.strip_suffix(cut).unwrap();
            assert_eq!(untrusted_columns::columns(before), begins, "{row}");
        }
    }

    #[test]
    fn lines_to_type_sign_what_needs_it() {
        let signed = PendingView {
            signed: Some(Signed::Touch),
            ..request(7)
        };
        assert!(line(&signed, false).ends_with(": remit approve 0707-0707 --signed\n"));
        // A key of 'enroll-approver' may not sign here.
        let on = line(&signed, true);
        assert!(
            on.contains(": on your own computer: remit approve --on "),
            "{on}"
        );
        assert!(on.ends_with(" 0707-0707\n"), "{on}");
        for is_afar in [false, true] {
            let line = line(&request(7), is_afar);
            assert!(line.ends_with(": remit approve 0707-0707\n"), "{line}");
        }
        let (own, both) = (vec![signed.clone()], vec![request(7), signed]);
        for (requests, is_afar, expect) in [
            (&vec![request(7)], false, "; remit approve ID;"),
            (&vec![request(7)], true, "; remit approve ID;"),
            (&own, false, "; remit approve ID --signed;"),
            (&own, true, "; on your own computer: remit approve --on "),
            (&both, false, "; remit approve ID [--signed];"),
            (
                &both,
                true,
                "; remit approve ID, or with a signature on your own",
            ),
        ] {
            let line = next(requests, is_afar);
            assert!(line.contains(expect), "{line}");
            assert!(!is_afar || !line.contains("--signed"), "{line}");
        }
    }

    #[test]
    fn narrow_terminal_has_the_mark_in_each_row() {
        let forged = format!("{}  approved by | carol, erin", "A".repeat(24));
        let list = List {
            state: 1,
            requests: vec![PendingView {
                command: forged.clone(),
                reason: forged,
                ..request(7)
            }],
            omitted: 0,
        };
        for width in 40..80 {
            let rows = show(&list, Width::columns(width), false);
            let begins = ["  REQUEST", "  0707-0707  yes", "to go on: "];
            for row in rows.lines() {
                assert!(untrusted_columns::columns(row) <= width, "{width}: {rows}");
                let mark = row.chars().nth(14).filter(|mark| "|+:".contains(*mark));
                let is_own = begins.iter().any(|begin| row.starts_with(begin));
                assert!(mark.is_some() || is_own, "{width}: {rows}");
            }
            assert!(begins.iter().all(|begin| rows.matches(begin).count() == 1));
        }
    }
}
