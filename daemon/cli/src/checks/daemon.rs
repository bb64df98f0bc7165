//! Asks the daemon for the results of its self-test, and if remit is locked.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use remit_common::admin::{AdminReply, AdminRequest, Checkup};
use remit_common::client::{self, ClientError};
use remit_common::names::Runtime;

use super::check::{Check, Part};
use super::kernel::{self, Machine};
use super::layers;

/// Longest wait for the daemon's self-test. The daemon itself answers within ten seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// Sandbox layers and kernel are two parts.
pub struct DaemonAnswer {
    pub checkup: Option<Checkup>,
    pub parts: [Part; 2],
    pub lock: Vec<Check>,
}

pub fn ask(runtime: &Runtime) -> DaemonAnswer {
    let socket = runtime.admin_socket();
    let (tell, answered) = mpsc::channel();
    // A daemon that hangs must not block the other checks. The thread ends with the process.
    thread::spawn(move || {
        let doctor = client::admin(&socket, AdminRequest::Doctor);
        let lock = doctor.is_ok().then(|| lock(&socket));
        tell.send((doctor, lock.unwrap_or_default()))
    });
    let failure = |why: String, fix: &str| {
        let layers = Part {
            title: layers::TITLE,
            checks: vec![Check::failure("daemon", why, fix)],
        };
        let kernel = Part {
            title: kernel::TITLE,
            checks: vec![Check::skipped("all", "the daemon did not answer")],
        };
        DaemonAnswer {
            checkup: None,
            parts: [layers, kernel],
            lock: Vec::new(),
        }
    };
    let restart = "systemctl restart remitd; if it fails: journalctl -u remitd -n 20";
    match answered.recv_timeout(DEADLINE) {
        Ok((Ok(AdminReply::Doctor(checkup)), lock)) => {
            let parts = [
                layers::part(&checkup),
                kernel::part(&checkup, &Machine::read()),
            ];
            DaemonAnswer {
                checkup: Some(*checkup),
                parts,
                lock,
            }
        }
        Ok((Ok(_), _)) => failure("the daemon answered another question".into(), restart),
        Ok((Err(error @ ClientError::NotAllowed { .. }), _)) => {
            failure(error.to_string(), "sudo remit doctor")
        }
        Ok((Err(error), _)) => failure(error.to_string(), restart),
        Err(_) => failure(
            format!("the daemon did not answer within {} s", DEADLINE.as_secs()),
            restart,
        ),
    }
}

fn lock(socket: &Path) -> Vec<Check> {
    let Ok(AdminReply::Status(status)) = client::admin(socket, AdminRequest::Status) else {
        return Vec::new();
    };
    vec![match &status.locked {
        None => Check::ok("lock", "not locked"),
        Some(why) => Check::warning(
            "lock",
            format!("remit is locked and runs nothing: {why}"),
            "remit unlock",
        ),
    }]
}
