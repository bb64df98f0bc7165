//! Reports the state of the daemon to administrators.

use remit_common::admin::{AdminReply, Reloaded, Status, Totals};
use remit_common::refusal::{Code, Refusal};
use remit_common::text::by_reason;
use remit_common::wire::Effect;

use crate::approval::Request;
use crate::config::policy_reload::{Live, Policies, findings, in_short, short};
use crate::config::shadow::Shadow;
use crate::event_loop::timers;
use crate::job::breaker::{Breakers, Pause};
use crate::job::state::Stuck;
use crate::state::Warden;

/// Policy files, and warnings about them, in an answer.
const LISTED: usize = 8;
/// Bytes of warnings and of notes in the answer to a reload. A frame has 64 KiB, and changes take 40 KiB.
const WARNINGS: usize = 12 << 10;
const NOTES: usize = 6 << 10;
const FINDING: usize = 4096;

pub fn status(warden: &Warden) -> Status {
    let (landlock, _) = warden.sandbox.manager.landlock();
    let (controllers, _) = warden.sandbox.manager.controllers();
    let limits = &warden.settings.limits;
    let runtime = format!(
        "runtime {} s, {} s at most",
        limits.job.runtime_s, limits.job.max_runtime_s
    );
    let locked = warden.life.locked.as_ref();
    Status {
        release: remit_common::RELEASE.to_owned(),
        kernel: warden.sandbox.manager.release().to_owned(),
        uptime_ms: timers::millis(warden.life.since.elapsed()),
        policy: warden.policies.live.digest.clone(),
        policy_texts: warden.policies.live.policy.texts().to_owned(),
        rules: count(warden.policies.live.policy.rules()),
        policy_error: warden.policies.error.as_ref().map(|text| first_lines(text)),
        policy_warnings: warnings(&warden.policies.live.warnings),
        shadow: warden.policies.live.shadow.as_ref().map(shadow),
        needs_restart: warden
            .policies
            .needs_restart
            .iter()
            .map(ToString::to_string)
            .collect(),
        locked: locked.map(|locked| locked.why.clone()),
        locked_by: locked.and_then(|locked| locked.by.as_ref().map(|(user, _)| user.clone())),
        locked_ms: locked.and_then(|locked| locked.by.as_ref().map(|(_, at)| *at)),
        floor: floor(warden),
        paused: paused(&warden.reports.breakers),
        unconfirmed: warden.confirmations.views(),
        jobs: count(warden.jobs.count_live()),
        max_jobs: count(warden.settings.config.jobs.max),
        queued: count(warden.jobs.turns().len()),
        pending: count(warden.jobs.all::<Request>().count()),
        grants: count(warden.approvals.grants.count()),
        stuck: count(warden.jobs.all::<Stuck>().count()),
        sessions: count(warden.callers.sessions.len()),
        limits: [
            vec![runtime],
            warden.sandbox.manager.limits(&limits.limits()),
        ]
        .concat(),
        audit: warden.reports.audit.sink().to_owned(),
        audit_error: warden.reports.audit.error().map(str::to_owned),
        landlock,
        cgroup: warden.sandbox.manager.cgroup(),
        controllers,
        broker_restarts: warden.reports.broker.restarts(),
        refused: warden
            .sandbox
            .manager
            .refused_profiles(&warden.policies.sandboxes),
        missing: warden.sandbox.manager.absent(),
        refusals: warden.reports.recent.list(),
        totals: Totals {
            refused: warden.reports.recent.totals(),
            ..warden.reports.audit.totals().clone()
        },
    }
}

fn shadow(shadow: &Shadow) -> String {
    let (digest, (differ, all)) = (short(shadow.digest()), shadow.counts());
    format!("{digest}: other verdicts on {differ} of {all} requests since it was loaded")
}

fn floor(warden: &Warden) -> Vec<String> {
    let asks = warden.policies.live.floor.asks(Effect::Change);
    let asks = asks.map(|asks| format!("every change {asks}"));
    let required = warden.jobs.required.lines(timers::since_boot());
    asks.into_iter().chain(required).collect()
}

