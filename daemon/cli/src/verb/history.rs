//! `remit history`: what one has done here, or for administrators what anybody has.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::wire::{HistoryEntry, HistoryPage, HistoryQuery, Kind, Reply, Request};

use crate::app::Context;
use crate::args::HistoryArgs;
use crate::colour::{self, Colour};
use crate::daemon::Daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::table::Table;
use crate::{admin, human};

/// Shows it, newest first.
pub fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, Failure> {
    let everybodys = is_everybodys(context, args);
    let page = asked(context, args, everybodys)?;
    match context.form {
        Form::Json => output::json(&page)?,
        Form::Text => {
            let lines = show(&page, everybodys);
            let lines = match colour::is_wanted() {
                true => painted(&lines, &page.entries),
                false => lines,
            };
            io::stdout().lock().write_all(lines.as_bytes())?;
        }
    }
    Ok(Exit::OK)
}

/// As many entries as are wanted, by as many questions as that takes.
fn asked(context: &Context, args: &HistoryArgs, everybodys: bool) -> Result<HistoryPage, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let since_ms = args.since.as_ref().map(|since| since.unix_ms(now));
    let mut source = Source::of(context, args, everybodys)?;
    let mut all = HistoryPage {
        entries: Vec::new(),
        next: args.before,
    };
    loop {
        let had = u32::try_from(all.entries.len()).unwrap_or(u32::MAX);
        let page = source.ask(HistoryQuery {
            before: all.next,
            since_ms,
            kind: args.kind,
            limit: args.limit.saturating_sub(had).min(caps::HISTORY_PAGE),
        })?;
        all.next = page.next;
        let is_over = page.entries.is_empty() || page.next.is_none();
        all.entries.extend(page.entries);
        if is_over || all.entries.len() as u64 >= u64::from(args.limit) {
            return Ok(all);
        }
    }
}

/// Who is asked.
enum Source<'a> {
    /// The socket for everybody: one's own.
    Own(Box<Daemon>),
    /// The socket of administrators: this user's, or all.
    Any(&'a Context, Option<String>),
}

impl<'a> Source<'a> {
    fn of(context: &'a Context, args: &HistoryArgs, everybodys: bool) -> Result<Self, Failure> {
        match everybodys || args.user.is_some() {
            true => Ok(Self::Any(context, args.user.clone())),
            false => Ok(Self::Own(Box::new(Daemon::connect(&context.runtime)?))),
        }
    }

    fn ask(&mut self, query: HistoryQuery) -> Result<HistoryPage, Failure> {
        match self {
            Self::Own(daemon) => match daemon.call(Request::History(query))? {
                Reply::History(page) => Ok(page),
                _ => Err(Failure::off_protocol()),
            },
            Self::Any(context, user) => {
                let user = user.clone();
                let request = AdminRequest::History { user, query };
                admin::ask(context, request, |reply| match reply {
                    AdminReply::History(page) => Some(page),
                    _ => None,
                })
            }
        }
    }
}

/// Whether everybody's history is asked for. As of `remit jobs`: administrators see it unless they say otherwise.
fn is_everybodys(context: &Context, args: &HistoryArgs) -> bool {
    let unsaid = args.user.is_none() && !args.mine;
    args.all || unsaid && admin::may_ask(context)
}

fn show(page: &HistoryPage, everybodys: bool) -> String {
    if page.entries.is_empty() {
        return "nothing\n".to_owned();
    }
    let lines = match everybodys {
        true => {
            let mut table = Table::new([
                "USER", "TIME", "EVENT", "VERDICT", "JOB", "COMMAND", "CAUSE",
            ]);
            for entry in &page.entries {
                let [time, kind, verdict, job, command, cause] = &cells(entry);
                table.row([&entry.user, time, kind, verdict, job, command, cause]);
            }
            table.render()
        }
        false => {
            let mut table = Table::new(["TIME", "EVENT", "VERDICT", "JOB", "COMMAND", "CAUSE"]);
            for entry in &page.entries {
                table.row(cells(entry).each_ref().map(String::as_str));
            }
            table.render()
        }
    };
    lines + &older(page)
}

