//! Tracks living jobs and a bounded number of ended ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use remit_common::names::JobId;
use remit_common::outcome::FollowUp;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, Owner};
use remit_sys::OutputEnd;

use crate::approval::file_hash::Measuring;
use crate::config::JobsConfig;
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::allocation::{Slots, Turns};
use crate::job::floor::RequiredCommands;
use crate::job::kept_views::KeptViews;
use crate::job::life::Event;
pub use crate::job::live::{Job, Start};
use crate::job::plan_checks::PlanChecks;
use crate::job::recently_ended::EndedJobs;
use crate::job::state::{Held, JobState, MeasuringAgain, NeverRan, Parked, Waiting};
use crate::request::file_change::Undo;
use crate::request::{Draft, Plan};
use crate::sandbox::ConfinedBase;
use crate::sandbox::spawner::Spawned;

/// All jobs, from the waiting request to the recorded end. The event loop uses serial numbers, clients use job ids.
#[derive(Debug, Default)]
pub struct Jobs {
    next: u64,
    /// Number of the newest job, also across restarts.
    number: u64,
    states: BTreeMap<u64, JobState>,
    serials: BTreeMap<JobId, u64>,
    /// Queued jobs, in the order in which they start.
    turns: Turns<u64>,
    /// Slots in use.
    pub slots: Slots,
    /// Jobs that have a slot and a copy of the machine.
    pub copies: Slots,
    /// Increases when a request begins or ceases to wait for an approval.
    pub generation: u64,
    ended: EndedJobs,
    requests: BTreeMap<(Owner, String), (JobId, [u8; 32])>,
    /// Jobs that the ledger and the broker do not know to be forgotten yet.
    pub forgotten: Vec<JobId>,
    pub required: RequiredCommands,
    pub checks: PlanChecks,
    pub views: KeptViews,
}

impl Jobs {
    /// Starts generations at the current time, above those of any earlier daemon.
    pub fn new(required: RequiredCommands, views: KeptViews) -> Self {
        Self {
            required,
            views,
            generation: timers::unix_ms(),
            ..Self::default()
        }
    }

    pub const fn next_serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn insert<T: Held>(&mut self, serial: u64, held: T) {
        let state = held.into_state();
        if let Some(uid) = state.slot_of() {
            self.slots.add(uid);
        }
        if let Some(uid) = state.copy_of() {
            self.copies.add(uid);
        }
        if let Some(job) = state.id() {
            self.serials.insert(job, serial);
        }
        if matches!(state, JobState::Asked(_)) {
            self.generation += 1;
        }
        self.states.insert(serial, state);
    }

    /// Removes what has this serial number, if it is in this state.
    pub fn take<T: Held>(&mut self, serial: u64) -> Option<T> {
        T::of(self.states.get(&serial)?)?;
        let state = self.states.remove(&serial)?;
        if let Some(uid) = state.slot_of() {
            self.slots.remove(uid);
        }
        if let Some(uid) = state.copy_of() {
            self.copies.remove(uid);
        }
        if let Some(job) = state.id() {
            self.serials.remove(&job);
        }
        if matches!(state, JobState::Asked(_)) {
            self.generation += 1;
        }
        T::from_state(state)
    }

    pub fn find<T: Held>(&self, serial: u64) -> Option<&T> {
        T::of(self.states.get(&serial)?)
    }

    pub fn find_mut<T: Held>(&mut self, serial: u64) -> Option<&mut T> {
        T::of_mut(self.states.get_mut(&serial)?)
    }

    pub fn measuring(&mut self, serial: u64) -> Option<&mut Measuring> {
        self.states.get_mut(&serial)?.measuring()
    }

    /// Returns all that are in this state, oldest first.
    pub fn all<T: Held>(&self) -> impl Iterator<Item = (u64, &T)> {
        let states = self.states.iter();
        states.filter_map(|(serial, state)| Some((*serial, T::of(state)?)))
    }

    pub fn serials_of<T: Held>(&self) -> Vec<u64> {
        self.all::<T>().map(|(serial, _)| serial).collect()
    }

