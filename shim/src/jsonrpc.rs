//! Classifies one line of input: calls that take the direct way, and all that the protocol library or an error answers.

use remit_mcp::jsonrpc::{self, ClientLine, Id, RequestKind};
use remit_mcp::readable_id;
use rmcp::model::{ClientRequest, ErrorCode, GetMeta};
use serde::Serialize;
use serde_json::{Number, Value};

use crate::direct::{self, Direct, Era, Session};

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
            Value::Number(number) => jsonrpc::integer(number).map(Self::Number),
            _ => None,
        }
    }
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
            kind: RequestKind::from(&*request),
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
    fn ids_are_texts_and_whole_numbers_of_64_bits() {
        for (id, usable) in [
            ("\"a\"", Some("\"a\"")),
            ("3", Some("3")),
            ("3.0", Some("3")),
            ("-3e2", Some("-300")),
            ("-9223372036854775808", Some("-9223372036854775808")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("1180591620717411303424", None),
            ("1.5", None),
            ("null", None),
        ] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
            let expect = match usable {
                Some(id) => (-32601, Some(id.to_owned())),
                None => (-32600, None),
            };
            assert_eq!(code(&line), Some(expect), "{line}");
        }
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(values(br#"{"a":[1,2],"b":"[,\",{"}"#), 5);
        let line = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert_eq!(code(&line).unwrap().0, -32700);
    }
}