fn cells(entry: &HistoryEntry) -> [String; 6] {
    let job = entry.job_id.as_deref().unwrap_or_default();
    [
        human::time(entry.at_ms / 1000),
        entry.kind.as_str().to_owned(),
        entry.verdict.clone(),
        job.get(..8).unwrap_or(job).to_owned(),
        entry.command.clone().unwrap_or_default(),
        entry.cause.clone().unwrap_or_default(),
    ]
}

/// The same lines, each entry's in the colour of what it means. Cells are printable already.
fn painted(lines: &str, entries: &[HistoryEntry]) -> String {
    let heading = std::iter::once(Colour::Plain);
    let colours = heading.chain(entries.iter().map(colour));
    let colours = colours.chain(std::iter::repeat(Colour::Plain));
    let lines = lines.lines().zip(colours);
    lines
        .map(|(line, colour)| colour.paint(line) + "\n")
        .collect()
}

fn colour(entry: &HistoryEntry) -> Colour {
    match (entry.kind, entry.verdict.as_str()) {
        (Kind::Refused, _) | (Kind::Decided, "denied" | "expired" | "void") => Colour::Red,
        (Kind::Asked | Kind::Decided, _) => Colour::Yellow,
        (Kind::Ended, "exited") => Colour::Plain,
        (Kind::Ended, _) => Colour::Red,
        (Kind::Started, _) => Colour::Dim,
    }
}

/// The line that says how to go on.
fn older(page: &HistoryPage) -> String {
    match page.next {
        Some(next) => format!("  … older ones: the same with --before {next}\n"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_table_that_says_how_to_go_on() {
        let entry =
            |kind, verdict: &str, command: Option<&str>, cause: Option<&str>| HistoryEntry {
                seq: 7,
                at_ms: 1_795_163_148_042,
                kind,
                user: "alice".into(),
                job_id: command.map(|_| "7d025d0d0000000000000000000000aa".into()),
                command: command.map(str::to_owned),
                verdict: verdict.to_owned(),
                cause: cause.map(str::to_owned),
            };
        let mut page = HistoryPage {
            entries: vec![
                entry(
                    Kind::Ended,
                    "exited",
                    Some("df -h"),
                    Some("exited with status 0"),
                ),
                entry(Kind::Started, "allow", Some("df\n\x1b[2J"), None),
                entry(Kind::Refused, "busy", None, Some("too many jobs")),
            ],
            next: Some(7),
        };
        let expect = "  TIME                  EVENT    VERDICT  JOB       COMMAND      CAUSE
  2026-11-20 08:25:48Z  ended    exited   7d025d0d  df -h        exited with status 0
  2026-11-20 08:25:48Z  started  allow    7d025d0d  df\\n\\x1b[2J  -
  2026-11-20 08:25:48Z  refused  busy     -         -            too many jobs
  … older ones: the same with --before 7
";
        assert_eq!(show(&page, false), expect);
        let painted = painted(&show(&page, false), &page.entries);
        let begins = [
            "  TIME",
            "  2026",
            "\x1b[2m  2026",
            "\x1b[31m  2026",
            "  \u{2026}",
        ];
        assert_eq!(painted.lines().count(), begins.len());
        for (line, begin) in painted.lines().zip(begins) {
            assert!(line.starts_with(begin), "{line:?}");
        }
        page.next = None;
        let all = show(&page, true);
        let first =
            "  USER   TIME                  EVENT    VERDICT  JOB       COMMAND      CAUSE\n";
        assert!(all.starts_with(first) && !all.contains("older"), "{all}");
        assert!(all.contains("\n  alice  2026"), "{all}");
        assert_eq!(show(&HistoryPage::default(), false), "nothing\n");
    }
}
