//! Bounds what each user makes remit write and ask: audit records of refusals, a burst, then a rate, the rest is counted;
//! and all that their requests write to the audit log within an hour. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use remit_common::refusal::Code;
use remit_common::token_bucket::TokenBucket;

use crate::identity::peer::Subject;

/// The budget of one user in bytes, not in records: a refused request may be long.
#[derive(Debug)]
struct Flood {
    bucket: TokenBucket,
    left_out: Option<LeftOut>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Time of the first one, in milliseconds since 1970.
    pub since_ms: u64,
    pub user: Option<(u32, String)>,
    codes: BTreeMap<&'static str, u64>,
}

impl LeftOut {
    pub fn count(&self) -> u64 {
        let counts = self.codes.values();
        counts.fold(0, |all, count| all.saturating_add(*count))
    }

    pub fn codes(&self) -> Vec<(&'static str, u64)> {
        let mut codes: Vec<_> = self
            .codes
            .iter()
            .map(|(code, count)| (*code, *count))
            .collect();
        codes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        codes
    }
}

impl Flood {
    /// Bytes at once, and the time until the next: 4 KiB a second. 100,000 refusals take less than a megabyte.
    const BURST: u64 = 384 << 10;
    const REFILL: Duration = Duration::from_secs(96);

    const fn new(now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(Self::BURST, Self::REFILL, now),
            left_out: None,
        }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.bucket.is_full(now) && self.left_out.is_none()
    }
}

/// One budget for each user: none uses up that of another.
#[derive(Debug, Default)]
pub struct Floods(BTreeMap<Option<u32>, Flood>);

impl Floods {
    /// Users kept before idle ones are dropped. Further users share the budget of unknown users.
    const KEPT: usize = 1024;

    fn key(&mut self, subject: Option<&Subject>, now: Instant) -> Option<u32> {
        if self.0.len() >= Self::KEPT {
            self.0.retain(|_, flood| !flood.is_at_rest(now));
        }
        let capacity = self.0.len() < Self::KEPT;
        let uid = subject.map(Subject::uid);
        uid.filter(|uid| capacity || self.0.contains_key(&Some(*uid)))
    }

    /// Returns true if one more refusal of this user may be recorded. Otherwise counts it.
    pub fn has_capacity(
        &mut self,
        subject: Option<&Subject>,
        code: Code,
        now: Instant,
        unix_ms: u64,
    ) -> bool {
        let key = self.key(subject, now);
        let flood = self.0.entry(key).or_insert_with(|| Flood::new(now));
        let has_capacity = flood.bucket.check(1, now).is_ok();
        if !has_capacity {
            self.leave_out(subject, (code, 1), now, unix_ms);
        }
        has_capacity
    }

    /// Counts refusals that are not recorded one by one.
    pub fn leave_out(
        &mut self,
        subject: Option<&Subject>,
        (code, more): (Code, u32),
        now: Instant,
        unix_ms: u64,
    ) {
        let key = self.key(subject, now);
        let flood = self.0.entry(key).or_insert_with(|| Flood::new(now));
        let left_out = flood.left_out.get_or_insert_with(|| LeftOut {
            since_ms: unix_ms,
            user: None,
            codes: BTreeMap::new(),
        });
        // A user without an own budget is not the only one in the shared budget.
        left_out.user = key.and_then(|uid| Some((uid, subject?.user().to_owned())));
        let count = left_out.codes.entry(code.as_str()).or_default();
        *count = count.saturating_add(more.into());
    }

    pub fn take(&mut self, subject: Option<&Subject>, bytes: usize, now: Instant) {
        let key = self.key(subject, now);
        let flood = self.0.entry(key).or_insert_with(|| Flood::new(now));
        flood.bucket.charge(bytes as u64, now);
    }

    pub fn left_out(&self) -> Option<&LeftOut> {
        self.0.values().find_map(|flood| flood.left_out.as_ref())
    }

    pub fn forget_left_out(&mut self) {
        let found = self.0.values_mut().find(|flood| flood.left_out.is_some());
        if let Some(flood) = found {
            flood.left_out = None;
        }
    }
}

/// Limits each user to a number of turns within a time.
#[derive(Debug)]
pub struct RateWindow {
    most: usize,
    within: Duration,
    turns: BTreeMap<u32, VecDeque<Instant>>,
}

impl RateWindow {
    pub const fn new(most: usize, within: Duration) -> Self {
        Self {
            most,
            within,
            turns: BTreeMap::new(),
        }
    }

