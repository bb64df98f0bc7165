//! `remit doctor`'s half of the daemon: all walls tried while jobs run, and nobody waits.
//!
//! One trial at a time; whoever asks meanwhile shares its findings. A wall that does not hold
//! refuses the profile for good: that it holds again later proves nothing about in between.

use std::time::Duration;

use remit_common::admin::{AdminReply, Checkup};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_confine::{Finding, Killing, Witness};

use crate::admin::Wants;
use crate::audit::{Event, Record};
use crate::clock::Timer;
use crate::error::chain;
use crate::peer::Subject;
use crate::plan::who;
use crate::reactor::{Interest, Token};
use crate::uids::JobUid;
use crate::walls::{Asked, broken};
use crate::warden::Warden;

/// For a witness to try every wall.
const TRY: Duration = Duration::from_secs(10);
/// For whatever is left of its uid to end.
const CLEAR: Duration = Duration::from_secs(5);
/// Before walls that nobody has tried yet are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// All walls being tried. Its uid is no job's meanwhile.
#[derive(Debug)]
pub struct Trial {
    uid: JobUid,
    phase: Phase,
    asked: Option<Subject>,
}

#[derive(Debug)]
enum Phase {
    Trying(Witness),
    /// It was killed and has not ended.
    Stuck(Witness),
    /// It has ended; what it left of its uid is being killed. Then this is the answer, where
    /// somebody still waits for one.
    Clearing(Killing, Option<AdminReply>),
}

/// What an administrator's question leads to.
pub enum Begun {
    /// The findings come later.
    Later,
    /// This is all there is to say.
    Now(AdminReply),
}

impl Warden {
    /// Has all walls tried. `asked`: who wants to know; nobody, when the daemon itself does.
    pub fn check_walls(&mut self, asked: Option<&Subject>) -> Begun {
        if !self.walls.are_built() {
            let report = self.checkup(&[], asked);
            return Begun::Now(AdminReply::Doctor(Box::new(report)));
        }
        match self.trial.as_ref().map(|trial| &trial.phase) {
            Some(Phase::Trying(_) | Phase::Clearing(_, Some(_))) => Begun::Later,
            Some(Phase::Stuck(_) | Phase::Clearing(_, None)) => {
                Begun::Now(untried("an earlier witness has not ended"))
            }
            None => match self.try_walls(asked) {
                Ok(()) => Begun::Later,
                Err(why) => {
                    let reply = self.could_not_try(&why, asked);
                    self.trial_over();
                    Begun::Now(reply)
                }
            },
        }
    }

    /// Has walls tried that were put up anew. No trial of what stood before is under way then: its
    /// witness lives below the keeper, whose end is told only when all below it are reaped.
    pub fn try_anew(&mut self) {
        if let Begun::Now(AdminReply::Refused(refusal)) = self.check_walls(None) {
            say!("{refusal}");
        }
    }

    /// Nothing is being tried any more. What stands untried then is tried again in a while.
    fn trial_over(&mut self) {
        if self.trial.is_none() && self.walls.are_untried() {
            self.timers.add(AGAIN, Timer::Trial);
        }
    }

    fn try_walls(&mut self, asked: Option<&Subject>) -> Result<(), String> {
        let uid = self
            .uids
            .take()
            .ok_or("no uid of the jobs' range is free")?;
        let begun = self
            .walls
            .witness(uid.get())
            .map_err(|error| chain(&error))
            .and_then(|witness| {
                let watched = self.reactor.add(witness.fd(), Token::Trial, Interest::Read);
                watched.map_err(|error| format!("it cannot be watched: {error}"))?;
                Ok(witness)
            });
        match begun {
            Ok(witness) => {
                self.timers.add(TRY, Timer::Trial);
                self.trial = Some(Trial {
                    uid,
                    phase: Phase::Trying(witness),
                    asked: asked.cloned(),
                });
                Ok(())
            }
            Err(why) => {
                self.uids.give_back(uid);
                Err(why)
            }
        }
    }

    /// The trial got on.
    pub fn trial_event(&mut self) {
        let Some(Trial { uid, phase, asked }) = self.trial.take() else {
            return;
        };
        match phase {
            Phase::Trying(mut witness) => match witness.read() {
                Ok(None) => {
                    self.trial = Some(Trial {
                        uid,
                        phase: Phase::Trying(witness),
                        asked,
                    });
                }
                read => {
                    self.reactor.remove(witness.fd());
                    let asked = asked.as_ref();
                    let reply = match read {
                        Ok(findings) => self.found(&findings.unwrap_or_default(), asked),
                        Err(error) => self.could_not_try(&chain(&error), asked),
                    };
                    self.clear(uid, Some(reply));
                }
            },
            Phase::Stuck(witness) => {
                self.reactor.remove(witness.fd());
                self.clear(uid, None);
            }
            Phase::Clearing(killing, reply) => {
                self.timers.cancel(Timer::Trial);
                self.reactor.remove(killing.fd());
                match killing.verified() {
                    Ok(true) => self.uids.give_back(uid),
                    Ok(false) | Err(_) => keeps(&uid),
                }
                self.end_trial(reply.as_ref());
            }
        }
    }

