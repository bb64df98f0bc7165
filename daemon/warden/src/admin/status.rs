//! Reports the state of the daemon to administrators.

use remit_common::admin::{Reloaded, Status};

use crate::approval::Request;
use crate::config::policy_reload::{Live, findings};
use crate::job::unkillable::Stuck;
use crate::state::{AdmissionState, Warden};

/// Policy files, and warnings about them, in an answer.
const LISTED: usize = 8;
/// Bytes of warnings and of notes in the answer to a reload. A frame has 64 KiB, and changes take 40 KiB.
const WARNINGS: usize = 12 << 10;
const NOTES: usize = 6 << 10;

impl Warden {
    pub fn status(&self) -> Status {
        let (landlock, _) = self.sandbox.landlock();
        let (controllers, _) = self.sandbox.controllers();
        let limits = &self.limits;
        let runtime = format!(
            "runtime {} s, {} s at most",
            limits.job.runtime_s, limits.job.max_runtime_s
        );
        let locked = match &self.gate {
            AdmissionState::Locked(locked) => Some(locked),
            AdmissionState::Open | AdmissionState::Stopping => None,
        };
        Status {
            release: remit_common::RELEASE.to_owned(),
            kernel: self.sandbox.release().to_owned(),
            uptime_ms: crate::event_loop::timers::millis(self.since.elapsed()),
            policy: self.policy.digest.clone(),
            rules: count(self.policy.policy.rules()),
            policy_error: self.policy_error.as_ref().map(|text| first_lines(text)),
            policy_warnings: warnings(&self.policy.warnings),
            needs_restart: self.needs_restart.iter().map(ToString::to_string).collect(),
            locked: locked.map(|locked| locked.why.clone()),
            locked_by: locked.and_then(|locked| locked.by.as_ref().map(|(user, _)| user.clone())),
            locked_ms: locked.and_then(|locked| locked.by.as_ref().map(|(_, at)| *at)),
            jobs: count(self.jobs.count_live()),
            max_jobs: count(self.config.jobs.max),
            queued: count(self.jobs.turns().len()),
            pending: count(self.jobs.all::<Request>().count()),
            grants: count(self.grants.count()),
            stuck: count(self.jobs.all::<Stuck>().count()),
            sessions: count(self.sessions.len()),
            limits: [vec![runtime], self.sandbox.limits(&limits.limits())].concat(),
            audit: self.audit.sink().to_owned(),
            audit_error: self.audit.error().map(str::to_owned),
            landlock,
            cgroup: self.sandbox.cgroup(),
            controllers,
            broker_restarts: self.broker.restarts(),
            refused: self.sandbox.refused_profiles(&self.sandboxes),
            missing: self.sandbox.absent(),
            refusals: self.recent.list(),
        }
    }

    /// Describes the policy that came into force, for the requester. Fits into a frame.
    pub fn reloaded(&self) -> Reloaded {
        let Live {
            policy,
            digest,
            files,
            warnings,
            changes,
            ..
        } = &self.policy;
        let mut notes = vec![format!("from {}", listed(files))];
        if !self.needs_restart.is_empty() {
            notes.push(format!(
                "changed in remit.toml, in force only after 'systemctl restart remitd': {}",
                self.needs_restart.join(", ")
            ));
        }
        let refused = self.sandboxes.refused();
        notes.extend(
            refused.map(|(name, why)| format!("nothing runs in '{name}' on this machine: {why}")),
        );
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
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns the texts that fit into the byte limit, and how many did not.
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
