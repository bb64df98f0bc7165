//! Lines of the journals of many hosts, in the order of their times. Pure.
//!
//! A host's lines are those of its command `logs`: a line with the day, `2026-11-27 UTC`, before the lines of that day, each
//! of which begins with its time, `09:00:01`. Times are the host's own: a note says which clock is wrong, and no line moves.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Names before a line that several hosts have.
const NAMES: usize = 6;
/// Bytes of what a host says that is not a line of its journal.
const NOTE: usize = 300;
/// Clocks that differ less need no note: an answer takes time, too.
const SKEW_MS: i64 = 2000;

/// The output of `logs` on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLog {
    pub host: String,
    pub text: String,
    /// Milliseconds by which the host's clock is fast, at least. Negative: it is slow.
    pub skew_ms: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    lines: Vec<Line>,
    /// Sentences about single hosts.
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    day: String,
    time: String,
    hosts: Vec<String>,
    words: String,
}

impl Timeline {
    /// Merges logs. Also returns the hosts whose text is not the output of `logs`.
    pub fn merge(logs: &[HostLog]) -> (Self, Vec<&str>) {
        let mut timeline = Self::default();
        let mut others = Vec::new();
        for log in logs {
            match read(log) {
                Some((lines, notes)) => {
                    timeline.lines.extend(lines);
                    timeline.notes.extend(notes);
                }
                None => others.push(log.host.as_str()),
            }
        }
        // Stable: lines of one second stay in the order of hosts, and those of one host in theirs.
        timeline
            .lines
            .sort_by(|a, b| (&a.day, &a.time).cmp(&(&b.day, &b.time)));
        timeline.fold();
        (timeline, others)
    }

    /// The same words of several hosts in one second are one line.
    fn fold(&mut self) {
        let mut folded: Vec<Line> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for line in std::mem::take(&mut self.lines) {
            let is_same_second = folded
                .last()
                .is_some_and(|last| (&last.day, &last.time) == (&line.day, &line.time));
            if !is_same_second {
                known.clear();
            }
            let same = known
                .get(&line.words)
                .and_then(|at| folded.get_mut(*at))
                .filter(|same| !line.hosts.iter().any(|host| same.hosts.contains(host)));
            match same {
                Some(same) => same.hosts.extend(line.hosts),
                None => {
                    known.insert(line.words.clone(), folded.len());
                    folded.push(line);
                }
            }
        }
        self.lines = folded;
    }

    /// Returns the newest lines that fit in `budget` bytes, and what is left out.
    pub fn fitted(&self, budget: usize) -> Map<String, Value> {
        let notes: Vec<&str> = self.notes.iter().map(String::as_str).collect();
        let mut left = budget.saturating_sub(json!(notes).to_string().len() + 2);
        let (mut shown, mut day) = (self.lines.len(), "");
        for line in self.lines.iter().rev() {
            // As JSON, of which the quotes are for the newline.
            let mut size = json!(line.text()).to_string().len();
            if line.day != day {
                size += line.day.len() + " UTC\\n".len();
            }
            if size > left {
                break;
            }
            (left, day) = (left - size, &line.day);
            shown -= 1;
        }
        let newest = self.lines.get(shown..).unwrap_or_default();
        let mut data = Map::new();
        data.insert("timeline".to_owned(), json!(text(newest)));
        if shown > 0 {
            let first = newest.first();
            let until = first.map(|line| format!("{} {}", line.day, line.time));
            data.insert("older_lines".to_owned(), json!(shown));
            data.insert("until".to_owned(), json!(until));
        }
        if !notes.is_empty() {
            data.insert("notes".to_owned(), json!(notes));
        }
        data
    }

    /// All of it, for people.
    pub fn text(&self) -> String {
        let notes = self.notes.iter().map(|note| format!("-- {note}\n"));
        notes.collect::<String>() + &text(&self.lines)
    }
}

/// Reads the lines of a host, and sentences about it.
fn read(log: &HostLog) -> Option<(Vec<Line>, Vec<String>)> {
    let (mut lines, mut notes) = (Vec::new(), Vec::new());
    let mut day: Option<&str> = None;
    let mut last = (String::new(), String::new());
    for line in log.text.lines() {
        if let Some(next) = day_of(line) {
            day = Some(next);
            continue;
        }
        match (day, entry_of(line)) {
            (Some(day), Some((time, words))) => {
                // A clock that was set back does not change the order of a host's own lines.
                let own = (day.to_owned(), time.to_owned());
                let words = match own < last {
                    true => format!("(its clock: {day} {time}) {words}"),
                    false => words.to_owned(),
                };
                last = last.max(own);
                let hosts = vec![log.host.clone()];
                let (day, time) = last.clone();
                lines.push(Line {
                    day,
                    time,
                    hosts,
                    words,
                });
            }
            (None, None) => notes.push(format!("{}: {}", log.host, cut(line, NOTE))),
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
    if log.skew_ms.abs() >= SKEW_MS {
        let seconds = log.skew_ms.abs() / 1000;
        let way = if log.skew_ms > 0 { "fast" } else { "slow" };
        let note = format!("{}: its clock is at least {seconds} s {way}", log.host);
        notes.push(note);
    }
    Some((lines, notes))
}

impl Line {
    fn text(&self) -> String {
        let named: Vec<&str> = self.hosts.iter().take(NAMES).map(String::as_str).collect();
        let more = match self.hosts.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} {}{more}: {}", self.time, named.join(" "), self.words)
    }
}

fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut day = "";
    for line in lines {
        if line.day != day {
            day = &line.day;
            text += &format!("{day} UTC\n");
        }
        text += &line.text();
        text.push('\n');
    }
    text
}

