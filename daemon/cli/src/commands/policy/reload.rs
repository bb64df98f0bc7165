//! `remit policy reload`: makes the daemon reload the policy, and shows the changes.

use remit_common::admin::{AdminReply, AdminRequest, Reloaded};

use crate::args::ReloadArgs;
use crate::client::admin_socket;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::table;

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
