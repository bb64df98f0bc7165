//! Keeps snapshots of the machine, for what `host` reports of changes. One is taken at the start, each day, and before
//! and after a request that may change the host. A failure is logged; nothing is decided by it.

mod compare;
mod kept;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::token_bucket::TokenBucket;
use remit_facts::Sources;
use remit_facts::snapshot::{self, Snapshot};
use remit_link::Owner;
use remit_wire::host::{HostChanges, Since, SnapshotMark};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::runtime::threads::run_blocking;
use crate::session::usage::Account;

use kept::{EndedChange, KeptSnapshot, PATIENCE, PendingChange, SnapshotClocks, SnapshotReason};
use store::SnapshotStore;

pub use kept::boottime_ms;

/// Snapshots at once, and the time after which so many are possible again: before requests for each user, and all others
/// together. A flood of changes shares them.
pub const BURST: u64 = 10;
pub const REFILL: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Ended jobs that no snapshot could be kept for, as with a full disk. Older ones are left out.
const UNKEPT: usize = 1000;

#[derive(Debug)]
pub struct Snapshots {
    /// `None`: this broker keeps no history.
    store: Option<SnapshotStore>,
    at: Sources,
    /// Jobs that may change the host and have not ended.
    changing: RefCell<HashMap<JobId, PendingChange>>,
    wanted: RefCell<WantedSnapshot>,
    work: Notify,
    taken: Notify,
    /// Number of snapshots taken or failed, for those who wait for the next.
    finished: Cell<u64>,
    /// Whether one since the start of the daemon is kept. The first shows what changed while no daemon ran.
    has_kept: Cell<bool>,
    /// While one is taken: the ended jobs that it names.
    taking: RefCell<Option<Vec<EndedChange>>>,
    /// The next one has no turn yet, and no answer is delayed by it.
    is_delayed: Cell<bool>,
    /// A request did not wait any longer for the one that is taken, and no other does.
    is_hung: Cell<bool>,
    /// When the last one that is kept, or equal to the one before, was complete, in milliseconds since the boot.
    looked: Cell<u64>,
    budget: RefCell<TokenBucket>,
    /// Why the newest one could not be kept.
    failure: RefCell<Option<String>>,
}

#[derive(Debug, Default)]
struct WantedSnapshot {
    reason: Option<SnapshotReason>,
    /// A user has paid for it: it needs no turn.
    is_paid: bool,
    ended: Vec<EndedChange>,
}

impl WantedSnapshot {
    /// The next snapshot that is kept names these jobs, too.
    fn put_back(&mut self, mut ended: Vec<EndedChange>) {
        ended.append(&mut self.ended);
        let too_many = ended.len().saturating_sub(UNKEPT);
        self.ended = ended.split_off(too_many);
    }
}

impl Snapshots {
    pub fn open(history: Option<&Path>) -> Self {
        Self {
            store: history.map(SnapshotStore::open),
            at: Sources::host(),
            changing: RefCell::default(),
            wanted: RefCell::default(),
            work: Notify::new(),
            taken: Notify::new(),
            finished: Cell::new(0),
            has_kept: Cell::new(false),
            taking: RefCell::default(),
            is_delayed: Cell::new(false),
            is_hung: Cell::new(false),
            looked: Cell::new(0),
            budget: RefCell::new(TokenBucket::new(BURST, REFILL, std::time::Instant::now())),
            failure: RefCell::default(),
        }
    }

