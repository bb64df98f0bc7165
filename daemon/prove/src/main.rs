//! `remit-prove`: its standard input has the question, its standard output gets the answer. It gives up every right but
//! reading before it looks at the first file.
#![forbid(unsafe_code)]

mod confine;

use std::ffi::OsStr;
use std::io::{Write, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use remit_policy::exchange::{receive, send};
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::{Answer, PROGRAM, Question, answer};

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
    let root = Path::new(OsStr::from_bytes(&question.root));
    let machine = Machine::open(root, Bounds::default());
    let answer = match machine {
        Ok(machine) => {
            confine::confine(&machine)?;
            answer(&question, machine).map_or_else(Answer::Refused, Answer::Report)
        }
        Err(error) => Answer::Refused(format!("cannot open '{}': {error}", root.display())),
    };
    let mut to = stdout().lock();
    send(&mut to, &answer).map_err(|error| error.to_string())?;
    to.flush().map_err(|error| error.to_string())
}
