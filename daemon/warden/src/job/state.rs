//! What a job holds at each time of its life. The stage itself is in its [`Life`].

use std::os::fd::OwnedFd;
use std::time::Instant;

use remit_common::names::JobId;
use remit_common::outcome::Ending;
use remit_link::{JobMeta, WaitReason};
use remit_sys::Cgroup;

use crate::approval::file_hash::Measuring;
use crate::approval::{MeasuringRequest, Request};
use crate::audit::Record;
use crate::identity::peer::Subject;
use crate::job::allocation::JobUid;
use crate::job::life::Life;
use crate::job::live::Job;
use crate::request::{Draft, Plan};
use crate::sandbox::PreforkedJob;
use crate::state_dir::ledger::EndDecision;

/// A plan that waits for the audit log, with the start of the wait.
#[derive(Debug)]
pub struct Parked {
    pub since: Instant,
    pub plan: Box<Plan>,
}

/// Has a plan, and no slot yet.
#[derive(Debug)]
pub struct Waiting {
    pub plan: Box<Plan>,
    pub since: Instant,
    pub asked_ms: u64,
}

impl Waiting {
    pub fn new(plan: Box<Plan>, asked_ms: u64) -> Self {
        Self {
            plan,
            since: Instant::now(),
            asked_ms,
        }
    }

    pub fn meta(&self) -> JobMeta {
        JobMeta {
            waiting: Some(WaitReason::QueuePosition),
            ..self.plan.meta(self.asked_ms, self.since)
        }
    }
}

#[derive(Debug)]
pub struct MeasuringAgain {
    pub waiting: Waiting,
    pub measuring: Measuring,
}

/// The end of a job that waited for a slot or an approval.
#[derive(Debug)]
pub struct NeverRan {
    pub life: Life,
    pub uid: JobUid,
    pub ready: Option<PreforkedJob>,
    pub request: Option<String>,
    /// Shown until the end is recorded.
    pub before: JobMeta,
    pub after: JobMeta,
    pub record: Record,
    pub decision: Option<EndDecision>,
}

impl NeverRan {
    pub fn new(draft: Draft, before: JobMeta, ending: Ending, record: Record) -> Self {
        let after = JobMeta {
            waiting: None,
            age_ms: 0,
            waited_ms: before.age_ms,
            ending: Some(ending),
            ..before.clone()
        };
        Self {
            life: draft.life,
            uid: draft.uid,
            ready: draft.ready,
            request: draft.request.map(|(id, _)| id),
            before,
            after,
            record,
            decision: None,
        }
    }
}

/// Is recorded as ended, while a process of it is left in the kernel.
#[derive(Debug)]
pub struct Stuck {
    pub job: JobId,
    pub owner: u32,
    pub uid: JobUid,
    /// The first process, unless it is reaped.
    pub first: Option<(i32, OwnedFd)>,
    pub cgroup: Cgroup,
    pub life: Life,
    pub is_on_copy: bool,
}

pub trait Held: Sized + 'static {
    fn of(state: &JobState) -> Option<&Self>;
    fn of_mut(state: &mut JobState) -> Option<&mut Self>;
    fn from_state(state: JobState) -> Option<Self>;
    fn into_state(self) -> JobState;
}

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident($held:ty),)*) => {
        #[derive(Debug)]
        pub enum JobState {
            $($(#[$doc])* $state(Box<$held>),)*
        }

        $(impl Held for $held {
            fn of(state: &JobState) -> Option<&Self> {
                match state {
                    JobState::$state(held) => Some(held),
                    _ => None,
                }
            }

            fn of_mut(state: &mut JobState) -> Option<&mut Self> {
                match state {
                    JobState::$state(held) => Some(held),
                    _ => None,
                }
            }

            fn from_state(state: JobState) -> Option<Self> {
                match state {
                    JobState::$state(held) => Some(*held),
                    _ => None,
                }
            }

            fn into_state(self) -> JobState {
                JobState::$state(Box::new(self))
            }
        })*
    };
}

states! {
    Examined(MeasuringRequest),
    Asked(Request),
    Queued(Waiting),
    Rehashed(MeasuringAgain),
    Parked(Parked),
    /// Runs, or its end is not recorded yet.
    Live(Job),
    /// Never ran, and its end is not recorded yet.
    NeverRan(NeverRan),
    /// Its end is recorded, but a process is left.
    Stuck(Stuck),
}

impl JobState {
    fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Examined(held) => Some(&held.draft),
            Self::Asked(held) => Some(&held.draft),
            Self::Queued(held) => Some(&held.plan),
            Self::Rehashed(held) => Some(&held.waiting.plan),
            Self::Parked(held) => Some(&held.plan),
            Self::Live(held) => Some(&held.plan),
            Self::NeverRan(_) | Self::Stuck(_) => None,
        }
    }

    pub fn measuring(&mut self) -> Option<&mut Measuring> {
        match self {
            Self::Examined(held) => Some(&mut held.measuring),
            Self::Asked(held) => Some(&mut held.approving.as_mut()?.measuring),
            Self::Rehashed(held) => Some(&mut held.measuring),
            _ => None,
        }
    }

    /// The id by which others may name it.
    pub fn id(&self) -> Option<JobId> {
        match self {
            Self::NeverRan(held) => Some(held.before.job),
            _ => Some(self.draft()?.job),
        }
    }

    /// The user whose slot it has.
    pub fn slot_of(&self) -> Option<u32> {
        match self {
            Self::Examined(_) | Self::Asked(_) | Self::Queued(_) | Self::NeverRan(_) => None,
            Self::Rehashed(_) | Self::Parked(_) | Self::Live(_) => {
                Some(self.draft()?.requester.subject.uid())
            }
            Self::Stuck(held) => Some(held.owner),
        }
    }

    /// The user whose copy of the machine it has. A job has its copy as long as it has its slot.
    pub fn copy_of(&self) -> Option<u32> {
        let is_on_copy = match self {
            Self::Stuck(held) => held.is_on_copy,
            _ => self.draft().is_some_and(|draft| draft.bound.is_on_copy()),
        };
        self.slot_of().filter(|_| is_on_copy)
    }

    /// Returns whether the daemon itself queued it.
    pub fn is_of_daemon(&self) -> bool {
        matches!(self, Self::Queued(held) if held.plan.basis().is_of_daemon())
    }

    pub fn waiting_requester(&self) -> Option<&Subject> {
        match self {
            Self::Examined(_) | Self::Asked(_) | Self::Queued(_) | Self::Rehashed(_) => {
                Some(&self.draft()?.requester.subject)
            }
            Self::Parked(_) | Self::Live(_) | Self::NeverRan(_) | Self::Stuck(_) => None,
        }
    }
}
