//! Identifies the process at the other end of a socket. Only this module creates a [`Subject`].

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use remit_link::Owner;
use remit_policy::CallerIds;
use remit_sys::sys::{self, PidfdSource};

use crate::identity::login_session::service_paths;
use crate::identity::user_names::nameless;

/// Identity of a peer as the kernel reported it at connect. It never changes afterwards.
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

/// The numbers by which records identify a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectIds {
    uid: u32,
    loginuid: Option<u32>,
    claimed: Option<u32>,
}

#[derive(Debug)]
pub struct Nameless(Subject);

impl Nameless {
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    pub fn named(self, user: String) -> Subject {
        Subject { user, ..self.0 }
    }
}

impl Subject {
    pub fn caller_ids(&self) -> CallerIds<'_> {
        CallerIds {
            uid: self.uid,
            gids: &self.gids,
        }
    }

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

    /// A peer of which the kernel reports only the uid. Only for records: it must not authorize anything.
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

    #[cfg(test)]
    pub fn claiming(self, login: u32) -> Self {
        let claimed = Some(login);
        Self { claimed, ..self }
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns its uid and its login uids. People who became root have one uid and differ by these.
    pub fn ids(&self) -> SubjectIds {
        SubjectIds {
            uid: self.uid,
            loginuid: self.loginuid,
            claimed: self.claimed,
        }
    }

    /// Returns all groups at connect, including the primary one.
    pub fn gids(&self) -> &[u32] {
        &self.gids
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            user: self.user.clone(),
        }
    }

    /// Returns the audit login uid of the peer: the user who logged in, even if the uid changed since. Only if it is
    /// proven: it is the peer's own uid, or the process is in the login cgroup of that uid.
    pub fn loginuid(&self) -> Option<u32> {
        self.loginuid
    }

    /// Returns a claimed login uid: while unset, a process may set its own (audit(8), `CONFIG_AUDIT_LOGINUID_IMMUTABLE`).
    pub fn claimed(&self) -> Option<u32> {
        self.claimed
    }

    /// Returns the pid of the peer. After reading about it in /proc, check the pidfd: the pid may be reused.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Formats the peer for records, with `(unsure)` if the kernel could not give a pidfd of the peer itself.
    pub fn peer(&self) -> String {
        if self.pid == 0 {
            return "gone".to_owned();
        }
        let unsure = if self.pid_certain { "" } else { " (unsure)" };
        format!("pid {}{unsure}", self.pid)
    }
}

#[derive(Debug)]
pub struct NoSubject {
    pub uid: Option<u32>,
    pub why: NoIdentity,
}

#[derive(Debug)]
pub enum NoIdentity {
    /// The uid means ids that the kernel cannot map.
    Overflow(u32),
    Gone,
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
            Self::Overflow(uid) => write!(
                f,
                "uid {uid} is the overflow uid, for users without a uid here"
            ),
            Self::Gone => f.write_str("the process that connected has ended"),
            Self::Io(error) => write!(f, "the kernel does not identify the peer: {error}"),
        }
    }
}

/// Ids shown for ids that the kernel cannot map (user_namespaces(7)), and "no id" (setreuid(2)).
const OVERFLOW_IDS: [u32; 3] = [65_534, u32::MAX, u32::MAX - 1];

/// Identifies the peer before a byte is read from it. After an error the connection must be closed.
pub fn identify(socket: impl AsFd) -> Result<(Nameless, OwnedFd), NoSubject> {
    identity(&socket).map_err(|why| NoSubject {
        uid: sys::peer_uid(&socket).ok(),
        why,
    })
}

fn identity(socket: impl AsFd) -> Result<(Nameless, OwnedFd), NoIdentity> {
    let gone = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ESRCH) => NoIdentity::Gone,
        _ => NoIdentity::Io(error),
    };
    let peer = sys::peer(socket).map_err(gone)?;
    if OVERFLOW_IDS.contains(&peer.uid) || OVERFLOW_IDS.contains(&peer.gid) {
        return Err(NoIdentity::Overflow(peer.uid));
    }
    let login = sys::loginuid(peer.pid, peer.pidfd.as_fd()).map_err(gone)?;
    let is_proven = match login {
        Some(login) if login != peer.uid => {
            let cgroups = sys::cgroups(peer.pid, peer.pidfd.as_fd()).map_err(gone)?;
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

/// Returns whether the top cgroup is in the slice of logins, which only root enters (systemd-logind.service(8)).
fn is_login_of(cgroups: &str, uid: u32) -> bool {
    let slice = format!("/user.slice/user-{uid}.slice/");
    service_paths(cgroups).any(|path| path.starts_with(&slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_with_one_uid_differ_by_login() {
        let root = |login| Subject::fake(0, "root", login).ids();
        let claimed = |login| Subject::fake(0, "root", None).claiming(login).ids();
        let all = [
            root(None),
            root(Some(1001)),
            root(Some(1002)),
            claimed(1001),
            claimed(1002),
            Subject::fake(1001, "ann", Some(1001)).ids(),
        ];
        let different: std::collections::BTreeSet<SubjectIds> = all.into();
        assert_eq!(different.len(), all.len());
        assert_eq!(root(Some(1001)), root(Some(1001)));
    }

    #[test]
    fn login_is_proven_by_own_user_slice() {
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
            // Cgroups that a user creates below the own slice, or in another hierarchy.
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
