//! The journal: read by one child from the newest entry backwards, combined, and shown oldest first.

mod child;
pub(crate) mod entries;
mod unit_files;

use std::path::Path;
use std::time::Duration;

use remit_common::builtin::LogQuery;
use remit_common::calendar;

use crate::logs::entries::{Entry, Fold, Group};
use crate::text::{DAY, SECOND, exact, now, stamp};
use child::{Journal, Older};

/// Maximum older entries that are counted. Above this the text says "more than".
const COUNTED: u64 = 10_000;
/// Time for reading the journal: of a question about it, and of one about something else.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// As many lines as the query asks for, and a count of the omitted entries.
    All,
    /// This many lines, without a count.
    Newest(u16),
}

#[derive(Debug, PartialEq, Eq)]
pub struct ShownEntries {
    groups: Vec<Group>,
    /// Entries of that time that are not shown, because they are too long.
    too_long: u64,
    older: Older,
}

/// Returns the text of the command `logs`. Fails as [`read`].
pub fn text(query: &LogQuery) -> Result<String, String> {
    let shown = read(query, Extent::All)?;
    let missing = shown.missing_unit(query, Path::new("/"));
    let begin = shown.is_silent().then(|| begin(query)).flatten();
    Ok(shown.text(query) + &missing.unwrap_or_default() + &begin.unwrap_or_default())
}

/// Returns a line if the time that the query is about begins before the journal does.
fn begin(query: &LogQuery) -> Option<String> {
    let since = query.since.as_ref()?.unix_ms(now().saturating_mul(1000));
    let mut journal = Journal::ask(&child::options_of_oldest(), SHORT_PATIENCE).ok()?;
    let oldest = journal.line().ok()?.and_then(|line| entries::parse(&line));
    journal.end(false).ok()?;
    let oldest = oldest?.time;
    let is_later = oldest / 1000 > since;
    is_later.then(|| format!("the journal begins at {}\n", stamp(oldest / SECOND)))
}

/// Reads the newest entries. Fails if there is no journal, it is unreadable, or journalctl rejects the query.
pub fn read(query: &LogQuery, extent: Extent) -> Result<ShownEntries, String> {
    let (lines, patience) = match extent {
        Extent::All => (query.lines.get(), PATIENCE),
        Extent::Newest(lines) => (lines, SHORT_PATIENCE),
    };
    read_from(
        Journal::ask(&child::options(query), patience)?,
        lines,
        extent,
    )
}

fn read_from(mut journal: Journal, lines: u16, extent: Extent) -> Result<ShownEntries, String> {
    let mut fold = Fold::new(usize::from(lines));
    let (mut older, mut too_long) = (Older::None, 0);
    while let Some(line) = journal.line()? {
        let Some(entry) = entries::parse(&line) else {
            too_long += 1;
            continue;
        };
        if fold.add(entry) {
            continue;
        }
        older = match extent {
            Extent::All => journal.count(COUNTED)?,
            Extent::Newest(_) => Older::MoreThan(0),
        };
        break;
    }
    let older = journal.unread().unwrap_or(older);
    let groups = fold.oldest_first();
    journal.end(groups.is_empty() && too_long == 0)?;
    Ok(ShownEntries {
        groups,
        too_long,
        older,
    })
}

/// Returns what sshd wrote that matches `pattern`, the newest first, and a sentence if that is not all. A message of sshd has at
/// most 1,024 bytes (log.c), so a longer one is left out.
pub fn of_sshd(pattern: &str, most: usize) -> Result<(Vec<Entry>, Option<String>), String> {
    let mut journal = Journal::ask(&child::options_of_sshd(pattern), PATIENCE)?;
    let mut entries = Vec::new();
    let mut left_out = None;
    while let Some(line) = journal.line()? {
        if entries.len() >= most {
            left_out = Some(format!("only the newest {most} messages were read"));
            break;
        }
        entries.extend(entries::parse(&line));
    }
    if let Some(Older::Unread(time)) = journal.unread() {
        left_out = Some(unread(time));
    }
    journal.end(entries.is_empty())?;
    Ok((entries, left_out))
}