    pub fn serial_of<T: Held>(&self, job: JobId) -> Option<u64> {
        let serial = *self.serials.get(&job)?;
        self.find::<T>(serial).map(|_| serial)
    }

    /// Returns whether nothing is left that has to end or to be recorded.
    pub fn is_done(&self) -> bool {
        let mut states = self.states.values();
        states.all(|state| matches!(state, JobState::Stuck(_) | JobState::Parked(_)))
    }

    /// The requesters of what waits for an approval or a slot. The daemon has no account.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        let of_users = self.states.values().filter(|state| !state.is_of_daemon());
        of_users.filter_map(JobState::waiting_requester)
    }

    pub fn add(&mut self, job: Job) -> u64 {
        self.claim(&job.plan);
        let serial = self.next_serial();
        self.insert(serial, job);
        serial
    }

    pub fn queue(&mut self, waiting: Waiting) {
        let (serial, uid) = (self.next_serial(), waiting.plan.requester.subject.uid());
        self.insert(serial, waiting);
        self.turns.push(uid, serial);
    }

    pub fn put_back(&mut self, waiting: Waiting) {
        let (serial, uid) = (self.next_serial(), waiting.plan.requester.subject.uid());
        self.insert(serial, waiting);
        self.turns.put_back(uid, serial);
    }

    /// Takes the queued job that may start next.
    pub fn next_turn(&mut self, limits: &JobsConfig) -> Option<Waiting> {
        let mut turns = std::mem::take(&mut self.turns);
        let serial = turns.next(
            |uid| self.has_free_slot(uid, limits),
            |serial| self.has_what_it_needs(*serial),
        );
        self.turns = turns;
        self.take(serial?)
    }

    /// Takes the first queued job, whether it may start or not.
    pub fn take_queued(&mut self) -> Option<Waiting> {
        let serial = self.turns.next(|_| true, |_| true)?;
        self.take(serial)
    }

    pub fn unqueue(&mut self, job: JobId) -> Option<Waiting> {
        let serial = self.serial_of::<Waiting>(job)?;
        self.turns.remove(|queued| *queued == serial);
        self.take(serial)
    }

    pub fn queued(&self) -> impl Iterator<Item = &Waiting> {
        let serials = self.turns.iter();
        serials.filter_map(|serial| self.find(*serial))
    }

    /// Returns those whose turn has come and whose files are hashed, then all that wait for a slot, in their order.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        let rehashed = self.all::<MeasuringAgain>();
        let rehashed = rehashed.map(|(_, again)| &again.waiting);
        rehashed.chain(self.queued())
    }

    pub fn is_waiting(&self, job: JobId) -> bool {
        self.serial_of::<Waiting>(job).is_some() || self.serial_of::<MeasuringAgain>(job).is_some()
    }

    /// Tells all queued jobs that a turn of the loop is over.
    pub fn delay_queued(&mut self) {
        for state in self.states.values_mut() {
            if let Some(waiting) = Waiting::of_mut(state) {
                // Only a job whose files were compared in this turn has a line for it.
                let _ = waiting.plan.life.on(Event::Delayed);
            }
        }
    }

    pub const fn turns(&self) -> &Turns<u64> {
        &self.turns
    }

    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Maps the draft's request id to its job from now on.
    pub fn claim(&mut self, draft: &Draft) {
        if let Some((request, content)) = &draft.request {
            let owner = draft.requester.subject.owner();
            self.requests
                .insert((owner, request.clone()), (draft.job, *content));
        }
    }

    /// Returns the job that already has this request id. Errors: `conflict_request_id` if its content was another.
    pub fn same_request(
        &self,
        owner: Owner,
        request: Option<(&str, [u8; 32])>,
    ) -> Result<Option<JobId>, Refusal> {
        let Some((id, content)) = request else {
            return Ok(None);
        };
        match self.requests.get(&(owner, id.to_owned())) {
            None => Ok(None),
            Some((job, same)) if *same == content => Ok(Some(*job)),
            Some((job, _)) => Err(Refusal::new(
                Code::ConflictRequestId,
                "this request_id was used for another request",
            )
            .object(job.to_string())
            .next("use a new request_id for a new request")),
        }
    }

    pub fn get(&mut self, serial: u64) -> Option<&mut Job> {
        self.find_mut(serial)
    }

    pub fn serial(&self, job: JobId) -> Option<u64> {
        self.serial_of::<Job>(job)
    }

    /// Returns whether this job has not ended, or is remembered.
    pub fn is_known(&self, job: JobId) -> bool {
        self.serials.contains_key(&job) || self.ended().any(|meta| meta.job == job)
    }

    /// Returns the plans of all that runs, or is about to.
    fn running(&self) -> impl Iterator<Item = &Plan> {
        let live = self.all::<Job>().map(|(_, job)| &*job.plan);
        let parked = self.all::<Parked>().map(|(_, parked)| &*parked.plan);
        live.chain(parked)
    }

    /// Returns whether a commit, an undo or a recovery of files runs, or its turn has come.
    pub fn has_commit(&self) -> bool {
        let measured = self.all::<MeasuringAgain>();
        let measured = measured.map(|(_, again)| &*again.waiting.plan);
        let mut all = self.running().chain(measured);
        all.any(|plan| plan.commit_use().is_some())
    }

    /// Returns the job that undoes this commit, or is about to.
    pub fn undo_of(&self, commit: &str) -> Option<JobId> {
        let undone = |plan: &Plan| plan.bound.undo.as_ref().map(Undo::id) == Some(commit);
        let mut running = self.running();
        running.find(|plan| undone(plan)).map(|plan| plan.job)
    }

    /// Returns whether this user may name the job: it runs, waits for a slot or an approval, or has ended.
    pub fn owned(&self, job: JobId, owner: &Owner) -> bool {
        let serial = self.serials.get(&job);
        let state = serial.and_then(|serial| self.states.get(serial));
        let known = match state {
            Some(JobState::NeverRan(held)) => Some(held.before.owner.clone()),
            Some(JobState::Live(held)) => Some(held.plan.requester.subject.owner()),
            Some(state) => state.waiting_requester().map(Subject::owner),
            None => None,
        };
        known.is_some_and(|known| known == *owner)
            || self
                .ended
                .iter()
                .any(|meta| meta.job == job && meta.owner == *owner)
    }

    pub fn live(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.all()
    }

    pub fn serials(&self) -> Vec<u64> {
        self.serials_of::<Job>()
    }

    /// Returns the serials of jobs in a sandbox of this base.
    pub fn behind(&self, confined: ConfinedBase) -> Vec<u64> {
        let base = |job: &Job| ConfinedBase::of(job.plan.bound.compiled.base());
        let behind = self.live().filter(|(_, job)| base(job) == Some(confined));
        behind.map(|(serial, _)| serial).collect()
    }

    pub fn count_live(&self) -> usize {
        self.live().count()
    }

    /// Returns jobs that never ran, as they are shown until their end is recorded.
    pub fn never_ran(&self) -> impl Iterator<Item = &JobMeta> {
        self.all().map(|(_, end): (_, &NeverRan)| &end.before)
    }

    /// Returns ended jobs, oldest first, without `enforced`.
    pub fn ended(&self) -> impl Iterator<Item = &JobMeta> {
        self.ended.iter()
    }

    /// As [`EndedJobs::set_follow_ups`].
    pub fn set_follow_ups(&mut self, job: JobId, then: &[FollowUp], is_undo: bool) {
        self.ended.set_follow_ups(job, then, is_undo);
    }

    /// Sets what the requester of an ended job has to know. `note`: from what it was. Returns the job, with `enforced`.
    pub fn set_note(
        &mut self,
        job: JobId,
        note: impl FnOnce(Option<&str>) -> Option<String>,
    ) -> Option<JobMeta> {
        self.ended.set_note(job, note)
    }

    /// Returns ended jobs, oldest first, with `enforced`.
    pub fn ended_whole(&self) -> impl Iterator<Item = JobMeta> {
        self.ended.whole()
    }

    /// Remembers an ended job and its request id. Returns the id of the job that is forgotten for it, if any.
    pub fn keep(&mut self, meta: JobMeta, request: Option<String>) -> Option<JobId> {
        let forgotten = self.ended.push(meta, request)?;
        if let Some(key) = forgotten.request
            && let Entry::Occupied(request) = self.requests.entry(key)
            // The request id may belong to a later job: a job that the ledger failed to forget is read back too.
            && request.get().0 == forgotten.job
        {
            request.remove();
        }
        Some(forgotten.job)
    }

    /// Remembers a job of an earlier daemon: its request is not run again. Returns the job forgotten for it.
    pub fn remember(
        &mut self,
        meta: JobMeta,
        request: Option<(String, [u8; 32])>,
    ) -> Option<JobId> {
        let request = request.map(|(id, content)| {
            let key = (meta.owner.clone(), id.clone());
            self.requests.insert(key, (meta.job, content));
            id
        });
        self.number = self.number.max(meta.number);
        self.keep(meta, request)
    }
}

