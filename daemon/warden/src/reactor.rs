//! epoll(7), with a typed token for each descriptor it watches.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// remit.sock.
    Clients,
    /// admin.sock.
    Admins,
    /// A connection on admin.sock.
    Admin(u64),
    /// The link to the broker.
    Link,
    /// The broker's pidfd.
    Broker,
    /// The keeper's pidfd.
    Keeper,
    /// The pidfd of a session's peer.
    Peer(u64),
    /// The pidfd of a job's first process.
    Job(u64),
    /// The step pipe of a job.
    Steps(u64),
    /// `cgroup.events` of a job.
    Cgroup(u64),
    /// Signals to us.
    Signals,
    /// A policy being read.
    Policy,
    /// The audit's socket can be written again.
    Audit,
    /// A trial of all walls.
    Trial,
    /// Files of a request being measured.
    Measuring(u64),
    /// The history being read for a question.
    History(u64),
    /// What waits for the next job.
    Ahead,
    /// Accounts being looked up.
    LookUp(u64),
}

impl Token {
    const fn parts(self) -> (u64, u64) {
        match self {
            Self::Clients => (0, 0),
            Self::Admins => (1, 0),
            Self::Admin(n) => (2, n),
            Self::Link => (3, 0),
            Self::Broker => (4, 0),
            Self::Keeper => (5, 0),
            Self::Peer(n) => (6, n),
            Self::Job(n) => (7, n),
            Self::Steps(n) => (8, n),
            Self::Cgroup(n) => (9, n),
            Self::LookUp(n) => (10, n),
            Self::Signals => (11, 0),
            Self::Policy => (12, 0),
            Self::Audit => (13, 0),
            Self::Trial => (14, 0),
            Self::Measuring(n) => (15, n),
            Self::History(n) => (16, n),
            Self::Ahead => (17, 0),
        }
    }

    fn data(self) -> u64 {
        let (kind, number) = self.parts();
        kind << 56 | number & NUMBER
    }

    fn from_data(data: u64) -> Option<Self> {
        let n = data & NUMBER;
        Some(match data >> 56 {
            0 => Self::Clients,
            1 => Self::Admins,
            2 => Self::Admin(n),
            3 => Self::Link,
            4 => Self::Broker,
            5 => Self::Keeper,
            6 => Self::Peer(n),
            7 => Self::Job(n),
            8 => Self::Steps(n),
            9 => Self::Cgroup(n),
            10 => Self::LookUp(n),
            11 => Self::Signals,
            12 => Self::Policy,
            13 => Self::Audit,
            14 => Self::Trial,
            15 => Self::Measuring(n),
            16 => Self::History(n),
            17 => Self::Ahead,
            _ => return None,
        })
    }
}

/// Numbers of sessions and jobs stay far below this.
const NUMBER: u64 = (1 << 56) - 1;

/// What to watch a descriptor for.
#[derive(Clone, Copy, Debug)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Something to read, or the end, told once.
    ReadOnce,
    /// Something to read, and room to write.
    ReadWrite,
    /// Room to write, once.
    WriteOnce,
    /// An exceptional condition, told once each time: /proc and cgroup files.
    Change,
    /// The other end is gone, told once.
    End,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN,
            Self::ReadOnce => EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            Self::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Self::WriteOnce => EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT,
            Self::Change => EpollFlags::EPOLLPRI | EpollFlags::EPOLLET,
            // EPOLLHUP needs no asking.
            Self::End => EpollFlags::EPOLLONESHOT,
        }
    }
}

/// The one epoll of the warden.
#[derive(Debug)]
pub struct Reactor {
    epoll: Epoll,
}

impl Reactor {
    /// A new one, close-on-exec.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Watches a descriptor until it is closed everywhere or removed.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let event = EpollEvent::new(interest.flags(), token.data());
        Ok(self.epoll.add(fd, event)?)
    }

    /// Changes what a watched descriptor is watched for.
    pub fn set(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token.data());
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// Stops watching. One that was not watched is as good.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Waits for events, at most `timeout`; an interrupted wait has none.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let mut events = [EpollEvent::empty(); 64];
        // Rounded up: a timer that is not due yet would spin.
        let timeout = timeout.map_or(EpollTimeout::NONE, |d| {
            let ms = d.as_millis() + u128::from(d.subsec_nanos() % 1_000_000 != 0);
            EpollTimeout::try_from(ms.min(60_000)).unwrap_or(EpollTimeout::ZERO)
        });
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => Ok(events
                .iter()
                .take(count)
                .filter_map(|event| Token::from_data(event.data()))
                .collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        for data in 0..18_u64 {
            let token = Token::from_data(data << 56 | 77).unwrap();
            assert_eq!(Token::from_data(token.data()), Some(token));
        }
        assert_eq!(Token::from_data(18 << 56), None);
    }
}
