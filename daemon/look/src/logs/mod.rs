//! The journal: asked by one child, read from its newest entry back, folded, shown oldest first.

mod child;
mod entry;
mod fold;
mod options;

use remit_common::builtin::LogQuery;

use crate::times::{SECOND, date, exact};
use child::Journal;
use fold::{Fold, Group};

/// Older entries that are counted when enough are shown; beyond that "more than" is enough.
const COUNTED: u64 = 10_000;

/// How much of the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// As many lines as the query says, and how many entries were left out.
    All,
    /// So many lines, and nothing about the rest.
    Newest(u16),
}

/// What the journal answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Oldest first.
    groups: Vec<Group>,
    older: Older,
}

/// Entries that match and are older than those shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    None,
    Exactly(u64),
    MoreThan(u64),
}

/// Reads the newest entries.
///
/// # Errors
/// A sentence: there is no journal, it may not be read, or journalctl refuses the question.
pub fn read(query: &LogQuery, extent: Extent) -> Result<Shown, String> {
    let lines = match extent {
        Extent::All => query.lines.get(),
        Extent::Newest(lines) => lines,
    };
    let mut journal = Journal::ask(&options::of(query))?;
    let mut fold = Fold::new(usize::from(lines));
    let mut older = Older::None;
    while let Some(line) = journal.line()? {
        let Some(entry) = entry::parse(&line) else {
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
    let groups = fold.oldest_first();
    journal.end(groups.is_empty())?;
    Ok(Shown { groups, older })
}

impl Shown {
    /// The answer to `logs`.
    pub fn text(&self, query: &LogQuery) -> String {
        if self.groups.is_empty() {
            return "no entry matches\n".into();
        }
        self.left_out() + &lines(&self.groups, query)
    }

    /// The part of `service.status` that stands below the unit.
    pub fn below_status(&self, query: &LogQuery) -> String {
        let of = query.unit.as_ref().map_or("", |unit| unit.as_str());
        if self.groups.is_empty() {
            return format!("no entry of the journal is of {of}\n");
        }
        let more = match self.older {
            Older::None => String::new(),
            Older::Exactly(_) | Older::MoreThan(_) => format!(" (more: logs unit={of})"),
        };
        format!("last log lines{more}\n{}", lines(&self.groups, query))
    }

    /// How much is not shown, and how it can be seen.
    fn left_out(&self) -> String {
        let count = match self.older {
            Older::None => return String::new(),
            Older::Exactly(count) => count.to_string(),
            Older::MoreThan(count) => format!("more than {count}"),
        };
        let first = self.groups.first().map_or(0, |group| group.first);
        // The last moment before the first one shown: asked so, nothing is told twice or never.
        let until = exact(first.saturating_sub(1));
        format!("{count} older entries are left out: ask with more lines, or until='{until}'\n")
    }
}

/// The groups, with the day above the first one of each.
fn lines(groups: &[Group], query: &LogQuery) -> String {
    let mut text = String::new();
    let mut day = String::new();
    for group in groups {
        let own = date(group.first / SECOND);
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

    fn shown(messages: &[(u64, &str)], lines: usize, older: Older) -> Shown {
        let mut fold = Fold::new(lines);
        for (time, message) in messages.iter().rev() {
            fold.add(entry::Entry {
                time: *time * SECOND,
                unit: Some("a.service".into()),
                who: "a".into(),
                pid: Some("7".into()),
                priority: 6,
                message: (*message).into(),
            });
        }
        Shown {
            groups: fold.oldest_first(),
            older,
        }
    }

    #[test]
    fn lines_stand_under_their_day_oldest_first() {
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
}
