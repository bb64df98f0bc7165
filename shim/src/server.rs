//! The MCP server: its description, its tools, the run of one call, and its progress.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::behalf::Behalf;
use remit_common::names::{NotASetId, SetId};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text, traceparent};
use remit_mcp::output::Output;
use remit_mcp::{REVISIONS, SET_META, claimed_behalf, meta};
use remit_wire::{Progress, Request};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, InputRequiredResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotification, ProgressNotificationParam,
    ProgressToken, ProtocolVersion, RequestMetaObject, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::answer::{Answer, Form};
use crate::arguments::PlanStep;
use crate::daemon::Daemon;
use crate::direct::{self, Era, ToolCall};
use crate::rounds::{NextRound, Response};
use crate::tools::{self, INSTRUCTIONS, Tool};
use crate::{arguments, transport};

#[derive(Clone)]
pub struct Server {
    pub(crate) daemon: Arc<Daemon>,
    output: Output,
    /// Whom the whole session is said to act for. A call can name another.
    behalf: Option<Behalf>,
}

impl Server {
    pub fn new(daemon: Daemon, output: Output, behalf: Option<Behalf>) -> Self {
        Self {
            daemon: Arc::new(daemon),
            output,
            behalf,
        }
    }

    /// Makes the call and reports progress. Dropping the future cancels the call.
    pub async fn respond(&self, mut call: ToolCall, era: Era, client: &str) -> Response {
        match NextRound::of(&mut call, era) {
            Ok(next) => next.response(self.answer(call, client).await),
            Err(refusal) => Response::Complete(Answer::refused(&refusal)),
        }
    }

    async fn answer(&self, call: ToolCall, client: &str) -> Answer {
        let ToolCall {
            tool, call, meta, ..
        } = call;
        let mut call = match call {
            Ok(call) => call,
            Err(refusal) => return Answer::refused(&refusal),
        };
        if let Request::Run(run) = &mut call.request {
            run.traceparent = claimed_trace(&meta);
            run.set = match claimed_set(&meta) {
                Ok(set) => set,
                Err(refusal) => return Answer::refused(&refusal),
            };
            run.behalf = match claimed_behalf(&meta) {
                Ok(behalf) => behalf.or_else(|| self.behalf.clone()),
                Err(why) => return Answer::refused(&Refusal::new(Code::InvalidArgs, why)),
            };
        }
        let form = Form::from_call(tool, &call);
        let (news, reporter) = match meta.get_progress_token() {
            Some(token) => {
                let (sender, news) = mpsc::unbounded_channel();
                let reporter = Reporter::new(token, self.output.clone(), news);
                (Some(sender), Some(reporter))
            }
            None => (None, None),
        };
        let answer = async {
            match call.plan {
                PlanStep::None => {
                    Answer::new(form, self.daemon.call(client, call.request, news).await)
                }
                // Boxed, because a rare case should not enlarge every call.
                PlanStep::Make | PlanStep::Try | PlanStep::Commit(_) => {
                    Box::pin(self.planned(form, call, client, &news)).await
                }
            }
        };
        tokio::pin!(answer);
        let Some(mut reporter) = reporter else {
            return answer.await;
        };
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
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

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        REVISIONS.into()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = ListToolsResult::with_all_items(tools::list());
        list.meta = meta(&context, implementation);
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
            state: request.request_state,
        };
        let meta = meta(&context, implementation);
        let era = match meta {
            Some(_) => Era::Modern,
            None => Era::Legacy,
        };
        let client = direct::client_name(context.client_info().as_ref());
        tokio::select! {
            biased;
            // A cancelled request gets no answer, so nobody receives this.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            response = self.respond(call, era, &client) => Ok(match response {
                Response::Complete(answer) => CallToolResult::from(answer).with_meta(meta).into(),
                Response::Repeat(state) => {
                    let mut result = InputRequiredResult::from_request_state(state.to_string());
                    result.meta = meta;
                    result.into()
                }
            }),
        }
    }
}

pub fn implementation() -> Implementation {
    remit_mcp::implementation("remit", "remit")
}

