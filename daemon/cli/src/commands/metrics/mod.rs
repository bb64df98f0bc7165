//! `remit metrics` writes figures of the daemon as a text file for Prometheus. Nothing listens.

mod exposition;
mod families;

use std::path::Path;

use self::exposition::MetricFamily;
use crate::args::MetricsArgs;
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::own_file::OwnFile;
use crate::render::output::{self, Context, Form};

/// Writes the figures. That the daemon does not answer is a figure, and no failure.
pub fn metrics(context: &Context, args: &MetricsArgs) -> Result<Exit, Failure> {
    let is_stdout = args.output == Path::new("-");
    let file = OwnFile {
        path: &args.output,
        start: exposition::START,
        mode: 0o644,
        writer: "remit metrics",
        next: "name another file, or remove it",
        force: false,
    };
    if !is_stdout {
        file.check()?;
    }
    let families = match admin_socket::status(context)? {
        Ok(status) => families::up(&status),
        Err(why) => {
            output::note(&why);
            vec![families::is_up(false)]
        }
    };
    let text = match context.form {
        Form::Text => exposition::text(&families),
        Form::Json => return json(&file, is_stdout, &families),
    };
    match is_stdout {
        true => output::text(&text)?,
        false => file.write(&text)?,
    }
    Ok(Exit::OK)
}

fn json(file: &OwnFile<'_>, is_stdout: bool, families: &[MetricFamily]) -> Result<Exit, Failure> {
    if !is_stdout {
        file.write(&exposition::text(families))?;
    }
    output::json(&serde_json::json!({ "metrics": families }))?;
    Ok(Exit::OK)
}
