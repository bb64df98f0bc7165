//! Walks through all orders of events of two and three jobs with one slot, breadth first, until no new state comes. At
//! each state the daemon also crashes and starts again. The world knows what the table does not: processes, records,
//! uses, uids. An event comes only if it can be true.

use std::collections::{HashSet, VecDeque};

use super::{Action, End, Event, Files, Life, Origin, Refusal, Stage, next};

const EVENTS: [Event; 24] = [
    Event::Lifted,
    Event::NeedsApproval,
    Event::Asked,
    Event::Approve,
    Event::NotApproved,
    Event::Approved,
    Event::Queued,
    Event::Follows,
    Event::Turn,
    Event::Unchanged,
    Event::Delayed,
    Event::Recorded,
    Event::LogFull,
    Event::LogReady,
    Event::Forked,
    Event::Refused,
    Event::Kill,
    Event::GraceOver,
    Event::Exited,
    Event::ExitedLast,
    Event::Empty,
    Event::KillTimeout,
    Event::Drained,
    Event::EndRecorded,
];

/// Events by which a job ends after a lock, a stop or a timeout, or without its client. None of them starts anything.
const ENDS: [Event; 9] = [
    Event::Refused,
    Event::Kill,
    Event::Exited,
    Event::ExitedLast,
    Event::Empty,
    Event::KillTimeout,
    Event::Drained,
    Event::LogReady,
    Event::EndRecorded,
];

const SLOTS: usize = 1;

type Table = fn(Stage, Event) -> Option<(Stage, Action)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Right {
    Rule,
    TemporaryGrant,
    Approval,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    stage: Stage,
    right: Right,
    /// Demanded last.
    due: Action,
    spent: u8,
    approved: u8,
    /// Its files were compared, and nothing else has happened since.
    compared: bool,
    ledger: bool,
    intents: u8,
    forks: u8,
    /// The first process and the others.
    lives: [bool; 2],
    killed: bool,
    /// The broker has it.
    known: bool,
    ends: u8,
    reported: u8,
    freed: u8,
}

impl Job {
    const fn new(right: Right) -> Self {
        Self {
            stage: Stage::New,
            right,
            due: Action::Wait,
            spent: 0,
            approved: 0,
            compared: false,
            ledger: false,
            intents: 0,
            forks: 0,
            lives: [false; 2],
            killed: false,
            known: false,
            ends: 0,
            reported: 0,
            freed: 0,
        }
    }

    fn is_alive(&self) -> bool {
        self.lives.contains(&true)
    }

    fn may_run(&self) -> bool {
        match self.right {
            Right::Rule => true,
            Right::TemporaryGrant => self.spent == 1,
            Right::Approval => self.approved == 1,
        }
    }

    /// What the broker knows before the fork was queued. What was not queued was compared when its use was spent.
    fn rests_on_people(&self) -> bool {
        match self.right {
            Right::Rule => false,
            Right::TemporaryGrant => self.known,
            Right::Approval => true,
        }
    }

    const fn has_slot(&self) -> bool {
        match self.stage {
            Stage::New
            | Stage::Spent
            | Stage::Examined
            | Stage::Asked
            | Stage::Approving
            | Stage::Queued(_)
            | Stage::Ending(End::NeverRan)
            | Stage::Over => false,
            Stage::Rehashed
            | Stage::Starting(_)
            | Stage::Parked
            | Stage::Recorded(_)
            | Stage::Running
            | Stage::Emptying
            | Stage::Draining(_)
            | Stage::Ending(_)
            | Stage::Stuck => true,
        }
    }

    fn can(&self, event: Event, is_slot_free: bool) -> bool {
        match event {
            Event::Lifted => self.right == Right::TemporaryGrant,
            // An approval of its own, or that of the commit before it.
            Event::NeedsApproval | Event::Follows => self.right == Right::Approval,
            Event::Approve => self.right == Right::Approval && self.known,
            Event::Asked | Event::Approved | Event::Unchanged => self.due == Action::Hash,
            Event::Queued => self.may_run(),
            Event::Turn => self.may_run() && (self.has_slot() || is_slot_free),
            Event::Recorded => self.due == Action::RecordIntent,
            Event::LogFull => matches!(self.due, Action::RecordIntent | Action::RecordEnd),
            Event::Forked => self.due == Action::Fork,
            Event::Exited | Event::ExitedLast => self.lives[0],
            Event::Empty => !self.lives[0] && (self.killed || !self.is_alive()),
            Event::KillTimeout => self.killed,
            Event::Drained => self.due == Action::AwaitOutput,
            Event::EndRecorded => self.due == Action::RecordEnd,
            Event::NotApproved
            | Event::Delayed
            | Event::LogReady
            | Event::Refused
            | Event::Kill
            | Event::GraceOver => true,
        }
    }