fn claimed_trace(meta: &RequestMetaObject) -> Option<String> {
    traceparent::checked(meta.get_traceparent().map(str::to_owned))
}

/// Returns the set that the call is said to be a part of. It is no argument: only programs send it, and models would
/// read its description for nothing.
fn claimed_set(meta: &RequestMetaObject) -> Result<Option<SetId>, Refusal> {
    let Some(set) = meta.0.0.get(SET_META) else {
        return Ok(None);
    };
    let set = set.as_str().unwrap_or_default().parse();
    set.map(Some).map_err(|why: NotASetId| {
        Refusal::new(Code::InvalidArgs, format!("'{SET_META}' in _meta: {why}"))
    })
}

const TICK: Duration = Duration::from_secs(2);
const MESSAGE: usize = 200;
const WROTE: &str = "it wrote: ";

/// Progress of one waiting call, if the client sent a token: for news of the daemon, and every [`TICK`].
pub struct Reporter {
    token: ProgressToken,
    output: Output,
    news: mpsc::UnboundedReceiver<Progress>,
    started: Instant,
    tick: Interval,
    last: u128,
    known: Option<(Progress, Instant)>,
}

impl Reporter {
    pub fn new(
        token: ProgressToken,
        output: Output,
        news: mpsc::UnboundedReceiver<Progress>,
    ) -> Self {
        let mut tick = interval_at(tokio::time::Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            token,
            output,
            news,
            started: Instant::now(),
            tick,
            last: 0,
            known: None,
        }
    }

    pub async fn next(&mut self) {
        tokio::select! {
            Some(news) = self.news.recv() => {
                self.known = Some((news, Instant::now()));
                self.tick.reset();
            }
            _ = self.tick.tick() => {}
        }
    }

    /// Sends a notification. Returns when it is in the output queue, so none can follow the answer.
    pub async fn report(&mut self) {
        let elapsed = self.started.elapsed();
        // The value must strictly increase, but the daemon may send news twice in a millisecond.
        self.last = elapsed.as_millis().max(self.last + 1);
        let message = match &self.known {
            Some((news, came)) => message(news, came.elapsed()),
            None => running(elapsed),
        };
        let seconds = Duration::from_millis(u64::try_from(self.last).unwrap_or(u64::MAX));
        let param = ProgressNotificationParam::new(self.token.clone(), seconds.as_secs_f64())
            .with_message(message);
        let line = transport::notification(ProgressNotification::new(param).into());
        // If the client is gone, other code ends the session.
        if let Ok(permit) = self.output.permit().await {
            permit.put(line);
        }
    }
}

fn message(news: &Progress, later: Duration) -> String {
    if let Some(queue_position) = news.queue_position {
        return format!(
            "waiting for a slot: number {} of your {}",
            queue_position.position, queue_position.of
        );
    }
    match news.last_line.is_empty() {
        true => running(Duration::from_millis(news.elapsed_ms).saturating_add(later)),
        // The daemon's own text, about a job that has not started.
        false if news.output_bytes == 0 => text::line(news.last_line.as_bytes(), MESSAGE),
        // The job's text comes last, so it cannot imitate text of the shim.
        false => {
            let line = format!("{WROTE}{}", news.last_line);
            text::line(line.as_bytes(), MESSAGE)
        }
    }
}

fn running(time: Duration) -> String {
    format!("running for {} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use remit_wire::outcome::QueuePosition;

    use super::*;

    #[test]
    fn message_is_queue_position_last_line_or_time() {
        let news = |queue_position, elapsed_ms, line: &str| Progress {
            elapsed_ms,
            queue_position,
            output_bytes: u64::from(line.contains('a')),
            last_line: line.to_owned(),
        };
        let third = Some(QueuePosition { position: 3, of: 7 });
        for (news, expect) in [
            (news(third, 0, ""), "waiting for a slot: number 3 of your 7"),
            (news(None, 61_500, ""), "running for 63 s"),
            (news(None, u64::MAX, "a\x1bb"), "it wrote: a\\x1bb"),
            (news(None, 0, "our words"), "our words"),
        ] {
            assert_eq!(message(&news, Duration::from_millis(2000)), expect);
        }
    }
}
