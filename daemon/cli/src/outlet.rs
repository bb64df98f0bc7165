//! One stream of a job on its way to one of our descriptors.

use std::io;

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
        let (captured, name) = captured(report, self.stream);
        let Captured {
            total, head, tail, ..
        } = captured;
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
        if self.next < *total {
            let lost = match self.next == begin && begin > 0 {
                // How many are kept before those that were wanted is not known here.
                true => format!("the last {} bytes of {name} are not kept", total - begin),
                false => format!("only {} of the {total} bytes of {name} are kept", self.next),
            };
            // A job that was ended for writing too much has said so with its status.
            if report.state != State::OutputLimit {
                return Err(Failure::Output(io::Error::other(lost)));
            }
            output::note(&lost);
        }
        Ok(())
    }
}

/// What a report says of a stream, and what people call it.
pub fn captured(report: &JobReport, stream: Stream) -> (&Captured, &'static str) {
    match stream {
        Stream::Stdout => (&report.stdout, "standard output"),
        Stream::Stderr => (&report.stderr, "standard error"),
    }
}
