//! Lets callers in, and serves connections to admin.sock: their requests concern every part of the daemon.

use std::time::Duration;

use remit_common::admin::{ADMIN_PROTOCOL, AdminReply, AdminRequest, AuditHead};
use remit_common::frame::FrameError;
use remit_common::refusal::{Code, Refusal};

use crate::admin::all_jobs::{all_jobs, any_job_or_end, stop_any};
use crate::admin::all_jobs::{pending, show};
use crate::admin::connections::on_standing_looked_up;
use crate::admin::gate::{lock, refuse_unstarted_if_closed, resume, unlock};
use crate::admin::granting::{list_grants, look_up_give, on_give_looked_up, revoke};
use crate::admin::history::ask_history;
use crate::admin::replies::pending_list;
use crate::admin::watchers::next_lists;
use crate::admin::{Admin, Wants, decided, failed, may_ask, may_let_run, refuse};
use crate::approval::grants::ended::{drop_uses, on_use_looked_up};
use crate::approval::{end, flow};
use crate::audit::{Event, Record};
use crate::event_loop::status::status;
use crate::event_loop::timers::Timer;
use crate::identity::arrivals::{
    Admitted, ArrivalCx, Door, arrive, let_client_in, on_name_looked_up,
};
use crate::identity::lookups::{LookUpPurpose, LookedUp};
use crate::identity::peer;
use crate::job::backpressure::drop_parked;
use crate::job::drain::await_drains;
use crate::job::unconfirmed::confirm;
use crate::sandbox::checkup::start_self_test;
use crate::service::broker_process::HungBroker;
use crate::startup::error::Fatal;
use crate::state::{Warden, job_cx, request_cx};

/// Connections accepted in one turn, so that one client cannot block the others.
const CLIENTS: usize = 64;
const ADMINS: usize = 16;
/// Requests of one connection that are handled in one turn of the event loop.
const CALLS: usize = 8;

/// Time from the last client that the broker got until its main thread is looked at again: a kill ends it within that.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// The reason and the way out if no further broker may start.
const HELD_UP: &str = "too many killed brokers hang in the kernel, so none starts and no client is served: stop the jobs \
                       that keep their output locked (remit jobs, remit stop), or processes of their user that do";

macro_rules! arrival_cx {
    ($warden:expr) => {
        ArrivalCx {
            callers: &mut $warden.callers,
            reports: &mut $warden.reports,
            reactor: &mut $warden.reactor,
            policy: &$warden.policies.live.policy,
            numbers: &$warden.settings.config.accounts.numbers,
        }
    };
}

impl Warden {
    pub fn accept(&mut self, door: Door) {
        let most = match door {
            Door::Client => CLIENTS,
            Door::Admin => ADMINS,
        };
        if door == Door::Client {
            self.reports.broker.check_main_thread();
        }
        for _ in 0..most {
            let listeners = &mut self.callers.listeners;
            let stream = match door {
                Door::Client if !self.reports.broker.can_take_clients() => return,
                Door::Client => listeners.client(),
                Door::Admin => listeners.admin(),
            };
            let Some(stream) = stream else {
                return;
            };
            self.callers.names.renew();
            let peer = peer::identify(&stream);
            if let Some(admitted) = arrive(&mut arrival_cx!(self), door, stream, peer) {
                self.let_in(admitted);
            }
        }
    }

    fn let_in(&mut self, admitted: Admitted) {
        let subject = &admitted.caller;
        let live = &self.policies.live;
        if live.knows(subject.uid(), subject.user()).is_err() {
            // This uid had another name when the policy was loaded, so the names are looked up again.
            self.reload_for(subject);
        }
        match admitted.door {
            Door::Client => {
                let sessions = &mut self.callers.sessions;
                let_client_in(sessions, &mut self.reports, &self.reactor, admitted);
                self.reactor.timers.add(HANDED_OVER, Timer::MainThread);
            }
            Door::Admin => self.let_admin_in(admitted),
        }
    }

