//! Units of the service manager: which are enabled, and which run. Units that start and end by themselves are left out.

use std::time::Duration;

use tokio::time::Instant;

use super::lines::SnapshotSection;
use crate::bus::{ListedUnit, ListedUnitFile, unit_files, unit_states};
use crate::read::{Sources, Why};

/// Nobody waits for a whole snapshot: a busy service manager may take its time, as without an answer all units are unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// States of unit files that a generator or a running program made.
const MADE: [&str; 3] = ["generated", "transient", "alias"];

/// Units of sessions, of connections and of the manager's own runs.
const OF_SESSIONS: [&str; 8] = [
    "session-",
    "user@",
    "user-",
    "user-runtime-dir@",
    "ssh@",
    "sshd@",
    "run-",
    "systemd-coredump@",
];
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
        if !MADE.contains(&state.as_str()) && !is_of_session(&name) {
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
    if !is_reported || is_of_session(name) || ON_DEMAND.contains(&stem) {
        return None;
    }
    match (kind, active, sub) {
        (_, "failed", _) => Some("failed"),
        ("service", "active" | "reloading", "running" | "reload" | "reload-notify") => {
            Some("running")
        }
        ("service", "active", "exited") => Some("done"),
        ("service", "activating", "auto-restart") => Some("restarting again and again"),
        ("service", ..) => None,
        (_, "active", _) => Some("active"),
        _ => None,
    }
}

fn is_of_session(name: &str) -> bool {
    OF_SESSIONS.iter().any(|start| name.starts_with(start))
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
            ("systemd-hostnamed.service", "active", "running", None),
            ("home.mount", "active", "mounted", None),
        ] {
            assert_eq!(lasting(name, active, sub), expect, "{name} {active} {sub}");
        }
    }
}