    /// Takes one turn of the user. Returns false if none is left for now.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        self.forget_old(now);
        let times = self.turns.entry(uid).or_default();
        let is_allowed = times.len() < self.most;
        if is_allowed {
            times.push_back(now);
        }
        is_allowed
    }

    /// Takes turns in any case. If too few are left, the oldest ones are forgotten.
    pub fn note(&mut self, uid: u32, count: u32, now: Instant) {
        self.forget_old(now);
        let new = usize::try_from(count).unwrap_or(usize::MAX).min(self.most);
        let times = self.turns.entry(uid).or_default();
        let surplus = (times.len() + new).saturating_sub(self.most);
        times.drain(..surplus);
        times.extend(std::iter::repeat_n(now, new));
    }

    fn forget_old(&mut self, now: Instant) {
        let within = self.within;
        self.turns.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < within);
            !times.is_empty()
        });
    }

    pub fn count(&self, uid: u32, now: Instant) -> usize {
        let times = self.turns.get(&uid).into_iter().flatten();
        let is_recent = |time: &&Instant| now.saturating_duration_since(**time) < self.within;
        times.filter(is_recent).count()
    }

    pub fn forget(&mut self, uid: u32) {
        self.turns.remove(&uid);
    }
}

#[derive(Debug)]
pub struct Budget {
    /// Bytes per hour, and at once after an hour without records.
    hour: u64,
    spent: BTreeMap<u32, TokenBucket>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Budget {
    /// Above this number of users, those without a charge are removed.
    const KEPT: usize = 1024;

    pub const fn new(hour: u64) -> Self {
        let spent = BTreeMap::new();
        Self { hour, spent }
    }

    pub const fn hour(&self) -> u64 {
        self.hour
    }

    /// Returns an error with the time until this user may write again.
    pub fn ask(&self, uid: u32, now: Instant) -> Result<(), Duration> {
        match self.spent.get(&uid) {
            // Root could write the file itself.
            Some(bucket) if uid != 0 => bucket.check(1, now),
            Some(_) | None => Ok(()),
        }
    }

    pub fn take(&mut self, uid: u32, bytes: usize, now: Instant) {
        if self.spent.len() >= Self::KEPT {
            self.spent.retain(|_, bucket| !bucket.is_full(now));
        }
        let full = TokenBucket::new(self.hour, HOUR, now);
        let bucket = self.spent.entry(uid).or_insert(full);
        bucket.charge(bytes as u64, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: usize = 1500;

    fn user(uid: u32) -> Subject {
        Subject::fake(uid, &format!("user{uid}"), None)
    }

    fn refuse(floods: &mut Floods, subject: Option<&Subject>, code: Code, now: Instant) -> bool {
        let capacity = floods.has_capacity(subject, code, now, 7);
        if capacity {
            floods.take(subject, RECORD, now);
        }
        capacity
    }

    #[test]
    fn refusals_are_counted_by_code_and_reported_once() {
        let (mut floods, alice, now) = (Floods::default(), user(1), Instant::now());
        let mut passed = 0;
        for at in 0..1000 {
            let code = if at % 10 == 0 {
                Code::Busy
            } else {
                Code::DeniedRule
            };
            passed += u64::from(refuse(&mut floods, Some(&alice), code, now));
        }
        assert!((250..300).contains(&passed), "{passed}");
        let left_out = floods.left_out().unwrap().clone();
        assert_eq!(left_out.user, Some((1, "user1".to_owned())));
        assert_eq!((left_out.count(), left_out.since_ms), (1000 - passed, 7));
        let [("denied_rule", denied), ("busy", busy)] = left_out.codes()[..] else {
            panic!("{left_out:?}")
        };
        assert!(denied + busy == 1000 - passed && busy < denied);
        floods.leave_out(Some(&alice), (Code::Busy, u32::MAX), now, 8);
        let more = floods.left_out().unwrap();
        let all = 1000 - passed + u64::from(u32::MAX);
        assert_eq!((more.count(), more.since_ms), (all, 7));
        floods.forget_left_out();
        assert_eq!(floods.left_out(), None);
    }

    #[test]
    fn capacity_refills_slowly_up_to_burst() {
        let (mut floods, alice, now) = (Floods::default(), user(1), Instant::now());
        let burst = |floods: &mut Floods, now| {
            (0..1000)
                .filter(|_| refuse(floods, Some(&alice), Code::Busy, now))
                .count()
        };
        let first = burst(&mut floods, now);
        assert_eq!(burst(&mut floods, now), 0);
        let later = |seconds| now + Duration::from_secs(seconds);
        let few = burst(&mut floods, later(10));
        assert!((20..40).contains(&few), "{few}");
        assert!(burst(&mut floods, later(9)) == 0, "time does not go back");
        assert!(burst(&mut floods, later(1_000_000)) <= first);
    }

    #[test]
    fn a_long_record_takes_more() {
        let (mut floods, now) = (Floods::default(), Instant::now());
        floods.take(None, 10 << 20, now);
        assert!(!floods.has_capacity(None, Code::Busy, now, 0));
        assert!(!floods.has_capacity(None, Code::Busy, now + Duration::from_secs(600), 0));
        assert_eq!(floods.left_out().unwrap().user, None);
    }

    #[test]
    fn flood_of_one_user_limits_no_other() {
        let (mut floods, now) = (Floods::default(), Instant::now());
        let drain = |floods: &mut Floods, subject: &Subject| {
            while refuse(floods, Some(subject), Code::Busy, now) {}
        };
        drain(&mut floods, &user(1));
        assert!(refuse(&mut floods, Some(&user(2)), Code::Busy, now));
        assert!(refuse(&mut floods, None, Code::Busy, now));
        for uid in 3..3000 {
            drain(&mut floods, &user(uid));
            assert!(floods.0.len() <= Floods::KEPT + 1);
        }
        assert!(floods.0.contains_key(&Some(1)), "it is not forgotten");
        // A shared budget is not reported as that of one user.
        assert_eq!(floods.0[&None].left_out.as_ref().unwrap().user, None);
        let mut reported = 0;
        while floods.left_out().is_some() {
            floods.forget_left_out();
            reported += 1;
        }
        assert_eq!(reported, floods.0.len() - 1, "all but user 2");
    }

    #[test]
    fn rate_is_counted_per_user() {
        let within = Duration::from_secs(600);
        let (mut window, now) = (RateWindow::new(16, within), Instant::now());
        let passed = (0..100).filter(|_| window.take(1, now)).count();
        assert_eq!(passed, 16);
        assert!(window.take(2, now) && !window.take(1, now));
        assert!(!window.take(1, now + within / 2));
        assert!(window.take(1, now + within) && window.turns.len() == 1);
    }

    #[test]
    fn turns_beyond_the_limit_replace_the_oldest() {
        let within = Duration::from_secs(600);
        let (mut window, now) = (RateWindow::new(16, within), Instant::now());
        for (count, seconds, expect) in [(3, 0, 3), (10, 300, 13), (7, 400, 16), (0, 601, 16)] {
            let at = now + Duration::from_secs(seconds);
            window.note(1, count, at);
            assert_eq!(window.count(1, at), expect, "{seconds}");
        }
        window.note(1, u32::MAX, now + within);
        assert_eq!(window.turns[&1].len(), 16);
        let mut off = RateWindow::new(0, within);
        off.note(1, 9, now);
        assert_eq!(off.count(1, now), 0);
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn s09_hourly_budget_refills() {
        let (mut budget, start) = (Budget::new(MIB), Instant::now());
        let mut written = 0;
        while budget.ask(7, start).is_ok() {
            budget.take(7, 10_000, start);
            written += 10_000;
        }
        assert!((MIB..MIB + 10_000).contains(&written), "{written}");
        let wait = budget.ask(7, start).unwrap_err();
        assert!(wait <= Duration::from_secs(36), "{wait:?}");
        assert!(budget.ask(7, start + wait).is_ok());
        assert!(budget.ask(7, start + wait / 2).is_err());
        // A day's total is 24 hours and the initial burst.
        let mut day = 0;
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            while budget.ask(8, now).is_ok() {
                budget.take(8, 5_000, now);
                day += 5_000;
            }
        }
        assert!(day <= 25 * MIB + 5_000, "{day}");
        assert!(day >= 24 * MIB, "{day}");
    }

    #[test]
    fn s09_budget_is_per_user_root_is_exempt() {
        let (mut budget, now) = (Budget::new(MIB), Instant::now());
        for uid in 0..5000 {
            budget.take(uid, 2 << 20, now);
        }
        assert!(budget.ask(0, now).is_ok());
        assert!(budget.ask(4999, now).is_err());
        assert!(budget.ask(5000, now).is_ok());
        let later = now + 3 * HOUR;
        budget.take(1, 1, later);
        assert!(
            budget.spent.len() < Budget::KEPT,
            "who has all is forgotten"
        );
        assert!(budget.ask(4999, later).is_ok());
    }
}
