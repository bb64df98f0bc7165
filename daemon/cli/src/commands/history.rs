use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::{calendar, caps};
use remit_wire::{HistoryEntry, HistoryPage, HistoryQuery, Kind, Reply, Request};

use crate::args::HistoryArgs;
use crate::client::admin_socket;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table::Table;
use crate::render::units::{self, Colour, Width};

pub fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, Failure> {
    let all_users = is_of_all_users(context, args);
    let page = asked(context, args, all_users)?;
    match context.form {
        Form::Json => output::json(&page)?,
        Form::Text => {
            let render = Render {
                width: context.width,
                has_colours: units::is_color_wanted(),
            };
            let lines = show(&page, all_users, render);
            output::painted(&lines)?;
        }
    }
    Ok(Exit::OK)
}

fn asked(context: &Context, args: &HistoryArgs, all_users: bool) -> Result<HistoryPage, Failure> {
    let now = calendar::now_ms();
    let since_ms = args.since.as_ref().map(|since| since.unix_ms(now));
    let mut source = HistorySource::of(context, args, all_users)?;
    let mut all = HistoryPage {
        entries: Vec::new(),
        next: args.before,
    };
    loop {
        let fetched = u32::try_from(all.entries.len()).unwrap_or(u32::MAX);
        let page = source.ask(HistoryQuery {
            before: all.next,
            since_ms,
            kind: args.kind,
            limit: args.limit.saturating_sub(fetched).min(caps::HISTORY_PAGE),
        })?;
        all.next = page.next;
        let is_over = page.entries.is_empty() || page.next.is_none();
        all.entries.extend(page.entries);
        if is_over || all.entries.len() as u64 >= u64::from(args.limit) {
            return Ok(all);
        }
    }
}

enum HistorySource<'a> {
    Own(Box<Daemon>),
    Any(&'a Context, Option<String>),
}

impl<'a> HistorySource<'a> {
    fn of(context: &'a Context, args: &HistoryArgs, all_users: bool) -> Result<Self, Failure> {
        match all_users || args.user.is_some() {
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
                admin_socket::ask(context, request, |reply| match reply {
                    AdminReply::History(page) => Some(page),
                    _ => None,
                })
            }
        }
    }
}

/// As in `remit jobs`, administrators see all users by default.
fn is_of_all_users(context: &Context, args: &HistoryArgs) -> bool {
    let unsaid = args.user.is_none() && !args.mine;
    args.all || unsaid && admin_socket::may_ask(context)
}

fn show(page: &HistoryPage, all_users: bool, render: Render) -> String {
    if page.entries.is_empty() {
        return "nothing\n".to_owned();
    }
    let lines = match all_users {
        true => {
            let mut table = Table::new([
                "USER", "TIME", "EVENT", "~VERDICT", "JOB", "~COMMAND", "~?CAUSE",
            ]);
            for entry in &page.entries {
                let [time, kind, verdict, job, command, cause] = &cells(entry);
                table.painted_row(
                    colour(entry),
                    [&entry.user, time, kind, verdict, job, command, cause],
                );
            }
            render.table(&table)
        }
        false => {
            let mut table = Table::new(["TIME", "EVENT", "~VERDICT", "JOB", "~COMMAND", "~?CAUSE"]);
            for entry in &page.entries {
                table.painted_row(colour(entry), cells(entry).each_ref().map(String::as_str));
            }
            render.table(&table)
        }
    };
    lines + &older(page)
}

#[derive(Clone, Copy)]
struct Render {
    width: Width,
    has_colours: bool,
}

impl Render {
    fn table<const N: usize>(self, table: &Table<N>) -> String {
        match self.has_colours {
            true => table.painted(self.width),
            false => table.render(self.width),
        }
    }
}

fn cells(entry: &HistoryEntry) -> [String; 6] {
    let job = entry.job_id.as_deref().unwrap_or_default();
    [
        units::time(entry.at_ms / 1000),
        entry.kind.as_str().to_owned(),
        entry.verdict.clone(),
        job.get(..8).unwrap_or(job).to_owned(),
        entry.command.clone().unwrap_or_default(),
        entry.cause.clone().unwrap_or_default(),
    ]
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
    fn page_table_tells_next_page() {
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
        let expect = "  TIME                     EVENT    VERDICT  JOB       COMMAND      CAUSE
  2026-11-20 08:25:48 UTC  ended    exited   7d025d0d  df -h        exited with status 0
  2026-11-20 08:25:48 UTC  started  allow    7d025d0d  df\\n\\x1b[2J  -
  2026-11-20 08:25:48 UTC  refused  busy     -         -            too many jobs
  … older ones: the same with --before 7
";
        let plain = Render {
            width: Width::UNLIMITED,
            has_colours: false,
        };
        assert_eq!(show(&page, false, plain), expect);
        let painted = Render {
            has_colours: true,
            ..plain
        };
        let painted = show(&page, false, painted);
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
        let all = show(&page, true, plain);
        let first =
            "  USER   TIME                     EVENT    VERDICT  JOB       COMMAND      CAUSE\n";
        assert!(all.starts_with(first) && !all.contains("older"), "{all}");
        assert!(all.contains("\n  alice  2026"), "{all}");
        assert_eq!(show(&HistoryPage::default(), false, plain), "nothing\n");
    }
}