    /// What the event makes true, even if the table does not know it here.
    fn happens(&mut self, event: Event) {
        match event {
            Event::Exited => self.lives[0] = false,
            Event::ExitedLast | Event::Empty => self.lives = [false; 2],
            _ => {}
        }
    }

    fn follows(&mut self, event: Event, stage: Stage, action: Action) {
        match event {
            Event::Asked | Event::Queued => (self.ledger, self.known) = (true, true),
            Event::Approved => (self.approved, self.compared) = (self.approved + 1, true),
            Event::Follows => {
                (self.ledger, self.known, self.approved) = (true, true, self.approved + 1);
            }
            Event::Unchanged => self.compared = true,
            Event::Delayed | Event::LogFull => self.compared = false,
            Event::Recorded => self.intents += 1,
            Event::Forked => {
                (self.forks, self.lives, self.known) = (self.forks + 1, [true; 2], true);
            }
            Event::EndRecorded => self.ends += 1,
            _ => {}
        }
        match action {
            Action::Spend => self.spent += 1,
            Action::RecordIntent => self.ledger = true,
            Action::Kill | Action::KillOthers => self.killed = true,
            Action::Release => {
                self.freed += 1;
                // A stuck job's end was reported before.
                self.reported = self.reported.max(1);
            }
            Action::Keep => self.reported += 1,
            Action::Forget => (self.freed, self.ledger) = (self.freed + 1, false),
            Action::RecordAndForget => {
                (self.freed, self.ledger, self.ends) = (self.freed + 1, false, self.ends + 1);
            }
            Action::Wait
            | Action::Hash
            | Action::Fork
            | Action::AwaitOutput
            | Action::RecordEnd => {}
        }
        (self.stage, self.due) = (stage, action);
    }

    fn broken(&self) -> Option<&'static str> {
        let over = self.stage == Stage::Over;
        let forks = self.due == Action::Fork;
        let rules = [
            (self.forks > 1 || forks && self.forks > 0, "runs twice"),
            (forks && self.intents != 1, "runs without a record"),
            (forks && !self.may_run(), "runs without a right"),
            (
                forks && self.rests_on_people() && !self.compared,
                "runs with files or people that were not compared",
            ),
            (self.spent > 1, "spends two uses"),
            (self.approved > 1, "spends an approval twice"),
            (self.is_alive() && !self.has_slot(), "lives without a slot"),
            (
                self.is_alive() && self.freed > 0,
                "another job gets its uid",
            ),
            (self.freed > 1, "frees its uid twice"),
            (over && self.freed == 0, "never frees its uid"),
            (
                over && self.known != self.ledger,
                "stays in the ledger, or leaves it too early",
            ),
            (
                self.reported > self.ends,
                "reports an end that is not recorded",
            ),
            (self.ends > 1 || self.reported > 1, "ends twice"),
            (
                over && (self.intents > 0 || self.known) && self.ends == 0,
                "its end is not recorded",
            ),
            (
                over && self.known && self.reported == 0,
                "its end is not reported",
            ),
        ];
        rules
            .iter()
            .find(|(is_broken, _)| *is_broken)
            .map(|(_, what)| *what)
    }
}

/// What a crash leaves of a job: the ledger, its records, and the uses of grants. Watchdog, workers and the service
/// manager end its processes. `recover` is how far the next start gets before it crashes too.
#[derive(Debug)]
struct Restarted {
    ledger: bool,
    ends: u8,
    end_is_kept: bool,
}

impl Restarted {
    fn crash(job: &Job) -> Self {
        Self {
            ledger: job.ledger,
            ends: job.ends,
            end_is_kept: job.ends > 0,
        }
    }

    /// As `state_dir::recovery` does: what the ledger has without an end gets one, noted first and then recorded. An end
    /// that was only noted is recorded, never noted again.
    fn recover(&mut self, steps: usize) {
        for _ in 0..steps {
            match (self.ledger, self.end_is_kept, self.ends) {
                (true, false, _) => self.end_is_kept = true,
                (true, true, 0) => self.ends = 1,
                _ => {}
            }
        }
    }
}

