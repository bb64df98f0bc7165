//! Tool calls that bypass the protocol library, which copies each call several times. Nearly all take this path.
//! Anything unusual goes to the library: a closed session, an unknown revision, unknown params or an unknown tool.

use std::sync::Arc;

use remit_common::refusal::Refusal;
use remit_common::{RELEASE, text};
use remit_mcp::jsonrpc::Id;
use remit_mcp::unique;
use rmcp::model::{
    ClientRequest, GetMeta, Implementation, MetaObject, ProtocolVersion, RequestMetaObject,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::arguments::{self, DaemonCall};
use crate::jsonrpc::ClientId;
use crate::tools::Tool;

const CLAIMED: usize = 80;

#[derive(Debug)]
pub struct ToolCall {
    pub tool: Tool,
    pub call: Result<DaemonCall, Refusal>,
    pub meta: RequestMetaObject,
    /// What the client sends back of an answer that asked for a further round. Responses to questions are ignored: none is asked.
    pub state: Option<String>,
}

#[derive(Debug)]
pub struct Direct {
    pub call: ToolCall,
    pub era: Era,
    pub client: Arc<str>,
}

/// Protocol revisions with the same answer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Before 2026-07-28: a session starts with `initialize`.
    Legacy,
    /// From 2026-07-28 on: each request is self-contained.
    Modern,
}

/// State of the session after the requests that went to the library.
#[derive(Debug, Default)]
pub struct Session {
    legacy: Option<Arc<str>>,
    /// A request of the modern era was passed on.
    modern: bool,
}

impl Session {
    /// Notes a request that goes to the library.
    pub fn passed(&mut self, request: &ClientRequest) {
        match request {
            ClientRequest::InitializeRequest(request) => {
                let params = &request.params;
                let version = &params.protocol_version;
                let known = version.has_initialize() && is_known(version);
                self.legacy = known.then(|| client_name(Some(&params.client_info)).into());
            }
            // Discovery opens no session.
            ClientRequest::DiscoverRequest(_) => {}
            other => self.modern |= is_modern(other.get_meta()),
        }
    }

    pub fn direct(&self, line: &[u8]) -> Option<(ClientId, Direct)> {
        if !self.modern && self.legacy.is_none() {
            return None;
        }
        let (id, call) = parse(line)?;
        let (era, client) = self.era_and_client(&call.meta)?;
        Some((id, Direct { call, era, client }))
    }

    fn era_and_client(&self, meta: &RequestMetaObject) -> Option<(Era, Arc<str>)> {
        let [version, _] = RequestMetaObject::DRAFT_REQUIRED_KEYS;
        if !meta.0.0.contains_key(version) {
            return self.legacy.clone().map(|name| (Era::Legacy, name));
        }
        let open = self.modern || self.legacy.is_some();
        let era = (open && is_modern(meta)).then_some(Era::Modern)?;
        let own = || client_name(meta.client_info().as_ref()).into();
        match (&self.legacy, meta.client_info()) {
            (Some(name), None) => Some((era, Arc::clone(name))),
            _ => Some((era, own())),
        }
    }
}

/// Returns true if the request is of revision 2026-07-28, with all that it requires.
pub fn is_modern(meta: &RequestMetaObject) -> bool {
    let newest = ProtocolVersion::V_2026_07_28;
    meta.protocol_version().as_ref() == Some(&newest)
        && meta.missing_required_keys(&newest).is_empty()
}

fn is_known(version: &ProtocolVersion) -> bool {
    ProtocolVersion::KNOWN_VERSIONS.contains(version)
}

/// Returns the name for the daemon's hello: the shim's, and the one that the client claims.
pub fn client_name(client: Option<&Implementation>) -> String {
    let own = format!("mcp-shim {RELEASE}");
    match client {
        Some(client) => {
            let claimed = format!("{} {}", client.name, client.version);
            format!("{own}, {}", text::line(claimed.as_bytes(), CLAIMED))
        }
        None => own,
    }
}

// Unknown fields go to the library, which understands or refuses them.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    jsonrpc: &'a str,
    id: Value,
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(rename = "_meta", borrow)]
    meta: Option<&'a RawValue>,
    #[serde(rename = "requestState")]
    state: Option<String>,
}

fn parse(line: &[u8]) -> Option<(ClientId, ToolCall)> {
    let message: Message<'_> = object(std::str::from_utf8(line).ok()?)?;
    if message.jsonrpc != "2.0" || message.method != "tools/call" {
        return None;
    }
    let id = ClientId::new(message.id)?;
    let params: Params<'_> = object(message.params.get())?;
    let tool = Tool::ALL
        .into_iter()
        .find(|tool| tool.name() == params.name)?;
    let arguments = params.arguments.map_or("{}", RawValue::get);
    let meta = match params.meta {
        None => Map::new(),
        Some(meta) => match unique::parse(meta.get().as_bytes()).ok()? {
            Value::Object(meta) => meta,
            _ => return None,
        },
    };
    let call = ToolCall {
        tool,
        call: arguments::read(tool, arguments)?,
        meta: RequestMetaObject(MetaObject(meta)),
        state: params.state,
    };
    Some((id, call))
}

