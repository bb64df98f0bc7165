//! The warden's state, and the small questions the rest asks of it.

use std::collections::VecDeque;
use std::fs::File;
use std::time::Instant;

use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, Owner, ToBroker};
use remit_policy::{Grant, Lifted, Pending, Terms, Verdict, Who};

use crate::accounts::UserNames;
use crate::admin::Admins;
use crate::ahead::AllAhead;
use crate::approval::Approvals;
use crate::args::Args;
use crate::arrivals::Arrivals;
use crate::audit::Audit;
use crate::broker::Broker;
use crate::checkup::Trial;
use crate::clock::Timers;
use crate::config::Config;
use crate::flood::Floods;
use crate::grants::Grants;
use crate::history::Questions;
use crate::jobs::Jobs;
use crate::ledger::Ledger;
use crate::leftover::Leftovers;
use crate::listen::Listeners;
use crate::lock::{Locked, State};
use crate::lookups::LookUps;
use crate::notify::Notify;
use crate::often::Often;
use crate::peer::Subject;
use crate::pipeline::{Refused, Told};
use crate::plan::{Asked, Bound, Call, NewJob, Plan, Setting};
use crate::policy_load::{Live, Loading};
use crate::reactor::Reactor;
use crate::recent::Refusals;
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;
use crate::uids::JobUids;
use crate::waiting::{Queue, Room};
use crate::walls::{Sandboxes, Walls};

/// Whether new work is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// An administrator locked.
    Locked(Locked),
    /// The daemon is on its way out.
    Stopping,
}

/// What was decided about a request that is not refused.
#[derive(Debug)]
pub enum Decided {
    /// It may run.
    Granted(Grant),
    /// Somebody has approved it beforehand, and a use of that would let it run.
    Lifted(Lifted),
    /// Another person has to approve it first.
    Asks(Box<Pending>),
}

/// Plans that wait for room in the trail, and since when.
pub type Parked = VecDeque<(Instant, Box<Plan>)>;

/// Everything the one thread knows.
#[derive(Debug)]
pub struct Warden {
    pub args: Args,
    pub config: Config,
    pub state: State,
    pub names: UserNames,
    pub reactor: Reactor,
    pub timers: Timers,
    pub signals: nix::sys::signalfd::SignalFd,
    pub listeners: Listeners,
    pub admins: Admins,
    pub sessions: Sessions,
    pub jobs: Jobs,
    /// Jobs that wait for a place.
    pub queue: Queue,
    pub uids: JobUids,
    pub ledger: Ledger,
    /// Requests that an approval is asked for.
    pub approvals: Approvals,
    /// How often people were told of those.
    pub people: Often,
    /// How often each user asked for an approval.
    pub asks: Often,
    /// What people gave for a time.
    pub grants: Grants,
    /// People who are looked up.
    pub lookups: LookUps,
    /// Connections of those whose name is looked up.
    pub arrivals: Arrivals,
    pub audit: Audit,
    /// Questions about the history that are being answered.
    pub questions: Questions,
    pub policy: Live,
    pub policy_error: Option<String>,
    pub loading: Option<Loading>,
    /// Whose account was not as the policy had it, when that was last read again for it.
    pub reloaded_for: Option<Owner>,
    /// Keys of `remit.toml` that a reload found changed.
    pub needs_restart: Vec<&'static str>,
    pub walls: Walls,
    /// Of the policy in force.
    pub sandboxes: Sandboxes,
    /// All walls being tried again.
    pub trial: Option<Trial>,
    pub broker: Broker,
    pub gate: Gate,
    pub parked: Parked,
    pub accepting: bool,
    /// The service manager knows that we serve.
    pub announced: bool,
    /// Who said so, when it is on its way out.
    pub stopped_by: Option<String>,
    /// How far the orderly stop is, once there is one.
    pub shutdown: Option<Shutdown>,
    /// The loop ends at its next turn.
    pub leaving: bool,
    pub since: Instant,
    /// How many refusals may be recorded just now.
    pub refusals: Floods,
    /// The same for those that the broker tells of.
    pub told: Floods,
    /// The newest of both.
    pub recent: Refusals,
    pub notify: Notify,
    /// /dev/urandom.
    pub random: File,
    /// What was made for the next jobs.
    pub ahead: AllAhead,
    /// What is left of ended jobs.
    pub leftovers: Leftovers,
}