/// Crashes at this state, and up to twice more while the next start recovers. Nothing is started by a recovery, so a
/// job is broken if it is lost, has not one end, or would run again when its request is repeated.
fn crash(job: &Job) -> Result<(), String> {
    let was_live = job.stage != Stage::Over;
    for steps in [[0, 0, 2], [1, 0, 1], [1, 1, 2], [2, 2, 2]] {
        let mut left = Restarted::crash(job);
        for steps in steps {
            left.recover(steps);
        }
        let began = job.intents > 0 || job.known || job.is_alive();
        let rules = [
            (began && was_live && !left.ledger, "is lost by a crash"),
            (
                job.forks > 0 && !left.ledger,
                "runs again after a crash if its request is repeated",
            ),
            (
                job.forks > 0 && left.ends != 1,
                "has not one end after a crash",
            ),
            (left.ends > 1, "ends twice after a crash"),
        ];
        if let Some((_, what)) = rules.iter().find(|(is_broken, _)| *is_broken) {
            return Err(format!("{what}: {left:?}, {job:?}"));
        }
    }
    Ok(())
}

/// What one event makes of a job. `None`: it cannot be true now.
fn step(job: &Job, event: Event, is_slot_free: bool, table: Table) -> Option<Job> {
    if !job.can(event, is_slot_free) {
        return None;
    }
    let mut job = job.clone();
    job.happens(event);
    if let Some((stage, action)) = table(job.stage, event) {
        job.follows(event, stage, action);
    }
    Some(job)
}

/// Returns the number of states, or the first broken rule.
fn explore<const JOBS: usize>(rights: [Right; JOBS], table: Table) -> Result<usize, String> {
    let start = rights.map(Job::new);
    let mut seen = HashSet::from([start.clone()]);
    let mut left = VecDeque::from([start]);
    let mut single = HashSet::new();
    while let Some(world) = left.pop_front() {
        if world.iter().filter(|job| job.has_slot()).count() > SLOTS {
            return Err(format!("more jobs than slots: {world:?}"));
        }
        for job in &world {
            if !single.insert(job.clone()) {
                continue;
            }
            crash(job)?;
            if let Some(what) = job.broken() {
                return Err(format!("{what}: {job:?}"));
            }
            ends(job, table)?;
        }
        for at in 0..world.len() {
            let taken = world.iter().filter(|job| job.has_slot()).count();
            for event in EVENTS {
                let Some(job) = step(&world[at], event, taken < SLOTS, table) else {
                    continue;
                };
                let mut world = world.clone();
                world[at] = job;
                if seen.insert(world.clone()) {
                    left.push_back(world);
                }
            }
        }
    }
    Ok(seen.len())
}

/// Fails if a job could not end without anything new being started for it.
fn ends(job: &Job, table: Table) -> Result<(), String> {
    let mut seen = HashSet::from([job.clone()]);
    let mut left = VecDeque::from([job.clone()]);
    let mut over = false;
    while let Some(job) = left.pop_front() {
        over |= job.stage == Stage::Over;
        for event in ENDS {
            let Some(then) = step(&job, event, false, table) else {
                continue;
            };
            if matches!(then.due, Action::Fork | Action::RecordIntent | Action::Hash)
                && then.due != job.due
            {
                return Err(format!("{event:?} starts something: {job:?}"));
            }
            if seen.insert(then.clone()) {
                left.push_back(then);
            }
        }
    }
    match over {
        true => Ok(()),
        false => Err(format!("never ends: {job:?}")),
    }
}

const RIGHTS: [Right; 3] = [Right::Rule, Right::TemporaryGrant, Right::Approval];

fn explore_all(table: Table) -> Result<usize, String> {
    let mut states = 0;
    for (at, first) in RIGHTS.iter().enumerate() {
        for second in &RIGHTS[at..] {
            states += explore([*first, *second], table)?;
        }
    }
    Ok(states)
}

/// Fewer states would mean that the world excludes too much.
#[test]
fn all_orders_of_events_keep_the_rules() {
    let two = explore_all(next).unwrap();
    assert!(two > 7_000, "{two}");
    let three = explore(RIGHTS, next).unwrap();
    assert!(three > two, "{three}");
}

#[test]
fn every_stage_and_event_is_reached() {
    let (mut stages, mut events) = (HashSet::from([Stage::New]), HashSet::new());
    let mut left = vec![Stage::New];
    while let Some(stage) = left.pop() {
        for event in EVENTS {
            if let Some((to, _)) = next(stage, event) {
                events.insert(event);
                if stages.insert(to) {
                    left.push(to);
                }
            }
        }
    }
    assert_eq!(events.len(), EVENTS.len());
    // Each with its variants.
    assert_eq!(stages.len(), 25, "{stages:?}");
    assert!(
        stages.iter().all(|stage| *stage == Stage::Over
            || EVENTS.iter().any(|event| next(*stage, *event).is_some()))
    );
}

