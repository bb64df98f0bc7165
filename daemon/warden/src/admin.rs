//! admin.sock: read by the warden itself, one small frame at a time, never waiting.

mod approving;
mod arrived;
mod connections;
mod frames;
mod gate;
mod granting;
mod wants;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::{ADMIN_PROTOCOL, AdminReply, AdminRequest, AuditHead};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor;
use remit_link::ForeignSocket;

pub use self::approving::bad_id;
pub use self::connections::refuse;
use self::frames::{has_frame, take_frame};
pub use self::granting::Giving;
pub use self::wants::Wants;
use crate::approval::{from_outside, not_a_jobs_user};
use crate::arrivals::Door;
use crate::checkup::Begun;
use crate::peer::{self, Subject};
use crate::policy_load::in_short;
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// Bytes of answers waiting for one administrator who does not read.
const WRITE_BUFFER: usize = 256 << 10;
/// Requests of one connection that wait for a load of the policy, the walls to be tried, a job to end.
const WAITING: usize = 8;
/// Bytes of what is wrong with a policy.
const FINDING: usize = 4096;
/// Connections taken, and requests of one connection answered, in one turn of the loop.
const ACCEPTS: usize = 16;
const CALLS: usize = 8;

/// A connection.
#[derive(Debug)]
struct Admin {
    stream: ForeignSocket,
    subject: Subject,
    pidfd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Until then it is not idle, whatever it waits for.
    busy_until: Instant,
}

/// All connections, in the order in which they came.
#[derive(Debug)]
pub struct Admins {
    group: u32,
    next: u64,
    live: BTreeMap<u64, Admin>,
    /// Grants that are given, so far.
    giving: u64,
    /// Connections that wait for an answer, once for each request.
    waiting: Vec<(u64, Wants)>,
    /// Answers to what waited, for a connection that is being served: what it asks just then ends the wait.
    aside: Vec<(u64, Vec<u8>)>,
}

impl Admins {
    /// None yet. Root and members of `group` may connect.
    pub fn new(group: u32) -> Self {
        Self {
            group,
            next: 0,
            live: BTreeMap::new(),
            giving: 0,
            waiting: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// Whether somebody is an administrator. The socket's mode says the same; one that was
    /// handed over may have another.
    fn include(&self, subject: &Subject) -> bool {
        subject.uid() == 0 || subject.gids().contains(&self.group)
    }

    fn of_user(&self, uid: u32) -> Vec<u64> {
        let own = self
            .live
            .iter()
            .filter(|(_, admin)| admin.subject.uid() == uid);
        own.map(|(number, _)| *number).collect()
    }

    /// How many requests of a connection wait.
    fn waiting_for(&self, number: u64) -> usize {
        let own = self.waiting.iter().filter(|(other, _)| *other == number);
        own.count()
    }

    /// The connection is gone; so is what it waits for.
    fn forget(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
        self.aside.retain(|(other, _)| *other != number);
    }
}

impl Warden {
    /// Takes connections of administrators.
    pub fn accept_admins(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(stream) = self.listeners.admin() else {
                return;
            };
            self.names.renew();
            let peer = peer::identify(&stream);
            self.arrive(Door::Admin, stream, peer);
        }
    }

    fn end_admin(&mut self, number: u64) {
        if let Some(admin) = self.admins.live.remove(&number) {
            self.admins.forget(number);
            self.reactor.remove(&admin.stream);
        }
    }

    /// A connection can be read or written.
    pub fn admin_event(&mut self, number: u64) {
        let Some(mut admin) = self.admins.live.remove(&number) else {
            return;
        };
        // Taken out while it is served, and put back only when it is in order.
        if self.serve_admin(number, &mut admin).is_ok() {
            // Room to write also tells that the next requests of a long row may be answered.
            let interest = match admin.output.is_empty() && !has_frame(&admin.input) {
                true => Interest::Read,
                false => Interest::ReadWrite,
            };
            let token = Token::Admin(number);
            if self.reactor.set(&admin.stream, token, interest).is_ok() {
                self.admins.live.insert(number, admin);
                return;
            }
        }
        self.admins.forget(number);
        self.reactor.remove(&admin.stream);
    }

    fn serve_admin(&mut self, number: u64, admin: &mut Admin) -> Result<(), FrameError> {
        let closed = admin.read()?;
        // Whoever has the socket now is not who connected.
        if !floor::pidfd_alive(admin.pidfd.as_fd()).unwrap_or(false) {
            return Err(FrameError::Closed);
        }
        for _ in 0..CALLS {
            let Some(call) = take_frame(&mut admin.input)? else {
                break;
            };
            let reply = match call.protocol {
                ADMIN_PROTOCOL => match self.may_ask(admin, &call.request) {
                    Ok(()) => self.admin_request(number, &admin.subject, call.request),
                    Err(refusal) => Some(self.refused(&admin.subject, refusal)),
                },
                other => Some(AdminReply::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("admin protocol {other} is not spoken here, only {ADMIN_PROTOCOL}"),
                ))),
            };
            let aside = self
                .admins
                .aside
                .extract_if(.., |(other, _)| *other == number);
            aside.for_each(|(_, bytes)| admin.output.extend(bytes));
            let Some(reply) = reply else { continue };
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
        match closed && !has_frame(&admin.input) {
            true => Err(FrameError::Closed),
            false => Ok(()),
        }
    }

    /// What lets something run is not said from inside a job, whoever it runs for.
    fn may_ask(&self, admin: &Admin, request: &AdminRequest) -> Result<(), Refusal> {
        let lets_run = matches!(
            request,
            AdminRequest::Approve { .. } | AdminRequest::Grant(_) | AdminRequest::Unlock
        );
        let (first, count) = self.uids.range();
        match lets_run {
            false => Ok(()),
            true if admin.subject.uid().wrapping_sub(first) < count => Err(Refusal::new(
                Code::DeniedRule,
                "nothing is approved by a job",
            )),
            true => not_a_jobs_user(&self.policy.policy, admin.subject.uid())
                .and_then(|()| from_outside(admin.subject.pid(), admin.pidfd.as_fd())),
        }
    }

