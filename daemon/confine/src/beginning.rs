//! The steps that every job begins with, whatever its sandbox: they need the host's `/proc` and
//! the warden's descriptors.

use crate::arguments::{MOST, Thing};
use crate::checklist::{Way, only};
use crate::floor;
use crate::notes::{Failure, Fault, Notes, Taken};
use crate::sandbox::Base;
use crate::{Step, Wall};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
};

/// The number of the first descriptor that an argument can get.
pub(crate) fn arguments_at(script: bool) -> RawFd {
    if script { 4 } else { 3 }
}

/// The step pipe's number: the first free one.
pub(crate) fn steps_at(way: &Way<'_>) -> RawFd {
    let last = way.arguments.iter().filter_map(|a| a.number).max();
    last.map_or(arguments_at(way.script.is_some()), |last| last + 1)
}

/// The steps that every job begins with.
pub(crate) fn begin(way: &Way<'_>, notes: &mut Notes) -> Result<(), Failure> {
    notes.take(Step::Session, session())?;
    notes.take(Step::Cgroup, cgroup(way))?;
    notes.take(Step::Descriptors, descriptors(way))?;
    notes.take(Step::Loginuid, loginuid(way))?;
    notes.take(
        Step::Scheduling,
        only(way, Wall::Scheduling, || scheduling(way)),
    )
}

fn session() -> Result<Taken, Fault> {
    floor::new_session()?;
    floor::default_signals()?;
    floor::plain_manners()?;
    Ok(Taken::Done)
}

fn cgroup(way: &Way<'_>) -> Result<Taken, Fault> {
    if let Some(dir) = way.join_cgroup {
        let procs = floor::open_at(Some(dir), c"cgroup.procs", libc::O_WRONLY)?;
        floor::write(procs.as_fd(), b"0")?;
    }
    Ok(if way.has_cgroup {
        Taken::Done
    } else {
        Taken::Absent
    })
}

/// Copies out of the way first, so that no copy covers what is still to be placed.
fn descriptors(way: &Way<'_>) -> Result<Taken, Fault> {
    let steps_at = steps_at(way);
    let above = |fd: BorrowedFd<'_>| floor::copy_above(fd, (steps_at + 1).max(16));
    let stdout = above(way.stdout)?;
    let stderr = above(way.stderr)?;
    let steps = above(way.steps)?;
    // Without a stdin, /dev/null is opened inside; until then something must hold its number.
    let stdin = above(way.stdin.unwrap_or(way.steps))?;
    let script = way.script.map(above).transpose()?;
    let mut opened = [None; MOST];
    for (copy, argument) in opened.iter_mut().zip(way.arguments) {
        *copy = match (argument.number, &argument.thing) {
            (Some(at), Thing::Secret(fd)) => Some((above(*fd)?, at)),
            // Opened inside; the same goes for its number.
            (Some(at), Thing::Path { .. }) => Some((above(way.steps)?, at)),
            (None, _) => None,
        };
    }
    floor::place(stdin, 0)?;
    floor::place(stdout, 1)?;
    floor::place(stderr, 2)?;
    if let Some(script) = script {
        floor::place(script, 3)?;
    }
    for (copy, at) in opened.into_iter().flatten() {
        floor::place(copy, at)?;
    }
    floor::place_closing(steps, steps_at)?;
    if way.sandbox.walls.up(Wall::Descriptors) {
        floor::close_from(steps_at + 1)?;
    }
    Ok(Taken::Done)
}

fn loginuid(way: &Way<'_>) -> Result<Taken, Fault> {
    let Some(uid) = &way.loginuid else {
        return Ok(Taken::Absent);
    };
    match floor::open(c"/proc/self/loginuid", libc::O_WRONLY) {
        Ok(file) => {
            floor::write(file.as_fd(), uid.as_bytes())?;
            Ok(Taken::Done)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Taken::Absent),
        Err(e) => Err(e.into()),
    }
}

fn scheduling(way: &Way<'_>) -> io::Result<Taken> {
    floor::plain_scheduling()?;
    let file = floor::open(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    let score = match way.sandbox.base {
        // What changes the host must not be the first to go half-way.
        Base::Host => &b"0"[..],
        // The most: what a job holds in pipes and sockets counts for no process, so that with
        // less a large program of the host would be the worse one.
        Base::Read(_) | Base::Strict(_) => b"1000",
    };
    floor::write(file.as_fd(), score)?;
    Ok(Taken::Done)
}