    pub fn on_looked_up(&mut self, serial: u64, found: Result<LookedUp, String>) {
        let (people, beside) = match found {
            Ok(LookedUp { people, beside }) => (Ok(people), beside),
            Err(why) => (Err(why), None),
        };
        let lookups = &mut self.callers.lookups;
        match lookups.end(serial, &mut self.reactor) {
            Some(LookUpPurpose::Name(uid)) => {
                for admitted in on_name_looked_up(&mut arrival_cx!(self), uid, people) {
                    self.let_in(admitted);
                }
            }
            Some(LookUpPurpose::GrantUse(used)) => {
                on_use_looked_up(&mut request_cx!(self), *used, people);
            }
            Some(LookUpPurpose::Give(giving)) => {
                on_give_looked_up(&mut request_cx!(self), *giving, people, beside);
            }
            Some(LookUpPurpose::Serve(uid, user)) => {
                let (admins, reactor) = (&mut self.admins, &mut self.reactor);
                on_standing_looked_up(admins, lookups, reactor, (uid, &user), people);
            }
            None => {}
        }
    }

    fn let_admin_in(&mut self, admitted: Admitted) {
        let Admitted {
            stream,
            caller: subject,
            pidfd,
            ..
        } = admitted;
        if !self.admins.include(&subject) {
            let text = "admin.sock is for root and its group";
            let refusal = Refusal::new(Code::DeniedRule, text);
            self.reports
                .record_refusal(Some(&subject), None, &refusal, None);
            refuse(&stream, refusal);
            return;
        }
        if self.admins.is_crowded(subject.uid()) {
            // Removes connections first whose end is not read yet.
            let own = self.admins.of_user(subject.uid());
            own.into_iter()
                .for_each(|number| self.on_admin_event(number));
        }
        if let Err(refusal) = self.admins.end_others(subject.uid(), &self.reactor) {
            self.reports
                .record_refusal(Some(&subject), None, &refusal, None);
            refuse(&stream, refusal);
        } else if let Some(number) = self.admins.add(&self.reactor, stream, subject, pidfd) {
            self.on_admin_event(number);
        }
    }

    pub fn serve_due_admins(&mut self) {
        while let Some(number) = self.admins.due.pop_front() {
            self.on_admin_event(number);
        }
    }

    /// `hung`: what becomes of a killed broker that has not ended.
    pub(super) fn on_broker_hangs(&mut self, hung: Option<HungBroker>) -> Result<(), Fatal> {
        match hung {
            Some(HungBroker::Abandoned(pause)) => return self.on_broker_exited(Some(pause)),
            Some(HungBroker::TooMany) => {
                say_error!("{HELD_UP}");
                let record = Record::new(Event::Broker, HELD_UP).with_error_priority();
                self.end_all_sessions(record);
            }
            None => {}
        }
        Ok(())
    }

    /// `pause`: before the next start, if the broker has ended or was given up.
    pub(super) fn on_broker_exited(&mut self, pause: Option<Duration>) -> Result<(), Fatal> {
        let Some(pause) = pause else {
            return Ok(());
        };
        self.reactor.timers.cancel(Timer::Ready);
        self.reactor.timers.cancel(Timer::BrokerEnd);
        self.end_all_sessions(Record::new(
            Event::Broker,
            "the broker died; its clients have to reconnect, jobs keep running",
        ));
        if pause.is_zero() {
            return self.start_broker();
        }
        self.reactor.timers.add(pause, Timer::Broker);
        Ok(())
    }

    /// The broker serves no client any more: what they wait for is over.
    fn end_all_sessions(&mut self, record: Record) {
        await_drains(&mut job_cx!(self), &self.life);
        self.reports.audit.history.close();
        drop_parked(&mut job_cx!(self));
        end::drop_measured(&mut job_cx!(self));
        drop_uses(&mut request_cx!(self));
        for session in self.callers.sessions.close_all() {
            self.reactor.remove(session.pidfd());
        }
        self.reports.audit.note(record);
    }

