//! What the newest record must be: as the daemon says, or as it left behind.

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
            Err(ClientError::NotRunning { .. }) => left(state),
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
        if last <= self.expected()?.seq {
            return None;
        }
        let now = Self::ask(context, state).expected()?;
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

/// What the last daemon left in its state directory.
fn left(state: &Path) -> Head {
    let _ = state;
    Head::Unknown("the daemon does not run".into())
}
