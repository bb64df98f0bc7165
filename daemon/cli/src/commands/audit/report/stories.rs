//! The records of a job together, of the newest jobs. Pure.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use remit_common::names::JobId;

use super::cited::Cited;
use super::counts::JobProgress;

#[derive(Clone, Debug)]
pub struct Story {
    /// In the order of reading.
    pub steps: Vec<Rc<Cited>>,
    /// Number of records beyond those.
    pub more: u64,
    progress: JobProgress,
}

impl Story {
    /// A job has fewer than ten records, unless somebody made them.
    const STEPS: usize = 24;

    pub fn first(&self) -> Option<&Cited> {
        self.steps.first().map(Rc::as_ref)
    }

    /// Adds a record. If there are too many, one that changes nothing for the job is left out first.
    fn add(&mut self, cited: &Rc<Cited>) {
        self.progress.saw(&cited.event);
        if self.steps.len() >= Self::STEPS {
            self.more += 1;
            let remark = self.steps.iter().rposition(is_remark);
            let Some(remark) = remark.filter(|_| !is_remark(cited)) else {
                return;
            };
            self.steps.remove(remark);
        }
        self.steps.push(Rc::clone(cited));
    }

    /// Returns how it ended: what the newest record says that is about this.
    pub fn last(&self) -> Option<&Cited> {
        let last = self.steps.iter().rfind(|step| !is_remark(step));
        last.or(self.steps.last()).map(Rc::as_ref)
    }
}

/// Returns true for what a job did on the bus, and for a lost notification.
fn is_remark(step: &Rc<Cited>) -> bool {
    matches!(step.event.as_str(), "bus" | "refusal")
}

/// Stories of jobs, of as many as the page lists.
#[derive(Clone, Debug, Default)]
pub struct Stories {
    jobs: VecDeque<JobId>,
    stories: HashMap<JobId, Story>,
    /// Jobs whose row newer ones took. They are counted already.
    evicted: EvictedJobs,
    pub count: u64,
}

impl Stories {
    pub const MOST: usize = 300;

    pub fn add(&mut self, job: JobId, cited: &Rc<Cited>) {
        if let Some(story) = self.stories.get_mut(&job) {
            return story.add(cited);
        }
        // It stays there: its end may be recorded again.
        if let Some(progress) = self.evicted.get_mut(job) {
            return progress.saw(&cited.event);
        }
        self.count += 1;
        self.jobs.push_back(job);
        let mut progress = JobProgress::default();
        progress.saw(&cited.event);
        let story = Story {
            steps: vec![Rc::clone(cited)],
            more: 0,
            progress,
        };
        self.stories.insert(job, story);
        if self.jobs.len() > Self::MOST
            && let Some(oldest) = self.jobs.pop_front()
            && let Some(story) = self.stories.remove(&oldest)
        {
            self.evicted.insert(oldest, story.progress);
        }
    }

    /// Returns true if it is counted here.
    pub fn has(&self, job: JobId) -> bool {
        self.progress(job).is_some()
    }

    /// Returns true if the page has its records.
    pub fn lists(&self, job: JobId) -> bool {
        self.stories.contains_key(&job)
    }

    /// `None` if it is not counted here.
    pub fn progress(&self, job: JobId) -> Option<JobProgress> {
        let listed = self.stories.get(&job).map(|story| story.progress);
        listed.or_else(|| self.evicted.get(job))
    }

    /// Returns the stories, the one that began last first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Story> {
        self.jobs
            .iter()
            .rev()
            .filter_map(|job| self.stories.get(job))
    }

    pub fn left_out(&self) -> u64 {
        self.count.saturating_sub(self.jobs.len() as u64)
    }
}

/// The newest evicted jobs, in two halves: when one is full, the older is forgotten.
#[derive(Clone, Debug, Default)]
struct EvictedJobs {
    newer: HashMap<JobId, JobProgress>,
    older: HashMap<JobId, JobProgress>,
}

