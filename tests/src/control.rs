//! Attacks without a sandbox: what each refusal is measured against.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::attack::allowed::Check;
use crate::attack::{Attack, Control, Expect};
use crate::process::{in_fresh_namespaces, leak_descriptor};
use crate::scene::{Ground, Scene, arrange};

/// What became of one attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel let it.
    Done(String),
    /// The kernel said no, with this error.
    Refused(i32),
    /// The kernel ended it with this signal.
    Killed(i32),
    /// The attack program itself failed.
    Broken(String),
}

impl Outcome {
    /// From what the attack program printed, and the signal that ended it.
    #[must_use]
    pub fn read(stdout: &str, signal: Option<i32>) -> Self {
        if let Some(signal) = signal {
            return Self::Killed(signal);
        }
        let report: Value = match serde_json::from_str(stdout.lines().next().unwrap_or_default()) {
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

    /// In one word, as in tables.
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

/// An outcome together with what the witness saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the attack program said.
    pub outcome: Outcome,
    /// Whether the host was touched; `None` where there is nothing to see.
    pub touched: Option<bool>,
}

impl Seen {
    /// Whether this is what a sandbox must do.
    #[must_use]
    pub fn meets(&self, expect: Expect) -> bool {
        let untouched = self.touched != Some(true);
        match (expect, &self.outcome) {
            (Expect::Errno(expected), Outcome::Refused(errno)) => expected == *errno && untouched,
            (Expect::Killed(expected), Outcome::Killed(signal)) => expected == *signal && untouched,
            (Expect::NoEffect, Outcome::Done(_)) => self.touched == Some(false),
            (Expect::Done, Outcome::Done(_)) => self.touched != Some(false),
            _ => false,
        }
    }
}

/// Performs an attack without a sandbox, as the job's uid or as root; it must succeed.
///
/// # Panics
/// When the attack program cannot be started.
#[must_use]
pub fn perform(attack: &Attack, ground: &Ground) -> Seen {
    let scene = arrange(attack.id, ground);
    let mut command = command(attack.id, &scene);
    leak_descriptor(&mut command);
    match attack.control {
        Control::SameUid | Control::Impossible(_) => ground.job.runs(&mut command),
        Control::Root => in_fresh_namespaces(&mut command),
    }
    finish(command, scene)
}

/// Performs a check without a sandbox, as the job's uid.
///
/// # Panics
/// When the attack program cannot be started.
#[must_use]
pub fn perform_check(check: &Check, ground: &Ground) -> Seen {
    let scene = arrange(check.id, ground);
    let mut command = command(check.id, &scene);
    ground.job.runs(&mut command);
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
