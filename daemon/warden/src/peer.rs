//! Who is at the other end of a socket: the only place that makes a [`Subject`].

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use remit_confine::floor::{self, PidfdSource};
use remit_link::Owner;

use crate::accounts::UserNames;

/// An identity as the kernel gave it when the peer connected. It never changes afterwards.
#[derive(Clone, Debug)]
pub struct Subject {
    uid: u32,
    gids: Vec<u32>,
    user: String,
    pid: i32,
    pid_certain: bool,
    loginuid: Option<u32>,
}

impl Subject {
    /// The daemon itself, for what it runs of its own accord.
    pub fn daemon() -> Self {
        Self {
            uid: 0,
            gids: Vec::new(),
            user: "remitd".to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            pid_certain: true,
            loginuid: None,
        }
    }

    /// One that no kernel gave.
    #[cfg(test)]
    pub fn fake(uid: u32, user: &str, loginuid: Option<u32>) -> Self {
        Self {
            uid,
            gids: vec![uid],
            user: user.to_owned(),
            pid: 77,
            pid_certain: true,
            loginuid,
        }
    }

    /// The effective uid at connect.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// All groups at connect, the primary one too.
    pub fn gids(&self) -> &[u32] {
        &self.gids
    }

    /// The user's name for people, or `#uid`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whose its jobs are.
    pub fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            user: self.user.clone(),
        }
    }

    /// The audit login uid of the connecting process: who logged in, whatever they became since.
    pub fn loginuid(&self) -> Option<u32> {
        self.loginuid
    }

    /// The connecting process. Whoever reads about it asks its pidfd afterwards whether it still was that.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The connecting process for records: `pid 77`, or `pid 77 (unsure)` where the kernel
    /// could not give a pidfd of the peer itself.
    pub fn peer(&self) -> String {
        let unsure = if self.pid_certain { "" } else { " (unsure)" };
        format!("pid {}{unsure}", self.pid)
    }
}

/// Why a connection has no identity that could be trusted.
#[derive(Debug)]
pub enum NoSubject {
    /// Its uid is one that the kernel shows for ids it cannot map.
    Overflow(u32),
    /// The process is gone already.
    Gone,
    /// The kernel would not tell.
    Io(std::io::Error),
}

impl fmt::Display for NoSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow(uid) => write!(f, "uid {uid} stands for users that have none here"),
            Self::Gone => f.write_str("the process that connected has ended"),
            Self::Io(error) => write!(f, "the kernel does not tell who connected: {error}"),
        }
    }
}

/// What the kernel shows where it cannot map an id (user_namespaces(7)), and "no id" (setreuid(2)).
const NOBODIES: [u32; 3] = [65_534, u32::MAX, u32::MAX - 1];

/// The peer's identity, before a byte is read from it, with its pidfd.
///
/// # Errors
/// See [`NoSubject`]; the connection must then be closed.
pub fn identify(socket: impl AsFd, names: &UserNames) -> Result<(Subject, OwnedFd), NoSubject> {
    let peer = floor::peer(socket).map_err(NoSubject::Io)?;
    if NOBODIES.contains(&peer.uid) || NOBODIES.contains(&peer.gid) {
        return Err(NoSubject::Overflow(peer.uid));
    }
    let loginuid = floor::loginuid(peer.pid, peer.pidfd.as_fd()).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ESRCH) => NoSubject::Gone,
            _ => NoSubject::Io(error),
        }
    })?;
    let mut gids = peer.groups;
    gids.push(peer.gid);
    let subject = Subject {
        uid: peer.uid,
        gids,
        user: names.name(peer.uid),
        pid: peer.pid,
        pid_certain: matches!(peer.pidfd_source, PidfdSource::Socket),
        loginuid,
    };
    Ok((subject, peer.pidfd))
}
