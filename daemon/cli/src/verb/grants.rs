//! `remit grants`: the grants for a time that are in force.

use remit_common::admin::{AdminReply, AdminRequest, GivenGrant, NewGrant, Whom};
use serde_json::{Value, json};

use crate::app::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::table::Table;
use crate::{admin, human};

/// Lists them, oldest first.
pub fn grants(context: &Context) -> Result<Exit, Failure> {
    let grants = admin::ask(context, AdminRequest::Grants, |reply| match reply {
        AdminReply::Grants(grants) => Some(grants),
        _ => None,
    })?;
    match context.form {
        Form::Json => {
            let grants: Vec<Value> = grants.iter().map(json).collect();
            output::json(&json!({ "grants": grants }))?;
        }
        Form::Text => output::text(&show(&grants))?,
    }
    Ok(Exit::OK)
}

fn show(grants: &[GivenGrant]) -> String {
    if grants.is_empty() {
        return "no grants for a time\n".to_owned();
    }
    let mut table = Table::new([
        ">GRANT",
        "TO",
        ">LEFT",
        ">RUNS LEFT",
        "REBOOT",
        "BY",
        "WHAT",
    ]);
    for given in grants {
        let uses = given.uses_left.map(|uses| uses.to_string());
        let reboot = match given.new.across_reboot {
            true => "goes on",
            false => "ends it",
        };
        table.row([
            &given.grant.to_string(),
            &to(&given.new.to),
            &human::duration(given.left_ms),
            &uses.unwrap_or_default(),
            reboot,
            &given.by,
            &what(&given.new),
        ]);
    }
    table.render()
}

/// To whom, as it is typed.
pub fn to(whom: &Whom) -> String {
    match whom {
        Whom::User { name, .. } => name.clone(),
        Whom::Group { name, .. } => format!("%{name}"),
    }
}

/// The command and the arguments that a run must have.
pub fn what(new: &NewGrant) -> String {
    let args = new
        .args
        .iter()
        .map(|(arg, value)| format!(" {arg}={value}"));
    format!("{}{}", new.what, args.collect::<String>())
}

/// One as JSON.
pub fn json(given: &GivenGrant) -> Value {
    let GivenGrant {
        grant,
        new,
        by,
        by_uid,
        given_ms,
        left_ms,
        uses_left,
    } = given;
    let (uid, gid) = match new.to {
        Whom::User { uid, .. } => (Some(uid), None),
        Whom::Group { gid, .. } => (None, Some(gid)),
    };
    // A list: an argument may be given more than once.
    let args: Vec<Value> = new
        .args
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    json!({
        "grant": grant,
        "to": to(&new.to),
        "uid": uid,
        "gid": gid,
        "what": new.what,
        "args": args,
        "for_s": new.for_s,
        "left_ms": left_ms,
        "uses": new.uses,
        "uses_left": uses_left,
        "across_reboot": new.across_reboot,
        "by": by,
        "by_uid": by_uid,
        "given_ms": given_ms,
    })
}
