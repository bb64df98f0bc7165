//! System tests of remit with its real binaries: attacks, scenes, and throw-away daemons. Not shipped.

// A test stops at the first unexpected error. clippy only knows that of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod accounts;
mod administration;
pub mod attack;
pub mod blocking;
pub mod caller;
pub mod control {
    //! Performs attacks without a sandbox, as the reference for each refusal.

    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use serde_json::Value;

    use crate::attack::allowed::Check;
    use crate::attack::{Attack, Control, Expect};
    use crate::process::{in_fresh_namespaces, leak_descriptor};
    use crate::scene::{AttackFixture, Scene, arrange};

    /// The result of one attack.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Outcome {
        /// The kernel allowed it.
        Done(String),
        /// The kernel refused it with this error.
        Refused(i32),
        /// The kernel killed the process with this signal.
        Killed(i32),
        /// The attack program itself failed.
        Broken(String),
    }

    impl Outcome {
        /// Parses the output of the attack program. `signal` is the one that killed it.
        #[must_use]
        pub fn read(stdout: &str, signal: Option<i32>) -> Self {
            if let Some(signal) = signal {
                return Self::Killed(signal);
            }
            let report: Value =
                match serde_json::from_str(stdout.lines().next().unwrap_or_default()) {
                    Ok(report) => report,
                    Err(error) => return Self::Broken(format!("{error}: {stdout}")),
                };
            match (report["outcome"].as_str(), report["errno"].as_i64()) {
                (Some("done"), _) => {
                    Self::Done(report["detail"].as_str().unwrap_or_default().to_owned())
                }
                (Some("refused"), Some(errno)) => Self::Refused(errno as i32),
                _ => Self::Broken(stdout.to_owned()),
            }
        }

        /// Returns one word for tables.
        #[must_use]
        pub fn word(&self) -> String {
            match self {
                Self::Done(_) => "done".into(),
                Self::Refused(errno) => Expect::Errno(*errno).word(),
                Self::Killed(signal) => Expect::Killed(*signal).word(),
                Self::Broken(why) => format!("broken: {why}"),
            }
        }
    }

    /// An outcome with the observation of the host.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Seen {
        /// The report of the attack program.
        pub outcome: Outcome,
        /// The host changed. `None` if nothing can be observed.
        pub touched: Option<bool>,
    }

    impl Seen {
        /// Returns true if this is the expected result.
        #[must_use]
        pub fn meets(&self, expect: Expect) -> bool {
            let untouched = self.touched != Some(true);
            match (expect, &self.outcome) {
                (Expect::Errno(expected), Outcome::Refused(errno)) => {
                    expected == *errno && untouched
                }
                (Expect::Killed(expected), Outcome::Killed(signal)) => {
                    expected == *signal && untouched
                }
                (Expect::NoEffect, Outcome::Done(_)) => self.touched == Some(false),
                (Expect::Done, Outcome::Done(_)) => self.touched != Some(false),
                _ => false,
            }
        }
    }

    /// Attempts of an attack whose effect is gone: a spurious wakeup returns a moved waiter. One effect proves it possible.
    const ATTEMPTS: usize = 3;

    /// Performs an attack without a sandbox, as the job's uid or as root. It must succeed.
    #[must_use]
    pub fn perform(attack: &Attack, fixture: &AttackFixture) -> Seen {
        let mut seen = attempt(attack, fixture);
        for _ in 1..ATTEMPTS {
            match (&attack.control, &seen.outcome, seen.touched) {
                (Control::SameUid, Outcome::Done(_), Some(false)) => {
                    seen = attempt(attack, fixture)
                }
                _ => break,
            }
        }
        seen
    }

    fn attempt(attack: &Attack, fixture: &AttackFixture) -> Seen {
        let scene = arrange(attack.id, fixture);
        let mut command = command(attack.id, &scene);
        leak_descriptor(&mut command);
        match attack.control {
            Control::SameUid | Control::Impossible(_) => fixture.job.runs(&mut command),
            Control::Root => in_fresh_namespaces(&mut command),
        }
        finish(command, scene)
    }

    /// Performs a check without a sandbox, as the job's uid.
    #[must_use]
    pub fn perform_check(check: &Check, fixture: &AttackFixture) -> Seen {
        let scene = arrange(check.id, fixture);
        let mut command = command(check.id, &scene);
        fixture.job.runs(&mut command);
        finish(command, scene)
    }

    fn command(id: &str, scene: &Scene) -> Command {
        let mut command = Command::new(&scene.program);
        command.arg(id).args(&scene.arguments).stdin(Stdio::null());
        command
    }

    fn finish(mut command: Command, scene: Scene) -> Seen {
        let output = command.output().expect("the attack program starts");
        let outcome = Outcome::read(
            &String::from_utf8_lossy(&output.stdout),
            output.status.signal(),
        );
        Seen {
            outcome,
            touched: scene.touched(),
        }
    }
}
pub mod daemon;
pub mod holdings;
pub mod process;
pub mod random;
pub mod scene;
pub mod security_key;
pub mod session {
    //! An MCP session over the shim's standard input and output: newline-delimited JSON-RPC.

    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    use serde_json::{Value, json};

