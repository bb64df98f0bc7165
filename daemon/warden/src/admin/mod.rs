//! Serves admin.sock inside the daemon, one small frame at a time, without blocking.

pub(crate) mod all_jobs;
pub(crate) mod connections;
pub(crate) mod gate;
mod grantable;
pub(crate) mod granting;
pub(crate) mod history;
mod judged;
pub(crate) mod replies;
mod showing;
pub(crate) mod watchers;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::{AdminCall, AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;
use remit_policy::Policy;

use self::connections::{AdminStanding, Askers, ListsDue, has_frame, knows_standing, take_frame};
pub use self::connections::{Wants, refuse};
use self::history::HistoryQuestions;
pub use self::showing::show_compared;
use self::showing::{PARTS, Showing, next_part};
use crate::approval::{from_outside, not_a_jobs_user};
use crate::audit::refusals::DecidedRequest;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::login_session;
use crate::identity::lookups::LookUps;
use crate::identity::peer::Subject;
use crate::job::table::Jobs;

/// Bytes of answers that one administrator has not read. More closes the connection.
const WRITE_BUFFER: usize = 256 << 10;
/// Requests of one connection that may wait for an answer.
const WAITING: usize = 8;

#[derive(Debug)]
pub struct Admin {
    stream: ForeignSocket,
    subject: Subject,
    pidfd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Until then the connection is not idle.
    busy_until: Instant,
    standing: AdminStanding,
    lists: ListsDue,
}

/// A request with the groups of the account, as they were looked up for it, or why it administers remit no longer.
pub type JudgedCall = (AdminCall, Result<Vec<u32>, Refusal>);

#[derive(Debug)]
pub struct Admins {
    group: u32,
    next: u64,
    live: BTreeMap<u64, Admin>,
    giving: u64,
    waiting: Vec<(u64, Wants)>,
    /// Answers for a connection that is being served now, because its own request ended the wait.
    undelivered: Vec<(u64, Vec<u8>)>,
    /// What is being sent to a connection. It is asked nothing else until the end.
    showing: BTreeMap<u64, Showing>,
    askers: Askers,
    questions: HistoryQuestions,
    /// Connections to serve in this turn: they have an answer, or their account is known.
    pub due: VecDeque<u64>,
    /// The state of the list of waiting requests that was last reported.
    reported: u64,
}

impl Admin {
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns when the login session of the connected process began.
    pub fn login_began(&self) -> Result<Duration, Refusal> {
        login_session::began(self.subject.pid(), self.pidfd.as_fd())
    }
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
            questions: HistoryQuestions::default(),
            due: VecDeque::new(),
            reported: 0,
        }
    }

    /// Returns true for administrators. The socket's mode enforces the same, except on a socket of the service manager.
    pub fn include(&self, subject: &Subject) -> bool {
        subject.uid() == 0 || subject.gids().contains(&self.group)
    }

    pub fn of_user(&self, uid: u32) -> Vec<u64> {
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

    pub fn may_wait(&self, number: u64) -> bool {
        self.waiting_for(number) < WAITING
    }

    pub fn wait(&mut self, number: u64, wants: Option<Wants>) {
        self.waiting.extend(wants.map(|wants| (number, wants)));
    }

    /// Takes a connection to serve it. Meanwhile its answers are kept for it.
    pub fn take(&mut self, number: u64) -> Option<Admin> {
        self.live.remove(&number)
    }

    pub fn put_back(&mut self, number: u64, admin: Admin, is_over: bool, reactor: &Reactor) {
        if !is_over && admin.standing.is_asked() {
            // The request is answered after the look-up. Nothing more is read until then.
            reactor.remove(&admin.stream);
            self.live.insert(number, admin);
            return;
        }
        // `ReadWrite` also wakes the loop for further requests that are already read. Nothing is read while a request
        // is shown: unread input would wake the loop again and again.
        let is_idle = admin.output.is_empty() && !has_frame(&admin.input);
        let interest = match self.showing.contains_key(&number) {
            true => Interest::WriteOnce,
            false if is_idle => Interest::Read,
            false => Interest::ReadWrite,
        };
        let token = Token::Admin(number);
        if !is_over && reactor.set(&admin.stream, token, interest).is_ok() {
            self.live.insert(number, admin);
            return;
        }
        self.forget(number);
        reactor.remove(&admin.stream);
    }

    /// Returns the next request. `None`: there is none yet, or its user is being looked up.
    pub fn next_call(
        &mut self,
        lookups: &mut LookUps,
        reactor: &mut Reactor,
        number: u64,
        admin: &mut Admin,
    ) -> Result<Option<JudgedCall>, FrameError> {
        if self.showing.contains_key(&number) {
            // The client decides how long that takes: a look-up that has ended before says nothing of the time after it.
            admin.standing.forget_known();
            return Ok(None);
        }
        if has_frame(&admin.input) && !knows_standing(self, lookups, reactor, number, admin) {
            return Ok(None);
        }
        let call = take_frame(&mut admin.input)?;
        Ok(call.map(|call| (call, admin.standing.take())))
    }

    /// Adds the answer of a request, after those that it brought to an end.
    pub fn answer(
        &mut self,
        number: u64,
        admin: &mut Admin,
        reply: Option<AdminReply>,
    ) -> Result<(), FrameError> {
        let is_own = |(other, _): &mut (u64, Vec<u8>)| *other == number;
        let undelivered = self.undelivered.extract_if(.., is_own);
        undelivered.for_each(|(_, bytes)| admin.output.extend(bytes));
        if let Some(reply) = reply {
            let bytes = frame::encode(&reply, caps::ADMIN_FRAME)?;
            admin.output.extend(bytes);
            if admin.output.len() > WRITE_BUFFER {
                return Err(FrameError::Closed);
            }
        }
        Ok(())
    }

    /// Sends answers, then parts of what is shown, as far as the client reads.
    pub fn send(&mut self, jobs: &Jobs, number: u64, admin: &mut Admin) -> Result<(), FrameError> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut parts = 0;
        loop {
            if admin.output.is_empty() {
                if parts == PARTS {
                    return Ok(());
                }
                let Some(part) = next_part(self, jobs, number) else {
                    return Ok(());
                };
                admin.output = frame::encode(&part, caps::ADMIN_FRAME)?;
                parts += 1;
            }
            match send(admin.stream.as_raw_fd(), &admin.output, flags) {
                Ok(count) => drop(admin.output.drain(..count)),
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(FrameError::Io(errno.into())),
            }
        }
    }

    fn forget(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
        self.undelivered.retain(|(other, _)| *other != number);
        self.showing.remove(&number);
    }
}

