//! Handles signals, policy reloads, the watchdog, and the end of the daemon's helper processes.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::signalfd::siginfo;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::text;

use crate::audit::{Event, Record};
use crate::config::policy_reload::{
    Live, Loaded, Loading, PATIENCE, PolicyErrors, findings, in_short, late, save_names, short,
};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::{AccountState, Question};
use crate::identity::peer::Subject;
use crate::request::{Plan, with_subject};
use crate::service::log::{self, Weight};
use crate::service::sd_notify::Note;
use crate::startup::error::Fatal;
use crate::state::{AdmissionState, Warden};

/// Timeout for the broker to end.
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
                    self.stopped_by = Some(sender(signal, &info));
                    self.stop();
                }
                _ => {}
            }
        }
    }

    /// Starts to read the policy again. The one in force stays until the new one is complete and valid.
    pub fn reload(&mut self, asked: Option<&Subject>) -> Result<(), Fatal> {
        if let Some(loading) = &mut self.loading {
            // Its files may be older than this request, so it loads once more afterwards.
            loading.again = true;
            return Ok(());
        }
        let live = Some((&self.policy, &self.config));
        let loading = Loading::start(&self.args, live, &self.people(), asked)?;
        self.reactor
            .add(loading.fd(), Token::Policy, Interest::Read)
            .map_err(Fatal::call("cannot watch the policy's child"))?;
        self.loading = Some(loading);
        self.timers.add(PATIENCE, Timer::Policy);
        Ok(())
    }

    /// Reloads the policy once for each account that differs from the one that the policy knows. Nobody may gain
    /// rights by this: a policy that allows more needs an administrator.
    pub fn reload_for(&mut self, subject: &Subject) {
        let account = subject.owner();
        if self.loading.is_some() || self.reloaded_for.as_ref() == Some(&account) {
            return;
        }
        match self.reload(None) {
            Ok(()) => self
                .loading
                .iter_mut()
                .for_each(|one| one.is_unasked = true),
            Err(error) => say_error!("{error}"),
        }
        self.reloaded_for = Some(account);
    }

    fn people(&self) -> Question {
        let waiting = self.jobs.subjects();
        let connected = self.sessions.subjects().chain(self.admins.subjects());
        let mut question = Question::of(connected.chain(waiting));
        self.grants.ask_about(&mut question);
        question
    }

    pub fn on_policy_timeout(&mut self) {
        self.finish_policy_load(Err(late()));
    }

    pub fn on_policy_readable(&mut self) {
        let Some(loading) = &mut self.loading else {
            return;
        };
        let Some(read) = loading.read() else {
            return;
        };
        self.finish_policy_load(read);
    }

    fn finish_policy_load(&mut self, read: Result<Loaded, PolicyErrors>) {
        self.timers.cancel(Timer::Policy);
        let Some(mut done) = self.loading.take() else {
            return;
        };
        self.reactor.remove(done.fd());
        match read {
            Ok(Loaded { live, .. })
                if done.is_unasked && !live.policy.is_within(&self.policy.policy) =>
            {
                let why = format!(
                    "policy: error: an account has changed since the policy was loaded, so the policy was read again. \
                     Policy {} would give somebody more permissions, so an administrator has to load it: remit policy reload",
                    short(&live.digest)
                );
                self.reject_policy(why, None);
            }
            Ok(Loaded { live, settings }) => {
                let record =
                    with_requester(loaded(&live, done.asked.as_ref()), done.asked.as_ref());
                // A policy that the audit log does not know must not decide.
                match self.audit.write(record) {
                    Ok(()) => {
                        let changes = std::mem::take(&mut done.before).and(live.changes);
                        let live = Live { changes, ..live };
                        self.needs_restart = self.config.changed(&settings);
                        self.take_policy(live);
                    }
                    Err(why) => self.reject_policy(why.to_string(), done.asked.as_ref()),
                }
            }
            Err(refused) => self.reject_policy(refused, done.asked.as_ref()),
        }
        if done.again {
            match self.reload(done.asked.as_ref()) {
                // Requesters who wait get the result of the last load, and the changes of all.
                Ok(()) => {
                    let is_accepted = self.policy_error.is_none();
                    if let Some(loading) = self.loading.as_mut().filter(|_| is_accepted) {
                        loading.before = self.policy.changes.clone();
                    }
                    return;
                }
                Err(error) => self.reject_policy(error.to_string(), done.asked.as_ref()),
            }
        }
        self.tell_reloaded();
        self.send_admins_away();
    }

    /// Closes connections of administrators whose account changed, or who lost a group that their rights depend on. A
    /// uid that had no account and has none is unchanged.
    fn send_admins_away(&mut self) {
        let mut named = self.policy.policy.groups_named().clone();
        let approving = self.policy.policy.asking();
        named.extend(approving.flat_map(|asking| asking.approval.gids()));
        named.insert(self.admins.group());
        let people = &self.policy.people;
        let lost = self.admins.numbered().filter(|(_, subject)| {
            let (uid, user) = (subject.uid(), subject.user());
            let is_absent = people.account(uid, user) == Some(&AccountState::NoAccount);
            let is_same = people.is_other(uid, user).is_none();
            !(is_absent && is_same) && people.has_lost(subject, &named).is_some()
        });
        let lost: Vec<u64> = lost.map(|(number, _)| number).collect();
        for number in lost {
            self.admins.close(number, &self.reactor);
        }
    }

    /// Puts a policy into force.
    fn take_policy(&mut self, live: Live) {
        live.warnings.iter().for_each(|line| say!("{line}"));
        let changes = format_args!("what this policy changed:\n{}", live.changes);
        log::beside(&self.audit, Weight::Warning, changes);
        let mut named = live.policy.groups_named().clone();
        named.extend(self.grants.groups());
        let away = self.sessions.of_lost(&named, &live.people);
        let lost = self.jobs.waiting().filter_map(|waiting| {
            let why = live
                .people
                .has_lost(&waiting.plan.requester.subject, &named)?;
            Some((waiting.plan.job, why))
        });
        let lost: Vec<(JobId, String)> = lost.collect();
        self.drop_prefork_pool();
        self.sandboxes = self.sandbox.sandboxes(&live.policy);
        self.want_default();
        for (name, why) in self.sandboxes.refused() {
            say_error!("nothing will run in {name}: {why}");
        }
        if let Err(error) = save_names(self.state.dir(), &live.last_known) {
            say_error!("cannot save the users and groups of denials for the next start: {error}");
        }
        self.policy = live;
        self.policy_error = None;
        self.names.renew();
        for (uid, name) in self.policy.people.names() {
            self.names.learn(uid, name);
        }
        self.send_away(&away);
        for (job, why) in lost {
            self.end_if_waiting(job, State::Denied, &why);
        }
        self.void_changed();
        self.bind_grants();
        let people = std::mem::take(&mut self.policy.people);
        self.judge_grants(&people);
        self.policy.people = people;
    }

    /// Ends requests that wait for an approval, or were approved, under another policy.
    fn void_changed(&mut self) {
        let named = self.policy.policy.groups_named().clone();
        let people = std::mem::take(&mut self.policy.people);
        self.void_changed_requests(&named, &people);
        self.policy.people = people;
        let is_other = |plan: &Plan| {
            let approved = plan.approved.is_some();
            approved && plan.policy() != self.policy.digest
        };
        let waiting = self.jobs.waiting().map(|waiting| &waiting.plan);
        let other: Vec<_> = waiting
            .filter(|plan| is_other(plan))
            .map(|plan| plan.job)
            .collect();
        for job in other {
            let why = "the policy has changed since it was approved";
            self.end_if_waiting(job, State::Denied, why);
        }
    }

    /// Ends sessions of users whose identity changed. Groups are those at connect, so they must connect again.
    fn send_away(&mut self, sessions: &[u64]) {
        for session in sessions {
            self.end_session(*session);
        }
    }

    fn reject_policy(&mut self, why: String, asked: Option<&Subject>) {
        let text = format_args!("the new policy is refused, the old policy stays in force:\n{why}");
        log::beside(&self.audit, Weight::Error, text);
        let message = format!(
            "{} was refused, {} stays in force: {}",
            asked.map_or("a new policy".to_owned(), |by| format!(
                "{}'s new policy",
                by.user()
            )),
            short(&self.policy.digest),
            in_short(&why)
        );
        let record = Record::new(Event::Policy, message)
            .with_error_priority()
            .field("POLICY", &self.policy.digest)
            .field("VERDICT", "refused")
            .field("CAUSE", findings(&why).join("; "));
        self.audit.note(with_requester(record, asked));
        self.policy_error = Some(why);
    }

    /// Ends the broker and PID 1 and waits a moment. Otherwise a service manager would assume that leftover processes
    /// had to be killed.
    pub fn dismiss(&mut self) {
        self.broker.dismiss(PARTING);
        self.sandbox.end_watchdog(WATCHDOG_PATIENCE);
    }

    pub fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true) {
            self.pat_watchdog();
        }
    }

    /// Sends a changed status to the service manager, at most once a second to limit its load.
    pub fn tell_note(&mut self) {
        if !self.announced || self.timers.has(Timer::Note) {
            return;
        }
        let jobs = self.jobs.count_live();
        let note = match (&self.gate, self.sandbox.refused()) {
            (AdmissionState::Stopping, _) => self.shutdown_note(),
            (AdmissionState::Locked(_), _) => Note::Locked(jobs),
            (AdmissionState::Open, Some(why)) => Note::Refusing(why),
            (AdmissionState::Open, None) => Note::Serving(jobs),
        };
        if self.notify.note(&note) {
            self.timers.add(NOTE, Timer::Note);
        }
    }

    /// Sends the watchdog message and sets the timer for the next one.
    pub fn pat_watchdog(&mut self) {
        if let Some(interval) = self.notify.watchdog() {
            self.notify.alive();
            self.timers.add(interval / 2, Timer::Watchdog);
        }
    }
}

fn loaded(live: &Live, asked: Option<&Subject>) -> Record {
    let changes = live.changes.to_string().replace('\n', "; ");
    let message = format!(
        "policy {} is in force{}: {}",
        short(&live.digest),
        loader(asked),
        text::line(changes.as_bytes(), CHANGES)
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
        .field("VERDICT", "loaded")
        .field("CHANGES", changes)
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

fn with_requester(record: Record, asked: Option<&Subject>) -> Record {
    match asked {
        Some(subject) => with_subject(record, subject, None),
        None => record,
    }
}
