//! Serves admin.sock inside the daemon, one small frame at a time, without blocking.

pub(crate) mod all_jobs;
mod approving;
mod asker;
mod connections;
mod gate;
mod granting;
pub(crate) mod history;
mod showing;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::{ADMIN_PROTOCOL, AdminReply, AdminRequest, AuditHead};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;
use remit_sys::sys;

use self::asker::{AdminStanding, Askers};
pub use self::connections::refuse;
pub use self::granting::Giving;
use self::showing::{PARTS, Showing};
use crate::approval::{from_outside, not_a_jobs_user};
use crate::config::policy_reload::in_short;
use crate::event_loop::epoll::{Interest, Token};
use crate::identity::arrivals::Door;
use crate::identity::peer::{self, Subject};
use crate::sandbox::checkup::SelfTestStart;
use crate::state::Warden;
pub use connections::Wants;
use connections::{has_frame, take_frame};

/// Bytes of answers that one administrator has not read. More closes the connection.
const WRITE_BUFFER: usize = 256 << 10;
/// Requests of one connection that may wait for an answer.
const WAITING: usize = 8;
const FINDING: usize = 4096;
/// New connections, and requests of one connection, that are handled in one turn of the event loop.
const ACCEPTS: usize = 16;
const CALLS: usize = 8;

#[derive(Debug)]
struct Admin {
    stream: ForeignSocket,
    subject: Subject,
    pidfd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Until then the connection is not idle.
    busy_until: Instant,
    standing: AdminStanding,
}

#[derive(Debug)]
pub struct Admins {
    group: u32,
    next: u64,
    live: BTreeMap<u64, Admin>,
    giving: u64,
    /// One entry for each waiting request.
    waiting: Vec<(u64, Wants)>,
    /// Answers for a connection that is being served now, because its own request ended the wait.
    undelivered: Vec<(u64, Vec<u8>)>,
    /// What is being sent to a connection. It is asked nothing else until the end.
    showing: BTreeMap<u64, Showing>,
    askers: Askers,
}

impl Admins {
    pub fn new(group: u32) -> Self {
        Self {
            group,
            next: 0,
            live: BTreeMap::new(),
            giving: 0,
            waiting: Vec::new(),
            undelivered: Vec::new(),
            showing: BTreeMap::new(),
            askers: Askers::default(),
        }
    }

    /// Returns true for administrators. The socket's mode enforces the same, but a socket from the service manager
    /// may have another mode.
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

    fn waiting_for(&self, number: u64) -> usize {
        let own = self.waiting.iter().filter(|(other, _)| *other == number);
        own.count()
    }

    fn forget(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
        self.undelivered.retain(|(other, _)| *other != number);
        self.showing.remove(&number);
    }
}

impl Warden {
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