impl EvictedJobs {
    const HALF: usize = 1 << 15;

    fn insert(&mut self, job: JobId, progress: JobProgress) {
        if self.newer.len() >= Self::HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(job, progress);
    }

    fn get(&self, job: JobId) -> Option<JobProgress> {
        let found = self.newer.get(&job).or_else(|| self.older.get(&job));
        found.copied()
    }

    fn get_mut(&mut self, job: JobId) -> Option<&mut JobProgress> {
        match self.newer.get_mut(&job) {
            Some(progress) => Some(progress),
            None => self.older.get_mut(&job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> JobId {
        JobId(u128::from(number).to_be_bytes())
    }

    /// Records with an odd position are ends.
    fn cited(position: u64) -> Rc<Cited> {
        let event = if position % 2 == 1 { "end" } else { "intent" };
        Rc::new(Cited {
            position,
            event: event.to_owned(),
            ..Cited::default()
        })
    }

    #[test]
    fn newest_stories_are_kept_and_others_counted() {
        let mut stories = Stories::default();
        for position in 0..1000 {
            stories.add(job(position / 2), &cited(position));
        }
        let positions: Vec<Vec<u64>> = stories
            .newest_first()
            .map(|story| story.steps.iter().map(|step| step.position).collect())
            .collect();
        assert_eq!(positions.len(), Stories::MOST);
        assert_eq!(
            (&positions[0][..], &positions[299][..]),
            (&[998, 999][..], &[400, 401][..])
        );
        assert_eq!((stories.count, stories.left_out()), (500, 200));
        assert!(stories.has(job(199)) && stories.has(job(200)) && !stories.has(job(500)));
    }

    #[test]
    fn end_after_300_newer_jobs_is_no_second_story() {
        let mut stories = Stories::default();
        stories.add(job(999), &cited(0));
        for position in 2..602 {
            stories.add(job(position / 2), &cited(position));
        }
        let running = JobProgress {
            has_started: true,
            has_ended: false,
        };
        assert_eq!(stories.progress(job(999)), Some(running));
        // Some ends are recorded twice.
        for _ in 0..2 {
            stories.add(job(999), &cited(603));
            assert!(stories.progress(job(999)).is_some_and(|job| job.has_ended));
            assert_eq!((stories.count, stories.left_out()), (301, 1));
        }
        let mut first = stories.newest_first().filter_map(Story::first);
        assert!(first.all(|step| step.event == "intent"));
    }

    #[test]
    fn evicted_jobs_take_bounded_memory() {
        let mut evicted = EvictedJobs::default();
        (0..200_000).for_each(|number| evicted.insert(job(number), JobProgress::default()));
        assert!(evicted.newer.len() + evicted.older.len() <= 2 * EvictedJobs::HALF);
        assert!(evicted.get(job(199_999)).is_some() && evicted.get(job(0)).is_none());
    }

    #[test]
    fn story_of_many_records_is_cut_and_counted() {
        let mut stories = Stories::default();
        (0..1000).for_each(|position| stories.add(job(1), &cited(position)));
        let story = stories.newest_first().next().unwrap();
        assert_eq!((story.steps.len(), story.more), (24, 976));
        assert_eq!(story.first().map(|step| step.position), Some(0));
    }

    #[test]
    fn remarks_take_no_entry_of_an_end() {
        let of_event = |position: u64, event: &str| {
            Rc::new(Cited {
                position,
                event: event.to_owned(),
                ..Cited::default()
            })
        };
        let mut stories = Stories::default();
        stories.add(job(1), &of_event(0, "intent"));
        for (position, event) in (1..).zip(["bus"; 30].into_iter().chain(["end", "refusal"])) {
            stories.add(job(1), &of_event(position, event));
        }
        let story = stories.newest_first().next().unwrap();
        assert_eq!((story.steps.len(), story.more), (24, 9));
        assert_eq!(story.last().map(|step| step.position), Some(31));
    }
}
