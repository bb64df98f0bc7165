//! Limits what one uid uses over all its connections: requests by a token bucket, buffers, concurrent work, denials.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::token_bucket::TokenBucket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::sleep;

use crate::snapshots;

const ACCOUNTS: usize = 1024;
/// Questions of one uid to the service manager, per second, after a burst: as many as remit-bus lets a job list units.
const QUESTIONS: u32 = 10;
const QUESTION_BURST: u32 = 50;
/// Threads that read pipes of one uid's jobs. A process can lock a pipe, and the thread is left when the job ends.
pub const PIPES: usize = 2 * caps::JOBS_PER_UID;

#[derive(Debug)]
pub struct Account {
    rate: RefCell<TokenBucket>,
    buffered: Cell<usize>,
    asks: Semaphore,
    host: Semaphore,
    manager: Semaphore,
    questions: RefCell<TokenBucket>,
    snapshots: RefCell<TokenBucket>,
    search: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    background: Semaphore,
    pipes: Arc<Semaphore>,
    pub denials: RefCell<RefusalCounter>,
}

#[derive(Debug)]
pub struct Buffered {
    account: Rc<Account>,
    bytes: usize,
}

impl Drop for Buffered {
    fn drop(&mut self) {
        let now = self.account.buffered.get();
        self.account.buffered.set(now.saturating_sub(self.bytes));
    }
}

impl Account {
    fn new(now: Instant, slow: SlowLimit) -> Self {
        Self {
            rate: RefCell::new(TokenBucket::per_second(
                caps::REQUESTS_PER_SECOND,
                caps::REQUEST_BURST,
                now,
            )),
            buffered: Cell::new(0),
            asks: Semaphore::new(caps::ASKS_PER_UID),
            host: Semaphore::new(1),
            manager: Semaphore::new(1),
            questions: RefCell::new(TokenBucket::per_second(QUESTIONS, QUESTION_BURST, now)),
            snapshots: RefCell::new(TokenBucket::new(snapshots::BURST, snapshots::REFILL, now)),
            search: Arc::new(Semaphore::new(1)),
            answers: Arc::new(Semaphore::new(1)),
            background: Semaphore::new(1),
            pipes: Arc::new(Semaphore::new(PIPES)),
            denials: RefCell::new(RefusalCounter::new(slow)),
        }
    }

    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.asks.acquire().await.ok()
    }

    pub async fn host_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.host.acquire().await.ok()
    }

    /// Returns once the service manager may be asked: no other question of this uid is open, and the rate permits one.
    pub async fn manager_turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.manager.acquire().await.ok();
        loop {
            let now = tokio::time::Instant::now().into_std();
            let asked = self.questions.borrow_mut().take(1, now);
            match asked {
                Ok(()) => return turn,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    pub async fn search_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.search).acquire_owned().await.ok()
    }

    pub async fn answer_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answers).acquire_owned().await.ok()
    }

    pub async fn background_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.background.acquire().await.ok()
    }

    /// Held by the thread until it has read, also if its result is no longer wanted.
    pub async fn pipe_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.pipes).acquire_owned().await.ok()
    }

    pub fn pipes_read(&self) -> usize {
        PIPES.saturating_sub(self.pipes.available_permits())
    }

    fn is_used(&self, now: Instant) -> bool {
        let buckets = [&self.rate, &self.questions, &self.snapshots];
        self.pipes_read() > 0 || buckets.iter().any(|bucket| !bucket.borrow().is_full(now))
    }

    /// Pays for a request of `bytes`: one token, and one more for each 64 KiB. Fails with the time to wait.
    pub fn pay(&self, bytes: usize) -> Result<(), Duration> {
        let cost = 1 + (bytes / caps::REQUEST_UNIT) as u64;
        self.rate.borrow_mut().take(cost, Instant::now())
    }

    /// Returns false if the user has used up its snapshots before changes for now.
    pub fn pays_for_snapshot(&self) -> bool {
        self.snapshots.borrow_mut().take(1, Instant::now()).is_ok()
    }

    pub fn buffer(self: &Rc<Self>, bytes: usize) -> Option<Buffered> {
        let all = self.buffered.get().checked_add(bytes)?;
        if all > caps::BUFFERS_PER_UID {
            return None;
        }
        self.buffered.set(all);
        Some(Buffered {
            account: Rc::clone(self),
            bytes,
        })
    }
}

