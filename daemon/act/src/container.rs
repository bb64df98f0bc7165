//! A container is started, stopped or restarted, by the engine that runs it.

use remit_engine::{get_json, post};

use crate::Fault;
use crate::args::ContainerVerb;

/// Does it, and tells what state the container is in then.
pub fn act(verb: ContainerVerb, name: &str) -> Result<(), Fault> {
    post(&request(verb, name)).map_err(Fault::Failed)?;
    let all = get_json(&format!("/containers/{name}/json")).map_err(Fault::Failed)?;
    let state = all
        .pointer("/State/Status")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("in a state that is not told");
    println!("container '{name}' is {state}");
    let ends = verb == ContainerVerb::Stop;
    match (ends, state == "running") {
        (true, false) | (false, true) => Ok(()),
        _ => Err(Fault::Failed(format!("container '{name}' is {state}"))),
    }
}

/// With how long it has to end, in seconds: a container can set that to longer than anybody waits.
fn request(verb: ContainerVerb, name: &str) -> String {
    let word = match verb {
        ContainerVerb::Start => "start",
        ContainerVerb::Stop => "stop?t=10",
        ContainerVerb::Restart => "restart?t=10",
    };
    format!("/containers/{name}/{word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_has_ten_seconds() {
        for (verb, path) in [
            (ContainerVerb::Start, "/containers/web/start"),
            (ContainerVerb::Stop, "/containers/web/stop?t=10"),
            (ContainerVerb::Restart, "/containers/web/restart?t=10"),
        ] {
            assert_eq!(request(verb, "web"), path);
        }
    }
}