    /// The trial has had its time, or its time has come.
    pub fn trial_late(&mut self) {
        let Some(Trial { uid, phase, asked }) = self.trial.take() else {
            if self.walls.are_untried() {
                self.try_anew();
            }
            return;
        };
        match phase {
            Phase::Trying(witness) | Phase::Stuck(witness) => {
                witness.kill();
                let why = format!("the witness was not done in {} s", TRY.as_secs());
                let reply = self.could_not_try(&why, asked.as_ref());
                self.trial = Some(Trial {
                    uid,
                    phase: Phase::Stuck(witness),
                    asked: None,
                });
                self.tell_checked(Some(&reply));
            }
            Phase::Clearing(killing, reply) => {
                self.reactor.remove(killing.fd());
                keeps(&uid);
                self.end_trial(reply.as_ref());
            }
        }
    }

    /// Ends what has the witness's uid, before a job may; then `reply` is told.
    fn clear(&mut self, uid: JobUid, reply: Option<AdminReply>) {
        let killing = self.walls.kill_uid(uid.get());
        let watched = killing.map_err(|error| chain(&error)).and_then(|killing| {
            let watched = self.reactor.add(killing.fd(), Token::Trial, Interest::Read);
            watched.map_err(|error| error.to_string())?;
            Ok(killing)
        });
        match watched {
            Ok(killing) => {
                self.timers.add(CLEAR, Timer::Trial);
                self.trial = Some(Trial {
                    uid,
                    phase: Phase::Clearing(killing, reply),
                    asked: None,
                });
            }
            Err(why) => {
                say!("what a witness left cannot be killed: {why}");
                keeps(&uid);
                self.end_trial(reply.as_ref());
            }
        }
    }

    fn end_trial(&mut self, reply: Option<&AdminReply>) {
        self.tell_checked(reply);
        self.trial_over();
    }

    fn tell_checked(&mut self, reply: Option<&AdminReply>) {
        if let Some(reply) = reply {
            self.tell_waiting(Wants::Checkup, reply);
        }
    }

    /// Every wall was tried. One that did not hold ends what runs, and nothing runs any more.
    fn found(&mut self, findings: &[Finding], asked: Option<&Subject>) -> AdminReply {
        self.timers.cancel(Timer::Trial);
        if let Some(why) = broken(findings, Asked::Later) {
            say_error!("nothing runs any more: {why}");
            self.walls.refuse(why);
            for serial in self.jobs.serials() {
                let cause = "a wall of its sandbox does not hold any more";
                self.end_job(serial, State::Interrupted, cause);
            }
        } else {
            self.walls.prove();
        }
        AdminReply::Doctor(Box::new(self.checkup(findings, asked)))
    }

    fn could_not_try(&mut self, why: &str, asked: Option<&Subject>) -> AdminReply {
        self.timers.cancel(Timer::Trial);
        say!("the walls could not be tried: {why}");
        let message = format!("the walls of the sandbox could not be tried: {why}");
        let record = Record::new(Event::Walls, message)
            .doubtful()
            .field("VERDICT", "untried")
            .field("CAUSE", why);
        self.audit.note(by_whom(record, asked));
        untried(why)
    }

    /// The report, which the trail has too: so it also tells whether the trail takes records.
    fn checkup(&mut self, findings: &[Finding], asked: Option<&Subject>) -> Checkup {
        let (message, verdict) = match self.walls.refused() {
            None => ("each wall of the sandbox holds".to_owned(), "held"),
            Some(why) => (format!("nothing runs: {why}"), "refused"),
        };
        let mut record = Record::new(Event::Walls, message);
        if self.walls.refused().is_some() {
            record = record.grave();
        }
        let record = record
            .field("VERDICT", verdict)
            .maybe("CAUSE", self.walls.refused());
        let recorded = self.audit.write(by_whom(record, asked));
        let (landlock, landlock_errata) = self.walls.landlock();
        let (controllers, missing_controllers) = self.walls.controllers();
        Checkup {
            kernel: self.walls.release().to_owned(),
            landlock,
            landlock_errata,
            cgroup: self.walls.cgroup(),
            controllers,
            missing_controllers,
            lowered_limits: self.walls.lowered(&self.config.limits.limits()),
            audit: self.audit.sink().to_owned(),
            audit_error: recorded.err().map(|why| why.to_string()),
            profiles: self.walls.checked(findings),
        }
    }
}

fn untried(why: &str) -> AdminReply {
    let text = format!("the walls could not be tried: {why}");
    AdminReply::Refused(
        Refusal::new(Code::NotStarted, text).next("jobs go on as before; ask again"),
    )
}

/// As for jobs: a uid whose processes are not known to be gone is nobody's any more.
fn keeps(uid: &JobUid) {
    say!(
        "what a witness left could not be ended: no job gets uid {}",
        uid.get()
    );
}

fn by_whom(record: Record, asked: Option<&Subject>) -> Record {
    match asked {
        Some(subject) => who(record, subject, None),
        None => record,
    }
}
