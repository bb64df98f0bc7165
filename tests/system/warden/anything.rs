//! Random actions of broker, clients and administrators: invariants hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::AdminRequest;
use remit_common::names::JobId;
use remit_link::{JobMeta, Spec, SpecWhat, ToBroker, ToWarden};
use remit_tests::process::{descendants, ends_within};
use remit_tests::random::Random;
use remit_wire::Purpose;
use serde_json::Value;

use crate::warden::stage::{ALICE, BOB, Broker, SOON, Stage, Way, admin_frame, argv, readable};

const STEPS: usize = 500;
/// Minimum number of executed jobs, however often self-tests had to run meanwhile.
const RUN: usize = 20;
const SLOTS: u32 = 3;
const LIMITS: &str = "max = 3\nmax_per_user = 2\nqueue = 6\nqueue_per_user = 4\n";
/// Beyond the queue limit, one job of each user may wait.
const QUEUED: u32 = 6 + 2;
/// Workers that the warden has a socket of at most. One, for the profile `read`, is there from the start.
const WORKERS: usize = 4;
const POLICY: &str = "config/policy.d/10-test.toml";
const BOTH: &str = "\"#64001\", \"#64002\"";
const ONE: &str = "\"#64001\"";

fn policy(to: &str, looks_in: &str) -> String {
    format!(
        "[profile.root]\nbase = \"strict\"\nuser = \"root\"\n\
         [[command]]\nname = \"any.look\"\nsummary = \"x\"\neffect = \"read\"\nprofile = \"{looks_in}\"\n\
         argv = [\"/usr/bin/sleep\", \"{{s}}\"]\nargs.s = {{ type = \"int\" }}\n\
         [[command]]\nname = \"any.touch\"\nsummary = \"x\"\neffect = \"change\"\nprofile = \"root\"\n\
         argv = [\"/usr/bin/sh\", \"-c\", \"sleep 50 & exit 4\"]\n\
         [[grant]]\nto = [{to}]\nallow = [\"run\", \"any.*\"]\neffect = \"change\"\n\
         [[grant]]\nto = [{to}]\nallow = [\"run\"]\nrun_profile = \"strict\"\n"
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportedState {
    Queued,
    Runs,
    Ended,
}

fn reported_state(meta: &JobMeta) -> ReportedState {
    match (&meta.ending, meta.waiting.is_some()) {
        (Some(_), _) => ReportedState::Ended,
        (None, true) => ReportedState::Queued,
        (None, false) => ReportedState::Runs,
    }
}

struct World {
    stage: Stage,
    way: Way,
    broker: Option<Broker>,
    random: Random,
    sessions: Vec<(u64, UnixStream)>,
    admins: Vec<UnixStream>,
    jobs: BTreeMap<JobId, ReportedState>,
    tickets: BTreeSet<u64>,
    ticket: u64,
    pipes: Vec<OwnedFd>,
}

impl World {
    fn new(random: Random) -> Self {
        let way = Way {
            jobs: LIMITS.into(),
            ..Way::default()
        };
        let mut stage = Stage::set(&way);
        stage.write(POLICY, &policy(BOTH, "read"));
        let broker = stage.raise(&way);
        broker.adopted();
        broker.say(&ToWarden::HistoryOpened { newest: None });
        broker.say(&ToWarden::Ready);
        stage.ready();
        Self {
            stage,
            way,
            broker: Some(broker),
            random,
            sessions: Vec::new(),
            admins: Vec::new(),
            jobs: BTreeMap::new(),
            tickets: BTreeSet::new(),
            ticket: 0,
            pipes: Vec::new(),
        }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    fn say(&self, message: &ToWarden) {
        self.broker().say(message);
    }

    fn heard(&mut self, message: ToBroker, fds: Vec<OwnedFd>) {
        let text = format!("{message:?}");
        let mut goes = |job: JobId, from: &[ReportedState], to: ReportedState| {
            let old = self.jobs.insert(job, to);
            assert!(old.is_some_and(|old| from.contains(&old)), "{old:?} {text}");
        };
        match message {
            ToBroker::Job { ticket, meta, .. } => {
                let asked = ticket.is_some_and(|ticket| self.tickets.remove(&ticket));
                assert!(asked, "nobody asked: {text}");
                assert_eq!(
                    self.jobs.insert(meta.job, reported_state(&meta)),
                    None,
                    "{text}"
                );
                assert_eq!(
                    fds.len(),
                    if meta.waiting.is_some() { 0 } else { 2 },
                    "{text}"
                );
            }
            ToBroker::Answer { ticket, .. } => {
                assert!(self.tickets.remove(&ticket), "nobody asked: {text}");
            }
            ToBroker::Started { job, .. } => {
                goes(job, &[ReportedState::Queued], ReportedState::Runs);
                assert_eq!(fds.len(), 2, "{text}");
            }
            ToBroker::Running { job, .. } => goes(job, &[ReportedState::Runs], ReportedState::Runs),
            ToBroker::Exited { job } => {
                goes(job, &[ReportedState::Runs], ReportedState::Runs);
                if !self.random.once_in(20) {
                    self.broker().drained(job);
                }
            }
            ToBroker::Ended { job, .. } => goes(
                job,
                &[ReportedState::Queued, ReportedState::Runs],
                ReportedState::Ended,
            ),
            ToBroker::Counted { job, .. } | ToBroker::Approved { job } => {
                goes(job, &[ReportedState::Queued], ReportedState::Queued)
            }
            ToBroker::Forgotten { .. } => panic!("there are not so many: {text}"),
            ToBroker::KernelAudit { .. } => panic!("nobody configured it: {text}"),
            ToBroker::HistoryQuestion { .. } => panic!("no administrator asked: {text}"),
            ToBroker::Session { .. } | ToBroker::SessionGone { .. } | ToBroker::Adopted => {}
        }
        self.pipes.extend(fds);
    }

    fn hear(&mut self, soon: u16) {
        while readable(self.broker().link.as_fd(), soon) {
            if let Some((message, fds)) = self.broker().hear_one() {
                self.heard(message, fds);
            }
        }
    }

    fn connect(&mut self, uid: u32) -> u64 {
        let stream = self.stage.connect(uid);
        let session = loop {
            let (message, fds) = self.broker().hear();
            if let ToBroker::Session { session, .. } = message {
                break session;
            }
            self.heard(message, fds);
        };
        self.sessions.push((session, stream));
        session
    }

    fn any_session(&mut self) -> u64 {
        let count = u32::try_from(self.sessions.len()).unwrap();
        if count < 2 || count < 12 && self.random.once_in(4) {
            let uid = [ALICE, BOB][self.random.below(2) as usize];
            return self.connect(uid);
        }
        self.sessions[self.random.below(count) as usize].0
    }

    fn any_job(&mut self) -> JobId {
        let live = self
            .jobs
            .iter()
            .filter(|(_, reported_state)| **reported_state != ReportedState::Ended);
        let live: Vec<_> = live.map(|(job, _)| *job).collect();
        let all: Vec<_> = self.jobs.keys().copied().collect();
        let from = if live.is_empty() || self.random.once_in(5) {
            all
        } else {
            live
        };
        let count = u32::try_from(from.len()).unwrap();
        match count {
            0 => JobId([7; 16]),
            count => from[self.random.below(count) as usize],
        }
    }

    fn ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.tickets.insert(self.ticket);
        self.ticket
    }

    fn any_spec(&mut self) -> Spec {
        let texts: [&[&str]; 4] = [
            &["true"],
            &["sleep", "50"],
            &["sh", "-c", "sleep 50 & exit 3"],
            &["/nowhere"],
        ];
        let which = self.random.below(4) as usize;
        let id = format!("request {}", self.random.below(8));
        let request_id = Some(id).filter(|_| self.random.once_in(3));
        let named = |name: &str, args: &[(&str, &str)], purpose| {
            let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
            Spec {
                what: SpecWhat::Named {
                    name: name.into(),
                    args: args.iter().map(owned).collect(),
                },
                purpose,
                ..argv(&[])
            }
        };
        let reason = "x".to_owned();
        let spec = match self.random.below(8) {
            0 => named("any.look", &[("s", "50")], Purpose::Use),
            1 => named("any.look", &[("s", "-1")], Purpose::Use),
            2 => named("any.touch", &[], Purpose::Change { reason }),
            3 | 4 => Spec {
                profile: Some("strict".into()),
                ..argv(texts[which])
            },
            _ => argv(texts[which]),
        };
        Spec { request_id, ..spec }
    }

    fn any_step(&mut self) {
        let job = self.any_job();
        match self.random.below(100) {
            0..50 => {
                let (session, ticket) = (self.any_session(), self.ticket());
                let spec = self.any_spec();
                self.broker().run(session, ticket, spec, &[]);
            }
            50..72 => {
                let (session, ticket) = (self.any_session(), self.ticket());
                let signal = [None, Some(9), Some(19), Some(0)][self.random.below(4) as usize];
                self.say(&ToWarden::Stop {
                    session,
                    ticket,
                    job,
                    signal,
                });
            }
            72..76 => self.broker().drained(job),
            76..79 => self.say(&ToWarden::OverLimit { job }),
            79..84 => {
                let mut admin = self.stage.admin();
                let signal = None;
                let stop = admin_frame(AdminRequest::Stop { job, signal });
                admin.write_all(&stop).unwrap();
                self.admins.push(admin);
            }
            84..87 if !self.sessions.is_empty() => {
                let (session, _) = self.sessions.swap_remove(0);
                self.say(&ToWarden::Closed { session });
            }
            87..90 => {
                let kill = self.random.once_in(3);
                let why = "test".to_owned();
                let _ = self.stage.ask(AdminRequest::Lock { why, kill });
            }
            90..94 => drop(self.stage.ask(AdminRequest::Unlock)),
            94..96 => {
                let to = [BOTH, ONE][self.random.below(2) as usize];
                let looks_in = ["read", "strict", "root"][self.random.below(3) as usize];
                self.stage.write(POLICY, &policy(to, looks_in));
                let _ = self.stage.ask(AdminRequest::Reload);
            }
            96 => {
                let below = descendants(self.stage.pid());
                let watchdog = below.iter().find(|p| p.is_watchdog());
                if let Some(watchdog) = watchdog {
                    let _ = kill(Pid::from_raw(watchdog.pid), Signal::SIGKILL);
                }
            }
            97 => {
                self.broker.take().unwrap().die();
                self.next_broker();
            }
            98 if self.random.once_in(2) => {
                let below = descendants(self.stage.pid());
                self.stage.signal(Signal::SIGKILL);
                let _ = self.stage.ended();
                self.broker.take().unwrap().die();
                // A process that was just forked holds its lock a moment longer.
                assert!(below.iter().all(|p| ends_within(p.pid, SOON)));
                self.broker = Some(self.stage.raise(&self.way));
                self.adopted();
                self.stage.ready();
            }
            _ => {
                let status = self.stage.status();
                assert!(status.jobs <= SLOTS, "{status:?}");
                assert!(status.queued <= QUEUED, "{status:?}");
            }
        }
    }

    fn next_broker(&mut self) {
        self.broker = Some(self.stage.broker());
        self.adopted();
    }

    fn adopted(&mut self) {
        let mut jobs = BTreeMap::new();
        for (message, fds) in self.broker().adopted() {
            match message {
                ToBroker::Job {
                    ticket: None, meta, ..
                } => {
                    assert_eq!(
                        jobs.insert(meta.job, reported_state(&meta)),
                        None,
                        "reported twice"
                    );
                }
                ToBroker::Exited { .. } => {}
                other => panic!("{other:?}"),
            }
            self.pipes.extend(fds);
        }
        for (job, old) in &self.jobs {
            let new = jobs.get(job);
            let fits = match old {
                ReportedState::Queued => new.is_some(),
                ReportedState::Runs => new.is_some_and(|new| *new != ReportedState::Queued),
                ReportedState::Ended => new == Some(&ReportedState::Ended),
            };
            assert!(fits, "{job} was {old:?} and is {new:?}");
        }
        self.jobs = jobs;
        self.tickets.clear();
        self.sessions.clear();
        self.say(&ToWarden::HistoryOpened { newest: None });
        self.say(&ToWarden::Ready);
    }

    fn rest(&mut self) {
        let why = "the end".to_owned();
        let _ = self.stage.ask(AdminRequest::Lock { why, kill: true });
        for _ in 0..200 {
            self.hear(50);
            let status = self.stage.status();
            if (status.jobs, status.queued, status.stuck) == (0, 0, 0) {
                break;
            }
        }
        self.hear(50);
        let left = self
            .jobs
            .iter()
            .filter(|(_, reported_state)| **reported_state != ReportedState::Ended);
        assert_eq!(left.count(), 0, "{:?}", self.jobs);
        assert!(self.tickets.is_empty(), "not answered: {:?}", self.tickets);
        for (session, _) in std::mem::take(&mut self.sessions) {
            self.say(&ToWarden::Closed { session });
        }
        self.admins.clear();
        self.pipes.clear();
    }
}

/// Counts each job's records of this event, without ends that may be repeated.
fn count(stage: &Stage, event: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in stage.records(event) {
        if record.get("REMIT_AGAIN").is_none() {
            let job = record["REMIT_JOB"].as_str().unwrap().to_owned();
            *counts.entry(job).or_default() += 1;
        }
    }
    counts
}

#[test]
fn random_messages_run_each_job_at_most_once() {
    let mut world = World::new(Random::seeded_by("REMIT_SEED"));
    let enough = |world: &World| count(&world.stage, "intent").len() > RUN;
    let mut steps = 0;
    while steps < STEPS || steps < 10 * STEPS && !enough(&world) {
        steps += 1;
        world.any_step();
        let soon = u16::try_from(world.random.below(4)).unwrap();
        world.hear(soon);
    }
    world.rest();
    let stage = &world.stage;
    let (queued, intents) = (count(stage, "queued"), count(stage, "intent"));
    let mut ends = count(stage, "end");
    for (job, times) in count(stage, "interrupted") {
        *ends.entry(job).or_default() += times;
    }
    let again: BTreeSet<String> = stage
        .records("end")
        .iter()
        .filter(|record| record.get("REMIT_AGAIN").is_some())
        .map(|record: &Value| record["REMIT_JOB"].as_str().unwrap().to_owned())
        .collect();
    for job in queued.keys().chain(intents.keys()) {
        assert!(queued.get(job).is_none_or(|times| *times == 1), "{job}");
        assert!(intents.get(job).is_none_or(|times| *times == 1), "{job}");
        let ended = ends.get(job).copied().unwrap_or(0);
        let right = ended == 1 || ended == 0 && again.contains(job);
        assert!(right, "job {job} has {ended} ends");
    }
    assert!(intents.len() > RUN, "nothing ran: {intents:?}");
    assert_eq!(stage.open_jobs(), 0);
    stage.sleeps();
    stage.idle_but(WORKERS - 1);
    world.stage.stop();
}
