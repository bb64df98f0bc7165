//! Lines of the journals of many hosts, in the order of their times. Pure.
//!
//! A host's lines are those of its command `logs`: a line with the day, `2026-11-27 UTC`, before the lines of that day, each
//! of which begins with its time, `09:00:01`. Further lines of a message are indented. Times are the host's own: a note says
//! which clock is wrong, and no line moves.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::report::largest;

/// Names before a line that several hosts have.
const NAMES: usize = 6;
/// Bytes of what a host says that is not a line of its journal.
const NOTE: usize = 300;
/// So much a journal says before its first day. More is no journal.
const NOTES: usize = 3;
/// The part of the bytes that notes may have.
const NOTES_PART: usize = 3;
/// Bytes of the keys beside lines and notes.
const KEYS: usize = 100;
/// Before each further line of a message.
const INDENT: &str = "    ";
/// Clocks that differ less need no note: an answer takes time, too.
const SKEW_MS: u64 = 2000;

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
    notes: Vec<Note>,
}

/// A sentence about hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    hosts: Vec<String>,
    words: String,
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
                    timeline.note(&log.host, notes);
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

    fn note(&mut self, host: &str, notes: Vec<String>) {
        for words in notes {
            match self.notes.iter_mut().find(|note| note.words == words) {
                Some(note) => note.hosts.push(host.to_owned()),
                None => self.notes.push(Note {
                    hosts: vec![host.to_owned()],
                    words,
                }),
            }
        }
    }

    /// Returns the newest lines that fit in `budget` bytes, and what is left out. Each host has the same share of the bytes; what
    /// one does not need is for the others. So one with many lines or a fast clock does not crowd out the others.
    pub fn fitted(&self, budget: usize) -> Map<String, Value> {
        let mut left = budget / NOTES_PART;
        let notes = self.notes.iter().map(Note::text);
        let notes: Vec<String> = notes
            .take_while(|note| {
                let size = json!(note).to_string().len() + 1;
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .collect();
        let more_notes = self.notes.len() - notes.len();
        let left = budget.saturating_sub(json!(notes).to_string().len() + KEYS);
        let shares = Shares::new(&self.lines);
        let share = match shares.size(usize::MAX) <= left {
            true => usize::MAX,
            false => largest(0, left, |share| shares.size(share) <= left),
        };
        let chosen = shares.chosen(share);
        let shown = self
            .lines
            .iter()
            .zip(&chosen)
            .filter(|(_, chosen)| **chosen);
        let mut data = Map::new();
        data.insert(
            "timeline".to_owned(),
            json!(text(shown.map(|(line, _)| line))),
        );
        if let Some(last) = chosen.iter().rposition(|chosen| !chosen) {
            let whole_from = self.lines.get(last + 1).or(self.lines.get(last));
            let until = whole_from.map(|line| format!("{} {}", line.day, line.time));
            let left_out = chosen.iter().filter(|chosen| !**chosen).count();
            data.insert("older_lines".to_owned(), json!(left_out));
            data.insert("until".to_owned(), json!(until));
        }
        if !notes.is_empty() {
            data.insert("notes".to_owned(), json!(notes));
        }
        if more_notes > 0 {
            data.insert("more_notes".to_owned(), json!(more_notes));
        }
        data
    }

    /// All of it, for people.
    pub fn text(&self) -> String {
        let notes = self
            .notes
            .iter()
            .map(|note| format!("-- {}\n", note.text()));
        notes.collect::<String>() + &text(&self.lines)
    }
}

/// How many bytes lines have, and of which hosts they are.
struct Shares<'a> {
    lines: &'a [Line],
    /// Of each line: its bytes as JSON, and the numbers of its hosts.
    costs: Vec<(usize, Vec<usize>)>,
    hosts: usize,
}

impl<'a> Shares<'a> {
    fn new(lines: &'a [Line]) -> Self {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut costs = Vec::with_capacity(lines.len());
        for line in lines {
            let of_line = line.hosts.iter().map(|host| {
                let next = numbers.len();
                *numbers.entry(host).or_insert(next)
            });
            let of_line = of_line.collect();
            // As JSON, of which the quotes are for the newline.
            costs.push((json!(line.text()).to_string().len(), of_line));
        }
        Self {
            lines,
            costs,
            hosts: numbers.len(),
        }
    }

    /// Returns which lines are shown if each host has `share` bytes for its newest ones. A line of several hosts is shown if one
    /// of them has the bytes for it.
    fn chosen(&self, share: usize) -> Vec<bool> {
        let mut used = vec![0_usize; self.hosts];
        let mut chosen = vec![false; self.costs.len()];
        for ((size, hosts), slot) in self.costs.iter().zip(&mut chosen).rev() {
            for host in hosts {
                if let Some(used) = used.get_mut(*host) {
                    *used = used.saturating_add(*size);
                    *slot |= *used <= share;
                }
            }
        }
        chosen
    }

    fn size(&self, share: usize) -> usize {
        let chosen = self.chosen(share);
        let (mut size, mut day) = (0_usize, "");
        for ((line, (of_line, _)), _) in self
            .lines
            .iter()
            .zip(&self.costs)
            .zip(chosen)
            .filter(|(_, chosen)| *chosen)
        {
            if line.day != day {
                day = &line.day;
                size += day.len() + " UTC\\n".len();
            }
            size += of_line;
        }
        size
    }
}

