//! Tests all sandbox layers for `remit doctor` while jobs run, without blocking. One self-test runs at a time, and
//! later requests share its result. A layer that fails refuses its base until a restart: a later success proves
//! nothing about the time between.

use std::time::Duration;

use remit_common::admin::{AdminReply, Checkup, ProfileCheck};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_spawn::{Finding, SelfTest};
use remit_sys::Cgroup;

use crate::admin::Wants;
use crate::audit::{Event, Record};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::peer::Subject;
use crate::job::uid_pool::JobUid;
use crate::request::with_subject;
use crate::sandbox::{ConfinedBase, PreforkedJob, TestedAt, broken};
use crate::service::log::{self, Weight};
use crate::startup::error::chain;
use crate::state::Warden;

/// Timeout for the test of one base.
const TRY: Duration = Duration::from_secs(10);
/// Timeout for leftover processes of its uid.
const CLEAR: Duration = Duration::from_secs(5);
/// Pause before untested layers are tested again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct SelfTestRun {
    phase: SelfTestPhase,
    tour: TestTour,
}

#[derive(Debug)]
struct TestTour {
    asked: Option<Subject>,
    left: Vec<ConfinedBase>,
    /// Bases whose layers all held, since the current watchdog was started.
    held: Vec<ConfinedBase>,
    done: Vec<ProfileCheck>,
}

#[derive(Debug)]
enum SelfTestPhase {
    Trying(SelfTest, TestSandbox),
    /// Killed, but not ended. Those who waited have their answer.
    Stuck(SelfTest, TestSandbox),
    /// Ended. Leftover processes in its cgroup are being killed.
    Clearing(TestSandbox, AfterCleanup),
}

/// The cgroup and the uid of a self-test. No job has this uid meanwhile.
#[derive(Debug)]
struct TestSandbox {
    cgroup: Cgroup,
    uid: JobUid,
}

#[derive(Debug)]
enum AfterCleanup {
    GoOn,
    Tell(Option<AdminReply>),
}

pub enum SelfTestStart {
    Later,
    Now(AdminReply),
}

impl Warden {
    /// Tests all layers. `asked`: the administrator; `None` if the daemon itself asks.
    pub fn start_self_test(&mut self, asked: Option<&Subject>) -> SelfTestStart {
        match self.self_test.as_ref().map(|self_test| &self_test.phase) {
            Some(
                SelfTestPhase::Trying(..)
                | SelfTestPhase::Clearing(_, AfterCleanup::GoOn | AfterCleanup::Tell(Some(_))),
            ) => SelfTestStart::Later,
            Some(
                SelfTestPhase::Stuck(..) | SelfTestPhase::Clearing(_, AfterCleanup::Tell(None)),
            ) => SelfTestStart::Now(untried("an earlier self-test has not ended")),
            None => {
                let tour = TestTour {
                    asked: asked.cloned(),
                    left: ConfinedBase::ALL.to_vec(),
                    held: Vec::new(),
                    done: Vec::new(),
                };
                match self.continue_tour(tour) {
                    None => SelfTestStart::Later,
                    Some(reply) => {
                        self.retry_if_untried();
                        SelfTestStart::Now(reply)
                    }
                }
            }
        }
    }

    /// Tests all layers again. Results of a running test are void, because it was killed with the jobs.
    pub fn restart_self_test(&mut self) {
        if let Some(self_test) = &mut self.self_test {
            self_test.tour.held.clear();
        }
        if let SelfTestStart::Now(AdminReply::Refused(refusal)) = self.start_self_test(None) {
            say!("{refusal}");
        }
    }

    fn retry_if_untried(&mut self) {
        if self.self_test.is_none() && self.sandbox.are_untried() {
            self.timers.add(AGAIN, Timer::SelfTestRun);
        }
    }

    /// Tests the next base. Returns the answer if none is left or one cannot be tested.
    fn continue_tour(&mut self, mut tour: TestTour) -> Option<AdminReply> {
        while let Some(confined) = tour.left.first().copied() {
            if self.sandbox.is_built(confined) {
                let asked = tour.asked.clone();
                return match self.start_self_test_of(confined, tour) {
                    Ok(()) => None,
                    Err(why) => Some(self.record_untried(&why, asked.as_ref())),
                };
            }
            tour.done.push(self.sandbox.checked(confined, &[]));
            tour.left.remove(0);
        }
        for confined in tour.held {
            self.sandbox.prove(confined);
        }
        let report = self.checkup(tour.done, tour.asked.as_ref());
        Some(AdminReply::Doctor(Box::new(report)))
    }

