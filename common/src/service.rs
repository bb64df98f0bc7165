//! What the service manager says, on its way from the broker, which can ask it, to the job that
//! shows it. JSON, so that a person can read what a job was given.
//!
//! Times are seconds since 1970; a number that the manager does not tell is absent.
//!
//! And which units no unit verb may change ([`is_protected`]).

mod disruptive;
mod protected;

pub use disruptive::is_disruptive;
pub use protected::is_protected;

use serde::{Deserialize, Serialize};

use crate::host::{List, Units};

/// The standard input of a built-in command that asks the service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// When it was asked.
    pub time: u64,
    /// What it said, or why it could not be asked.
    pub told: Result<Told, String>,
}

/// An answer of the service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// To `service.status`.
    Unit(Box<UnitFacts>),
    /// To `service.list`.
    List(List<UnitLine>),
    /// To `service.failed`.
    Failed(Units),
}

/// A unit in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLine {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Load state, as `loaded`, `not-found`, `masked`.
    pub load: String,
    /// Active state, as `active`, `failed`.
    pub active: String,
    /// Sub state, as `running`, `exited`.
    pub sub: String,
}

/// One unit. Texts are printable, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitFacts {
    /// Its first name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Load state, as `loaded`, `not-found`, `masked`.
    pub load: String,
    /// Why it could not be loaded.
    pub load_error: Option<String>,
    /// Active state, as `active`, `failed`.
    pub active: String,
    /// Sub state, as `running`, `exited`.
    pub sub: String,
    /// Whether it is started at boot, as `enabled`, `disabled`, `static`.
    pub file_state: Option<String>,
    /// Its file.
    pub fragment: Option<String>,
    /// Files that add to it.
    pub drop_ins: Vec<String>,
    /// Its files have changed since they were read.
    pub needs_reload: bool,
    /// Since when it is in its state.
    pub since: Option<u64>,
    /// When a condition last kept it from starting, and those that did not hold.
    pub condition: Option<Condition>,
    /// Units that start it.
    pub triggered_by: Vec<String>,
    /// Units that it starts.
    pub triggers: Vec<String>,
    /// Where it is described.
    pub documentation: Vec<String>,
    /// How it last went, as `success`, `exit-code`, `timeout`, `oom-kill`.
    pub result: Option<String>,
    /// Its main process.
    pub process: Option<Process>,
    /// What its processes use.
    pub usage: Usage,
    /// What it listens on, as `Stream 0.0.0.0:22`.
    pub listen: Vec<String>,
    /// Connections open on it.
    pub connections: Option<u64>,
    /// Connections taken since it was started.
    pub accepted: Option<u64>,
    /// When it will elapse next.
    pub next: Option<u64>,
    /// When it last elapsed.
    pub last: Option<u64>,
    /// What is mounted.
    pub mounted: Option<String>,
    /// Names of units in memory that are like the one asked for, where that does not exist.
    pub similar: Vec<String>,
}

/// A start that a condition prevented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// When.
    pub time: u64,
    /// Conditions that did not hold, as `ConditionPathExists=/etc/x`.
    pub unmet: Vec<String>,
}

/// The main process of a service: the one that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Its pid; 0 for none.
    pub pid: u64,
    /// Its command line.
    pub command: Option<String>,
    /// How the last one ended: `exited`, `killed`, `dumped`.
    pub ended: Option<String>,
    /// Its exit status, or the signal that ended it.
    pub status: Option<i32>,
    /// When it was started.
    pub started: Option<u64>,
    /// When it ended.
    pub exited: Option<u64>,
    /// How often it was started again by itself.
    pub restarts: Option<u64>,
    /// What it says of itself.
    pub says: Option<String>,
}

/// What the processes of a unit use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Bytes of memory now.
    pub memory: Option<u64>,
    /// Bytes of memory at most so far.
    pub memory_peak: Option<u64>,
    /// Bytes of memory allowed.
    pub memory_max: Option<u64>,
    /// Tasks now.
    pub tasks: Option<u64>,
    /// Tasks allowed.
    pub tasks_max: Option<u64>,
    /// CPU time in microseconds.
    pub cpu_usec: Option<u64>,
}
