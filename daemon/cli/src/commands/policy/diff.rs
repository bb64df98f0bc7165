//! `remit policy diff` compares the meaning of two states of policy files; `remit policy reload` makes the daemon reload
//! the policy, and shows the changes.

use remit_common::admin::{AdminReply, AdminRequest, Reloaded};
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Diagnostic, Severity};
use serde_json::json;

use super::files::{self, count};
use crate::args::{DiffArgs, ReloadArgs};
use crate::client::admin_socket;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::table;

/// Shows who gains and loses what. The exit status is that of diff(1), with 2 if one does not load.
pub fn diff(context: &Context, args: &DiffArgs) -> Result<Exit, Failure> {
    let names = files::names(&[&args.old, &args.new], &args.machine);
    let both = [&args.old, &args.new];
    let made = both.map(|path| files::of_either(path, &args.machine, &names));
    let changes = match &made {
        [Ok(old), Ok(new)] => remit_policy_compile::diff(&old.policy, &new.policy),
        [old, new] => {
            let findings = [old, new].map(|made| made.as_ref().err().cloned().unwrap_or_default());
            return unloaded(context, findings.concat());
        }
    };
    match context.form {
        Form::Json => output::json(&json!({ "changes": changes }))?,
        Form::Text => output::text(
            &changes
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )?,
    }
    Ok(match changes.is_empty() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

/// Reports files that do not load. Only errors matter then.
pub fn unloaded(context: &Context, mut found: Vec<Diagnostic>) -> Result<Exit, Failure> {
    found.retain(|one| one.severity() == Severity::Error);
    let why = format!("the policy does not load: {}", count(found.len(), "error"));
    trouble(context, &found, &why)
}

pub fn trouble(context: &Context, found: &[Diagnostic], why: &str) -> Result<Exit, Failure> {
    output::complain(&files::lines(found));
    output::note(why);
    if context.form == Form::Json {
        let refusal = Refusal::new(Code::InvalidArgs, why);
        output::json(&json!({ "error": refusal, "findings": files::objects(found) }))?;
    }
    Ok(Exit::TROUBLE)
}

pub fn reload(context: &Context, args: &ReloadArgs) -> Result<Exit, Failure> {
    let reloaded = admin_socket::ask(context, AdminRequest::Reload, |reply| match reply {
        AdminReply::Reloaded(reloaded) => Some(reloaded),
        _ => None,
    })?;
    match context.form {
        Form::Text if args.quiet => {}
        Form::Json => output::json(&reloaded)?,
        Form::Text => output::text(&show(&reloaded))?,
    }
    Ok(Exit::OK)
}

fn show(reloaded: &Reloaded) -> String {
    let Reloaded {
        policy,
        rules,
        commands,
        changes,
        more_changes,
        warnings,
        notes,
    } = reloaded;
    let mut lines = format!("policy {policy} is in force\n");
    lines += &table::fact("rules", &rules.to_string());
    lines += &table::fact("commands", &commands.to_string());
    lines += match changes.is_empty() {
        true => "nothing that it means has changed\n",
        false => "what it means now and did not before:\n",
    };
    for change in changes {
        lines += &format!("  {change}\n");
    }
    lines += &table::more((*more_changes).into());
    for warning in warnings {
        lines += &format!("{warning}\n");
    }
    for note in notes {
        lines += &format!("note: {note}\n");
    }
    lines
}