impl Warden {
    /// The identity behind a session.
    ///
    /// # Errors
    /// The session is gone; nobody waits for the answer.
    pub fn subject(&self, session: u64) -> Result<Subject, Refusal> {
        match self.sessions.get(session) {
            Some(session) => Ok(session.subject.clone()),
            None => Err(Refusal::new(
                Code::DaemonUnavailable,
                "the session has ended",
            )),
        }
    }

    /// Whether new work is taken at all.
    ///
    /// # Errors
    /// Locked or stopping.
    pub fn open_for_work(&self) -> Result<(), Refusal> {
        match &self.gate {
            Gate::Open => Ok(()),
            Gate::Locked(locked) => Err(Refusal::new(
                Code::Locked,
                format!("an administrator has locked remit: {}", locked.why),
            )
            .lift("remit unlock")
            .next("stop, and tell the person you work for")),
            Gate::Stopping => {
                let (text, when) = match self.waits_for_changes() {
                    true => (
                        "remitd is stopping, and waits for changes that run",
                        "try again when these have ended: remit jobs lists yours",
                    ),
                    false => ("remitd is stopping", "try again in a minute"),
                };
                Err(Refusal::new(Code::DaemonUnavailable, text).next(when))
            }
        }
    }

    /// Whether another job of this user may run now, or has to wait.
    ///
    /// # Errors
    /// `busy`, naming the limit: no more may wait.
    pub fn room_for(&self, uid: u32) -> Result<Room, Refusal> {
        let (all, own) = taken(&self.jobs, &self.parked, self.queue.slots(uid), uid);
        let jobs = &self.config.jobs;
        // A place that has just become free is theirs who wait for it.
        let is_next = |uid| self.jobs.count(uid).1 < jobs.max_per_user;
        let over = if own >= jobs.max_per_user {
            format!("as many of your jobs are running as may ({own})")
        } else if all >= jobs.max {
            format!("as many jobs are running on this machine as may ({all})")
        } else if !self.queue.users().any(is_next) {
            return Ok(Room::Now);
        } else {
            "your jobs take turns with those of others".to_owned()
        };
        let over = if jobs.queue == 0 || jobs.queue_per_user == 0 {
            format!("{over}, more are not allowed")
        } else if self.queue.of(uid) >= jobs.queue_per_user {
            format!(
                "{over} and {} wait, more are not allowed",
                self.queue.of(uid)
            )
        } else if self.queue.len() >= jobs.queue && self.queue.of(uid) > 0 {
            // One who has none waiting is let in: nobody keeps others out.
            format!(
                "{over} and {} of all users wait, more are not allowed",
                self.queue.len()
            )
        } else if self.free_uids() <= jobs.max.saturating_sub(all) {
            // What waits has its uid already; those for free places are not for waiting.
            format!("{over} and no uid of the jobs' range is left for more that wait")
        } else {
            return Ok(Room::Later);
        };
        Err(Refusal::new(Code::Busy, over).next("wait for a job to end, or stop one of yours"))
    }

    /// A request in words, as far as it is known before anything is decided.
    pub fn asked(&self, call: &Call) -> Asked {
        let command = call
            .named()
            .and_then(|name| self.policy.policy.command(name));
        Asked::new(call, command.map(AsRef::as_ref))
    }

