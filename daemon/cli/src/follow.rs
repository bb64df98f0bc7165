//! What a job writes, passed on as it comes.
//!
//! The daemon answers each question when there is more, so nothing here looks again and again. Of each
//! stream the bytes that are passed on are counted: a question that is asked again, on a new
//! connection or of a new daemon, brings nothing twice and loses nothing.

use std::thread;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{Followed, JobReport, Page, Stream};
use remit_common::wire::Follow;

use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::outlet::{Outlet, To};

/// The shortest time between two questions, unless the first was answered by a full page. A job that writes a
/// line a millisecond is shown in larger pieces, and its owner's other requests find room.
const PACE: Duration = Duration::from_millis(50);

/// The streams of a job that are passed on.
pub struct Streams {
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
}

impl Streams {
    /// Both, each to ours of the same name, from these bytes on.
    pub fn both(stdout: u64, stderr: u64) -> Self {
        Self {
            stdout: Some(Outlet::new(Stream::Stdout, stdout, To::Stdout)),
            stderr: Some(Outlet::new(Stream::Stderr, stderr, To::Stderr)),
        }
    }

    /// One, to our standard output, from this byte on.
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

    /// Passes on what comes until the job has ended; what it wrote last may still be missing.
    ///
    /// # Errors
    /// [`Failure::Unread`] when nobody reads our standard output any more: the job goes on.
    pub fn follow(&mut self, daemon: &mut Daemon, report: JobReport) -> Result<JobReport, Failure> {
        daemon.waits_for(&report);
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

    /// Passes on what is left of an ended job's streams: standard output whole, then standard error.
    pub fn rest(self, daemon: &mut Daemon, report: &JobReport) -> Result<(), Failure> {
        let mut rest = |outlet: Option<Outlet>| match outlet.map(|all| all.rest(daemon, report)) {
            // A reader that left early, as `head` does, is no failure of the command.
            None | Some(Ok(()) | Err(Failure::Gone)) => Ok(()),
            Some(failed) => failed,
        };
        let (stdout, stderr) = (rest(self.stdout), rest(self.stderr));
        stdout.and(stderr)
    }

    fn question(&self, job: JobId) -> Follow {
        // Of a stream that nobody wants, all is known.
        let known = |outlet: &Option<Outlet>| outlet.as_ref().map_or(u64::MAX, Outlet::known);
        Follow {
            job,
            stdout: known(&self.stdout),
            stderr: known(&self.stderr),
            wait_ms: caps::WAIT_MS,
        }
    }

    /// Whether there was more than an answer holds.
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
                // Whoever closed our standard error may still want the output.
                Err(Failure::Gone) if open.to() == To::Stderr => *outlet = None,
                taken => taken?,
            }
        }
        Ok(())
    }
}
