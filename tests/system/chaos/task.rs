//! Requests of clients: jobs print their request id, so that their output can be checked.

use remit_common::outcome::State;
use remit_common::wire::Run;
use remit_tests::caller::{at_once, script};
use remit_tests::random::Random;
use serde_json::{Value, json};

/// Prefix of each request id, to find it in records.
const MARK: &str = "req-";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Short,
    Lines(u32),
    Forks(u32),
    Fails,
    Slow,
    Long,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    kind: Kind,
}

impl Task {
    pub fn random(random: &mut Random, client: &str, number: u32) -> Self {
        let kind = match random.below(12) {
            0..=3 => Kind::Short,
            // Up to more than one answer holds, so that it must be paged.
            4..=6 => Kind::Lines(1 + random.below(6000)),
            7 | 8 => Kind::Forks(1 + random.below(12)),
            9 => Kind::Fails,
            10 => Kind::Slow,
            _ => Kind::Long,
        };
        Self {
            id: format!("{MARK}{client}-{number}"),
            kind,
        }
    }

    pub const fn ends(&self) -> bool {
        !matches!(self.kind, Kind::Long)
    }

    fn text(&self) -> String {
        let id = &self.id;
        let rest = match self.kind {
            Kind::Short => format!("echo {id}; echo 1"),
            Kind::Lines(lines) => format!("seq -f '{id} %.0f' {lines}; echo {id} >&2"),
            Kind::Forks(children) => format!(
                "i=0; while [ $i -lt {children} ]; do (echo {id}) & i=$((i+1)); done; wait; \
                 echo {children}; setsid sleep 1000 &"
            ),
            Kind::Fails => format!("echo {id}; exit 7"),
            Kind::Slow => format!("echo {id}; sleep 0.3; echo 2"),
            Kind::Long => format!("echo {id}; sleep 1000; echo 2"),
        };
        format!(": {id}; {rest}")
    }

    pub fn run(&self) -> Run {
        Run {
            request_id: Some(self.id.clone()),
            ..at_once(script(&self.text()))
        }
    }

    pub fn arguments(&self) -> Value {
        json!({ "script": self.text(), "request_id": self.id, "wait_ms": 0, "max_runtime_s": 30 })
    }

    fn output(&self) -> [String; 2] {
        let id = &self.id;
        let line = format!("{id}\n");
        let none = String::new();
        match self.kind {
            Kind::Short => [format!("{id}\n1\n"), none],
            Kind::Lines(lines) => {
                let all: Vec<String> = (1..=lines).map(|at| format!("{id} {at}\n")).collect();
                [all.concat(), line]
            }
            Kind::Forks(children) => [
                format!("{}{children}\n", line.repeat(children as usize)),
                none,
            ],
            Kind::Fails => [line, none],
            Kind::Slow | Kind::Long => [format!("{id}\n2\n"), none],
        }
    }

    pub fn check(
        &self,
        state: State,
        exit: Option<i32>,
        printed: [&[u8]; 2],
    ) -> Result<(), String> {
        let [out, err] = self.output();
        let whole = [out.as_bytes(), err.as_bytes()];
        let status = if matches!(self.kind, Kind::Fails) {
            7
        } else {
            0
        };
        let right = match state {
            State::Exited => self.ends() && exit == Some(status) && printed == whole,
            State::Interrupted | State::Cancelled => {
                whole[0].starts_with(printed[0]) && whole[1].starts_with(printed[1])
            }
            _ => false,
        };
        let tail = |bytes: &[u8]| {
            let from = bytes.len().saturating_sub(60);
            format!(
                "{} bytes, …{:?}",
                bytes.len(),
                String::from_utf8_lossy(&bytes[from..])
            )
        };
        match right {
            true => Ok(()),
            false => Err(format!(
                "{self:?} is {state:?} {exit:?} and printed {} and {}",
                tail(printed[0]),
                tail(printed[1])
            )),
        }
    }
}

pub fn request_of(command: &str) -> Option<&str> {
    let from = command.find(MARK)?;
    let rest = &command[from..];
    Some(rest.split(';').next().unwrap_or(rest))
}
