//! One stream of a job on its way to one of our descriptors.

use std::io;
use std::ops::Range;

use remit_common::outcome::{Captured, JobReport, Page, State, Stream};

use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::output;
use crate::sink::Sink;

/// Which of our descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Standard output: whoever reads it wants the job's output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A stream, how much of it is passed on, and where it goes.
pub struct Outlet {
    stream: Stream,
    /// The byte that comes next.
    next: u64,
    to: To,
    sink: Sink<'static>,
}

impl Outlet {
    /// Passes `stream` on from the byte `next` on.
    pub fn new(stream: Stream, next: u64, to: To) -> Self {
        // Not locked: a line about Ctrl-C comes from a thread of its own.
        let sink = match to {
            To::Stdout => Sink::new(io::stdout()),
            To::Stderr => Sink::new(io::stderr()),
        };
        Self {
            stream,
            next,
            to,
            sink,
        }
    }

    /// The bytes that need not come again.
    pub fn known(&self) -> u64 {
        self.next
    }

    /// Where it goes.
    pub fn to(&self) -> To {
        self.to
    }

    /// Passes a page on at once, so that what has no end of line yet is seen too.
    ///
    /// # Errors
    /// [`Failure::Gone`] or [`Failure::Output`]; or the page is not the one that comes next.
    pub fn take(&mut self, page: &Page) -> Result<(), Failure> {
        if page.bytes.is_empty() {
            return Ok(());
        }
        if (page.stream, page.offset) != (self.stream, self.next) {
            return Err(Failure::off_protocol());
        }
        self.sink.write(&page.bytes)?;
        self.sink.flush()?;
        self.next = self.next.saturating_add(page.bytes.len() as u64);
        Ok(())
    }

    /// Passes on what is left of an ended job's stream: from the report where it holds all, else in pages.
    ///
    /// # Errors
    /// As [`Self::take`], and when some of it is no longer kept.
    pub fn rest(mut self, daemon: &mut Daemon, report: &JobReport) -> Result<(), Failure> {
        let Captured {
            total, head, tail, ..
        } = captured(report, self.stream);
        let begin = self.next;
        if begin == 0 {
            self.sink.write(head)?;
            self.next = head.len() as u64;
            if self.next.saturating_add(tail.len() as u64) >= *total {
                self.sink.write(tail)?;
                self.next = *total;
            }
        }
        if self.next < *total {
            let rest = total.saturating_sub(self.next);
            let (job, stream) = (report.job, self.stream);
            self.next = daemon.copy(job, stream, self.next, rest, &mut self.sink)?;
        }
        self.sink.finish()?;
        lost(report, self.stream, begin..*total, self.next)
    }
}

/// Says so when of the bytes that were wanted of an ended job's stream only those before `next` are kept.
///
/// # Errors
/// Some of them are not kept. A job that was ended for writing too much has said so with its state: that is a note.
pub fn lost(
    report: &JobReport,
    stream: Stream,
    wanted: Range<u64>,
    next: u64,
) -> Result<(), Failure> {
    if next >= wanted.end {
        return Ok(());
    }
    let (Captured { total, .. }, name) = (captured(report, stream), stream_name(stream));
    let lost = match next == wanted.start && next > 0 {
        // How many are kept before those that were wanted is not known here.
        true => format!(
            "the last {} bytes of {name} are not kept",
            total.saturating_sub(next)
        ),
        false => format!("only {next} of the {total} bytes of {name} are kept"),
    };
    if report.state != State::OutputLimit {
        return Err(Failure::Lost(lost));
    }
    output::note(&lost);
    Ok(())
}

/// What a report says of a stream.
pub fn captured(report: &JobReport, stream: Stream) -> &Captured {
    match stream {
        Stream::Stdout => &report.stdout,
        Stream::Stderr => &report.stderr,
    }
}

/// What people call it.
fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "standard output",
        Stream::Stderr => "standard error",
    }
}
