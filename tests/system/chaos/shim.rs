//! An MCP client whose shims are killed: its jobs go on, and the next shim can query them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::caller::Door;
use remit_tests::daemon::Daemon;
use remit_tests::process::{Identity, ends_within};
use remit_tests::random::Random;
use remit_tests::session::Session;
use serde_json::{Value, json};

use crate::chaos::client::Answered;
use crate::chaos::client::Task;
use crate::chaos::coordinator::{Alarm, ChaosCoordinator};
use crate::chaos::moment;

const ATTEMPTS: usize = 200;
/// Maximum time between a request and the kill of its shim.
const SOON: Duration = Duration::from_millis(15);

#[derive(Clone, Debug)]
pub struct Shims {
    program: PathBuf,
    socket: PathBuf,
    user: Identity,
    door: Door,
}

impl Shims {
    pub fn new(daemon: &Daemon, user: &Identity) -> Self {
        Self {
            program: daemon.program("mcp-shim"),
            socket: daemon.runtime().socket(),
            user: user.clone(),
            door: Door::new(daemon, user),
        }
    }

    fn start(&self) -> Session {
        Session::start(&self.program, &self.socket, &self.user)
    }

    pub fn work(
        self,
        coordinator: &ChaosCoordinator,
        mut random: Random,
        name: &str,
    ) -> (Vec<Answered>, u32) {
        let _alarm = Alarm(coordinator);
        let mut known = BTreeMap::new();
        let mut session = self.start();
        let (mut number, mut killed) = (0, 0);
        while !coordinator.is_over() {
            number += 1;
            let task = Task::random(&mut random, name, number);
            let run = json!({ "name": "run", "arguments": task.arguments() });
            if random.once_in(2) {
                send(&mut session, &run);
                moment(random.below(u32::try_from(SOON.as_micros()).unwrap_or(u32::MAX)));
                let pid = session.pid();
                kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is our child");
                assert!(ends_within(pid, 10_000));
                killed += 1;
                session = self.start();
            }
            let job = job_of(&insist(&mut session, coordinator, &run));
            let answered = Answered {
                door: self.door.clone(),
                task: task.clone(),
                job,
            };
            known.insert(task.id.clone(), answered);
            if task.ends() {
                let wait = json!({ "job_id": job.to_string(), "wait_ms": 30_000 });
                let wait = json!({ "name": "job", "arguments": wait });
                assert_eq!(job_of(&insist(&mut session, coordinator, &wait)), job);
            }
            assert_eq!(
                job_of(&insist(&mut session, coordinator, &run)),
                job,
                "{task:?}"
            );
        }
        coordinator.finished();
        (known.into_values().collect(), killed)
    }
}

const ID: u64 = 1 << 32;

fn send(session: &mut Session, call: &Value) {
    let request = json!({ "jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": call });
    session.send(&request);
}

fn insist(session: &mut Session, coordinator: &ChaosCoordinator, call: &Value) -> Value {
    for _ in 0..ATTEMPTS {
        let result = session.tool(
            call["name"].as_str().unwrap_or_default(),
            &call["arguments"],
        );
        let content = result["structuredContent"].clone();
        if result["isError"] != true {
            coordinator.answered();
            return content;
        }
        match content["error"]["code"].as_str() {
            Some("daemon_unavailable") => coordinator.until_it_lives(),
            Some("busy" | "rate_limited" | "not_started") => coordinator.rest(),
            _ => panic!("{call}: {result}"),
        }
    }
    panic!("no answer to {call}");
}

fn job_of(result: &Value) -> JobId {
    let id = result["job_id"].as_str().and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no job: {result}"))
}
