//! Handles signals, policy reloads, the watchdog, and the end of the daemon's helper processes.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::signalfd::siginfo;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::text;
use remit_policy::Base;
use remit_trail::RecordVerdict;

use crate::admin::Wants;
use crate::approval::Request;
use crate::approval::end::void_changed_requests;
use crate::approval::grants::ended::judge_grants;
use crate::audit::{Event, Record};
use crate::config::policy_reload::{
    Live, LoadError, Loaded, Loading, PolicyErrors, in_short, save_names, short,
};
use crate::config::recorded::RecordedInForce;
use crate::config::shadow::Shadow;
use crate::event_loop::lifecycle::AdmissionState;
use crate::event_loop::shutdown::{self, shutdown_note};
use crate::event_loop::status::reload_reply;
use crate::event_loop::timers::Timer;
use crate::identity::accounts::{AccountState, Question};
use crate::identity::arrivals::end_session;
use crate::identity::peer::Subject;
use crate::job::backpressure::unpark;
use crate::job::context::JobCx;
use crate::job::ended::{end_if_waiting, is_by_person};
use crate::job::table::Jobs;
use crate::request::{Plan, with_requester};
use crate::sandbox::checkup::test_plan_if_new;
use crate::service::log::{self, Weight};
use crate::service::sd_notify::Note;
use crate::startup::error::Fatal;
use crate::state::{Warden, job_cx, request_cx};

const PARTING: Duration = Duration::from_secs(1);
/// Timeout for PID 1 and the workers. Each mount namespace that ends waits for the whole machine.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(4);
/// Bytes of policy changes in a sentence. The record's field has more.
const CHANGES: usize = 240;

/// Interval between two status messages to the service manager.
const NOTE: Duration = Duration::from_secs(1);