/// Reads the lines of a host, and sentences about it.
fn read(log: &HostLog) -> Option<(Vec<Line>, Vec<String>)> {
    let (mut lines, mut notes): (Vec<Line>, Vec<String>) = (Vec::new(), Vec::new());
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
            (None, None) if notes.len() < NOTES => notes.push(cut(line, NOTE).to_owned()),
            (Some(_), None) if line.starts_with(INDENT) => {
                let message = &mut lines.last_mut()?.words;
                message.push('\n');
                message.push_str(line);
            }
            (_, None) | (None, Some(_)) => return None,
        }
    }
    let skew_ms = log.skew_ms.unsigned_abs();
    if skew_ms >= SKEW_MS {
        let seconds = skew_ms / 1000;
        let way = if log.skew_ms > 0 { "fast" } else { "slow" };
        notes.push(format!("its clock is at least {seconds} s {way}"));
    }
    Some((lines, notes))
}

impl Line {
    fn text(&self) -> String {
        format!("{} {}: {}", self.time, names(&self.hosts), self.words)
    }
}

impl Note {
    fn text(&self) -> String {
        format!("{}: {}", names(&self.hosts), self.words)
    }
}

fn names(hosts: &[String]) -> String {
    let named: Vec<&str> = hosts.iter().take(NAMES).map(String::as_str).collect();
    let more = match hosts.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(" ") + &more
}

fn text<'a>(lines: impl IntoIterator<Item = &'a Line>) -> String {
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
    fn further_lines_of_a_message_stay_with_it() {
        let trace = "2026-11-27 UTC\n00:00:01 x[7] err: Traceback\n      File \"a\"\n    \n    09:00:00 b: forged\n";
        let two = "2026-11-27 UTC\n00:00:01 y: one\n00:00:02 y: two\n";
        assert_eq!(
            merged(&[("a", trace), ("b", two), ("c", trace)]),
            "2026-11-27 UTC\n00:00:01 a c: x[7] err: Traceback\n      File \"a\"\n    \n    09:00:00 b: forged\n\
             00:00:01 b: y: one\n00:00:02 b: y: two\n"
        );
        let early = log("a", "2026-11-27 UTC\n    of nothing\n");
        assert_eq!(Timeline::merge(&[early]).1, ["a"]);
    }

    #[test]
    fn same_note_of_many_hosts_is_one() {
        let logs: Vec<HostLog> = (0..900)
            .map(|number| log(&format!("h{number}"), "no entry matches\n"))
            .collect();
        let data = Timeline::merge(&logs).0.fitted(1000);
        assert_eq!(
            data["notes"],
            json!(["h0 h1 h2 h3 h4 h5 and 894 more: no entry matches"])
        );
        // Whatever hosts say, notes leave bytes for lines.
        let mut logs: Vec<HostLog> = (0..900)
            .map(|number| log(&format!("h{number}"), &format!("{number}\n").repeat(NOTES)))
            .collect();
        logs.push(log("a", "2026-11-27 UTC\n00:00:01 x: y\n"));
        let data = Timeline::merge(&logs).0.fitted(1000);
        assert!(
            Value::Object(data.clone()).to_string().len() <= 1000,
            "{data:?}"
        );
        assert_eq!(data["timeline"], "2026-11-27 UTC\n00:00:01 a: x: y\n");
        let notes = data["notes"].as_array().unwrap().len();
        assert_eq!(data["more_notes"], 900 - notes);
        let chatty = log("a", &"words\n".repeat(NOTES + 1));
        assert_eq!(Timeline::merge(&[chatty]).1, ["a"]);
    }

    #[test]
    fn no_host_takes_the_bytes_of_others() {
        let honest: String = (10..60)
            .map(|second| format!("00:00:{second} x: line\n"))
            .collect();
        let honest = format!("2026-11-27 UTC\n{honest}");
        let flood = format!("9999-12-31 UTC\n{}", "00:00:00 x: flood\n".repeat(3000));
        let huge = format!("2026-11-27 UTC\n23:59:59 x: {}\n", "y".repeat(60_000));
        for liar in [&flood, &huge] {
            let logs = [
                log("a", &honest),
                log("liar", liar),
                log("b", &honest.replace("line", "other")),
            ];
            let data = Timeline::merge(&logs).0.fitted(6000);
            let shown = data["timeline"].as_str().unwrap();
            assert!(json!(shown).to_string().len() <= 6000);
            for host in ["a", "b"] {
                let count = shown.matches(&format!(" {host}: x: ")).count();
                assert!(count >= 45, "{host}: {count} lines");
            }
            assert!(data["older_lines"].as_u64().unwrap() > 0);
        }
        // What some do not need is for the others.
        let logs = [
            log("a", &honest),
            log("b", "2026-11-27 UTC\n00:00:59 x: one\n"),
        ];
        let data = Timeline::merge(&logs).0.fitted(1000);
        assert!(json!(data["timeline"]).to_string().len() > 850, "{data:?}");
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
            (
                i64::MIN,
                "-- a: its clock is at least 9223372036854775 s slow\n",
            ),
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
