//! What is asked of a host.

use remit_common::behalf::Behalf;
use remit_common::names::SetId;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// A call as each host gets it.
#[derive(Clone, Debug)]
pub struct HostCall {
    pub tool: String,
    pub arguments: Map<String, Value>,
    /// The set that it is a part of, for the records of the host.
    pub set: Option<SetId>,
    /// Whom it is said to act for, for the records of the host.
    pub behalf: Option<Behalf>,
    /// Name of the MCP client, for the records of the host.
    pub client: String,
    /// Nothing is waited for beyond it.
    pub until: Option<Instant>,
    pub may_become_master: bool,
    /// A job that still runs or waits for a slot is followed to its end.
    pub follows: bool,
    /// It is sent again for about a minute while nobody knows whether the host has it.
    pub is_patient: bool,
}

impl HostCall {
    /// Returns how to find what it may have started, after a reason why there is no answer. `ssh`: as a person types it.
    pub fn hint(&self, ssh: &str) -> String {
        // A person follows it, and no command takes a request_id.
        if self.follows {
            return format!(
                "; a job that it started goes on there: with a login of your own, '{ssh} HOST remit jobs' lists it, and \
                 '{ssh} HOST remit stop ID' ends it"
            );
        }
        let Some(id) = self.arguments.get("request_id").and_then(Value::as_str) else {
            return String::new();
        };
        let same = match (self.tool.as_str(), self.set) {
            // The same call for all hosts of a set shows this set, and a host that has not got it yet would start it.
            ("change", Some(_)) => {
                "job without job_id, or history, on this host shows it; the same change on this host alone"
            }
            _ => "the same call",
        };
        format!("; it may have started: {same} with request_id '{id}' gives that job, or starts it")
    }
}
