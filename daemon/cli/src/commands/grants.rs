//! `remit grants`: lists the temporary grants in force, oldest first.

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::table::Table;
use crate::render::width::Width;
use crate::{client::admin_socket, render::units};

pub fn grants(context: &Context) -> Result<Exit, Failure> {
    let grants = admin_socket::ask(context, AdminRequest::Grants, |reply| match reply {
        AdminReply::Grants(grants) => Some(grants),
        _ => None,
    })?;
    match context.form {
        Form::Json => {
            let grants: Vec<Value> = grants.iter().map(json).collect();
            output::json(&json!({ "grants": grants }))?;
        }
        Form::Text => output::text(&show(&grants, context.width))?,
    }
    Ok(Exit::OK)
}

fn show(grants: &[ActiveGrant], width: Width) -> String {
    if grants.is_empty() {
        return "no temporary grants\n".to_owned();
    }
    let mut table = Table::new([
        ">GRANT",
        "TO",
        ">LEFT",
        ">?RUNS LEFT",
        "?SURVIVES REBOOT",
        "?BY",
        "~WHAT",
    ]);
    for entry in grants {
        let uses = entry.uses_left.map(|uses| uses.to_string());
        let reboot = match entry.new.across_reboot {
            true => "yes",
            false => "no",
        };
        table.row([
            &entry.grant.to_string(),
            &to(&entry.new.to),
            &units::duration(entry.left_ms),
            &uses.unwrap_or_default(),
            reboot,
            &entry.by,
            &what(&entry.new),
        ]);
    }
    table.render(width)
}

pub fn to(grantee: &Grantee) -> String {
    match grantee {
        Grantee::User { name, .. } => name.clone(),
        Grantee::Group { name, .. } => format!("%{name}"),
    }
}

pub fn what(new: &NewGrant) -> String {
    let args = new
        .args
        .iter()
        .map(|(arg, value)| format!(" {arg}={value}"));
    format!("{}{}", new.what, args.collect::<String>())
}

pub fn json(entry: &ActiveGrant) -> Value {
    let ActiveGrant {
        grant,
        new,
        by,
        by_uid,
        granted_ms,
        left_ms,
        uses_left,
    } = entry;
    let (uid, gid) = match new.to {
        Grantee::User { uid, .. } => (Some(uid), None),
        Grantee::Group { gid, .. } => (None, Some(gid)),
    };
    // A list, because an argument may repeat.
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
        "given_ms": granted_ms,
    })
}
