//! An attempt of the self-test, what it finds on its stage, and how its answer is written.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use libc::c_long;

use crate::{Layer, Sandbox, sys};
use remit_spawn::ResourceLimit;

pub(crate) struct Stage<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) limits: &'a [ResourceLimit],
    pub(crate) writable: &'a [CString],
    pub(crate) devices: &'a [CString],
    pub(crate) executable: &'a [CString],
    /// A process of the same uid, outside the layers.
    pub(crate) bystander: i32,
    pub(crate) outside: Outside,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    pub(crate) tmp: u64,
    pub(crate) root: u64,
    pub(crate) namespaces: [u64; 5],
}

pub(crate) const NAMESPACES: [&CStr; 5] = [
    c"/proc/self/ns/pid",
    c"/proc/self/ns/net",
    c"/proc/self/ns/ipc",
    c"/proc/self/ns/uts",
    c"/proc/self/ns/cgroup",
];

pub(super) fn own_namespace(stage: &Stage<'_>, which: usize) -> i32 {
    let (Some(path), Some(outside)) = (NAMESPACES.get(which), stage.outside.namespaces.get(which))
    else {
        return 0;
    };
    holds(sys::stat(path).is_ok_and(|own| own.st_ino != *outside))
}

/// Files of the stage: a tmpfs over `/sys` in the self-test's own namespace, open to all.
pub(crate) const STAGE: &CStr = c"/sys";
pub(crate) const FILE: &CStr = c"/sys/file";
pub(crate) const FIFO: &CStr = c"/sys/fifo";
pub(crate) const DEVICE: &CStr = c"/sys/zero";
pub(crate) const PROGRAM: &CStr = c"/sys/program";

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) layer: Layer,
    pub(crate) what: &'static str,
    pub(crate) held: i32,
    /// The answer without the layers, if there is one.
    pub(crate) control: Option<i32>,
    pub(crate) run: fn(&Stage<'_>) -> i32,
    pub(super) fits: fn(&Sandbox) -> bool,
}

impl Attempt {
    pub(super) const fn when(self, fits: fn(&Sandbox) -> bool) -> Attempt {
        Attempt { fits, ..self }
    }
}

pub(super) fn always(_: &Sandbox) -> bool {
    true
}

pub(super) const HOLDS: i32 = 255;

pub(super) fn holds(yes: bool) -> i32 {
    if yes { HOLDS } else { 0 }
}

pub(super) fn errno<T>(tried: std::io::Result<T>) -> i32 {
    tried.map_or_else(|e| e.raw_os_error().unwrap_or(HOLDS), |_| 0)
}

pub(super) fn call(number: c_long, args: [c_long; 4]) -> i32 {
    (-sys::attempt(number, args)).max(0)
}

pub(super) const fn state(layer: Layer, what: &'static str, run: fn(&Stage<'_>) -> i32) -> Attempt {
    Attempt {
        layer,
        what,
        held: HOLDS,
        control: None,
        run,
        fits: always,
    }
}

pub(super) const fn refusal(
    layer: Layer,
    what: &'static str,
    held: i32,
    control: i32,
    run: fn(&Stage<'_>) -> i32,
) -> Attempt {
    Attempt {
        layer,
        what,
        held,
        control: Some(control),
        run,
        fits: always,
    }
}

/// Checks that every mount but those on `except` has `option`. proc_pid_mountinfo(5): the fifth field is the mount
/// point, the sixth the options. Reads the first 256 KiB: all mounts got their flags from one call.
pub(super) fn each_mount(option: &[u8], except: &[CString]) -> i32 {
    let mut text = [0u8; 256 << 10];
    let Ok(file) = sys::open(c"/proc/self/mountinfo", libc::O_RDONLY) else {
        return 0;
    };
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match sys::read(file.as_fd(), rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(_) => return 0,
        }
    }
    let text = text.get(..len).unwrap_or_default();
    let end = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let lines = text.get(..end).unwrap_or_default().split(|b| *b == b'\n');
    let all = lines.into_iter().all(|line| {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let (Some(mount_point), Some(options)) = (fields.next(), fields.next()) else {
            return false;
        };
        let excepted = except.iter().any(|path| path.to_bytes() == mount_point);
        excepted || options.split(|b| *b == b',').any(|o| o == option)
    });
    holds(all)
}
