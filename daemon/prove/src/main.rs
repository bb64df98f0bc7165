//! `remit-prove`: its standard input has the question, its standard output gets the answer. It gives up every right but
//! reading before it looks at the first file.
#![forbid(unsafe_code)]

mod confine;

use std::ffi::OsStr;
use std::io::{Write, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use remit_common::prove::{PROGRAM, Question};
use remit_policy::exchange::{receive, send};
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::{self, Answer};

fn main() -> ExitCode {
    remit_common::panics::end_process();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{PROGRAM}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    // The question is of root's own process, and only its directory is used before the rights are gone.
    let question: Question = receive(&mut stdin().lock()).map_err(|error| error.to_string())?;
    // Beyond all bounds of a look: a file system that does not answer must not keep the asking program.
    nix::unistd::alarm::set(180);
    let mut to = stdout().lock();
    match &question.compared {
        None => {
            let report = open(&question, Bounds::default());
            let report = report.and_then(|machine| question::answer(&question, &machine));
            send(
                &mut to,
                &report.map_or_else(Answer::Refused, Answer::Report),
            )
        }
        Some(compared) => {
            // One look or two, and the proofs.
            let parts = if compared.changes.is_empty() { 2 } else { 3 };
            let bounds = Bounds {
                time: compared.patience() / parts,
                ..Bounds::default()
            };
            let opened = open(&question, bounds);
            let opened =
                opened.and_then(|mut machine| question::opened(&question, compared, &mut machine));
            send(&mut to, &opened)
        }
    }
    .map_err(|error| error.to_string())?;
    to.flush().map_err(|error| error.to_string())
}

/// Gives up all rights once the machine is open.
fn open(question: &Question, bounds: Bounds) -> Result<Machine, String> {
    let root = Path::new(OsStr::from_bytes(&question.root));
    let machine = Machine::open(root, bounds);
    let machine = machine.map_err(|error| format!("cannot open '{}': {error}", root.display()))?;
    confine::confine(&machine)?;
    Ok(machine)
}
