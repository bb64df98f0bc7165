//! `remit policy replay`: decides the requests of the audit log again under another policy, or prints candidates of rules
//! for requests that were refused or approved again and again. Needs no daemon, and changes nothing.

mod audit_log;
mod candidate;
mod changes;
mod denials;
mod from_denials;
mod judge;
mod past;

use remit_policy::{Machine, Policy, Subject};
use remit_policy_files::Names;
use serde_json::json;

use super::files;
use super::groups::floor;
use crate::args::{FilesArgs, MachineArgs, RecordSourceArgs, ReplayArgs};
use crate::commands::audit::{RecordSource, Span};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;
use audit_log::AuditedDecision;
use changes::VerdictChanges;
use denials::RepeatedDenials;
use judge::judge;
use past::{PastRequest, RecordedValue};

/// Digits of a digest that name a policy in messages.
const DIGEST: usize = 12;

/// Shows the verdicts that change. Exit status: 0 if none does, 1 if one does, 2 if the policy fails.
pub fn replay(context: &Context, args: &ReplayArgs) -> Result<Exit, Failure> {
    let (made, names) = files::of_args(&files_args(args));
    let loaded = match made {
        Ok(loaded) => loaded,
        Err(found) => return files::unloaded(context, found),
    };
    let policy = &loaded.policy;
    let remit_toml = files::settings_directory(&args.config).join("remit.toml");
    let floor = match floor(&remit_toml) {
        Ok(floor) => floor,
        Err(why) => return files::trouble(context, &[], &why),
    };
    let source_args = RecordSourceArgs {
        files: args.files.clone(),
        // The candidate's remit.toml does not say where the daemon has written until now.
        config: None,
        state: args.state.clone(),
    };
    let source = RecordSource::of(context, &source_args)?;
    let span = Span::of(&args.span);
    if args.from_denials {
        let mut denials = RepeatedDenials::default();
        let now = |request: &PastRequest| {
            let (gids, _) = gids(request, &names);
            judge(policy, &floor, request, gids.as_deref())
        };
        let log = audit_log::read(&source, span, &mut |decision| match decision {
            AuditedDecision::Made(request) => denials.add(*request, now),
            AuditedDecision::Approved(job) => denials.approved(&job, now),
            AuditedDecision::Lapsed(job) => denials.lapsed(&job),
        })?;
        return from_denials::print(context, &denials, &log, &loaded, &names);
    }
    let mut changes = VerdictChanges::default();
    let log = audit_log::read(&source, span, &mut |decision| {
        let AuditedDecision::Made(request) = decision else {
            return;
        };
        let (gids, is_of_now) = gids(&request, &names);
        changes.with_groups_of_now += u64::from(is_of_now);
        let now = judge(policy, &floor, &request, gids.as_deref());
        changes.add(&request, now);
    })?;
    let (changed, untold) = (changes.changed(), changes.untold());
    match context.form {
        Form::Json => {
            let (changes_json, cannot_tell) = changes.json();
            output::json(&json!({
                "policy": policy.digest(),
                "audit": log.json(),
                "decisions": changes.decisions,
                "changed": changed,
                "same": changes.decisions - changed - untold,
                "untold": untold,
                "with_groups_of_now": changes.with_groups_of_now,
                "changes": changes_json,
                "cannot_tell": cannot_tell,
            }))?;
        }
        Form::Text => {
            let mut lines = summary(policy, &changes);
            lines += &log.facts();
            if changes.with_groups_of_now > 0 {
                let now = changes.with_groups_of_now;
                let of_now = format!(
                    "of now for {now} decisions whose records have none; otherwise of then"
                );
                lines += &table::fact("groups", &of_now);
            }
            lines += &changes.lines();
            lines += &log.left_out();
            output::text(&lines)?;
        }
    }
    Ok(match changed {
        0 => Exit::OK,
        _ => Exit::FOUND,
    })
}

fn summary(policy: &Policy, changes: &VerdictChanges) -> String {
    let digest = policy.digest();
    let digest = digest.get(..DIGEST).unwrap_or(digest);
    let decisions = changes.decisions;
    let of = match decisions {
        1 => "of 1 decision".to_owned(),
        _ => format!("of {decisions} decisions"),
    };
    let untold = match changes.untold() {
        0 => String::new(),
        untold => format!(", {untold} are unknown"),
    };
    let change = match changes.changed() {
        1 => "1 verdict changes",
        0 => "no verdict changes",
        many => &format!("{many} verdicts change"),
    };
    match decisions {
        0 => format!("there are no decisions to replay under policy {digest}\n"),
        _ => format!("{change} {of} under policy {digest}{untold}\n"),
    }
}

fn files_args(args: &ReplayArgs) -> FilesArgs {
    FilesArgs {
        config: args.config.clone(),
        any_owner: args.any_owner,
        machine: MachineArgs {
            vendor: args.vendor.clone(),
            // Invented ids would be compared with those of the records.
            other_machine: false,
        },
    }
}

/// Returns the groups of then, if they were recorded; otherwise, and true, those that the account has now.
fn gids(request: &PastRequest, names: &Names) -> (Option<Vec<u32>>, bool) {
    match &request.gids {
        Some(RecordedValue::Known(gids)) => (Some(gids.clone()), false),
        Some(RecordedValue::Unknown) => (None, false),
        None => {
            let is_same = names.user(&request.user).map(|ids| ids.uid) == request.uid;
            let subject = is_same.then(|| Subject::named(&request.user, names).ok());
            let gids = subject
                .flatten()
                .map(|subject| subject.caller().gids.to_vec());
            let is_known = gids.is_some();
            (gids, is_known)
        }
    }
}
