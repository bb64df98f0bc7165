//! Starts and ends `remit-bus`, which answers jobs of `read`. Nothing waits for it: without it connect(2) fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use remit_common::bus::{Order, Report, VERSION};
use remit_common::names::JobId;
use remit_spawn::{SOCKET, socket};
use remit_sys::{spawn_service, sys};

use crate::config::Config;
use crate::identity::user_names::{self, Ids};
use crate::job::allocation::JobUid;
use crate::service::program::{self, c_string, environment, wait_for_exit};
use crate::startup::error::{Fatal, chain};

/// Jobs whose questions are counted at a time. It bounds what a `remit-bus` can make this process keep.
const MOST_JOBS: usize = 2048;
/// Bytes of a report: four names of 100 bytes, and numbers.
const REPORT: usize = 1024;
/// One that lived for a shorter time is restarted after this pause, doubled each time: a restart ends all workers.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// Without an answer for so long, status says so.
const SILENT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct BusProcess {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    since: Instant,
}

#[derive(Debug)]
struct Unanswered {
    job: JobId,
    uid: JobUid,
    since: Instant,
}

#[derive(Debug)]
pub struct Bus {
    program: PathBuf,
    ids: Ids,
    calls: Vec<String>,
    process: Option<BusProcess>,
    pause: Duration,
    connected: BTreeSet<u32>,
    /// Jobs that have ended, by uid, until this process has reported what they asked. Their uids are not free before.
    ended: BTreeMap<u32, Unanswered>,
}

#[derive(Debug)]
pub struct BusUse {
    pub job: JobId,
    pub uid: JobUid,
    pub calls: u64,
    pub refused: u64,
    pub first: Vec<String>,
}

impl Bus {
    /// Returns `None` if it is switched off.
    pub fn find(config: &Config) -> Result<Option<Self>, Fatal> {
        if config.bus.off {
            return Ok(None);
        }
        let ids = user_names::user("accounts.bus", &config.accounts.bus)?;
        if ids.uid == user_names::user("accounts.broker", &config.accounts.broker)?.uid {
            let why = "accounts.bus and accounts.broker are the same user";
            return Err(Fatal::Config(why.to_owned()));
        }
        Ok(Some(Self {
            program: program::find("remit-bus")?,
            ids,
            calls: config.bus.calls.clone(),
            process: None,
            pause: Duration::ZERO,
            connected: BTreeSet::new(),
            ended: BTreeMap::new(),
        }))
    }

    /// Starts it. Returns the socket for the spawner.
    pub fn start(&mut self) -> Result<BorrowedFd<'_>, Fatal> {
        let failed = Fatal::call("cannot make a socket for remit-bus");
        let (own_end, its) = socket::patient_pair().map_err(failed)?;
        let program = c_string(self.program.as_os_str().as_bytes())?;
        let argv = [program.clone()];
        let Ids { uid, gid } = self.ids;
        let fds = [(its.as_fd(), SOCKET)];
        let (pid, pidfd) = spawn_service(&program, &argv, &environment()?, uid, gid, &[], &fds)
            .map_err(|error| Fatal::System(chain(&error)))?;
        let begin = Order::Begin {
            version: VERSION,
            calls: self.calls.clone(),
        };
        let process = self.process.insert(BusProcess {
            pid,
            pidfd,
            socket: own_end,
            since: Instant::now(),
        });
        socket::send_now(process.socket.as_fd(), &begin, &[])
            .map_err(Fatal::call("cannot write to remit-bus"))?;
        Ok(process.socket.as_fd())
    }

    /// Returns the next report. Kills a process that breaks the protocol: its pidfd reports the end.
    pub fn recv(&mut self) -> Option<Report> {
        let process = self.process.as_ref()?;
        match receive(&process.socket) {
            Ok(report) => Some(report),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                self.kill();
                None
            }
        }
    }

    pub fn connected(&mut self, uid: u32) {
        if self.connected.len() < MOST_JOBS {
            self.connected.insert(uid);
        }
    }

    /// Asks what an ended job asked. Returns the uid if it never connected, or nobody can say: it is free.
    pub fn end(&mut self, job: JobId, uid: JobUid) -> Option<JobUid> {
        let number = uid.get();
        let Some(process) = self.process.as_ref() else {
            return Some(uid);
        };
        if !self.connected.remove(&number) {
            return Some(uid);
        }
        let order = Order::End { uid: number };
        let sent = socket::send_now(process.socket.as_fd(), &order, &[]);
        if sent.is_err() || self.ended.len() >= MOST_JOBS {
            // It knows this uid, and cannot be asked: its end frees the uid.
            self.kill();
        }
        let since = Instant::now();
        self.ended.insert(number, Unanswered { job, uid, since });
        None
    }

    pub fn answered(&mut self, report: Report) -> Option<BusUse> {
        let Report::Ended {
            uid,
            calls,
            refused,
            first,
        } = report
        else {
            return None;
        };
        let Unanswered { job, uid, .. } = self.ended.remove(&uid)?;
        Some(BusUse {
            job,
            uid,
            calls,
            refused,
            first,
        })
    }

    pub fn unanswered(&self) -> Option<Duration> {
        let since = self.ended.values().map(|one| one.since).min();
        since.map(|since| since.elapsed())
    }

    /// Says why jobs have no bus now.
    pub fn why_not(&self) -> Option<String> {
        let Some(process) = &self.process else {
            return Some("remit-bus has ended, and is started again".to_owned());
        };
        let silent = self.unanswered().filter(|silent| *silent >= SILENT)?;
        Some(format!(
            "remit-bus (pid {}) has not answered for {} s. If it does not end, restart remitd",
            process.pid,
            silent.as_secs()
        ))
    }

    /// Its pidfd reports the end.
    pub fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = sys::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
        }
    }

    /// Kills it if it has not ended, and reaps it. Returns the pause until the next start, and the uids that are free.
    pub fn dismiss(&mut self, patience: Duration) -> Option<(Duration, Vec<JobUid>)> {
        let process = self.process.take()?;
        let _ = sys::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
        wait_for_exit(process.pidfd.as_fd(), patience);
        let _ = sys::reap(process.pid);
        self.connected.clear();
        let ended = std::mem::take(&mut self.ended);
        let free = ended.into_values().map(|one| one.uid).collect();
        self.pause = pause(self.pause, process.since.elapsed());
        Some((self.pause, free))
    }

    pub fn fds(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let process = self.process.as_ref()?;
        Some((process.socket.as_fd(), process.pidfd.as_fd()))
    }
}

