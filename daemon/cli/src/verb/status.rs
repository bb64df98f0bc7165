//! `remit status`: the daemon on one screen.

use remit_common::admin::{AdminReply, AdminRequest, Status};
use remit_common::client;

use crate::app::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::output::{self, Form};
use crate::table;

/// Shows how the daemon is.
pub fn status(context: &Context) -> Result<Exit, Failure> {
    match client::admin(&context.runtime.admin_socket(), AdminRequest::Status)? {
        AdminReply::Status(status) => match context.form {
            Form::Json => output::json(&status)?,
            Form::Text => output::text(&show(&status))?,
        },
        AdminReply::Done(_) | AdminReply::Refused(_) => return Err(Failure::off_protocol()),
    }
    Ok(Exit::OK)
}

fn show(status: &Status) -> String {
    let mut lines = format!("remitd {}\n", table::cell(&status.release));
    lines += &table::fact("up for", &human::duration(status.uptime_ms));
    lines += &table::fact("policy", &status.policy);
    if let Some(error) = &status.policy_error {
        // As the compiler of the policy drew it: a line of the file and a mark under it.
        lines += &table::lines("not live", error);
    }
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    fact("locked", status.locked.as_deref().unwrap_or("no"));
    fact("jobs", &status.jobs.to_string());
    fact("sessions", &status.sessions.to_string());
    fact("audit", &status.audit);
    match status.landlock {
        0 => fact("landlock", "none in this kernel"),
        version => fact("landlock", &format!("version {version}")),
    }
    match status.controllers.as_slice() {
        [] => fact("cgroup", "no controllers"),
        some => fact("cgroup", &some.join(" ")),
    }
    fact("broker", &format!("restarts: {}", status.broker_restarts));
    for missing in &status.missing {
        fact("missing", missing);
    }
    lines
}
