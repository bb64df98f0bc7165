//! Classifies one line of the client. Only methods of this server become typed requests; all else is answered here. Pure.

use remit_common::text;
use rmcp::ErrorData;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ClientRequest, ErrorCode, InitializeRequest, JsonRpcMessage, ProtocolVersion, RequestId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::lines::{LineEnds, MAX_LINE};
use crate::readable_id;
use crate::unique::{self, NotUnique};

const MAX_MESSAGE: usize = 400;

/// The id of a request, as a server keeps it.
pub trait Id: Sized {
    /// What an id is, for clients that send something else.
    const IS: &str;

    fn new(value: Value) -> Option<Self>;
}

impl Id for RequestId {
    const IS: &str = "a string or a whole number of 63 bits";

    fn new(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::String(text.into())),
            Value::Number(number) => integer(number)?.as_i64().map(Self::Number),
            _ => None,
        }
    }
}

/// Returns a number that is an integer of JSON Schema, where 1.0 is one, without its fraction.
#[must_use]
pub fn integer(number: Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number);
    }
    let whole = number.as_f64().filter(|number| number.fract() == 0.0)?;
    whole.to_string().parse::<i64>().ok().map(Number::from)
}

/// What counts together in a bound of requests without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It may take as long as the daemon or the hosts that it is for.
    Call,
    /// It is answered at once: many accumulate only if the client does not read.
    Quick,
}

impl From<&ClientRequest> for RequestKind {
    fn from(request: &ClientRequest) -> Self {
        match request {
            ClientRequest::CallToolRequest(_) => Self::Call,
            _ => Self::Quick,
        }
    }
}

#[derive(Debug)]
pub enum ClientLine<I> {
    Request(I, Box<ClientRequest>),
    Cancelled(I),
    /// A blank line, a response, or a notification without effect.
    Nothing,
    Fault(Fault<I>),
}

/// An error answer. Without an id the client at least sees that something was wrong.
#[derive(Debug, Serialize)]
#[serde(tag = "jsonrpc", rename = "2.0")]
pub struct Fault<I> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<I>,
    pub error: ErrorData,
}

impl<I> Fault<I> {
    pub fn new(id: Option<I>, code: ErrorCode, message: &str) -> Self {
        let message = text::line(message.as_bytes(), MAX_MESSAGE);
        let error = ErrorData::new(code, message, None);
        Self { id, error }
    }
}

/// Returns the message that ends the request with this key.
pub fn cancelled(key: RequestId) -> ClientJsonRpcMessage {
    let param = CancelledNotificationParam::new(Some(key), None);
    let cancelled = CancelledNotification::new(param);
    JsonRpcMessage::notification(ClientNotification::CancelledNotification(cancelled))
}

/// Returns the answer to a line of over [`MAX_LINE`] bytes.
pub fn too_long<I: Id>(ends: &LineEnds) -> Fault<I> {
    let id = readable_id::of_ends(ends).and_then(I::new);
    let why = format!("the line is longer than {MAX_LINE} bytes");
    Fault::new(id, ErrorCode::INVALID_REQUEST, &why)
}

pub fn parse<I: Id>(line: &[u8]) -> ClientLine<I> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return ClientLine::Nothing;
    }
    match unique::parse(line) {
        Ok(Value::Object(message)) => object(message),
        Ok(Value::Array(_)) => invalid(None, "batches are not supported"),
        Ok(_) => invalid(None, "a message is a JSON object"),
        Err(NotUnique::Twice(name)) => {
            let why = format!("a name is given twice: {name}");
            invalid(readable_id::of_line(line).and_then(I::new), &why)
        }
        Err(NotUnique::Json(error)) => {
            let why = format!("not JSON: {error}");
            let id = readable_id::of_line(line).and_then(I::new);
            ClientLine::Fault(Fault::new(id, ErrorCode::PARSE_ERROR, &why))
        }
    }
}

fn object<I: Id>(mut message: Map<String, Value>) -> ClientLine<I> {
    let sent = message.remove("id");
    let has_id = sent.is_some();
    let id = sent.and_then(I::new);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(id, "'jsonrpc' is not \"2.0\"");
    }
    let is_answer = message.contains_key("result") || message.contains_key("error");
    let method = match message.remove("method") {
        Some(Value::String(method)) if !is_answer => method,
        Some(Value::String(_)) => return invalid(id, "both a request and a response"),
        Some(_) => return invalid(id, "'method' is not a string"),
        // This server sends no requests, so a response answers nothing.
        None if is_answer => return ClientLine::Nothing,
        None => return invalid(id, "'method' is missing"),
    };
    let params = match message.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) if !has_id => return ClientLine::Nothing,
        Some(_) => return invalid(id, "'params' is not an object"),
    };
    match id {
        Some(id) => request(id, method, params),
        None if has_id => invalid(None, &format!("'id' is not {}", I::IS)),
        None => notification(&method, params),
    }
}