/// Reads `2026-11-27 UTC`.
fn day_of(line: &str) -> Option<&str> {
    let day = line.strip_suffix(" UTC")?;
    has_form(day, "0000-00-00").then_some(day)
}

/// Reads `09:00:01 WORDS`.
fn entry_of(line: &str) -> Option<(&str, &str)> {
    let (time, words) = line.split_once(' ')?;
    has_form(time, "00:00:00").then_some((time, words))
}

/// A zero of the form stands for any digit.
fn has_form(text: &str, form: &str) -> bool {
    let is_same = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_same)
}

fn cut(line: &str, bytes: usize) -> &str {
    line.get(..line.floor_char_boundary(bytes)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(host: &str, text: &str) -> HostLog {
        HostLog {
            host: host.to_owned(),
            text: text.to_owned(),
            skew_ms: 0,
        }
    }

    fn merged(logs: &[(&str, &str)]) -> String {
        let logs: Vec<HostLog> = logs.iter().map(|(host, text)| log(host, text)).collect();
        Timeline::merge(&logs).0.text()
    }

    #[test]
    fn lines_are_in_the_order_of_their_times() {
        let one = "2026-11-26 UTC\n23:59:59 a[7]: one\n2026-11-27 UTC\n00:00:02 a[7]: three\n";
        let two = "2026-11-27 UTC\n00:00:01 b[9]: two\n00:00:02 b[9]: four\n";
        assert_eq!(
            merged(&[("web1", one), ("web2", two)]),
            "2026-11-26 UTC\n23:59:59 web1: a[7]: one\n2026-11-27 UTC\n00:00:01 web2: b[9]: two\n\
             00:00:02 web1: a[7]: three\n00:00:02 web2: b[9]: four\n"
        );
        assert_eq!(merged(&[]), "");
    }

    #[test]
    fn same_words_of_one_second_are_one_line() {
        let same = "2026-11-27 UTC\n00:00:01 cron: run\n00:00:01 cron: run\n";
        let later = "2026-11-27 UTC\n00:00:02 cron: run\n";
        assert_eq!(
            merged(&[("a", same), ("b", same), ("c", later)]),
            "2026-11-27 UTC\n00:00:01 a: cron: run\n00:00:01 a b: cron: run\n00:00:01 b: cron: run\n\
             00:00:02 c: cron: run\n"
        );
        let hosts: Vec<String> = (0..9).map(|number| format!("h{number}")).collect();
        let logs: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), later)).collect();
        let text = merged(&logs);
        assert!(
            text.ends_with("00:00:02 h0 h1 h2 h3 h4 h5 and 3 more: cron: run\n"),
            "{text}"
        );
    }

    #[test]
    fn what_a_host_says_besides_is_a_note() {
        let text = merged(&[
            ("a", "no entry matches\n"),
            (
                "b",
                "7 older entries are left out: ask\n2026-11-27 UTC\n00:00:02 x: y\n",
            ),
        ]);
        assert_eq!(
            text,
            "-- a: no entry matches\n-- b: 7 older entries are left out: ask\n2026-11-27 UTC\n00:00:02 b: x: y\n"
        );
        for other in [
            "2026-11-27 UTC\nrubbish\n",
            "00:00:01 x: before any day\n",
            "2026-11-27 UTC\n0:00:01 x\n",
            "2026-11-27 UTC\n00:00:01\n",
        ] {
            let logs = [log("a", other), log("b", "2026-11-27 UTC\n00:00:01 x: y\n")];
            let (timeline, others) = Timeline::merge(&logs);
            assert_eq!(others, ["a"], "{other:?}");
            assert_eq!(timeline.text(), "2026-11-27 UTC\n00:00:01 b: x: y\n");
        }
    }

    #[test]
    fn clocks_that_differ_have_a_note() {
        let back = "2026-11-27 UTC\n10:00:00 x: a\n09:00:00 x: b\n";
        assert_eq!(
            merged(&[("a", back), ("b", "2026-11-27 UTC\n09:30:00 x: c\n")]),
            "2026-11-27 UTC\n09:30:00 b: x: c\n10:00:00 a: x: a\n10:00:00 a: (its clock: 2026-11-27 09:00:00) x: b\n"
        );
        for (skew_ms, note) in [
            (1999, ""),
            (-1999, ""),
            (2000, "-- a: its clock is at least 2 s fast\n"),
            (-61_900, "-- a: its clock is at least 61 s slow\n"),
        ] {
            let log = HostLog {
                skew_ms,
                ..log("a", "")
            };
            assert_eq!(Timeline::merge(&[log]).0.text(), note);
        }
    }

    #[test]
    fn newest_lines_that_fit_are_shown() {
        let text: String = (10..60)
            .map(|second| format!("00:00:{second} x: line \"{second}\"\n"))
            .collect();
        let timeline = Timeline::merge(&[log("a", &format!("2026-11-27 UTC\n{text}"))]).0;
        let whole = timeline.fitted(usize::MAX);
        assert_eq!(whole["timeline"].as_str().unwrap().lines().count(), 51);
        assert_eq!(whole.len(), 1);
        for budget in [0, 50, 500, 1000] {
            let data = timeline.fitted(budget);
            let shown = data["timeline"].as_str().unwrap();
            let lines = shown.lines().count().saturating_sub(1);
            assert_eq!(data["older_lines"], 50 - lines, "{budget}");
            assert!(json!(shown).to_string().len() <= budget.max(2), "{budget}");
            if lines > 0 {
                assert!(shown.ends_with("line \"59\"\n"));
                assert_eq!(data["until"], format!("2026-11-27 00:00:{}", 60 - lines));
            }
        }
        assert!(timeline.fitted(500)["timeline"].as_str().unwrap().len() > 300);
    }
}
