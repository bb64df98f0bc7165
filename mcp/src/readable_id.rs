//! Finds the id of a message that cannot be parsed, so that the client learns which of its requests failed.
//! It must not guess: an id counts only if the message itself has no other one.
//!
//! **Invariant:** a line is read once, and a response has no id to answer.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::lines::LineEnds;

/// Longest text of a key that is looked at: `result` with each letter as an escape.
const KEY: usize = 2 + 6 * 6;

/// Returns the id of an object that may be malformed or unfinished: a string or a number.
pub fn of_line(line: &[u8]) -> Option<Value> {
    TopLevel::from_object(line)?.id()
}

/// Returns the id of a dropped line, if it is near its beginning or its end.
pub fn of_ends(ends: &LineEnds) -> Option<Value> {
    let mut found = TopLevel::from_object(ends.head())?;
    if let Some(last) = last_members(ends.tail())
        .as_deref()
        .and_then(TopLevel::from_object)
    {
        found.ids.extend(last.ids);
        found.is_response |= last.is_response;
    }
    found.id()
}

/// Returns the last members of an object, as an object. A comma inside of a string or of a nested value fits nowhere:
/// the quotes or the brackets after it do not match.
fn last_members(tail: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr_iter(b',', tail).find_map(|comma| {
        let object = [b"{", tail.get(comma + 1..)?].concat();
        let is_object = serde_json::from_slice::<IgnoredAny>(&object).is_ok();
        is_object.then_some(object)
    })
}

/// The members of a message that decide whether it can be answered.
struct TopLevel {
    /// Each id, or None for one that is unusable.
    ids: Vec<Option<Value>>,
    is_response: bool,
    /// Something follows the message, perhaps another one.
    has_more: bool,
}

impl TopLevel {
    /// Reads as far as quotes and brackets match. Returns None if it is no object.
    fn from_object(line: &[u8]) -> Option<Self> {
        let mut tokens = JsonTokens(line);
        if tokens.next() != Some(JsonToken::Mark(b'{')) {
            return None;
        }
        let mut found = Self {
            ids: Vec::new(),
            is_response: false,
            has_more: false,
        };
        let (mut closers, mut member) = (vec![b'}'], Vec::new());
        for token in tokens {
            let is_top = closers.len() == 1;
            match token {
                _ if closers.is_empty() => {
                    found.has_more = true;
                    break;
                }
                JsonToken::Mark(close @ (b'}' | b']')) => {
                    if closers.pop() != Some(close) {
                        break;
                    }
                    if is_top {
                        found.add(&member);
                    }
                    continue;
                }
                JsonToken::Mark(b'{') => closers.push(b'}'),
                JsonToken::Mark(b'[') => closers.push(b']'),
                JsonToken::Mark(b',') if is_top => {
                    found.add(&member);
                    member.clear();
                    continue;
                }
                _ => {}
            }
            if is_top && member.len() <= MEMBER {
                member.push(token);
            }
        }
        // The last member of a line that was cut: its key says enough.
        if let (false, [JsonToken::Text(key), ..]) = (closers.is_empty(), &member[..]) {
            found.is_response |= is_of_response(key);
        }
        Some(found)
    }

    fn add(&mut self, member: &[JsonToken<'_>]) {
        let [JsonToken::Text(key), JsonToken::Mark(b':'), rest @ ..] = member else {
            return;
        };
        if key.len() > KEY {
            return;
        }
        match serde_json::from_slice::<String>(key).as_deref() {
            Ok("id") => self.ids.push(match rest {
                [JsonToken::Text(value) | JsonToken::Word(value)] => {
                    let value = serde_json::from_slice::<Value>(value).ok();
                    value.filter(|value| value.is_string() || value.is_number())
                }
                _ => None,
            }),
            _ => self.is_response |= is_of_response(key),
        }
    }

    fn id(mut self) -> Option<Value> {
        let is_clear = self.ids.len() == 1 && !self.is_response && !self.has_more;
        self.ids.pop().flatten().filter(|_| is_clear)
    }
}

/// Returns true if only a response has a member of this key.
fn is_of_response(key: &[u8]) -> bool {
    let key = serde_json::from_slice::<String>(key);
    matches!(key.as_deref(), Ok("result" | "error"))
}

/// JsonTokens of a member: key, colon, value.
const MEMBER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonToken<'a> {
    /// A bracket, a comma or a colon.
    Mark(u8),
    /// With its quotes.
    Text(&'a [u8]),
    Word(&'a [u8]),
}

/// The tokens of JSON, or of what resembles it. An unfinished text or word at the end is none: more may have followed.
struct JsonTokens<'a>(&'a [u8]);

impl<'a> Iterator for JsonTokens<'a> {
    type Item = JsonToken<'a>;