    use crate::process::Identity;

    /// A running shim.
    #[derive(Debug)]
    pub struct Session {
        child: Child,
        stdin: Option<ChildStdin>,
        stdout: BufReader<ChildStdout>,
        next: u64,
    }

    impl Session {
        /// Starts a shim as `user` and initializes the session.
        #[must_use]
        pub fn start(shim: &Path, socket: &Path, user: &Identity) -> Self {
            let mut session = Self::raw(shim, socket, user);
            let hello = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": { "name": "remit-tests", "version": "1" },
            });
            let answer = session.request("initialize", &hello);
            assert_eq!(
                answer["result"]["protocolVersion"], "2025-11-25",
                "{answer}"
            );
            session.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
            session
        }

        /// Starts a shim as `user` without sending anything.
        #[must_use]
        pub fn raw(shim: &Path, socket: &Path, user: &Identity) -> Self {
            let mut command = Command::new(shim);
            command
                .arg("--socket")
                .arg(socket)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            user.runs(&mut command);
            let mut child = command.spawn().expect("mcp-shim starts");
            let stdin = child.stdin.take();
            let stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
            Self {
                child,
                stdin,
                stdout,
                next: 1,
            }
        }

        /// Writes one message.
        pub fn send(&mut self, message: &Value) {
            let stdin = self.stdin.as_mut().expect("the session is open");
            writeln!(stdin, "{message}").expect("the shim reads");
        }

        /// Reads one message.
        #[must_use]
        pub fn receive(&mut self) -> Value {
            let mut line = String::new();
            self.stdout
                .read_line(&mut line)
                .expect("the shim's output is text");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
        }

        /// Sends a request and waits for its answer. Skips other messages.
        #[must_use]
        pub fn request(&mut self, method: &str, params: &Value) -> Value {
            let id = self.next;
            self.next += 1;
            self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
            loop {
                let message = self.receive();
                if message["id"] == id {
                    return message;
                }
            }
        }

        /// Calls a tool. Returns the complete result, and panics on a protocol error.
        #[must_use]
        pub fn tool(&mut self, name: &str, arguments: &Value) -> Value {
            let answer = self.request(
                "tools/call",
                &json!({ "name": name, "arguments": arguments }),
            );
            assert!(answer["result"].is_object(), "{answer}");
            answer["result"].clone()
        }

        /// Runs something. Returns the structured result, and panics if it was refused.
        #[must_use]
        pub fn run(&mut self, arguments: &Value) -> Value {
            let result = self.tool("run", arguments);
            assert_ne!(result["isError"], true, "{result}");
            result["structuredContent"].clone()
        }

        /// Returns the shim's pid.
        #[must_use]
        pub fn pid(&self) -> i32 {
            i32::try_from(self.child.id()).expect("pids are small")
        }

        /// Closes standard input, waits, and returns the exit status.
        #[must_use]
        pub fn close(mut self) -> Option<i32> {
            drop(self.stdin.take());
            self.child.wait().expect("the shim is a child").code()
        }
    }

    impl Drop for Session {
        fn drop(&mut self) {
            drop(self.stdin.take());
            let _ = self.child.wait();
        }
    }
}
pub mod terminal_screen;
pub mod test_dir;
