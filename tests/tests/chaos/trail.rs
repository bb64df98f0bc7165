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
    /// The ends of each.
    ends: BTreeMap<String, Ends>,
    /// Owner and job of each end, in their order; also of jobs without a request of ours.
    order: Vec<(String, String)>,
}

/// How often a job ended.
#[derive(Debug, Default)]
struct Ends {
    /// For sure.
    certain: u32,
    /// Recorded by a warden that could not know whether the one before it had done so.
    again: u32,
    /// It was cut off by the death of a warden.
    interrupted: bool,
}

/// What a warden that is killed between its two files cannot help.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Noted in the ledger, not yet recorded, so never run: interrupted without an intent.
    pub unrecorded: u32,
    /// Ends that are maybe recorded twice, and say so.
    pub again: u32,
}

impl Trail {
    /// Sorts the records of jobs that have a request of ours.
    ///
    /// # Errors
    /// A job was queued or begun twice.
    pub fn read(records: &[Value]) -> Result<Self, String> {
        let mut trail = Self::default();
        for record in records {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let (event, job) = (text("REMIT_EVENT"), text("REMIT_JOB"));
            let is_end = matches!(event.as_str(), "end" | "interrupted");
            if is_end {
                trail.order.push((text("REMIT_UID"), job.clone()));
            }
            let command = text("REMIT_ARGV");
            let Some(request) = request_of(&command).map(str::to_owned) else {
                continue;
            };
            if is_end {
                let ends = trail.ends.entry(job).or_default();
                match text("REMIT_AGAIN").as_str() {
                    "maybe" => ends.again += 1,
                    _ => ends.certain += 1,
                }
                ends.interrupted |= text("REMIT_STATE") == "interrupted";
                continue;
            }
            let before = match event.as_str() {
                "queued" => trail.queued.insert(job, request),
                "intent" => trail.intents.insert(job, request),
                _ => None,
            };
            if before.is_some() {
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
        if let Some(job) = begun.iter().find(|job| !self.ends.contains_key(**job)) {
            return Err(format!("job {job} has no end"));
        }
        let mut gaps = Gaps::default();
        for (job, ends) in &self.ends {
            if ends.certain > 1 {
                return Err(format!("job {job} has {} ends", ends.certain));
            }
            if !begun.contains(job) {
                if !ends.interrupted {
                    return Err(format!("job {job} ended and was never begun"));
                }
                gaps.unrecorded += 1;
            }
            gaps.again += ends.again;
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

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queued, {} begun, {} ended, {} of these interrupted",
            self.queued.len(),
            self.intents.len(),
            self.ends.len(),
            self.ends.values().filter(|ends| ends.interrupted).count()
        )
    }
}