fn unread(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("the journal was read for {seconds} s, and older entries were not looked at")
}

impl ShownEntries {
    /// Returns true if nothing matches in all of the journal.
    fn is_silent(&self) -> bool {
        self.groups.is_empty() && self.too_long == 0 && self.older == Older::None
    }

    /// Returns a line if nothing matches and the unit has no file beneath `root`.
    fn missing_unit(&self, query: &LogQuery, root: &Path) -> Option<String> {
        let unit = query.unit.as_ref().filter(|_| self.is_silent())?;
        unit_files::missing(root, unit)
    }

    fn text(&self, query: &LogQuery) -> String {
        if self.is_silent() {
            return "no entry matches\n".into();
        }
        self.left_out() + &self.unshown() + &lines(&self.groups, query)
    }

    pub fn below_status(&self, query: &LogQuery) -> String {
        let of = query.unit.as_ref().map_or("", |unit| unit.as_str());
        if self.is_silent() {
            return format!("no entry of the journal is of {of}\n");
        }
        if self.groups.is_empty() {
            return self.left_out() + &self.unshown();
        }
        let more = match self.older {
            Older::None => String::new(),
            Older::Exactly(_) | Older::MoreThan(_) => format!(" (more: logs unit={of})"),
            Older::Unread(_) => format!(" (older ones were not looked at: logs unit={of})"),
        };
        let lines = lines(&self.groups, query);
        format!("last log lines{more}\n{}{lines}", self.unshown())
    }

    fn unshown(&self) -> String {
        match self.too_long {
            0 => String::new(),
            1 => "1 entry is too long to be shown\n".to_owned(),
            more => format!("{more} entries are too long to be shown\n"),
        }
    }

    fn left_out(&self) -> String {
        let count = match self.older {
            Older::None => return String::new(),
            Older::Exactly(count) => count.to_string(),
            Older::MoreThan(count) => format!("more than {count}"),
            Older::Unread(time) => return unread(time) + &self.narrower(),
        };
        let until = self.until();
        format!("{count} older entries are left out: ask with more lines, or {until}\n")
    }

    fn narrower(&self) -> String {
        match self.groups.is_empty() {
            true => "; of the newer ones none is shown: ask with since, until or unit\n".to_owned(),
            false => format!(": ask with {}\n", self.until()),
        }
    }

    /// Returns the argument of the next query: the last microsecond before the first entry shown, so it neither repeats nor
    /// skips an entry.
    fn until(&self) -> String {
        let first = self.groups.first().map_or(0, |group| group.first);
        format!("until='{}'", exact(first.saturating_sub(1)))
    }
}

