//! A broker that only measures. The warden starts it in place of remit-broker, so only the warden's share of a call is
//! measured. A client sends one byte for each run of `/bin/true` and gets eight in native byte order: nanoseconds from
//! the request until the warden reports the recorded end. It keeps no output and has no limits.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_closer::{inherited, sink};
use remit_common::names::JobId;
use remit_link::closer::ARGUMENT;
use remit_link::socket::Packed;
use remit_link::{Delivery, Link, LinkError, Spec, SpecWhat, ToBroker, ToWarden, Totals};
use remit_wire::Purpose;
use remit_wire::outcome::Ending;

type Failure = Box<dyn std::error::Error>;

/// SHA-256 of the empty output of `true`.
const NOTHING: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

fn main() -> ExitCode {
    // The warden starts its broker's program to close descriptors, too, and again and again if that fails.
    let served =
        match std::env::args_os().any(|word| word.as_encoded_bytes() == ARGUMENT.to_bytes()) {
            true => close(),
            false => serve(),
        };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bench-broker: {why}");
            ExitCode::FAILURE
        }
    }
}

fn close() -> Result<(), Failure> {
    let socket = inherited::socket()?;
    Ok(sink(&socket)?)
}

struct Broker {
    link: Link,
    clients: Vec<(u64, UnixStream)>,
    tickets: u64,
}

fn serve() -> Result<(), Failure> {
    let mut broker = Broker {
        link: inherited::link()?,
        clients: Vec::new(),
        tickets: 0,
    };
    broker.tell(&ToWarden::Ready)?;
    loop {
        let fds = std::iter::once(broker.link.as_fd())
            .chain(broker.clients.iter().map(|(_, socket)| socket.as_fd()));
        let ready = readable(fds)?;
        if ready.first() == Some(&true) && !broker.listen()? {
            return Ok(());
        }
        // A session added or removed in this turn is handled in the next one.
        let asking: Vec<u64> = broker
            .clients
            .iter()
            .zip(ready.iter().skip(1))
            .filter(|(_, ready)| **ready)
            .map(|((session, _), _)| *session)
            .collect();
        for session in asking {
            broker.answer(session)?;
        }
    }
}

fn readable<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> Result<Vec<bool>, Failure> {
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::NONE)?;
    Ok(fds.iter().map(|fd| fd.any().unwrap_or_default()).collect())
}

impl Broker {
    fn tell(&self, message: &ToWarden) -> Result<(), Failure> {
        Ok(self.link.send(&Packed::new(message)?, &[])?)
    }

    fn receive(&self) -> Result<(Option<ToBroker>, Vec<OwnedFd>), LinkError> {
        let (Delivery { message, .. }, fds) = self.link.recv::<Delivery>()?;
        Ok((message, fds))
    }

    /// Handles a message while no job runs. Returns false at the end of the link.
    fn listen(&mut self) -> Result<bool, Failure> {
        match self.receive() {
            Ok((Some(ToBroker::Session { session, .. }), mut fds)) => {
                let socket = UnixStream::from(fds.pop().ok_or("a session without a socket")?);
                socket.set_nonblocking(true)?;
                self.clients.push((session, socket));
            }
            Ok((Some(ToBroker::SessionGone { session }), _)) => self.close(session),
            Ok(_) | Err(LinkError::Empty) => {}
            Err(LinkError::Closed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn close(&mut self, session: u64) {
        self.clients.retain(|(known, _)| *known != session);
    }

    fn answer(&mut self, session: u64) -> Result<(), Failure> {
        let Some((_, socket)) = self.clients.iter_mut().find(|(known, _)| *known == session) else {
            return Ok(());
        };
        match socket.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Ok(1..) => {
                let took = self.run(session)?;
                if let Some((_, socket)) = self.clients.iter_mut().find(|it| it.0 == session) {
                    socket.write_all(&took.to_ne_bytes())?;
                }
                Ok(())
            }
            Ok(0) | Err(_) => {
                self.close(session);
                self.tell(&ToWarden::Closed { session })
            }
        }
    }

    fn run(&mut self, session: u64) -> Result<u64, Failure> {
        self.tickets += 1;
        let ticket = self.tickets;
        let request = ToWarden::Run {
            session,
            ticket,
            spec: Box::new(spec()),
        };
        let start = Instant::now();
        self.tell(&request)?;
        let ending = self.follow(ticket)?;
        let took = u64::try_from(start.elapsed().as_nanos())?;
        match ending.exit {
            Some(0) => Ok(took),
            _ => Err(format!("'/bin/true' did not run: {ending:?}").into()),
        }
    }

    /// Does a broker's duties for the job of `ticket` until its end is recorded.
    fn follow(&mut self, ticket: u64) -> Result<Box<Ending>, Failure> {
        let mut own_job: Option<JobId> = None;
        let mut pipes: Vec<OwnedFd> = Vec::new();
        loop {
            let fds = std::iter::once(self.link.as_fd()).chain(pipes.iter().map(AsFd::as_fd));
            let ready = readable(fds)?;
            if let Some(job) = own_job
                && !pipes.is_empty()
            {
                let mut at = ready.iter().skip(1);
                pipes.retain(|pipe| at.next() != Some(&true) || !has_ended(pipe));
                if pipes.is_empty() {
                    let totals = Totals {
                        sha256: NOTHING,
                        ..Totals::default()
                    };
                    self.tell(&ToWarden::Drained { job, totals })?;
                }
            }
            if ready.first() != Some(&true) {
                continue;
            }
            match self.receive() {
                Ok((
                    Some(ToBroker::Job {
                        ticket: Some(of),
                        meta,
                        ..
                    }),
                    fds,
                )) if of == ticket => {
                    own_job = Some(meta.job);
                    pipes = fds;
                }
                Ok((Some(ToBroker::Started { job, .. }), fds)) if own_job == Some(job) => {
                    pipes = fds
                }
                Ok((Some(ToBroker::Answer { ticket: of, answer }), _)) if of == ticket => {
                    return Err(format!("'/bin/true' was refused: {answer:?}").into());
                }
                Ok((Some(ToBroker::Ended { job, ending, .. }), _)) if own_job == Some(job) => {
                    return Ok(ending);
                }
                Ok(_) | Err(LinkError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads and discards. Returns true at the end of the pipe.
fn has_ended(pipe: &OwnedFd) -> bool {
    let mut bytes = [0; 4096];
    !matches!(nix::unistd::read(pipe, &mut bytes), Ok(1..))
}

fn spec() -> Spec {
    Spec {
        what: SpecWhat::Argv(vec![b"/bin/true".to_vec().into()]),
        cwd: None,
        env: Vec::new(),
        stdin: false,
        profile: None,
        max_runtime_s: None,
        request_id: None,
        client: "remit-bench".into(),
        purpose: Purpose::Use,
        traceparent: None,
        set: None,
        behalf: None,
    }
}
