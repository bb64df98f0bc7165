//! `remit-verify`: verifies one signature of an approver. Its standard input has the question, its standard output gets
//! the answer, and it has no other way to the machine.

mod confine_self;

use std::io::{Write, stdin, stdout};
use std::process::ExitCode;

use remit_approval::verifier::Question;
use remit_verify::judge;

fn main() -> ExitCode {
    remit_common::panics::end_process();
    match confine_self::confine().and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-verify: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let question = Question::read(&mut stdin().lock()).map_err(|error| error.to_string())?;
    let mut to = stdout().lock();
    let written = judge(&question).write(&mut to);
    written.map_err(|error| error.to_string())?;
    to.flush().map_err(|error| error.to_string())
}
