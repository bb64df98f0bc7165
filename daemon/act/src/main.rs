//! remit-act: performs the changes of the shipped policy (units, packages, containers, reboot), and lists open files
//! that only root can see. It runs as a job, after policy and approver have decided. Each verb is a fixed call of the
//! service manager, the login manager or the package manager; no free text is executed. It decides one thing: a unit
//! that the machine needs ([`remit_common::service::is_protected`]) is refused under every name that it has.
#![forbid(unsafe_code)]

mod args;
mod bus;
mod container {
    //! Starts, stops or restarts a container through its engine.

    use remit_engine::{by_name, get_json, post};
    use serde_json::Value;

    use crate::args::{ContainerVerb, Fault};

    pub fn act(verb: ContainerVerb, name: &str) -> Result<(), Fault> {
        let id = by_name(name).map_err(Fault::Failed)?.id;
        post(&request(verb, &id)).map_err(Fault::Failed)?;
        let state =
            state(verb, get_json(&format!("/containers/{id}/json"))).map_err(Fault::Failed)?;
        println!("container '{name}' is {state}");
        let ends = verb == ContainerVerb::Stop;
        match (ends, state == "running") {
            (true, false) | (false, true) => Ok(()),
            _ => Err(Fault::Failed(format!("container '{name}' is {state}"))),
        }
    }

    /// Returns the state after the verb. After a stop, 404 means success: an auto-removed container no longer exists.
    fn state(verb: ContainerVerb, all: Result<Value, String>) -> Result<String, String> {
        match all {
            Ok(all) => {
                let state = all.pointer("/State/Status").and_then(Value::as_str);
                Ok(state.unwrap_or("in an unknown state").to_owned())
            }
            Err(why) if verb == ContainerVerb::Stop && why.contains(" says 404: ") => {
                Ok("removed".to_owned())
            }
            Err(why) => Err(format!("it was done, but the state is not known: {why}")),
        }
    }

    /// Returns the request path, with a stop timeout of 10 s: a container can configure a longer one than callers wait.
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
        use serde_json::json;

        #[test]
        fn auto_removed_container_counts_as_stopped() {
            let gone =
                || Err("the container engine at x says 404: No such container: web".to_owned());
            let reported = |word| Ok(json!({ "State": { "Status": word } }));
            for (verb, all, expect) in [
                (ContainerVerb::Stop, gone(), Some("removed")),
                (ContainerVerb::Start, gone(), None),
                (ContainerVerb::Restart, gone(), None),
                (ContainerVerb::Stop, Err("no answer".to_owned()), None),
                (ContainerVerb::Stop, reported("exited"), Some("exited")),
                (ContainerVerb::Start, reported("running"), Some("running")),
            ] {
                assert_eq!(state(verb, all).ok().as_deref(), expect);
            }
        }

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
}
mod package;
mod reboot;
mod unit;

use std::process::ExitCode;

use args::{Ask, Fault};
use unit::after::Changed;

fn main() -> ExitCode {
    let words: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(|word| word.into_string())
        .collect();
    let ask = match words {
        Ok(words) => args::parse(&words),
        Err(_) => Err("an argument is not text".to_owned()),
    };
    let done = ask.map_err(Fault::Refused).and_then(|ask| match ask {
        Ask::Unit(verb, unit) => bus::run(unit::act(verb, &unit)),
        Ask::DescribeUnit(verb, unit, follows) => {
            let changed = Changed::before(follows)?;
            bus::run(unit::describe::print(verb, &unit, &changed))
        }
        Ask::ReloadUnits => bus::run(unit::reload_all()),
        Ask::DescribeReloadUnits(follows) => {
            let changed = Changed::before(follows)?;
            bus::run(unit::describe::print_reload(&changed))
        }
        Ask::DescribePackage(verb, names) => package::describe(verb, &names),
        Ask::Package(verb, names) => package::act(verb, &names),
        Ask::Container(verb, name) => container::act(verb, &name),
        Ask::Reboot(minutes) => bus::run(reboot::schedule(minutes)),
        Ask::KeepRunning => bus::run(reboot::cancel()),
        Ask::DescribeReboot => bus::run(reboot::describe()),
    });
    let (status, why) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Fault::Failed(why)) => (1, why),
        Err(Fault::Refused(why)) => (2, why),
    };
    eprintln!("remit-act: {why}");
    ExitCode::from(status)
}
