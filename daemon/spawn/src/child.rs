//! A job's child, as the warden sees it until the job goes on. The child gets nothing of the job but by its own socket.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use nix::unistd::pipe2;
use remit_sys::{Closing, Doing, Error, OutputEnd, Result, sys};

use crate::fork::{Ends, send_ends};
use crate::{Fork, Job, Order, Report, socket};

/// Timeout for a report, in seconds: a fork takes a tenth of a millisecond.
const PATIENCE_S: i64 = 2;
/// Milliseconds in which a killed child must end, before it is left to end by itself.
const ENDING_MS: u16 = 100;
const DOING: &str = "cannot fork a job";

/// Has workers fork children: the spawner, as the warden asks it.
pub trait Forker: Debug {
    /// Fails if there is no worker. If a child that waits cannot be had, its socket says so.
    fn fork(&self, sandbox: u64, fork: Fork, fds: &[BorrowedFd<'_>]) -> Result<()>;

    /// Ends a worker that hangs or talks nonsense, and forgets one that has ended.
    fn end_worker(&self, sandbox: u64);

    /// Takes an ended child, for its parent to reap.
    fn leave(&self, pid: i32);
}

/// A child that was asked for. Dropping it ends the child: its cgroup and uid can then be another job's.
#[derive(Debug)]
pub struct Child<'a> {
    forker: Rc<dyn Forker + 'a>,
    sandbox: u64,
    is_waiting: bool,
    /// Without it the child ends by itself.
    socket: Rc<OwnedFd>,
    process: ChildProcess,
    pipes: Option<Ends>,
}

#[derive(Debug)]
enum ChildProcess {
    Unreported,
    Here(i32, OwnedFd),
    /// There is none, or it is the job now: then the job's owner reaps it.
    Foreign,
}

/// A child to which its job was sent. It may go on already.
#[derive(Debug)]
pub struct OrderedChild<'a>(Child<'a>);

impl OrderedChild<'_> {
    /// Hears if the child goes on. For a child that waited, an error says that it will never start.
    pub fn started(self) -> Result<StartedJob> {
        self.0.started()
    }
}

/// A child that has its job, and goes on. The descriptors are the read ends, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct StartedJob {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub steps: OwnedFd,
    pub reports: Reports,
    /// Of a child that waited.
    pub mount_ns: Option<OwnedFd>,
}

/// The socket by which the child reports. It hangs up at the exec, so whoever has watched it for the child's end stops.
#[derive(Debug)]
pub struct Reports(Rc<OwnedFd>);

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A view that outlives its job. Without it, nothing is left of what the job wrote. It keeps the machine's file systems in use
/// that it shows. The job's uid owns the user namespace, and any process of that uid has all rights over it: the uid must be no
/// other job's until this is dropped, and the job that reads it has another one.
#[derive(Debug)]
pub struct KeptView {
    pub users: OutputEnd,
    /// The top of a tree of mounts: `remit_core::view`. The last to close it frees what the job wrote, and ends each file
    /// system that was unmounted meanwhile.
    pub tree: OutputEnd,
}

