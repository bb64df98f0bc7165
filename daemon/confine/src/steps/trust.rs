//! Decides if others than root and a job's own user can change what a name means. The answer stays true while those two do
//! nothing: in a directory that nobody else can write, nobody else can put another file under the same name. No allocation.

use crate::sys;
use remit_common::disks;
use remit_common::shebang::{self, DEPTH, FIRST_BYTES};
use std::{
    ffi::{CStr, CString},
    os::fd::AsFd,
};

const LONGEST: usize = libc::PATH_MAX as usize;

fn is_own(path: &CStr, stat: &libc::stat, uid: u32) -> bool {
    let by_others = stat.st_mode & 0o022 != 0;
    [0, uid].contains(&stat.st_uid) && !by_others && is_kept_here(path, stat)
}

/// Returns true if this machine itself decides owner and mode.
fn is_kept_here(path: &CStr, stat: &libc::stat) -> bool {
    let of_the_machine =
        |dir: &CStr| sys::stat(dir).is_ok_and(|machine| machine.st_dev == stat.st_dev);
    sys::disk_of(path).is_ok_and(disks::is_kept_here)
        || OF_THE_MACHINE.iter().any(|dir| of_the_machine(dir))
}

const OF_THE_MACHINE: [&CStr; 2] = [c"/", c"/usr"];

/// Returns true if only root and `uid` can change `/` and each directory on the way to `path`; follows links.
pub(crate) fn of_way(path: &CStr, uid: u32) -> bool {
    let bytes = path.to_bytes();
    let mut text = [0u8; LONGEST + 1];
    if bytes.len() > LONGEST || bytes.first() != Some(&b'/') {
        return false;
    }
    let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
    slashes.into_iter().all(|(end, _)| {
        let part = bytes.get(..end.max(1)).unwrap_or_default();
        let Some(prefix) = text.get_mut(..part.len()) else {
            return false;
        };
        prefix.copy_from_slice(part);
        if let Some(after) = text.get_mut(part.len()) {
            *after = 0;
        }
        let part = CStr::from_bytes_until_nul(&text).unwrap_or_default();
        sys::stat(part).is_ok_and(|stat| is_own(part, &stat, uid))
    })
}

/// Returns true if only they can change a program and the way to it, by its own name and by the one without links. A
/// missing program passes, because it is not executed either.
pub(crate) fn of_program(program: &CStr, uid: u32) -> bool {
    let Ok(file) = sys::open(program, libc::O_PATH) else {
        return true;
    };
    let Ok(stat) = sys::stat_of(file.as_fd()) else {
        return false;
    };
    let mut real = [0u8; LONGEST];
    let Ok(real) = sys::name_of(file.as_fd(), &mut real) else {
        return false;
    };
    is_own(program, &stat, uid) && of_way(program, uid) && of_way(real, uid)
}

/// Returns true if only they can change a program and all that interprets it. `path`: where env(1) looks programs up.
pub(crate) fn of_whole_program(program: &CStr, path: &[CString], uid: u32) -> bool {
    let mut name: Option<Name> = None;
    let mut first = [0u8; FIRST_BYTES];
    for depth in 0..=DEPTH {
        let program = match (depth, &name) {
            (0, _) => program,
            (_, Some(name)) => match name.text() {
                Some(text) => text,
                None => return false,
            },
            (_, None) => return false,
        };
        if !of_program(program, uid) {
            return false;
        }
        // What this user cannot read, no interpreter could read for it. Non-blocking, because it may be a FIFO.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let Ok(file) = sys::open(program, flags) else {
            return true;
        };
        let Ok(read) = sys::read(file.as_fd(), &mut first) else {
            return true;
        };
        name = match shebang::interpreter(first.get(..read).unwrap_or_default()) {
            Ok(None) => return true,
            Ok(Some(found)) => match found.by_env {
                None => Name::new(found.path, b""),
                Some(by_env) => {
                    let env = Name::new(found.path, b"");
                    let env = env.as_ref().and_then(Name::text);
                    if !env.is_some_and(|env| of_program(env, uid)) {
                        return false;
                    }
                    match looked_up(by_env, path, uid) {
                        Found::Nothing => return true,
                        Found::Untrusted => return false,
                        Found::At(name) => Some(name),
                    }
                }
            },
            Err(_) => return false,
        };
    }
    false
}

// On the stack for one call, because nothing allocates between fork and exec.
#[allow(clippy::large_enum_variant)]
enum Found {
    Nothing,
    Untrusted,
    At(Name),
}

fn looked_up(name: &[u8], path: &[CString], uid: u32) -> Found {
    for dir in path {
        let (Some(dir), Some(whole)) = (
            Name::new(dir.to_bytes(), b""),
            Name::new(dir.to_bytes(), name),
        ) else {
            return Found::Untrusted;
        };
        let (Some(dir), Some(program)) = (dir.text(), whole.text()) else {
            return Found::Untrusted;
        };
        if sys::mode_of(dir).is_err() {
            continue;
        }
        if !of_way(program, uid) {
            return Found::Untrusted;
        }
        let is_program = |mode| mode & libc::S_IFMT == libc::S_IFREG && mode & 0o111 != 0;
        if sys::mode_of(program).is_ok_and(is_program) {
            return Found::At(whole);
        }
    }
    Found::Nothing
}

struct Name([u8; NAME]);

const NAME: usize = 2 * FIRST_BYTES;

impl Name {
    /// Joins `path` and `file`, if that is not empty. `None`: the result is too long, or has a NUL byte.
    fn new(path: &[u8], file: &[u8]) -> Option<Name> {
        let mut name = [0u8; NAME];
        let slash: &[u8] = if file.is_empty() { b"" } else { b"/" };
        for (at, byte) in path.iter().chain(slash).chain(file).enumerate() {
            *name.get_mut(at).filter(|_| at + 1 < NAME && *byte != 0)? = *byte;
        }
        Some(Name(name))
    }

    fn text(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}
