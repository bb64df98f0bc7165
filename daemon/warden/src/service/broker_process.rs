//! Starts, restarts and kills the broker process. Messages to it never block.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_link::socket::Packed;
use remit_link::{HistoryRecord, Link, LinkError, ToBroker, ToWarden};
use remit_sys::{spawn_service, sys};

use crate::config::{Config, Output};
use crate::event_loop::epoll::Interest;
use crate::identity::user_names::Ids;
use crate::service::broker_messages::{LinkQueue, packed, too_large};
use crate::service::ending::{EndingProcesses, has_ended, is_alive};
use crate::service::program::{self, c_string, environment, wait_for_exit};
use crate::service::sink::Sink;
use crate::startup::error::{Fatal, chain};
use crate::state_dir::lock::State;

const LINK_FD: i32 = 3;
/// A broker that lived for a shorter time is restarted after this pause, except for the first three restarts.
const BACK_OFF: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct BrokerProcess {
    pid: i32,
    pidfd: OwnedFd,
    /// `None` once it is to end: further messages from it are ignored.
    link: Option<Link>,
    since: Instant,
    ready: bool,
    watched: bool,
    queue: LinkQueue,
}

/// What becomes of a killed broker that hangs in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HungBroker {
    /// The next one starts after this pause.
    Abandoned(Duration),
    /// None starts until one of those that hang has ended.
    TooMany,
}

#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    spool: PathBuf,
    history: PathBuf,
    uploads: PathBuf,
    output: Output,
    slow: (u32, u32),
    ids: Ids,
    process: Option<BrokerProcess>,
    ending: EndingProcesses,
    /// Too many killed ones have not ended, so none starts.
    is_held_up: bool,
    starts: u32,
    /// Closes the link and copies of clients' sockets.
    sink: Rc<Sink>,
}

impl Broker {
    pub fn find(ids: Ids, state: &State, config: &Config) -> Result<Self, Fatal> {
        let program = program::find("remit-broker")?;
        let sink = Sink::new(c_string(program.as_os_str().as_bytes())?, ids);
        Ok(Self {
            sink,
            program,
            spool: state.spool(),
            history: state.history(),
            uploads: state.uploads(),
            output: config.output.clone(),
            slow: (config.breaker.slow_refusals, config.breaker.slow_within_s),
            ids,
            process: None,
            ending: EndingProcesses::default(),
            is_held_up: false,
            starts: 0,
        })
    }

    pub fn sink(&self) -> Rc<Sink> {
        Rc::clone(&self.sink)
    }

    pub fn dropped(&self) -> usize {
        self.sink.due()
    }

    /// Hands over descriptors of job output that were dropped, to be closed.
    pub fn close_dropped(&self) {
        self.sink.give();
    }

    /// Starts the broker. Messages that are sent right after this are queued before it reads.
    pub fn start(&mut self) -> Result<(), Fatal> {
        let (own_end, child_end) =
            Link::pair_closing(self.sink.closing()).map_err(Fatal::call("cannot make the link"))?;
        let program = c_string(self.program.as_os_str().as_bytes())?;
        let argv = self.argv(&program)?;
        let Ids { uid, gid } = self.ids;
        let (pid, pidfd) = spawn_service(
            &program,
            &argv,
            &environment()?,
            uid,
            gid,
            &[],
            &[(child_end.as_fd(), LINK_FD)],
        )
        .map_err(|error| Fatal::System(chain(&error)))?;
        self.starts = self.starts.saturating_add(1);
        self.is_held_up = false;
        self.process = Some(BrokerProcess {
            pid,
            pidfd,
            link: Some(own_end),
            since: Instant::now(),
            ready: false,
            watched: false,
            queue: LinkQueue::default(),
        });
        Ok(())
    }

    fn argv(&self, program: &CStr) -> Result<Vec<CString>, Fatal> {
        let Output {
            per_job,
            per_user,
            total,
        } = self.output;
        let mut argv = vec![
            program.to_owned(),
            c_string(b"--spool")?,
            c_string(self.spool.as_os_str().as_bytes())?,
            c_string(b"--history")?,
            c_string(self.history.as_os_str().as_bytes())?,
            c_string(b"--uploads")?,
            c_string(self.uploads.as_os_str().as_bytes())?,
        ];
        for (option, bytes) in [
            ("--per-job", per_job),
            ("--per-user", per_user),
            ("--total", total),
            ("--slow-refusals", self.slow.0.into()),
            ("--slow-within", self.slow.1.into()),
        ] {
            argv.push(c_string(option.as_bytes())?);
            argv.push(c_string(bytes.to_string().as_bytes())?);
        }
        Ok(argv)
    }

