//! Assigns refusals to jobs: a bounded account for each job uid, because one refusal can repeat a million times.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::time::Instant;

use remit_common::caps;

use super::record::{KernelRefusal, Record};
use crate::hints::Seen;

/// Maximum number of accounts, more than jobs can run. The oldest is dropped.
const JOBS: usize = 256;
/// Maximum number of refusals without a known uid. The record with the uid normally comes two records later.
const UNCLAIMED: usize = 64;

#[derive(Debug, Default)]
struct UidRefusals {
    seen: Vec<SeenRefusal>,
}

#[derive(Debug)]
struct SeenRefusal {
    refused: KernelRefusal,
    last: Instant,
}

impl UidRefusals {
    fn add(&mut self, refused: KernelRefusal, now: Instant) {
        let known = self.seen.iter_mut().find(|known| known.refused == refused);
        if let Some(known) = known {
            known.last = now;
        } else if self.seen.len() < caps::DENIALS {
            // Keep the first ones: the cause of a failure comes early.
            self.seen.push(SeenRefusal { refused, last: now });
        }
    }
}

#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self {
            map: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    fn get_or(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(&key) {
            if self.map.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.map.entry(key).or_insert_with(new)
    }

    fn remove(&mut self, key: K) -> Option<V> {
        let value = self.map.remove(&key)?;
        self.order.retain(|other| *other != key);
        Some(value)
    }
}

#[derive(Debug)]
pub struct RefusalTable {
    /// Uids used only by jobs. Other uids are ignored, because a shared uid does not identify a job.
    uids: Range<u32>,
    accounts: Bounded<u32, UidRefusals>,
    /// Each with the serial of its event.
    unclaimed: VecDeque<(u64, KernelRefusal)>,
}

impl RefusalTable {
    pub fn new(uids: Range<u32>) -> Self {
        Self {
            uids,
            accounts: Bounded::new(JOBS),
            unclaimed: VecDeque::new(),
        }
    }

    pub fn take(&mut self, record: Record, now: Instant) {
        match record {
            Record::Seccomp { uid, refused } => self.add(uid, refused, now),
            Record::Access { serial, refused } => {
                if self.unclaimed.len() >= UNCLAIMED {
                    self.unclaimed.pop_front();
                }
                self.unclaimed.push_back((serial, refused));
            }
            Record::Call { serial, uid } => self.claim(uid, serial, now),
        }
    }

    fn claim(&mut self, uid: u32, serial: u64, now: Instant) {
        // A rename has one for each directory.
        while let Some(at) = self.unclaimed.iter().position(|(of, _)| *of == serial)
            && let Some((_, refused)) = self.unclaimed.remove(at)
        {
            self.add(uid, refused, now);
        }
    }

    fn add(&mut self, uid: u32, refused: KernelRefusal, now: Instant) {
        if self.uids.contains(&uid) {
            self.accounts
                .get_or(uid, UidRefusals::default)
                .add(refused, now);
        }
    }

    /// Removes the account of a uid and returns its refusals since `since`: older ones are not this job's.
    pub fn remove(&mut self, uid: u32, since: Instant) -> Vec<Seen> {
        let account = self.accounts.remove(uid).unwrap_or_default();
        let all = account.seen.into_iter();
        let new = all.filter(|known| known.last >= since);
        let seen = new.map(|SeenRefusal { refused, .. }| Seen {
            layer: refused.layer,
            operation: refused.operation.to_owned(),
            object: refused.object,
        });
        seen.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::denial::Layer;
    use std::time::Duration;

    const UIDS: Range<u32> = 1000..2000;

    fn refused(number: u64) -> KernelRefusal {
        KernelRefusal {
            layer: Layer::Landlock,
            operation: "write",
            object: Some(format!("/{number}")),
        }
    }

    fn seccomp(uid: u32, number: u64) -> Record {
        let refused = refused(number);
        Record::Seccomp { uid, refused }
    }

    fn access(serial: u64, number: u64) -> Record {
        Record::Access {
            serial,
            refused: refused(number),
        }
    }

    fn objects(heard: &mut RefusalTable, uid: u32, since: Instant) -> Vec<String> {
        let seen = heard.remove(uid, since).into_iter();
        seen.filter_map(|seen| seen.object).collect()
    }

    #[test]
    fn refusal_belongs_to_the_caller_of_its_event() {
        let (mut heard, now) = (RefusalTable::new(UIDS), Instant::now());
        let call = |serial, uid| Record::Call { serial, uid };
        for record in [
            access(1, 7),
            access(2, 8),
            call(3, 1001),
            call(1, 1001),
            call(2, 1002),
            // No record names the uid of this one.
            access(4, 9),
            access(5, 10),
            access(5, 11),
            call(5, 1001),
        ] {
            heard.take(record, now);
        }
        assert_eq!(objects(&mut heard, 1001, now), ["/7", "/10", "/11"]);
        assert_eq!(objects(&mut heard, 1002, now), ["/8"]);
        assert!(objects(&mut heard, 1001, now).is_empty(), "forgotten");
    }

    #[test]
    fn what_others_are_refused_is_not_kept() {
        let (mut heard, now) = (RefusalTable::new(UIDS), Instant::now());
        for uid in [0, 999, 2000, u32::MAX] {
            heard.take(seccomp(uid, 1), now);
            assert!(heard.remove(uid, now).is_empty());
        }
        heard.take(access(1, 7), now);
        heard.take(Record::Call { serial: 1, uid: 0 }, now);
        assert!(heard.accounts.map.is_empty() && heard.unclaimed.is_empty());
    }

    #[test]
    fn what_was_before_the_job_is_not_its() {
        let (mut heard, start) = (RefusalTable::new(UIDS), Instant::now());
        let later = start + Duration::from_secs(9);
        heard.take(seccomp(1001, 1), start);
        heard.take(seccomp(1001, 2), later);
        assert_eq!(objects(&mut heard, 1001, later), ["/2"]);
    }

    #[test]
    fn flood_keeps_first_refusals_in_bounded_memory() {
        let (mut heard, now) = (RefusalTable::new(UIDS), Instant::now());
        for number in 0..100_000 {
            heard.take(seccomp(1001, number % 1000), now);
            heard.take(seccomp(1002, 5), now);
            heard.take(access(number, number), now);
            let uid = 1100 + u32::try_from(number % 900).unwrap();
            heard.take(seccomp(uid, 1), now);
        }
        assert!(heard.unclaimed.len() <= UNCLAIMED);
        assert_eq!(heard.accounts.map.len(), JOBS);
        assert_eq!(heard.accounts.order.len(), JOBS);
        heard.remove(1001, now);
        for number in 0..1000 {
            heard.take(seccomp(1001, number), now);
            heard.take(seccomp(1002, 5), now);
        }
        let first: Vec<_> = (0..caps::DENIALS).map(|n| format!("/{n}")).collect();
        assert_eq!(objects(&mut heard, 1001, now), first);
        assert_eq!(objects(&mut heard, 1002, now), ["/5"]);
    }
}
