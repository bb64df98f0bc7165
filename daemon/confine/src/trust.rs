//! Whether others than root and a job's own user can change what a name means.
//!
//! The answer stays true for as long as those two do nothing: a directory that nobody else can
//! write is one in which nobody else can put another file under the same name. No allocation.

use crate::floor;
use std::{ffi::CStr, os::fd::AsFd};

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