fn paused(breakers: &Breakers) -> Vec<String> {
    let mut lines: Vec<String> = breakers.paused().take(LISTED).map(Pause::line).collect();
    if let Some(more @ 1..) = breakers.paused().count().checked_sub(LISTED) {
        lines.push(format!("{more} more"));
    }
    lines
}

pub fn reload_reply(policies: &Policies) -> AdminReply {
    let Some(why) = &policies.error else {
        return AdminReply::Reloaded(reloaded(policies));
    };
    // Bounded, because it may quote a file: an answer longer than a frame would be lost.
    let first = remit_common::text::line(in_short(why).as_bytes(), FINDING);
    let text = format!("the new policy is refused, the old policy stays in force: {first}");
    let refusal = Refusal::new(Code::InvalidArgs, text);
    AdminReply::Refused(refusal.lift(
        "remit policy check shows each line (remitd --check also judges remit.toml); \
         then reload again",
    ))
}

fn reloaded(policies: &Policies) -> Reloaded {
    let Live {
        policy,
        digest,
        files,
        warnings,
        changes,
        ..
    } = &policies.live;
    let mut notes = vec![format!("from {}", listed(files))];
    if !policies.needs_restart.is_empty() {
        notes.push(format!(
            "changed in remit.toml, in force only after 'systemctl restart remitd': {}",
            policies.needs_restart.join(", ")
        ));
    }
    if policies.voided > 0 {
        notes.push(format!(
            "requests that this load made void: {}",
            policies.voided
        ));
    }
    let refused = by_reason(policies.sandboxes.refused());
    let refused = refused.into_iter();
    notes.extend(refused.map(|line| format!("nothing runs on this machine in {line}")));
    Reloaded {
        policy: digest.clone(),
        rules: count(policy.rules()),
        commands: count(policy.commands().count()),
        changes: changes.lines.clone(),
        more_changes: changes.more,
        warnings: within(warnings, WARNINGS),
        notes: within(&notes, NOTES),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn within(texts: &[String], mut free_bytes: usize) -> Vec<String> {
    let fits = |text: &&String| {
        let fits = text.len() <= free_bytes;
        free_bytes = free_bytes.saturating_sub(text.len());
        fits
    };
    let mut shown: Vec<String> = texts.iter().take_while(fits).cloned().collect();
    if shown.len() < texts.len() {
        let more = texts.len() - shown.len();
        shown.push(format!("{more} more, see the log of remitd"));
    }
    shown
}

fn warnings(all: &[String]) -> Vec<String> {
    let text = all.join("\n");
    let all = findings(&text);
    let mut some: Vec<_> = all
        .iter()
        .take(LISTED)
        .map(|line| (*line).to_owned())
        .collect();
    if all.len() > LISTED {
        some.push(format!(
            "{} more: remit policy reload shows them",
            all.len() - LISTED
        ));
    }
    some
}

fn listed(files: &[String]) -> String {
    match files {
        [] => "no file".to_owned(),
        _ if files.len() <= LISTED => files.join(", "),
        _ => {
            let first: Vec<_> = files.iter().take(LISTED).map(String::as_str).collect();
            format!("{} and {} more", first.join(", "), files.len() - LISTED)
        }
    }
}

/// Truncates a long text to fit into a frame of 64 KiB.
fn first_lines(text: &str) -> String {
    let cut = text.floor_char_boundary(16 << 10);
    text.get(..cut).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let texts: Vec<String> = ["aa", "bbb", "c"].map(str::to_owned).into();
        assert_eq!(within(&texts, 6), texts);
        let two = ["aa", "bbb", "1 more, see the log of remitd"];
        assert_eq!(within(&texts, 5), two);
        assert_eq!(within(&texts, 4), ["aa", "2 more, see the log of remitd"]);
        assert!(within(&[], 0).is_empty());
    }
}
