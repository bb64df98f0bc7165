//! Who is at the other end of a socket: the only place that makes a [`Subject`].

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use remit_confine::floor::{self, PidfdSource};
use remit_link::Owner;

use crate::accounts::nameless;

/// An identity as the kernel gave it when the peer connected. It never changes afterwards.
#[derive(Clone, Debug)]
pub struct Subject {
    uid: u32,
    gids: Vec<u32>,
    user: String,
    pid: i32,
    pid_certain: bool,
    loginuid: Option<u32>,
    claimed: Option<u32>,
}

/// A [`Subject`] whose account has not been looked up.
#[derive(Debug)]
pub struct Nameless(Subject);

impl Nameless {
    /// The effective uid at connect.
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// The subject, by the name of its account or `#uid`.
    pub fn named(self, user: String) -> Subject {
        Subject { user, ..self.0 }
    }
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
            claimed: None,
        }
    }

    /// One of whom the kernel tells no more than the uid. For records: nothing may be done for it.
    pub fn gone(uid: u32, user: String) -> Self {
        Self {
            uid,
            gids: Vec::new(),
            user,
            pid: 0,
            pid_certain: false,
            loginuid: None,
            claimed: None,
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
            claimed: None,
        }
    }

    /// One that says that somebody else logged in, without proof.
    #[cfg(test)]
    pub fn claiming(self, login: u32) -> Self {
        let claimed = Some(login);
        Self { claimed, ..self }
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

    /// The audit login uid of the connecting process: who logged in, whatever they became since. Only where
    /// that is proven: it is the peer's own uid, or the process is in the cgroup of a login of that uid.
    pub fn loginuid(&self) -> Option<u32> {
        self.loginuid
    }

    /// A login uid without that proof. While it is unset, any process may set its own, once
    /// (audit(8), `CONFIG_AUDIT_LOGINUID_IMMUTABLE`): it is what somebody says.
    pub fn claimed(&self) -> Option<u32> {
        self.claimed
    }

    /// The connecting process. Whoever reads about it asks its pidfd afterwards whether it still was that.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The connecting process for records: `pid 77`, or `pid 77 (unsure)` where the kernel
    /// could not give a pidfd of the peer itself.
    pub fn peer(&self) -> String {
        if self.pid == 0 {
            return "gone".to_owned();
        }
        let unsure = if self.pid_certain { "" } else { " (unsure)" };
        format!("pid {}{unsure}", self.pid)
    }
}

/// Why a connection has no identity that could be trusted.
#[derive(Debug)]
pub struct NoSubject {
    /// The uid that connected, where the kernel tells that much.
    pub uid: Option<u32>,
    /// What is missing.
    pub why: NoIdentity,
}

/// What is missing of an identity.
#[derive(Debug)]
pub enum NoIdentity {
    /// Its uid is one that the kernel shows for ids it cannot map.
    Overflow(u32),
    /// The process is gone already.
    Gone,
    /// The kernel would not tell.
    Io(std::io::Error),
}

impl fmt::Display for NoSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl fmt::Display for NoIdentity {
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
pub fn identify(socket: impl AsFd) -> Result<(Nameless, OwnedFd), NoSubject> {
    identity(&socket).map_err(|why| NoSubject {
        uid: floor::peer_uid(&socket).ok(),
        why,
    })
}

fn identity(socket: impl AsFd) -> Result<(Nameless, OwnedFd), NoIdentity> {
    let gone = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ESRCH) => NoIdentity::Gone,
        _ => NoIdentity::Io(error),
    };
    let peer = floor::peer(socket).map_err(gone)?;
    if NOBODIES.contains(&peer.uid) || NOBODIES.contains(&peer.gid) {
        return Err(NoIdentity::Overflow(peer.uid));
    }
    let login = floor::loginuid(peer.pid, peer.pidfd.as_fd()).map_err(gone)?;
    let is_proven = match login {
        Some(login) if login != peer.uid => {
            let cgroups = floor::cgroups(peer.pid, peer.pidfd.as_fd()).map_err(gone)?;
            is_login_of(&cgroups, login)
        }
        Some(_) | None => true,
    };
    let mut gids = peer.groups;
    gids.push(peer.gid);
    let subject = Subject {
        uid: peer.uid,
        gids,
        user: nameless(peer.uid),
        pid: peer.pid,
        pid_certain: matches!(peer.pidfd_source, PidfdSource::Socket),
        loginuid: login.filter(|_| is_proven),
        claimed: login.filter(|_| !is_proven),
    };
    Ok((Nameless(subject), peer.pidfd))
}

/// Whether a process with these cgroups is in the slice of a user's logins, which logind makes and only
/// root can enter (systemd-logind.service(8)): at the top of the hierarchy of services, and nowhere else.
fn is_login_of(cgroups: &str, uid: u32) -> bool {
    let slice = format!("/user.slice/user-{uid}.slice/");
    let paths = cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let mut services = paths.filter(|(controllers, _)| matches!(*controllers, "" | "name=systemd"));
    services.any(|(_, path)| path.starts_with(&slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_proven_by_the_slice_of_its_user_alone() {
        for (cgroups, proven) in [
            ("0::/user.slice/user-995.slice/session-3.scope\n", true),
            (
                "0::/user.slice/user-995.slice/user@995.service/app.slice/x\n",
                true,
            ),
            (
                "12:cpu:/\n1:name=systemd:/user.slice/user-995.slice/session-3.scope\n",
                true,
            ),
            ("0::/user.slice/user-9955.slice/session-3.scope\n", false),
            ("0::/user.slice/user-995.slice\n", false),
            // What somebody makes below their own slice, or in another hierarchy.
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-995.slice/x\n",
                false,
            ),
            ("0::/../user.slice/user-995.slice/x\n", false),
            (
                "5:cpu:/user.slice/user-995.slice/x\n0::/system.slice/cron.service\n",
                false,
            ),
            ("0::/system.slice/cron.service\n", false),
            ("", false),
        ] {
            assert_eq!(is_login_of(cgroups, 995), proven, "{cgroups:?}");
        }
    }
}
