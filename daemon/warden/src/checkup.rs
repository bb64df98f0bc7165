//! `remit doctor`'s half of the daemon: all walls tried while jobs run, and nobody waits.
//!
//! One trial at a time; whoever asks meanwhile shares its findings. The bases are tried one after
//! the other, each by a witness of its own. A wall that does not hold refuses its base for good: that it
//! holds again later proves nothing about in between.

use std::time::Duration;

use remit_common::admin::{AdminReply, Checkup, ProfileCheck};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_confine::{Cgroup, Finding, Witness};

use crate::admin::Wants;
use crate::audit::{Event, Record};
use crate::clock::Timer;
use crate::error::chain;
use crate::peer::Subject;
use crate::plan::who;
use crate::reactor::{Interest, Token};
use crate::say::{self, Weight};
use crate::uids::JobUid;
use crate::walls::{Asked, Ready, Walled, broken};
use crate::warden::Warden;

/// For a witness to try every wall of a base.
const TRY: Duration = Duration::from_secs(10);
/// For whatever is left of its uid to end.
const CLEAR: Duration = Duration::from_secs(5);
/// Before walls that nobody has tried yet are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// All walls being tried.
#[derive(Debug)]
pub struct Trial {
    phase: Phase,
    tour: Tour,
}

/// What was tried, and is to be.
#[derive(Debug)]
struct Tour {
    asked: Option<Subject>,
    /// The base that is being tried, and those after it.
    left: Vec<Walled>,
    /// Bases of which each wall held, since the keeper that there is was started.
    held: Vec<Walled>,
    done: Vec<ProfileCheck>,
}

#[derive(Debug)]
enum Phase {
    Trying(Witness, Own),
    /// It was killed and has not ended; who waited has been told.
    Stuck(Witness, Own),
    /// It has ended; what it left in its cgroup is being killed.
    Clearing(Own, Then),
}

/// The cgroup of a witness, and its uid: no job's meanwhile.
#[derive(Debug)]
struct Own {
    cgroup: Cgroup,
    uid: JobUid,
}

