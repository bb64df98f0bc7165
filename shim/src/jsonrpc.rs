//! Classifies one line of input. Only methods of this server become typed requests; all others are answered here.

use rmcp::ErrorData;
use rmcp::model::{ClientRequest, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use remit_common::text;

use crate::direct::{Direct, Session};

/// Bytes of one line without its newline.
pub const MAX_LINE: usize = 4 << 20;
/// JSON values in one line. Each needs far more memory than its bytes.
pub const MAX_VALUES: usize = 64 << 10;
const MAX_MESSAGE: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum ClientId {
    Text(String),
    Number(Number),
}

impl ClientId {
    /// Returns the id, if it is a string or a whole number as MCP requires.
    pub fn new(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text)),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                Some(Self::Number(number))
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It may wait for the daemon.
    Call,
    /// It is answered at once.
    Quick,
}

#[derive(Debug)]
pub enum Asked {
    Library(Box<ClientRequest>),
    Direct(Box<Direct>),
}

#[derive(Debug)]
pub enum Incoming {
    Request {
        id: ClientId,
        kind: RequestKind,
        asked: Asked,
    },
    Cancelled(ClientId),
    /// A blank line, a response, or a notification without effect.
    Nothing,
    Fault(Fault),
}

#[derive(Debug)]
pub struct Fault {
    pub id: Option<ClientId>,
    pub error: ErrorData,
}

impl Fault {
    pub fn too_long() -> Self {
        let message = format!("the line is longer than {MAX_LINE} bytes");
        Self::new(None, ErrorCode::INVALID_REQUEST, message)
    }

    pub fn duplicate(id: ClientId) -> Self {
        let message = "a request with this id is still in flight";
        Self::new(Some(id), ErrorCode::INVALID_REQUEST, message.to_owned())
    }

    fn new(id: Option<ClientId>, code: ErrorCode, message: String) -> Self {
        let message = text::line(message.as_bytes(), MAX_MESSAGE);
        Self {
            id,
            error: ErrorData::new(code, message, None),
        }
    }
}

pub fn parse(line: &[u8], session: &Session) -> Incoming {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Incoming::Nothing;
    }
    // A value needs at least one byte, so short lines are not counted.
    let many = line.len() > MAX_VALUES && values(line) > MAX_VALUES;
    if !many && let Some((id, direct)) = session.direct(line) {
        return Incoming::Request {
            id,
            kind: RequestKind::Call,
            asked: Asked::Direct(Box::new(direct)),
        };
    }
    if many {
        let message = format!("the line holds more than {MAX_VALUES} JSON values");
        return Incoming::Fault(Fault::new(None, ErrorCode::PARSE_ERROR, message));
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(message)) => object(message),
        Ok(Value::Array(_)) => invalid(None, "batches are not supported".to_owned()),
        Ok(_) => invalid(None, "a message is a JSON object".to_owned()),
        Err(error) => Incoming::Fault(Fault::new(
            None,
            ErrorCode::PARSE_ERROR,
            format!("not JSON: {error}"),
        )),
    }
}

fn object(mut message: Map<String, Value>) -> Incoming {
    let sent = message.remove("id");
    let has_id = sent.is_some();
    let id = sent.and_then(ClientId::new);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(id, "'jsonrpc' is not \"2.0\"".to_owned());
    }
    let answer = message.contains_key("result") || message.contains_key("error");
    let method = match message.remove("method") {
        Some(Value::String(method)) if !answer => method,
        Some(Value::String(_)) => {
            return invalid(id, "both a request and a response".to_owned());
        }
        Some(_) => return invalid(id, "'method' is not a string".to_owned()),
        // This server sends no requests, so a response answers nothing.
        None if answer => return Incoming::Nothing,
        None => return invalid(id, "'method' is missing".to_owned()),
    };
    let params = match message.remove("params") {
        None | Some(Value::Null) => None,
        Some(Value::Object(params)) => Some(params),
        Some(_) if !has_id => return Incoming::Nothing,
        Some(_) => return invalid(id, "'params' is not an object".to_owned()),
    };
    match id {
        Some(id) => request(id, method, params),
        None if has_id => invalid(None, "'id' is not a string or a whole number".to_owned()),
        None => notification(&method, params),
    }
}

