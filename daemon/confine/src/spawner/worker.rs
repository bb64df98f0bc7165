//! The worker's own life, and that of its children until their exec.

use super::host::{HostTree, TreeAtFork};
use super::protocol::{self, News, Setup};
use super::watch::Watch;
use super::{Family, NAME, SOCKET};
use crate::spec::compiled::Base;
use crate::steps::enter::with_child_env;
use crate::steps::exec;
use crate::steps::lists::{enter, walk};
use crate::steps::prepare::{Preparing, private_size};
use crate::steps::report::{Failure, Fault, StepLog};
use crate::steps::setup::SettingUp;
use crate::supervise::watchdog;
use crate::sys::{self, ForkCall, Propagation};
use crate::{Sandbox, Step, Why};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, fchown};
use remit_spawn::{Ends, Fork, Job, Order, Report, receive_ends};
use remit_sys::{Doing, Error, Result};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

/// Milliseconds in which the warden must end once its socket is closed.
const ENDING_MS: u32 = 1000;
const NOT_STARTED: i32 = 127;
/// Milliseconds after the last copy of the machine for which the kernel reports changes.
const WATCHED_MS: i32 = 600_000;
/// Bytes of news that are read.
const NEWS: u64 = 16 << 20;
/// Bytes of most orders, decoded.
const USUAL: usize = 16 << 10;

pub fn is_worker() -> bool {
    std::env::args_os().eq([std::ffi::OsStr::from_bytes(NAME.to_bytes())])
}

pub fn serve() -> u8 {
    let Err(error) = try_serve() else {
        return 0;
    };
    let source = std::error::Error::source(&error);
    let source = source.map_or(String::new(), |source| format!(": {source}"));
    let text = format!("remit-zygote: {error}{source}\n");
    let _ = sys::write(sys::borrowed(2), text.as_bytes());
    1
}

fn try_serve() -> Result<()> {
    let refused = |why: &str| Error::refused("cannot be a worker", why.to_owned());
    // If somebody else has executed this program, the number is nobody's.
    if !protocol::is_socket(sys::borrowed(SOCKET)) {
        return Err(refused("it has no socket: only remit-spawner starts it"));
    }
    let socket = sys::owned(SOCKET);
    let first = protocol::receive::<Setup>(socket.as_fd());
    let Ok(Some((setup, fds))) = first else {
        return Err(refused("it has no profile: only remit-spawner starts it"));
    };
    let Ok([warden, switch]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(refused("it has no descriptor of the kill switch"));
    };
    let doing = || "a worker cannot set itself up".to_owned();
    sys::close_on_exec(socket.as_fd()).doing(doing)?;
    sys::set_name(NAME).doing(doing)?;
    let sandbox = Sandbox::of(setup.origin)?;
    let mut log = StepLog::default();
    let mut own = SettingUp {
        sandbox: &sandbox,
        listener: None,
    };
    walk(sandbox.base.lists().setup, &mut log, |take| take(&mut own))
        .map_err(|Failure { fault, .. }| fault.into_error())
        .doing(doing)?;
    // The only copy goes: who holds one can answer for the jobs.
    let ready = Report::Ready.say(socket.as_fd(), own.listener.take().as_ref());
    ready.doing(doing)?;
    let (hearing, to_tell) = protocol::patient_pair().doing(doing)?;
    let worker = Worker {
        socket,
        sandbox: &sandbox,
        host: HostTree::new(&sandbox).doing(doing)?,
        log,
        family: Family::of_parent(warden),
        switch,
        hearing,
        to_tell,
        watch: Watch::default(),
    };
    worker.run()
}

struct Worker<'a> {
    socket: OwnedFd,
    sandbox: &'a Sandbox,
    host: HostTree,
    /// What its children have done already.
    log: StepLog,
    family: Family,
    switch: OwnedFd,
    /// Children send what they have found from one of these to the other.
    hearing: OwnedFd,
    to_tell: OwnedFd,
    watch: Watch,
}

