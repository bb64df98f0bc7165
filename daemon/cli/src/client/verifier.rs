//! Asks `remit-verify` about a signature. It reads what a stranger may have written, so it is a process without rights.

use remit_approval::verifier::{Answer, PROGRAM, Question};
use remit_common::refusal::{Code, Refusal};

use crate::client::helper;
use crate::error::Failure;

pub fn ask(question: &Question) -> Result<Answer, Failure> {
    let program = helper::find(PROGRAM);
    let failed = |why: &dyn std::fmt::Display| {
        let text = format!("cannot verify signatures: '{}': {why}", program.display());
        Failure::Machine(
            Refusal::new(Code::NotStarted, text).next("install the package remit here"),
        )
    };
    let write = |input: &mut _| question.write(input);
    helper::ask(&program, write, Answer::read).map_err(|why| failed(&why))
}