impl Reports {
    /// Returns the view of a job of base `plan` that has executed its program, for `closing` to close. Does not wait.
    pub fn kept_view(&self, closing: &Closing) -> io::Result<KeptView> {
        let hear = || {
            let (report, _, fd) = Report::hear(self.0.as_fd(), MsgFlags::MSG_DONTWAIT)?;
            io::Result::Ok((report, fd.map(|fd| closing.guard(fd))))
        };
        match (hear()?, hear()?) {
            ((Report::Users, Some(users)), (Report::View, Some(tree))) => {
                Ok(KeptView { users, tree })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl<'a> Child<'a> {
    /// Asks for a child of this uid, gid and cgroup, with staged files. It exists once it reported. See [`Fork::size`].
    pub fn ask(
        forker: Rc<dyn Forker + 'a>,
        sandbox: u64,
        own: (u32, u32),
        size: Option<(u64, u64)>,
        cgroup: Option<BorrowedFd<'_>>,
        staged: Option<BorrowedFd<'_>>,
    ) -> Result<Child<'a>> {
        let doing = || DOING.to_owned();
        let (socket, its) = socket::pair(PATIENCE_S).doing(doing)?;
        // The kernel then reports its pid in this process's own pid namespace. unix(7).
        setsockopt(&socket, sockopt::PassCred, &true).doing(doing)?;
        let (pipes, ends) = pipes().doing(doing)?;
        // Closed here before it can execute anything, so before anyone can hold the locks of these pipes.
        send_ends(socket.as_fd(), &ends).doing(doing)?;
        drop(ends);
        let fork = Fork {
            cgroup: cgroup.is_some(),
            staged: staged.is_some(),
            own,
            size,
        };
        let fds = std::iter::once(its.as_fd()).chain(cgroup).chain(staged);
        let fds: Vec<_> = fds.collect();
        forker.fork(sandbox, fork, &fds)?;
        Ok(Child {
            forker,
            sandbox,
            is_waiting: size.is_none(),
            socket: Rc::new(socket),
            process: ChildProcess::Unreported,
            pipes: Some(pipes),
        })
    }

    pub fn is_of(&self, sandbox: u64) -> bool {
        self.sandbox == sandbox
    }

    /// Hangs up when the child has ended.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn has_ended(&self) -> bool {
        self.shows(PollFlags::empty(), PollTimeout::ZERO)
    }

    pub fn wait(&self) {
        self.shows(PollFlags::POLLIN, PollTimeout::from(1000u16));
    }

    fn shows(&self, events: PollFlags, patience: PollTimeout) -> bool {
        let mut socket = [PollFd::new(self.socket.as_fd(), events)];
        poll(&mut socket, patience).is_ok_and(|ready| ready > 0)
    }

    /// Gives it its job, and hears if it goes on.
    pub fn begin(self, job: &Job<'_>) -> Result<StartedJob> {
        self.order(job)?.started()
    }

    /// Gives it its job, once the child is known.
    pub fn order(mut self, job: &Job<'_>) -> Result<OrderedChild<'a>> {
        let doing = || DOING.to_owned();
        self.wait_forked().doing(doing)?;
        socket::send(self.socket.as_fd(), &Order::new(job), &Order::fds(job)).doing(doing)?;
        Ok(OrderedChild(self))
    }

    fn started(mut self) -> Result<StartedJob> {
        let mount_ns = match self.is_waiting {
            true => self.wait_started()?,
            false => None,
        };
        let process = std::mem::replace(&mut self.process, ChildProcess::Foreign);
        let (ChildProcess::Here(pid, pidfd), Some(pipes)) = (process, self.pipes.take()) else {
            return Err(Error::refused(DOING, "it has ended"));
        };
        let [stdout, stderr, steps] = pipes;
        Ok(StartedJob {
            reports: Reports(Rc::clone(&self.socket)),
            mount_ns,
            pid,
            pidfd,
            stdout,
            stderr,
            steps,
        })
    }

    fn wait_forked(&mut self) -> io::Result<()> {
        let ChildProcess::Unreported = self.process else {
            return Ok(());
        };
        self.process = ChildProcess::Foreign;
        let heard = self.hear().or_else(|error| match error.kind() {
            // Only after the end of a worker that hangs is it known what it has forked.
            io::ErrorKind::WouldBlock => {
                self.forker.end_worker(self.sandbox);
                self.hear()
            }
            _ => Err(error),
        });
        match heard {
            Ok((Report::Forked, pid @ 2.., _)) => {
                let pidfd = sys::pidfd_open(pid).inspect_err(|_| {
                    // A child that nobody has reaped: so the number is still its own.
                    let _ = sys::kill(pid, libc::SIGKILL);
                    self.forker.leave(pid);
                })?;
                self.process = ChildProcess::Here(pid, pidfd);
                Ok(())
            }
            Ok((Report::Failed(errno), ..)) => Err(io::Error::from_raw_os_error(errno)),
            heard => {
                self.forker.end_worker(self.sandbox);
                Err(heard.map_or_else(|error| error, |_| io::ErrorKind::InvalidData.into()))
            }
        }
    }

    fn wait_started(&self) -> Result<Option<OwnedFd>> {
        let heard = self
            .hear()
            .or_else(|error| match (&self.process, error.kind()) {
                // What it said before its end counts. A child that is killed before it has begun executes nothing more.
                (ChildProcess::Here(_, pidfd), io::ErrorKind::WouldBlock) => {
                    let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
                    self.hear()
                }
                _ => Err(error),
            });
        match heard.doing(|| DOING.to_owned())? {
            (Report::Started, _, mount_ns) => Ok(mount_ns),
            (Report::Refused(why), ..) => Err(Error::refused(DOING, why)),
            _ => Err(Error::refused(DOING, "its child's answer means nothing")),
        }
    }

    fn hear(&self) -> io::Result<(Report, i32, Option<OwnedFd>)> {
        Report::hear(self.socket.as_fd(), MsgFlags::empty())
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        let _ = self.wait_forked();
        if let ChildProcess::Here(pid, pidfd) = &self.process {
            let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
            let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ended, PollTimeout::from(ENDING_MS));
            self.forker.leave(*pid);
        }
    }
}

/// Makes the pipes of a job: the read ends (non-blocking), the write ends.
fn pipes() -> io::Result<(Ends, Ends)> {
    let pipe = || {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok::<_, io::Error>((read, write))
    };
    let ((stdout, out), (stderr, err), (steps, report)) = (pipe()?, pipe()?, pipe()?);
    Ok(([stdout, stderr, steps], [out, err, report]))
}