/// Parses an object. serde would also accept a list.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use remit_wire::{Request, What};
    use serde_json::json;

    use super::*;

    fn argv(line: &str) -> Option<Vec<Vec<u8>>> {
        let (_, call) = parse(line.as_bytes())?;
        match call.call.ok()?.request {
            Request::Run(run) => match run.what {
                What::Argv(argv) => Some(argv.into_iter().map(|arg| arg.into_vec()).collect()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_usual_call_is_understood() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run","arguments":{"argv":["a"]}}}"#,
            r#" { "method" : "tools/call" , "id":"x","params": { "_meta":{"progressToken":1}, "arguments" : {"argv":["\u0061"]}, "name":"run" }, "jsonrpc":"2.0"} "#,
        ] {
            assert_eq!(argv(line), Some(vec![b"a".to_vec()]), "{line}");
        }
        let refused = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run"}}"#;
        assert!(parse(refused.as_bytes()).unwrap().1.call.is_err());
    }

    #[test]
    fn what_is_unusual_is_left_to_others() {
        let params = r#"{"name":"run","arguments":{"argv":["a"]}}"#;
        let call = |params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
        };
        assert!(parse(call(params).as_bytes()).is_some());
        let lists = [
            r#"["run",{"argv":["a"]},null]"#.to_owned(),
            r#"{"name":"run","arguments":[["a"]]}"#.to_owned(),
        ];
        for line in lists.map(|list| call(&list)).into_iter().chain([
            format!(r#"["2.0",1,"tools/call",{params}]"#),
            format!(r#"[{}]"#, call(params)),
            call(params).replace("2.0", "1.0"),
            call(params).replace("tools/call", "tools/list"),
            call(params).replace(":1,", ":1.5,"),
            call(params).replace(":1,", ":null,"),
            call(params).replace("\"id\":1,", ""),
            call(params).replace("run", "walk"),
            call(params).replace("\"a\"", "\"\\ud800\""),
            call(params).replace("\"name\"", "\"task\":{},\"name\""),
            call(params).replace("\"name\"", "\"name\":\"host\",\"name\""),
            call(params).replace("\"name\"", r#""_meta":{"a":1,"a":2},"name""#),
            call(params).replace("\"name\"", r#""_meta":{"a":[{"b":1,"b":2}]},"name""#),
            call(params).replace("\"name\"", r#""_meta":[],"name""#),
            call(params).replace("\"id\"", "\"result\":1,\"id\""),
            call(params) + "x",
            call(params).replace("\"a\"", "\"a"),
        ]) {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
        let mut bytes = call(params).into_bytes();
        let index = bytes.iter().position(|byte| *byte == b'a').unwrap();
        bytes[index] = 0xff;
        assert!(parse(&bytes).is_none());
    }

    fn request(method: &str, params: Value) -> ClientRequest {
        serde_json::from_value(json!({"method": method, "params": params})).unwrap()
    }

    fn initialize(version: &str) -> ClientRequest {
        request(
            "initialize",
            json!({"protocolVersion": version, "capabilities": {},
                   "clientInfo": {"name": "c", "version": "1"}}),
        )
    }

    fn meta(version: Value) -> Value {
        json!({"io.modelcontextprotocol/protocolVersion": version,
               "io.modelcontextprotocol/clientCapabilities": {}})
    }

    fn era(session: &Session, of: &Value) -> Option<Era> {
        let of = serde_json::from_value(of.clone()).unwrap();
        session.era_and_client(&of).map(|(era, _)| era)
    }

    #[test]
    fn only_an_open_session_is_served() {
        let (plain, modern) = (json!({"progressToken": 1}), meta(json!("2026-07-28")));
        let mut session = Session::default();
        assert_eq!(era(&session, &plain), None);
        assert_eq!(era(&session, &modern), None);
        session.passed(&request("server/discover", json!({"_meta": modern})));
        assert_eq!(era(&session, &modern), None);
        session.passed(&initialize("2025-06-18"));
        assert_eq!(era(&session, &plain), Some(Era::Legacy));
        assert_eq!(era(&session, &modern), Some(Era::Modern));
        for version in [json!("2099-01-01"), json!("2025-06-18"), json!(7)] {
            assert_eq!(era(&session, &meta(version)), None);
        }
        let half = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        assert_eq!(era(&session, &half), None);
        // The library reports these revisions itself.
        for version in ["2026-07-28", "2099-01-01", ""] {
            session.passed(&initialize(version));
            assert_eq!(era(&session, &plain), None, "{version}");
        }
    }

    #[test]
    fn modern_era_opens_with_first_request() {
        let mut session = Session::default();
        let modern = meta(json!("2026-07-28"));
        session.passed(&request("tools/list", json!({})));
        assert_eq!(era(&session, &modern), None);
        session.passed(&request("tools/list", json!({"_meta": modern})));
        assert_eq!(era(&session, &modern), Some(Era::Modern));
        assert_eq!(era(&session, &json!({})), None);
    }
}
