//! Checks the audit log after any number of deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::chaos::client::request_of;

#[derive(Debug, Default)]
pub struct ParsedAuditLog {
    queued: BTreeMap<String, String>,
    intents: BTreeMap<String, String>,
    ends: BTreeMap<String, Ends>,
    /// Owner and job of each end in order, including jobs without a request id of this test.
    order: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Ends {
    certain: u32,
    /// Recorded by a warden that could not know if its predecessor had recorded it.
    again: u32,
    interrupted: bool,
    /// Nothing of it ran, so its request may be another job.
    not_started: bool,
}

/// Gaps that a warden killed between two file writes cannot avoid.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Written to the ledger but not to the audit log, so never run: interrupted without an intent.
    pub unrecorded: u32,
    /// Ends that may be recorded twice, and are marked as such.
    pub again: u32,
}

impl ParsedAuditLog {
    pub fn read(records: &[Value]) -> Result<Self, String> {
        let mut log = Self::default();
        for record in records {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let (event, job) = (text("REMIT_EVENT"), text("REMIT_JOB"));
            let is_end = matches!(event.as_str(), "end" | "interrupted");
            if is_end {
                log.order.push((text("REMIT_UID"), job.clone()));
            }
            let command = text("REMIT_ARGV");
            let Some(request) = request_of(&command).map(str::to_owned) else {
                continue;
            };
            if is_end {
                let ends = log.ends.entry(job).or_default();
                match text("REMIT_AGAIN").as_str() {
                    "maybe" => ends.again += 1,
                    _ => ends.certain += 1,
                }
                ends.interrupted |= text("REMIT_STATE") == "interrupted";
                ends.not_started |= text("REMIT_STATE") == "not_started";
                continue;
            }
            let before = match event.as_str() {
                "queued" => log.queued.insert(job, request),
                "intent" => log.intents.insert(job, request),
                _ => None,
            };
            if before.is_some() {
                return Err(format!("the same again: {record}"));
            }
        }
        Ok(log)
    }

    /// Each request is at most one job that ran. Each job that was queued or started has exactly one end, and no other job
    /// has one. Returns the permitted gaps, or the first violation.
    pub fn check(&self) -> Result<Gaps, String> {
        let mut jobs: BTreeMap<&str, &str> = BTreeMap::new();
        let ran = |job: &String| self.ends.get(job).is_none_or(|ends| !ends.not_started);
        let started = self.queued.iter().chain(&self.intents);
        for (job, request) in started.filter(|(job, _)| ran(job)) {
            let same = jobs.insert(request, job).is_none_or(|other| other == job);
            if !same {
                return Err(format!("request {request} is two jobs, one of them {job}"));
            }
        }
        let started: BTreeSet<&String> = self.queued.keys().chain(self.intents.keys()).collect();
        if let Some(job) = started.iter().find(|job| !self.ends.contains_key(**job)) {
            return Err(format!("job {job} has no end"));
        }
        let mut gaps = Gaps::default();
        for (job, ends) in &self.ends {
            if ends.certain > 1 {
                return Err(format!("job {job} has {} ends", ends.certain));
            }
            if !started.contains(job) {
                if !ends.interrupted {
                    return Err(format!("job {job} ended and was never begun"));
                }
                gaps.unrecorded += 1;
            }
            gaps.again += ends.again;
        }
        Ok(gaps)
    }

    pub fn ended_since(&self, job: &str) -> Option<usize> {
        let mut since = self.order.iter().skip_while(|(_, other)| other != job);
        let (owner, _) = since.next()?;
        Some(since.filter(|(other, _)| other == owner).count())
    }
}

impl fmt::Display for ParsedAuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queued, {} begun, {} ended, {} of these interrupted and {} not started",
            self.queued.len(),
            self.intents.len(),
            self.ends.len(),
            self.ends.values().filter(|ends| ends.interrupted).count(),
            self.ends.values().filter(|ends| ends.not_started).count()
        )
    }
}
