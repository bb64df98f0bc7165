//! Parses <https://systemd.io/JOURNAL_EXPORT_FORMATS/> as JSON; joins consecutive equal entries. Pure. Any bytes pass.

use remit_common::builtin::Priorities;
use remit_common::calendar::clock;
use remit_common::text;
use serde_json::{Map, Value};

use crate::text::SECOND;

/// Entries that only differ in time and pid.
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
            group.entry = entry;
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
            && *unit == other.unit
            && *priority == other.priority
    }

    /// Formats `10:31:02 unit writer[pid] priority: message (× 14 until 10:35:00)`. A unit that the writer's name repeats is
    /// left out. `-` is for an unknown one: any account can log under any writer's name.
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
        let unit = unit.as_deref().unwrap_or("-");
        let unit = unit.strip_suffix(".service").unwrap_or(unit);
        if with_unit && (unit == "-" || unit != writer) {
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

const MESSAGE: usize = 4096;
const NAME: usize = 128;
const INFO: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since 1970.
    pub time: u64,
    /// The unit that wrote the entry, or that it is about.
    pub unit: Option<String>,
    pub writer: String,
    pub pid: Option<String>,
    /// 0 is the most severe, 7 the least.
    pub priority: usize,
    /// Further lines are indented.
    pub message: String,
}

/// Parses a line. Returns none if it is not an object or has no time.
pub fn parse(line: &[u8]) -> Option<Entry> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let time = name(&fields, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    let number = name(&fields, "PRIORITY").and_then(|text| text.parse().ok());
    let pid = name(&fields, "_PID");
    // The writer controls fields without an underscore (systemd.journal-fields(7)): only the manager names other units.
    let about = match pid.as_deref() {
        Some("1") => name(&fields, "UNIT"),
        Some(_) | None => None,
    };
    Some(Entry {
        time,
        unit: about.or_else(|| name(&fields, "_SYSTEMD_UNIT")),
        writer: name(&fields, "SYSLOG_IDENTIFIER")
            .or_else(|| name(&fields, "_COMM"))
            .map_or_else(|| "?".into(), one_word),
        pid: pid.or_else(|| name(&fields, "SYSLOG_PID")),
        priority: number.filter(|number| *number < 8).unwrap_or(INFO),
        message: message(&bytes(fields.get("MESSAGE"))),
    })
}

fn name(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let bytes = bytes(fields.get(key));
    (!bytes.is_empty()).then(|| text::line(&bytes, NAME))
}

/// Quotes what could look like more than a writer's name: a blank, or the brackets of a pid.
fn one_word(writer: String) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@:()-".contains(&byte);
    match writer.bytes().all(is_usual) {
        true => writer,
        false => format!("{writer:?}"),
    }
}

/// Returns the bytes of a value: text, or a list of bytes if it is not valid text. Takes the first of several values.
fn bytes(value: Option<&Value>) -> Vec<u8> {
    match value {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(Value::Array(list)) if list.iter().all(Value::is_u64) => list
            .iter()
            .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
            .collect(),
        Some(Value::Array(list)) => bytes(list.first()),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    }
}

