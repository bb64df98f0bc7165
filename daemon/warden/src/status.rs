//! How the daemon is, for those who administer it.

use remit_common::admin::{Reloaded, Status};

use crate::policy_load::{Live, findings};
use crate::warden::{Gate, Warden};

/// Policy files, and warnings about them, that an answer names.
const LISTED: usize = 8;
/// Bytes of warnings and of notes in the answer to a reload. A frame has 64 KiB, and changes take 40.
const WARNINGS: usize = 12 << 10;
const NOTES: usize = 6 << 10;

impl Warden {
    /// On one screen.
    pub fn status(&self) -> Status {
        let (landlock, _) = self.walls.landlock();
        let (controllers, _) = self.walls.controllers();
        let limits = &self.config.limits;
        let runtime = format!(
            "runtime {} s, {} s at most",
            limits.runtime_s, limits.max_runtime_s
        );
        let locked = match &self.gate {
            Gate::Locked(locked) => Some(locked),
            Gate::Open | Gate::Stopping => None,
        };
        Status {
            release: remit_common::RELEASE.to_owned(),
            kernel: self.walls.release().to_owned(),
            uptime_ms: crate::clock::millis(self.since.elapsed()),
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
            queued: count(self.queue.len()),
            pending: count(self.approvals.len()),
            grants: count(self.grants.count()),
            stuck: count(self.jobs.stuck.len()),
            sessions: count(self.sessions.len()),
            limits: [vec![runtime], self.walls.limits(&limits.limits())].concat(),
            audit: self.audit.sink().to_owned(),
            audit_error: self.audit.error().map(str::to_owned),
            landlock,
            cgroup: self.walls.cgroup(),
            controllers,
            broker_restarts: self.broker.restarts(),
            refused: self.walls.refused_profiles(&self.sandboxes),
            missing: self.walls.absent(),
            refusals: self.recent.list(),
        }
    }

    /// The policy that came into force, for who asked for it. Within a frame.
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
                "changed in remit.toml, and in force after 'systemctl restart remitd': {}",
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

/// As many as fit into so many bytes, and how many did not.
fn within(texts: &[String], mut room: usize) -> Vec<String> {
    let fits = |text: &&String| {
        let fits = text.len() <= room;
        room = room.saturating_sub(text.len());
        fits
    };
    let mut shown: Vec<String> = texts.iter().take_while(fits).cloned().collect();
    if shown.len() < texts.len() {
        let more = texts.len() - shown.len();
        shown.push(format!("{more} more, which the log of remitd has"));
    }
    shown
}

/// Each by its sentence; of many the first ones and a count.
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

/// Paths on one line; of many the first ones and a count.
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

/// Enough of a long text for a frame of 64 KiB.
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
        let two = ["aa", "bbb", "1 more, which the log of remitd has"];
        assert_eq!(within(&texts, 5), two);
        assert_eq!(
            within(&texts, 4),
            ["aa", "2 more, which the log of remitd has"]
        );
        assert!(within(&[], 0).is_empty());
    }
}
