//! What one job has used: its connections, calls and refusals. It is known by its uid.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use remit_common::bus::{REFUSED, shown};
use remit_common::token_bucket::TokenBucket;

use crate::message::Call;
use crate::table;

/// Connections of one job; of all that have one already; of all. The rest is for first ones, so no job keeps others off.
const OF_JOB: usize = 8;
const FURTHER: usize = 64;
const ALL: usize = 128;
/// Connections that one job opens, per second, after a burst: each one makes the bus tell others of a new name.
const OPENS: u32 = 40;
const OPENS_BURST: u32 = 400;
/// Calls of one job, per second, after a burst. `systemd-analyze blame` makes one for each unit of the host. A list counts
/// as [`table::LIST`], a search as [`table::SEARCH`].
pub const CALLS: u32 = 200;
const BURST: u32 = 1000;
/// Jobs that are remembered until the warden reports their end.
const JOBS: usize = 4096;

#[derive(Debug)]
pub struct Job {
    bucket: TokenBucket,
    opens: TokenBucket,
    pub calls: u64,
    pub refused: u64,
    /// The first refused calls, each once.
    pub first: Vec<String>,
}

impl Job {
    fn new(now: Instant) -> Self {
        Self {
            bucket: TokenBucket::per_second(CALLS, BURST, now),
            opens: TokenBucket::per_second(OPENS, OPENS_BURST, now),
            calls: 0,
            refused: 0,
            first: Vec::new(),
        }
    }

    /// Counts a connection, which may fail yet.
    pub fn opens(&mut self, now: Instant) {
        self.opens.charge(1, now);
    }

    pub fn count(&mut self, call: &Call<'_>, now: Instant) -> bool {
        self.calls = self.calls.saturating_add(1);
        let is_within = self.bucket.take(table::weight(call).into(), now).is_ok();
        if !is_within {
            self.refused = self.refused.saturating_add(1);
        }
        is_within
    }

    pub fn refuse(&mut self, name: &str) {
        self.refused = self.refused.saturating_add(1);
        let name = shown(name);
        if self.first.len() < REFUSED && !self.first.contains(&name) {
            self.first.push(name);
        }
    }
}

/// Connections by uid. One counts until its last end is closed, which a job can delay.
#[derive(Debug, Default)]
pub struct OpenConnections(Vec<(u32, Weak<()>)>);

impl OpenConnections {
    /// Counts one as long as the answer lives. `None` if the job or all have too many.
    pub fn add(&mut self, uid: u32) -> Option<Arc<()>> {
        self.0.retain(|(_, one)| one.strong_count() > 0);
        let of_job = self.0.iter().filter(|(of, _)| *of == uid).count();
        let most = match of_job {
            0 => ALL,
            _ => FURTHER,
        };
        if of_job >= OF_JOB || self.0.len() >= most {
            return None;
        }
        let counted = Arc::new(());
        self.0.push((uid, Arc::downgrade(&counted)));
        Some(counted)
    }

    /// The uid may be another job's.
    pub fn forget(&mut self, uid: u32) {
        self.0.retain(|(of, _)| *of != uid);
    }
}

#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<u32, Job>,
    connections: OpenConnections,
}

impl Jobs {
    /// Counts a connection as [`OpenConnections::add`].
    pub fn admit(&mut self, uid: u32, now: Instant) -> Option<Arc<()>> {
        let is_within = match self.jobs.get(&uid) {
            Some(job) => job.opens.check(1, now).is_ok(),
            None => self.jobs.len() < JOBS,
        };
        is_within.then(|| self.connections.add(uid)).flatten()
    }

    #[must_use]
    pub fn is_new(&self, uid: u32) -> bool {
        !self.jobs.contains_key(&uid)
    }

    pub fn get(&mut self, uid: u32, now: Instant) -> &mut Job {
        self.jobs.entry(uid).or_insert_with(|| Job::new(now))
    }

    pub fn forget(&mut self, uid: u32) -> Option<Job> {
        self.connections.forget(uid);
        self.jobs.remove(&uid)
    }
}

/// What jobs ask about accounts: as often as they call the bus. Not in [`Jobs`]: each job there is one that the warden records.
#[derive(Debug, Default)]
pub struct QuestionRates(BTreeMap<u32, TokenBucket>);

impl QuestionRates {
    /// Counts a connection or a question. Returns false if it is one too many.
    pub fn count(&mut self, uid: u32, now: Instant) -> bool {
        // What is full says nothing, and the uid may be another job's by now.
        self.0.retain(|_, bucket| !bucket.is_full(now));
        let new = || TokenBucket::per_second(CALLS, BURST, now);
        self.0.entry(uid).or_insert_with(new).take(1, now).is_ok()
    }

