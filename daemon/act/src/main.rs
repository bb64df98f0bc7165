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
        let after = state(verb, get_json(&format!("/containers/{id}/json")));
        let after = after.map_err(Fault::Failed)?;
        let said = format!("container '{name}' is {}", after.shown());
        println!("{said}");
        match after.is_meant(verb) {
            true => Ok(()),
            false => Err(Fault::Failed(said)),
        }
    }

    /// A container after a verb.
    #[derive(Debug, PartialEq, Eq)]
    struct StateAfter {
        state: String,
        /// Of its program, if that has ended.
        status: Option<i64>,
    }

    impl StateAfter {
        fn shown(&self) -> String {
            match self.status {
                Some(0) => format!("{}: its program has ended with success", self.state),
                Some(status) => format!("{}: its program has ended with {status}", self.state),
                None => self.state.clone(),
            }
        }

        /// A container for one task has ended when it is looked at.
        fn is_meant(&self, verb: ContainerVerb) -> bool {
            let runs = self.state == "running";
            match verb {
                ContainerVerb::Stop => !runs,
                ContainerVerb::Start | ContainerVerb::Restart => runs || self.status == Some(0),
            }
        }
    }

    /// Returns what it is after the verb. After a stop, 404 means success: an auto-removed container no longer exists.
    fn state(verb: ContainerVerb, all: Result<Value, String>) -> Result<StateAfter, String> {
        let of = |state: &str, status| StateAfter {
            state: state.to_owned(),
            status,
        };
        match all {
            Ok(all) => {
                let state = all.pointer("/State/Status").and_then(Value::as_str);
                let status = all.pointer("/State/ExitCode").and_then(Value::as_i64);
                let status = status.filter(|_| state == Some("exited"));
                Ok(of(state.unwrap_or("in an unknown state"), status))
            }
            Err(why) if verb == ContainerVerb::Stop && why.contains(" says 404: ") => {
                Ok(of("removed", None))
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
            let reported = |word| Ok(json!({ "State": { "Status": word, "ExitCode": 0 } }));
            for (verb, all, expect) in [
                (ContainerVerb::Stop, gone(), Some("removed")),
                (ContainerVerb::Start, gone(), None),
                (ContainerVerb::Restart, gone(), None),
                (ContainerVerb::Stop, Err("no answer".to_owned()), None),
                (ContainerVerb::Stop, reported("exited"), Some("exited")),
                (ContainerVerb::Start, reported("running"), Some("running")),
            ] {
                let after = state(verb, all).ok();
                assert_eq!(after.map(|after| after.state).as_deref(), expect);
            }
        }

        #[test]
        fn container_for_one_task_may_have_ended() {
            const START: ContainerVerb = ContainerVerb::Start;
            for (verb, word, code, is_meant, shown) in [
                (START, "running", 0, true, "running"),
                (
                    START,
                    "exited",
                    0,
                    true,
                    "exited: its program has ended with success",
                ),
                (
                    ContainerVerb::Restart,
                    "exited",
                    0,
                    true,
                    "exited: its program has ended with success",
                ),
                (
                    START,
                    "exited",
                    1,
                    false,
                    "exited: its program has ended with 1",
                ),
                (START, "created", 0, false, "created"),
                (START, "restarting", 0, false, "restarting"),
                (
                    ContainerVerb::Stop,
                    "exited",
                    137,
                    true,
                    "exited: its program has ended with 137",
                ),
                (ContainerVerb::Stop, "running", 0, false, "running"),
            ] {
                let all = json!({ "State": { "Status": word, "ExitCode": code } });
                let after = state(verb, Ok(all)).unwrap();
                assert_eq!(after.is_meant(verb), is_meant, "{verb:?} {word} {code}");
                assert_eq!(after.shown(), shown);
            }
            let older = state(START, Ok(json!({ "State": { "Status": "exited" } }))).unwrap();
            assert!(!older.is_meant(START));
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
