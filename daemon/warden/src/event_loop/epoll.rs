//! Wraps epoll(7), with a typed token for each watched descriptor, and keeps the deadlines beside it.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::event_loop::timers::Timers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Clients,
    Admins,
    Admin(u64),
    Link,
    Broker,
    /// Pidfd of PID 1.
    Watchdog,
    /// Pidfd of a session's peer.
    Peer(u64),
    Job(u64),
    Steps(u64),
    /// `cgroup.events` of a job.
    Cgroup(u64),
    Signals,
    Policy,
    Audit,
    SelfTestRun,
    Measuring(u64),
    PreparedJob,
    LookUp(u64),
    Spawner,
    Bus,
    BusReports,
}

impl Token {
    const fn parts(self) -> (u64, u64) {
        match self {
            Self::Clients => (0, 0),
            Self::Admins => (1, 0),
            Self::Admin(n) => (2, n),
            Self::Link => (3, 0),
            Self::Broker => (4, 0),
            Self::Watchdog => (5, 0),
            Self::Peer(n) => (6, n),
            Self::Job(n) => (7, n),
            Self::Steps(n) => (8, n),
            Self::Cgroup(n) => (9, n),
            Self::LookUp(n) => (10, n),
            Self::Signals => (11, 0),
            Self::Policy => (12, 0),
            Self::Audit => (13, 0),
            Self::SelfTestRun => (14, 0),
            Self::Measuring(n) => (15, n),
            Self::PreparedJob => (16, 0),
            Self::Spawner => (17, 0),
            Self::Bus => (18, 0),
            Self::BusReports => (19, 0),
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
            5 => Self::Watchdog,
            6 => Self::Peer(n),
            7 => Self::Job(n),
            8 => Self::Steps(n),
            9 => Self::Cgroup(n),
            10 => Self::LookUp(n),
            11 => Self::Signals,
            12 => Self::Policy,
            13 => Self::Audit,
            14 => Self::SelfTestRun,
            15 => Self::Measuring(n),
            16 => Self::PreparedJob,
            17 => Self::Spawner,
            18 => Self::Bus,
            19 => Self::BusReports,
            _ => return None,
        })
    }
}

/// Session and job numbers stay far below this.
const NUMBER: u64 = (1 << 56) - 1;

#[derive(Clone, Copy, Debug)]
pub enum Interest {
    Read,
    ReadOnce,
    ReadWrite,
    WriteOnce,
    /// Exceptional condition, edge-triggered: /proc and cgroup files.
    Change,
    /// Hang-up of the other end, reported once.
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
            // EPOLLHUP is always reported.
            Self::End => EpollFlags::EPOLLONESHOT,
        }
    }
}

#[derive(Debug)]
pub struct Reactor {
    epoll: Epoll,
    pub timers: Timers,
}

impl Reactor {
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timers = Timers::default();
        Ok(Self { epoll, timers })
    }

    /// Watches a descriptor until all copies are closed or it is removed.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let event = EpollEvent::new(interest.flags(), token.data());
        Ok(self.epoll.add(fd, event)?)
    }

    pub fn set(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token.data());
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    pub fn remove(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Waits for events up to `timeout`, at most 60 s if there is one. An interrupted wait returns none.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let mut events = [EpollEvent::empty(); 64];
        // Rounded up: otherwise the loop would spin until the timer is due.
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
        for data in 0..20_u64 {
            let token = Token::from_data(data << 56 | 77).unwrap();
            assert_eq!(Token::from_data(token.data()), Some(token));
        }
        assert_eq!(Token::from_data(20 << 56), None);
    }
}
