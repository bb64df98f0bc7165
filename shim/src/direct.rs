//! Calls of tools that need nothing of the protocol library: understood in one go, answered in one go.
//!
//! They are nearly all there is to do. The library would make a tree of values of each, copy it into types,
//! and do the same backwards with the answer. What is in any way unusual goes to the library: a session
//! that is not open yet, a revision we do not know, params we do not know, a tool that is not there.

use std::sync::Arc;

use remit_common::refusal::Refusal;
use remit_common::{RELEASE, text};
use rmcp::model::{
    ClientRequest, GetMeta, Implementation, MetaObject, ProtocolVersion, RequestMetaObject,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::arguments::{self, Call};
use crate::line::ClientId;
use crate::tools::Tool;

/// Bytes shown of what a client calls itself.
const CLAIMED: usize = 80;

/// A call of a tool.
#[derive(Debug)]
pub struct ToolCall {
    /// Of this one.
    pub tool: Tool,
    /// What is asked for, or why that has no meaning.
    pub call: Result<Call, Refusal>,
    /// What the client says about the call.
    pub meta: RequestMetaObject,
}

/// A call that we answer.
#[derive(Debug)]
pub struct Direct {
    /// The call.
    pub call: ToolCall,
    /// What its answer looks like.
    pub era: Era,
    /// The name for the daemon's hello.
    pub client: Arc<str>,
}

/// Which revisions a request is of: what its answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Before 2026-07-28: sessions begin with `initialize`.
    Legacy,
    /// From 2026-07-28 on: each request says everything itself.
    Modern,
}

/// What the requests that went to the library have made of the session.
#[derive(Debug, Default)]
pub struct Session {
    /// The revision that `initialize` asked for is one that has it; the name of who said so.
    legacy: Option<Arc<str>>,
    /// A request of the modern era was passed on.
    modern: bool,
}

impl Session {
    /// Takes note of a request that goes to the library.
    pub fn passed(&mut self, request: &ClientRequest) {
        match request {
            ClientRequest::InitializeRequest(request) => {
                let params = &request.params;
                let version = &params.protocol_version;
                let known = version.has_initialize() && is_known(version);
                self.legacy = known.then(|| client_name(Some(&params.client_info)).into());
            }
            // It opens nothing.
            ClientRequest::DiscoverRequest(_) => {}
            other => self.modern |= is_modern(other.get_meta()),
        }
    }

    /// The call in a line, where it is one for us. Pure.
    pub fn direct(&self, line: &[u8]) -> Option<(ClientId, Direct)> {
        if !self.modern && self.legacy.is_none() {
            return None;
        }
        let (id, call) = parse(line)?;
        let (era, client) = self.of(&call.meta)?;
        Some((id, Direct { call, era, client }))
    }

    fn of(&self, meta: &RequestMetaObject) -> Option<(Era, Arc<str>)> {
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

/// Whether a request says all of itself that the modern era asks for.
fn is_modern(meta: &RequestMetaObject) -> bool {
    let newest = ProtocolVersion::V_2026_07_28;
    meta.protocol_version().as_ref() == Some(&newest)
        && meta.missing_required_keys(&newest).is_empty()
}

fn is_known(version: &ProtocolVersion) -> bool {
    ProtocolVersion::KNOWN_VERSIONS.contains(version)
}

/// The name for the daemon's hello: ours, and what the client claims to be.
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

// No field more: whatever else stands in a message, somebody else understands or refuses.

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
    #[serde(rename = "_meta")]
    meta: Option<MetaObject>,
}

/// The call that stands in a line, if it is one and everything in it is as usual. Pure.
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
    let call = ToolCall {
        tool,
        call: arguments::read(tool, arguments)?,
        meta: RequestMetaObject(params.meta.unwrap_or_default()),
    };
    Some((id, call))
}

/// What stands in an object. A list, which serde takes for one too, is none.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use remit_common::wire::{Request, What};
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
            call(params).replace("\"id\"", "\"result\":1,\"id\""),
            call(params) + "x",
            call(params).replace("\"a\"", "\"a"),
        ]) {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
        let mut bytes = call(params).into_bytes();
        let place = bytes.iter().position(|byte| *byte == b'a').unwrap();
        bytes[place] = 0xff;
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
        session.of(&of).map(|(era, _)| era)
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
        // What the library makes of these, it tells itself.
        for version in ["2026-07-28", "2099-01-01", ""] {
            session.passed(&initialize(version));
            assert_eq!(era(&session, &plain), None, "{version}");
        }
    }

    #[test]
    fn the_modern_era_is_open_after_its_first_request() {
        let mut session = Session::default();
        let modern = meta(json!("2026-07-28"));
        session.passed(&request("tools/list", json!({})));
        assert_eq!(era(&session, &modern), None);
        session.passed(&request("tools/list", json!({"_meta": modern})));
        assert_eq!(era(&session, &modern), Some(Era::Modern));
        assert_eq!(era(&session, &json!({})), None);
    }
}