    /// The answer to what is refused; that is recorded.
    fn refused(&mut self, subject: &Subject, refusal: Refusal) -> AdminReply {
        self.record_refusal(Some(subject), None, &refusal, None);
        AdminReply::Refused(refusal)
    }

    /// `None`: it is answered later.
    fn admin_request(
        &mut self,
        number: u64,
        subject: &Subject,
        request: AdminRequest,
    ) -> Option<AdminReply> {
        Some(match request {
            AdminRequest::Status => AdminReply::Status(Box::new(self.status())),
            AdminRequest::Lock { why, kill } => self.lock(subject, &why, kill),
            AdminRequest::Unlock => self.unlock(subject),
            AdminRequest::Jobs { limit } => self.all_jobs(limit),
            AdminRequest::Reload
            | AdminRequest::Doctor
            | AdminRequest::Stop { .. }
            | AdminRequest::Pending { .. }
            | AdminRequest::History { .. }
            | AdminRequest::Approve { .. }
            | AdminRequest::Job { .. }
            | AdminRequest::Grant(_)
                if self.admins.waiting_for(number) >= WAITING =>
            {
                failed("too many requests wait", "wait for an answer first")
            }
            AdminRequest::Pending { seen } => match self.pending(subject, seen) {
                Ok(reply) => reply,
                Err(wants) => return self.wait(number, wants),
            },
            AdminRequest::Show { id } => {
                self.show(subject, &id).unwrap_or_else(AdminReply::Refused)
            }
            AdminRequest::Approve { job, digest } => match self.approve(subject, job, &digest) {
                Ok(wants) => return self.wait(number, wants),
                Err(refusal) => self.refused(subject, refusal),
            },
            AdminRequest::Deny { job, why } => match self.deny(subject, job, &why) {
                Ok(sentence) => AdminReply::Done(sentence),
                Err(refusal) => self.refused(subject, refusal),
            },
            AdminRequest::Grant(new) => match self.look_up_give(number, subject, new) {
                Ok(wants) => return self.wait(number, wants),
                Err(refusal) => self.refused(subject, refusal),
            },
            AdminRequest::Grants => self.list_grants(),
            AdminRequest::History { user, query } => match self.history_of(subject, user, &query) {
                Ok(wants) => return self.wait(number, wants),
                Err(refusal) => self.refused(subject, refusal),
            },
            AdminRequest::AuditHead => {
                let remit_trail::Link { seq, hash } = self.audit.newest();
                AdminReply::AuditHead(AuditHead { seq, hash })
            }
            AdminRequest::Revoke { grant } => self.revoke(subject, grant),
            AdminRequest::Reload => match self.reload(Some(subject)) {
                Ok(()) => return self.wait(number, Wants::Policy),
                Err(error) => failed("the policy cannot be read", &error.to_string()),
            },
            AdminRequest::Doctor => match self.check_walls(Some(subject)) {
                Begun::Later => return self.wait(number, Wants::Checkup),
                Begun::Now(reply) => reply,
            },
            AdminRequest::Stop { job, signal } => match self.stop_any(subject, job, signal) {
                Ok(wants) => return self.wait(number, wants),
                Err(reply) => reply,
            },
            AdminRequest::Job { id, wait } => match self.any_job_or_end(subject, &id, wait) {
                Ok(wants) => return self.wait(number, wants),
                Err(reply) => reply,
            },
        })
    }

    /// Answered when it is done.
    fn wait(&mut self, number: u64, wants: Wants) -> Option<AdminReply> {
        self.admins.waiting.push((number, wants));
        None
    }

    /// What these connections wait for is there.
    pub fn tell_waiting(&mut self, wants: Wants, reply: impl FnOnce() -> AdminReply) {
        if !self.admins.waiting.iter().any(|(_, what)| *what == wants) {
            return;
        }
        let Ok(bytes) = frame::encode(&reply(), caps::ADMIN_FRAME) else {
            return;
        };
        let waiting = std::mem::take(&mut self.admins.waiting);
        let (told, waiting) = waiting.into_iter().partition(|(_, what)| *what == wants);
        self.admins.waiting = waiting;
        let told: Vec<(u64, Wants)> = told;
        for (number, _) in told {
            match self.admins.live.get_mut(&number) {
                Some(admin) => {
                    admin.output.extend_from_slice(&bytes);
                    admin.was_answered();
                    self.admin_event(number);
                }
                None => self.admins.aside.push((number, bytes.clone())),
            }
        }
    }

    /// The policy that was asked for is in force, or refused.
    pub fn tell_reloaded(&mut self) {
        let reply = match &self.policy_error {
            None => AdminReply::Reloaded(self.reloaded()),
            Some(why) => {
                // It may quote a file: what is longer than a frame would not be told at all.
                let first = remit_common::text::line(in_short(why).as_bytes(), FINDING);
                let text =
                    format!("the new policy is refused, the old one stays in force: {first}");
                let refusal = Refusal::new(Code::InvalidArgs, text);
                AdminReply::Refused(refusal.lift(
                    "remit policy check shows each place (remitd --check also judges remit.toml); \
                     then reload again",
                ))
            }
        };
        self.tell_waiting(Wants::Policy, || reply);
    }
}

fn failed(what: &str, why: &str) -> AdminReply {
    AdminReply::Refused(Refusal::new(Code::NotStarted, format!("{what}: {why}")))
}
