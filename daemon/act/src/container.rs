//! Starts, stops or restarts a container through its engine, and looks whether its program goes on.

use std::thread;

use remit_engine::Engine;
use serde_json::Value;

use crate::args::{ContainerVerb, Fault};
use crate::unit::seen::{LOOK, LOOKS};

pub fn act(verb: ContainerVerb, name: &str) -> Result<(), Fault> {
    let engine = Engine::for_changes().map_err(Fault::Failed)?;
    println!("container engine: {}", engine.socket());
    let id = engine.by_name(name).map_err(Fault::Failed)?.id;
    engine.post(&request(verb, &id)).map_err(Fault::Failed)?;
    let look = || {
        let all = engine.get_json(&format!("/containers/{id}/json"))?;
        Ok(state(&all))
    };
    let after = settled(verb, look, || thread::sleep(LOOK)).map_err(Fault::Failed)?;
    let said = format!("container '{name}' is {}", after.shown());
    println!("{said}");
    match after.is_meant(verb) {
        true => Ok(()),
        false => Err(Fault::Failed(said)),
    }
}

/// A container after a verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StateAfter {
    state: String,
    /// Of its program, if that has ended.
    status: Option<i64>,
    /// When its program was started, and how often the engine has done so by itself.
    start: (Option<String>, Option<u64>),
    /// The engine has started its program again since the first look.
    is_again: bool,
    /// What is not known of it.
    unknown: Option<String>,
}

const REMOVED: &str = "removed";

impl StateAfter {
    fn removed() -> Self {
        Self {
            state: REMOVED.to_owned(),
            ..Self::default()
        }
    }

    fn shown(&self) -> String {
        if let Some(unknown) = &self.unknown {
            return format!("{}: {unknown}", self.state);
        }
        match self.status {
            _ if self.is_again => {
                format!("{}: its program ended and was started again", self.state)
            }
            Some(0) => format!("{}: its program has ended with success", self.state),
            Some(status) => format!("{}: its program has ended with {status}", self.state),
            None => self.state.clone(),
        }
    }

    /// A container for one task has ended when it is looked at.
    fn is_meant(&self, verb: ContainerVerb) -> bool {
        let runs = self.state == "running";
        match verb {
            ContainerVerb::Stop => !runs,
            ContainerVerb::Start | ContainerVerb::Restart => {
                !self.is_again && (runs || self.status == Some(0) || self.state == REMOVED)
            }
        }
    }

    /// Podman calls a container stopped until it has cleaned up after its program, and exited then.
    fn goes_on(&self, verb: ContainerVerb) -> bool {
        match self.state.as_str() {
            "stopped" | "stopping" | "removing" => true,
            "running" => verb != ContainerVerb::Stop && !self.is_again,
            _ => false,
        }
    }
}

/// Looks until the container stays as it is, for [`LOOKS`] pauses at most. The engine removes one for one task when its
/// program has ended, and does not say then with what.
fn settled(
    verb: ContainerVerb,
    mut look: impl FnMut() -> Result<StateAfter, String>,
    mut pause: impl FnMut(),
) -> Result<StateAfter, String> {
    let mut now = match look() {
        Err(why) if verb == ContainerVerb::Stop && is_absent(&why) => StateAfter::removed(),
        Err(why) => return Err(format!("it was done, but the state is not known: {why}")),
        Ok(now) => now,
    };
    let first = now.start.clone();
    for _ in 0..LOOKS {
        if !now.goes_on(verb) {
            break;
        }
        pause();
        match look() {
            Ok(next) => {
                now = next;
                now.is_again = now.start != first;
            }
            Err(why) if is_absent(&why) => {
                let unknown = "its program has ended; its status is not known";
                now = StateAfter::removed();
                now.unknown = Some(unknown.to_owned());
                break;
            }
            Err(why) => {
                now.unknown = Some(format!("it cannot be looked at again: {why}"));
                break;
            }
        }
    }
    Ok(now)
}

fn is_absent(why: &str) -> bool {
    why.contains(" says 404: ")
}

fn state(all: &Value) -> StateAfter {
    let text = |path| all.pointer(path).and_then(Value::as_str);
    let state = text("/State/Status");
    let status = all.pointer("/State/ExitCode").and_then(Value::as_i64);
    let started = text("/State/StartedAt").map(str::to_owned);
    let restarts = all.pointer("/RestartCount").and_then(Value::as_u64);
    StateAfter {
        state: state.unwrap_or("in an unknown state").to_owned(),
        status: status.filter(|_| state == Some("exited")),
        start: (started, restarts),
        ..StateAfter::default()
    }
}

