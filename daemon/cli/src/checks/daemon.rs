//! Asks the daemon for the results of its self-test and for its status, and turns the answers into checks.

use std::iter::once;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use remit_common::admin::{
    AdminReply, AdminRequest, Checkup, LayerCheck, LayerState, ProfileCheck, Status,
};
use remit_common::names::Runtime;
use remit_wire::client::{self, ClientError};

use super::kernel::{self, Machine};
use super::report::{Check, Part};
use crate::client::activation;

/// Longest wait for the daemon's self-test. That of copies has a minute.
const DEADLINE: Duration = Duration::from_secs(90);
const DAEMON: &str = "daemon";
const RESTART: &str = "systemctl restart remitd; if it fails: journalctl -u remitd -n 20";
const NO_ANSWER: &str = "the daemon did not answer";
const OTHER_ANSWER: &str = "the daemon answered another question";

pub struct DaemonAnswer {
    pub checkup: Option<Checkup>,
    pub parts: [Part; 2],
    /// Why it is not known otherwise.
    pub status: Result<Box<Status>, String>,
}

/// Does not start a stopped daemon.
pub fn ask(runtime: &Runtime) -> DaemonAnswer {
    if activation::would_start(runtime) {
        let why = "remitd is stopped, so no sandbox layer was tested";
        return unanswered(Check::failure(DAEMON, why, "systemctl start remitd"));
    }
    let socket = runtime.admin_socket();
    let (tell, answered) = mpsc::channel();
    // A daemon that hangs must not block the other checks. The thread ends with the process.
    thread::spawn(move || {
        let doctor = client::admin(&socket, AdminRequest::Doctor);
        let status = match &doctor {
            Ok(_) => status(client::admin(&socket, AdminRequest::Status)),
            Err(_) => Err(NO_ANSWER.to_owned()),
        };
        tell.send((doctor, status))
    });
    let failure = |why: String| unanswered(Check::failure(DAEMON, why, RESTART));
    match answered.recv_timeout(DEADLINE) {
        Ok((Ok(AdminReply::Doctor(checkup)), status)) => {
            let parts = [part(&checkup), kernel::part(&checkup, &Machine::read())];
            DaemonAnswer {
                checkup: Some(*checkup),
                parts,
                status,
            }
        }
        Ok((Ok(_), _)) => failure(OTHER_ANSWER.into()),
        Ok((Err(error), _)) => unanswered(error_check(&error)),
        Err(_) => failure(format!(
            "the daemon did not answer within {} s",
            DEADLINE.as_secs()
        )),
    }
}

/// A user that may not ask is no fault of the machine.
fn error_check(error: &ClientError) -> Check {
    match error {
        ClientError::NotAllowed { socket } => Check::skipped(
            DAEMON,
            format!(
                "you may not connect to '{}': sudo remit doctor",
                socket.display()
            ),
        ),
        error => Check::failure(DAEMON, error.to_string(), RESTART),
    }
}

fn unanswered(why: Check) -> DaemonAnswer {
    let part = |title, check| Part {
        title,
        checks: vec![check],
    };
    DaemonAnswer {
        checkup: None,
        parts: [
            part(TITLE, why),
            part(kernel::TITLE, Check::skipped("all", NO_ANSWER)),
        ],
        status: Err(NO_ANSWER.to_owned()),
    }
}

