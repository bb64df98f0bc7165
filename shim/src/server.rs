//! The MCP server: what it says of itself, its tools, and one call from start to end.

use remit_common::wire::Request;
use remit_common::{RELEASE, caps, text, traceparent};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
    MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;
use tokio::sync::mpsc;

use crate::answer::{self, Form};
use crate::arguments::{self, Call};
use crate::daemon::Daemon;
use crate::progress::Reporter;
use crate::tools::{self, INSTRUCTIONS, Tool};

/// The server behind one pair of stdin and stdout.
pub struct Server {
    daemon: Daemon,
}

impl Server {
    /// A server that asks `daemon`.
    pub fn new(daemon: Daemon) -> Self {
        Self { daemon }
    }

    /// Asks the daemon and reports progress meanwhile. None when the client gave up.
    async fn ask(
        &self,
        tool: Tool,
        mut call: Call,
        context: &RequestContext<RoleServer>,
    ) -> Option<CallToolResult> {
        if let Request::Run(run) = &mut call.request {
            run.traceparent = claimed_trace(context);
        }
        let form = Form::of(tool, &call);
        let (sender, news) = mpsc::unbounded_channel();
        let mut reporter = Reporter::new(context.meta.get_progress_token(), &context.peer, news);
        let client = client_name(context);
        let answer = self.daemon.call(&client, call.request, sender);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                () = context.ct.cancelled() => return None,
                reply = &mut answer => return Some(answer::result(form, reply)),
                () = reporter.next() => reporter.report().await,
            }
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(implementation())
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = ListToolsResult::with_all_items(tools::list());
        list.meta = meta(&context);
        Ok(list)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = Tool::ALL.into_iter().find(|t| t.name() == request.name) else {
            let name = text::line(request.name.as_bytes(), caps::NAME);
            let names = Tool::ALL.map(Tool::name).join(", ");
            return Err(ErrorData::invalid_params(
                format!("unknown tool '{name}': there are {names}"),
                None,
            ));
        };
        let result = match arguments::call(tool, request.arguments.unwrap_or_default()) {
            Ok(call) => self.ask(tool, call, &context).await,
            Err(refusal) => Some(answer::refused(&refusal)),
        };
        let Some(result) = result else {
            // Sent to nobody: a cancelled request gets no answer.
            return Err(ErrorData::internal_error("cancelled", None));
        };
        Ok(result.with_meta(meta(&context)).into())
    }
}

fn implementation() -> Implementation {
    let mut implementation = Implementation::new("remit", RELEASE);
    implementation.title = Some("remit".to_owned());
    implementation
}

/// What results carry from revision 2026-07-28 on, which has no session to remember it in.
fn meta(context: &RequestContext<RoleServer>) -> Option<MetaObject> {
    let version = context.protocol_version()?;
    if version.as_str() < ProtocolVersion::V_2026_07_28.as_str() {
        return None;
    }
    let mut meta = MetaObject::new();
    meta.insert(
        "io.modelcontextprotocol/serverInfo".to_owned(),
        json!(implementation()),
    );
    Some(meta)
}

/// The trace that the call says it is part of, where it says so as it should.
fn claimed_trace(context: &RequestContext<RoleServer>) -> Option<String> {
    traceparent::checked(context.meta.get_traceparent().map(str::to_owned))
}

/// The name for the daemon's hello: ours, and what the client claims to be.
fn client_name(context: &RequestContext<RoleServer>) -> String {
    let own = format!("mcp-shim {RELEASE}");
    match context.client_info() {
        Some(client) => {
            let claimed = format!("{} {}", client.name, client.version);
            format!("{own}, {}", text::line(claimed.as_bytes(), 80))
        }
        None => own,
    }
}
