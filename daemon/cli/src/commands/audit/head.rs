//! Determines the newest record that must exist: from the daemon, or from the head that it left.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use remit_audit_verify::{Expected, Finding, Kind, Report};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_wire::client::{self, ClientError};

use crate::client::activation;
use crate::render::output::Context;

/// The expected end of the audit log, from a source outside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    Daemon(Expected),
    /// The daemon does not run and left this in its state directory.
    File(Expected),
    Unknown(String),
}

impl Head {
    pub fn ask(context: &Context, state: &Path) -> Self {
        if activation::would_start(&context.runtime) {
            return left(state, boot_id());
        }
        let socket = context.runtime.admin_socket();
        match client::admin(&socket, AdminRequest::AuditHead) {
            Ok(AdminReply::AuditHead(head)) => Self::Daemon(Expected {
                seq: head.seq,
                hash: head.hash,
            }),
            Ok(_) => Self::Unknown("the daemon's answer is off the protocol".into()),
            Err(ClientError::NotAllowed { .. }) => Self::Unknown(
                "only root and members of group remit-admin can ask the daemon what it is".into(),
            ),
            Err(ClientError::NotRunning { .. }) => left(state, boot_id()),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    pub fn expected(&self) -> Option<Expected> {
        match self {
            Self::Daemon(expected) | Self::File(expected) => Some(*expected),
            Self::Unknown(_) => None,
        }
    }

    /// Returns true if the daemon's file may end with half a record. A running daemon completes or removes it.
    pub fn allows_half(&self) -> bool {
        !matches!(self, Self::Daemon(_))
    }

    /// A finding if the audit log goes beyond the daemon's current head. Its state was set back, or it is foreign.
    pub fn is_behind(&self, context: &Context, state: &Path, report: &Report) -> Option<Finding> {
        let (_, last) = report.range?;
        // The head of a daemon that was not stopped cleanly may be older than the audit log.
        let Self::Daemon(head) = self else {
            return None;
        };
        if last <= head.seq {
            return None;
        }
        let Self::Daemon(now) = Self::ask(context, state) else {
            return None;
        };
        (last > now.seq).then(|| Finding {
            kind: Kind::Fork,
            seq: now.seq + 1,
            last,
            position: String::new(),
            text: format!(
                "the log continues to record {last}, and the newest that the daemon knows is {}: \
                 its state was set back, or these records are not its own",
                now.seq
            ),
        })
    }
}

/// Reads the head from the state directory. `boot` is the current boot id.
fn left(state: &Path, boot: Option<[u8; 16]>) -> Head {
    let file = state.join("warden").join("audit-head");
    let mut bytes = Vec::new();
    // One byte more than a head detects an oversized file.
    let most = remit_trail::Head::SIZE as u64 + 1;
    let read = File::open(&file).and_then(|file| file.take(most).read_to_end(&mut bytes));
    let why = match read.map(|_| remit_trail::Head::parse(&bytes)) {
        // After a crash the head may be on disk without its newest records.
        Ok(Ok(head)) if !head.is_stopped && Some(head.boot) != boot => {
            "the machine went down before it stopped: the newest records may be lost".to_owned()
        }
        Ok(Ok(head)) => match head.expected() {
            Some(expected) => return Head::File(expected),
            None => "whether its newest record was written is in doubt".to_owned(),
        },
        Ok(Err(error)) => format!("'{}': {error}", file.display()),
        Err(error) => format!("cannot read '{}': {error}", file.display()),
    };
    Head::Unknown(format!("the daemon does not run, and {why}"))
}

fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let number = u128::from_str_radix(&text.trim().replace('-', ""), 16);
    number.ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_trail::Link;

    #[test]
    fn head_is_unknown_after_machine_crash() {
        let state = std::env::temp_dir().join(format!("remit-left-{}", std::process::id()));
        std::fs::create_dir_all(state.join("warden")).unwrap();
        let here = boot_id().unwrap();
        let newest = Link {
            seq: 7,
            hash: [7; 32],
        };
        for (boot, is_stopped, is_known) in [
            (here, true, true),
            (here, false, true),
            ([9; 16], true, true),
            ([9; 16], false, false),
        ] {
            let head = remit_trail::Head {
                newest,
                is_stopped,
                ..remit_trail::Head::new(boot)
            };
            std::fs::write(state.join("warden/audit-head"), head.bytes()).unwrap();
            let left = left(&state, Some(here));
            assert_eq!(left.expected().is_some(), is_known, "{left:?}");
        }
        std::fs::remove_dir_all(state).unwrap();
    }
}
