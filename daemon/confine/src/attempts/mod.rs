//! What a witness tries: for each wall, something that the wall forbids.
//!
//! Each attempt runs in a process of its own that answers with an errno, 0 when it was allowed.
//! Where it can be, the same is tried before without the walls, by the same uid: so that an
//! attempt that would fail anyhow proves nothing.

mod common;
mod strict;

use crate::floor;
use crate::limits::Row;
use crate::sandbox::Base;
use crate::{Sandbox, Wall};
use common::COMMON;
use libc::c_long;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use strict::STRICT;

/// What the attempts work on, made before the walls.
pub(crate) struct Stage<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) limits: &'a [Row],
    /// Where mounts may be written, devices used, files executed: as mountinfo has them.
    pub(crate) writable: &'a [CString],
    pub(crate) devices: &'a [CString],
    pub(crate) executable: &'a [CString],
    /// A process of the same uid, outside the walls.
    pub(crate) bystander: i32,
    pub(crate) outside: Outside,
}

/// What things outside are known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    /// The device of `/tmp`, and of `/`.
    pub(crate) tmp: u64,
    pub(crate) root: u64,
    /// The inodes of the warden's namespaces, in the order of `NAMESPACES`.
    pub(crate) namespaces: [u64; 5],
}

/// Pid, network, ipc, uts and cgroup namespaces of whoever asks.
pub(crate) const NAMESPACES: [&CStr; 5] = [
    c"/proc/self/ns/pid",
    c"/proc/self/ns/net",
    c"/proc/self/ns/ipc",
    c"/proc/self/ns/uts",
    c"/proc/self/ns/cgroup",
];

/// Whether namespace `which` is another than the warden's.
fn own_namespace(stage: &Stage<'_>, which: usize) -> i32 {
    let (Some(path), Some(outside)) = (NAMESPACES.get(which), stage.outside.namespaces.get(which))
    else {
        return 0;
    };
    holds(floor::stat(path).is_ok_and(|own| own.st_ino != *outside))
}

/// Files of the stage: a tmpfs over `/sys` in the witness's own namespace, open to all.
pub(crate) const STAGE: &CStr = c"/sys";
pub(crate) const FILE: &CStr = c"/sys/file";
pub(crate) const FIFO: &CStr = c"/sys/fifo";
pub(crate) const DEVICE: &CStr = c"/sys/zero";
pub(crate) const PROGRAM: &CStr = c"/sys/program";

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) wall: Wall,
    pub(crate) what: &'static str,
    /// The answer when the wall holds.
    pub(crate) held: i32,
    /// The answer without the walls, where there is one.
    pub(crate) control: Option<i32>,
    pub(crate) run: fn(&Stage<'_>) -> i32,
    /// In which sandboxes the wall is to be tried like this.
    fits: fn(&Sandbox) -> bool,
}

impl Attempt {
    const fn when(self, fits: fn(&Sandbox) -> bool) -> Attempt {
        Attempt { fits, ..self }
    }
}

fn always(_: &Sandbox) -> bool {
    true
}

/// The answer of an attempt that looks at a state and finds it as it must be.
const HOLDS: i32 = 255;

fn holds(yes: bool) -> i32 {
    if yes { HOLDS } else { 0 }
}

fn errno<T>(tried: std::io::Result<T>) -> i32 {
    tried.map_or_else(|e| e.raw_os_error().unwrap_or(HOLDS), |_| 0)
}

fn call(number: c_long, args: [c_long; 4]) -> i32 {
    (-floor::attempt(number, args)).max(0)
}

const fn state(wall: Wall, what: &'static str, run: fn(&Stage<'_>) -> i32) -> Attempt {
    Attempt {
        wall,
        what,
        held: HOLDS,
        control: None,
        run,
        fits: always,
    }
}

const fn refusal(
    wall: Wall,
    what: &'static str,
    held: i32,
    control: i32,
    run: fn(&Stage<'_>) -> i32,
) -> Attempt {
    Attempt {
        wall,
        what,
        held,
        control: Some(control),
        run,
        fits: always,
    }
}

/// All attempts. Those of a wall that this kernel cannot have are left out.
pub(crate) fn attempts(sandbox: &Sandbox) -> impl Iterator<Item = &'static Attempt> + '_ {
    let there = |attempt: &&Attempt| {
        attempt.wall.absent(&sandbox.kernel).is_none() && (attempt.fits)(sandbox)
    };
    let strict = match sandbox.base {
        Base::Strict(_) => STRICT,
        Base::Read(_) | Base::Host => &[],
    };
    COMMON.iter().chain(strict).filter(there)
}

/// Whether every mount but those on `except` has `option`. proc_pid_mountinfo(5): the fifth
/// field is the place, the sixth the options of the mount itself. Looks at the first 256 KiB:
/// all mounts got their flags from one call.
fn each_mount(option: &[u8], except: &[CString]) -> i32 {
    let mut text = [0u8; 256 << 10];
    let Ok(file) = floor::open(c"/proc/self/mountinfo", libc::O_RDONLY) else {
        return 0;
    };
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match floor::read(file.as_fd(), rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(_) => return 0,
        }
    }
    // Whole lines only.
    let text = text.get(..len).unwrap_or_default();
    let end = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let lines = text.get(..end).unwrap_or_default().split(|b| *b == b'\n');
    let all = lines.into_iter().all(|line| {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next()) else {
            return false;
        };
        let excepted = except.iter().any(|path| path.to_bytes() == place);
        excepted || options.split(|b| *b == b',').any(|o| o == option)
    });
    holds(all)
}