    fn start_self_test_of(&mut self, confined: ConfinedBase, tour: TestTour) -> Result<(), String> {
        let uid = self
            .uids
            .take()
            .ok_or("no uid of the jobs' range is free")?;
        let started = self
            .sandbox
            .self_test(confined, &uid)
            .map_err(|error| chain(&error))
            .and_then(|(self_test, cgroup)| {
                match self
                    .reactor
                    .add(self_test.fd(), Token::SelfTestRun, Interest::Read)
                {
                    Ok(()) => Ok((self_test, cgroup)),
                    Err(error) => {
                        drop(self_test);
                        drop(PreforkedJob::of(cgroup));
                        Err(format!("it cannot be watched: {error}"))
                    }
                }
            });
        match started {
            Ok((self_test, cgroup)) => {
                self.timers.add(TRY, Timer::SelfTestRun);
                let phase = SelfTestPhase::Trying(self_test, TestSandbox { cgroup, uid });
                self.self_test = Some(SelfTestRun { phase, tour });
                Ok(())
            }
            Err(why) => {
                self.uids.give_back(uid);
                Err(why)
            }
        }
    }

    pub fn on_self_test_event(&mut self) {
        let Some(SelfTestRun { phase, mut tour }) = self.self_test.take() else {
            return;
        };
        match phase {
            SelfTestPhase::Trying(self_test, own) => match self_test.read() {
                Ok(None) => {
                    let phase = SelfTestPhase::Trying(self_test, own);
                    self.self_test = Some(SelfTestRun { phase, tour });
                }
                Ok(Some(findings)) => {
                    self.reactor.remove(self_test.fd());
                    self.timers.cancel(Timer::SelfTestRun);
                    if !tour.left.is_empty() {
                        let confined = tour.left.remove(0);
                        self.found(confined, &findings, &mut tour);
                    }
                    self.clear(own, AfterCleanup::GoOn, tour);
                }
                Err(error) => {
                    self.reactor.remove(self_test.fd());
                    let reply = self.record_untried(&chain(&error), tour.asked.as_ref());
                    self.clear(own, AfterCleanup::Tell(Some(reply)), tour);
                }
            },
            SelfTestPhase::Stuck(self_test, own) => {
                self.reactor.remove(self_test.fd());
                self.clear(own, AfterCleanup::Tell(None), tour);
            }
            SelfTestPhase::Clearing(own, then) => self.check_cleaned_up(own, then, tour),
        }
    }

    pub fn on_self_test_timeout(&mut self) {
        let Some(SelfTestRun { phase, tour }) = self.self_test.take() else {
            if self.sandbox.are_untried() {
                self.restart_self_test();
            }
            return;
        };
        match phase {
            SelfTestPhase::Trying(self_test, own) | SelfTestPhase::Stuck(self_test, own) => {
                let _ = own.cgroup.kill();
                let why = format!("the self-test did not end within {} s", TRY.as_secs());
                let reply = self.record_untried(&why, tour.asked.as_ref());
                let phase = SelfTestPhase::Stuck(self_test, own);
                self.self_test = Some(SelfTestRun { phase, tour });
                self.reply_checkup(Some(&reply));
            }
            SelfTestPhase::Clearing(own, then) => {
                self.reactor.remove(own.cgroup.events());
                warn_uid_lost(&own.uid);
                self.finish_cleanup(then, tour);
            }
        }
    }

    /// Kills leftover processes of a self-test before a job may get its uid.
    fn clear(&mut self, own: TestSandbox, then: AfterCleanup, tour: TestTour) {
        let killed = own.cgroup.kill().map_err(|error| chain(&error));
        let watched = killed.and_then(|()| {
            let events = own.cgroup.events();
            let watched = self
                .reactor
                .add(events, Token::SelfTestRun, Interest::Change);
            watched.map_err(|error| error.to_string())
        });
        if let Err(why) = watched {
            say!("leftover processes of a self-test cannot be killed: {why}");
            warn_uid_lost(&own.uid);
            return self.finish_cleanup(then, tour);
        }
        self.timers.add(CLEAR, Timer::SelfTestRun);
        // The cgroup may have become empty before it was watched.
        self.check_cleaned_up(own, then, tour);
    }

