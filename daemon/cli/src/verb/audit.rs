//! `remit audit`: the records, read with the caller's own rights, and judged without the daemon.
//!
//! Of the daemon one thing alone is asked: what the newest record must be.

mod export;
mod filter;
mod head;
mod journal;
mod lines;
mod list;
mod loss;
mod record;
mod source;
mod story;
mod verify;

pub use export::export;
pub use verify::verify;

use crate::app::Context;
use crate::args::RecordsArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Lists records, or tells all of one job.
pub fn show(context: &Context, args: &RecordsArgs) -> Result<Exit, Failure> {
    match &args.story {
        Some(job) => story::story(context, &args.trail, job),
        None => list::list(context, args),
    }
}
