//! `remit-verify`: verifies one signature of an approver. Its standard input has the question, its standard output gets
//! the answer, and it has no other way to the machine.

use std::io::{Write, stdin, stdout};
use std::process::ExitCode;

use remit_approval::verifier::Question;
use remit_self_confine::{Limits, confine};
use remit_verify::judge;

/// The largest question takes some milliseconds and needs a few MiB.
const LIMITS: Limits = Limits {
    cpu_s: 1,
    memory: 256 << 20,
};

fn main() -> ExitCode {
    remit_common::panics::end_process();
    match confine(LIMITS).and_then(|()| serve()) {
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