fn request(id: ClientId, method: String, params: Option<Map<String, Value>>) -> Incoming {
    let cursor = params.as_ref().and_then(|params| params.get("cursor"));
    if method == "tools/list" && cursor.is_some_and(|cursor| !cursor.is_null()) {
        return Incoming::Fault(Fault::new(
            Some(id),
            ErrorCode::INVALID_PARAMS,
            "unknown cursor: the list is one page".to_owned(),
        ));
    }
    let (kind, request) = match method.as_str() {
        "initialize" => (
            RequestKind::Quick,
            typed(method, params, ClientRequest::InitializeRequest),
        ),
        "server/discover" => (
            RequestKind::Quick,
            typed(method, params, ClientRequest::DiscoverRequest),
        ),
        "ping" => (
            RequestKind::Quick,
            typed(method, params, ClientRequest::PingRequest),
        ),
        "tools/list" => (
            RequestKind::Quick,
            typed(method, params, ClientRequest::ListToolsRequest),
        ),
        "tools/call" => (
            RequestKind::Call,
            typed(method, params, ClientRequest::CallToolRequest),
        ),
        _ => {
            return Incoming::Fault(Fault::new(
                Some(id),
                ErrorCode::METHOD_NOT_FOUND,
                format!("no such method: {method}"),
            ));
        }
    };
    match request {
        Ok(request) => Incoming::Request {
            id,
            kind,
            asked: Asked::Library(Box::new(request)),
        },
        Err(error) => Incoming::Fault(Fault::new(
            Some(id),
            ErrorCode::INVALID_PARAMS,
            format!("bad params: {error}"),
        )),
    }
}

fn typed<T: DeserializeOwned>(
    method: String,
    params: Option<Map<String, Value>>,
    make: fn(T) -> ClientRequest,
) -> Result<ClientRequest, serde_json::Error> {
    let mut message = Map::new();
    message.insert("method".to_owned(), Value::String(method));
    message.insert(
        "params".to_owned(),
        Value::Object(params.unwrap_or_default()),
    );
    serde_json::from_value(Value::Object(message)).map(make)
}

fn notification(method: &str, params: Option<Map<String, Value>>) -> Incoming {
    if method != "notifications/cancelled" {
        return Incoming::Nothing;
    }
    params
        .and_then(|mut params| params.remove("requestId"))
        .and_then(ClientId::new)
        .map_or(Incoming::Nothing, Incoming::Cancelled)
}

fn invalid(id: Option<ClientId>, message: String) -> Incoming {
    Incoming::Fault(Fault::new(id, ErrorCode::INVALID_REQUEST, message))
}

fn values(line: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (1, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b',' | b'[' | b'{' if !inside => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> Option<(i32, Option<String>)> {
        match parse(line.as_bytes(), &Session::default()) {
            Incoming::Fault(fault) => Some((
                fault.error.code.0,
                fault.id.map(|id| serde_json::to_string(&id).unwrap()),
            )),
            _ => None,
        }
    }

    #[test]
    fn faults_carry_the_id_where_it_is_usable() {
        let cases = [
            ("{", -32700, None),
            ("\"\\ud800\"", -32700, None),
            ("[]", -32600, None),
            ("7", -32600, None),
            ("{}", -32600, None),
            (r#"{"id":3}"#, -32600, Some("3")),
            (
                r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#,
                -32600,
                Some("\"a\""),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                -32600,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1180591620717411303424,"method":"ping"}"#,
                -32600,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"x"}"#,
                -32601,
                Some("18446744073709551615"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
                -32602,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
                -32600,
                Some("1"),
            ),
        ];
        for (line, expect, id) in cases {
            assert_eq!(code(line), Some((expect, id.map(str::to_owned))), "{line}");
        }
    }

    #[test]
    fn what_needs_no_answer_gets_none() {
        for line in [
            "",
            " \r",
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","method":"x","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        ] {
            assert!(
                matches!(
                    parse(line.as_bytes(), &Session::default()),
                    Incoming::Nothing
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(values(br#"{"a":[1,2],"b":"[,\",{"}"#), 5);
        let line = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert_eq!(code(&line).unwrap().0, -32700);
    }

    #[test]
    fn messages_stay_short_and_plain() {
        let method = format!("\u{1b}{}", "x".repeat(9000));
        let line = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let Incoming::Fault(fault) = parse(line.as_bytes(), &Session::default()) else {
            panic!("no fault")
        };
        assert!(fault.error.message.len() < 500);
        assert!(fault.error.message.chars().all(text::is_plain));
    }
}