fn message(bytes: &[u8]) -> String {
    let kept = bytes.get(..MESSAGE).unwrap_or(bytes);
    let mut text = text::show(kept.trim_ascii_end())
        .text
        .replace('\n', "\n    ");
    let cut = bytes.len() - kept.len();
    if cut > 0 {
        text += &format!("\u{2026} ({cut} bytes more)");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn entry_without_a_unit_is_not_shown_as_one_of_a_unit() {
        let line = |fields: &str| {
            let mut fold = Fold::new(1);
            fold.add(entry_with(&format!(r#","MESSAGE":"m","_PID":"7"{fields}"#)));
            fold.oldest_first()[0].line(true)
        };
        let of_unit = line(r#","_SYSTEMD_UNIT":"ssh.service","SYSLOG_IDENTIFIER":"sshd""#);
        assert_eq!(of_unit, "00:00:01 ssh sshd[7]: m\n");
        for (writer, expect) in [
            ("ssh sshd", "00:00:01 - \"ssh sshd\"[7]: m\n"),
            ("ssh", "00:00:01 - ssh[7]: m\n"),
            ("ssh[7]: a", "00:00:01 - \"ssh[7]: a\"[7]: m\n"),
            ("-", "00:00:01 - -[7]: m\n"),
        ] {
            assert_eq!(line(&format!(r#","SYSLOG_IDENTIFIER":"{writer}""#)), expect);
        }
        let is_same = line(r#","_SYSTEMD_UNIT":"ssh.service","SYSLOG_IDENTIFIER":"ssh""#);
        assert_eq!(is_same, "00:00:01 ssh[7]: m\n");
    }

    #[test]
    fn other_writers_and_priorities_are_other_lines() {
        for change in [
            &(|entry: &mut Entry| entry.priority = 6) as &dyn Fn(&mut Entry),
            &|entry| entry.writer = "other".into(),
            &|entry| entry.unit = Some("b.service".into()),
            &|entry| entry.unit = None,
        ] {
            let mut fold = Fold::new(9);
            fold.add(entry(2, "a"));
            let mut other = entry(1, "a");
            change(&mut other);
            fold.add(other);
            assert_eq!(fold.oldest_first().len(), 2);
        }
    }

    const TIME: &str = r#""__REALTIME_TIMESTAMP":"1000000""#;

    fn entry_with(fields: &str) -> Entry {
        parse(format!("{{{TIME}{fields}}}").as_bytes()).unwrap()
    }

    #[test]
    fn fields_may_be_text_bytes_lists_or_missing() {
        let whole = entry_with(
            r#","MESSAGE":"hi","PRIORITY":"3","_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"a","_PID":"7""#,
        );
        let expect = Entry {
            time: 1_000_000,
            unit: Some("a.service".into()),
            writer: "a".into(),
            pid: Some("7".into()),
            priority: 3,
            message: "hi".into(),
        };
        assert_eq!(whole, expect);
        let bare = entry_with("");
        assert_eq!(
            (bare.writer.as_str(), bare.priority, bare.message.as_str()),
            ("?", 6, "")
        );
        assert_eq!(
            entry_with(r#","MESSAGE":[104,27,255]"#).message,
            "h\\x1b\\xff"
        );
        assert_eq!(entry_with(r#","MESSAGE":["one","two"]"#).message, "one");
        assert_eq!(
            entry_with(r#","MESSAGE":null,"_COMM":["x","y"]"#).writer,
            "x"
        );
        assert_eq!(entry_with(r#","PRIORITY":"9""#).priority, 6);
        assert_eq!(
            entry_with(r#","MESSAGE":"a\u001b[2J\nb\n""#).message,
            "a\\x1b[2J\n    b"
        );
        assert_eq!(
            entry_with(r#","SYSLOG_IDENTIFIER":"a\nb""#).writer,
            r#""a\\nb""#
        );
        let by_manager =
            entry_with(r#","UNIT":"b.service","_SYSTEMD_UNIT":"init.scope","_PID":"1""#);
        assert_eq!(by_manager.unit.as_deref(), Some("b.service"));
        // Any process can write this field.
        for own in [r#","_PID":"77","_SYSTEMD_UNIT":"evil.scope""#, ""] {
            let forged = entry_with(&format!(r#","UNIT":"ssh.service"{own}"#));
            assert_ne!(forged.unit.as_deref(), Some("ssh.service"), "{own}");
        }
        let long = entry_with(&format!(r#","MESSAGE":"{}""#, "x".repeat(MESSAGE + 5)));
        assert!(long.message.ends_with("x\u{2026} (5 bytes more)"));
        for line in ["", "x", "[]", "{}", r#"{"__REALTIME_TIMESTAMP":"x"}"#] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_none(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn any_message_is_printable(text in any::<String>()) {
            let text = serde_json::to_string(&text).unwrap();
            let entry = entry_with(&format!(r#","MESSAGE":{text},"SYSLOG_IDENTIFIER":{text}"#));
            prop_assert!(entry.message.chars().all(text::is_plain));
            prop_assert!(!entry.writer.chars().any(char::is_control));
        }
    }
}
