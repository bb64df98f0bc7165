//! The broker's process and the way to it: started, restarted, and never waited for.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_confine::{floor, spawn_service};
use remit_link::socket::Packed;
use remit_link::{ForeignSocket, Link, LinkError, ToBroker, ToWarden};

use crate::accounts::Ids;
use crate::config::Output;
use crate::error::{Fatal, chain};
use crate::reactor::Interest;
use crate::say::JOURNAL_STREAM;
use crate::sink::Sink;
use crate::stop::parted;

/// The broker finds its end of the link here.
const LINK_FD: i32 = 3;
/// What may wait for a broker that does not read: messages, bytes of them, descriptors beside
/// them. More, and it is ended.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 16 << 20;
const QUEUE_FDS: usize = 1024;
/// A broker that lived shorter is started again only after this.
const BACK_OFF: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Process {
    pid: i32,
    pidfd: OwnedFd,
    /// None once it is to end: what it still says does not count.
    link: Option<Link>,
    since: Instant,
    ready: bool,
    /// The link is watched for room to write.
    watched: bool,
    queue: Queue,
}

/// Messages that wait, counted.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Packed, Vec<ForeignSocket>)>,
    bytes: usize,
    fds: usize,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.messages.len() < QUEUE && self.bytes < QUEUE_BYTES && self.fds < QUEUE_FDS
    }

    fn push(&mut self, packed: Packed, fds: Vec<ForeignSocket>) {
        self.bytes = self.bytes.saturating_add(packed.size());
        self.fds = self.fds.saturating_add(fds.len());
        self.messages.push_back((packed, fds));
    }

    fn pop(&mut self) {
        if let Some((packed, fds)) = self.messages.pop_front() {
            self.bytes = self.bytes.saturating_sub(packed.size());
            self.fds = self.fds.saturating_sub(fds.len());
        }
    }
}

/// The broker, running or not.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    spool: PathBuf,
    /// How much of what jobs write it keeps there.
    output: Output,
    ids: Ids,
    process: Option<Process>,
    starts: u32,
    /// Where the link and copies of clients' sockets are closed.
    sink: Rc<Sink>,
}

