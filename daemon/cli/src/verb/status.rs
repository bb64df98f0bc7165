//! `remit status`: the daemon on one screen.

use std::iter::{once, repeat};

use remit_common::admin::{AdminReply, AdminRequest, RecentRefusal, Status};

use crate::admin;
use crate::app::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::output::{self, Form};
use crate::table;

/// Shows how the daemon is.
pub fn status(context: &Context) -> Result<Exit, Failure> {
    let status = admin::ask(context, AdminRequest::Status, |reply| match reply {
        AdminReply::Status(status) => Some(status),
        _ => None,
    })?;
    match context.form {
        Form::Json => output::json(&status)?,
        Form::Text => output::text(&show(&status))?,
    }
    Ok(Exit::OK)
}

fn show(status: &Status) -> String {
    let mut lines = format!(
        "remitd {} on Linux {}\n",
        table::cell(&status.release),
        table::cell(&status.kernel)
    );
    lines += &table::fact("up for", &human::duration(status.uptime_ms));
    lines += &table::fact("policy", &status.policy);
    lines += &table::fact("rules", &status.rules.to_string());
    if let Some(error) = &status.policy_error {
        // As the compiler of the policy drew it: a line of the file and a mark under it.
        lines += &table::lines("not live", error);
    }
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    for warning in &status.policy_warnings {
        fact("warning", warning);
    }
    if !status.needs_restart.is_empty() {
        let keys = status.needs_restart.join(", ");
        fact("changed", &format!("{keys}: systemctl restart remitd"));
    }
    fact("locked", &locked(status));
    for refused in &status.refused {
        fact("refused", refused);
    }
    fact("jobs", &format!("{} of {}", status.jobs, status.max_jobs));
    fact("queued", &status.queued.to_string());
    fact("pending", &pending(status.pending));
    fact("grants", &grants(status.grants));
    if status.stuck > 0 {
        let stuck = "ended, but a process is stuck in the kernel; each takes a place";
        fact("stuck", &format!("{} {stuck}", status.stuck));
    }
    fact("sessions", &status.sessions.to_string());
    for (name, limit) in once("limits").chain(repeat("")).zip(&status.limits) {
        fact(name, limit);
    }
    match &status.audit_error {
        None => fact("audit", &status.audit),
        Some(error) => fact("audit", &format!("{}: {error}", status.audit)),
    }
    match status.landlock {
        0 => fact("landlock", "none in this kernel"),
        version => fact("landlock", &format!("version {version}")),
    }
    fact("cgroup", status.cgroup.as_deref().unwrap_or("none"));
    match status.controllers.as_slice() {
        [] => fact("controllers", "none"),
        some => fact("controllers", &some.join(" ")),
    }
    fact("broker", &format!("restarts: {}", status.broker_restarts));
    for missing in &status.missing {
        fact("missing", missing);
    }
    for refusal in &status.refusals {
        fact("refusal", &recent(refusal));
    }
    lines
}

/// Changes that wait for an approval.
fn pending(count: u32) -> String {
    match count {
        0 => "nothing waits for an approval".to_owned(),
        _ => format!("{count} to be approved or denied: remit pending"),
    }
}

/// Grants for a time.
fn grants(count: u32) -> String {
    match count {
        0 => "none for a time".to_owned(),
        _ => format!("{count} for a time: remit grants"),
    }
}

/// Why, by whom and when, as far as that is known.
fn locked(status: &Status) -> String {
    let Some(why) = &status.locked else {
        return "no".to_owned();
    };
    match (&status.locked_by, status.locked_ms) {
        (Some(user), Some(at)) => format!("by {user} at {}: {why}", human::time(at / 1000)),
        (_, _) => why.clone(),
    }
}

/// When, who, why: on one line.
fn recent(refusal: &RecentRefusal) -> String {
    format!(
        "{} {}: {}: {}",
        human::time(refusal.at_ms / 1000),
        refusal.user.as_deref().unwrap_or("somebody"),
        refusal.code.as_str(),
        refusal.message
    )
}