/// Fails if the request would let something run, and this process may be one of a job.
pub fn may_ask(
    policy: &Policy,
    job_uids: (u32, u32),
    admin: &Admin,
    request: &AdminRequest,
) -> Result<(), Refusal> {
    let lets_run = matches!(
        request,
        AdminRequest::Approve { .. }
            | AdminRequest::Grant { .. }
            | AdminRequest::Unlock
            | AdminRequest::Resume { .. }
            | AdminRequest::Confirm { .. }
    );
    match lets_run {
        false => Ok(()),
        true => may_let_run(policy, job_uids, admin),
    }
}

/// Returns the request that this decides, and the digest of an approval.
pub fn decided(request: &AdminRequest) -> Option<DecidedRequest> {
    match request {
        AdminRequest::Approve { job, digest, .. } => Some((*job, Some(*digest))),
        AdminRequest::Deny { job, .. } => Some((*job, None)),
        _ => None,
    }
}

/// Fails if this process may be one of a job.
pub fn may_let_run(
    policy: &Policy,
    (first, count): (u32, u32),
    admin: &Admin,
) -> Result<(), Refusal> {
    if admin.subject.uid().wrapping_sub(first) < count {
        let text = "a job cannot approve anything";
        return Err(Refusal::new(Code::DeniedRule, text));
    }
    not_a_jobs_user(policy, admin.subject.uid())
        .and_then(|()| from_outside(admin.subject.pid(), admin.pidfd.as_fd()))
}

pub fn failed(what: &str, why: &str) -> AdminReply {
    AdminReply::Refused(Refusal::new(Code::NotStarted, format!("{what}: {why}")))
}