    /// Sends a message or queues it. Without a broker it is dropped: the next one gets all that matters.
    pub fn send(&mut self, message: &ToBroker, fds: &[BorrowedFd<'_>]) {
        self.deliver(None, Some(message), fds);
    }

    fn deliver(
        &mut self,
        entry: Option<&HistoryRecord>,
        message: Option<&ToBroker>,
        fds: &[BorrowedFd<'_>],
    ) {
        match packed(entry, message) {
            Ok(packed) => self.send_packed(packed, fds),
            Err(error) => {
                say!("a message to the broker was lost: {error}");
                if let Some(refusal) = message.and_then(too_large) {
                    self.send(&refusal, &[]);
                }
            }
        }
    }

    fn send_packed(&mut self, packed: Packed, fds: &[BorrowedFd<'_>]) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(link) = &process.link else {
            return;
        };
        if process.queue.messages.is_empty() {
            match link.send(&packed, fds) {
                Ok(()) => return,
                Err(LinkError::Full) => {}
                Err(_) => return,
            }
        }
        let copy = |fd: &BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| self.sink.guard(fd));
        let copies: io::Result<Vec<_>> = fds.iter().map(copy).collect();
        match copies {
            Ok(copies) if process.queue.has_capacity() => process.queue.push(packed, copies),
            Ok(_) => self.kill("it does not read its messages"),
            Err(error) => self.kill(&format!("a descriptor for it cannot be kept: {error}")),
        }
    }

    pub fn store(&mut self, entry: &HistoryRecord) {
        self.deliver(Some(entry), None, &[]);
    }

    /// Has it store an entry, and then handle a message: in one, if both together are not too large for that.
    pub fn send_after(
        &mut self,
        entry: &HistoryRecord,
        message: &ToBroker,
        fds: &[BorrowedFd<'_>],
    ) {
        match packed(Some(entry), Some(message)) {
            Ok(packed) => self.send_packed(packed, fds),
            Err(_) => {
                self.store(entry);
                self.send(message, fds);
            }
        }
    }

    pub fn flush(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(link) = &process.link else {
            return;
        };
        while let Some((packed, fds)) = process.queue.messages.front() {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match link.send(packed, &fds) {
                Ok(()) => process.queue.pop(),
                Err(_) => return,
            }
        }
    }

    /// Returns what the link must be watched for, if that has changed.
    pub fn new_interest(&mut self) -> Option<(BorrowedFd<'_>, Interest)> {
        let process = self.process.as_mut()?;
        let link = process.link.as_ref()?;
        let waiting = !process.queue.messages.is_empty();
        if std::mem::replace(&mut process.watched, waiting) == waiting {
            return None;
        }
        let interest = if waiting {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        Some((link.as_fd(), interest))
    }

    pub fn recv(&mut self) -> Option<(ToWarden, Vec<OwnedFd>)> {
        let process = self.process.as_mut()?;
        match process.link.as_ref()?.recv() {
            Ok(message) => Some(message),
            Err(LinkError::Empty) => None,
            // Without the kill, a closed link stays readable as long as the process lives.
            Err(LinkError::Closed) => {
                self.kill("it closed the link");
                None
            }
            Err(error) => {
                self.kill(&format!("it broke the protocol: {error}"));
                None
            }
        }
    }

    pub fn kill(&mut self, why: &str) {
        if let Some(process) = &mut self.process
            && process.link.take().is_some()
        {
            say!("ending the broker: {why}");
            process.ready = false;
            process.queue = LinkQueue::default();
            let _ = sys::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
        }
    }

    /// Closes the link, which makes the broker end, and waits for that. Then kills it.
    pub fn dismiss(&mut self, patience: Duration) {
        let Some(BrokerProcess {
            pid, pidfd, link, ..
        }) = self.process.take()
        else {
            return;
        };
        drop(link);
        wait_for_exit(pidfd.as_fd(), patience);
        let _ = sys::pidfd_send_signal(&pidfd, libc::SIGKILL);
        wait_for_exit(pidfd.as_fd(), patience);
        let _ = sys::reap(pid);
    }

    /// Reaps the broker if it has ended. Returns the pause before the next start.
    pub fn gone(&mut self) -> Option<Duration> {
        self.ending.reap();
        let is_over = |process: &mut BrokerProcess| has_ended(process.pid, &process.pidfd);
        let process = self.process.take_if(is_over)?;
        Some(self.pause(&process))
    }

    /// Abandons a killed broker that has not ended: a thread of it hangs in the kernel, for example at a pipe that a job keeps
    /// locked. It executes nothing more. `None`: there is none, or it was reported that too many hang.
    pub fn give_up(&mut self) -> Option<HungBroker> {
        self.ending.reap();
        if !self.is_ending() {
            return None;
        }
        if self.ending.is_full() {
            let is_known = std::mem::replace(&mut self.is_held_up, true);
            return (!is_known).then_some(HungBroker::TooMany);
        }
        let process = self.process.take()?;
        say_error!("the killed broker hangs in the kernel and has not ended; the next one starts");
        let pause = self.pause(&process);
        self.ending.push(process.pid, process.pidfd);
        Some(HungBroker::Abandoned(pause))
    }

    /// Returns whether none serves, because too many killed ones hang in the kernel.
    pub fn is_held_up(&self) -> bool {
        self.is_held_up
    }

    fn pause(&self, process: &BrokerProcess) -> Duration {
        match process.since.elapsed() < BACK_OFF {
            true if self.starts > 3 => BACK_OFF,
            _ => Duration::ZERO,
        }
    }

    /// Returns whether it was killed and has not ended.
    pub fn is_ending(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.link.is_none())
    }

    /// Kills it if its main thread has ended and another one, which hangs in the kernel, has not.
    pub fn check_main_thread(&mut self) {
        let process = self.process.as_ref();
        let hangs = |process: &BrokerProcess| {
            is_alive(&process.pidfd) && sys::has_zombie_main_thread(process.pid)
        };
        if process.is_some_and(hangs) {
            self.kill("its main thread has ended");
        }
    }

    pub fn set_ready(&mut self) {
        if let Some(process) = &mut self.process {
            process.ready = process.link.is_some();
        }
    }

    pub fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ready)
    }