pub fn output(process: &Spawned) -> [&OutputEnd; 2] {
    [&process.stdout, &process.stderr]
}

#[cfg(test)]
pub mod tests {
    use std::time::Instant;

    use remit_common::caps;
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::fixture::Scene;
    use crate::identity::accounts::Question;
    use crate::job::state::Parked;

    pub fn ended(number: u64) -> JobMeta {
        JobMeta {
            then: Vec::new(),
            has_secrets: false,
            may_change: false,
            is_unread: false,
            job: JobId(u128::from(number).to_le_bytes()),
            owner: owner(),
            command: "true".into(),
            waiting: None,
            number,
            started_ms: 0,
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: None,
        }
    }

    fn owner() -> Owner {
        Owner {
            uid: 1000,
            user: "alice".into(),
        }
    }

    /// A new broker counts positions in the queue in this order.
    #[test]
    fn next_job_is_first_of_the_queued_ones() {
        let waiting = |asked_ms| Waiting::new(Box::new(Scene::new().plan()), asked_ms);
        let mut jobs = Jobs::default();
        jobs.queue(waiting(3));
        jobs.queue(waiting(2));
        let serial = jobs.next_serial();
        let again = MeasuringAgain {
            waiting: waiting(9),
            measuring: Measuring::of_people(&Question::default(), None).unwrap(),
        };
        jobs.insert(serial, again);
        jobs.put_back(waiting(7));
        let order: Vec<_> = jobs.waiting().map(|waiting| waiting.asked_ms).collect();
        assert_eq!(order, [9, 7, 3, 2]);
    }

