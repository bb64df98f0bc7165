//! Whether a connection to admin.sock would start the daemon: its socket units listen also while it is stopped.

use std::path::Path;

use remit_common::names::Runtime;

use crate::external_program::Program;

const SERVICE: &str = "remitd.service";
const SOCKET: &str = "remitd-admin.socket";

/// Returns true if systemd would start the stopped daemon for a connection. Without an answer of systemd it returns false.
pub fn would_start(runtime: &Runtime) -> bool {
    // The units have no other directory.
    if runtime.dir() != Path::new(Runtime::DEFAULT) {
        return false;
    }
    let systemctl = Program::systemctl();
    let states = ["show", "--property=ActiveState", "--value", SERVICE, SOCKET];
    let states = systemctl.and_then(|systemctl| systemctl.ask(&states).ok());
    states.is_some_and(|states| is_started_by(&String::from_utf8_lossy(&states)))
}

/// `states`: those of the service and of its socket, in this order.
fn is_started_by(states: &str) -> bool {
    let mut states = states.split_whitespace();
    // It answers also while it ends, which may take the minutes that a change has left.
    let is_stopped = |state| {
        let runs = [
            "active",
            "activating",
            "deactivating",
            "refreshing",
            "reloading",
        ];
        !runs.contains(&state)
    };
    match (states.next(), states.next()) {
        (Some(service), Some(socket)) => is_stopped(service) && socket == "active",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_service_with_a_socket_would_be_started() {
        for (states, expect) in [
            ("inactive\n\nactive\n", true),
            ("failed\n\nactive\n", true),
            ("deactivating\n\nactive\n", false),
            ("active\n\nactive\n", false),
            ("activating\n\nactive\n", false),
            ("reloading\n\nactive\n", false),
            // Started by hand, without its units.
            ("inactive\n\ninactive\n", false),
            ("inactive\n", false),
            ("", false),
        ] {
            assert_eq!(is_started_by(states), expect, "{states:?}");
        }
        assert!(!would_start(&Runtime::new("/nonexistent")));
    }
}