impl Broker {
    /// Finds the program: beside our own, or in the package's libexec directory.
    ///
    /// # Errors
    /// There is none that only root can change.
    pub fn find(ids: Ids, spool: PathBuf, output: Output) -> Result<Self, Fatal> {
        let own = std::env::current_exe().map_err(Fatal::call("cannot find our own program"))?;
        let beside = own.with_file_name("remit-broker");
        let program = [beside, PathBuf::from("/usr/libexec/remit/remit-broker")]
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| {
                Fatal::Unavailable(format!(
                    "cannot find 'remit-broker' beside '{}' or in '/usr/libexec/remit'",
                    own.display()
                ))
            })?;
        check_program(&program)?;
        let sink = Sink::new(c_string(program.as_os_str().as_bytes())?, ids);
        Ok(Self {
            sink,
            program,
            spool,
            output,
            ids,
            process: None,
            starts: 0,
        })
    }

    /// Where sockets of strangers are closed.
    pub fn sink(&self) -> Rc<Sink> {
        Rc::clone(&self.sink)
    }

    /// Starts it. What must be said first goes into the queue before it reads.
    ///
    /// # Errors
    /// It cannot be forked.
    pub fn start(&mut self) -> Result<(), Fatal> {
        let (ours, theirs) =
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
            &[(theirs.as_fd(), LINK_FD)],
        )
        .map_err(|error| Fatal::System(chain(&error)))?;
        self.starts = self.starts.saturating_add(1);
        self.process = Some(Process {
            pid,
            pidfd,
            link: Some(ours),
            since: Instant::now(),
            ready: false,
            watched: false,
            queue: Queue::default(),
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
        ];
        for (option, bytes) in [
            ("--per-job", per_job),
            ("--per-user", per_user),
            ("--total", total),
        ] {
            argv.push(c_string(option.as_bytes())?);
            argv.push(c_string(bytes.to_string().as_bytes())?);
        }
        Ok(argv)
    }

    /// Says something, now or as soon as it reads. Without a broker it is not
    /// said: the next one is told everything that counts.
    pub fn send(&mut self, message: &ToBroker, fds: &[BorrowedFd<'_>]) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(link) = &process.link else {
            return;
        };
        let packed = match Packed::new(message) {
            Ok(packed) => packed,
            Err(error) => {
                say!("a message to the broker was lost: {error}");
                return;
            }
        };
        if process.queue.messages.is_empty() {
            match link.send(&packed, fds) {
                Ok(()) => return,
                Err(LinkError::Full) => {}
                // Its end is told by its pidfd.
                Err(_) => return,
            }
        }
        let copy = |fd: &BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| self.sink.guard(fd));
        let copies: io::Result<Vec<_>> = fds.iter().map(copy).collect();
        match copies {
            Ok(copies) if process.queue.has_room() => process.queue.push(packed, copies),
            Ok(_) => self.kill("it does not read what it is told"),
            Err(error) => self.kill(&format!("a descriptor for it cannot be kept: {error}")),
        }
    }

    /// Sends what waits.
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

    /// What the link must be watched for from now on, if that has changed.
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

    /// The next message from it, with its descriptors. `None` when there is none now.
    pub fn recv(&mut self) -> Option<(ToWarden, Vec<OwnedFd>)> {
        let process = self.process.as_mut()?;
        match process.link.as_ref()?.recv() {
            Ok(message) => Some(message),
            Err(LinkError::Empty) => None,
            // A closed link would be readable for as long as the process lives.
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

    /// Ends it: it is not to be trusted with clients any more. Its pidfd tells when it is gone.
    pub fn kill(&mut self, why: &str) {
        if let Some(process) = &mut self.process
            && process.link.take().is_some()
        {
            say!("ending the broker: {why}");
            process.ready = false;
            process.queue = Queue::default();
            let _ = floor::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
        }
    }

    /// Closes the link, on which it ends by itself, and waits for that; then it is killed.
    pub fn dismiss(&mut self, patience: Duration) {
        let Some(Process {
            pid, pidfd, link, ..
        }) = self.process.take()
        else {
            return;
        };
        drop(link);
        parted(pidfd.as_fd(), patience);
        let _ = floor::pidfd_send_signal(&pidfd, libc::SIGKILL);
        parted(pidfd.as_fd(), patience);
        let _ = floor::reap(pid);
    }

    /// Reaps it once its pidfd says so; how long to wait before the next start.
    pub fn gone(&mut self) -> Option<Duration> {
        let process = self.process.take()?;
        if floor::reap(process.pid).is_none() && alive(&process) {
            self.process = Some(process);
            return None;
        }
        Some(match process.since.elapsed() < BACK_OFF {
            true if self.starts > 3 => BACK_OFF,
            _ => Duration::ZERO,
        })
    }

    /// It has confined itself and takes clients.
    pub fn set_ready(&mut self) {
        if let Some(process) = &mut self.process {
            process.ready = process.link.is_some();
        }
    }

    /// Whether it takes clients.
    pub fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ready)
    }

    /// Its link and its pidfd.
    pub fn fds(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let process = self.process.as_ref()?;
        Some((process.link.as_ref()?.as_fd(), process.pidfd.as_fd()))
    }

    /// Its pid, 0 without one.
    #[cfg(feature = "mutate")]
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    /// How often it was started anew.
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }
}

/// What it may know of ours: where its log goes to.
pub fn environment() -> Result<Vec<CString>, Fatal> {
    let stream = std::env::var(JOURNAL_STREAM).ok();
    let stream = stream.map(|stream| format!("{JOURNAL_STREAM}={stream}"));
    [Some("PATH=/usr/bin:/bin".to_owned()), stream]
        .into_iter()
        .flatten()
        .map(|variable| c_string(variable.as_bytes()))
        .collect()
}

fn alive(process: &Process) -> bool {
    floor::pidfd_alive(process.pidfd.as_fd()).unwrap_or(false)
}

fn check_program(path: &Path) -> Result<(), Fatal> {
    let refuse = |why: &str| {
        Err(Fatal::Unavailable(format!(
            "cannot use the broker '{}': {why}",
            path.display()
        )))
    };
    match path.symlink_metadata() {
        Err(error) => refuse(&error.to_string()),
        Ok(meta) if !meta.is_file() => refuse("it is no regular file"),
        Ok(meta) if meta.uid() != 0 => refuse("it is not owned by root"),
        Ok(meta) if meta.mode() & 0o022 != 0 => refuse("others than root may write it"),
        Ok(_) => Ok(()),
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, Fatal> {
    CString::new(bytes).map_err(|_| Fatal::Usage("a path holds a NUL byte".into()))
}
