//! The spool files of a job.

use std::fs::File;

use remit_common::names::JobId;
use remit_common::outcome::Stream;

use super::{BOTH, Job};
use crate::output::Output;
use crate::output::recovered::RecoveredStream;
use crate::output::spool::{LostRange, Spool};

impl Job {
    pub fn makes_files(&self) {
        self.has_files.set(true);
    }

    /// Returns true if the spool can contain files of the job.
    pub fn has_files(&self) -> bool {
        self.has_files.get()
    }

    pub fn file(&self, spool: &Spool, stream: Stream) -> Option<File> {
        if self.output(stream).kept() == 0 {
            return None;
        }
        spool.find(self.id, stream).unwrap_or_else(|error| {
            tracing::warn!(job = %self.id, %error, "cannot open a spool file");
            None
        })
    }

    pub fn more(&self, spool: &Spool, stream: Stream) -> Option<File> {
        let more = self.output(stream).has_more();
        more.then(|| spool.find_more(self.id, stream).ok().flatten())
            .flatten()
    }

    /// Called when no more output will be written.
    pub fn finish_output(&self, spool: &Spool) {
        for stream in BOTH {
            self.output(stream)
                .finish_output(|| self.file(spool, stream));
        }
    }
}

pub(super) fn adopted(job: JobId, stream: Stream, gap: LostRange, spool: &Spool) -> Output {
    let length = |file: Option<&File>| {
        file.and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len())
    };
    let file = spool.find(job, stream).ok().flatten();
    let more = spool.find_more(job, stream).ok().flatten();
    let left = RecoveredStream::of(length(file.as_ref()), length(more.as_ref()), gap);
    spool.holds(length(file.as_ref()));
    if left.stale {
        spool.remove(job, stream);
    }
    Output::resumed(left)
}
