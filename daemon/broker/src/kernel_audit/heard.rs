//! Whose each refusal was: a bounded account for each job's uid.
//!
//! Nothing here grows with what jobs do: what was refused once may be refused a million times.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::time::Instant;

use remit_common::caps;

use super::record::{Record, Refused};
use crate::explain::Seen;

/// Jobs of which something is kept: more than run at once. The oldest goes.
const JOBS: usize = 256;
/// Landlock domains whose maker is remembered. A job has one.
const DOMAINS: usize = 512;
/// Refusals that wait for a record that says whose they are: it is the next but one.
const UNCLAIMED: usize = 64;

/// What was heard of one uid.
#[derive(Debug, Default)]
struct Account {
    seen: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    refused: Refused,
    last: Instant,
}

impl Account {
    fn add(&mut self, refused: Refused, now: Instant) {
        let known = self.seen.iter_mut().find(|known| known.refused == refused);
        if let Some(known) = known {
            known.last = now;
        } else if self.seen.len() < caps::DENIALS {
            // The first ones: what made a program give up comes early.
            self.seen.push(Told { refused, last: now });
        }
    }
}

/// A map that forgets what it got first.
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

/// All that was heard.
#[derive(Debug)]
pub struct Heard {
    /// Uids that jobs alone have. Of others nothing is kept: a uid that is also somebody else's does not
    /// say whose a refusal was.
    uids: Range<u32>,
    accounts: Bounded<u32, Account>,
    domains: Bounded<u64, u32>,
    unclaimed: VecDeque<(u64, u64, Refused)>,
}

impl Heard {
    /// Nothing yet, of jobs with these uids.
    pub fn new(uids: Range<u32>) -> Self {
        Self {
            uids,
            accounts: Bounded::new(JOBS),
            domains: Bounded::new(DOMAINS),
            unclaimed: VecDeque::new(),
        }
    }

    /// Puts a record where it belongs.
    pub fn take(&mut self, record: Record, now: Instant) {
        match record {
            Record::Seccomp { uid, refused } => self.add(uid, refused, now),
            Record::Access {
                serial,
                domain,
                refused,
            } => match self.domains.map.get(&domain).copied() {
                Some(uid) => self.add(uid, refused, now),
                None => {
                    if self.unclaimed.len() >= UNCLAIMED {
                        self.unclaimed.pop_front();
                    }
                    self.unclaimed.push_back((serial, domain, refused));
                }
            },
            // A domain of somebody else's is worth remembering too: what it refuses is then dropped at once.
            Record::Domain { domain, uid } => {
                *self.domains.get_or(domain, || uid) = uid;
                self.claim(uid, now, |(_, of, _)| *of == domain);
            }
            Record::DomainGone { domain } => drop(self.domains.remove(domain)),
            Record::Call { serial, uid } => self.claim(uid, now, |(of, _, _)| *of == serial),
        }
    }

    fn claim(&mut self, uid: u32, now: Instant, is: impl Fn(&(u64, u64, Refused)) -> bool) {
        if !self.unclaimed.iter().any(&is) {
            return;
        }
        let (claimed, rest) = std::mem::take(&mut self.unclaimed)
            .into_iter()
            .partition(is);
        self.unclaimed = rest;
        let claimed: VecDeque<_> = claimed;
        for (_, _, refused) in claimed {
            self.add(uid, refused, now);
        }
    }

    fn add(&mut self, uid: u32, refused: Refused, now: Instant) {
        if self.uids.contains(&uid) {
            self.accounts
                .get_or(uid, Account::default)
                .add(refused, now);
        }
    }

    /// What was heard of a uid since then; it is forgotten with all that is older, which was another
    /// job's, or the daemon's own trial of its walls.
    pub fn remove(&mut self, uid: u32, since: Instant) -> Vec<Seen> {
        let account = self.accounts.remove(uid).unwrap_or_default();
        let all = account.seen.into_iter();
        let new = all.filter(|known| known.last >= since);
        let seen = new.map(|Told { refused, .. }| Seen {
            layer: refused.layer,
            operation: refused.operation.to_owned(),
            object: refused.object,
        });
        seen.collect()
    }
}
