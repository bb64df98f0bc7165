//! The records of a job together, of the newest jobs. Pure.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use remit_common::names::JobId;

use super::cited::Cited;

#[derive(Clone, Debug)]
pub struct Story {
    /// In the order of reading.
    pub steps: Vec<Rc<Cited>>,
    /// Number of records beyond those.
    pub more: u64,
}

impl Story {
    /// A job has fewer than ten records, unless somebody made them.
    const STEPS: usize = 24;

    pub fn first(&self) -> Option<&Cited> {
        self.steps.first().map(Rc::as_ref)
    }

    /// Returns how it ended: what the newest record says.
    pub fn last(&self) -> Option<&Cited> {
        self.steps.last().map(Rc::as_ref)
    }
}

/// Stories of jobs, of as many as the page lists.
#[derive(Clone, Debug, Default)]
pub struct Stories {
    jobs: VecDeque<JobId>,
    stories: HashMap<JobId, Story>,
    pub count: u64,
}

impl Stories {
    pub const MOST: usize = 300;

    pub fn add(&mut self, job: JobId, cited: &Rc<Cited>) {
        if let Some(story) = self.stories.get_mut(&job) {
            match story.steps.len() < Story::STEPS {
                true => story.steps.push(Rc::clone(cited)),
                false => story.more += 1,
            }
            return;
        }
        self.count += 1;
        self.jobs.push_back(job);
        let steps = vec![Rc::clone(cited)];
        self.stories.insert(job, Story { steps, more: 0 });
        if self.jobs.len() > Self::MOST
            && let Some(oldest) = self.jobs.pop_front()
        {
            self.stories.remove(&oldest);
        }
    }

    pub fn has(&self, job: JobId) -> bool {
        self.stories.contains_key(&job)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> JobId {
        JobId(u128::from(number).to_be_bytes())
    }

    fn cited(position: u64) -> Rc<Cited> {
        Rc::new(Cited {
            position,
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
        assert!(!stories.has(job(199)) && stories.has(job(200)));
    }

    #[test]
    fn story_of_many_records_is_cut_and_counted() {
        let mut stories = Stories::default();
        (0..1000).for_each(|position| stories.add(job(1), &cited(position)));
        let story = stories.newest_first().next().unwrap();
        assert_eq!((story.steps.len(), story.more), (24, 976));
        assert_eq!(story.first().map(|step| step.position), Some(0));
    }
}
