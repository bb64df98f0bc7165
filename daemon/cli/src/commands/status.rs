//! `remit status` shows the daemon's state; `remit lock`, `unlock` and `resume` change whose requests it accepts.

use std::iter::{once, repeat};

use remit_common::admin::{AdminReply, AdminRequest, RecentRefusal, Status, UnconfirmedView};
use remit_common::text::by_reason;

use crate::args::{ConfirmArgs, LockArgs, ResumeArgs};
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::{table, units};

pub fn status(context: &Context) -> Result<Exit, Failure> {
    let status = ask(context)?;
    match context.form {
        Form::Json => output::json(&status)?,
        Form::Text => output::text(&context.width.fold(&show(&status)))?,
    }
    Ok(Exit::OK)
}

pub fn ask(context: &Context) -> Result<Box<Status>, Failure> {
    admin_socket::ask(context, AdminRequest::Status, |reply| match reply {
        AdminReply::Status(status) => Some(status),
        _ => None,
    })
}

fn show(status: &Status) -> String {
    let mut lines = format!(
        "remitd {} on Linux {}\n",
        table::cell(&status.release),
        table::cell(&status.kernel)
    );
    lines += &table::fact("health", &health(status));
    lines += &table::fact("up for", &units::duration(status.uptime_ms));
    lines += &table::fact("policy", &status.policy);
    lines += &table::fact("rules", &status.rules.to_string());
    if let Some(error) = &status.policy_error {
        // The policy compiler's message: a line of the file and a mark below it.
        lines += &table::lines("not live", error);
    }
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    for warning in &status.policy_warnings {
        fact("warning", warning);
    }
    if let Some(shadow) = &status.shadow {
        fact("shadow", shadow);
    }
    if !status.needs_restart.is_empty() {
        let keys = status.needs_restart.join(", ");
        fact("changed", &format!("{keys}: systemctl restart remitd"));
    }
    fact("locked", &locked(status));
    for line in &status.floor {
        fact("floor", line);
    }
    for line in &status.paused {
        fact("paused", line);
    }
    for UnconfirmedView { what, command, .. } in &status.unconfirmed {
        fact("confirm", &format!("{what}: {command}"));
    }
    let refused = status.refused.iter();
    let refused = refused.map(|line| line.split_once(": ").unwrap_or((line, "")));
    for refused in by_reason(refused) {
        fact("refused", &refused);
    }
    fact("jobs", &format!("{} of {}", status.jobs, status.max_jobs));
    fact("queued", &status.queued.to_string());
    fact("pending", &pending(status.pending));
    fact("grants", &grants(status.grants));
    if status.stuck > 0 {
        let stuck = "ended, but the kernel cannot end a process; each occupies a slot";
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

/// Summarizes the lines below: what keeps remit from running commands, or from working as configured.
pub fn health(status: &Status) -> String {
    let refused = match status.refused.as_slice() {
        [] => String::new(),
        [line] => {
            let profile = line.split(": ").next().unwrap_or_default();
            format!("nothing runs in profile '{profile}'")
        }
        lines => format!("nothing runs in {} profiles", lines.len()),
    };
    let problems = [
        (status.locked.is_some(), "locked, so nothing runs"),
        (
            status.audit_error.is_some(),
            "the audit log fails, so nothing runs",
        ),
        (!refused.is_empty(), refused.as_str()),
        (
            status.policy_error.is_some(),
            "the policy files have errors; the old policy is in force",
        ),
        (
            status.unconfirmed.iter().any(|one| one.has_failed),
            "a commit that nobody confirmed is not undone",
        ),
    ];
    let found: Vec<&str> = problems
        .into_iter()
        .filter_map(|(is_so, problem)| is_so.then_some(problem))
        .collect();
    match found.as_slice() {
        [] => "good".to_owned(),
        found => found.join("; "),
    }
}

fn pending(count: u32) -> String {
    match count {
        0 => "nothing waits for an approval".to_owned(),
        _ => format!("{count} waiting for approval: remit pending"),
    }
}

fn grants(count: u32) -> String {
    match count {
        0 => "none".to_owned(),
        _ => format!("{count} temporary: remit grants"),
    }
}

pub fn locked(status: &Status) -> String {
    let Some(why) = &status.locked else {
        return "no".to_owned();
    };
    match (&status.locked_by, status.locked_ms) {
        (Some(user), Some(at)) => format!("by {user} at {}: {why}", units::time(at / 1000)),
        (_, _) => why.clone(),
    }
}

fn recent(refusal: &RecentRefusal) -> String {
    format!(
        "{} {}: {} ({})",
        units::time(refusal.at_ms / 1000),
        refusal.user.as_deref().unwrap_or("somebody"),
        refusal.message,
        refusal.code.as_str()
    )
}

pub fn lock(context: &Context, args: LockArgs) -> Result<Exit, Failure> {
    let request = AdminRequest::Lock {
        why: args.message,
        kill: args.kill,
    };
    admin_socket::tell_done(context, request)?;
    Ok(Exit::OK)
}

pub fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    admin_socket::tell_done(context, AdminRequest::Resume { user: args.user })?;
    Ok(Exit::OK)
}

pub fn confirm(context: &Context, args: ConfirmArgs) -> Result<Exit, Failure> {
    let id = args.id.map(String::from);
    admin_socket::tell_done(context, AdminRequest::Confirm { id })?;
    Ok(Exit::OK)
}

pub fn unlock(context: &Context) -> Result<Exit, Failure> {
    admin_socket::tell_done(context, AdminRequest::Unlock)?;
    Ok(Exit::OK)
}
