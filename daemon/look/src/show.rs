//! From words to an answer on standard output and an exit status.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use remit_common::builtin::{Builtin, LogQuery, UnitName};
use remit_common::caps;
use remit_common::service::{ServiceFacts, Told};

use crate::logs::{self, Extent};
use crate::{list, status};

/// The question could not be answered.
pub const CANNOT: u8 = 1;
/// The unit is there and not active: as systemctl(1) says it.
const NOT_ACTIVE: u8 = 3;
/// There is no such unit: as systemctl(1) says it.
const NO_SUCH_UNIT: u8 = 4;

/// Log lines below a unit's status.
const STATUS_LINES: u16 = 10;

/// Answers a command.
///
/// # Errors
/// A sentence: the words are no command, or what it needs cannot be had.
pub fn show(words: &[String]) -> Result<ExitCode, String> {
    let command = Builtin::of_words(words.iter().map(String::as_str));
    match command.map_err(|refusal| refusal.to_string())? {
        Builtin::Logs(query) => {
            let shown = logs::read(&query, Extent::All)?;
            print(&shown.text(&query))?;
            Ok(ExitCode::SUCCESS)
        }
        Builtin::ServiceStatus { unit } => unit_status(unit),
        Builtin::ServiceList { .. } | Builtin::ServiceFailed => {
            let ServiceFacts { time, told } = facts()?;
            match told.map_err(unavailable)? {
                Told::List(units) => print(&list::units(&units))?,
                Told::Failed(units) => print(&list::failed(&units, time))?,
                Told::Unit(_) => return Err(wrong_answer()),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The unit's state, then its last log lines: those also where the manager did not answer.
fn unit_status(mut name: UnitName) -> Result<ExitCode, String> {
    let ServiceFacts { time, told } = facts()?;
    let exit = match told {
        Ok(Told::Unit(unit)) => {
            print(&status::unit(&unit, time))?;
            if status::is_missing(&unit) {
                return Ok(ExitCode::from(NO_SUCH_UNIT));
            }
            // The journal knows a unit by its first name alone.
            name = unit.name.parse().unwrap_or(name);
            match unit.active.as_str() {
                "inactive" | "failed" => ExitCode::from(NOT_ACTIVE),
                _ => ExitCode::SUCCESS,
            }
        }
        Ok(Told::List(_) | Told::Failed(_)) => return Err(wrong_answer()),
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
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("standard input does not hold what the service manager said: {error}")
    })
}

fn unavailable(why: String) -> String {
    format!("the service manager cannot be asked: {why}")
}

fn wrong_answer() -> String {
    "standard input answers another command".into()
}

fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write standard output: {error}"))
}