fn lines(groups: &[Group], query: &LogQuery) -> String {
    let mut text = String::new();
    let mut day = String::new();
    for group in groups {
        let own = calendar::day(group.first / SECOND / DAY);
        if own != day {
            text += &format!("{own} UTC\n");
            day = own;
        }
        text += &group.line(query.unit.is_none());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(messages: &[(u64, &str)], lines: usize, older: Older) -> ShownEntries {
        let mut fold = Fold::new(lines);
        for (time, message) in messages.iter().rev() {
            fold.add(Entry {
                time: *time * SECOND,
                unit: Some("a.service".into()),
                writer: "a".into(),
                pid: Some("7".into()),
                priority: 6,
                message: (*message).into(),
            });
        }
        ShownEntries {
            groups: fold.oldest_first(),
            too_long: 0,
            older,
        }
    }

    #[test]
    fn lines_are_grouped_by_day_oldest_first() {
        let query = LogQuery::default();
        let messages = [
            (86_399, "one"),
            (86_400, "two"),
            (86_401, "two"),
            (86_402, "three"),
        ];
        assert_eq!(
            shown(&messages, 9, Older::None).text(&query),
            "1970-01-01 UTC\n23:59:59 a[7]: one\n1970-01-02 UTC\n\
             00:00:00 a[7]: two (\u{d7} 2 until 00:00:01)\n00:00:02 a[7]: three\n"
        );
        assert_eq!(
            shown(&messages, 1, Older::Exactly(3)).text(&query),
            "3 older entries are left out: ask with more lines, or until='1970-01-02 00:00:01.999999'\n\
             1970-01-02 UTC\n00:00:02 a[7]: three\n"
        );
        let cut = Older::Unread(PATIENCE);
        let unread = "the journal was read for 60 s, and older entries were not looked at";
        assert_eq!(
            shown(&messages, 1, cut).text(&query),
            format!(
                "{unread}: ask with until='1970-01-02 00:00:01.999999'\n\
                 1970-01-02 UTC\n00:00:02 a[7]: three\n"
            )
        );
        let status = shown(&messages, 1, cut).below_status(&LogQuery {
            unit: "a".parse().ok(),
            ..LogQuery::default()
        });
        let expect = "last log lines (older ones were not looked at: logs unit=a.service)\n1970";
        assert!(status.starts_with(expect), "{status}");
        let nothing = shown(&[], 1, cut);
        let expect =
            format!("{unread}; of the newer ones none is shown: ask with since, until or unit\n");
        assert_eq!(nothing.text(&query), expect);
        assert_eq!(nothing.below_status(&query), expect);
        let none = shown(&[], 1, Older::None);
        assert_eq!(none.text(&query), "no entry matches\n");
        let query = LogQuery {
            unit: "a".parse().ok(),
            ..query
        };
        assert_eq!(
            none.below_status(&query),
            "no entry of the journal is of a.service\n"
        );
        let below = shown(&messages, 1, Older::MoreThan(0)).below_status(&query);
        assert!(
            below.starts_with("last log lines (more: logs unit=a.service)\n1970"),
            "{below}"
        );
    }

    #[test]
    fn flood_of_equal_entries_is_shown_as_far_as_it_was_read() {
        let entry = r#"{"__REALTIME_TIMESTAMP":"1000000","MESSAGE":"again"}"#;
        for extent in [Extent::All, Extent::Newest(9)] {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("while :; do echo '{entry}'; done")]);
            let patience = Duration::from_secs(3);
            let journal = Journal::start(&mut command, patience).unwrap();
            let found = read_from(journal, 9, extent).unwrap();
            assert_eq!(found.older, Older::Unread(patience), "{extent:?}");
            let text = found.text(&LogQuery::default());
            assert!(text.contains("again (\u{d7} "), "{text}");
        }
    }

    #[test]
    fn unit_is_looked_for_only_if_nothing_matches() {
        let template = std::env::temp_dir().join("remit-look-logs-XXXXXX");
        let root = nix::unistd::mkdtemp(&template).unwrap();
        let directory = root.join("usr/lib/systemd/system");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("nginx.service"), "").unwrap();
        let none = || shown(&[], 1, Older::None);
        let too_long = ShownEntries {
            too_long: 1,
            ..none()
        };
        for (entries, unit, is_said) in [
            (none(), Some("ngnix"), true),
            (none(), Some("nginx"), false),
            (none(), None, false),
            (too_long, Some("ngnix"), false),
            (shown(&[], 1, Older::Unread(PATIENCE)), Some("ngnix"), false),
            (shown(&[(1, "one")], 1, Older::None), Some("ngnix"), false),
        ] {
            let query = LogQuery {
                unit: unit.map(|unit| unit.parse().unwrap()),
                ..LogQuery::default()
            };
            let line = entries.missing_unit(&query, &root);
            assert_eq!(line.is_some(), is_said, "{unit:?} {entries:?}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
