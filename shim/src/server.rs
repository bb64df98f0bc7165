//! The MCP server: its description, its tools, and the run of one call.

use std::sync::Arc;

use remit_common::{RELEASE, caps, text, traceparent};
use remit_wire::Request;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
    MetaObject, PaginatedRequestParams, ProtocolVersion, RequestMetaObject, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;
use tokio::sync::mpsc;

use crate::answer::{Answer, Form};
use crate::arguments;
use crate::daemon::Daemon;
use crate::direct::{self, ToolCall};
use crate::progress::Reporter;
use crate::stdio::Output;
use crate::tools::{self, INSTRUCTIONS, Tool};

#[derive(Clone)]
pub struct Server {
    daemon: Arc<Daemon>,
    output: Output,
}

impl Server {
    pub fn new(daemon: Daemon, output: Output) -> Self {
        Self {
            daemon: Arc::new(daemon),
            output,
        }
    }

    /// Makes the call and reports progress. Dropping the future cancels the call.
    pub async fn answer(&self, call: ToolCall, client: &str) -> Answer {
        let ToolCall { tool, call, meta } = call;
        let mut call = match call {
            Ok(call) => call,
            Err(refusal) => return Answer::refused(&refusal),
        };
        if let Request::Run(run) = &mut call.request {
            run.traceparent = claimed_trace(&meta);
        }
        let form = Form::from_call(tool, &call);
        let Some(token) = meta.get_progress_token() else {
            return Answer::new(form, self.daemon.call(client, call.request, None).await);
        };
        let (sender, news) = mpsc::unbounded_channel();
        let mut reporter = Reporter::new(token, self.output.clone(), news);
        let answer = self.daemon.call(client, call.request, Some(sender));
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                reply = &mut answer => return Answer::new(form, reply),
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
        let call = ToolCall {
            tool,
            call: arguments::call(tool, request.arguments.unwrap_or_default()),
            meta: context.meta.clone(),
        };
        let client = direct::client_name(context.client_info().as_ref());
        tokio::select! {
            biased;
            // A cancelled request gets no answer, so nobody receives this.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            answer = self.answer(call, &client) => {
                Ok(CallToolResult::from(answer).with_meta(meta(&context)).into())
            }
        }
    }
}

fn implementation() -> Implementation {
    let mut implementation = Implementation::new("remit", RELEASE);
    implementation.title = Some("remit".to_owned());
    implementation
}

/// From revision 2026-07-28 on there is no session, so each result names the server.
fn meta(context: &RequestContext<RoleServer>) -> Option<MetaObject> {
    let version = context.protocol_version()?;
    (version.as_str() >= ProtocolVersion::V_2026_07_28.as_str()).then(server_info)
}

pub fn server_info() -> MetaObject {
    let mut meta = MetaObject::new();
    meta.insert(
        "io.modelcontextprotocol/serverInfo".to_owned(),
        json!(implementation()),
    );
    meta
}

fn claimed_trace(meta: &RequestMetaObject) -> Option<String> {
    traceparent::checked(meta.get_traceparent().map(str::to_owned))
}
