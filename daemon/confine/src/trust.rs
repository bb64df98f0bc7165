//! Whether others than root and a job's own user can change what a name means.
//!
//! The answer stays true for as long as those two do nothing: a directory that nobody else can
//! write is one in which nobody else can put another file under the same name. No allocation.

use crate::floor;
use remit_common::shebang::{self, DEPTH, FIRST_BYTES};
use std::{
    ffi::{CStr, CString},
    os::fd::AsFd,
};

/// Longest name looked at. path_resolution(7).
const LONGEST: usize = libc::PATH_MAX as usize;

/// Whether `stat` is of something that only root and `uid` can change.
fn is_own(stat: &libc::stat, uid: u32) -> bool {
    let by_others = stat.st_mode & 0o022 != 0;
    [0, uid].contains(&stat.st_uid) && !by_others
}

/// Whether that holds for `/` and each directory above the last part of `path`, links followed.
pub(crate) fn of_way(path: &CStr, uid: u32) -> bool {
    let bytes = path.to_bytes();
    let mut text = [0u8; LONGEST + 1];
    if bytes.len() > LONGEST || bytes.first() != Some(&b'/') {
        return false;
    }
    let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
    slashes.into_iter().all(|(end, _)| {
        let part = bytes.get(..end.max(1)).unwrap_or_default();
        let Some(room) = text.get_mut(..part.len()) else {
            return false;
        };
        room.copy_from_slice(part);
        if let Some(after) = text.get_mut(part.len()) {
            *after = 0;
        }
        let part = CStr::from_bytes_until_nul(&text).unwrap_or_default();
        floor::stat(part).is_ok_and(|stat| is_own(&stat, uid))
    })
}

/// Whether it holds for a program and the way to it, by its own name and by the one without
/// links. One that is not there is nobody's: it is not executed either.
pub(crate) fn of_program(program: &CStr, uid: u32) -> bool {
    let Ok(file) = floor::open(program, libc::O_PATH) else {
        return true;
    };
    let Ok(stat) = floor::stat_of(file.as_fd()) else {
        return false;
    };
    let mut real = [0u8; LONGEST];
    let Ok(real) = floor::name_of(file.as_fd(), &mut real) else {
        return false;
    };
    is_own(&stat, uid) && of_way(program, uid) && of_way(real, uid)
}

/// Whether a program can be executed as what root put there: it and, of a script, whatever interprets it. `path`: where
/// env(1) looks programs up.
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
        // What this user cannot read, no interpreter could read for it; a FIFO is not waited for.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let Ok(file) = floor::open(program, flags) else {
            return true;
        };
        let Ok(read) = floor::read(file.as_fd(), &mut first) else {
            return true;
        };
        name = match shebang::interpreter(first.get(..read).unwrap_or_default()) {
            Ok(None) => return true,
            Ok(Some(found)) => match found.by_env {
                None => Name::of(found.path, b""),
                Some(by_env) => {
                    let env = Name::of(found.path, b"");
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

/// What env(1) finds.
// On the stack for one call: nothing allocates between fork and exec.
#[allow(clippy::large_enum_variant)]
enum Found {
    /// Nothing to execute.
    Nothing,
    /// Somebody else can put a program there.
    Untrusted,
    At(Name),
}

/// The first program of this name on the path.
fn looked_up(name: &[u8], path: &[CString], uid: u32) -> Found {
    for dir in path {
        let (Some(dir), Some(whole)) = (
            Name::of(dir.to_bytes(), b""),
            Name::of(dir.to_bytes(), name),
        ) else {
            return Found::Untrusted;
        };
        let (Some(dir), Some(program)) = (dir.text(), whole.text()) else {
            return Found::Untrusted;
        };
        if floor::mode_of(dir).is_err() {
            continue;
        }
        if !of_way(program, uid) {
            return Found::Untrusted;
        }
        let is_program = |mode| mode & libc::S_IFMT == libc::S_IFREG && mode & 0o111 != 0;
        if floor::mode_of(program).is_ok_and(is_program) {
            return Found::At(whole);
        }
    }
    Found::Nothing
}

/// A path, without allocation.
struct Name([u8; NAME]);

/// Of an interpreter, as much as its line holds, or a directory and a name of such a line.
const NAME: usize = 2 * FIRST_BYTES;

impl Name {
    /// A path, or a file of this name in it. `None`: it is too long, or has a NUL byte.
    fn of(path: &[u8], file: &[u8]) -> Option<Name> {
        let mut name = [0u8; NAME];
        let slash: &[u8] = if file.is_empty() { b"" } else { b"/" };
        for (at, byte) in path.iter().chain(slash).chain(file).enumerate() {
            // The last one stays NUL.
            *name.get_mut(at).filter(|_| at + 1 < NAME && *byte != 0)? = *byte;
        }
        Some(Name(name))
    }

    fn text(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}
