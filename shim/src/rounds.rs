//! Waits for a person's decision in the protocol: rounds of `input_required` that ask the client nothing (revision 2026-07-28).
//! It must not believe what a client sends back: that names a request id and a round, as the arguments of a call could.

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_wire::{Request, Run};

use crate::answer::Answer;
use crate::daemon::identify;
use crate::direct::{Era, ToolCall};

/// Rounds after that of the call itself, which is answered at once: three in all. Clients that count the time of a call, and not of
/// each of its requests, give up after 60 s; these are 50.
const ROUNDS: u8 = 2;
const ROUND_MS: u32 = 25_000;

/// What `requestState` begins with. The number is its format.
const FORMAT: &str = "remit/1";

/// What the client sends back with the same call. Nothing is kept here, so another process can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestState {
    /// From 1 to [`ROUNDS`].
    round: u8,
    request_id: String,
}

impl RequestState {
    fn parse(text: &str) -> Option<Self> {
        let (round, request_id) = text
            .strip_prefix(FORMAT)?
            .strip_prefix(' ')?
            .split_once(' ')?;
        let round = round.parse().ok()?;
        let fits = (1..=ROUNDS).contains(&round) && request_id.len() <= caps::REQUEST_ID;
        (fits && !request_id.is_empty() && !request_id.contains('\0')).then(|| Self {
            round,
            request_id: request_id.to_owned(),
        })
    }
}

impl std::fmt::Display for RequestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{FORMAT} {} {}", self.round, self.request_id)
    }
}

/// What the client gets.
#[derive(Debug)]
pub enum Response {
    Complete(Answer),
    /// It sends the call again, with this.
    Repeat(RequestState),
}

/// The state for the next round. `None`: the answer is the last one.
#[derive(Debug, PartialEq, Eq)]
pub struct NextRound(Option<RequestState>);

impl NextRound {
    /// Prepares a call that may wait for a person. A call that says itself how long it waits is answered then.
    pub fn of(call: &mut ToolCall, era: Era) -> Result<Self, Refusal> {
        let ToolCall {
            call: Ok(daemon_call),
            state,
            ..
        } = call
        else {
            return Ok(Self(None));
        };
        let Request::Run(run) = &mut daemon_call.request else {
            return Ok(Self(None));
        };
        if era == Era::Legacy || run.wait_ms.is_some() {
            return Ok(Self(None));
        }
        let round = match state.take() {
            None => 0,
            Some(state) => resume(run, &state)?,
        };
        daemon_call.has_own_id |= round > 0;
        identify(run)?;
        let request_id = run.request_id.clone();
        Ok(Self(request_id.filter(|_| round < ROUNDS).map(
            |request_id| RequestState {
                round: round + 1,
                request_id,
            },
        )))
    }

    pub fn response(self, answer: Answer) -> Response {
        match self.0 {
            Some(state) if answer.is_awaiting_person() => Response::Repeat(state),
            _ => Response::Complete(answer),
        }
    }
}

/// Makes the call that of an earlier round, and returns its round.
fn resume(run: &mut Run, state: &str) -> Result<u8, Refusal> {
    let wrong = |why: &str| Refusal::new(Code::InvalidArgs, format!("'requestState': {why}"));
    let state = RequestState::parse(state)
        .ok_or_else(|| wrong("it is not of this server").next("call without it"))?;
    if let Some(own) = &run.request_id
        && *own != state.request_id
    {
        return Err(wrong("it belongs to another request_id").next("call without it"));
    }
    run.request_id = Some(state.request_id);
    run.wait_ms = Some(ROUND_MS);
    Ok(state.round)
}

#[cfg(test)]
mod tests {
    use remit_wire::{Purpose, What};

    use super::*;
    use crate::arguments::DaemonCall;
    use crate::tools::Tool;

    fn call(state: Option<&str>, request_id: Option<&str>, wait_ms: Option<u32>) -> ToolCall {
        let run = Run {
            wait_ms,
            request_id: request_id.map(str::to_owned),
            ..Run::new(What::Argv(Vec::new()), Purpose::Use)
        };
        ToolCall {
            tool: Tool::Change,
            call: Ok(DaemonCall::from(Request::Run(run))),
            meta: rmcp::model::RequestMetaObject::default(),
            state: state.map(str::to_owned),
        }
    }

    fn run(call: ToolCall) -> Run {
        match call.call.unwrap().request {
            Request::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn state(call: &mut ToolCall) -> Option<String> {
        let next = NextRound::of(call, Era::Modern).unwrap();
        next.0.map(|state| state.to_string())
    }

    #[test]
    fn third_round_has_an_answer() {
        let mut first = call(None, None, None);
        let mut sent = state(&mut first);
        let first = run(first);
        let id = first.request_id.unwrap();
        assert_eq!(first.wait_ms, None, "the first answer comes as always");
        let mut rounds = 0;
        while let Some(text) = sent {
            rounds += 1;
            assert_eq!(text, format!("remit/1 {rounds} {id}"));
            let mut again = call(Some(&text), None, None);
            sent = state(&mut again);
            let again = run(again);
            assert_eq!(
                (again.request_id, again.wait_ms),
                (Some(id.clone()), Some(ROUND_MS))
            );
        }
        assert_eq!(rounds, ROUNDS);
    }

    #[test]
    fn only_new_clients_that_leave_the_wait_to_us_go_round() {
        let none = NextRound(None);
        let mut legacy = call(Some("garbage"), None, None);
        assert_eq!(NextRound::of(&mut legacy, Era::Legacy).unwrap(), none);
        for wait_ms in [0, 20_000] {
            let mut own = call(None, Some("mine"), Some(wait_ms));
            assert_eq!(NextRound::of(&mut own, Era::Modern).unwrap(), none);
            assert_eq!(run(own).wait_ms, Some(wait_ms));
        }
        let mut own = call(None, Some("mine"), None);
        assert_eq!(state(&mut own).as_deref(), Some("remit/1 1 mine"));
        let mut same = call(Some("remit/1 1 mine"), Some("mine"), None);
        assert_eq!(state(&mut same).as_deref(), Some("remit/1 2 mine"));
    }

    #[test]
    fn foreign_state_is_refused() {
        let long = format!("remit/1 1 {}", "x".repeat(caps::REQUEST_ID + 1));
        for text in [
            "",
            "remit/1",
            "remit/1 1",
            "remit/1 1 ",
            "remit/1 0 x",
            "remit/1 3 x",
            "remit/1 256 x",
            "remit/1 -1 x",
            "remit/2 1 x",
            "remit/1  1 x",
            "remit/1 1 a\0",
            &long,
        ] {
            let refused = NextRound::of(&mut call(Some(text), None, None), Era::Modern);
            assert_eq!(refused.unwrap_err().code, Code::InvalidArgs, "{text}");
        }
        let mut other = call(Some("remit/1 1 x"), Some("y"), None);
        assert!(NextRound::of(&mut other, Era::Modern).is_err());
    }
}
