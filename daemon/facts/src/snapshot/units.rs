//! Units of the service manager: which are enabled, and which run. Units that start and end by themselves are left out.

use std::time::Duration;

use tokio::time::Instant;

use super::lines::SnapshotSection;
use crate::bus::{ListedUnit, ListedUnitFile, is_restarting, unit_files, unit_states};
use crate::read::{Sources, Why};

/// Nobody waits for a whole snapshot: a busy service manager may take its time, as without an answer all units are unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// States of unit files that a generator or a running program made.
const MADE: [&str; 3] = ["generated", "transient", "alias"];

/// Services that the bus starts for a question, and that end when nobody asks.
const ON_DEMAND: [&str; 12] = [
    "systemd-hostnamed",
    "systemd-localed",
    "systemd-timedated",
    "systemd-importd",
    "systemd-machined",
    "systemd-portabled",
    "packagekit",
    "fwupd",
    "geoclue",
    "colord",
    "realmd",
    "fprintd",
];

/// Answers of the service manager, for a snapshot.
pub struct UnitAnswers {
    pub(super) files: Result<Vec<ListedUnitFile>, Why>,
    pub(super) states: Result<Vec<ListedUnit>, Why>,
}

/// Asks the service manager. Must run on a tokio runtime with time enabled.
pub async fn ask(at: &Sources) -> UnitAnswers {
    let end = Instant::now() + PATIENCE;
    let (files, states) = tokio::join!(unit_files(at, end), unit_states(at, end));
    UnitAnswers { files, states }
}

pub(super) fn files(
    files: Result<Vec<ListedUnitFile>, Why>,
    section: &mut SnapshotSection<'_>,
) -> Result<(), Why> {
    for ListedUnitFile { name, state } in files? {
        if !MADE.contains(&state.as_str()) {
            section.add(name.as_bytes(), &state);
        }
    }
    Ok(())
}

pub(super) fn states(
    states: Result<Vec<ListedUnit>, Why>,
    section: &mut SnapshotSection<'_>,
) -> Result<(), Why> {
    for ListedUnit { name, active, sub } in states? {
        if let Some(state) = lasting(&name, &active, &sub) {
            section.add(name.as_bytes(), state);
        }
    }
    Ok(())
}

/// Returns the state of a unit that lasts. A service that runs once and ends is reported only where it failed.
fn lasting<'a>(name: &str, active: &'a str, sub: &'a str) -> Option<&'a str> {
    let (stem, kind) = name.rsplit_once('.')?;
    // Mounts have a section of their own.
    // The daemon that takes the snapshot runs, also where the service manager still waits for its first word.
    if name == "remitd.service" && active == "activating" {
        return Some("running");
    }
    let is_reported = matches!(kind, "service" | "socket" | "timer" | "path" | "target");
    if !is_reported || is_of_session(stem) || ON_DEMAND.contains(&stem) {
        return None;
    }
    match (kind, active, sub) {
        (_, "failed", _) => Some("failed"),
        ("service", "active" | "reloading", "running" | "reload" | "reload-notify") => {
            Some("running")
        }
        ("service", "active", "exited") => Some("done"),
        ("service", "activating", sub) if is_restarting(sub) => Some("restarting again and again"),
        ("service", ..) => None,
        (_, "active", _) => Some("active"),
        _ => None,
    }
}

/// Returns true for units of sessions, connections, crashes and systemd-run(1). Only names that systemd makes: a name of
/// somebody's choice is reported.
fn is_of_session(stem: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_pair = |text: &str, between: &str| {
        let pair = text.split_once(between);
        pair.is_some_and(|(first, second)| is_number(first) && is_number(second))
    };
    match stem.split_once('@') {
        Some(("user" | "user-runtime-dir", uid)) => is_number(uid),
        // The instance is a count, then what differs by the kind of connection (systemd.socket(5), Accept=).
        Some(("ssh" | "sshd" | "systemd-coredump", instance)) => instance
            .split_once('-')
            .is_some_and(|(count, _)| is_number(count)),
        Some(_) => false,
        None => stem.strip_prefix("run-").is_some_and(|run| {
            let is_random =
                |run: &str| run.len() == 32 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_number(run.strip_prefix('u').unwrap_or(run))
                || run.strip_prefix('r').is_some_and(is_random)
                || run.strip_prefix('p').is_some_and(|run| is_pair(run, "-i"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_states_are_listed() {
        for (name, active, sub, expect) in [
            ("nginx.service", "active", "running", Some("running")),
            ("nginx.service", "failed", "failed", Some("failed")),
            ("nginx.service", "inactive", "dead", None),
            (
                "nginx.service",
                "activating",
                "auto-restart",
                Some("restarting again and again"),
            ),
            (
                "nginx.service",
                "activating",
                "auto-restart-queued",
                Some("restarting again and again"),
            ),
            ("networking.service", "active", "exited", Some("done")),
            ("apt-daily.service", "activating", "start", None),
            ("remitd.service", "activating", "start", Some("running")),
            ("remitd.service", "inactive", "dead", None),
            ("apt-daily.timer", "active", "waiting", Some("active")),
            ("apt-daily.timer", "active", "running", Some("active")),
            ("ssh.socket", "active", "listening", Some("active")),
            ("ssh.socket", "active", "running", Some("active")),
            (
                "ssh@3-10.0.0.1:22-10.0.0.2:999.service",
                "active",
                "running",
                None,
            ),
            ("session-3.scope", "active", "running", None),
            ("user@1000.service", "active", "running", None),
            ("user@ann.service", "active", "running", Some("running")),
            ("user-sync.service", "active", "running", Some("running")),
            (
                "session-agent.service",
                "active",
                "running",
                Some("running"),
            ),
            ("ssh@backup.service", "active", "running", Some("running")),
            ("run-agent.service", "active", "running", Some("running")),
            ("run-u12x.service", "active", "running", Some("running")),
            ("run-u12.service", "active", "running", None),
            ("run-712.timer", "active", "waiting", None),
            ("run-p712-i9041.service", "active", "running", None),
            (
                "run-r0123456789abcdef0123456789abcdef.timer",
                "active",
                "waiting",
                None,
            ),
            (
                "systemd-coredump@1-712-0.service",
                "active",
                "running",
                None,
            ),
            ("systemd-hostnamed.service", "active", "running", None),
            ("home.mount", "active", "mounted", None),
        ] {
            assert_eq!(lasting(name, active, sub), expect, "{name} {active} {sub}");
        }
    }
}
