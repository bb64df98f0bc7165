//! `remit unenroll`: revokes an agent's access, or one of its keys.

use serde_json::json;

use super::enroll::{as_root, key, refusals, warn_of};
use crate::args::UnenrollArgs;
use crate::client::configuration;
use crate::context::Context;
use crate::enrollment::{self, Undo, Undone};
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::table;

pub fn unenroll(context: &Context, args: &UnenrollArgs) -> Result<Exit, Failure> {
    as_root("unenroll")?;
    let key = args.keyfile.as_deref().map(key).transpose()?;
    let undone = enrollment::unenroll(&Undo {
        name: &args.user,
        key: key.as_ref(),
        state: &args.state.state,
        runtime: &context.runtime,
    })
    .map_err(|refused| Failure::Machine(refused.into()))?;
    let refuses = refusals(configuration::ask());
    let kept: Vec<String> = undone
        .kept
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match context.form {
        Form::Json => output::json(&json!({
            "user": args.user.as_str(),
            "keys_removed": undone.keys,
            "keys_left": undone.keys_left,
            "group_left": undone.group,
            "grants_revoked": undone.grants,
            "account_removed": undone.account,
            "processes_ended": undone.processes,
            "kept": kept,
            "notes": undone.notes,
            "problems": undone.problems,
            "daemon_refuses": refuses,
        }))?,
        Form::Text => {
            output::text(&show(args, &undone, &kept))?;
            undone.notes.iter().for_each(|note| output::note(note));
        }
    }
    warn_of(&refuses);
    if undone.problems.is_empty() {
        return Ok(Exit::OK);
    }
    undone
        .problems
        .iter()
        .for_each(|problem| output::note(problem));
    output::note(&format!(
        "not everything was undone; to do the rest, run again: remit unenroll {}",
        args.user
    ));
    Ok(Exit::REFUSED)
}

fn show(args: &UnenrollArgs, undone: &Undone, kept: &[String]) -> String {
    let user = &args.user;
    let mut lines = match (&args.keyfile, undone.problems.is_empty()) {
        (Some(_), _) => format!("'{user}' is still enrolled\n"),
        (None, true) => format!("'{user}' is no longer enrolled\n"),
        (None, false) => format!("'{user}' is still enrolled\n"),
    };
    let removed = match undone.keys_left {
        0 => format!("{} removed", undone.keys),
        left => format!("{} removed, {left} left", undone.keys),
    };
    lines += &table::fact("keys", &removed);
    if let Some(group) = &undone.group {
        lines += &table::fact("group", &format!("left {group}"));
    }
    if undone.grants > 0 {
        lines += &table::fact("grants", &format!("{} revoked", undone.grants));
    }
    if undone.account {
        lines += &table::fact("account", "removed");
    }
    if undone.processes > 0 {
        lines += &table::fact("processes", &format!("{} ended", undone.processes));
    }
    for path in kept {
        lines += &table::fact("kept", &format!("{path}: something else is in it"));
    }
    lines
}