    pub fn on_admin_event(&mut self, number: u64) {
        let Some(mut admin) = self.admins.live.remove(&number) else {
            return;
        };
        // Removed while it is served, and put back only if it is still valid.
        if self.serve_admin(number, &mut admin).is_ok() {
            if admin.standing.is_asked() {
                // The request is answered after the look-up. Nothing more is read until then.
                self.reactor.remove(&admin.stream);
                self.admins.live.insert(number, admin);
                return;
            }
            // `ReadWrite` also wakes the loop for further requests that are already read. Nothing is read while a
            // request is shown: unread input would wake the loop again and again.
            let is_idle = admin.output.is_empty() && !has_frame(&admin.input);
            let interest = match self.admins.showing.contains_key(&number) {
                true => Interest::WriteOnce,
                false if is_idle => Interest::Read,
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
        let closed = !admin.standing.is_asked() && admin.read()?;
        // The process that connected has ended. Another process may hold the socket now.
        if !sys::pidfd_alive(admin.pidfd.as_fd()).unwrap_or(false) {
            return Err(FrameError::Closed);
        }
        for _ in 0..CALLS {
            if self.admins.showing.contains_key(&number) {
                break;
            }
            if has_frame(&admin.input) && !self.knows_standing(number, admin) {
                break;
            }
            let Some(call) = take_frame(&mut admin.input)? else {
                break;
            };
            let allowed = admin.standing.take();
            let reply = match call.protocol {
                ADMIN_PROTOCOL => match allowed.and_then(|()| self.may_ask(admin, &call.request)) {
                    Ok(()) => self.admin_request(number, &admin.subject, call.request),
                    Err(refusal) => Some(self.refused(&admin.subject, refusal)),
                },
                other => Some(AdminReply::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("admin protocol {other} is not supported, only {ADMIN_PROTOCOL}"),
                ))),
            };
            let undelivered = self
                .admins
                .undelivered
                .extract_if(.., |(other, _)| *other == number);
            undelivered.for_each(|(_, bytes)| admin.output.extend(bytes));
            let Some(reply) = reply else { continue };
            admin
                .output
                .extend(frame::encode(&reply, caps::ADMIN_FRAME)?);
            if admin.output.len() > WRITE_BUFFER {
                return Err(FrameError::Closed);
            }
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut parts = 0;
        loop {
            if admin.output.is_empty() {
                if parts == PARTS {
                    break;
                }
                let Some(part) = self.next_part(number) else {
                    break;
                };
                admin.output = frame::encode(&part, caps::ADMIN_FRAME)?;
                parts += 1;
            }
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

    /// Refuses requests that permit a run if they come from inside a job, for any user.
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
                "a job cannot approve anything",
            )),
            true => not_a_jobs_user(&self.policy.policy, admin.subject.uid())
                .and_then(|()| from_outside(admin.subject.pid(), admin.pidfd.as_fd())),
        }
    }

    fn refused(&mut self, subject: &Subject, refusal: Refusal) -> AdminReply {
        self.record_refusal(Some(subject), None, &refusal, None);
        AdminReply::Refused(refusal)
    }

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
            | AdminRequest::Show { .. }
            | AdminRequest::Job { .. }
            | AdminRequest::Grant(_)
                if self.admins.waiting_for(number) >= WAITING =>
            {
                failed("too many requests are waiting", "wait for an answer first")
            }
            AdminRequest::Pending { seen } => match self.pending(subject, seen) {
                Ok(reply) => reply,
                Err(wants) => return self.wait(number, wants),
            },
            AdminRequest::Show { id } => match self.show(number, subject, &id) {
                Ok(()) => return None,
                Err(refusal) => AdminReply::Refused(refusal),
            },
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
            AdminRequest::History { user, query } => match self.ask_history(user, query) {
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
            AdminRequest::Doctor => match self.start_self_test(Some(subject)) {
                SelfTestStart::Later => return self.wait(number, Wants::Checkup),
                SelfTestStart::Now(reply) => reply,
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

    fn wait(&mut self, number: u64, wants: Wants) -> Option<AdminReply> {
        self.admins.waiting.push((number, wants));
        None
    }

    /// Sends the answer to all connections that wait for it.
    pub fn tell_waiting(&mut self, wants: Wants, reply: impl FnOnce() -> AdminReply) {
        if !self.admins.waiting.iter().any(|(_, what)| *what == wants) {
            return;
        }
        let Ok(bytes) = frame::encode(&reply(), caps::ADMIN_FRAME) else {
            return;
        };
        let waiting = std::mem::take(&mut self.admins.waiting);
        let (answered, waiting) = waiting.into_iter().partition(|(_, what)| *what == wants);
        self.admins.waiting = waiting;
        let answered: Vec<(u64, Wants)> = answered;
        for (number, _) in answered {
            match self.admins.live.get_mut(&number) {
                Some(admin) => {
                    admin.output.extend_from_slice(&bytes);
                    admin.was_answered();
                    self.on_admin_event(number);
                }
                None => self.admins.undelivered.push((number, bytes.clone())),
            }
        }
    }

    pub fn tell_reloaded(&mut self) {
        let reply = match &self.policy_error {
            None => AdminReply::Reloaded(self.reloaded()),
            Some(why) => {
                // Bounded, because it may quote a file: an answer longer than a frame would be lost.
                let first = remit_common::text::line(in_short(why).as_bytes(), FINDING);
                let text =
                    format!("the new policy is refused, the old policy stays in force: {first}");
                let refusal = Refusal::new(Code::InvalidArgs, text);
                AdminReply::Refused(refusal.lift(
                    "remit policy check shows each line (remitd --check also judges remit.toml); \
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
