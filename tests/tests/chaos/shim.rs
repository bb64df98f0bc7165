//! A client of MCP whose shims are killed: what it asked for goes on, and the next shim hears of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::daemon::Daemon;
use remit_tests::door::Door;
use remit_tests::process::{Identity, ends_within};
use remit_tests::random::Random;
use remit_tests::session::Session;
use serde_json::{Value, json};

use crate::chaos::client::Answered;
use crate::chaos::moment;
use crate::chaos::pulse::{Alarm, Pulse};
use crate::chaos::task::Task;

/// More attempts than a daemon that lives can make necessary.
const ATTEMPTS: usize = 200;
/// After a request is written, so long at most until its shim is killed.
const SOON: Duration = Duration::from_millis(15);

/// Starts shims.
#[derive(Clone, Debug)]
pub struct Shims {
    program: PathBuf,
    socket: PathBuf,
    who: Identity,
    door: Door,
}

impl Shims {
    /// Somebody's.
    pub fn new(daemon: &Daemon, who: &Identity) -> Self {
        Self {
            program: daemon.program("mcp-shim"),
            socket: daemon.runtime().socket(),
            who: who.clone(),
            door: Door::new(daemon, who),
        }
    }

    fn start(&self) -> Session {
        Session::start(&self.program, &self.socket, &self.who)
    }

    /// Asks for one thing after the other until all is over; what was answered, and how many shims were killed.
    pub fn work(self, pulse: &Pulse, mut random: Random, name: &str) -> (Vec<Answered>, u32) {
        let _alarm = Alarm(pulse);
        let mut known = BTreeMap::new();
        let mut session = self.start();
        let (mut number, mut killed) = (0, 0);
        while !pulse.is_over() {
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
            let job = job_of(&insist(&mut session, pulse, &run));
            let answered = Answered {
                door: self.door.clone(),
                task: task.clone(),
                job,
            };
            known.insert(task.id.clone(), answered);
            if task.ends() {
                let wait = json!({ "job_id": job.to_string(), "wait_ms": 30_000 });
                let wait = json!({ "name": "job", "arguments": wait });
                assert_eq!(job_of(&insist(&mut session, pulse, &wait)), job);
            }
            assert_eq!(job_of(&insist(&mut session, pulse, &run)), job, "{task:?}");
        }
        pulse.finished();
        (known.into_values().collect(), killed)
    }
}

const ID: u64 = 1 << 32;

fn send(session: &mut Session, call: &Value) {
    let request = json!({ "jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": call });
    session.send(&request);
}

/// Calls a tool until the daemon answers.
fn insist(session: &mut Session, pulse: &Pulse, call: &Value) -> Value {
    for _ in 0..ATTEMPTS {
        let result = session.tool(
            call["name"].as_str().unwrap_or_default(),
            &call["arguments"],
        );
        let content = result["structuredContent"].clone();
        if result["isError"] != true {
            pulse.answered();
            return content;
        }
        match content["error"]["code"].as_str() {
            Some("daemon_unavailable") => pulse.until_it_lives(),
            Some("busy" | "rate_limited") => pulse.rest(),
            _ => panic!("{call}: {result}"),
        }
    }
    panic!("no answer to {call}");
}

fn job_of(result: &Value) -> JobId {
    let id = result["job_id"].as_str().and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no job: {result}"))
}
