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
