//! Classifies one line of input: calls that take the direct way, and all that the protocol library or an error answers.

use remit_mcp::jsonrpc::{self, ClientLine, Id};
use remit_mcp::lines::LineEnds;
use remit_mcp::readable_id;
use rmcp::model::{ClientRequest, ErrorCode, GetMeta};
use serde::Serialize;
use serde_json::{Number, Value};

use crate::direct::{self, Direct, Era, Session};

/// Bytes of one line without its newline.
pub const MAX_LINE: usize = 4 << 20;
/// JSON values in one line. Each needs far more memory than its bytes.
pub const MAX_VALUES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum ClientId {
    Text(String),
    Number(Number),
}

impl Id for ClientId {
    const IS: &str = "a string or a whole number";

    fn new(value: Value) -> Option<Self> {
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

impl Asked {
    /// Returns the form of its answer.
    pub fn era(&self) -> Era {
        match self {
            Self::Direct(direct) => direct.era,
            Self::Library(request) if direct::is_modern(request.get_meta()) => Era::Modern,
            Self::Library(_) => Era::Legacy,
        }
    }
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

pub type Fault = jsonrpc::Fault<ClientId>;

pub fn too_long(ends: &LineEnds) -> Fault {
    let message = format!("the line is longer than {MAX_LINE} bytes");
    Fault::new(
        readable_id::of_ends(ends).and_then(ClientId::new),
        ErrorCode::INVALID_REQUEST,
        &message,
    )
}

pub fn duplicate(id: ClientId) -> Fault {
    let message = "a request with this id is still in flight";
    Fault::new(Some(id), ErrorCode::INVALID_REQUEST, message)
}

pub fn parse(line: &[u8], session: &Session) -> Incoming {
    // A value needs at least one byte, so short lines are not counted.
    let many = line.len() > MAX_VALUES && values(line) > MAX_VALUES;
    if many {
        let message = format!("the line holds more than {MAX_VALUES} JSON values");
        let id = readable_id::of_line(line).and_then(ClientId::new);
        return Incoming::Fault(Fault::new(id, ErrorCode::PARSE_ERROR, &message));
    }
    if let Some((id, direct)) = session.direct(line) {
        return Incoming::Request {
            id,
            kind: RequestKind::Call,
            asked: Asked::Direct(Box::new(direct)),
        };
    }
    match jsonrpc::parse(line) {
        ClientLine::Request(id, request) => Incoming::Request {
            id,
            kind: match &*request {
                ClientRequest::CallToolRequest(_) => RequestKind::Call,
                _ => RequestKind::Quick,
            },
            asked: Asked::Library(request),
        },
        ClientLine::Cancelled(id) => Incoming::Cancelled(id),
        ClientLine::Nothing => Incoming::Nothing,
        ClientLine::Fault(fault) => Incoming::Fault(fault),
    }
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
    use remit_common::text;

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
