//! The MCP server: answers `initialize` and `tools/list` from what it knows, and hands calls to the engine.

use std::borrow::Cow;
use std::sync::Arc;

use remit_common::behalf::Behalf;
use remit_common::text;
use remit_mcp::{REVISIONS, behalf_of_environment, claimed_behalf, meta};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::call::{self, Reach, SetLimits, ToolCall};
use super::files;
use super::progress::Progress;
use super::reply::Reply;
use super::sets;
use super::tools::{self, HOSTS, INSTRUCTIONS};
use crate::config::{ConfigError, Host};
use crate::engine::group::{self, Fold};
use crate::engine::{Engine, end_for_clients, logs, report, too_late};
use crate::hosts;
use crate::link::{Answered, HostCall, Unreachable};
use crate::releases;
use crate::request_id;
use crate::set::Sets;

const CLIENT: usize = 80;
const NAME: usize = 60;
const INVALID: &str = "invalid_args";
const NOT_STARTED: &str = "not_started";
const UNREACHABLE: &str = "daemon_unavailable";

#[derive(Clone)]
pub struct Server {
    /// A broken configuration is reported at each call: a server that does not start says nothing to a model.
    engine: Result<Arc<Engine>, Arc<ConfigError>>,
    tools: Arc<[Tool]>,
    sets: Sets,
    /// Whom calls act for that say nothing themselves.
    behalf: Option<Behalf>,
}

impl Server {
    pub fn new(engine: Result<Arc<Engine>, ConfigError>, sets: Sets) -> Self {
        let has_many = engine
            .as_ref()
            .is_ok_and(|engine| engine.fleet.hosts.len() > 1);
        let has_files = engine
            .as_ref()
            .is_ok_and(|engine| engine.fleet.files.is_some());
        Self {
            engine: engine.map_err(Arc::new),
            tools: tools::list(has_many, has_files).into(),
            sets,
            behalf: behalf_of_environment(),
        }
    }

    async fn reply(&self, tool: &str, arguments: Map<String, Value>, caller: &Caller) -> Reply {
        let engine = match &self.engine {
            Ok(engine) => engine,
            Err(error) => return Reply::refused(NOT_STARTED, &error.0),
        };
        match answer(engine, &self.sets, tool, arguments, caller).await {
            Ok(reply) => reply,
            Err(why) => Reply::refused(INVALID, &why),
        }
    }
}

/// Who calls, and who hears of progress.
struct Caller {
    client: String,
    behalf: Option<Behalf>,
    progress: Progress,
}

async fn answer(
    engine: &Arc<Engine>,
    sets: &Sets,
    tool: &str,
    arguments: Map<String, Value>,
    caller: &Caller,
) -> Result<Reply, String> {
    let mut asked = ToolCall::new(tool, arguments)?;
    let words: Option<Vec<&str>> = asked
        .on
        .as_ref()
        .map(|on| on.iter().map(String::as_str).collect());
    if tool == HOSTS {
        let listed = hosts::listed(engine, words.as_deref(), &asked.arguments, &caller.client);
        return listed.await.map(Reply::plain);
    }
    if let Some(id) = call::named_set(tool, &asked.arguments)? {
        return sets::named(engine, sets, tool, (id, &asked.arguments)).await;
    }
    let chosen = engine.choose(words.as_deref());
    let chosen: Vec<Host> = chosen
        .map_err(|error| error.0)?
        .into_iter()
        .cloned()
        .collect();
    if [files::UPLOAD, files::DOWNLOAD].contains(&tool) {
        return files::call(engine, tool, &chosen, &asked.arguments).await;
    }
    let limits = match tool {
        "change" => Some(SetLimits::take(&mut asked.arguments)?),
        _ => None,
    };
    asked.identify(tool, || {
        request_id::fresh().map_err(|error| {
            format!("cannot read '/dev/urandom': {error}; give a request_id of your own")
        })
    })?;
    let plans = sets.plans(&asked.arguments);
    let mut call = HostCall {
        tool: tool.to_owned(),
        arguments: asked.arguments,
        set: None,
        behalf: caller.behalf.clone(),
        client: caller.client.clone(),
        until: Some(end_for_clients()),
        may_become_master: true,
        follows: false,
        is_patient: false,
    };
    match (chosen.as_slice(), call::reach(tool, &call.arguments)) {
        ([host], _) => {
            if let Some(plans) = plans {
                let plan = sets::plan_of(&host.name, &plans)?;
                call.arguments.insert("plan_id".to_owned(), json!(plan));
            }
            Ok(one(engine, host, &call, caller).await)
        }
        (hosts, Reach::Set) => {
            let limits = limits.unwrap_or_default();
            sets::change(engine, sets, (hosts, call, plans), limits).await
        }
        (hosts, Reach::Many) if tool == "plan" => sets::plan(engine, sets, hosts, call).await,
        (_, Reach::Many) => Ok(many(engine, &chosen, (&call, asked.fold), caller).await),
        (hosts, Reach::One(why)) => {
            let names = text::first_of(hosts.iter().map(|host| &host.name), 8);
            Err(format!(
                "{why}, and 'on' names {}: {names}; call it for one of them",
                hosts.len()
            ))
        }
    }
}

