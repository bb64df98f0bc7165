//! A container is started, stopped or restarted, by the engine that runs it.

use remit_engine::{get_json, post};

use crate::Fault;
use crate::args::ContainerVerb;

/// Does it, and tells what state the container is in then.
pub fn act(verb: ContainerVerb, name: &str) -> Result<(), Fault> {
    let word = match verb {
        ContainerVerb::Start => "start",
        ContainerVerb::Stop => "stop",
        // Without a time, Podman kills it at once (Docker gives it ten seconds).
        ContainerVerb::Restart => "restart?t=10",
    };
    post(&format!("/containers/{name}/{word}")).map_err(Fault::Failed)?;
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
