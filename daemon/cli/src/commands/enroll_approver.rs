//! `remit enroll-approver` gives a key the right to see what waits and to decide about it, and nothing else.

use std::fs;

use remit_clients::Destination;
use serde_json::json;

use super::enroll::{account, as_root, change, key, refusals, warn_of};
use crate::args::EnrollApproverArgs;
use crate::client::admin_socket;
use crate::enrollment::{self, AccountWas, Change, Enrolled, Role};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;

pub fn enroll_approver(context: &Context, args: &EnrollApproverArgs) -> Result<Exit, Failure> {
    if args.print {
        return print(context, args);
    }
    as_root(Role::Approver.verb())?;
    let key = key(&args.keyfile)?;
    let enrolled = enrollment::enroll(&enrollment::Request {
        role: Role::Approver,
        name: &args.user,
        group: &args.group,
        key: &key,
        expires: args.expires.as_ref(),
        state: &args.state.state,
    })
    .map_err(|refused| Failure::Machine(refused.into()))?;
    let refuses = refusals(admin_socket::check_configuration());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // It becomes part of a line that people paste.
    let host = match host.trim().parse::<Destination>() {
        Ok(_) => host.trim(),
        Err(_) => "HOST",
    };
    let line = format!("ssh -t {}@{host}", args.user);
    match context.form {
        Form::Json => output::json(&json!({
            "user": args.user.as_str(),
            "account": account(&enrolled),
            "group": args.group.as_str(),
            "other_groups": enrolled.groups,
            "file": enrolled.file.display().to_string(),
            "key": change(&enrolled),
            "expires": enrolled.expires.map(|end| end.json()),
            "line": line,
            "warnings": enrolled.warnings,
            "daemon_refuses": refuses,
        }))?,
        Form::Text => output::text(&show(args, &enrolled, &line))?,
    }
    for warning in &enrolled.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if !enrolled.warnings.is_empty() {
        output::note("for the fixes, run: remit doctor");
    }
    warn_of(&refuses);
    Ok(Exit::OK)
}

fn print(context: &Context, args: &EnrollApproverArgs) -> Result<Exit, Failure> {
    let line = enrollment::printed(Role::Approver, &key(&args.keyfile)?, args.expires.as_ref())
        .map_err(|refused| Failure::Machine(refused.into()))?;
    match context.form {
        Form::Json => output::json(&json!({ "line": line }))?,
        Form::Text => {
            output::text(&format!("{line}\n"))?;
            output::note(&format!(
                "nothing was done: put this line into the authorized_keys of '{}', and the user into group '{}'",
                args.user, args.group
            ));
        }
    }
    Ok(Exit::OK)
}

fn show(args: &EnrollApproverArgs, enrolled: &Enrolled, line: &str) -> String {
    let user = &args.user;
    let mut lines = match enrolled.change {
        Change::Unchanged => {
            format!("'{user}' was already enrolled as an approver with this key\n")
        }
        Change::Added | Change::Updated => format!("'{user}' is enrolled as an approver\n"),
    };
    lines += &table::fact(
        "account",
        match enrolled.account {
            AccountWas::Made => "created by remit: no password, no other privileges",
            AccountWas::There => {
                "existed before: it keeps its rights, keys and files, and its shell reads them before remit starts"
            }
        },
    );
    lines += &table::fact("group", args.group.as_str());
    if !enrolled.groups.is_empty() {
        lines += &table::fact("also in", &enrolled.groups.join(" "));
    }
    let file = enrolled.file.display();
    lines += &table::fact("key", &format!("{} in {file}", change(enrolled)));
    let expires = enrolled.expires;
    let expires = expires.map_or_else(|| "never".to_owned(), |end| end.to_string());
    lines += &table::fact("expires", &expires);
    lines += &table::fact("can", "pending, show, approve, deny; nothing else");
    lines += &table::fact("try there", line);
    lines += &table::fact(
        "approves",
        &format!("what a rule lets '{user}' approve: by = [\"{user}\"], or a group of '{user}'"),
    );
    lines
}