/// Returns the request path, with a stop timeout of 10 s: a container can configure a longer one than callers wait.
fn request(verb: ContainerVerb, name: &str) -> String {
    let word = match verb {
        ContainerVerb::Start => "start",
        ContainerVerb::Stop => "stop?t=10",
        ContainerVerb::Restart => "restart?t=10",
    };
    format!("/containers/{name}/{word}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn container_that_is_removed_has_ended() {
        const START: ContainerVerb = ContainerVerb::Start;
        const STOP: ContainerVerb = ContainerVerb::Stop;
        let gone = || Err("the container engine at x says 404: No such container: web".to_owned());
        let silent = || Err("the container engine at x is silent".to_owned());
        let reported = |word: &str| {
            Ok(state(
                &json!({ "State": { "Status": word, "StartedAt": "12:00:01" } }),
            ))
        };
        let unseen = "running: it cannot be looked at again: the container engine at x is silent";
        let ended = "removed: its program has ended; its status is not known";
        for (verb, looks, expect) in [
            (STOP, vec![gone()], Some((true, "removed"))),
            (
                STOP,
                vec![reported("stopping"), gone()],
                Some((true, ended)),
            ),
            (STOP, vec![silent()], None),
            (STOP, vec![reported("exited")], Some((true, "exited"))),
            // It can be removed by others.
            (START, vec![gone()], None),
            (START, vec![silent()], None),
            (
                START,
                vec![reported("running"), gone()],
                Some((true, ended)),
            ),
            (
                ContainerVerb::Restart,
                vec![reported("stopped"), reported("removing"), gone()],
                Some((true, ended)),
            ),
            (
                START,
                vec![reported("running"), silent()],
                Some((true, unseen)),
            ),
        ] {
            let mut all = looks.iter();
            let look = || all.next().unwrap().clone();
            let after = settled(verb, look, || {}).ok();
            let found = after.map(|after| (after.is_meant(verb), after.shown()));
            let expect = expect.map(|(is_meant, shown)| (is_meant, shown.to_owned()));
            assert_eq!(found, expect, "{verb:?} {looks:?}");
        }
    }

    #[test]
    fn container_for_one_task_may_have_ended() {
        const START: ContainerVerb = ContainerVerb::Start;
        for (verb, word, code, is_meant, shown) in [
            (START, "running", 0, true, "running"),
            (
                START,
                "exited",
                0,
                true,
                "exited: its program has ended with success",
            ),
            (
                ContainerVerb::Restart,
                "exited",
                0,
                true,
                "exited: its program has ended with success",
            ),
            (
                START,
                "exited",
                1,
                false,
                "exited: its program has ended with 1",
            ),
            (START, "created", 0, false, "created"),
            (START, "restarting", 0, false, "restarting"),
            (
                ContainerVerb::Stop,
                "exited",
                137,
                true,
                "exited: its program has ended with 137",
            ),
            (ContainerVerb::Stop, "running", 0, false, "running"),
        ] {
            let all = json!({ "State": { "Status": word, "ExitCode": code } });
            let after = state(&all);
            assert_eq!(after.is_meant(verb), is_meant, "{verb:?} {word} {code}");
            assert_eq!(after.shown(), shown);
        }
        let older = state(&json!({ "State": { "Status": "exited" } }));
        assert!(!older.is_meant(START));
    }

    #[test]
    fn container_is_looked_at_until_it_stays() {
        const START: ContainerVerb = ContainerVerb::Start;
        let one = |word: &str, code: i64, started: &str, restarts: u64| json!({ "State": { "Status": word, "ExitCode": code, "StartedAt": started }, "RestartCount": restarts });
        let runs = || one("running", 0, "12:00:01", 0);
        let again = "running: its program ended and was started again";
        for (verb, looks, is_meant, pauses, shown) in [
            (START, vec![runs()], true, LOOKS, "running"),
            (
                START,
                vec![runs(), runs(), runs(), one("exited", 1, "12:00:01", 0)],
                false,
                3,
                "exited: its program has ended with 1",
            ),
            (
                START,
                vec![
                    one("stopped", 0, "12:00:01", 0),
                    one("exited", 0, "12:00:01", 0),
                ],
                true,
                1,
                "exited: its program has ended with success",
            ),
            (
                START,
                vec![one("stopped", 0, "12:00:01", 0)],
                false,
                LOOKS,
                "stopped",
            ),
            (
                START,
                vec![runs(), one("running", 0, "12:00:02", 0)],
                false,
                1,
                again,
            ),
            (
                START,
                vec![runs(), one("running", 0, "12:00:01", 1)],
                false,
                1,
                again,
            ),
            (
                START,
                vec![runs(), one("restarting", 1, "12:00:01", 0)],
                false,
                1,
                "restarting",
            ),
            (
                ContainerVerb::Stop,
                vec![
                    one("stopping", 0, "12:00:01", 0),
                    one("exited", 7, "12:00:01", 0),
                ],
                true,
                1,
                "exited: its program has ended with 7",
            ),
            (ContainerVerb::Stop, vec![runs()], false, 0, "running"),
        ] {
            let (mut at, mut paused) = (0, 0);
            let look = || {
                let all = looks[at.min(looks.len() - 1)].clone();
                at += 1;
                Ok(state(&all))
            };
            let after = settled(verb, look, || paused += 1).unwrap();
            let found = (after.is_meant(verb), paused, after.shown());
            assert_eq!(
                found,
                (is_meant, pauses, shown.to_owned()),
                "{verb:?} {looks:?}"
            );
        }
    }

    #[test]
    fn what_stops_has_ten_seconds() {
        for (verb, path) in [
            (ContainerVerb::Start, "/containers/web/start"),
            (ContainerVerb::Stop, "/containers/web/stop?t=10"),
            (ContainerVerb::Restart, "/containers/web/restart?t=10"),
        ] {
            assert_eq!(request(verb, "web"), path);
        }
    }
}