    pub fn forget(&mut self, uid: u32) {
        self.0.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn connections_have_limits_of_a_job_and_of_all() {
        let mut connections = OpenConnections::default();
        let mut held = BTreeMap::new();
        for uid in 0..8 {
            let own: Vec<_> = (0..OF_JOB).map(|_| connections.add(uid).unwrap()).collect();
            assert!(connections.add(uid).is_none());
            held.insert(uid, own);
        }
        // One that another thread closes counts until it has done so.
        let closing = held.get_mut(&3).unwrap().pop().unwrap();
        let last = Arc::clone(&closing);
        drop(closing);
        assert!(connections.add(3).is_none());
        drop(last);
        assert!(connections.add(4).is_none() && connections.add(3).is_some());
        let own = connections.add(3).unwrap();
        held.get_mut(&3).unwrap().push(own);
        // Each of 64 other jobs gets one, and only one.
        for uid in 100..164 {
            held.insert(uid, vec![connections.add(uid).unwrap()]);
            assert!(connections.add(uid).is_none(), "{uid}");
        }
        assert!(connections.add(99).is_none(), "all are in use");
        held.remove(&100);
        let first = connections.add(99);
        assert!(first.is_some() && connections.add(100).is_none());
        // The next job of this uid does not have those of the last one.
        connections.forget(4);
        assert!(connections.add(4).is_some());
    }

    #[test]
    fn uids_are_remembered_up_to_a_limit() {
        let (mut jobs, now) = (Jobs::default(), Instant::now());
        for uid in 0..u32::try_from(JOBS).unwrap() {
            jobs.get(uid, now);
        }
        assert!(jobs.admit(0, now).is_some() && jobs.admit(u32::MAX, now).is_none());
        for _ in 0..OPENS_BURST {
            assert!(jobs.admit(0, now).is_some());
            jobs.get(0, now).opens(now);
        }
        let later = now + Duration::from_secs(1);
        assert!(jobs.admit(0, now).is_none() && jobs.admit(0, later).is_some());
        assert!(!jobs.is_new(0) && jobs.forget(0).is_some() && jobs.is_new(0));
    }

    #[test]
    fn questions_have_a_rate_and_are_forgotten_when_it_is_full() {
        let (mut rates, now) = (QuestionRates::default(), Instant::now());
        assert!((0..BURST).all(|_| rates.count(1, now)));
        assert!(!rates.count(1, now) && rates.count(2, now));
        let later = now + Duration::from_secs(1);
        assert!((0..CALLS).all(|_| rates.count(1, later)) && !rates.count(1, later));
        assert_eq!(rates.0.len(), 1, "that of 2 was full");
        rates.forget(1);
        assert!(rates.count(1, later));
    }

    fn call(member: &str) -> Call<'_> {
        Call {
            serial: 1,
            wants_reply: true,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            destination: "org.freedesktop.systemd1",
            signature: "",
            body: b"",
        }
    }

    #[test]
    fn lists_and_searches_are_fewer_than_other_calls() {
        let (now, get) = (Instant::now(), call("GetUnit"));
        let later = now + Duration::from_secs(1);
        for (member, weight) in [
            ("ListUnitFiles", table::LIST),
            ("GetUnitProcesses", table::SEARCH),
            ("GetProcesses", table::SEARCH),
            ("GetUnitFileState", table::SEARCH),
        ] {
            let mut job = Job::new(now);
            let one = call(member);
            assert!(
                (0..BURST / weight).all(|_| job.count(&one, now)),
                "{member}"
            );
            assert!(!job.count(&one, now) && !job.count(&get, now), "{member}");
            assert!(
                (0..CALLS / weight).all(|_| job.count(&one, later)),
                "{member}"
            );
            assert!(!job.count(&one, later), "{member}");
            assert_eq!(job.refused, 3, "{member}");
        }
    }

    #[test]
    fn calls_have_a_rate_and_refusals_a_list() {
        let now = Instant::now();
        let mut job = Job::new(now);
        let get = call("Get");
        assert!((0..BURST).all(|_| job.count(&get, now)));
        assert!(!job.count(&get, now) && job.count(&get, now + Duration::from_secs(1)));
        assert_eq!((job.calls, job.refused), (u64::from(BURST) + 2, 1));
        for name in ["a.B", "a.B", "a.C", "a D", "a.E", "a.F"] {
            job.refuse(name);
        }
        assert_eq!(job.refused, 7);
        assert_eq!(job.first, ["a.B", "a.C", "?", "a.E"]);
    }
}