    #[test]
    fn request_names_newest_job_after_older_is_forgotten() {
        let mut jobs = Jobs::default();
        let request = || Some(("once".to_owned(), [7; 32]));
        let known = |jobs: &Jobs| jobs.same_request(owner(), Some(("once", [7; 32]))).unwrap();
        assert!(jobs.remember(ended(1), request()).is_none());
        assert!(jobs.remember(ended(2), request()).is_none());
        let newest = ended(2).job;
        assert_eq!(known(&jobs), Some(newest));
        let last = caps::ENDED_PER_UID as u64 + 1;
        let forget = |jobs: &mut Jobs, number| jobs.remember(ended(number), None);
        for number in 3..last {
            assert!(forget(&mut jobs, number).is_none());
        }
        assert_eq!(forget(&mut jobs, last), Some(ended(1).job));
        assert_eq!(known(&jobs), Some(newest));
        assert_eq!(forget(&mut jobs, last + 1), Some(newest));
        assert_eq!(known(&jobs), None);
    }

    #[test]
    fn changes_request_id_survives_any_number_of_looks() {
        let per_user = caps::ENDED_PER_UID as u64;
        for (may_change, looks, changes, expect) in [
            (true, 3 * per_user, per_user - 1, true),
            (true, 0, per_user, false),
            (false, per_user - 1, 3 * per_user, true),
            (false, per_user, 0, false),
        ] {
            let mut jobs = Jobs::default();
            let job = |number, may_change| JobMeta {
                may_change,
                ..ended(number)
            };
            jobs.remember(job(1, may_change), Some(("once".to_owned(), [7; 32])));
            for number in 0..looks {
                jobs.remember(job(2 + number, false), None);
            }
            for number in 0..changes {
                jobs.remember(job(2 + looks + number, true), None);
            }
            let known = jobs.same_request(owner(), Some(("once", [7; 32]))).unwrap();
            let expect = expect.then(|| ended(1).job);
            assert_eq!(known, expect, "{may_change} {looks} {changes}");
        }
    }