impl Warden {
    pub fn signal(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGHUP)) => {
                    if let Err(error) = self.reload(None) {
                        say_error!("{error}");
                    }
                }
                Ok(Ok(signal @ (Signal::SIGTERM | Signal::SIGINT))) => {
                    self.life.stopped_by = Some(sender(signal, &info));
                    self.stop();
                }
                _ => {}
            }
        }
    }

    pub fn stop(&mut self) {
        if self.life.shutdown.is_none() {
            self.life.notify.stopping();
            self.life.gate = AdmissionState::Stopping;
            unpark(&mut request_cx!(self));
        }
        let stop_wait_s = self.settings.config.jobs.stop_wait_s;
        shutdown::stop(&mut job_cx!(self), &mut self.life, stop_wait_s);
    }

    pub fn reload(&mut self, asked: Option<&Subject>) -> Result<(), Fatal> {
        let waiting = self.jobs.subjects().chain(self.acts.subjects());
        let connected = self.callers.sessions.subjects();
        let connected = connected.chain(self.admins.subjects());
        let mut people = Question::of(connected.chain(waiting));
        self.approvals.grants.ask_about(&mut people);
        let reactor = &mut self.reactor;
        let in_force = self.approvals.grants.in_force();
        self.policies
            .reload(&self.settings, (&people, &in_force), asked, reactor)
    }

    /// Reloads the policy once for each account that changed. Nobody gains by it: that needs an administrator.
    pub fn reload_for(&mut self, subject: &Subject) {
        let account = subject.owner();
        let is_known = self.policies.reloaded_for.as_ref() == Some(&account);
        if self.policies.loading.is_some() || is_known {
            return;
        }
        match self.reload(None) {
            Ok(()) => self
                .policies
                .loading
                .iter_mut()
                .for_each(|one| one.is_unasked = true),
            Err(error) => say_error!("{error}"),
        }
        self.policies.reloaded_for = Some(account);
    }

    pub fn on_policy_readable(&mut self) {
        let loading = self.policies.loading.as_mut();
        if let Some(read) = loading.and_then(Loading::read) {
            self.finish_policy_load(read.map_err(LoadError::text));
        }
    }

    pub fn finish_policy_load(&mut self, read: Result<Loaded, PolicyErrors>) {
        self.reactor.timers.cancel(Timer::Policy);
        let Some(mut done) = self.policies.loading.take() else {
            return;
        };
        self.reactor.remove(done.fd());
        let asked = done.asked.as_ref();
        let (policies, reports) = (&mut self.policies, &mut self.reports);
        policies.asked_loads += u64::from(!done.is_unasked);
        match read {
            Ok(Loaded { live, .. })
                if done.is_unasked && !live.policy.is_within(&policies.live.policy) =>
            {
                let why = format!(
                    "policy: error: an account has changed since the policy was loaded, so the policy was read again. \
                     Policy {} is not the one in force, and may give more permissions, so an administrator has to load it: remit policy reload",
                    short(&live.digest)
                );
                policies.reject(reports, why, None);
            }
            Ok(Loaded { live, settings }) => {
                let record = with_requester(loaded(&live, asked), asked);
                // A policy that the audit log does not know must not decide.
                match reports.audit.write(record) {
                    Ok(()) => {
                        let changes = std::mem::take(&mut done.before).and(live.changes);
                        let live = Live { changes, ..live };
                        policies.needs_restart = self.settings.config.changed(&settings);
                        self.take_policy(live);
                    }
                    Err(why) => policies.reject(reports, why.to_string(), asked),
                }
            }
            Err(refused) => policies.reject(reports, refused, asked),
        }
        if done.again {
            match self.reload(done.asked_again.as_ref()) {
                // Requesters who wait get the result of the last load, and the changes of all.
                Ok(()) => {
                    let is_accepted = self.policies.error.is_none();
                    if let Some(loading) = self.policies.loading.as_mut().filter(|_| is_accepted) {
                        loading.before = self.policies.live.changes.clone();
                    }
                    return;
                }
                Err(error) => {
                    let (reports, asked) = (&mut self.reports, done.asked_again.as_ref());
                    self.policies.reject(reports, error.to_string(), asked);
                }
            }
        }
        self.admins
            .tell(Wants::Policy, || reload_reply(&self.policies));
        // The answer of a refused load does not have it.
        if self.policies.error.is_none() {
            self.policies.voided = 0;
        }
        // Those who are sent away next have asked for it, too.
        self.serve_due_admins();
        self.send_admins_away();
    }

    /// Closes connections of administrators whose account changed, or who lost a group that their rights depend on. A
    /// uid that had no account and has none is unchanged.
    fn send_admins_away(&mut self) {
        let live = &self.policies.live;
        let mut named = live.policy.groups_named().clone();
        let approving = live.policy.asking();
        named.extend(approving.flat_map(|asking| asking.approval.gids()));
        named.insert(self.admins.group());
        let lost = self.admins.numbered().filter(|(_, subject)| {
            let (uid, user) = (subject.uid(), subject.user());
            let is_absent = live.people.account(uid, user) == Some(&AccountState::NoAccount);
            let is_same = live.people.is_other(uid, user).is_none();
            !(is_absent && is_same) && live.people.has_lost(subject, &named).is_some()
        });
        let lost: Vec<u64> = lost.map(|(number, _)| number).collect();
        for number in lost {
            self.admins.close(number, &self.reactor);
        }
    }

    fn take_policy(&mut self, live: Live) {
        live.warnings.iter().for_each(|line| say!("{line}"));
        let changes = format_args!("what this policy changed:\n{}", live.changes);
        log::beside(&self.reports.audit, Weight::Warning, changes);
        let mut named = live.policy.groups_named().clone();
        named.extend(self.approvals.grants.groups());
        let away = self.callers.sessions.of_lost(&named, &live.people);
        let lost = self.jobs.waiting().filter_map(|waiting| {
            let why = live
                .people
                .has_lost(&waiting.plan.requester.subject, &named)?;
            Some((waiting.plan.job, why))
        });
        let lost: Vec<(JobId, String)> = lost.collect();
        let admin_group = self.admins.group();
        self.acts.on_accounts(&live.people, &named, admin_group);
        self.sandbox.drop_prefork_pool();
        let sandboxes = self.sandbox.manager.sandboxes(&live.policy);
        self.sandbox.pool.want_default(&sandboxes);
        for line in text::by_reason(sandboxes.refused()) {
            say_error!("nothing will run in {line}");
        }
        if let Err(error) = save_names(self.settings.state.dir(), &live.last_known) {
            say_error!("cannot save the users and groups of denials for the next start: {error}");
        }
        let recorded = RecordedInForce::new(&live.digest, &self.settings.config);
        let state = self.settings.state.dir();
        let saved = RecordedInForce::read(state).ok().flatten();
        if let Err(error) = recorded.save(saved.as_ref(), state) {
            say_error!("cannot save what is in force, so the next start records it again: {error}");
        }
        self.reports.policy.clone_from(&live.digest);
        self.policies.sandboxes = sandboxes;
        self.policies.live = live;
        self.policies.error = None;
        let live = &self.policies.live;
        self.callers.names.renew();
        for (uid, name) in live.people.names() {
            self.callers.names.learn(uid, name);
        }
        // Groups are those at connect, so these users must connect again.
        for session in away {
            let sessions = &mut self.callers.sessions;
            end_session(sessions, &mut self.reports, &self.reactor, session);
        }
        let cx = &mut job_cx!(self);
        let before = count_voidable(cx.jobs);
        for (job, why) in lost {
            end_if_waiting(cx, job, State::Denied, &why);
        }
        void_changed(cx, live);
        if live.policy.uses(Base::Plan) {
            test_plan_if_new(cx);
        }
        cx.jobs.required.bind(&live.policy);
        let grants = &mut self.approvals.grants;
        grants.bind(&live.policy);
        judge_grants(cx, grants, &live.policy, &live.people);
        self.policies.voided += before.saturating_sub(count_voidable(cx.jobs));
    }

    /// Ends the broker and PID 1 and waits a moment. Otherwise a service manager would report leftover processes.
    pub fn dismiss(&mut self) {
        self.reports.broker.dismiss(PARTING);
        if let Some(bus) = self.sandbox.manager.bus_mut() {
            bus.dismiss(PARTING);
        }
        self.sandbox.manager.end_watchdog(WATCHDOG_PATIENCE);
    }

    /// Sends a changed status to the service manager, at most once a second to limit its load.
    pub fn tell_note(&mut self) {
        if !self.life.announced || self.reactor.timers.has(Timer::Note) {
            return;
        }
        let jobs = self.jobs.count_live();
        let stop_wait_s = self.settings.config.jobs.stop_wait_s;
        let note = match (self.life.gate, self.sandbox.manager.refused()) {
            (AdmissionState::Stopping, _) => {
                shutdown_note(&self.jobs, &self.acts, &self.life, stop_wait_s)
            }
            _ if self.reports.broker.is_held_up() => Note::HeldUp(jobs),
            _ if self.life.locked.is_some() => Note::Locked(jobs),
            (AdmissionState::Open, Some(why)) => Note::Refusing(why),
            (AdmissionState::Open, None) => Note::Serving(jobs),
        };
        if self.life.notify.note(&note) {
            self.reactor.timers.add(NOTE, Timer::Note);
        }
    }
}

