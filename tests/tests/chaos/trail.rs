//! What the trail must say after any number of deaths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chaos::task::request_of;

/// Jobs by their records, each with the request that stands in its command.
#[derive(Debug, Default)]
pub struct Trail {
    /// Waited for a place.
    pub queued: BTreeMap<String, String>,
    /// Were started.
    pub intents: BTreeMap<String, String>,
    /// Have an end.
    pub ends: BTreeSet<String>,
    /// Had none when the warden died.
    pub interrupted: BTreeSet<String>,
    /// Owner and job of each end, in their order; also of jobs without a request of ours.
    order: Vec<(String, String)>,
}

impl Trail {
    /// Sorts the records of jobs that have a request of ours.
    ///
    /// # Errors
    /// A job has two records of one kind.
    pub fn read(records: &[Value]) -> Result<Self, String> {
        let mut trail = Self::default();
        for record in records {
            let job = record["REMIT_JOB"].as_str().unwrap_or_default().to_owned();
            let event = record["REMIT_EVENT"].as_str().unwrap_or_default();
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
                "end" => trail.ends.insert(job),
                "interrupted" => trail.interrupted.insert(job),
                _ => true,
            };
            if !first {
                return Err(format!("the same again: {record}"));
            }
        }
        Ok(trail)
    }

    /// Holds the trail against what must be: each request is one job at most, each job that was queued or
    /// begun has one end, and nothing else has one. Gives the jobs that were interrupted before their first
    /// record was written: they ran nothing.
    ///
    /// # Errors
    /// What is not so.
    pub fn check(&self) -> Result<BTreeSet<String>, String> {
        let mut jobs: BTreeMap<&str, &str> = BTreeMap::new();
        for (job, request) in self.queued.iter().chain(&self.intents) {
            let same = jobs.insert(request, job).is_none_or(|other| other == job);
            if !same {
                return Err(format!("request {request} is two jobs, one of them {job}"));
            }
        }
        if let Some(job) = self.ends.intersection(&self.interrupted).next() {
            return Err(format!("job {job} ended, and was interrupted too"));
        }
        let begun: BTreeSet<&String> = self.queued.keys().chain(self.intents.keys()).collect();
        let ended: BTreeSet<&String> = self.ends.union(&self.interrupted).collect();
        if let Some(job) = begun.difference(&ended).next() {
            return Err(format!("job {job} has no end"));
        }
        let unrecorded: BTreeSet<String> =
            ended.difference(&begun).map(|job| (*job).clone()).collect();
        match unrecorded.intersection(&self.ends).next() {
            Some(job) => Err(format!("job {job} ended and was never begun")),
            None => Ok(unrecorded),
        }
    }

    /// How many jobs of the same owner ended after this one.
    pub fn ended_since(&self, job: &str) -> Option<usize> {
        let mut since = self.order.iter().skip_while(|(_, other)| other != job);
        let (owner, _) = since.next()?;
        Some(since.filter(|(other, _)| other == owner).count())
    }
}
