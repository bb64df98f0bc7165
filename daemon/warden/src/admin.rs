//! admin.sock: read by the warden itself, one small frame at a time, never waiting.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest, Status};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};

use crate::audit::{Event, Record};
use crate::peer::{self, Subject};
use crate::plan::who;
use crate::reactor::{Interest, Token};
use crate::warden::{Gate, Warden};

/// Bytes of answers waiting for one administrator who does not read.
const WRITE_BUFFER: usize = 256 << 10;
/// Bytes of a reason.
const WHY: usize = 1000;

/// A connection.
#[derive(Debug)]
struct Admin {
    stream: UnixStream,
    subject: Subject,
    _pidfd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Admins {
    next: u64,
    live: BTreeMap<u64, Admin>,
}

impl Warden {
    /// Takes connections of administrators.
    pub fn accept_admins(&mut self) {
        while let Some(stream) = self.listeners.admin() {
            if self.admins.live.len() >= caps::ADMIN_SESSIONS {
                continue;
            }
            let (subject, pidfd) = match peer::identify(&stream, &self.names) {
                Ok(peer) => peer,
                Err(why) => {
                    let text = format!("a connection to admin.sock was closed: {why}");
                    self.record_refusal(None, None, &Refusal::new(Code::DeniedRule, text));
                    continue;
                }
            };
            self.admins.next += 1;
            let number = self.admins.next;
            if self
                .reactor
                .add(&stream, Token::Admin(number), Interest::Read)
                .is_ok()
            {
                let admin = Admin {
                    stream,
                    subject,
                    _pidfd: pidfd,
                    input: Vec::new(),
                    output: Vec::new(),
                };
                self.admins.live.insert(number, admin);
            }
        }
    }

    /// A connection can be read or written.
    pub fn admin_event(&mut self, number: u64) {
        let Some(mut admin) = self.admins.live.remove(&number) else {
            return;
        };
        // Taken out while it is served, and put back only when it is in order.
        if self.serve_admin(&mut admin).is_ok() {
            let interest = match admin.output.is_empty() {
                true => Interest::Read,
                false => Interest::ReadWrite,
            };
            if self
                .reactor
                .set(&admin.stream, Token::Admin(number), interest)
                .is_ok()
            {
                self.admins.live.insert(number, admin);
            }
        }
    }

    fn serve_admin(&mut self, admin: &mut Admin) -> Result<(), FrameError> {
        let mut buffer = [0; 16 << 10];
        let mut closed = false;
        loop {
            match admin.stream.read(&mut buffer) {
                Ok(0) => {
                    closed = true;
                    break;
                }
                Ok(count) => admin.input.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(FrameError::Io(error)),
            }
            if admin.input.len() > caps::ADMIN_FRAME + frame::HEADER {
                break;
            }
        }
        while let Some(call) = take_frame(&mut admin.input)? {
            let reply = match call.protocol {
                ADMIN_PROTOCOL => self.admin_request(&admin.subject, call.request),
                other => AdminReply::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("admin protocol {other} is not spoken here, only {ADMIN_PROTOCOL}"),
                )),
            };
            admin
                .output
                .extend(frame::encode(&reply, caps::ADMIN_FRAME)?);
            if admin.output.len() > WRITE_BUFFER {
                return Err(FrameError::Closed);
            }
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !admin.output.is_empty() {
            match send(admin.stream.as_raw_fd(), &admin.output, flags) {
                Ok(count) => drop(admin.output.drain(..count)),
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(errno) => return Err(FrameError::Io(errno.into())),
            }
        }
        match closed {
            true => Err(FrameError::Closed),
            false => Ok(()),
        }
    }

    fn admin_request(&mut self, subject: &Subject, request: AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Status => AdminReply::Status(Box::new(self.status())),
            AdminRequest::Lock { why, kill } => self.lock(subject, &why, kill),
            AdminRequest::Unlock => self.unlock(subject),
            AdminRequest::Reload => match self.reload() {
                Ok(()) => {
                    AdminReply::Done("the policy is being read; status tells the outcome".into())
                }
                Err(error) => failed("the policy cannot be read", &error.to_string()),
            },
        }
    }

    fn lock(&mut self, subject: &Subject, why: &str, kill: bool) -> AdminReply {
        let why = remit_common::text::line(why.as_bytes(), WHY);
        if matches!(self.gate, Gate::Stopping | Gate::Broken(_)) {
            return failed("nothing is taken any more", "remitd is stopping or broken");
        }
        // Locked first, whatever the disk and the trail say.
        self.gate = Gate::Locked(why.clone());
        let kept = self.state.lock(&why);
        let message = format!("{} locked remit: {why}", subject.user());
        let record = who(Record::new(Event::Lock, message), subject, None).field("CAUSE", &why);
        self.audit.note(record);
        if kill {
            for serial in self.jobs.serials() {
                self.end_job(serial, State::Cancelled, "an administrator locked remit");
            }
        }
        match kept {
            Ok(()) => AdminReply::Done("locked".into()),
            Err(error) => failed("locked, but a restart would unlock", &error.to_string()),
        }
    }

    fn unlock(&mut self, subject: &Subject) -> AdminReply {
        if !matches!(self.gate, Gate::Locked(_)) {
            return AdminReply::Done("it was not locked".into());
        }
        let message = format!("{} unlocked remit", subject.user());
        let record = who(Record::new(Event::Unlock, message), subject, None);
        if let Err(why) = self.audit.write(record) {
            return failed("still locked", &why.to_string());
        }
        if let Err(error) = self.state.unlock() {
            return failed("still locked", &error.to_string());
        }
        self.gate = Gate::Open;
        AdminReply::Done("unlocked".into())
    }

    fn status(&self) -> Status {
        let landlock = self.walls.kernel().landlock_abi;
        Status {
            release: remit_common::RELEASE.to_owned(),
            uptime_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            policy: self.policy.digest.clone(),
            policy_error: self.policy_error.as_ref().map(|text| first_lines(text)),
            locked: match &self.gate {
                Gate::Locked(why) | Gate::Broken(why) => Some(why.clone()),
                Gate::Open | Gate::Stopping => None,
            },
            jobs: u32::try_from(self.jobs.serials().len()).unwrap_or(u32::MAX),
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            audit: self.audit.sink().to_owned(),
            landlock,
            controllers: self.walls.controller_names(),
            broker_restarts: self.broker.restarts(),
            missing: match landlock {
                0 => vec!["landlock: this kernel has none".into()],
                _ => Vec::new(),
            },
        }
    }
}

/// The first whole frame of `input`, taken out of it.
fn take_frame(input: &mut Vec<u8>) -> Result<Option<AdminCall>, FrameError> {
    let Some(field) = input.first_chunk() else {
        return Ok(None);
    };
    let end = frame::HEADER + frame::header(*field, caps::ADMIN_FRAME)?;
    let Some(body) = input.get(frame::HEADER..end) else {
        return Ok(None);
    };
    let call = frame::decode(body)?;
    input.drain(..end);
    Ok(Some(call))
}

fn failed(what: &str, why: &str) -> AdminReply {
    AdminReply::Refused(Refusal::new(Code::NotStarted, format!("{what}: {why}")))
}

/// Enough of a long text for a frame of 64 KiB.
fn first_lines(text: &str) -> String {
    let cut = text.floor_char_boundary(16 << 10);
    text.get(..cut).unwrap_or_default().to_owned()
}
