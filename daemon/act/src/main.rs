//! remit-act: carries out changes of the shipped policy: units, packages, containers, a reboot; and looks for
//! `openfiles.*` where only root can.
//!
//! It runs as a job, after policy and whoever approves have spoken. Each verb is a fixed call of the
//! service manager, the login manager, or of the package manager; nothing here is made of free text.
//! Whether it may be done is not decided here, but for one thing: a unit that the machine needs
//! ([`remit_common::service::is_protected`]) is refused once more, by all the names it has.
#![forbid(unsafe_code)]

mod args;
mod bus;
mod container;
mod journal;
mod open_files;
mod package;
mod reboot;
mod unit;

use std::process::ExitCode;

use args::Ask;

/// How it ended, and what is said of it on standard error.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// It was tried, and was not done.
    Failed(String),
    /// It was not tried.
    Refused(String),
}

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
        Ask::DescribeUnit(verb, unit) => bus::run(unit::describe::print(verb, &unit)),
        Ask::DescribePackage(verb, names) => package::describe(verb, &names),
        Ask::Package(verb, names) => package::act(verb, &names),
        Ask::Container(verb, name) => container::act(verb, &name),
        Ask::OpenFiles(whose, most) => open_files::tell(&whose, most),
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