/// Each of these is a mistake that one edit of the table could make.
#[test]
fn a_wrong_transition_is_found() {
    const fn keeps_use(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Spent, Event::Lifted) => Some((Stage::Spent, Action::Spend)),
            _ => next(stage, event),
        }
    }
    const fn skips_record(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Parked, Event::Turn) => Some((Stage::Recorded(Origin::Request), Action::Fork)),
            _ => next(stage, event),
        }
    }
    const fn trusts_old_files(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Starting(Origin::Queue(files)), Event::LogFull) => {
                Some((Stage::Queued(files), Action::Wait))
            }
            _ => next(stage, event),
        }
    }
    const fn trusts_old_people(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Spent, Event::Queued) => {
                Some((Stage::Queued(Files::NotApproved), Action::Wait))
            }
            _ => next(stage, event),
        }
    }
    const fn trusts_the_commit(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::New, Event::Follows) => Some((Stage::Queued(Files::NotApproved), Action::Wait)),
            _ => next(stage, event),
        }
    }
    const fn starts_again(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Running, Event::ExitedLast) => {
                Some((Stage::Queued(Files::NotApproved), Action::Wait))
            }
            _ => next(stage, event),
        }
    }
    const fn frees_stuck(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Ending(_), Event::EndRecorded) => Some((Stage::Over, Action::Release)),
            _ => next(stage, event),
        }
    }
    const fn forgets_end(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Recorded(_), Event::Refused) => Some((Stage::Over, Action::Forget)),
            _ => next(stage, event),
        }
    }
    const fn never_drains(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Draining(_), Event::Drained) => None,
            _ => next(stage, event),
        }
    }
    const fn leaves_ledger(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Recorded(_), Event::Forked) => Some((Stage::Running, Action::Forget)),
            _ => next(stage, event),
        }
    }
    const fn ends_before_end(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Running, Event::KillTimeout) => Some((Stage::Over, Action::Forget)),
            _ => next(stage, event),
        }
    }
    const fn approves_twice(stage: Stage, event: Event) -> Option<(Stage, Action)> {
        match (stage, event) {
            (Stage::Queued(Files::Compared), Event::Refused) => Some((Stage::Asked, Action::Wait)),
            _ => next(stage, event),
        }
    }
    for (table, rule) in [
        (keeps_use as Table, "spends two uses"),
        (skips_record, "runs without a record"),
        (
            trusts_old_files,
            "runs with files or people that were not compared",
        ),
        (
            trusts_old_people,
            "runs with files or people that were not compared",
        ),
        (
            trusts_the_commit,
            "runs with files or people that were not compared",
        ),
        (starts_again, "runs twice"),
        (frees_stuck, "lives without a slot"),
        (forgets_end, "its end is not recorded"),
        (never_drains, "never ends"),
        (leaves_ledger, "is lost by a crash"),
        (ends_before_end, "runs again after a crash"),
        (approves_twice, "spends an approval twice"),
    ] {
        let found = explore_all(table).unwrap_err();
        assert!(found.starts_with(rule), "{rule}: {found}");
    }
}

#[test]
fn an_unknown_event_changes_nothing() {
    let mut life = Life::new();
    assert_eq!(life.on(Event::Forked), None);
    assert_eq!(life.on(Event::Turn), Some(Action::RecordIntent));
    assert_eq!(life.on(Event::Turn), None);
    assert_eq!(life.on(Event::Recorded), Some(Action::Fork));
}

#[test]
fn an_event_out_of_order_is_an_error_that_names_it() {
    let mut life = Life::new();
    let wrong = life.advance(Event::Forked).unwrap_err();
    let text = "the table of a job's life has no line for Forked at New";
    assert_eq!(wrong.to_string(), text);
    assert!(Refusal::from(wrong).message.contains(text));
    assert_eq!(life.foresee(Event::Forked), Err(wrong));
    let line = life.foresee(Event::Turn).unwrap();
    assert_eq!(life.advance(Event::Queued), Ok(Action::Wait));
    assert_eq!(life.follow(line), Action::RecordIntent);
}

fn table() -> String {
    let (mut stages, mut at) = (vec![Stage::New], 0);
    let mut lines = String::new();
    while let Some(stage) = stages.get(at).copied() {
        at += 1;
        for event in EVENTS {
            let Some((to, action)) = next(stage, event) else {
                continue;
            };
            lines += &format!("| {stage:?} | {event:?} | {to:?} | {action:?} |\n");
            if !stages.contains(&to) {
                stages.push(to);
            }
        }
    }
    lines
}

#[test]
fn the_printed_table_is_the_one_in_force() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/job-life.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once("|---|---|---|---|\n").unwrap();
    if std::env::var_os("REMIT_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{head}|---|---|---|---|\n{}", table())).unwrap();
    } else {
        assert_eq!(rest, table(), "REMIT_WRITE_DOCS=1 writes it again");
    }
}
