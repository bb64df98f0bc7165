//! What `remit top` knows and shows, and what each event changes. Pure: it answers an event with the actions to take,
//! and never acts itself. Selections are by id, so a list that changes moves no selection to another request.

mod event;
mod keys;
mod selection;

use remit_common::admin::{AnyJob, PendingView, RecentRefusal, Status};
use remit_common::names::JobId;
use remit_wire::outcome::{QueuePosition, State as JobState};

pub use self::event::{Action, Event, Key, Shown, Size, TopOutcome};
use self::selection::{Poll, Selection};
use super::page::OpenPage;
use super::prompt::Prompt;
use crate::commands::jobs::queue_positions;
use crate::error::Exit;

/// A smaller terminal shows only that it is too small.
pub const LEAST: Size = Size {
    columns: 40,
    rows: 10,
};
/// Between two requests for the jobs: their run times are shown in seconds, and the daemon announces no changes of them.
const JOBS_MS: u64 = 1000;
/// Between two requests for the status. A lock or a refusal may be seen this late; the daemon announces neither.
const STATUS_MS: u64 = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Waiting,
    Jobs,
    Refused,
}

impl Pane {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Jobs, Self::Refused];

    fn next(self) -> Self {
        match self {
            Self::Waiting => Self::Jobs,
            Self::Jobs => Self::Refused,
            Self::Refused => Self::Waiting,
        }
    }
}

#[derive(Debug)]
pub struct TopState {
    pub size: Size,
    pub is_coloured: bool,
    /// Milliseconds on a clock that never goes back.
    pub now: u64,
    pub status: Option<Box<Status>>,
    pub pending: Vec<PendingView>,
    pub pending_omitted: u32,
    pending_at: u64,
    /// Jobs that run or are queued.
    pub jobs: Vec<AnyJob>,
    pub jobs_omitted: u32,
    queue_positions: Vec<Option<QueuePosition>>,
    pub lost: Option<String>,
    pub pane: Pane,
    selected_request: Selection<JobId>,
    selected_job: Selection<JobId>,
    selected_refusal: Selection<usize>,
    pub page: Option<OpenPage>,
    pub prompt: Option<Prompt>,
    pub message: Option<String>,
    /// What the daemon was asked to do and has not answered.
    pub busy: Option<&'static str>,
    asks_after_page: bool,
    polled_jobs: Poll,
    polled_status: Poll,
    pub end: Option<TopOutcome>,
}

impl TopState {
    pub fn new(size: Size, is_coloured: bool) -> Self {
        Self {
            size,
            is_coloured,
            now: 0,
            status: None,
            pending: Vec::new(),
            pending_omitted: 0,
            pending_at: 0,
            jobs: Vec::new(),
            jobs_omitted: 0,
            queue_positions: Vec::new(),
            lost: None,
            pane: Pane::Waiting,
            selected_request: Selection::NONE,
            selected_job: Selection::NONE,
            selected_refusal: Selection::NONE,
            page: None,
            prompt: None,
            message: None,
            busy: None,
            asks_after_page: false,
            polled_jobs: Poll::default(),
            polled_status: Poll::default(),
            end: None,
        }
    }

    /// Takes an event that came at `now`.
    pub fn on_event(&mut self, event: Event, now: u64) -> Vec<Action> {
        self.now = now;
        let mut actions = Vec::new();
        match event {
            Event::Key(Key::CtrlC) => self.end = Some(TopOutcome::Exit(Exit::INTERRUPTED)),
            Event::Key(key) => self.on_key(key, &mut actions),
            Event::Pasted(text) => match &self.prompt {
                Some(_) if !self.is_too_small() => self.on_text(&text, &mut actions),
                _ => self.says("pasted text is ignored"),
            },
            Event::Tick => {}
            Event::Pending(list) => {
                self.lost = None;
                (self.pending, self.pending_omitted) = (list.requests, list.omitted);
                self.pending_at = now;
                // The jobs and the counts have changed, too.
                (self.polled_jobs.at, self.polled_status.at) = (None, None);
            }
            Event::Jobs { jobs, omitted } => {
                self.lost = None;
                self.polled_jobs.is_asked = false;
                self.take_jobs(jobs, omitted);
            }
            Event::Status(status) => {
                self.lost = None;
                self.polled_status.is_asked = false;
                self.status = Some(status);
            }
            Event::Lost(why) => {
                (self.polled_jobs.is_asked, self.polled_status.is_asked) = (false, false);
                self.lost = Some(why);
            }
            Event::Shown(shown) => self.on_shown(shown),
            Event::Done(sentence) => {
                self.busy = None;
                self.message = Some(sentence);
                (self.polled_jobs.at, self.polled_status.at) = (None, None);
            }
            Event::Ended(sentence) => self.message = Some(sentence),
            Event::Signal(exit) => self.end = Some(TopOutcome::Exit(exit)),
            Event::Failed(failure) => self.end = Some(TopOutcome::Failed(failure)),
        }
        self.settle();
        // Nobody sees the jobs behind a page.
        if self.page.is_none() && self.polled_jobs.is_due(now, JOBS_MS) {
            actions.push(Action::PollJobs);
        }
        if self.polled_status.is_due(now, STATUS_MS) {
            actions.push(Action::PollStatus);
        }
        actions
    }

