//! Passes one stream of a job on to stdout or stderr.

use std::io;
use std::ops::Range;

use remit_wire::outcome::{Captured, JobReport, Page, State, Stream};

use crate::client::user_socket::Daemon;
use crate::error::Failure;
use crate::render::output::{self, Sink};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Stdout,
    Stderr,
}

pub struct Outlet {
    stream: Stream,
    /// Offset of the next byte.
    next: u64,
    to: To,
    sink: Sink<'static>,
}

impl Outlet {
    pub fn new(stream: Stream, next: u64, to: To) -> Self {
        // stdout is not locked, because the Ctrl-C thread writes too.
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

    pub fn known(&self) -> u64 {
        self.next
    }

    pub fn to(&self) -> To {
        self.to
    }

    /// Writes a page and flushes it, so that an incomplete line is seen too. Fails with [`Failure::Gone`] or
    /// [`Failure::Output`], or if the page is not the next one.
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

    /// Passes on the rest of an ended job's stream: from the report if it holds all, otherwise in pages. Fails as
    /// [`Self::take`], and if a part is no longer kept.
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

/// Reports that only the bytes before `next` of the range `wanted` are kept. This is an error. Only for a job that
/// was killed for too much output is it a note, because its state already says so.
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
        // The number of bytes kept before `wanted` is unknown here.
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

pub fn captured(report: &JobReport, stream: Stream) -> &Captured {
    match stream {
        Stream::Stdout => &report.stdout,
        Stream::Stderr => &report.stderr,
    }
}

fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "standard output",
        Stream::Stderr => "standard error",
    }
}