    pub fn on_admin_event(&mut self, number: u64) {
        // Removed while it is served, and put back only if it is still valid.
        if let Some(mut admin) = self.admins.take(number) {
            let is_over = self.serve_admin(number, &mut admin).is_err();
            self.admins.put_back(number, admin, is_over, &self.reactor);
        }
    }

    fn serve_admin(&mut self, number: u64, admin: &mut Admin) -> Result<(), FrameError> {
        let closed = admin.receive()?;
        self.send_lists(number, admin)?;
        for _ in 0..CALLS {
            let (lookups, reactor) = (&mut self.callers.lookups, &mut self.reactor);
            let next = self.admins.next_call(lookups, reactor, number, admin)?;
            let Some((call, standing)) = next else {
                break;
            };
            let reply = match call.protocol {
                ADMIN_PROTOCOL => {
                    let policy = &self.policies.live.policy;
                    let uids = self.sandbox.uids.range();
                    let is_allowed = || may_ask(policy, uids, admin, &call.request);
                    let decided = decided(&call.request);
                    match standing.and_then(|gids| is_allowed().map(|()| gids)) {
                        Ok(gids) => match self.admin_request(number, admin, &gids, call.request) {
                            Ok(wants) => {
                                self.admins.wait(number, wants);
                                None
                            }
                            Err(reply) => Some(reply),
                        },
                        Err(refusal) => Some(match decided {
                            Some(decided) => {
                                let subject = admin.subject();
                                self.reports.refuse_decision(subject, decided, refusal)
                            }
                            None => self.reports.refuse(admin.subject(), refusal),
                        }),
                    }
                }
                other => Some(AdminReply::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("admin protocol {other} is not supported, only {ADMIN_PROTOCOL}"),
                ))),
            };
            self.admins.answer(number, admin, reply)?;
        }
        self.send_lists(number, admin)?;
        self.admins.send(&self.jobs, number, admin)?;
        match closed && !admin.has_request() {
            true => Err(FrameError::Closed),
            false => Ok(()),
        }
    }

    /// Answers those who wait for a change of the list. Ends the connection of a user who administers nothing any more.
    fn send_lists(&mut self, number: u64, admin: &mut Admin) -> Result<(), FrameError> {
        let (lookups, reactor) = (&mut self.callers.lookups, &mut self.reactor);
        let Some((count, standing)) = next_lists(&mut self.admins, lookups, reactor, number, admin)
        else {
            return Ok(());
        };
        if let Err(refusal) = standing {
            let reply = self.reports.refuse(admin.subject(), refusal);
            self.admins.answer(number, admin, Some(reply))?;
            self.admins.send(&self.jobs, number, admin)?;
            return Err(FrameError::Closed);
        }
        for _ in 0..count {
            let list = pending_list(&self.jobs, admin.subject());
            self.admins.answer(number, admin, Some(list))?;
        }
        Ok(())
    }

    /// `gids`: groups of the account, as they were looked up for this request. `Ok`: the answer follows. Errors: The answer
    /// now.
    fn admin_request(
        &mut self,
        number: u64,
        admin: &Admin,
        gids: &[u32],
        request: AdminRequest,
    ) -> Result<Option<Wants>, AdminReply> {
        let subject = admin.subject();
        let (life, state) = (&mut self.life, &self.settings.state);
        let later = match request {
            AdminRequest::Status => Err(AdminReply::Status(Box::new(status(self)))),
            AdminRequest::Lock { why, kill } => {
                let how = (why.as_str(), kill);
                let reply = lock(&mut job_cx!(self), life, state, subject, how);
                refuse_unstarted_if_closed(&mut request_cx!(self));
                Err(reply)
            }
            AdminRequest::Unlock => Err(unlock(&mut self.reports, life, state, subject)),
            AdminRequest::Resume { user } => {
                let names = &self.callers.names;
                Err(match resume(&mut self.reports, subject, &user, names) {
                    Ok(sentence) => AdminReply::Done(sentence),
                    Err(refusal) => self.reports.refuse(subject, refusal),
                })
            }
            AdminRequest::Confirm { id } => {
                let (job_cx, began) = (&mut job_cx!(self), admin.login_began());
                Err(confirm(job_cx, (subject, gids), began, id.as_deref()))
            }
            AdminRequest::Jobs { limit } => {
                let unconfirmed = |job| self.confirmations.sentence_of(job);
                Err(all_jobs(&self.jobs, unconfirmed, limit))
            }
            AdminRequest::Reload
            | AdminRequest::Doctor
            | AdminRequest::Stop { .. }
            | AdminRequest::Pending { .. }
            | AdminRequest::History { .. }
            | AdminRequest::Approve { .. }
            | AdminRequest::Show { .. }
            | AdminRequest::Job { .. }
            | AdminRequest::Grant { .. }
                if !self.admins.may_wait(number) =>
            {
                let (what, why) = ("too many requests are waiting", "wait for an answer first");
                Err(failed(what, why))
            }
            AdminRequest::Pending { seen } => pending(&mut job_cx!(self), subject, seen),
            AdminRequest::Show { id } => {
                let uids = self.sandbox.uids.range();
                let is_outside = may_let_run(&self.policies.live.policy, uids, admin).is_ok();
                let gids = is_outside.then_some(gids);
                return show(&mut request_cx!(self), number, (subject, gids), &id)
                    .map_err(AdminReply::Refused);
            }
            AdminRequest::Approve {
                job,
                digest,
                signature,
            } => flow::approve(&mut request_cx!(self), subject, job, &digest, signature).map_err(
                |refusal| {
                    let decided = (job, Some(digest));
                    self.reports.refuse_decision(subject, decided, refusal)
                },
            ),
            AdminRequest::Deny { job, why } => {
                Err(match end::deny(&mut job_cx!(self), subject, job, &why) {
                    Ok(sentence) => AdminReply::Done(sentence),
                    Err(refusal) => {
                        let decided = (job, None);
                        self.reports.refuse_decision(subject, decided, refusal)
                    }
                })
            }
            AdminRequest::Grant { new, accepts_paths } => {
                let names = &mut self.callers.names;
                let wanted = (new, accepts_paths);
                look_up_give(&mut request_cx!(self), names, number, subject, wanted)
                    .map_err(|refusal| self.reports.refuse(subject, refusal))
            }
            AdminRequest::Grants => Err(list_grants(&mut request_cx!(self))),
            AdminRequest::History { user, query } => {
                let (admins, timers) = (&mut self.admins, &mut self.reactor.timers);
                ask_history(admins, &mut self.reports, timers, user, query)
                    .map_err(|refusal| self.reports.refuse(subject, refusal))
            }
            AdminRequest::AuditHead => {
                let remit_trail::Link { seq, hash } = self.reports.audit.newest();
                Err(AdminReply::AuditHead(AuditHead { seq, hash }))
            }
            AdminRequest::Revoke { grant } => Err(revoke(&mut request_cx!(self), subject, grant)),
            AdminRequest::Reload => match self.reload(Some(subject)) {
                Ok(()) => Ok(Wants::Policy),
                Err(error) => Err(failed("the policy cannot be read", &error.to_string())),
            },
            AdminRequest::Doctor => start_self_test(&mut job_cx!(self), Some(subject)),
            AdminRequest::Stop { job, signal } => {
                stop_any(&mut job_cx!(self), subject, job, signal)
            }
            AdminRequest::Job { id, wait } => {
                any_job_or_end(&mut job_cx!(self), subject, &id, wait)
            }
        };
        later.map(Some)
    }
}
