//! The steps that every job begins with, whatever its sandbox: they need the host's `/proc` and
//! the warden's descriptors.

use crate::arguments::{MOST, Thing};
use crate::checklist::{Way, only};
use crate::floor;
use crate::inherited::Own;
use crate::notes::{Failure, Fault, Notes, Taken};
use crate::sandbox::Base;
use crate::{Step, Wall};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
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

/// Where a child of a zygote has its ruleset, what it waits for, and the host's `/proc`: behind the step
/// pipe.
pub(crate) fn ruleset_at(way: &Way<'_>) -> RawFd {
    steps_at(way) + 1
}

pub(crate) fn go_at(way: &Way<'_>) -> RawFd {
    steps_at(way) + 2
}

fn own_at(way: &Way<'_>) -> RawFd {
    steps_at(way) + 3
}

/// The steps that every job begins with.
pub(crate) fn begin(way: &Way<'_>, notes: &mut Notes) -> Result<(), Failure> {
    notes.take(Step::Session, session(way))?;
    notes.take(Step::Cgroup, cgroup(way))?;
    notes.take(Step::Descriptors, descriptors(way))?;
    notes.take(Step::Loginuid, loginuid(way))?;
    notes.take(
        Step::Scheduling,
        only(way, Wall::Scheduling, || scheduling(way)),
    )?;
    if way.inherited.is_some() {
        // It leads to all of the host.
        floor::close_one(own_at(way));
    }
    Ok(())
}

fn session(way: &Way<'_>) -> Result<Taken, Fault> {
    if !way.inherited.is_some_and(|inherited| inherited.is_early()) {
        floor::new_session()?;
    }
    if way.inherited.is_some() {
        return Ok(Taken::Done);
    }
    floor::default_signals()?;
    floor::plain_manners()?;
    Ok(Taken::Done)
}

/// Enters a cgroup.
pub(crate) fn join(dir: BorrowedFd<'_>) -> io::Result<()> {
    let procs = floor::open_at(Some(dir), c"cgroup.procs", libc::O_WRONLY)?;
    floor::write(procs.as_fd(), b"0").map(drop)
}

fn cgroup(way: &Way<'_>) -> Result<Taken, Fault> {
    if let Some(dir) = way.join_cgroup {
        join(dir)?;
        // Whoever ends all jobs when the parent dies may have done so before this one was in there.
        if floor::parent() != way.parent {
            return Err(Fault::because(crate::Why::Died));
        }
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
    let above = |fd: BorrowedFd<'_>| floor::copy_above(fd, (own_at(way) + 1).max(16));
    let stdout = above(way.stdout)?;
    let stderr = above(way.stderr)?;
    let steps = above(way.steps)?;
    // Without a stdin, /dev/null is opened inside; until then something must hold its number.
    let stdin = above(way.stdin.unwrap_or(way.steps))?;
    let script = way.script.map(above).transpose()?;
    let mut opened = [None; MOST];
    for (copy, argument) in opened.iter_mut().zip(way.arguments) {
        *copy = match (argument.number, &argument.thing) {
            (Some(at), Thing::Secret(fd) | Thing::Path { copy: Some(fd), .. }) => {
                Some((above(*fd)?, at))
            }
            // Opened inside; the same goes for its number.
            (Some(at), Thing::Path { copy: None, .. }) => Some((above(way.steps)?, at)),
            (None, _) => None,
        };
    }
    let (mut ruleset, mut go, mut own) = (None, None, None);
    if let Some(inherited) = way.inherited {
        ruleset = inherited.ruleset.map(above).transpose()?;
        go = inherited.go.map(above).transpose()?;
        own = inherited.own().map(above).transpose()?;
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
    let further = [
        (ruleset, ruleset_at(way)),
        (go, go_at(way)),
        (own, own_at(way)),
    ];
    for (copy, at) in further {
        if let Some(copy) = copy {
            floor::place_closing(copy, at)?;
        }
    }
    if way.sandbox.walls.up(Wall::Descriptors) {
        let last = way.inherited.map_or(steps_at, |_| own_at(way));
        // What is not there has no number either.
        for (_, at) in further.iter().filter(|(copy, _)| copy.is_none()) {
            if *at <= last {
                floor::close_one(*at);
            }
        }
        floor::close_from(last + 1)?;
    }
    Ok(Taken::Done)
}

/// A file of the own directory in `/proc`, for writing; `path` where that is what the host has.
fn own_file(way: &Way<'_>, name: &CStr, path: &CStr) -> io::Result<OwnedFd> {
    match way.inherited.map(|inherited| inherited.own) {
        Some(Own::Proc(_)) => {
            floor::open_at(Some(floor::placed(own_at(way))), name, libc::O_WRONLY)
        }
        // The one that is still to be written.
        Some(Own::Loginuid(Some(_))) => Ok(floor::owned(own_at(way))),
        Some(Own::Loginuid(None)) => Err(io::ErrorKind::NotFound.into()),
        None => floor::open(path, libc::O_WRONLY),
    }
}

fn loginuid(way: &Way<'_>) -> Result<Taken, Fault> {
    let Some(uid) = &way.loginuid else {
        return Ok(Taken::Absent);
    };
    match own_file(way, c"self/loginuid", c"/proc/self/loginuid") {
        Ok(file) => {
            floor::write(file.as_fd(), uid.as_bytes())?;
            Ok(Taken::Done)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Taken::Absent),
        Err(e) => Err(e.into()),
    }
}

fn scheduling(way: &Way<'_>) -> io::Result<Taken> {
    match way.inherited {
        None => floor::plain_scheduling()?,
        Some(inherited) if inherited.is_early() => return Ok(Taken::Done),
        Some(_) => {}
    }
    let file = own_file(way, c"self/oom_score_adj", c"/proc/self/oom_score_adj")?;
    let score = match way.sandbox.base {
        // What changes the host must not be the first to go half-way.
        Base::Host => &b"0"[..],
        Base::Read(_) | Base::Strict(_) => FIRST_TO_GO,
    };
    floor::write(file.as_fd(), score)?;
    Ok(Taken::Done)
}

/// The most: what a job holds in pipes and sockets counts for no process, so that with less a large program of
/// the host would be the worse one.
pub(crate) const FIRST_TO_GO: &[u8] = b"1000";
