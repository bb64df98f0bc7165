//! A bound on records of refusals, for each user: a burst, then a little each second, the rest counted. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remit_common::refusal::Code;

use crate::peer::Subject;

/// Room of one user. In bytes, not in records: a refused request may be long.
#[derive(Debug)]
struct Flood {
    /// Below zero by what the last record took more than there was.
    room: i64,
    filled: Instant,
    left_out: Option<LeftOut>,
}

/// Refusals that were not recorded one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// When the first of them was, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whose they are, where that is known.
    pub user: Option<(u32, String)>,
    codes: BTreeMap<&'static str, u64>,
}

impl LeftOut {
    /// How many there are.
    pub fn count(&self) -> u64 {
        let counts = self.codes.values();
        counts.fold(0, |all, count| all.saturating_add(*count))
    }

    /// How many with each code, the commonest first.
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
    /// Bytes of records at once, and then each second. 100,000 refusals within two minutes are less than a megabyte.
    const BURST: i64 = 384 << 10;
    const EACH_SECOND: i64 = 4 << 10;

    fn new(now: Instant) -> Self {
        Self {
            room: Self::BURST,
            filled: now,
            left_out: None,
        }
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        if let Some(filled) = self.filled.checked_add(Duration::from_secs(seconds)) {
            self.filled = filled;
        }
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let more = seconds.saturating_mul(Self::EACH_SECOND);
        self.room = self.room.saturating_add(more).min(Self::BURST);
    }

    /// Whether a new one would be the same.
    fn is_at_rest(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.room == Self::BURST && self.left_out.is_none()
    }
}

/// A bound for each user: none uses up the room of another.
#[derive(Debug, Default)]
pub struct Floods(BTreeMap<Option<u32>, Flood>);

impl Floods {
    /// Users kept before those at rest are dropped; those beyond share the room of the unknown.
    const KEPT: usize = 1024;

    fn key(&mut self, who: Option<&Subject>, now: Instant) -> Option<u32> {
        if self.0.len() >= Self::KEPT {
            self.0.retain(|_, flood| !flood.is_at_rest(now));
        }
        let room = self.0.len() < Self::KEPT;
        let uid = who.map(Subject::uid);
        uid.filter(|uid| room || self.0.contains_key(&Some(*uid)))
    }

    /// Whether one more refusal of this user may be recorded by itself. If not, it is counted.
    pub fn has_room(
        &mut self,
        who: Option<&Subject>,
        code: Code,
        now: Instant,
        unix_ms: u64,
    ) -> bool {
        let key = self.key(who, now);
        let flood = self.0.entry(key).or_insert_with(|| Flood::new(now));
        flood.fill(now);
        if flood.room > 0 {
            return true;
        }
        let left_out = flood.left_out.get_or_insert_with(|| LeftOut {
            since_ms: unix_ms,
            user: None,
            codes: BTreeMap::new(),
        });
        // Who has no room of their own is not the only one in the room they share.
        left_out.user = key.and_then(|uid| Some((uid, who?.user().to_owned())));
        let count = left_out.codes.entry(code.as_str()).or_default();
        *count = count.saturating_add(1);
        false
    }

    /// A record of this user's takes so many bytes.
    pub fn take(&mut self, who: Option<&Subject>, bytes: usize, now: Instant) {
        let key = self.key(who, now);
        let flood = self.0.entry(key).or_insert_with(|| Flood::new(now));
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        flood.room = flood.room.saturating_sub(bytes);
    }

    /// What one user's records leave out, if anybody's do.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.0.values().find_map(|flood| flood.left_out.as_ref())
    }

    /// That has been told.
    pub fn told(&mut self) {
        let found = self.0.values_mut().find(|flood| flood.left_out.is_some());
        if let Some(flood) = found {
            flood.left_out = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: usize = 1500;

    fn user(uid: u32) -> Subject {
        Subject::fake(uid, &format!("user{uid}"), None)
    }

    /// Asks for room, and takes it.
    fn refuse(floods: &mut Floods, who: Option<&Subject>, code: Code, now: Instant) -> bool {
        let room = floods.has_room(who, code, now, 7);
        if room {
            floods.take(who, RECORD, now);
        }
        room
    }

    #[test]
    fn a_flood_is_counted_by_its_codes_and_told_once() {
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
        floods.told();
        assert_eq!(floods.left_out(), None);
    }

    #[test]
    fn room_comes_back_a_little_each_second_and_never_more_than_a_burst() {
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
        assert!(!floods.has_room(None, Code::Busy, now, 0));
        assert!(!floods.has_room(None, Code::Busy, now + Duration::from_secs(600), 0));
        assert_eq!(floods.left_out().unwrap().user, None);
    }

    #[test]
    fn one_users_flood_is_nobody_elses() {
        let (mut floods, now) = (Floods::default(), Instant::now());
        let drain = |floods: &mut Floods, who: &Subject| {
            while refuse(floods, Some(who), Code::Busy, now) {}
        };
        drain(&mut floods, &user(1));
        assert!(refuse(&mut floods, Some(&user(2)), Code::Busy, now));
        assert!(refuse(&mut floods, None, Code::Busy, now));
        for uid in 3..3000 {
            drain(&mut floods, &user(uid));
            assert!(floods.0.len() <= Floods::KEPT + 1);
        }
        assert!(floods.0.contains_key(&Some(1)), "it is not forgotten");
        // Those that share a room are not told as one of them.
        assert_eq!(floods.0[&None].left_out.as_ref().unwrap().user, None);
        let mut told = 0;
        while floods.left_out().is_some() {
            floods.told();
            told += 1;
        }
        assert_eq!(told, floods.0.len() - 1, "all but user 2");
    }
}
