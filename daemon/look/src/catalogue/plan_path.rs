//! What is at a path of a plan, by lstat(2): no link is followed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use remit_plan::{Kind, Metadata, PlanPath, Stat};

use crate::text::{shown, unseen};

/// What a plan sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    Content,
    /// Name, owner, mode, size and times, by a right to look into private directories.
    Names,
}

/// Opens the directory of a path, through no link; `None` if it does not exist. openat2(2), the same, is refused to jobs.
pub fn directory(path: &PlanPath, visibility: Visibility) -> Result<Option<OwnedFd>, String> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut here = nix::fcntl::open("/", flags, Mode::empty())
        .map_err(|errno| format!("cannot look at '/': {errno}"))?;
    let (mut at, parent) = (0, path.parent());
    for part in parent
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        let above = parent.get(..at.max(1)).unwrap_or(parent);
        at += 1 + part.len();
        let this = parent.get(..at).unwrap_or(parent);
        let name = OsStr::from_bytes(part);
        let next = match openat(&here, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(unseen(above, errno)),
        };
        let seen = fstat(&next).map_err(|errno| unseen(this, errno))?;
        match Kind::from_mode(seen.st_mode) {
            Kind::Directory => here = next,
            Kind::Symlink => return Err(link(this, &here, name, visibility)),
            Kind::File | Kind::Special => {
                return Err(format!("'{}' is not a directory", shown(this)));
            }
        }
    }
    Ok(Some(here))
}

/// Where a link leads is not one of the names, modes, sizes and times that [`Visibility::Names`] gives.
pub fn link(path: &[u8], parent: impl AsFd, name: &OsStr, visibility: Visibility) -> String {
    let to = match visibility {
        Visibility::Content => readlinkat(parent, name).ok(),
        Visibility::Names => None,
    };
    let to = to.map_or_else(String::new, |to| format!(" to '{}'", shown(to.as_bytes())));
    format!(
        "'{}' is a symbolic link{to}; name the file that it leads to",
        shown(path)
    )
}

pub const fn stat(seen: &FileStat) -> Stat {
    Stat {
        kind: Kind::from_mode(seen.st_mode),
        dev: seen.st_dev,
        ino: seen.st_ino,
        ctime_ns: seen.st_ctime as i128 * 1_000_000_000 + seen.st_ctime_nsec as i128,
        size: seen.st_size.unsigned_abs(),
        meta: Metadata {
            mode: seen.st_mode & 0o7777,
            uid: seen.st_uid,
            gid: seen.st_gid,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn names_do_not_say_where_a_link_leads() {
        let dir = env::temp_dir().join(format!("look-link-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        symlink("secret-target", dir.join("link")).unwrap();
        let path = PlanPath::new(dir.join("link/file").as_os_str().as_bytes()).unwrap();
        for (visibility, is_said) in [(Visibility::Content, true), (Visibility::Names, false)] {
            let why = directory(&path, visibility).unwrap_err();
            assert!(why.contains("is a symbolic link"), "{why}");
            assert_eq!(why.contains("secret-target"), is_said, "{why}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