fn request<I: Id>(id: I, method: String, params: Map<String, Value>) -> ClientLine<I> {
    let cursor = params.get("cursor");
    if method == "tools/list" && cursor.is_some_and(|cursor| !cursor.is_null()) {
        let why = "unknown cursor: the list is one page";
        return fault(id, ErrorCode::INVALID_PARAMS, why);
    }
    let request = match method.as_str() {
        "initialize" => typed(method, params, initialize),
        "server/discover" => typed(method, params, ClientRequest::DiscoverRequest),
        "ping" => typed(method, params, ClientRequest::PingRequest),
        "tools/list" => typed(method, params, ClientRequest::ListToolsRequest),
        "tools/call" => typed(method, params, ClientRequest::CallToolRequest),
        _ => {
            let why = format!("no such method: {method}");
            return fault(id, ErrorCode::METHOD_NOT_FOUND, &why);
        }
    };
    match request {
        Ok(request) => ClientLine::Request(id, Box::new(request)),
        Err(error) => fault(
            id,
            ErrorCode::INVALID_PARAMS,
            &format!("bad params: {error}"),
        ),
    }
}

/// A client of revision 2025-03-26 is answered with the one before it, which is not the newest: it knows no later one.
fn initialize(mut request: InitializeRequest) -> ClientRequest {
    let version = &mut request.params.protocol_version;
    if *version == ProtocolVersion::V_2025_03_26 {
        *version = ProtocolVersion::V_2024_11_05;
    }
    ClientRequest::InitializeRequest(request)
}

fn typed<T: DeserializeOwned>(
    method: String,
    params: Map<String, Value>,
    make: fn(T) -> ClientRequest,
) -> Result<ClientRequest, serde_json::Error> {
    let message = Map::from_iter([
        ("method".to_owned(), Value::String(method)),
        ("params".to_owned(), Value::Object(params)),
    ]);
    serde_json::from_value(Value::Object(message)).map(make)
}

fn notification<I: Id>(method: &str, mut params: Map<String, Value>) -> ClientLine<I> {
    if method != "notifications/cancelled" {
        return ClientLine::Nothing;
    }
    let id = params.remove("requestId").and_then(I::new);
    id.map_or(ClientLine::Nothing, ClientLine::Cancelled)
}

fn fault<I>(id: I, code: ErrorCode, why: &str) -> ClientLine<I> {
    ClientLine::Fault(Fault::new(Some(id), code, why))
}

fn invalid<I>(id: Option<I>, why: &str) -> ClientLine<I> {
    ClientLine::Fault(Fault::new(id, ErrorCode::INVALID_REQUEST, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> Option<(i32, Option<String>)> {
        match parse::<RequestId>(line.as_bytes()) {
            ClientLine::Fault(fault) => {
                let id = fault.id.map(|id| serde_json::to_string(&id).unwrap());
                assert!(fault.error.message.len() < 500);
                assert!(fault.error.message.chars().all(text::is_plain));
                Some((fault.error.code.0, id))
            }
            _ => None,
        }
    }

    #[test]
    fn faults_carry_the_id_if_it_is_usable() {
        for (line, code, id) in [
            ("{", -32700, None),
            ("\"\\ud800\"", -32700, None),
            (r#"{"method":"\ud800","id":7}"#, -32700, Some("7")),
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
                r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"ping"}"#,
                -32600,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                -32600,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":-2e0,"method":"x"}"#,
                -32601,
                Some("-2"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x\u001b"}"#,
                -32601,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
                -32602,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#,
                -32602,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"ping"}"#,
                -32600,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#,
                -32600,
                None,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
                -32600,
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
                -32600,
                Some("1"),
            ),
        ] {
            assert_eq!(fault(line), Some((code, id.map(str::to_owned))), "{line}");
        }
        assert_eq!(fault(&"[".repeat(100_000)), Some((-32700, None)));
        let method = format!("\u{1b}{}", "x".repeat(9000));
        let line = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method});
        let expect = (-32601, Some("1".to_owned()));
        assert_eq!(fault(&line.to_string()), Some(expect));
    }

    #[test]
    fn revision_with_batches_becomes_the_one_before() {
        for (asked, expect) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2024-11-05"),
            ("2025-06-18", "2025-06-18"),
            ("2025-11-25", "2025-11-25"),
            ("2099-01-01", "2099-01-01"),
        ] {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{asked}",
                "capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
            );
            let ClientLine::Request(_, request) = parse::<RequestId>(line.as_bytes()) else {
                panic!("{line}");
            };
            let ClientRequest::InitializeRequest(request) = *request else {
                panic!("{request:?}");
            };
            assert_eq!(request.params.protocol_version.as_str(), expect);
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
                matches!(parse::<RequestId>(line.as_bytes()), ClientLine::Nothing),
                "{line}"
            );
        }
    }
}
