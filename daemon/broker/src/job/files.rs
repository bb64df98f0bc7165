//! What of a job lies in the spool.

use std::fs::File;

use remit_common::names::JobId;
use remit_common::outcome::Stream;

use super::{BOTH, Job};
use crate::left::Left;
use crate::output::Output;
use crate::spool::{Gap, Spool};

impl Job {
    /// Files of it are made in the spool from now on.
    pub fn makes_files(&self) {
        self.has_files.set(true);
    }

    /// Whether something of it may be in the spool.
    pub fn has_files(&self) -> bool {
        self.has_files.get()
    }

    /// The file of a stream, if anything of it is kept.
    pub fn file(&self, spool: &Spool, stream: Stream) -> Option<File> {
        if self.output(stream).kept() == 0 {
            return None;
        }
        spool.find(self.id, stream).unwrap_or_else(|error| {
            tracing::warn!(job = %self.id, %error, "cannot open a spool file");
            None
        })
    }

    /// The file with the rest of a stream, if there is one.
    pub fn more(&self, spool: &Spool, stream: Stream) -> Option<File> {
        let more = self.output(stream).has_more();
        more.then(|| spool.find_more(self.id, stream).ok().flatten())
            .flatten()
    }

    /// Nothing will be written any more.
    pub fn settle(&self, spool: &Spool) {
        for stream in BOTH {
            self.output(stream).settle(|| self.file(spool, stream));
        }
    }
}

/// A stream as it lies in the spool.
pub(super) fn adopted(job: JobId, stream: Stream, gap: Gap, spool: &Spool) -> Output {
    let length = |file: Option<&File>| {
        file.and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len())
    };
    let file = spool.find(job, stream).ok().flatten();
    let more = spool.find_more(job, stream).ok().flatten();
    let left = Left::of(length(file.as_ref()), length(more.as_ref()), gap);
    spool.holds(length(file.as_ref()));
    if left.stale {
        spool.remove(job, stream);
    }
    Output::resumed(left)
}
