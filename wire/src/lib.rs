//! Protocol between clients and the daemon on `remit.sock`, reports about the host, and what clients share. A client first
//! sends [`FromClient::Hello`] and gets [`ToClient::Welcome`] or [`ToClient::Goodbye`]. It may then have several calls in
//! flight, identified by ids that it chooses. postcard is not self-describing: any change of these types needs a new
//! [`PROTOCOL`]. The root process does not link this crate: what it needs is in [`remit_common`].

#![forbid(unsafe_code)]

pub mod client;
pub mod edits;
pub mod host;
pub mod outcome;
mod patches;
pub mod protocol;
pub mod request_id {
    //! Request ids for runs without one, so that a run sent again remains the same job.

    use std::fs::File;
    use std::io::{self, Read};
    use std::sync::OnceLock;

    use remit_common::names::JobId;

    /// Returns a unique id: 128 bits of random(4) in hexadecimal. Fails if `/dev/urandom` cannot be read.
    pub fn fresh() -> io::Result<String> {
        let mut bits = [0; 16];
        source()?.read_exact(&mut bits)?;
        Ok(JobId(bits).to_string())
    }

    /// The file is opened once, because a shim needs an id for each call.
    fn source() -> io::Result<&'static File> {
        static SOURCE: OnceLock<File> = OnceLock::new();
        match SOURCE.get() {
            Some(file) => Ok(file),
            None => {
                let file = File::open("/dev/urandom")?;
                Ok(SOURCE.get_or_init(|| file))
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn no_two_are_the_same() {
            let (a, b) = (fresh().unwrap(), fresh().unwrap());
            assert!(a != b && a.len() == 32);
        }
    }
}
pub mod result;
pub mod transfer;
pub mod whole;
pub mod service {
    //! Answers of the service manager. The broker, which can ask it, passes them as JSON to the job that shows them. Times
    //! are seconds since 1970. A number that the manager does not report is absent.

    use serde::{Deserialize, Serialize};

    use crate::host::{List, Units};

    /// Standard input of a built-in command that needs the service manager.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ServiceFacts {
        pub time: u64,
        #[serde(rename = "told")]
        pub answer: Result<ManagerAnswer, String>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ManagerAnswer {
        Unit(Box<UnitFacts>),
        List(List<UnitLine>),
        Failed(Units),
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct UnitLine {
        pub name: String,
        pub description: String,
        /// Load state: `loaded`, `not-found`, `masked`.
        pub load: String,
        /// Active state: `active`, `failed`.
        pub active: String,
        /// Sub state: `running`, `exited`.
        pub sub: String,
    }

    /// One unit. Texts are printable and have one line each.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    pub struct UnitFacts {
        pub name: String,
        pub description: String,
        pub load: String,
        pub load_error: Option<String>,
        pub active: String,
        pub sub: String,
        /// Start at boot: `enabled`, `disabled`, `static`.
        pub file_state: Option<String>,
        pub fragment: Option<String>,
        pub drop_ins: Vec<String>,
        pub needs_reload: bool,
        pub since: Option<u64>,
        /// The last start that a condition prevented.
        pub condition: Option<Condition>,
        pub triggered_by: Vec<String>,
        pub triggers: Vec<String>,
        pub documentation: Vec<String>,
        /// Result of the last run: `success`, `exit-code`, `timeout`, `oom-kill`.
        pub result: Option<String>,
        pub process: Option<Process>,
        pub usage: Usage,
        /// Listening sockets, such as `Stream 0.0.0.0:22`.
        pub listen: Vec<String>,
        pub connections: Option<u64>,
        pub accepted: Option<u64>,
        pub next: Option<u64>,
        pub last: Option<u64>,
        pub mounted: Option<String>,
        /// Similar names of units in memory, if the requested unit does not exist.
        pub similar: Vec<String>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Condition {
        pub time: u64,
        /// Unmet conditions, such as `ConditionPathExists=/etc/x`.
        pub unmet: Vec<String>,
    }

    /// Main process of a service: the running one or the last one.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    pub struct Process {
        pub pid: u64,
        pub command: Option<String>,
        /// Way the last one ended: `exited`, `killed`, `dumped`.
        pub ended: Option<String>,
        /// Exit status, or signal number.
        pub status: Option<i32>,
        pub started: Option<u64>,
        pub exited: Option<u64>,
        pub restarts: Option<u64>,
        /// Status text that the process reports.
        pub says: Option<String>,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    pub struct Usage {
        /// In bytes.
        pub memory: Option<u64>,
        pub memory_peak: Option<u64>,
        pub memory_max: Option<u64>,
        pub tasks: Option<u64>,
        pub tasks_max: Option<u64>,
        pub cpu_usec: Option<u64>,
    }
}

pub use protocol::*;
pub use remit_plan::{CONTENT_BYTES, FILE_BYTES, Upload};