    fn next(&mut self) -> Option<JsonToken<'a>> {
        self.0 = self.0.trim_ascii_start();
        let first = *self.0.first()?;
        let length = match first {
            _ if is_mark(first) => 1,
            b'"' => text_length(self.0)?,
            _ => self.0.iter().position(|byte| ends_word(*byte))?,
        };
        let (token, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(match first {
            _ if is_mark(first) => JsonToken::Mark(first),
            b'"' => JsonToken::Text(token),
            _ => JsonToken::Word(token),
        })
    }
}

fn is_mark(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':')
}

fn ends_word(byte: u8) -> bool {
    is_mark(byte) || byte == b'"' || byte.is_ascii_whitespace()
}

fn text_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(line: &str) -> Option<String> {
        of_line(line.as_bytes()).map(|id| id.to_string())
    }

    #[test]
    fn id_of_malformed_message_is_found() {
        for (line, expect) in [
            (r#"{"params":["\ud83d"],"jsonrpc":"2.0","id":7}"#, "7"),
            (r#"{"params":{"a":NaN,},"id":"x"}"#, r#""x""#),
            (r#"{"id":7,"method":"#, "7"),
            (r#"{"id":7,"method":"cut"#, "7"),
            (r#"{"id":7,]"#, "7"),
            (r#"{"id":7,}"#, "7"),
            (" { \"\\u0069d\" : 7 } \r", "7"),
            (r#"{"params":{"id":1,"x":[{"id":2}]},"id":3,"#, "3"),
            (r#"{"params":"\",\"id\":1,\"","id":3}"#, "3"),
        ] {
            assert_eq!(id(line).as_deref(), Some(expect), "{line}");
        }
    }

    #[test]
    fn id_that_is_unclear_is_none() {
        for line in [
            "",
            "7",
            "{",
            r#"[{"id":7}"#,
            r#"{"id":7"#,
            r#"{"id":"7"#,
            r#"{"id":7,"id":7,"#,
            r#"{"id":7,"id":{},"#,
            r#"{"id":7,"i\u0064":8}"#,
            r#"{"id":[7],"#,
            r#"{"id":7 8,"#,
            r#"{"id":true,"#,
            r#"{"id":null,"#,
            r#"{"id":"\ud800","#,
            r#"{"id":7,"result":"\ud800"}"#,
            r#"{"error":"\ud800","id":7}"#,
            r#"{"id":7,"result":{"#,
            r#"{"id":7,"error":"cut"#,
            r#"{"id":7} {}"#,
            r#"{"params":{"id":7},"#,
            r#"{"params":"{\"id\":7,","#,
            r#"{"params":[}"id":7}"#,
        ] {
            assert_eq!(id(line), None, "{line}");
        }
        assert_eq!(id(&"[".repeat(100_000)), None);
        assert_eq!(id(&format!("{{\"a\":{}", "[".repeat(100_000))), None);
    }

    #[test]
    fn id_of_dropped_line_is_at_either_end() {
        let id = |head: &str, tail: &str| {
            let mut ends = LineEnds::default();
            ends.add(head.as_bytes());
            ends.add(&b"x".repeat(10_000));
            ends.add(tail.as_bytes());
            of_ends(&ends).map(|id| id.to_string())
        };
        for (head, tail, expect) in [
            (r#"{"jsonrpc":"2.0","id":7,"params":""#, r#""}"#, Some("7")),
            (r#"{"params":""#, r#"","id":7}"#, Some("7")),
            (
                r#"{"a":[""#,
                r#"","id":1],"jsonrpc":"2.0","id":7} "#,
                Some("7"),
            ),
            (
                r#"{"a":{"b":""#,
                r#"","id":1},"id":7,"jsonrpc":"2.0"}"#,
                Some("7"),
            ),
            (r#"{"a":{"b":""#, r#"","id":1}}"#, None),
            (r#"{"a":""#, r#",\"id\":1}"}"#, None),
            (r#"{"a":""#, r#"","id":7,"id":8}"#, None),
            (r#"{"id":6,"a":""#, r#"","id":7}"#, None),
            (r#"{"a":""#, r#"","id":7,"result":1}"#, None),
            (r#"[{"a":""#, r#"","id":7}"#, None),
            (r#"{"a":""#, r#"","id":7"#, None),
        ] {
            assert_eq!(id(head, tail).as_deref(), expect, "{head} {tail}");
        }
    }
}
