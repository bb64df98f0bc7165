//! remit-look: prints the answers of built-in commands and of some commands of the shipped catalogue. Runs as a job in
//! a sandbox without privilege. A built-in command gets the service manager's answer on standard input and reads the
//! journal by one `journalctl`. A catalogue command reads files or asks a container engine. Makes no decisions.

#![forbid(unsafe_code)]

mod catalogue;
mod logs;
mod status;
mod text;

use std::io::{self, Read};
use std::process::ExitCode;

use remit_common::builtin::{Builtin, LogQuery, UnitName, check_first_name};
use remit_common::caps;
use remit_wire::service::{ManagerAnswer, ServiceFacts};

use crate::logs::Extent;
use crate::text::{CANNOT, print};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shown = catalogue::show(&words).unwrap_or_else(|| show(&words));
    shown.unwrap_or_else(|why| {
        eprintln!("remit-look: {why}");
        ExitCode::from(CANNOT)
    })
}

/// Exit status if the unit exists but is not active, as systemctl(1) has it.
const NOT_ACTIVE: u8 = 3;
/// Exit status if the unit does not exist, as systemctl(1) has it.
const NO_SUCH_UNIT: u8 = 4;

const STATUS_LINES: u16 = 10;

pub fn show(words: &[String]) -> Result<ExitCode, String> {
    let command = Builtin::of_words(words.iter().map(String::as_str));
    match command.map_err(|refusal| refusal.to_string())? {
        Builtin::Logs(query) => {
            print(&logs::text(&query)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Builtin::ServiceStatus { unit } => unit_status(unit),
        Builtin::ServiceList { .. } | Builtin::ServiceFailed => {
            let ServiceFacts { time, answer } = facts()?;
            match answer.map_err(unavailable)? {
                ManagerAnswer::List(units) => print(&status::units(&units))?,
                ManagerAnswer::Failed(units) => print(&status::failed(&units, time))?,
                ManagerAnswer::Unit(_) => return Err(wrong_answer()),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints the unit's state and its last log lines. The log lines also come if the manager did not answer.
fn unit_status(name: UnitName) -> Result<ExitCode, String> {
    let ServiceFacts { time, answer } = facts()?;
    let exit = match answer {
        Ok(ManagerAnswer::Unit(unit)) => {
            check_first_name(name.as_str(), &unit.name)?;
            print(&status::unit(&unit, time))?;
            if status::is_missing(&unit) {
                return Ok(ExitCode::from(NO_SUCH_UNIT));
            }
            match unit.active.as_str() {
                "inactive" | "failed" => ExitCode::from(NOT_ACTIVE),
                _ => ExitCode::SUCCESS,
            }
        }
        Ok(ManagerAnswer::List(_) | ManagerAnswer::Failed(_)) => return Err(wrong_answer()),
        Err(why) => {
            eprintln!("remit-look: {}", unavailable(why));
            ExitCode::from(CANNOT)
        }
    };
    let query = LogQuery {
        unit: Some(name),
        ..LogQuery::default()
    };
    match logs::read(&query, Extent::Newest(STATUS_LINES)) {
        Ok(shown) => print(&shown.below_status(&query))?,
        Err(why) => eprintln!("remit-look: no log lines: {why}"),
    }
    Ok(exit)
}

fn facts() -> Result<ServiceFacts, String> {
    let mut bytes = Vec::new();
    let cap = u64::try_from(caps::STDIN).unwrap_or(u64::MAX);
    io::stdin()
        .take(cap)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read standard input: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("standard input is not an answer of the service manager: {error}"))
}

fn unavailable(why: String) -> String {
    format!("the service manager cannot be asked: {why}")
}

fn wrong_answer() -> String {
    "standard input answers another command".into()
}
