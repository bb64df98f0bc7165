//! `remit doctor`: whether remit holds on this machine.

use crate::app::Context;
use crate::doctor;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Makes all checks; the status counts those that failed.
pub fn doctor(context: &Context) -> Result<Exit, Failure> {
    let report = doctor::examine(&context.runtime);
    match context.form {
        Form::Json => output::json(&report.json())?,
        Form::Text => output::text(&report.text())?,
    }
    Ok(Exit::of_failures(report.failures()))
}
