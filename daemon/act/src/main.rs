//! remit-act: performs the changes of the shipped policy (units, packages, containers, reboot). It runs as a job, after
//! policy and approver have decided. Each verb is a fixed call of the service manager, the login manager or the package
//! manager; no free text is executed. It decides one thing: a unit that the machine needs
//! ([`remit_common::service::is_protected`]) is refused under every name that it has.
#![forbid(unsafe_code)]

mod args;
mod bus;
mod container;
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
        Ask::ReloadUnits => bus::run(unit::reload::reload_all()),
        Ask::DescribeReloadUnits(follows) => {
            let changed = Changed::before(follows)?;
            bus::run(unit::describe::print_reload(&changed))
        }
        Ask::DescribePackage(verb, names) => package::describe(verb, &names),
        Ask::Package(verb, names) => package::act(verb, &names),
        Ask::Container(verb, name) => container::act(verb, &name),
        Ask::Reboot(minutes) => bus::run(reboot::schedule(minutes)),
        Ask::KeepRunning => bus::run(reboot::cancel()),
        Ask::DescribeReboot(minutes) => bus::run(reboot::describe(minutes)),
    });
    let (status, why) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Fault::Failed(why)) => (1, why),
        Err(Fault::Refused(why)) => (2, why),
    };
    eprintln!("remit-act: {why}");
    ExitCode::from(status)
}
