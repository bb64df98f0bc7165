//! One entry of the journal as `journalctl --output=json` writes it
//! (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>). Pure, and total: any bytes are an entry or none.

use remit_common::text;
use serde_json::{Map, Value};

/// Bytes of a message that are shown.
const MESSAGE: usize = 4096;
/// Bytes of a name that are shown.
const NAME: usize = 128;
/// The priority of what tells none: info, as journald itself takes it.
const INFO: usize = 6;

/// An entry. Its texts are printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since 1970.
    pub time: u64,
    /// The unit that wrote it, or that it is about.
    pub unit: Option<String>,
    /// What the writer calls itself.
    pub who: String,
    /// The writer's pid.
    pub pid: Option<String>,
    /// 0 the gravest to 7.
    pub priority: usize,
    /// The message; further lines are set in.
    pub message: String,
}

/// The entry in a line; none where it has no time or is no object.
pub fn parse(line: &[u8]) -> Option<Entry> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let time = name(&fields, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    let number = name(&fields, "PRIORITY").and_then(|text| text.parse().ok());
    let pid = name(&fields, "_PID");
    // Fields without the underscore are the writer's own words (systemd.journal-fields(7)): only
    // the manager is believed when it says which unit an entry is about, as journalctl does it.
    let about = match pid.as_deref() {
        Some("1") => name(&fields, "UNIT"),
        Some(_) | None => None,
    };
    Some(Entry {
        time,
        unit: about.or_else(|| name(&fields, "_SYSTEMD_UNIT")),
        who: name(&fields, "SYSLOG_IDENTIFIER")
            .or_else(|| name(&fields, "_COMM"))
            .unwrap_or_else(|| "?".into()),
        pid: pid.or_else(|| name(&fields, "SYSLOG_PID")),
        priority: number.filter(|number| *number < 8).unwrap_or(INFO),
        message: message(&bytes(fields.get("MESSAGE"))),
    })
}

fn name(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let bytes = bytes(fields.get(key));
    (!bytes.is_empty()).then(|| text::line(&bytes, NAME))
}

/// A value is text, or a list of bytes where it is no text; a field may have several values.
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
    use super::*;
    use proptest::prelude::*;

    const TIME: &str = r#""__REALTIME_TIMESTAMP":"1000000""#;

    fn of(fields: &str) -> Entry {
        parse(format!("{{{TIME}{fields}}}").as_bytes()).unwrap()
    }

    #[test]
    fn fields_may_be_text_bytes_lists_or_missing() {
        let whole = of(
            r#","MESSAGE":"hi","PRIORITY":"3","_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"a","_PID":"7""#,
        );
        let expect = Entry {
            time: 1_000_000,
            unit: Some("a.service".into()),
            who: "a".into(),
            pid: Some("7".into()),
            priority: 3,
            message: "hi".into(),
        };
        assert_eq!(whole, expect);
        let bare = of("");
        assert_eq!(
            (bare.who.as_str(), bare.priority, bare.message.as_str()),
            ("?", 6, "")
        );
        assert_eq!(of(r#","MESSAGE":[104,27,255]"#).message, "h\\x1b\\xff");
        assert_eq!(of(r#","MESSAGE":["one","two"]"#).message, "one");
        assert_eq!(of(r#","MESSAGE":null,"_COMM":["x","y"]"#).who, "x");
        assert_eq!(of(r#","PRIORITY":"9""#).priority, 6);
        assert_eq!(
            of(r#","MESSAGE":"a\u001b[2J\nb\n""#).message,
            "a\\x1b[2J\n    b"
        );
        assert_eq!(of(r#","SYSLOG_IDENTIFIER":"a\nb""#).who, "a\\nb");
        // About a unit, by the manager.
        let by_manager = of(r#","UNIT":"b.service","_SYSTEMD_UNIT":"init.scope","_PID":"1""#);
        assert_eq!(by_manager.unit.as_deref(), Some("b.service"));
        // Anybody can write this field.
        for own in [r#","_PID":"77","_SYSTEMD_UNIT":"evil.scope""#, ""] {
            let forged = of(&format!(r#","UNIT":"ssh.service"{own}"#));
            assert_ne!(forged.unit.as_deref(), Some("ssh.service"), "{own}");
        }
        let long = of(&format!(r#","MESSAGE":"{}""#, "x".repeat(MESSAGE + 5)));
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
            let entry = of(&format!(r#","MESSAGE":{text},"SYSLOG_IDENTIFIER":{text}"#));
            prop_assert!(entry.message.chars().all(text::is_plain));
            prop_assert!(!entry.who.chars().any(char::is_control));
        }
    }
}
