//! Combines consecutive equal entries into one line with a count. Pure.

use remit_common::builtin::Priorities;

use super::entry::Entry;
use crate::times::{SECOND, clock};

const INFO: usize = 6;

/// Entries that only differ in time and pid. One without a unit matches: journald may miss it for a short process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Time of the oldest, in microseconds since 1970.
    pub first: u64,
    last: u64,
    count: u64,
    entry: Entry,
}

#[derive(Debug)]
pub struct Fold {
    groups: Vec<Group>,
    most: usize,
}

impl Fold {
    pub fn new(most: usize) -> Self {
        let groups = Vec::new();
        Self { groups, most }
    }

    /// Adds the next older entry. Returns false if there is no free group.
    pub fn add(&mut self, entry: Entry) -> bool {
        if let Some(group) = self.groups.last_mut()
            && group.says(&entry)
        {
            group.first = entry.time;
            group.count += 1;
            // The pid is that of the oldest, like the time.
            let unit = group.entry.unit.take();
            group.entry = entry;
            group.entry.unit = group.entry.unit.take().or(unit);
            return true;
        }
        if self.groups.len() >= self.most {
            return false;
        }
        self.groups.push(Group {
            first: entry.time,
            last: entry.time,
            count: 1,
            entry,
        });
        true
    }

    pub fn oldest_first(mut self) -> Vec<Group> {
        self.groups.reverse();
        self.groups
    }
}

impl Group {
    fn says(&self, other: &Entry) -> bool {
        let Entry {
            unit,
            writer,
            priority,
            message,
            ..
        } = &self.entry;
        *message == other.message
            && *writer == other.writer
            && (unit.is_none() || other.unit.is_none() || *unit == other.unit)
            && *priority == other.priority
    }

    /// Formats `10:31:02 unit writer[pid] priority: message (× 14 until 10:35:00)`. Omits the unit if all entries have
    /// the same one, or if it is the writer's name.
    pub fn line(&self, with_unit: bool) -> String {
        let Entry {
            unit,
            writer,
            pid,
            priority,
            message,
            ..
        } = &self.entry;
        let mut line = clock(self.first / SECOND);
        let stem = |unit: &String| unit.strip_suffix(".service").unwrap_or(unit).to_owned();
        let unit = unit.as_ref().filter(|_| with_unit).map(stem);
        if let Some(unit) = unit.filter(|unit| unit != writer) {
            line += &format!(" {unit}");
        }
        line += &format!(" {writer}");
        if let Some(pid) = pid {
            line += &format!("[{pid}]");
        }
        if *priority != INFO {
            line += &format!(" {}", Priorities::name(*priority).unwrap_or("?"));
        }
        line += &format!(": {message}");
        if self.count > 1 {
            line += &format!(
                " (\u{d7} {} until {})",
                self.count,
                clock(self.last / SECOND)
            );
        }
        line + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: u64, message: &str) -> Entry {
        Entry {
            time: time * SECOND,
            unit: Some("ssh.service".into()),
            writer: "sshd".into(),
            pid: Some(time.to_string()),
            priority: 3,
            message: message.into(),
        }
    }

    #[test]
    fn what_is_said_again_is_counted() {
        let mut fold = Fold::new(2);
        for (time, message, is_added) in [
            (9, "b", true),
            (8, "a", true),
            (7, "a", true),
            (6, "a", true),
            (5, "c", false),
        ] {
            assert_eq!(fold.add(entry(time, message)), is_added, "{time}");
        }
        let groups = fold.oldest_first();
        let lines: Vec<String> = groups.iter().map(|group| group.line(true)).collect();
        assert_eq!(
            lines,
            [
                "00:00:06 ssh sshd[6] err: a (\u{d7} 3 until 00:00:08)\n",
                "00:00:09 ssh sshd[9] err: b\n"
            ]
        );
        assert_eq!(groups[1].line(false), "00:00:09 sshd[9] err: b\n");
    }

    #[test]
    fn one_without_its_unit_is_of_the_same() {
        let mut fold = Fold::new(9);
        for (time, unit) in [(3, None), (2, Some("b.service")), (1, None)] {
            let mut entry = entry(time, "a");
            entry.unit = unit.map(str::to_owned);
            fold.add(entry);
        }
        let groups = fold.oldest_first();
        assert_eq!(groups.len(), 1);
        let expect = "00:00:01 b sshd[1] err: a (\u{d7} 3 until 00:00:03)\n";
        assert_eq!(groups[0].line(true), expect);
    }

    #[test]
    fn other_writers_and_priorities_are_other_lines() {
        for change in [
            &(|entry: &mut Entry| entry.priority = 6) as &dyn Fn(&mut Entry),
            &|entry| entry.writer = "other".into(),
            &|entry| entry.unit = Some("b.service".into()),
        ] {
            let mut fold = Fold::new(9);
            fold.add(entry(2, "a"));
            let mut other = entry(1, "a");
            change(&mut other);
            fold.add(other);
            assert_eq!(fold.oldest_first().len(), 2);
        }
    }
}
