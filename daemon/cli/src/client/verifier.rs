//! Asks `remit-verify` about a signature. It reads what a stranger may have written, so it is a process without rights.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remit_approval::verifier::{Answer, PROGRAM, Question};
use remit_common::refusal::{Code, Refusal};

use crate::error::Failure;

const PACKAGED: &str = "/usr/libexec/remit";

pub fn ask(question: &Question) -> Result<Answer, Failure> {
    let program = find();
    let failed = |why: &dyn std::fmt::Display| {
        let text = format!("cannot verify signatures: '{}': {why}", program.display());
        Failure::Machine(
            Refusal::new(Code::NotStarted, text).next("install the package remit here"),
        )
    };
    let mut child = Command::new(&program)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    // It reads the whole question before it answers, and ends by itself: its time is limited.
    let written = child
        .stdin
        .take()
        .map(|mut input| question.write(&mut input));
    let answer = child
        .stdout
        .take()
        .map(|mut output| Answer::read(&mut output));
    let status = child.wait().map_err(|error| failed(&error))?;
    match (written, answer) {
        (Some(Ok(())), Some(Ok(answer))) => Ok(answer),
        _ => Err(failed(&format!("it gave no answer ({status})"))),
    }
}

/// Next to this program, as in a build, or in the package's directory.
fn find() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own
        .map(|own| own.with_file_name(PROGRAM))
        .filter(|path| path.exists());
    beside.unwrap_or_else(|| Path::new(PACKAGED).join(PROGRAM))
}