    /// A subject as policy sees them.
    ///
    /// # Errors
    /// The policy in force has another account under this uid.
    pub fn who<'a>(&self, subject: &'a Subject) -> Result<Who<'a>, Refusal> {
        self.policy.knows(subject.uid(), subject.user())?;
        Ok(by(subject))
    }

    /// What policy says, and what somebody gave beforehand.
    ///
    /// # Errors
    /// It says no.
    pub fn decide(&self, subject: &Subject, call: &Call) -> Result<Decided, Refusal> {
        let (names, who) = (call.env_names(), self.who(subject)?);
        match self.policy.policy.decide(who, &call.ask(&names)) {
            Verdict::Allow(grant) => Ok(Decided::Granted(grant)),
            Verdict::Ask(pending) => Ok(match self.by_grant(subject, pending, call) {
                Ok(lifted) => Decided::Lifted(lifted),
                Err(pending) => Decided::Asks(Box::new(pending)),
            }),
            Verdict::Deny(denial) => Err(denial.into()),
        }
    }

    /// What exactly is to be executed for a request, by what a rule says of it.
    ///
    /// # Errors
    /// See [`Bound::new`]; or the walls of its sandbox do not hold.
    pub fn bind(&self, call: &Call, terms: &Terms) -> Result<Bound, Refusal> {
        let bound = Bound::new(call, terms, &self.setting())?;
        self.walls.open_for(bound.compiled.base())?;
        Ok(bound)
    }

    /// What requests are bound to just now.
    pub fn setting(&self) -> Setting<'_> {
        Setting {
            digest: &self.policy.digest,
            sandboxes: &self.sandboxes,
            limits: &self.config.limits,
        }
    }

    /// An id, a number and a uid for a new job of this.
    ///
    /// # Errors
    /// No uid is free, or the kernel has no random bytes.
    pub fn new_job(&mut self, room: Room, bound: &Bound) -> Result<NewJob, Refusal> {
        let new = self
            .next_names(room, &bound.compiled)
            .map_err(|error| Refusal::new(Code::NotStarted, format!("no random bytes: {error}")))?;
        new.ok_or_else(|| {
            Refusal::new(Code::Busy, "no uid of the jobs' range is free")
                .next("wait for a job to end")
        })
    }

    /// Says what became of a request, as far as the broker does not know yet.
    pub fn told(&mut self, session: u64, ticket: u64, told: Result<Told, Refused>) {
        match told {
            Ok(Told::Started | Told::Parked) => {}
            Ok(Told::Answered(answer)) => self.answer(session, ticket, Ok(answer)),
            Err(Refused { refusal, asked }) => {
                let subject = self.sessions.name(session).cloned();
                self.record_refusal(subject.as_ref(), Some(session), &refusal, asked.as_deref());
                let answer = Err(refusal);
                self.tell(&ToBroker::Answer { ticket, answer });
            }
        }
    }

    /// Answers a request; a refusal goes into the trail first.
    pub fn answer(&mut self, session: u64, ticket: u64, answer: Result<Answer, Refusal>) {
        if let Err(refusal) = &answer {
            let subject = self.sessions.name(session).cloned();
            self.record_refusal(subject.as_ref(), Some(session), refusal, None);
        }
        self.tell(&ToBroker::Answer { ticket, answer });
    }

    /// Says something to the broker.
    pub fn tell(&mut self, message: &ToBroker) {
        self.broker.send(message, &[]);
    }
}

/// How many places are taken, and how many of them by one user: by what is parked, too, and by those that are looked
/// at before they begin.
pub fn taken(jobs: &Jobs, parked: &Parked, looking: (usize, usize), uid: u32) -> (usize, usize) {
    let parked = parked.iter();
    let owners = parked.map(|(_, plan)| plan.requester.subject.uid());
    let (running, own) = jobs.count(uid);
    owners.fold(
        (running + looking.0, own + looking.1),
        |(all, own), owner| (all + 1, own + usize::from(owner == uid)),
    )
}

/// A subject as policy sees it.
pub fn by(subject: &Subject) -> Who<'_> {
    Who {
        uid: subject.uid(),
        gids: subject.gids(),
    }
}
