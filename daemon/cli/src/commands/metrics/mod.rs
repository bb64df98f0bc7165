//! `remit metrics` writes figures of the daemon as a text file for Prometheus. Nothing listens.

mod exposition;
mod families;

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use remit_common::admin::{AdminReply, AdminRequest, Status};
use remit_wire::client::{self, ClientError};

use self::exposition::MetricFamily;
use crate::args::MetricsArgs;
use crate::error::{Exit, Failure};
use crate::own_file::OwnFile;
use crate::render::output::{self, Context, Form};

/// A daemon that does not answer for so long is not up. Its event loop waits for nothing.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let families = match ask(context)? {
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

/// Asks the daemon in time. Returns why there is no answer, or fails if the answer is a refusal.
fn ask(context: &Context) -> Result<Result<Box<Status>, String>, Failure> {
    let socket = context.runtime.admin_socket();
    let (sender, answer) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || sender.send(client::admin(&socket, AdminRequest::Status)))
        .map_err(io::Error::other)?;
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(AdminReply::Status(status))) => Ok(Ok(status)),
        Ok(Ok(_)) => Err(Failure::off_protocol()),
        Ok(Err(why @ (ClientError::NotRunning { .. } | ClientError::Broken(_)))) => {
            Ok(Err(why.to_string()))
        }
        Ok(Err(why)) => Err(why.into()),
        Err(_) => Ok(Err(format!(
            "remitd does not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}
