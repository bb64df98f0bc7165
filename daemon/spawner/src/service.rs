//! Serves the warden: one question after the other, each with one answer. When the warden dies, it ends all jobs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use remit_confine::spawner;
use remit_confine::{Family, Kernel, Sandbox, SelfTest, Watchdog, Workers, probe, pull, self_test};
use remit_spawn::{
    Answer, Failure, Findings, Fork, Reply, Request, SOCKET, WARDEN, Wanted, socket,
};
use remit_sys::{Doing, Error, Result, sys};

/// Milliseconds in which the warden must end once its socket is closed.
const ENDING_MS: u32 = 1000;
const ASKED: &str = "cannot do what the warden asks";

pub struct Service {
    socket: OwnedFd,
    switch: OwnedFd,
    kernel: Kernel,
    workers: Workers,
    sandboxes: Sandboxes,
    /// Running self-tests, and where their findings go.
    tests: Vec<(SelfTest, OwnedFd)>,
}

/// No number is used twice.
#[derive(Default)]
struct Sandboxes {
    all: BTreeMap<u64, Sandbox>,
    last: u64,
}

impl Sandboxes {
    fn add(&mut self, one: Sandbox) -> Result<u64> {
        self.last = self.last.checked_add(1).ok_or_else(unknown)?;
        self.all.insert(self.last, one);
        Ok(self.last)
    }

    fn get(&self, number: u64) -> Result<&Sandbox> {
        self.all.get(&number).ok_or_else(unknown)
    }
}

fn unknown() -> Error {
    Error::refused(ASKED, "there is nothing of that number")
}

fn nonsense() -> Error {
    Error::refused(ASKED, "it has not the descriptors that belong to it")
}

fn one(fds: Vec<OwnedFd>) -> Result<OwnedFd> {
    let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| nonsense())?;
    Ok(fd)
}

impl Service {
    /// Takes over the descriptors that the warden started this process with, and its first message.
    pub fn take() -> Result<Self> {
        let refused = |why: &str| Error::refused("cannot serve", why);
        // If somebody else has executed this program, the numbers are nobody's.
        if !socket::is_socket(sys::borrowed(SOCKET)) {
            return Err(refused("it has no socket: only remitd starts it"));
        }
        let (socket, warden) = (sys::owned(SOCKET), sys::owned(WARDEN));
        let doing = || "cannot serve".to_owned();
        sys::set_dumpable(false).doing(doing)?;
        sys::close_on_exec(socket.as_fd()).doing(doing)?;
        sys::close_on_exec(warden.as_fd()).doing(doing)?;
        let first = socket::receive::<Request>(socket.as_fd()).doing(doing)?;
        let Some((
            Request::Setup {
                version,
                one_session,
            },
            fds,
        )) = first
        else {
            return Err(refused("its first message is another one"));
        };
        if version != remit_spawn::VERSION {
            return Err(refused("remitd is of another release"));
        }
        let switch = one(fds)?;
        let kernel = probe().map(|kernel| Kernel {
            one_session,
            ..kernel
        });
        let kernel = match kernel {
            Ok(kernel) => kernel,
            Err(error) => {
                let answer = Err(Failure::from(error));
                reply(socket.as_fd(), answer, None, &[]).doing(doing)?;
                return Err(refused("this machine cannot confine"));
            }
        };
        let ready = Answer::Ready(kernel.clone());
        reply(socket.as_fd(), Ok(ready), None, &[]).doing(doing)?;
        Ok(Self {
            socket,
            switch,
            kernel,
            // This program as it was started, whatever becomes of its file.
            workers: Workers::new(c"/proc/self/exe", Family::of_parent(warden))?,
            sandboxes: Sandboxes::default(),
            tests: Vec::new(),
        })
    }

    pub fn serve(mut self) -> Result<()> {
        let served = self.answer_all();
        // When the warden dies, its socket may close before its pidfd reports it.
        if sys::wait_readable(self.workers.family().pidfd(), Some(ENDING_MS)) {
            pull(self.switch.as_fd());
            return Ok(());
        }
        served.doing(|| "cannot hear the warden".to_owned())
    }

    fn answer_all(&mut self) -> io::Result<()> {
        loop {
            if self.wait()? {
                let Some((request, fds)) = socket::receive(self.socket.as_fd())? else {
                    return Ok(());
                };
                self.answer(request, fds)?;
            }
        }
    }

    /// Waits for something to do. Returns true if there is a message.
    fn wait(&mut self) -> io::Result<bool> {
        let read = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let always = [self.socket.as_fd(), self.workers.family().pidfd()];
        let tests = self.tests.iter().map(|(test, _)| test.fd());
        let mut fds: Vec<PollFd<'_>> = always.into_iter().chain(tests).map(read).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.any() == Some(true));
        let (message, orphaned) = (ready.next() == Some(true), ready.next() == Some(true));
        let ended: Vec<bool> = ready.collect();
        if orphaned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if ended.contains(&true) {
            self.report_tests();
        }
        Ok(message)
    }

