//! What is shown of a job: reports, lists, pages, signs of life.

use std::fs::File;

use remit_common::caps;
use remit_common::outcome::{JobReport, JobSummary, Page, Place, Stream};
use remit_common::text;
use remit_common::wire::{PageQuery, Progress};

use super::{BOTH, Job};
use crate::lost::{Amount, Lost};
use crate::notes;
use crate::output;
use crate::page;
use crate::spool::Spool;

/// Bytes of the last line in a progress message.
const LAST_LINE: usize = 200;

impl Job {
    /// The job as it is now. `place` is where it waits.
    pub fn report(&self, spool: &Spool, place: Option<Place>) -> JobReport {
        let [(stdout, out_whole), (stderr, err_whole)] = BOTH.map(|stream| {
            let file = self.file(spool, stream);
            let more = self.more(spool, stream);
            let captured = self.output(stream).captured(file.as_ref(), more.as_ref());
            (captured, self.is_whole(stream, file.as_ref()))
        });
        if !(out_whole && err_whole) {
            self.lose(Lost::Missing);
        }
        let mut notes: Vec<String> = self.notes.iter().map(ToString::to_string).collect();
        let amount = Amount::of(&self.stdout, &self.stderr);
        notes.extend(
            self.lost
                .borrow()
                .as_ref()
                .map(|lost| lost.sentence(amount)),
        );
        notes.extend(notes::of_errors(&stderr.head).map(ToString::to_string));
        let times = self.times.get();
        JobReport {
            denials: Vec::new(),
            job: self.id,
            command: self.command.clone(),
            state: self.state(),
            ending: self.ending.borrow().clone(),
            started_ms: times.started_ms,
            waited_ms: if self.is_waiting() {
                self.elapsed_ms()
            } else {
                times.waited_ms
            },
            place,
            approval: self.approval(),
            enforced: self.enforced.borrow().clone(),
            stdout,
            stderr,
            notes,
        }
    }

    /// The job in a list.
    pub fn summary(&self) -> JobSummary {
        let [out, err] = self.written();
        JobSummary {
            job_id: self.id,
            command: self.command.clone(),
            state: self.state(),
            exit: self.ending.borrow().as_ref().and_then(|ending| ending.exit),
            started_ms: self.times.get().started_ms,
            output_bytes: out.saturating_add(err),
        }
    }

    /// A page of its output.
    pub fn page(&self, spool: &Spool, query: &PageQuery) -> Page {
        let output = self.output(query.stream);
        let file = self.file(spool, query.stream);
        let there = output.there(file.as_ref());
        let (mut offset, length) = page::range(query, there);
        let mut bytes = output::read(file.as_ref(), offset, length);
        let at_end = |bytes: &[u8]| offset.saturating_add(size(bytes)) >= there;
        if query.whole_characters {
            // What a job that ended left unfinished will not be finished any more.
            if !(self.has_ended() && at_end(&bytes)) {
                let whole = page::whole_end(&bytes);
                if whole > 0 || (at_end(&bytes) && bytes.len() < 4) {
                    bytes.truncate(whole);
                }
            }
            if query.tail && offset > 0 {
                let skip = page::whole_start(&bytes);
                bytes.drain(..skip);
                offset = offset.saturating_add(u64::try_from(skip).unwrap_or(0));
            }
        }
        let end = offset.saturating_add(size(&bytes));
        Page {
            stream: query.stream,
            offset,
            bytes: bytes.into(),
            total: output.written(),
            eof: self.has_ended() && end >= there,
        }
    }

    /// What a stream has behind those bytes that are `known`: a page of it.
    pub fn news(&self, spool: &Spool, stream: Stream, known: u64) -> Page {
        let query = PageQuery {
            stream,
            offset: known,
            limit: u32::try_from(caps::PAGE).unwrap_or(u32::MAX),
            tail: false,
            whole_characters: false,
        };
        self.page(spool, &query)
    }

    /// How far it is.
    pub fn progress(&self, spool: &Spool, place: Option<Place>) -> Progress {
        let [out, err] = self.written();
        let latest = self.latest.get();
        let line = self
            .output(latest)
            .last_line(self.file(spool, latest).as_ref());
        let mut last_line = match self.approval() {
            // It has written nothing yet.
            Some(view) => format!("waiting for an approval by {}", view.by.join(", ")),
            None => text::line(&line, LAST_LINE),
        };
        last_line.truncate(last_line.floor_char_boundary(LAST_LINE));
        Progress {
            place,
            elapsed_ms: self.elapsed_ms(),
            output_bytes: out.saturating_add(err),
            last_line,
        }
    }

    /// Whether what is kept of a stream is there.
    fn is_whole(&self, stream: Stream, file: Option<&File>) -> bool {
        let output = self.output(stream);
        output.there(file) == output.kept()
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
