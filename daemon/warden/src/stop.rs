//! Signals, reload, watchdog, and the end of the daemon's own processes.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::siginfo;
use remit_common::outcome::State;
use remit_common::text;

use crate::audit::{Event, Record};
use crate::clock::Timer;
use crate::error::Fatal;
use crate::notify::Note;
use crate::peer::Subject;
use crate::people::{Account, Question};
use crate::plan::{Plan, who};
use crate::policy_load::{
    Live, Loaded, Loading, PATIENCE, Refused, findings, in_short, late, short,
};
use crate::reactor::{Interest, Token};
use crate::say::{self, Weight};
use crate::warden::{Gate, Warden};

/// For the broker to end.
const PARTING: Duration = Duration::from_secs(1);
/// For the keeper and the zygotes to end: each mount namespace that ends waits for the whole machine.
const KEEPER: Duration = Duration::from_secs(4);
/// Of what a policy changes, in a sentence; a field has more of it.
const CHANGES: usize = 240;

/// Between two words to the service manager.
const NOTE: Duration = Duration::from_secs(1);

impl Warden {
    /// A signal came in.
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

    /// Starts to read the policy again. The one in force stays until the new one is whole and right.
    ///
    /// # Errors
    /// The child that reads cannot be forked.
    pub fn reload(&mut self, asked: Option<&Subject>) -> Result<(), Fatal> {
        if let Some(loading) = &mut self.loading {
            // Its files may be older than this request: once more when it is done.
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

    /// Reads the policy again because somebody has another account than it knows; once for each account.
    pub fn reload_for(&mut self, subject: &Subject) {
        let account = subject.owner();
        if self.loading.is_some() || self.reloaded_for.as_ref() == Some(&account) {
            return;
        }
        if let Err(error) = self.reload(None) {
            say_error!("{error}");
        }
        self.reloaded_for = Some(account);
    }

    /// Who is connected, has something that waits, or gave or got a grant.
    fn people(&self) -> Question {
        let waiting = self.queue.subjects().chain(self.approvals.subjects());
        let connected = self.sessions.subjects().chain(self.admins.subjects());
        let mut question = Question::of(connected.chain(waiting));
        self.grants.ask_about(&mut question);
        question
    }

    /// The child that reads the policy has had its time.
    pub fn policy_late(&mut self) {
        self.policy_done(Err(late()));
    }

    /// The child that reads the policy got on.
    pub fn policy_read(&mut self) {
        let Some(loading) = &mut self.loading else {
            return;
        };
        let Some(read) = loading.read() else {
            return;
        };
        self.policy_done(read);
    }

    fn policy_done(&mut self, read: Result<Loaded, Refused>) {
        self.timers.cancel(Timer::Policy);
        let Some(mut done) = self.loading.take() else {
            return;
        };
        self.reactor.remove(done.fd());
        match read {
            Ok(Loaded { live, settings }) => {
                let record = by_whom(loaded(&live, done.asked.as_ref()), done.asked.as_ref());
                // A policy that the trail does not know must not decide.
                match self.audit.write(record) {
                    Ok(()) => {
                        let changes = std::mem::take(&mut done.before).and(live.changes);
                        let live = Live { changes, ..live };
                        self.needs_restart = self.config.changed(&settings);
                        self.take_policy(live);
                    }
                    Err(why) => self.policy_refused(why.to_string(), done.asked.as_ref()),
                }
            }
            Err(refused) => self.policy_refused(refused, done.asked.as_ref()),
        }
        if done.again {
            match self.reload(done.asked.as_ref()) {
                // Whoever waits hears of the last load, and of what all changed.
                Ok(()) => {
                    let told = self.policy_error.is_none();
                    if let Some(loading) = self.loading.as_mut().filter(|_| told) {
                        loading.before = self.policy.changes.clone();
                    }
                    return;
                }
                Err(error) => self.policy_refused(error.to_string(), done.asked.as_ref()),
            }
        }
        self.tell_reloaded();
        self.send_admins_away();
    }

    /// Ends connections of administrators who are not who connected, or have lost a group that says what they
    /// may do. Whoever has no account, and had none, is who the kernel said.
    fn send_admins_away(&mut self) {
        let mut named = self.policy.policy.groups_named().clone();
        let approving = self.policy.policy.asking();
        named.extend(approving.flat_map(|asking| asking.approval.gids()));
        named.insert(self.admins.group());
        let people = &self.policy.people;
        let lost = self.admins.numbered().filter(|(_, subject)| {
            let (uid, user) = (subject.uid(), subject.user());
            let nobody = people.account(uid, user) == Some(&Account::Nobody);
            let is_same = people.is_other(uid, user).is_none();
            !(nobody && is_same) && people.has_lost(subject, &named).is_some()
        });
        let lost: Vec<u64> = lost.map(|(number, _)| number).collect();
        for number in lost {
            self.admins.close(number, &self.reactor);
        }
    }

    /// From now on this one decides.
    fn take_policy(&mut self, live: Live) {
        live.warnings.iter().for_each(|line| say!("{line}"));
        let changes = format_args!("what this policy changed:\n{}", live.changes);
        say::beside(&self.audit, Weight::Warning, changes);
        let mut named = live.policy.groups_named().clone();
        named.extend(self.grants.groups());
        let away = self.sessions.of_lost(&named, &live.people);
        let lost = self.queue.of_lost(&named, &live.people);
        self.drop_ahead();
        self.sandboxes = self.walls.sandboxes(&live.policy);
        self.want_usual();
        for (name, why) in self.sandboxes.refused() {
            say_error!("every run will be refused in {name}: {why}");
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
        let people = std::mem::take(&mut self.policy.people);
        self.judge_grants(&people);
        self.policy.people = people;
    }

    /// Ends what was asked of a person, or approved, under another policy.
    fn void_changed(&mut self) {
        let named = self.policy.policy.groups_named().clone();
        let people = std::mem::take(&mut self.policy.people);
        self.void_changed_requests(&named, &people);
        self.policy.people = people;
        let is_other = |plan: &Plan| {
            let approved = plan.approved.is_some();
            approved && plan.policy() != self.policy.digest
        };
        let waiting = self.queue.iter().map(|waiting| &waiting.plan);
        let other: Vec<_> = waiting
            .filter(|plan| is_other(plan))
            .map(|plan| plan.job)
            .collect();
        for job in other {
            let why = "the policy has changed since it was approved";
            self.end_if_waiting(job, State::Denied, why);
        }
    }

    /// Ends sessions of those who are not who connected: groups are those at connect, so they connect again.
    fn send_away(&mut self, sessions: &[u64]) {
        for session in sessions {
            self.end_session(*session);
        }
    }

    fn policy_refused(&mut self, why: String, asked: Option<&Subject>) {
        let text = format_args!("the new policy is refused, the old one stays in force:\n{why}");
        say::beside(&self.audit, Weight::Error, text);
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
            .grave()
            .field("POLICY", &self.policy.digest)
            .field("VERDICT", "refused")
            .field("CAUSE", findings(&why).join("; "));
        self.audit.note(by_whom(record, asked));
        self.policy_error = Some(why);
    }

    /// Ends broker and keeper and waits for them a moment: a service manager would take what is
    /// left for something that had to be killed.
    pub fn dismiss(&mut self) {
        self.broker.dismiss(PARTING);
        self.walls.end_keeper(KEEPER);
    }

    /// Clients are served: tells the service manager, once.
    pub fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true) {
            self.pat_watchdog();
        }
    }

    /// Tells the service manager how we are, where it does not know: once a second at most, it
    /// has more to do than we have jobs.
    pub fn tell_note(&mut self) {
        if !self.announced || self.timers.has(Timer::Note) {
            return;
        }
        let jobs = self.jobs.count_live();
        let note = match (&self.gate, self.walls.refused()) {
            (Gate::Stopping, _) => self.shutdown_note(),
            (Gate::Locked(_), _) => Note::Locked(jobs),
            (Gate::Open, Some(why)) => Note::Refusing(why),
            (Gate::Open, None) => Note::Serving(jobs),
        };
        if self.notify.note(&note) {
            self.timers.add(NOTE, Timer::Note);
        }
    }

    /// Tells the service manager that the loop turns, and when to do so again.
    pub fn pat_watchdog(&mut self) {
        if let Some(interval) = self.notify.watchdog() {
            self.notify.alive();
            self.timers.add(interval / 2, Timer::Watchdog);
        }
    }
}

/// The record of a policy that is about to decide.
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
            Record::new(Event::Policy, format!("{message}; {warning}")).doubtful()
        }
    };
    record
        .field("POLICY", &live.digest)
        .field("VERDICT", "loaded")
        .field("CHANGES", changes)
}

/// Whose request it was, in a sentence; the service manager's is nobody's.
fn loader(asked: Option<&Subject>) -> String {
    asked.map_or(String::new(), |subject| {
        format!(", loaded by {}", subject.user())
    })
}

/// Which signal, and whose, as the kernel tells it.
fn sender(signal: Signal, info: &siginfo) -> String {
    format!(
        "{} of process {}, uid {}",
        signal.as_str(),
        info.ssi_pid,
        info.ssi_uid
    )
}

fn by_whom(record: Record, asked: Option<&Subject>) -> Record {
    match asked {
        Some(subject) => who(record, subject, None),
        None => record,
    }
}

/// Waits for a process to end, `patience` at most: nothing else is left to do.
pub fn parted(pidfd: BorrowedFd<'_>, patience: Duration) {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], patience);
}
