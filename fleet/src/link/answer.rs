//! One message of a host: which call it answers, and the result in safe text. Pure.
//!
//! **Invariant:** nothing of a host is believed. Text is escaped and sizes are bounded, whatever remit it says it is.

use remit_common::text;
use serde_json::{Map, Value};

/// Bytes of a result as JSON. mcp-shim keeps its own below 39,000.
const DATA: usize = 64 << 10;
/// Bytes of its text, which has the output between marks.
const TEXT: usize = 96 << 10;
const MESSAGE: usize = 2000;

/// The result of a tool on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    pub is_error: bool,
    pub data: Map<String, Value>,
    pub text: String,
}

/// Returns the state of a job, or an empty text.
pub fn state(data: &Map<String, Value>) -> &str {
    data.get("state").and_then(Value::as_str).unwrap_or("")
}

/// Returns true for a job that ended by itself with status 0. One that was stopped or killed may have that status, too.
pub fn is_well(data: &Map<String, Value>) -> bool {
    state(data) == "exited" && data.get("exit") == Some(&Value::from(0))
}

/// Returns false if a command that follows a commit of files did not end well.
pub fn all_followed(data: &Map<String, Value>) -> bool {
    match data.get("then") {
        None => true,
        Some(Value::Array(then)) => then.iter().all(|one| one.as_object().is_some_and(is_well)),
        Some(_) => false,
    }
}

/// Who answers, by its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
}

#[derive(Debug, PartialEq)]
pub enum Message {
    Answer(u64, Result<Value, String>),
    /// Progress of a call, with its words.
    Progress(u64, String),
    /// JSON of the protocol that means nothing here, such as a ping.
    Nothing,
    /// Not a message of the protocol.
    Strange,
}

/// Classifies one line.
pub fn parse(line: &[u8]) -> Message {
    let Ok(Value::Object(mut message)) = serde_json::from_slice(line) else {
        return Message::Strange;
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Message::Strange;
    }
    if let Some(id) = message.get("id").and_then(Value::as_u64) {
        if let Some(result) = message.remove("result") {
            return Message::Answer(id, Ok(result));
        }
        if let Some(error) = message.get("error") {
            let why = error.get("message").and_then(Value::as_str);
            let why = why.unwrap_or("an error without a message");
            return Message::Answer(id, Err(text::line(why.as_bytes(), MESSAGE)));
        }
    }
    if message.get("method").and_then(Value::as_str) == Some("notifications/progress") {
        let params = message.get("params");
        let of = |key| params.and_then(|params| params.get(key));
        if let Some(id) = of("progressToken").and_then(Value::as_u64) {
            let words = of("message").and_then(Value::as_str).unwrap_or_default();
            return Message::Progress(id, text::line(words.as_bytes(), 200));
        }
    }
    Message::Nothing
}

/// Reads the answer to `initialize`.
pub fn server_info(result: &Value) -> ServerInfo {
    let of = |key| {
        let value = result.get("serverInfo").and_then(|info| info.get(key));
        text::line(value.and_then(Value::as_str).unwrap_or("").as_bytes(), 40)
    };
    ServerInfo {
        name: of("name"),
        version: of("version"),
    }
}

/// Reads the result of `tools/call`. An error says what is wrong with it.
pub fn tool_result(mut result: Value) -> Result<ToolResult, String> {
    let is_error = result.get("isError") == Some(&Value::Bool(true));
    let text = result
        .get("content")
        .and_then(Value::as_array)
        .and_then(|blocks| blocks.iter().find_map(|block| block.get("text")?.as_str()))
        .unwrap_or_default();
    if text.len() > TEXT {
        return Err(format!("an answer of {} bytes of text", text.len()));
    }
    let text = text::show(text.as_bytes()).text;
    let mut data = match result.get_mut("structuredContent").map(Value::take) {
        Some(Value::Object(data)) => data,
        None | Some(Value::Null) => Map::from_iter([("text".into(), text.clone().into())]),
        Some(_) => return Err("an answer that is no object".to_owned()),
    };
    data = data
        .into_iter()
        .map(|(key, value)| (shown(&key), visible(value)))
        .collect();
    let size = serde_json::to_string(&data).map_or(usize::MAX, |json| json.len());
    match size > DATA {
        true => Err(format!("an answer of {size} bytes")),
        false => Ok(ToolResult {
            is_error,
            data,
            text,
        }),
    }
}

fn shown(text: &str) -> String {
    text::show(text.as_bytes()).text
}

/// The recursion is bounded: serde_json reads 128 levels at most.
pub fn visible(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown(&text)),
        Value::Array(items) => items.into_iter().map(visible).collect(),
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (shown(&key), visible(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_classified() {
        for (line, expect) in [
            (
                r#"{"jsonrpc":"2.0","id":3,"result":{}}"#,
                Message::Answer(3, Ok(json!({}))),
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":-1,\"message\":\"a\\u001bb\"}}",
                Message::Answer(3, Err("a\\x1bb".into())),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1,"message":"m"}}"#,
                Message::Progress(3, "m".into()),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/message"}"#,
                Message::Nothing,
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
                Message::Nothing,
            ),
            (r#"{"jsonrpc":"2.0","id":-1,"result":{}}"#, Message::Nothing),
            (r#"{"id":3,"result":{}}"#, Message::Strange),
            ("Welcome to web1!", Message::Strange),
            ("{", Message::Strange),
            ("[]", Message::Strange),
            ("7", Message::Strange),
            ("", Message::Strange),
        ] {
            assert_eq!(parse(line.as_bytes()), expect, "{line}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()), Message::Strange);
        assert_eq!(parse(b"\xff"), Message::Strange);
    }

    #[test]
    fn result_is_kept_and_made_safe() {
        let plain =
            json!({"content": [{"type": "text", "text": "{}"}], "structuredContent": {"exit": 0}});
        let plain = tool_result(plain).unwrap();
        assert_eq!(
            (plain.is_error, &plain.data["exit"], &*plain.text),
            (false, &json!(0), "{}")
        );
        let hostile = json!({
            "content": [{"type": "text", "text": "a\u{1b}[2Jb"}], "isError": true,
            "structuredContent": {"stdout": "\u{1b}]0;x\u{7}\nb\tc", "k\u{202e}": ["\u{0}", {"a": "\u{9b}"}]},
        });
        let hostile = tool_result(hostile).unwrap();
        let all = format!("{}{}", hostile.text, Value::Object(hostile.data.clone()));
        assert!(all.chars().all(text::is_plain), "{all}");
        assert_eq!(hostile.data["stdout"], "\\x1b]0;x\\x07\nb\tc");
        assert!(hostile.is_error && hostile.text == "a\\x1b[2Jb");
    }

    #[test]
    fn result_that_is_none_is_refused() {
        let long = "x".repeat(TEXT + 1);
        for (result, expect) in [
            (json!({"structuredContent": [1]}), "no object"),
            (
                json!({"structuredContent": {"a": "x".repeat(DATA)}}),
                "an answer of 65",
            ),
            (json!({"content": [{"text": long}]}), "bytes of text"),
        ] {
            let error = tool_result(result).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
        // A server without structured content.
        let text = tool_result(json!({"content": [{"text": "a"}]})).unwrap();
        assert_eq!(text.data["text"], "a");
        assert_eq!(tool_result(json!(7)).unwrap().data["text"], "");
    }
}