#[derive(Debug, Default)]
pub struct Accounts {
    all: RefCell<HashMap<u32, Rc<Account>>>,
    slow: SlowLimit,
}

impl Accounts {
    pub fn new(slow: SlowLimit) -> Self {
        Self {
            slow,
            ..Self::default()
        }
    }

    /// Returns the account of `uid`. It outlives its connections, so a reconnect refills nothing.
    pub fn of(&self, uid: u32) -> Rc<Account> {
        let now = Instant::now();
        let mut accounts = self.all.borrow_mut();
        if accounts.len() >= ACCOUNTS {
            accounts.retain(|_, account| Rc::strong_count(account) > 1 || account.is_used(now));
        }
        Rc::clone(
            accounts
                .entry(uid)
                .or_insert_with(|| Rc::new(Account::new(now, self.slow))),
        )
    }
}

/// A refusal that does not repeat for this time is forgotten.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Maximum number of refusals remembered for one uid; the least recent is dropped first.
const KEPT: usize = 32;
const MANY: u32 = 3;
// The first delay; it doubles with each repetition.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);

/// Delay of the answer to a user with many refusals.
const SLOW: Duration = Duration::from_secs(2);

/// Number of refusals of any kind within a time. After it, each further one is answered late. 0 means never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowLimit {
    pub refusals: usize,
    pub within: Duration,
}

/// Counts refusals. From the third equal one on, the client is advised to stop and answers are delayed; later all are.
#[derive(Debug, Default)]
pub struct RefusalCounter {
    equal: Vec<CountedRefusal>,
    slow: SlowLimit,
    recent: VecDeque<Instant>,
}

#[derive(Debug)]
struct CountedRefusal {
    refusal: Refusal,
    times: u32,
    last: Instant,
}

impl RefusalCounter {
    fn new(slow: SlowLimit) -> Self {
        Self {
            slow,
            ..Self::default()
        }
    }

    /// Counts a refusal by the warden. Returns it with advice, and how late to answer it.
    pub fn count(&mut self, refusal: Refusal, now: Instant) -> (Refusal, Duration) {
        let slow = self.count_any(refusal.code, now);
        let (refusal, pause) = self.count_equal(refusal, now);
        (refusal, pause.max(slow))
    }