    fn report_tests(&mut self) {
        self.tests.retain_mut(|(test, pipe)| {
            let findings: Findings = match test.read() {
                Ok(None) => return true,
                Ok(Some(findings)) => Ok(findings),
                Err(error) => Err(error.into()),
            };
            // If the warden has dropped its end, nobody waits for them.
            if let Ok(bytes) = postcard::to_stdvec(&findings) {
                let _ = sys::write(pipe.as_fd(), &bytes);
            }
            false
        });
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Forget { sandbox } => {
                self.sandboxes.all.remove(&sandbox);
                Ok(())
            }
            request => match self.handle(request, fds) {
                Ok((answer, fd)) => {
                    let fd = fd.as_ref().map(AsFd::as_fd);
                    self.reply(Ok(answer), fd.as_slice())
                }
                Err(error) => self.reply(Err(error.into()), &[]),
            },
        }
    }

    fn reply(
        &self,
        answer: std::result::Result<Answer, Failure>,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let lost = self.workers.loss().map(|why| why.to_string());
        reply(self.socket.as_fd(), answer, lost, fds)
    }

    fn handle(&mut self, request: Request, fds: Vec<OwnedFd>) -> Result<(Answer, Option<OwnedFd>)> {
        let switch = self.switch.as_fd();
        match request {
            Request::Watch { id: 0 } => {
                return Err(Error::refused(ASKED, "a watchdog is never root"));
            }
            Request::Watch { id } => {
                let watchdog = Watchdog::start(id, id, switch, self.workers.family())?;
                let (pid, pidfd) = watchdog.into_parts();
                return Ok((Answer::Watching { pid }, Some(pidfd)));
            }
            Request::Compile(wanted) => {
                let sandbox = compile(*wanted, &self.kernel)?;
                let description = Box::new(sandbox.description());
                let sandbox = self.sandboxes.add(sandbox)?;
                let answer = Answer::Compiled {
                    sandbox,
                    description,
                };
                return Ok((answer, None));
            }
            Request::UseBus => self.workers.use_bus(one(fds)?),
            Request::Keep { sandboxes } => {
                let kept = sandboxes.iter().filter_map(|id| self.sandboxes.all.get(id));
                self.workers.keep_for(kept);
            }
            Request::Warm { sandbox } => self.workers.warm(self.sandboxes.get(sandbox)?, switch)?,
            Request::EndWorkers => self.workers.end(),
            Request::EndWorker { sandbox } => self.workers.end_of(self.sandboxes.get(sandbox)?),
            Request::Fork { sandbox, fork } => self.fork(sandbox, fork, &fds)?,
            Request::Worker { sandbox } => {
                let worker = self.workers.socket(self.sandboxes.get(sandbox)?)?;
                return Ok((Answer::Worker, Some(worker)));
            }
            Request::SelfTest { sandbox, own } => {
                let cgroup = one(fds)?;
                let sandbox = self.sandboxes.get(sandbox)?;
                let doing = || ASKED.to_owned();
                let (pipe, end) = pipe2(OFlag::O_CLOEXEC).doing(doing)?;
                fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(doing)?;
                let test = self_test(sandbox, cgroup.as_fd(), own)?;
                self.tests.push((test, end));
                return Ok((Answer::Testing, Some(pipe)));
            }
            Request::Setup { .. } | Request::Forget { .. } => return Err(nonsense()),
        }
        Ok((Answer::Done, None))
    }

    fn fork(&self, sandbox: u64, fork: Fork, fds: &[OwnedFd]) -> Result<()> {
        let sandbox = self.sandboxes.get(sandbox)?;
        if fds.len() != fork.fds() || fork.size.is_none() {
            return Err(nonsense());
        }
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.workers.fork(sandbox, self.switch.as_fd(), &fork, &fds)
    }
}

fn reply(
    socket: BorrowedFd<'_>,
    answer: std::result::Result<Answer, Failure>,
    lost: Option<String>,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let gone = spawner::gone();
    let reply = Reply { gone, lost, answer };
    socket::send(socket, &reply, fds)
}

#[cfg(not(feature = "mutate"))]
fn compile(wanted: Wanted, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted, kernel)
}

/// Under test, `REMIT_MUTATE` names one layer to leave out of a base, for example `NoSuid` or `strict.NoSuid`.
#[cfg(feature = "mutate")]
fn compile(wanted: Wanted, kernel: &Kernel) -> Result<Sandbox> {
    use remit_confine::{Layer, Profile};
    let prefix = match wanted.profile {
        Profile::Read(_) => Some(""),
        Profile::Strict(_) => Some("strict."),
        Profile::View(_) => Some("plan."),
        Profile::Host(_) | Profile::Extract(_) => None,
    };
    let name = std::env::var("REMIT_MUTATE").ok();
    let name = name
        .as_deref()
        .zip(prefix)
        .and_then(|(name, prefix)| name.strip_prefix(prefix));
    let others = [Layer::Measured, Layer::UserNamespace, Layer::Mask];
    let mut all = Layer::ALL.into_iter().chain(others);
    match all.find(|layer| Some(format!("{layer:?}").as_str()) == name) {
        Some(layer) => Sandbox::compile_without(wanted, kernel, layer),
        None => Sandbox::compile(wanted, kernel),
    }
}