async fn one(engine: &Arc<Engine>, host: &Host, call: &HostCall, caller: &Caller) -> Reply {
    let (news, mut words) = mpsc::unbounded_channel();
    let news = caller.progress.is_wanted().then_some(news);
    let answer = engine.call(&host.name, call, news);
    tokio::pin!(answer);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut answer => break outcome,
            Some(words) = words.recv() => caller.progress.report(None, &words).await,
        }
    };
    match outcome {
        Ok(Answered { result, server, .. }) => {
            let mut named = vec![("on", json!(host.name.as_str()))];
            named.extend(releases::other(&server).map(|words| ("release", json!(words))));
            Reply::named(result.is_error, result.text, result.data, &named)
        }
        Err(Unreachable(why)) => Reply::refused(UNREACHABLE, &format!("{}: {why}", host.name)),
    }
}

async fn many(
    engine: &Arc<Engine>,
    hosts: &[Host],
    (call, fold): (&HostCall, Fold),
    caller: &Caller,
) -> Reply {
    let (done, mut counts) = mpsc::unbounded_channel();
    caller.progress.count_to(hosts.len());
    let names: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
    let answers = engine.call_all(&names, call, Some(done));
    tokio::pin!(answers);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut answers => break outcomes,
            Some(count) = counts.recv() => {
                // At most twenty notes, however many hosts there are.
                let step = names.len().div_ceil(20);
                if count % step != 0 && count != names.len() {
                    continue;
                }
                let words = format!("{count} of {} hosts have answered", names.len());
                caller.progress.report(Some(count), &words).await;
            }
        }
    };
    let named = outcomes.iter();
    let own = releases::other_releases(named.map(|(host, outcome)| (host.as_str(), outcome)));
    let (timeline, outcomes) = match logs::is_asked(call) {
        true => logs::merged(engine, call, outcomes, || too_late(call.until)).await,
        false => (None, outcomes),
    };
    let grouped = group::of_answers(outcomes, fold, hosts.len());
    let is_error = timeline.is_none() && grouped.groups.iter().all(|group| group.is_error);
    let budget = usize::try_from(engine.fleet.limits.answer_bytes).unwrap_or(0);
    let data = match timeline {
        None => report::fitted_with(&grouped, own, budget),
        // Answers that are no journal are few and short as a rule: the lines get what they leave.
        Some(timeline) => {
            let mut data = report::fitted_with(&grouped, own, budget / 4);
            let others = Value::Object(data.clone()).to_string().len();
            data.extend(timeline.fitted(budget.saturating_sub(others)));
            data
        }
    };
    Reply {
        is_error,
        ..Reply::plain(data)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(implementation())
            .with_instructions(INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        REVISIONS.into()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = ListToolsResult::with_all_items(self.tools.to_vec());
        list.meta = meta(&context, implementation);
        Ok(list)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.tools.iter().any(|tool| tool.name == request.name) {
            let name = text::line(request.name.as_bytes(), NAME);
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_ref()).collect();
            let why = format!("unknown tool '{name}': there are {}", names.join(", "));
            return Err(ErrorData::invalid_params(why, None));
        }
        let behalf = match claimed_behalf(&context.meta) {
            Ok(behalf) => behalf.or_else(|| self.behalf.clone()),
            Err(why) => return Err(ErrorData::invalid_params(why, None)),
        };
        let caller = Caller {
            behalf,
            client: client_name(context.client_info().as_ref()),
            progress: Progress::new(
                context
                    .meta
                    .get_progress_token()
                    .map(|token| (context.peer.clone(), token)),
            ),
        };
        let arguments = request.arguments.unwrap_or_default();
        tokio::select! {
            biased;
            // A cancelled request gets no answer, so nobody receives this.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            reply = self.reply(&request.name, arguments, &caller) => {
                let content = vec![ContentBlock::text(reply.text)];
                let mut result = match reply.is_error {
                    true => CallToolResult::error(content),
                    false => CallToolResult::success(content),
                };
                result.structured_content = Some(Value::Object(reply.data));
                Ok(result.with_meta(meta(&context, implementation)).into())
            }
            never = caller.progress.ticks() => match never {},
        }
    }
}

fn implementation() -> Implementation {
    remit_mcp::implementation("remit-fleet", "remit fleet")
}

/// Returns the name for the records of hosts: this program's, and the one that the client claims.
fn client_name(client: Option<&Implementation>) -> String {
    match client {
        Some(client) => {
            let claimed = format!("{} {}", client.name, client.version);
            format!("remit-fleet for {}", text::line(claimed.as_bytes(), CLIENT))
        }
        None => "remit-fleet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_a_host_names_it_first() {
        for (text, expect) in [
            ("{\"exit\":0}", "{\"on\":\"web1\",\"exit\":0}"),
            (
                "{ \"exit\":0}\n--- stdout",
                "{\"on\":\"web1\",\"exit\":0}\n--- stdout",
            ),
            ("{}", "{\"on\":\"web1\"}\n{}"),
            ("hello", "{\"on\":\"web1\"}\nhello"),
            ("", "{\"on\":\"web1\"}\n"),
            (
                "{\"exit\":0,\"o\\u006e\":\"web9\"}",
                "{\"on\":\"web1\"}\n{\"exit\":0,\"o\\u006e\":\"web9\"}",
            ),
        ] {
            let named = [("on", json!("web1"))];
            let data = Map::from_iter([("on".to_owned(), json!("web9"))]);
            let reply = Reply::named(false, text.into(), data, &named);
            assert_eq!(reply.text, expect);
            assert_eq!(reply.data["on"], "web1", "a host does not name itself");
        }
    }
}