/// Returns the pause before the next start of a process that lived so long, and was started after the pause `last`.
fn pause(last: Duration, lived: Duration) -> Duration {
    match lived > BACK_OFF.max(last) {
        true => Duration::ZERO,
        false => last.saturating_mul(2).clamp(BACK_OFF, LONGEST_BACK_OFF),
    }
}

/// Never waits. Descriptors that come with a message are not taken.
fn receive(socket: &OwnedFd) -> io::Result<Report> {
    let mut bytes = [0; REPORT];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let length = match recv(socket.as_raw_fd(), &mut bytes, flags) {
        Err(Errno::EINTR) => return Err(io::ErrorKind::WouldBlock.into()),
        length => length?,
    };
    let report = bytes
        .get(..length)
        .and_then(|bytes| Report::decode(bytes).ok());
    report.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::allocation::JobUids;

    #[test]
    fn one_that_never_lives_long_is_started_ever_more_rarely() {
        let (now, long) = (Duration::ZERO, Duration::from_secs(301));
        let pauses = std::iter::successors(Some(now), |last| Some(pause(*last, now)));
        let pauses: Vec<_> = pauses.take(12).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(LONGEST_BACK_OFF, long), Duration::ZERO);
        assert_eq!(pause(now, Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn uid_is_free_after_the_answer() {
        let (own_end, its) = socket::patient_pair().unwrap();
        let mut bus = Bus {
            program: PathBuf::new(),
            ids: Ids { uid: 1, gid: 1 },
            calls: Vec::new(),
            process: Some(BusProcess {
                pid: 0,
                pidfd: own_end.try_clone().unwrap(),
                socket: own_end,
                since: Instant::now(),
            }),
            pause: Duration::ZERO,
            connected: BTreeSet::new(),
            ended: BTreeMap::new(),
        };
        let mut uids = JobUids::new(100, 9);
        let mut take = || uids.take().unwrap();
        assert!(bus.end(JobId([1; 16]), take()).is_some(), "it never asked");
        bus.connected(102);
        bus.connected(103);
        assert_eq!(bus.unanswered(), None);
        assert_eq!(bus.end(JobId([2; 16]), take()), None);
        let first = bus.unanswered().unwrap();
        assert_eq!(bus.end(JobId([3; 16]), take()), None);
        assert!(bus.unanswered().unwrap() >= first);
        for uid in [102, 103] {
            let (calls, refused, first) = (1, 0, Vec::new());
            let answer = Report::Ended {
                uid,
                calls,
                refused,
                first,
            };
            assert_eq!(bus.answered(answer).unwrap().uid.get(), uid);
        }
        assert_eq!(bus.unanswered(), None);

        bus.connected(104);
        drop(its);
        assert_eq!(bus.end(JobId([4; 16]), take()), None, "it cannot be asked");
        assert!(bus.unanswered().is_some());

        assert_eq!(bus.why_not(), None, "it has some seconds");
        let late = bus.ended.values_mut().next().unwrap();
        late.since = late.since.checked_sub(SILENT).unwrap();
        assert!(bus.why_not().unwrap().contains("has not answered for 5 s"));
        bus.process = None;
        assert!(bus.why_not().unwrap().contains("is started again"));
    }
}