fn status(reply: Result<AdminReply, ClientError>) -> Result<Box<Status>, String> {
    match reply {
        Ok(AdminReply::Status(status)) => Ok(status),
        Ok(_) => Err(OTHER_ANSWER.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub fn status_checks(status: &Result<Box<Status>, String>) -> Vec<Check> {
    let status = match status {
        Ok(status) => status,
        Err(why) => {
            let names = ["lock", "breaker", "confirm"];
            return names.map(|name| Check::skipped(name, why)).to_vec();
        }
    };
    let paused = status.paused.iter().map(|line| {
        let (what, fix) = line.rsplit_once("; ").unwrap_or((line, "remit status"));
        Check::warning("breaker", format!("paused: {what}"), fix)
    });
    let unconfirmed = status.unconfirmed.iter().map(|one| match one.has_failed {
        true => Check::failure(
            "confirm",
            &one.what,
            format!("undo it by hand, or keep it: {}", one.command),
        ),
        false => Check::warning("confirm", &one.what, &one.command),
    });
    let floor = status.floor.iter().map(|line| Check::ok("floor", line));
    let locked = match &status.locked {
        None => Check::ok("lock", "not locked"),
        Some(why) => Check::warning(
            "lock",
            format!("remit is locked and runs nothing: {why}"),
            "remit unlock",
        ),
    };
    once(locked)
        .chain(floor)
        .chain(paused)
        .chain(unconfirmed)
        .collect()
}

pub const TITLE: &str = "walls";

pub fn part(checkup: &Checkup) -> Part {
    let checks = match checkup.profiles.as_slice() {
        [] => vec![Check::failure(
            "profiles",
            "the daemon has no profile to test",
            "journalctl -u remitd -n 20",
        )],
        some => some.iter().flat_map(profile).collect(),
    };
    let daemon = checkup.daemon.iter().map(|check| layer("remitd", check));
    let checks = daemon.chain::<Vec<_>>(checks).collect();
    Part {
        title: TITLE,
        checks,
    }
}

fn profile(profile: &ProfileCheck) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(why) = &profile.refused {
        checks.push(Check::failure(
            &profile.name,
            format!("nothing runs in profile '{}': {why}", profile.name),
            "correct what the reason names (the kernel or a setting), then: systemctl restart remitd",
        ));
    } else if profile.layers.is_empty() {
        checks.push(Check::failure(
            &profile.name,
            format!("no sandbox layer of profile '{}' was tested", profile.name),
            "systemctl restart remitd; if it stays: journalctl -u remitd -n 20",
        ));
    }
    checks.extend(
        profile
            .layers
            .iter()
            .map(|check| layer(&profile.name, check)),
    );
    checks
}

/// A probe of a layer, of a profile or of the daemon itself.
fn layer(of: &str, layer: &LayerCheck) -> Check {
    let name = format!("{of}: {}", layer.name);
    match layer.state {
        LayerState::Held => Check::ok(name, layer.detail.trim_end_matches(": as it must be")),
        LayerState::Absent => Check::ok(name, format!("not in this kernel: {}", layer.detail)),
        LayerState::Broken => Check::failure(
            name,
            format!(
                "sandbox layer '{}' does not hold: {}",
                layer.name, layer.detail
            ),
            "boot a kernel that supports it, then: systemctl restart remitd",
        ),
    }
}

#[cfg(test)]
pub mod tests {
    use std::io;

    use super::*;
    use crate::checks::report::whys;

    pub fn checkup() -> Checkup {
        let layer = |name: &str, state| LayerCheck {
            name: name.into(),
            state,
            detail: "it was refused".into(),
        };
        Checkup {
            kernel: "6.1.0".into(),
            landlock: 2,
            landlock_errata: 0,
            cgroup: Some("/x".into()),
            controllers: ["memory", "pids", "cpu"].map(str::to_owned).to_vec(),
            missing_controllers: Vec::new(),
            lowered_limits: Vec::new(),
            audit: "journald".into(),
            audit_error: None,
            daemon: vec![layer("seccomp", LayerState::Held)],
            profiles: vec![ProfileCheck {
                name: "read".into(),
                refused: None,
                layers: vec![
                    layer("mounts", LayerState::Held),
                    layer("landlock network", LayerState::Absent),
                ],
            }],
        }
    }

    #[test]
    fn a_daemon_that_the_user_may_not_ask_is_no_failure() {
        let socket = || "/run/remit/admin.sock".into();
        let not_allowed = ClientError::NotAllowed { socket: socket() };
        let skipped = "you may not connect to '/run/remit/admin.sock': sudo remit doctor";
        assert_eq!(error_check(&not_allowed), Check::skipped(DAEMON, skipped));
        let not_running = ClientError::NotRunning {
            socket: socket(),
            error: io::ErrorKind::ConnectionRefused.into(),
        };
        let found = whys(&[error_check(&not_running)]);
        assert!(
            found[0].starts_with("failure: remitd is not running"),
            "{found:?}"
        );
    }

    #[test]
    fn broken_layer_is_a_failure() {
        let found = |checkup: &Checkup| whys(&part(checkup).checks);
        assert_eq!(found(&checkup()), [""; 0]);
        let mut broken = checkup();
        broken.profiles[0].layers[0].state = LayerState::Broken;
        broken.profiles[0].refused = Some("'mounts' does not hold".into());
        assert_eq!(
            found(&broken),
            [
                "failure: nothing runs in profile 'read': 'mounts' does not hold",
                "failure: sandbox layer 'mounts' does not hold: it was refused"
            ]
        );
        let mut untested = checkup();
        untested.profiles[0].layers.clear();
        let expect = "failure: no sandbox layer of profile 'read' was tested";
        assert_eq!(found(&untested), [expect]);
        untested.profiles.clear();
        assert_eq!(
            found(&untested),
            ["failure: the daemon has no profile to test"]
        );
    }

    #[test]
    fn expected_detail_is_left_out() {
        let mut good = checkup();
        good.profiles[0].layers[0].detail = "no capability is left: as it must be".into();
        let expect = Check::ok("read: mounts", "no capability is left");
        assert_eq!(part(&good).checks[1], expect);
    }
}
