//! `remit audit`: reads records with the caller's rights. The daemon is asked only for the newest one.

mod filter;
mod head;
mod journal;
mod list;
mod record;
mod source;
mod story;
mod verify;

pub use list::export;
pub use verify::verify;

use crate::args::RecordsArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;

pub fn show(context: &Context, args: &RecordsArgs) -> Result<Exit, Failure> {
    match &args.story {
        Some(job) => story::story(context, &args.source_args, job),
        None => list::list(context, args),
    }
}
