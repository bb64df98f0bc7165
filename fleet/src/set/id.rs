//! The id of a set: the same call for the same hosts with the same request id is the same set. Pure.

use remit_common::names::SetId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::host_name::HostName;

/// Arguments that say how a call waits, and not what it does.
const OF_WAITING: &str = "wait_ms";

/// Returns the id. `arguments` have the request id.
pub fn of(tool: &str, arguments: &Map<String, Value>, hosts: &[HostName]) -> SetId {
    let mut arguments = arguments.clone();
    arguments.remove(OF_WAITING);
    let arguments = Value::Object(arguments).to_string();
    let mut hash = Sha256::new_with_prefix(b"remit set 1\n");
    let names = hosts.iter().map(HostName::as_str);
    for part in [tool, &arguments].into_iter().chain(names) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    SetId(hash.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn set_is_tool_arguments_hosts_and_request() {
        let id = |tool, arguments: Value, hosts: &[&str]| {
            let hosts: Vec<HostName> = hosts.iter().map(|name| name.parse().unwrap()).collect();
            of(tool, arguments.as_object().unwrap(), &hosts)
        };
        let usual = json!({"name": "a.b", "request_id": "r"});
        let one = id("change", usual.clone(), &["a", "b"]);
        let patient = json!({"request_id": "r", "name": "a.b", "wait_ms": 7});
        assert_eq!(id("change", patient, &["a", "b"]), one);
        for other in [
            id("plan", usual.clone(), &["a", "b"]),
            id("change", usual.clone(), &["b", "a"]),
            id("change", usual.clone(), &["ab"]),
            id("change", usual.clone(), &["a", "b", "c"]),
            id(
                "change",
                json!({"name": "a.b", "request_id": "s"}),
                &["a", "b"],
            ),
        ] {
            assert_ne!(other, one);
        }
    }
}
