//! Passes on a job's output as it comes, without polling: the daemon answers each request when there is more. Bytes are
//! counted for each stream, so a request that is repeated on a new connection duplicates and loses nothing.

use std::ops::Range;
use std::time::{Duration, Instant};
use std::{io, thread};

use remit_common::caps;
use remit_common::names::JobId;
use remit_wire::Follow;
use remit_wire::outcome::{Captured, Followed, JobReport, Page, State, Stream};

use crate::client::user_socket::Daemon;
use crate::error::Failure;
use crate::render::output::{self, Sink};

/// Shortest time between two requests, unless the first was answered by a full page. A job that writes a line each
/// millisecond is shown in larger pieces. This leaves more of the rate limit to the user's other requests.
const PACE: Duration = Duration::from_millis(50);

pub struct Streams {
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
}

impl Streams {
    pub fn both(stdout: u64, stderr: u64) -> Self {
        Self {
            stdout: Some(Outlet::new(Stream::Stdout, stdout, To::Stdout)),
            stderr: Some(Outlet::new(Stream::Stderr, stderr, To::Stderr)),
        }
    }

    /// Both to standard error.
    pub fn to_stderr() -> Self {
        let outlet = |stream| Some(Outlet::new(stream, 0, To::Stderr));
        Self {
            stdout: outlet(Stream::Stdout),
            stderr: outlet(Stream::Stderr),
        }
    }

    /// Standard error alone.
    pub fn errors() -> Self {
        Self {
            stdout: None,
            ..Self::both(0, 0)
        }
    }

    pub fn one(stream: Stream, from: u64) -> Self {
        let outlet = Some(Outlet::new(stream, from, To::Stdout));
        match stream {
            Stream::Stdout => Self {
                stdout: outlet,
                stderr: None,
            },
            Stream::Stderr => Self {
                stdout: None,
                stderr: outlet,
            },
        }
    }

    /// Passes on output until the job has ended; the last output may still be missing. Errors: [`Failure::Unread`].
    pub fn follow(&mut self, daemon: &mut Daemon, report: JobReport) -> Result<JobReport, Failure> {
        daemon.note_queue_position(&report);
        let job = report.job;
        loop {
            let asked = Instant::now();
            let mut followed = daemon.follow(self.question(job))?;
            match (self.take(&followed), followed.report.take()) {
                (Ok(()) | Err(Failure::Gone), Some(report)) => return Ok(*report),
                (Err(Failure::Gone), None) => return Err(Failure::Unread(job)),
                (Err(failure), _) => return Err(failure),
                (Ok(()), None) if self.is_behind(&followed) => {}
                (Ok(()), None) => thread::sleep(PACE.saturating_sub(asked.elapsed())),
            }
        }
    }

    pub fn rest(self, daemon: &mut Daemon, report: &JobReport) -> Result<(), Failure> {
        let mut rest = |outlet: Option<Outlet>| match outlet.map(|all| all.rest(daemon, report)) {
            // A reader that stops early, such as `head`, is not a failure of the command.
            None | Some(Ok(()) | Err(Failure::Gone)) => Ok(()),
            Some(failed) => failed,
        };
        let (stdout, stderr) = (rest(self.stdout), rest(self.stderr));
        stdout.and(stderr)
    }

    fn question(&self, job: JobId) -> Follow {
        // u64::MAX means that nothing of this stream is wanted.
        let known = |outlet: &Option<Outlet>| outlet.as_ref().map_or(u64::MAX, Outlet::known);
        Follow {
            job,
            stdout: known(&self.stdout),
            stderr: known(&self.stderr),
            wait_ms: caps::WAIT_MS,
        }
    }

    fn is_behind(&self, followed: &Followed) -> bool {
        let behind = |outlet: &Option<Outlet>, page: &Page| {
            let known = outlet.as_ref().map_or(u64::MAX, Outlet::known);
            !page.bytes.is_empty() && known < page.total
        };
        behind(&self.stdout, &followed.stdout) || behind(&self.stderr, &followed.stderr)
    }

    fn take(&mut self, followed: &Followed) -> Result<(), Failure> {
        for (outlet, page) in [
            (&mut self.stdout, &followed.stdout),
            (&mut self.stderr, &followed.stderr),
        ] {
            let Some(open) = outlet else { continue };
            match open.take(page) {
                // A reader that closed standard error may still want standard output.
                Err(Failure::Gone) if open.to() == To::Stderr => *outlet = None,
                taken => taken?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Stdout,
    Stderr,
}

pub struct Outlet {
    stream: Stream,
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

    /// Writes and flushes the next page, with an incomplete line. Fails with [`Failure::Gone`] or [`Failure::Output`].
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

    /// Passes on the rest of an ended job's stream. Fails as [`Self::take`], and if a part is no longer kept.
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

/// Reports that only bytes before `next` of `wanted` are kept: an error, or a note if the job wrote too much.
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