    fn check_cleaned_up(&mut self, own: TestSandbox, then: AfterCleanup, tour: TestTour) {
        if !matches!(own.cgroup.populated(), Ok(false)) {
            let phase = SelfTestPhase::Clearing(own, then);
            self.self_test = Some(SelfTestRun { phase, tour });
            return;
        }
        self.timers.cancel(Timer::SelfTestRun);
        self.reactor.remove(own.cgroup.events());
        if let Err(left) = own.cgroup.remove() {
            say!("{}", chain(&left));
        }
        self.uids.give_back(own.uid);
        self.finish_cleanup(then, tour);
    }

    fn finish_cleanup(&mut self, then: AfterCleanup, tour: TestTour) {
        let reply = match then {
            AfterCleanup::GoOn => match self.continue_tour(tour) {
                None => return,
                reply => reply,
            },
            AfterCleanup::Tell(reply) => reply,
        };
        self.reply_checkup(reply.as_ref());
        self.retry_if_untried();
    }

    fn reply_checkup(&mut self, reply: Option<&AdminReply>) {
        if let Some(reply) = reply {
            self.tell_waiting(Wants::Checkup, || reply.clone());
        }
    }

    /// Handles the results of a base. If a layer failed, its jobs are ended and the base is refused.
    fn found(&mut self, confined: ConfinedBase, findings: &[Finding], tour: &mut TestTour) {
        if let Some(why) = broken(findings, TestedAt::Later) {
            say_error!("nothing runs in {} any longer: {why}", confined.name());
            self.sandbox.refuse(confined, why);
            let cause = "a layer of its sandbox no longer holds";
            for serial in self.jobs.behind(confined) {
                self.end_job(serial, State::Interrupted, cause);
            }
        } else {
            tour.held.push(confined);
        }
        tour.done.push(self.sandbox.checked(confined, findings));
    }

    fn record_untried(&mut self, why: &str, asked: Option<&Subject>) -> AdminReply {
        self.timers.cancel(Timer::SelfTestRun);
        let message = format!("the sandbox layers could not be tested: {why}");
        log::beside(&self.audit, Weight::Warning, format_args!("{message}"));
        let record = Record::new(Event::SelfTest, message)
            .with_warning_priority()
            .field("VERDICT", "untried")
            .field("CAUSE", why);
        self.audit.note(with_requester(record, asked));
        untried(why)
    }

    /// Builds the report and records it. The report thereby also shows if the audit log takes records.
    fn checkup(&mut self, profiles: Vec<ProfileCheck>, asked: Option<&Subject>) -> Checkup {
        let refused = self.sandbox.refused();
        let (message, verdict) = match &refused {
            None => {
                let by = asked.map_or(String::new(), |by| format!(", as {} asked", by.user()));
                let text = format!("each sandbox layer was tested{by}, and holds");
                (text, "held")
            }
            Some(why) => (format!("nothing runs in {why}"), "refused"),
        };
        let mut record = Record::new(Event::SelfTest, message);
        if refused.is_some() {
            record = record.with_error_priority();
        }
        let record = record
            .field("VERDICT", verdict)
            .maybe("CAUSE", refused.as_ref());
        let recorded = self.audit.write(with_requester(record, asked));
        let (landlock, landlock_errata) = self.sandbox.landlock();
        let (controllers, missing_controllers) = self.sandbox.controllers();
        Checkup {
            kernel: self.sandbox.release().to_owned(),
            landlock,
            landlock_errata,
            cgroup: self.sandbox.cgroup(),
            controllers,
            missing_controllers,
            lowered_limits: self.sandbox.lowered(&self.limits.limits()),
            audit: self.audit.sink().to_owned(),
            audit_error: recorded.err().map(|why| why.to_string()),
            daemon: self.confined.clone(),
            profiles,
        }
    }
}

fn untried(why: &str) -> AdminReply {
    let text = format!("the sandbox layers could not be tested: {why}");
    AdminReply::Refused(
        Refusal::new(Code::NotStarted, text).next("jobs keep running as before; try again"),
    )
}

/// As for jobs: a uid is not used again if its processes may still exist.
fn warn_uid_lost(uid: &JobUid) {
    say!(
        "leftover processes of a self-test could not be ended: no job gets uid {}",
        uid.get()
    );
}

fn with_requester(record: Record, asked: Option<&Subject>) -> Record {
    match asked {
        Some(subject) => with_subject(record, subject, None),
        None => record,
    }
}
