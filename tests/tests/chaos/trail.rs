//! What the trail must say after any number of deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::chaos::task::request_of;

/// Jobs by their records.
#[derive(Debug, Default)]
pub struct Trail {
    /// Waited for a place, each with the request that stands in its command.
    queued: BTreeMap<String, String>,
    /// Were started, the same.
    intents: BTreeMap<String, String>,
    /// Have an end, each with whether the warden died before it wrote anything more.
    ends: BTreeMap<String, Last>,
    /// Had none when a warden started, each with how often this was found.
    interrupted: BTreeMap<String, u32>,
    /// Owner and job of each end, in their order; also of jobs without a request of ours.
    order: Vec<(String, String)>,
}

/// Whether something was the last record of a warden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

/// What a warden that is killed between two files cannot help: it writes the trail and its ledger, and neither
/// with the other.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Noted, never recorded, so never run: interrupted without an intent.
    pub unrecorded: u32,
    /// The end was the last record of a warden that died before it noted that: interrupted too.
    pub ended_too: u32,
    /// The same of a warden that died as it started: interrupted again.
    pub interrupted_twice: u32,
}

impl Trail {
    /// Sorts the records of jobs that have a request of ours.
    ///
    /// # Errors
    /// A job was queued, begun or ended twice.
    pub fn read(records: &[Value]) -> Result<Self, String> {
        let mut trail = Self::default();
        for (at, record) in records.iter().enumerate() {
            let job = record["REMIT_JOB"].as_str().unwrap_or_default().to_owned();
            let event = event(record);
            if matches!(event, "end" | "interrupted") {
                let owner = record["REMIT_UID"].as_str().unwrap_or_default();
                trail.order.push((owner.to_owned(), job.clone()));
            }
            let command = record["REMIT_ARGV"].as_str().unwrap_or_default();
            let Some(request) = request_of(command).map(str::to_owned) else {
                continue;
            };
            let first = match event {
                "queued" => trail.queued.insert(job, request).is_none(),
                "intent" => trail.intents.insert(job, request).is_none(),
                "end" => {
                    let last = match records.get(at + 1).map(self::event) {
                        Some("start" | "interrupted") => Last::Yes,
                        _ => Last::No,
                    };
                    trail.ends.insert(job, last).is_none()
                }
                "interrupted" => {
                    *trail.interrupted.entry(job).or_insert(0) += 1;
                    true
                }
                _ => true,
            };
            if !first {
                return Err(format!("the same again: {record}"));
            }
        }
        Ok(trail)
    }

    /// Holds the trail against what must be: each request is one job at most, each job that was queued or begun
    /// has one end, and nothing else has one. But for gaps.
    ///
    /// # Errors
    /// What is not so.
    pub fn check(&self) -> Result<Gaps, String> {
        let mut jobs: BTreeMap<&str, &str> = BTreeMap::new();
        for (job, request) in self.queued.iter().chain(&self.intents) {
            let same = jobs.insert(request, job).is_none_or(|other| other == job);
            if !same {
                return Err(format!("request {request} is two jobs, one of them {job}"));
            }
        }
        let begun: BTreeSet<&String> = self.queued.keys().chain(self.intents.keys()).collect();
        let without_end = |job: &&&String| {
            !self.ends.contains_key(**job) && !self.interrupted.contains_key(**job)
        };
        if let Some(job) = begun.iter().find(without_end) {
            return Err(format!("job {job} has no end"));
        }
        if let Some(job) = self.ends.keys().find(|job| !begun.contains(job)) {
            return Err(format!("job {job} ended and was never begun"));
        }
        let mut gaps = Gaps::default();
        for (job, times) in &self.interrupted {
            gaps.unrecorded += u32::from(!begun.contains(job));
            gaps.interrupted_twice += times - 1;
            match self.ends.get(job) {
                None => {}
                Some(Last::Yes) => gaps.ended_too += 1,
                Some(Last::No) => {
                    return Err(format!(
                        "job {job} ended, more came, then it was interrupted"
                    ));
                }
            }
        }
        Ok(gaps)
    }

    /// How many jobs of the same owner ended after this one; `None` for one without an end.
    pub fn ended_since(&self, job: &str) -> Option<usize> {
        let mut since = self.order.iter().skip_while(|(_, other)| other != job);
        let (owner, _) = since.next()?;
        Some(since.filter(|(other, _)| other == owner).count())
    }
}

fn event(record: &Value) -> &str {
    record["REMIT_EVENT"].as_str().unwrap_or_default()
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queued, {} begun, {} ended, {} interrupted",
            self.queued.len(),
            self.intents.len(),
            self.ends.len(),
            self.interrupted.len()
        )
    }
}