    /// Asks the kernel as well: the event of its end may be behind that of a connection, which nobody would serve.
    pub fn can_take_clients(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.ready && is_alive(&process.pidfd))
    }

    pub fn fds(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let process = self.process.as_ref()?;
        Some((process.link.as_ref()?.as_fd(), process.pidfd.as_fd()))
    }

    #[cfg(feature = "mutate")]
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, which does not end meanwhile.
    fn own() -> (i32, OwnedFd) {
        let pid = std::process::id().cast_signed();
        (pid, sys::pidfd_open(pid).unwrap())
    }

    fn broker() -> Broker {
        let ids = Ids { uid: 0, gid: 0 };
        let program = PathBuf::from("/no/such/program");
        Broker {
            sink: Sink::new(c_string(program.as_os_str().as_bytes()).unwrap(), ids),
            program,
            spool: PathBuf::new(),
            history: PathBuf::new(),
            uploads: PathBuf::new(),
            output: Output {
                per_job: 0,
                per_user: 0,
                total: 0,
            },
            slow: (0, 0),
            ids,
            process: None,
            ending: EndingProcesses::default(),
            is_held_up: false,
            starts: 1,
        }
    }

    /// Sets a broker that was killed and does not end.
    fn hang(broker: &mut Broker) {
        let (pid, pidfd) = own();
        broker.process = Some(BrokerProcess {
            pid,
            pidfd,
            link: None,
            since: Instant::now(),
            ready: false,
            watched: false,
            queue: LinkQueue::default(),
        });
    }

    #[test]
    fn too_many_brokers_that_hang_are_reported_once() {
        let mut broker = broker();
        assert_eq!(broker.give_up(), None, "there is none");
        while !broker.ending.is_full() {
            hang(&mut broker);
            let abandoned = Some(HungBroker::Abandoned(Duration::ZERO));
            assert_eq!((broker.give_up(), broker.is_held_up()), (abandoned, false));
            assert_eq!(broker.give_up(), None, "there is none");
        }
        hang(&mut broker);
        for expect in [Some(HungBroker::TooMany), None, None] {
            assert_eq!((broker.give_up(), broker.is_held_up()), (expect, true));
        }
        broker.ending = EndingProcesses::default();
        let abandoned = Some(HungBroker::Abandoned(Duration::ZERO));
        assert_eq!(broker.give_up(), abandoned, "one of them has ended");
    }
}
