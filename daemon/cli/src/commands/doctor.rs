//! `remit doctor`: runs all checks. The exit status is the number of failures.

use std::io::{self, Write};

use crate::args::DoctorArgs;
use crate::checks;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::color;
use crate::render::output::{self, Form};

pub fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let report = checks::examine(&context.runtime);
    match context.form {
        Form::Json => output::json(&report.json())?,
        Form::Text => {
            let mut lines = context.width.fold(&checks::text(&report, args.verbose));
            if color::is_wanted() {
                lines = checks::paint(&lines);
            }
            io::stdout().lock().write_all(lines.as_bytes())?;
        }
    }
    Ok(Exit::of_failures(report.failures()))
}