    pub fn is_too_small(&self) -> bool {
        self.size.columns < LEAST.columns || self.size.rows < LEAST.rows
    }

    /// Time that a request has left, now.
    pub fn left_ms(&self, request: &PendingView) -> u64 {
        let since = self.now.saturating_sub(self.pending_at);
        request.left_ms.saturating_sub(since)
    }

    pub fn refusals(&self) -> &[RecentRefusal] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| status.refusals.as_slice())
    }

    pub fn selected(&self, pane: Pane) -> usize {
        match pane {
            Pane::Waiting => self.selected_request.index,
            Pane::Jobs => self.selected_job.index,
            Pane::Refused => self.selected_refusal.index,
        }
    }

    fn says(&mut self, sentence: &str) {
        self.message = Some(sentence.to_owned());
    }

    fn settle(&mut self) {
        self.selected_request
            .settle(self.pending.iter().map(|one| one.job));
        self.selected_job
            .settle(self.jobs.iter().map(|one| one.job));
        self.selected_refusal.settle(0..self.refusals().len());
        self.fit_page();
    }

    /// Notes that the screen was drawn as it is now.
    pub fn on_drawn(&mut self) {
        let is_too_small = self.is_too_small();
        if let Some(page) = self.page.as_mut().filter(|_| !is_too_small) {
            page.was_drawn();
        }
    }

    /// Follows each change of the size and of the lines below the page.
    fn fit_page(&mut self) {
        let is_too_small = self.is_too_small();
        let height = super::view::page_height(self);
        if let Some(page) = self.page.as_mut().filter(|_| !is_too_small) {
            page.fit(self.size.columns.into(), height);
        }
    }

    /// Keeps those that run, newest first, and then the queue, the next one first.
    fn take_jobs(&mut self, mut jobs: Vec<AnyJob>, omitted: u32) {
        let mut queued = jobs.clone();
        jobs.retain(|job| job.state == JobState::Running);
        queued.retain(|job| job.state == JobState::Queued);
        // The daemon leaves out jobs that have ended first, so mostly none is missing here.
        let live = self.status.as_ref();
        let live = live.map_or(omitted, |status| status.jobs.saturating_add(status.queued));
        let here = u32::try_from(jobs.len() + queued.len()).unwrap_or(u32::MAX);
        self.jobs_omitted = omitted.min(live.saturating_sub(here));
        // Omitted jobs may be first in the queue, so positions are unknown.
        let mut positions = match self.jobs_omitted {
            0 => queue_positions(&queued),
            _ => vec![None; queued.len()],
        };
        queued.reverse();
        positions.reverse();
        self.queue_positions = vec![None; jobs.len()];
        self.queue_positions.extend(positions);
        jobs.extend(queued);
        self.jobs = jobs;
    }

    pub fn queue_position(&self, index: usize) -> Option<QueuePosition> {
        self.queue_positions.get(index).copied().flatten()
    }

    fn on_shown(&mut self, shown: Result<Shown, String>) {
        self.busy = None;
        match shown {
            Ok(Shown {
                title,
                page,
                approvable,
            }) => {
                self.page = Some(OpenPage::new(title, page, approvable));
                if std::mem::take(&mut self.asks_after_page) {
                    self.ask_beside_page();
                }
            }
            Err(why) => {
                self.asks_after_page = false;
                self.message = Some(why);
            }
        }
    }
}