impl Worker<'_> {
    fn run(mut self) -> Result<()> {
        let ran = self.serve();
        // When the warden dies, the spawner's socket may close before the warden's pidfd reports it.
        if sys::wait_readable(self.family.pidfd(), Some(ENDING_MS)) {
            watchdog::pull(self.switch.as_fd());
            return Ok(());
        }
        ran.doing(|| "a worker cannot continue".into())
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            if !self.wait()? {
                continue;
            }
            let Some((fork, fds)) = protocol::receive::<Fork>(self.socket.as_fd())? else {
                return Ok(());
            };
            let mut fds = fds.into_iter();
            let socket = fds.next().filter(|_| fds.len() + 1 == fork.fds());
            let socket = socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))?;
            let cgroup = fork.cgroup.then(|| fds.next()).flatten();
            let staged = fork.staged.then(|| fds.next()).flatten();
            let (cgroup, staged) = (
                cgroup.as_ref().map(AsFd::as_fd),
                staged.as_ref().map(AsFd::as_fd),
            );
            if let Err(error) = self.fork(fork, socket.as_fd(), cgroup, staged) {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                let _ = Report::Failed(errno).say(socket.as_fd(), None);
            }
        }
    }

    /// Waits for something to do. Returns true if there is a message.
    fn wait(&mut self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.family.pidfd(), PollFlags::POLLIN),
            PollFd::new(self.hearing.as_fd(), PollFlags::POLLIN),
        ];
        let patience = match self.watch.group() {
            Some(_) => PollTimeout::try_from(WATCHED_MS).unwrap_or(PollTimeout::NONE),
            None => PollTimeout::NONE,
        };
        let ready = match poll(&mut fds, patience) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let [message, orphaned, news] = fds.map(|fd| fd.any() == Some(true));
        if orphaned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if news && let Some((News(reports), news)) = protocol::hear(self.hearing.as_fd())? {
            self.learn(reports, news);
        }
        if ready == 0 {
            self.watch.stop();
        }
        Ok(message)
    }

    fn learn(&mut self, reports: u64, news: OwnedFd) {
        // Reading from anything else could wait.
        if !sys::is_sealed(&news) {
            return;
        }
        let mut bytes = Vec::new();
        let read = File::from(news).take(NEWS).read_to_end(&mut bytes);
        if read.is_ok() {
            self.watch.learn(reports, &bytes);
        }
    }

    fn fork(
        &mut self,
        fork: Fork,
        socket: BorrowedFd<'_>,
        cgroup: Option<BorrowedFd<'_>>,
        staged: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let sandbox = self.sandbox;
        let size = fork.size.unwrap_or(private_size(&sandbox.limits));
        let mut prepared = Preparing::new(sandbox, fork.own, size, cgroup, self.family.pid())
            .map_err(io::Error::other)?;
        prepared.staged = staged;
        // What a child looks at before its job comes is no part of this.
        let is_walked = matches!(&sandbox.base, Base::View(view) if !view.sees_all);
        let group = match is_walked && fork.size.is_some() {
            true => {
                prepared.watched = self.watch.look();
                prepared.watched.as_ref().map(|watched| watched.group)
            }
            false => self.watch.group(),
        };
        let tree = match fork.size {
            Some(_) => None,
            None => {
                prepared.propagation = Propagation::Slave;
                Some(self.host.before_fork(sandbox)?)
            }
        };
        let call = sandbox.kernel.fork;
        let into = cgroup.filter(|_| call == ForkCall::Clone3);
        let child = || {
            // First, so that the warden knows its child, whatever becomes of it.
            if Report::Forked.say(socket, None).is_err() {
                return NOT_STARTED;
            }
            // Through these the child would keep others' things, or the worker's socket, open while it waits.
            let always = [
                self.socket.as_fd(),
                self.family.pidfd(),
                self.switch.as_fd(),
                self.hearing.as_fd(),
            ];
            for fd in always.into_iter().chain(group) {
                sys::close_one(fd.as_raw_fd());
            }
            become_job(prepared, self.log, socket, fork, self.to_tell.as_fd(), tree)
        };
        self.family.fork(call, into, child).map(drop)
    }
}