    fn parked(scene: &Scene, uid: u32) -> Parked {
        let mut plan = Box::new(scene.plan());
        plan.requester.subject = Subject::fake(uid, "someone", None);
        let since = Instant::now();
        Parked { since, plan }
    }

    #[test]
    fn accounts_of_users_are_looked_up_and_none_of_the_daemon() {
        const TELL: &str = "[[command]]\nname = \"people.tell\"\nsummary = \"x\"\nargv = [\"/usr/bin/cat\"]\neffect = \"change\"\n\
                            profile = \"strict\"\nstdin = \"caller\"\n";
        let mut jobs = Jobs::default();
        let own = Scene::of(TELL, &MachineTable::default()).notification("people.tell");
        for plan in [own, Scene::new().plan()] {
            jobs.queue(Waiting::new(Box::new(plan), 0));
        }
        let asked: Vec<u32> = jobs.subjects().map(Subject::uid).collect();
        assert_eq!(asked, [64_001]);
    }

    /// Its journal says so only once all paths are opened and compared.
    #[test]
    fn undo_is_known_from_its_start() {
        const COMMIT: &str = "0123456789abcdef0123456789abcdef";
        let scene = Scene::undoes();
        let undo = || Box::new(scene.undo(COMMIT, &[]));
        let mut waiting = Jobs::default();
        waiting.queue(Waiting::new(undo(), 0));
        let mut running = Jobs::default();
        let since = Instant::now();
        running.insert(1, parked(&Scene::new(), 1000));
        running.insert(
            2,
            Parked {
                since,
                plan: undo(),
            },
        );
        let other = COMMIT.replace('0', "f");
        for (jobs, commit, expect) in [
            (&waiting, COMMIT, None),
            (&running, COMMIT, Some(JobId([3; 16]))),
            (&running, &other, None),
        ] {
            assert_eq!(jobs.undo_of(commit), expect);
        }
    }

    #[test]
    fn slot_is_counted_while_its_state_is_in_the_table() {
        let (scene, mut jobs) = (Scene::new(), Jobs::default());
        for (serial, uid) in [(1, 1000), (2, 1000), (3, 1001)] {
            jobs.insert(serial, parked(&scene, uid));
        }
        let slots = |jobs: &Jobs| (jobs.slots.all(), jobs.slots.of(1000), jobs.slots.of(1001));
        assert_eq!((slots(&jobs), jobs.slots.of(1002)), ((3, 2, 1), 0));
        assert!(jobs.take::<Waiting>(1).is_none());
        assert!(jobs.take::<Parked>(4).is_none());
        assert_eq!(slots(&jobs), (3, 2, 1));

        let Parked { plan, .. } = jobs.take(1).unwrap();
        assert!(jobs.take::<Parked>(1).is_none());
        assert_eq!(slots(&jobs), (2, 1, 1));
        jobs.queue(Waiting::new(plan, 0));
        assert_eq!(slots(&jobs), (2, 1, 1));
        assert!(jobs.take_queued().is_some());
        assert_eq!(slots(&jobs), (2, 1, 1));

        assert!(jobs.take::<Parked>(2).is_some() && jobs.take::<Parked>(3).is_some());
        assert_eq!(slots(&jobs), (0, 0, 0));
    }
}