/// Ends requests that wait for an approval, or were approved, under another policy.
fn void_changed(cx: &mut JobCx<'_>, live: &Live) {
    void_changed_requests(cx, live.policy.groups_named(), &live.people);
    let is_other = |plan: &&Plan| plan.approved.is_some() && plan.policy() != live.digest;
    let plans = cx.jobs.waiting().map(|waiting| waiting.plan.as_ref());
    let other: Vec<_> = plans.filter(is_other).map(|plan| plan.job).collect();
    for job in other {
        let why = "the policy has changed since it was approved";
        end_if_waiting(cx, job, State::Denied, why);
    }
}

/// Returns how many requests wait for an approval, or wait for a slot with one. A load ends them only as void.
fn count_voidable(jobs: &Jobs) -> usize {
    let approved = jobs.waiting().filter(|waiting| is_by_person(&waiting.plan));
    jobs.all::<Request>().count() + approved.count()
}

fn loaded(live: &Live, asked: Option<&Subject>) -> Record {
    let message = format!(
        "policy {} is in force{}: {}",
        short(&live.digest),
        loader(asked),
        live.changes.in_sentence(CHANGES)
    );
    let record = match live.warnings.as_slice() {
        [] => Record::new(Event::Policy, message),
        warnings => {
            let warning = in_short(&warnings.join("\n"));
            Record::new(Event::Policy, format!("{message}; {warning}")).with_warning_priority()
        }
    };
    record
        .field("POLICY", &live.digest)
        .field("VERDICT", RecordVerdict::Loaded.name())
        .field("CHANGES", live.changes.to_string().replace('\n', "; "))
        .maybe("SHADOW_POLICY", live.shadow.as_ref().map(Shadow::digest))
}

fn loader(asked: Option<&Subject>) -> String {
    asked.map_or(String::new(), |subject| {
        format!(", loaded by {}", subject.user())
    })
}

fn sender(signal: Signal, info: &siginfo) -> String {
    format!(
        "{} of process {}, uid {}",
        signal.as_str(),
        info.ssi_pid,
        info.ssi_uid
    )
}