    pub async fn serve(&self) {
        let Some(store) = &self.store else { return };
        self.want(SnapshotReason::Start);
        let mut next_day = Instant::now() + DAY;
        loop {
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(next_day) => self.want(SnapshotReason::Daily),
            }
            while self.is_wanted() {
                self.until_turn().await;
                let Some((reason, ended)) = self.next() else {
                    break;
                };
                if matches!(reason, SnapshotReason::Start | SnapshotReason::Daily) {
                    next_day = Instant::now() + DAY;
                }
                self.taking.replace(Some(ended.clone()));
                let kept = take(self.at.clone(), reason, ended, ()).await;
                let complete_ms = kept.to.boottime_ms;
                let store = store.clone();
                let stored = run_blocking(move || store.add(&kept)).await;
                let ended = self.taking.take().unwrap_or_default();
                self.is_hung.set(false);
                let stored = stored.unwrap_or_else(|| Err("its writer failed".to_owned()));
                match &stored {
                    Ok(()) => {
                        self.has_kept.set(true);
                        self.looked.set(complete_ms);
                    }
                    Err(_) => self.wanted.borrow_mut().put_back(ended),
                }
                self.log(stored);
                self.finished.set(self.finished.get().wrapping_add(1));
                self.taken.notify_waiters();
            }
        }
    }

    fn is_taking(&self) -> bool {
        self.taking.borrow().is_some()
    }

    fn is_wanted(&self) -> bool {
        self.wanted.borrow().reason.is_some()
    }

    async fn until_turn(&self) {
        while !self.wanted.borrow().is_paid {
            let turn = self.budget.borrow_mut().take(1, std::time::Instant::now());
            let Err(wait) = turn else { break };
            self.is_delayed.set(true);
            self.taken.notify_waiters();
            tokio::select! {
                () = sleep(wait) => {}
                () = self.work.notified() => {}
            }
        }
        self.is_delayed.set(false);
    }

    fn next(&self) -> Option<(SnapshotReason, Vec<EndedChange>)> {
        let mut wanted = self.wanted.borrow_mut();
        let ended = std::mem::take(&mut wanted.ended);
        wanted.is_paid = false;
        let reason = wanted.reason.take()?;
        match self.has_kept.get() {
            true => Some((reason, ended)),
            false => Some((SnapshotReason::Start, ended)),
        }
    }

    fn want(&self, reason: SnapshotReason) {
        self.wanted.borrow_mut().reason = Some(reason);
        self.work.notify_one();
    }

    fn log(&self, stored: Result<(), String>) {
        let failure = stored.err();
        let before = self.failure.replace(failure.clone());
        if let (Some(why), None) = (failure, before) {
            tracing::warn!("cannot keep a snapshot of the machine: {why}");
        }
    }

    /// Says why no snapshot is kept, if that is known.
    fn with_failure(&self, mut refusal: Refusal) -> Refusal {
        match self.failure.borrow().as_deref() {
            Some(why) if refusal.code == Code::NotFound => {
                refusal.message += &format!("; the newest one could not be kept: {why}");
                refusal
                    .next("remove the reason: the next one is taken with a change, or within a day")
            }
            _ => refusal,
        }
    }

    /// Returns when a snapshot is kept that the request cannot have changed, or after [`PATIENCE`]. Without one the answer
    /// about the job says how old the last one was at its start. Each user pays: refused requests cost others none.
    pub async fn before_change(&self, account: &Account) {
        if self.store.is_none() || !account.pays_for_snapshot() {
            return;
        }
        // One that is being taken now ends before the request begins.
        if !self.is_taking() {
            self.wanted.borrow_mut().is_paid = true;
            self.want(SnapshotReason::BeforeChange);
        }
        let before = self.finished.get();
        let is_over = || self.finished.get() != before || self.is_hung.get();
        if self.until(is_over).await.is_err() {
            // A dead file system can hold it for good: the next request does not wait.
            self.is_hung.set(true);
            tracing::warn!("a request that may change the host did not wait for a snapshot");
        }
    }

    /// Waits at most [`PATIENCE`]; looks again after each snapshot.
    async fn until(&self, is_over: impl Fn() -> bool) -> Result<(), Elapsed> {
        let over = async {
            loop {
                let next = self.taken.notified();
                if is_over() {
                    return;
                }
                next.await;
            }
        };
        timeout(PATIENCE, over).await
    }

    /// Notes a job whose end needs a snapshot if it has started. `started_ms`: it did not start before that time since
    /// the boot; `None`: it has not started yet.
    pub fn changing(&self, job: JobId, owner: &Owner, started_ms: Option<u64>) {
        if self.store.is_some() {
            let change = PendingChange {
                owner: owner.clone(),
                looked_ms: started_ms.map_or(0, |started_ms| self.looked_before(started_ms)),
                started_ms,
            };
            self.changing.borrow_mut().insert(job, change);
        }
    }

    pub fn started(&self, job: JobId) {
        if let Some(change) = self.changing.borrow_mut().get_mut(&job) {
            let started_ms = boottime_ms();
            change.looked_ms = self.looked_before(started_ms);
            change.started_ms = Some(started_ms);
        }
    }

    fn looked_before(&self, started_ms: u64) -> u64 {
        let looked = self.looked.get();
        if looked <= started_ms { looked } else { 0 }
    }

    pub fn ended(&self, job: JobId) {
        let change = self.changing.borrow_mut().remove(&job);
        if let Some(ended) = change.and_then(|change| change.end(job, boottime_ms())) {
            self.wanted.borrow_mut().ended.push(ended);
            self.want(SnapshotReason::AfterChange);
        }
    }

    pub async fn marks(&self) -> Result<Vec<SnapshotMark>, Refusal> {
        let store = self.store()?;
        let marks = run_blocking(move || {
            let now = SnapshotClocks::now();
            store
                .all()
                .iter()
                .rev()
                .map(|kept| kept.mark(&now))
                .collect()
        });
        marks.await.ok_or_else(unread)
    }

    /// Compares the snapshot at `since` with the present, or the one after the job. A blocked thread holds `permit`.
    pub async fn changes(
        &self,
        since: Since,
        caller: Owner,
        permit: OwnedSemaphorePermit,
    ) -> Result<HostChanges, Refusal> {
        let store = self.store()?;
        let now = match since {
            Since::Job(_) => None,
            Since::Time(_) | Since::Boot => {
                let (at, reason) = (self.at.clone(), SnapshotReason::Now);
                let now = take(at, reason, Vec::new(), permit).await;
                // After it was taken, so that jobs that started meanwhile are in it.
                let ended = self.unkept();
                let reason = match self.has_kept.get() {
                    true => reason,
                    false => SnapshotReason::NowUnkept,
                };
                Some(KeptSnapshot {
                    reason,
                    ended,
                    ..now
                })
            }
        };
        let compare = move || compare::changes(store.all(), now, since, &caller);
        let compared = run_blocking(compare).await.ok_or_else(unread)?;
        compared.map_err(|refusal| self.with_failure(refusal))
    }

    /// Returns the jobs that have started and that no kept snapshot names yet.
    fn unkept(&self) -> Vec<EndedChange> {
        let changing = self.changing.borrow();
        let running = changing.iter();
        let mut jobs: Vec<_> = running
            .filter_map(|(job, change)| change.end(*job, 0))
            .collect();
        jobs.extend(self.taking.borrow().iter().flatten().cloned());
        jobs.extend(self.wanted.borrow().ended.iter().cloned());
        jobs
    }

    /// Waits until the snapshot after this job is kept, so that what is changed next is not taken for the job's.
    pub async fn until_kept(&self, job: JobId) {
        let is_due = || {
            let is_wanted = |ended: &EndedChange| ended.job == job;
            let wanted = self.wanted.borrow();
            let is_waiting = wanted.reason.is_some() && wanted.ended.iter().any(is_wanted);
            let is_late = self.is_delayed.get() || self.is_hung.get();
            !is_late && (self.is_taking() || is_waiting)
        };
        // Without it the answer says what is missing.
        let _ = self.until(|| !is_due()).await;
    }

    fn store(&self) -> Result<SnapshotStore, Refusal> {
        self.store.clone().ok_or_else(|| {
            Refusal::new(
                Code::NotStarted,
                "this daemon keeps no snapshots of the machine",
            )
        })
    }
}

