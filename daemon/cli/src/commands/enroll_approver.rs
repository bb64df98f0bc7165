//! `remit enroll-approver` gives a key the right to see what waits and to decide about it, and nothing else.

use serde_json::json;

use super::enroll::{as_root, facts, group, host, key, object, print, print_notes, refusals, warn};
use crate::args::EnrollApproverArgs;
use crate::client::admin_socket;
use crate::enrollment::{self, AccountWas, Change, Enrolled, Name, Role};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;

pub fn enroll_approver(context: &Context, args: &EnrollApproverArgs) -> Result<Exit, Failure> {
    let group = group(args.group.as_ref(), Role::Approver);
    if args.print {
        let key = key(&args.keyfile)?;
        let printed = enrollment::printed(Role::Approver, &key, args.expires.as_ref());
        let notes = print_notes(args.user.as_str(), group, "admin.sock");
        return print(context, printed, &notes);
    }
    let (group, no_access) = group?;
    as_root(Role::Approver.verb())?;
    let key = key(&args.keyfile)?;
    let mut enrolled = enrollment::enroll(&enrollment::Request {
        role: Role::Approver,
        name: &args.user,
        group: &group,
        key: &key,
        expires: args.expires.as_ref(),
        state: &args.state.state,
        runtime: &context.runtime,
    })
    .map_err(|refused| Failure::Machine(refused.into()))?;
    enrolled.warnings.extend(no_access);
    let refuses = refusals(admin_socket::check_configuration());
    let line = format!("ssh -t {}@{}", args.user, host());
    match context.form {
        Form::Json => {
            let own = json!({ "line": line });
            let (user, group) = (args.user.as_str(), group.as_str());
            output::json(&object(&enrolled, user, group, &refuses, own))?;
        }
        Form::Text => output::text(&show(args, &group, &enrolled, &line))?,
    }
    warn(&enrolled, &refuses);
    Ok(Exit::OK)
}

fn show(args: &EnrollApproverArgs, group: &Name, enrolled: &Enrolled, line: &str) -> String {
    let user = &args.user;
    let mut lines = match enrolled.change {
        Change::Unchanged => {
            format!("'{user}' was already enrolled as an approver with this key\n")
        }
        Change::Added | Change::Updated => format!("'{user}' is enrolled as an approver\n"),
    };
    let account = match enrolled.account {
        AccountWas::Made => "created by remit: no password, no other privileges",
        AccountWas::There => {
            "existed before: it keeps its rights, keys and files, and its shell reads them before remit starts"
        }
    };
    lines += &facts(enrolled, account, group.as_str());
    lines += &table::fact("can", "pending, show, approve, deny; nothing else");
    lines += &table::fact("try there", line);
    lines += &table::fact(
        "approves",
        &format!("what a rule lets '{user}' approve: by = [\"{user}\"], or a group of '{user}'"),
    );
    lines
}