/// What comes when a witness is gone.
#[derive(Debug)]
enum Then {
    /// The next base, or the report when there is none.
    GoOn,
    /// This answer, where somebody still waits for one.
    Tell(Option<AdminReply>),
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
        match self.trial.as_ref().map(|trial| &trial.phase) {
            Some(Phase::Trying(..) | Phase::Clearing(_, Then::GoOn | Then::Tell(Some(_)))) => {
                Begun::Later
            }
            Some(Phase::Stuck(..) | Phase::Clearing(_, Then::Tell(None))) => {
                Begun::Now(untried("an earlier witness has not ended"))
            }
            None => {
                let tour = Tour {
                    asked: asked.cloned(),
                    left: Walled::ALL.to_vec(),
                    held: Vec::new(),
                    done: Vec::new(),
                };
                match self.go_on(tour) {
                    None => Begun::Later,
                    Some(reply) => {
                        self.trial_over();
                        Begun::Now(reply)
                    }
                }
            }
        }
    }

    /// Has all walls tried again, before anything runs. A witness at work was killed with the jobs; what it has
    /// found is void.
    pub fn try_anew(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.tour.held.clear();
        }
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

    /// Tries the next base of a tour. The answer, when none is left or one cannot be tried.
    fn go_on(&mut self, mut tour: Tour) -> Option<AdminReply> {
        while let Some(walled) = tour.left.first().copied() {
            if self.walls.is_built(walled) {
                let asked = tour.asked.clone();
                return match self.begin_trial(walled, tour) {
                    Ok(()) => None,
                    Err(why) => Some(self.could_not_try(&why, asked.as_ref())),
                };
            }
            tour.done.push(self.walls.checked(walled, &[]));
            tour.left.remove(0);
        }
        for walled in tour.held {
            self.walls.prove(walled);
        }
        let report = self.checkup(tour.done, tour.asked.as_ref());
        Some(AdminReply::Doctor(Box::new(report)))
    }

    fn begin_trial(&mut self, walled: Walled, tour: Tour) -> Result<(), String> {
        let uid = self
            .uids
            .take()
            .ok_or("no uid of the jobs' range is free")?;
        let begun = self
            .walls
            .witness(walled, &uid)
            .map_err(|error| chain(&error))
            .and_then(|(witness, cgroup)| {
                match self.reactor.add(witness.fd(), Token::Trial, Interest::Read) {
                    Ok(()) => Ok((witness, cgroup)),
                    Err(error) => {
                        drop(witness);
                        drop(Ready::of(cgroup));
                        Err(format!("it cannot be watched: {error}"))
                    }
                }
            });
        match begun {
            Ok((witness, cgroup)) => {
                self.timers.add(TRY, Timer::Trial);
                let phase = Phase::Trying(witness, Own { cgroup, uid });
                self.trial = Some(Trial { phase, tour });
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
        let Some(Trial { phase, mut tour }) = self.trial.take() else {
            return;
        };
        match phase {
            Phase::Trying(mut witness, own) => match witness.read() {
                Ok(None) => {
                    let phase = Phase::Trying(witness, own);
                    self.trial = Some(Trial { phase, tour });
                }
                Ok(Some(findings)) => {
                    self.reactor.remove(witness.fd());
                    self.timers.cancel(Timer::Trial);
                    if !tour.left.is_empty() {
                        let walled = tour.left.remove(0);
                        self.found(walled, &findings, &mut tour);
                    }
                    self.clear(own, Then::GoOn, tour);
                }
                Err(error) => {
                    self.reactor.remove(witness.fd());
                    let reply = self.could_not_try(&chain(&error), tour.asked.as_ref());
                    self.clear(own, Then::Tell(Some(reply)), tour);
                }
            },
            Phase::Stuck(witness, own) => {
                self.reactor.remove(witness.fd());
                self.clear(own, Then::Tell(None), tour);
            }
            Phase::Clearing(own, then) => self.look_cleared(own, then, tour),
        }
    }

    /// The trial has had its time, or its time has come.
    pub fn trial_late(&mut self) {
        let Some(Trial { phase, tour }) = self.trial.take() else {
            if self.walls.are_untried() {
                self.try_anew();
            }
            return;
        };
        match phase {
            Phase::Trying(witness, own) | Phase::Stuck(witness, own) => {
                witness.kill();
                let why = format!("the witness was not done in {} s", TRY.as_secs());
                let reply = self.could_not_try(&why, tour.asked.as_ref());
                let phase = Phase::Stuck(witness, own);
                self.trial = Some(Trial { phase, tour });
                self.tell_checked(Some(&reply));
            }
            Phase::Clearing(own, then) => {
                self.reactor.remove(own.cgroup.events());
                keeps(&own.uid);
                self.cleared(then, tour);
            }
        }
    }

    /// Ends what is left of a witness, before a job may have its uid.
    fn clear(&mut self, own: Own, then: Then, tour: Tour) {
        let killed = own.cgroup.kill().map_err(|error| chain(&error));
        let watched = killed.and_then(|()| {
            let events = own.cgroup.events();
            let watched = self.reactor.add(events, Token::Trial, Interest::Change);
            watched.map_err(|error| error.to_string())
        });
        if let Err(why) = watched {
            say!("what a witness left cannot be killed: {why}");
            keeps(&own.uid);
            return self.cleared(then, tour);
        }
        self.timers.add(CLEAR, Timer::Trial);
        // It may have become empty before it was watched.
        self.look_cleared(own, then, tour);
    }

    /// The cgroup of a witness may have become empty.
    fn look_cleared(&mut self, own: Own, then: Then, tour: Tour) {
        if !matches!(own.cgroup.populated(), Ok(false)) {
            let phase = Phase::Clearing(own, then);
            self.trial = Some(Trial { phase, tour });
            return;
        }
        self.timers.cancel(Timer::Trial);
        self.reactor.remove(own.cgroup.events());
        if let Err(left) = own.cgroup.remove() {
            say!("{}", chain(&left));
        }
        self.uids.give_back(own.uid);
        self.cleared(then, tour);
    }

    fn cleared(&mut self, then: Then, tour: Tour) {
        let reply = match then {
            Then::GoOn => match self.go_on(tour) {
                None => return,
                reply => reply,
            },
            Then::Tell(reply) => reply,
        };
        self.tell_checked(reply.as_ref());
        self.trial_over();
    }

    fn tell_checked(&mut self, reply: Option<&AdminReply>) {
        if let Some(reply) = reply {
            self.tell_waiting(Wants::Checkup, || reply.clone());
        }
    }

    /// Every wall of a base was tried. One that did not hold ends what runs behind such walls, and
    /// nothing runs there any more.
    fn found(&mut self, walled: Walled, findings: &[Finding], tour: &mut Tour) {
        if let Some(why) = broken(findings, Asked::Later) {
            say_error!("nothing runs in {} any more: {why}", walled.name());
            self.walls.refuse(walled, why);
            let cause = "a wall of its sandbox does not hold any more";
            for serial in self.jobs.behind(walled) {
                self.end_job(serial, State::Interrupted, cause);
            }
        } else {
            tour.held.push(walled);
        }
        tour.done.push(self.walls.checked(walled, findings));
    }

    fn could_not_try(&mut self, why: &str, asked: Option<&Subject>) -> AdminReply {
        self.timers.cancel(Timer::Trial);
        let message = format!("the walls of the sandbox could not be tried: {why}");
        say::beside(&self.audit, Weight::Warning, format_args!("{message}"));
        let record = Record::new(Event::Walls, message)
            .doubtful()
            .field("VERDICT", "untried")
            .field("CAUSE", why);
        self.audit.note(by_whom(record, asked));
        untried(why)
    }

    /// The report, which the trail has too: so it also tells whether the trail takes records.
    fn checkup(&mut self, profiles: Vec<ProfileCheck>, asked: Option<&Subject>) -> Checkup {
        let refused = self.walls.refused();
        let (message, verdict) = match &refused {
            None => {
                let by = asked.map_or(String::new(), |by| format!(", as {} asked", by.user()));
                let text = format!("each wall of the sandboxes was tried{by}, and holds");
                (text, "held")
            }
            Some(why) => (format!("nothing runs in {why}"), "refused"),
        };
        let mut record = Record::new(Event::Walls, message);
        if refused.is_some() {
            record = record.grave();
        }
        let record = record
            .field("VERDICT", verdict)
            .maybe("CAUSE", refused.as_ref());
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
            profiles,
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
