//! What clients ask for: jobs that print their own request id, so that what they printed can be checked.

use remit_common::outcome::State;
use remit_common::wire::Run;
use remit_tests::caller::{at_once, script};
use remit_tests::random::Random;
use serde_json::{Value, json};

/// Stands before each request id, to find it in records.
const MARK: &str = "req-";

/// How a job spends its life.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// It prints two lines.
    Short,
    /// It prints so many lines, and one to standard error.
    Lines(u32),
    /// It forks so many children that print, and leaves one that holds its output.
    Forks(u32),
    /// It prints a line and exits with 7.
    Fails,
    /// It is still there when the next broker comes.
    Slow,
    /// It ends when it is ended.
    Long,
}

/// A request, to be sent until it has an answer.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its request id.
    pub id: String,
    kind: Kind,
}

impl Task {
    /// The next of a client's.
    pub fn random(random: &mut Random, client: &str, number: u32) -> Self {
        let kind = match random.below(12) {
            0..=3 => Kind::Short,
            // Up to what no answer holds whole: it must be paged.
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

    /// Whether it ends by itself.
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

    /// The request, not waited for.
    pub fn run(&self) -> Run {
        Run {
            request_id: Some(self.id.clone()),
            ..at_once(script(&self.text()))
        }
    }

    /// The same for a tool of MCP.
    pub fn arguments(&self) -> Value {
        json!({ "script": self.text(), "request_id": self.id, "wait_ms": 0, "max_runtime_s": 30 })
    }

    /// All that it prints.
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

    /// Whether a job of this request can have ended like this, after it printed that.
    ///
    /// # Errors
    /// What is wrong.
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
            // Up to a moment.
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

/// The request id in the command of a record.
pub fn request_of(command: &str) -> Option<&str> {
    let from = command.find(MARK)?;
    let rest = &command[from..];
    Some(rest.split(';').next().unwrap_or(rest))
}