/// The rest of a child's life. One that is `waiting` cuts itself off from the host's tree when its job comes, and gives the
/// warden its mount namespace. One that is `watched` reports to its worker what it has found. Once it has its job, no destructor may run for descriptors that were closed by number.
fn become_job(
    mut child: Preparing<'_>,
    mut log: StepLog,
    socket: BorrowedFd<'_>,
    fork: Fork,
    worker: BorrowedFd<'_>,
    waiting: Option<TreeAtFork>,
) -> i32 {
    let sandbox = child.sandbox;
    let prepared = walk(sandbox.base.lists().prepare, &mut log, |take| {
        take(&mut child)
    });
    if let Some(watched) = child.watched.take() {
        protocol::tell(worker, watched.reports, &std::mem::take(&mut child.news));
    }
    // Touches the memory for the job's description in advance, so that it is this process's own.
    drop(std::hint::black_box(vec![1u8; USUAL]));
    let Some(ends) = receive_ends(socket) else {
        return NOT_STARTED;
    };
    let owned = own_ends(sandbox.owner(fork.own), &ends);
    let Ok(Some((order, fds))) = protocol::receive::<Order>(socket) else {
        return NOT_STARTED;
    };
    let with_fds = order.with(&fds);
    let job = with_fds.as_ref().map(|with_fds| with_fds.job(child.cgroup));
    let job = match job {
        Some(job) => owned.and_then(|()| vet(sandbox, fork, &job).map(|()| job)),
        None => Err(Error::refused(JOB, "it has not its descriptors")),
    };
    let mount_ns = child.mount_ns.take();
    let job = match (job, waiting) {
        (Ok(job), Some(tree)) => {
            let refusal = match (prepared, tree.cut_off(sandbox, mount_ns.is_some())) {
                (Err(_), _) => Some("it could not be prepared".to_owned()),
                (_, Err(error)) => Some(format!("it cannot be cut off: {error}")),
                (_, Ok(false)) => Some("the host's mounts have changed".to_owned()),
                (Ok(()), Ok(true)) => None,
            };
            if let Some(why) = refusal {
                let _ = Report::Refused(why).say(socket, None);
                return NOT_STARTED;
            }
            // From here on the warden takes it for the job.
            if Report::Started.say(socket, mount_ns.as_ref()).is_err() {
                return NOT_STARTED;
            }
            job
        }
        (Err(error), Some(_)) => {
            let _ = Report::Refused(error.to_string()).say(socket, None);
            return NOT_STARTED;
        }
        (job, None) => {
            let unmet = |_| Failure {
                step: Step::Descriptors,
                fault: Fault::because(Why::Unmet),
            };
            match prepared.and_then(|()| job.map_err(unmet)) {
                Ok(job) => job,
                Err(failure) => {
                    let [_, _, steps] = &ends;
                    let _ = log.send(steps.as_fd(), Some(failure));
                    return NOT_STARTED;
                }
            }
        }
    };
    drop(mount_ns);
    if let Err(failure) = give_view(&mut child, socket) {
        let [_, _, steps] = &ends;
        let _ = log.send(steps.as_fd(), Some(failure));
        return NOT_STARTED;
    }
    if let Some(cgroup) = child.cgroup.take() {
        sys::close_one(cgroup.as_raw_fd());
    }
    let entered = with_child_env(sandbox, &job, &ends, |env| {
        enter(env, child, log, |steps, program| {
            let failure = exec::execute(env, program);
            let _ = StepLog::default().send(steps, Some(failure));
            NOT_STARTED
        })
    });
    sys::exit(entered.unwrap_or(NOT_STARTED))
}

/// Gives the warden the view, which goes with its last descriptor.
fn give_view(
    child: &mut Preparing<'_>,
    socket: BorrowedFd<'_>,
) -> std::result::Result<(), Failure> {
    let Some(kept) = child.kept.take() else {
        return Ok(());
    };
    let said = Report::Users.say(socket, child.users.as_ref());
    let said = said.and_then(|()| Report::View.say(socket, Some(&kept)));
    said.map_err(|error| Failure {
        step: Step::Root,
        fault: error.into(),
    })
}

const JOB: &str = "cannot spawn a job";

/// Gives the pipes of output to the job's user, who may open them again, as `/dev/stderr` does.
fn own_ends((uid, gid): (u32, u32), [out, err, _]: &Ends) -> Result<()> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    [out, err]
        .into_iter()
        .try_for_each(|end| fchown(end, owner.0, owner.1))
        .doing(|| "cannot hand a pipe to the job".to_owned())
}

/// Checks the form of a job, whoever sends it, and that it is the one of this child.
fn vet(sandbox: &Sandbox, fork: Fork, job: &Job<'_>) -> Result<()> {
    job.vet(sandbox.needs_cgroup())?;
    let can_show = fork.size.is_some() && matches!(sandbox.base, Base::Strict(_) | Base::View(_));
    if fork.staged && !can_show {
        return Err(Error::refused(JOB, "it cannot see files of a plan"));
    }
    if job.kept.is_some() != matches!(sandbox.base, Base::Extract(_)) {
        return Err(Error::refused(
            JOB,
            "a view and its profile do not belong together",
        ));
    }
    let size = fork.size.unwrap_or(private_size(&sandbox.limits));
    match fork.own == (job.uid, job.gid) && size == private_size(job.limits) {
        true => Ok(()),
        false => Err(Error::refused(JOB, "its child was made for another one")),
    }
}
