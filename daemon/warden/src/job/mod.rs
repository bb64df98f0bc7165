//! The life of a job: admission, record, launch, queue, termination, cleanup. [`pipeline`] is the whole story.

pub mod cleanup;
pub mod fair_queue;
pub mod launch;
pub mod outcome;
pub mod pipeline;
pub mod queue;
pub mod recently_ended;
pub mod spawn_failure;
pub mod table;
pub mod termination;
pub mod uid_pool;
pub mod unkillable;