/// Takes a snapshot. `held` is dropped when the thread ends, also if the caller no longer waits.
async fn take(
    at: Sources,
    reason: SnapshotReason,
    ended: Vec<EndedChange>,
    held: impl Send + 'static,
) -> KeptSnapshot {
    let from = SnapshotClocks::now();
    let units = snapshot::ask_units(&at).await;
    let take = move || {
        let _held = held;
        snapshot::take(&at, units)
    };
    let taken = run_blocking(take).await;
    let taken = taken.unwrap_or_else(|| Snapshot::unread("its reader failed"));
    KeptSnapshot {
        number: 0,
        reason,
        from,
        to: SnapshotClocks::now(),
        ended,
        gaps: taken.gaps,
        lines: taken.lines,
    }
}

fn unread() -> Refusal {
    Refusal::new(
        Code::NotStarted,
        "the snapshots of the machine cannot be read",
    )
    .lift("the daemon's log has the reason")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::job::registry::tests::own;
    use crate::output::spool::tests::Scratch;
    use crate::session::usage::Accounts;

    #[tokio::test]
    async fn job_of_snapshot_that_is_not_kept_is_in_the_next_one() {
        let scratch = Scratch::new();
        let dir = scratch.path.join("history");
        let snapshots = Rc::new(Snapshots::open(Some(&dir)));
        let finished = async |count| {
            while snapshots.finished.get() < count {
                snapshots.taken.notified().await;
            }
        };
        let test = async {
            let serving = Rc::clone(&snapshots);
            spawn_local(async move { serving.serve().await });
            finished(1).await;
            let job = JobId([1; 16]);
            snapshots.changing(job, &own(9), Some(boottime_ms()));
            snapshots.ended(job);
            finished(2).await;
            snapshots.until_kept(job).await;
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let refusal = snapshots.changes(Since::Job(job), own(9), permit).await;
            let text = refusal.unwrap_err().message;
            assert!(text.contains("could not be kept: cannot write"), "{text}");
            std::fs::create_dir(&dir).unwrap();
            snapshots.want(SnapshotReason::Daily);
            finished(3).await;
            let all = SnapshotStore::open(&dir).all();
            assert_eq!((all.len(), all[0].ended[0].job), (1, job));
            assert_eq!(all[0].reason, SnapshotReason::Start);
            snapshots.want(SnapshotReason::Daily);
            finished(4).await;
            let all = SnapshotStore::open(&dir).all();
            assert_eq!(all[1].reason, SnapshotReason::Daily);
        };
        LocalSet::new().run_until(test).await;
    }

    #[test]
    fn request_that_never_ran_changed_nothing() {
        let snapshots = Snapshots::open(Some(Path::new("/nonexistent")));
        let [never, ran] = [1, 2].map(|id| JobId([id; 16]));
        snapshots.changing(never, &own(9), None);
        snapshots.changing(ran, &own(9), None);
        assert!(snapshots.unkept().is_empty());
        snapshots.started(ran);
        assert_eq!(jobs(&snapshots.unkept()), [ran]);
        snapshots.ended(never);
        assert!(!snapshots.is_wanted());
        snapshots.ended(ran);
        assert_eq!(jobs(&snapshots.next().unwrap().1), [ran]);
    }

    /// All turns are used up by changes of others, and one user's snapshots by refused requests.
    #[tokio::test]
    async fn each_user_pays_for_the_snapshots_before_its_requests() {
        let scratch = Scratch::new();
        let snapshots = Rc::new(Snapshots::open(Some(&scratch.path)));
        let accounts = Accounts::default();
        let [refused, other] = [1, 2].map(|uid| accounts.of(uid));
        let test = async {
            let serving = Rc::clone(&snapshots);
            spawn_local(async move { serving.serve().await });
            while snapshots.finished.get() == 0 {
                snapshots.taken.notified().await;
            }
            while refused.pays_for_snapshot() {}
            let now = std::time::Instant::now();
            while snapshots.budget.borrow_mut().take(1, now).is_ok() {}
            snapshots.want(SnapshotReason::AfterChange);
            while !snapshots.is_delayed.get() {
                snapshots.taken.notified().await;
            }
            for (account, is_taken) in [(&refused, false), (&other, true)] {
                let before = snapshots.finished.get();
                snapshots.before_change(account).await;
                assert_eq!(snapshots.finished.get() != before, is_taken);
            }
            let looked = snapshots.looked.get();
            assert!(looked > 0 && !snapshots.is_hung.get());
            // The second has waited for an approval.
            let [at_once, late] = [1, 2].map(|id| JobId([id; 16]));
            snapshots.changing(at_once, &own(2), Some(boottime_ms()));
            snapshots.changing(late, &own(2), None);
            snapshots.started(late);
            snapshots.changing(JobId([3; 16]), &own(2), Some(looked - 1));
            let mut looks: Vec<_> = snapshots.unkept();
            looks.sort_by_key(|change| change.job);
            let looks: Vec<u64> = looks.iter().map(|change| change.looked_ms).collect();
            assert_eq!(looks, [looked, looked, 0]);
        };
        LocalSet::new().run_until(test).await;
    }

    fn jobs(changes: &[EndedChange]) -> Vec<JobId> {
        changes.iter().map(|one| one.job).collect()
    }

    #[tokio::test]
    async fn change_until_now_is_by_jobs_that_no_kept_snapshot_names() {
        let scratch = Scratch::new();
        let snapshots = Snapshots::open(Some(&scratch.path));
        let (from, to) = (SnapshotClocks::now(), SnapshotClocks::now());
        let lines = "files\t/etc/ removed\tfile\n";
        let before = KeptSnapshot {
            from,
            to,
            ..kept::tests::kept(SnapshotReason::Start, 0, lines)
        };
        snapshots.store.as_ref().unwrap().add(&before).unwrap();
        let all = [1, 2, 3].map(|id| JobId([id; 16]));
        for job in all {
            snapshots.changing(job, &own(9), Some(boottime_ms()));
        }
        let [running, in_flight, waiting] = all;
        snapshots.ended(in_flight);
        snapshots
            .taking
            .replace(snapshots.next().map(|next| next.1));
        snapshots.ended(waiting);
        assert_eq!(jobs(&snapshots.unkept()), [running, in_flight, waiting]);
        let since = Since::Time(before.to.unix_ms + 1000);
        for (has_kept, unknown) in [
            (false, Some("not known: the daemon started then")),
            (true, None),
        ] {
            snapshots.has_kept.set(has_kept);
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let answer = snapshots.changes(since, own(9), permit).await.unwrap();
            assert_eq!(answer.to.reason, "now");
            let mut changes = answer.sections.iter().flat_map(|one| &one.changes.items);
            let removed = changes.find(|one| one.name == "/etc/ removed").unwrap();
            let jobs = all.iter().map(JobId::to_string);
            let expect: Vec<_> = jobs.chain(unknown.map(str::to_owned)).collect();
            assert_eq!(removed.by, expect);
        }
    }
}
