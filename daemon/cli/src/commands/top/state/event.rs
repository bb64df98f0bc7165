//! Events that [`super::TopState`] takes, and the actions that it answers with.

use remit_common::admin::{AnyJob, Status};
use remit_common::names::JobId;

use crate::commands::pending::List;
use crate::commands::top::page::Approvable;
use crate::error::{Exit, Failure};
use crate::render::untrusted_columns::Page;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Backspace,
    CtrlC,
    Char(char),
}

#[derive(Debug)]
pub enum Event {
    Key(Key),
    Pasted(String),
    /// Time went by, or the size changed.
    Tick,
    Pending(List),
    Jobs {
        jobs: Vec<AnyJob>,
        omitted: u32,
    },
    Status(Box<Status>),
    /// The daemon did not answer a request for the lists; the next one may succeed.
    Lost(String),
    Shown(Result<Shown, String>),
    /// The end of an approval, denial or stop, in a sentence.
    Done(String),
    /// How an approved job ended.
    Ended(String),
    Signal(Exit),
    /// Nothing more can be shown.
    Failed(Failure),
}

#[derive(Debug)]
pub struct Shown {
    pub title: String,
    pub page: Page,
    pub approvable: Option<Approvable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    PollJobs,
    PollStatus,
    Show(JobId),
    Approve(Approvable),
    Deny(JobId, String),
    Stop(JobId),
}

#[derive(Debug)]
pub enum TopOutcome {
    Exit(Exit),
    Failed(Failure),
}