    /// Counts a refusal of any origin. Returns how late to answer it.
    pub fn count_any(&mut self, code: Code, now: Instant) -> Duration {
        let SlowLimit { refusals, within } = self.slow;
        if refusals == 0 || !code.is_of_request() {
            return Duration::ZERO;
        }
        self.recent
            .retain(|time| now.saturating_duration_since(*time) < within);
        let is_slow = self.recent.len() >= refusals;
        if is_slow {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if is_slow { SLOW } else { Duration::ZERO }
    }

    fn count_equal(&mut self, refusal: Refusal, now: Instant) -> (Refusal, Duration) {
        // `NotFound` of the warden means a command that the policy does not give this user.
        if !matches!(
            refusal.code,
            Code::DeniedRule
                | Code::NotFound
                | Code::NeedsApproval
                | Code::ApprovalDenied
                | Code::ApprovalVoid
        ) {
            return (refusal, Duration::ZERO);
        }
        self.equal
            .retain(|denial| now.saturating_duration_since(denial.last) < REMEMBERED);
        let times = match self
            .equal
            .iter_mut()
            .find(|denial| same(&denial.refusal, &refusal))
        {
            Some(denial) => {
                denial.times = denial.times.saturating_add(1);
                denial.last = now;
                denial.times
            }
            None => {
                self.add(refusal.clone(), now);
                1
            }
        };
        match times.checked_sub(MANY) {
            None => (refusal, Duration::ZERO),
            Some(more) => (refusal.next(advice(times)), pause(more)),
        }
    }

    fn add(&mut self, refusal: Refusal, now: Instant) {
        if self.equal.len() >= KEPT
            && let Some(oldest) =
                (0..self.equal.len()).min_by_key(|at| self.equal.get(*at).map(|denial| denial.last))
        {
            self.equal.swap_remove(oldest);
        }
        self.equal.push(CountedRefusal {
            refusal,
            times: 1,
            last: now,
        });
    }
}

/// Compares all but the advice: the agent has the same options for both refusals.
fn same(one: &Refusal, other: &Refusal) -> bool {
    let reason = |refusal: &Refusal| {
        let Refusal {
            code,
            message,
            object,
            by,
            ..
        } = refusal.clone();
        (code, message, object, by)
    };
    reason(one) == reason(other)
}

fn advice(times: u32) -> String {
    format!(
        "refused {times} times for the same reason: do not try again; tell the person you work for what you need \
         and why"
    )
}

fn pause(more: u32) -> Duration {
    FIRST
        .saturating_mul(2_u32.saturating_pow(more))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_of_any_kind_are_answered_late() {
        let start = Instant::now();
        let within = Duration::from_secs(300);
        let limit = SlowLimit {
            refusals: 3,
            within,
        };
        let account = Accounts::new(limit).of(1);
        let delay = |number: usize, code, seconds| {
            let refusal = Refusal::new(code, number.to_string());
            let at = start + Duration::from_secs(seconds);
            account.denials.borrow_mut().count(refusal, at).1
        };
        for number in 0..20 {
            assert_eq!(delay(number, Code::Locked, 0), Duration::ZERO);
        }
        let late: Vec<_> = (20..25)
            .map(|number| delay(number, Code::InvalidArgs, 0) == SLOW)
            .collect();
        assert_eq!(late, [false, false, false, true, true]);
        assert_eq!(delay(25, Code::DeniedRule, 299), SLOW);
        assert_eq!(
            delay(26, Code::DeniedRule, 301),
            Duration::ZERO,
            "it ends by itself"
        );
        let off = Accounts::default().of(1);
        for number in 0..50 {
            let refusal = Refusal::new(Code::NotFound, number.to_string());
            assert_eq!(
                off.denials.borrow_mut().count(refusal, start).1,
                Duration::ZERO
            );
        }
    }

    #[test]
    fn buffers_end_at_the_cap_and_come_back() {
        let account = Accounts::default().of(1);
        let all = account.buffer(caps::BUFFERS_PER_UID);
        assert!(all.is_some() && account.buffer(1).is_none());
        drop(all);
        assert!(account.buffer(caps::BUFFERS_PER_UID + 1).is_none());
        assert!(account.buffer(1).is_some());
    }

    #[test]
    fn uid_shares_account_large_requests_cost_more() {
        let accounts = Accounts::default();
        assert!(Rc::ptr_eq(&accounts.of(1), &accounts.of(1)));
        let account = accounts.of(2);
        let paid = (0..1000)
            .take_while(|_| account.pay(4 << 20).is_ok())
            .count();
        assert!((6..10).contains(&paid), "{paid}");
        assert!(accounts.of(1).pay(0).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_to_the_service_manager_have_a_rate() {
        let start = tokio::time::Instant::now();
        let account = Account::new(start.into_std(), SlowLimit::default());
        assert!(!account.is_used(start.into_std()));
        for _ in 0..QUESTION_BURST {
            assert!(account.manager_turn().await.is_some());
        }
        // The clock of this test goes on only while it sleeps.
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(
            account.is_used(start.into_std()),
            "a new one would have a full burst"
        );
        for _ in 0..2 * QUESTIONS {
            assert!(account.manager_turn().await.is_some());
        }
        let seconds = start.elapsed().as_secs();
        assert_eq!(seconds, 2);
        let other = Account::new(start.into_std(), SlowLimit::default());
        assert!(other.manager_turn().await.is_some());
        assert_eq!(start.elapsed().as_secs(), seconds);
    }

    fn denied(object: &str) -> Refusal {
        Refusal::new(Code::DeniedRule, "no rule allows it")
            .by("policy")
            .object(object)
            .next("ask")
    }

    fn delay_ms(denials: &mut RefusalCounter, object: &str, at: Instant) -> u128 {
        denials.count(denied(object), at).1.as_millis()
    }

    #[test]
    fn third_equal_refusal_advises_stop_with_growing_delay() {
        let (mut denials, now) = (RefusalCounter::default(), Instant::now());
        for expect in [0, 0, 500, 1000, 2000, 4000, 5000, 5000] {
            assert_eq!(delay_ms(&mut denials, "a", now), expect);
        }
        assert_eq!(
            denials.count(denied("b"), now),
            (denied("b"), Duration::ZERO),
            "another object is another reason"
        );
        let (repeated, _) = denials.count(denied("a"), now);
        assert_eq!(
            repeated.next.as_deref(),
            Some(
                "refused 9 times for the same reason: do not try again; tell the person you work for what you \
                 need and why"
            )
        );
        assert_eq!(
            (repeated.object, repeated.by),
            (denied("a").object, denied("a").by)
        );
    }

    #[test]
    fn whatever_policy_says_no_with_counts() {
        let (mut denials, now) = (RefusalCounter::default(), Instant::now());
        for code in [Code::NeedsApproval, Code::ApprovalDenied] {
            let refusal = Refusal::new(code, "no");
            let delay_ms = [(); 3].map(|()| denials.count(refusal.clone(), now).1.as_millis());
            assert_eq!(delay_ms, [0, 0, 500], "{code}");
        }
        for (name, expect) in [("a.a", 0), ("a.b", 0), ("a.c", 0), ("a.a", 0), ("a.a", 500)] {
            let (_, wait) = denials.count(Refusal::no_such_command(name), now);
            assert_eq!(wait.as_millis(), expect, "{name}");
        }
    }

    #[test]
    fn ten_minutes_without_it_are_enough() {
        let (mut denials, start) = (RefusalCounter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, expect) in [
            (0, 0),
            (1, 0),
            (600, 500),
            (1200, 0),
            (1201, 0),
            (1202, 500),
        ] {
            assert_eq!(
                delay_ms(&mut denials, "a", at(seconds)),
                expect,
                "{seconds}"
            );
        }
    }

    #[test]
    fn other_refusals_do_not_count() {
        let (mut denials, now) = (RefusalCounter::default(), Instant::now());
        let busy = Refusal::new(Code::Busy, "full");
        for _ in 0..9 {
            assert_eq!(
                denials.count(busy.clone(), now),
                (busy.clone(), Duration::ZERO)
            );
        }
        assert!(denials.equal.is_empty());
    }

    #[test]
    fn table_is_bounded_and_frequent_refusal_stays() {
        let (mut denials, start) = (RefusalCounter::default(), Instant::now());
        delay_ms(&mut denials, "often", start);
        for number in 0..1000_u64 {
            let at = start + Duration::from_millis(number);
            delay_ms(&mut denials, &number.to_string(), at);
            if number % 10 == 0 {
                delay_ms(&mut denials, "often", at);
            }
        }
        assert_eq!(denials.equal.len(), KEPT);
        assert_eq!(
            delay_ms(&mut denials, "often", start + Duration::from_secs(1)),
            5000
        );
        assert_eq!(
            delay_ms(&mut denials, "0", start + Duration::from_secs(1)),
            0
        );
    }
}
