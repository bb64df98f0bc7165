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
mod reboot {
    //! Schedules or cancels a reboot (org.freedesktop.login1(5)). Logged-in users are notified on their terminals.

    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use remit_common::calendar;

    use crate::args::Fault;
    use crate::bus::{Bus, Service};

    const LOGIND: Service = Service {
        name: "org.freedesktop.login1",
        path: "/org/freedesktop/login1",
        manager: "org.freedesktop.login1.Manager",
    };

    pub async fn schedule(minutes: u64) -> Result<(), Fault> {
        let bus = Bus::system().await?;
        let at = SystemTime::now() + Duration::from_secs(60 * minutes);
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let message = "A reboot was asked for and approved through remit; 'shutdown -c' cancels it";
        bus.call::<_, ()>(&LOGIND, "SetWallMessage", &(message, true))
            .await?;
        bus.call::<_, ()>(&LOGIND, "ScheduleShutdown", &("reboot", micros))
            .await?;
        println!(
            "The machine reboots at {}, in {minutes} min.",
            stamp(at.as_secs())
        );
        println!(
            "Until then 'shutdown -c', or the command system.reboot_cancel, keeps it running."
        );
        Ok(())
    }

    pub async fn cancel() -> Result<(), Fault> {
        let bus = Bus::system().await?;
        let was: bool = bus.call(&LOGIND, "CancelScheduledShutdown", &()).await?;
        println!(
            "{}",
            match was {
                true => "The scheduled reboot or shutdown is cancelled.",
                false => "Nothing was scheduled.",
            }
        );
        Ok(())
    }

    fn stamp(seconds: u64) -> String {
        let (year, month, day) = calendar::date(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}
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
    });
    let (status, why) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Fault::Failed(why)) => (1, why),
        Err(Fault::Refused(why)) => (2, why),
    };
    eprintln!("remit-act: {why}");
    ExitCode::from(status)
}
