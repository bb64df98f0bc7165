//! What the newest record must be: as the daemon says, or as it left behind.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client::{self, ClientError};
use remit_trail::{Expected, Finding, Kind, Report};

use crate::app::Context;

/// The end of the trail, as somebody else than the trail knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// The daemon says so.
    Daemon(Expected),
    /// The daemon does not run, and has left this.
    File(Expected),
    /// It cannot be known, and why.
    Unknown(String),
}

impl Head {
    /// Asks the daemon; where none runs, its state directory.
    pub fn ask(context: &Context, state: &Path) -> Self {
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

    /// The record, where it is known.
    pub fn expected(&self) -> Option<Expected> {
        match self {
            Self::Daemon(expected) | Self::File(expected) => Some(*expected),
            Self::Unknown(_) => None,
        }
    }

    /// What is wrong where the trail goes on behind what the daemon says now: its head was set back.
    pub fn is_behind(&self, context: &Context, state: &Path, report: &Report) -> Option<Finding> {
        let (_, last) = report.range?;
        // What a daemon left that did not stop in order may be older than the trail.
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
            place: String::new(),
            text: format!(
                "the trail goes on to record {last}, and the newest that the daemon knows is {}: \
                 its state was set back, or these records are not its own",
                now.seq
            ),
        })
    }
}

/// What the last daemon left in its state directory. `boot`: which boot of the machine this is.
fn left(state: &Path, boot: Option<[u8; 16]>) -> Head {
    let file = state.join("warden").join("audit-head");
    let mut bytes = Vec::new();
    // More than a head is none.
    let most = remit_trail::Head::SIZE as u64 + 1;
    let read = File::open(&file).and_then(|file| file.take(most).read_to_end(&mut bytes));
    let why = match read.map(|_| remit_trail::Head::parse(&bytes)) {
        // The head may have reached the disk, and its newest records not.
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
    fn the_end_is_known_unless_the_machine_went_down() {
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
