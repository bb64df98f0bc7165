//! The programs that commands name: whether only root can change what would be executed.
//!
//! A name may lead through symbolic links, as `/bin` and those of update-alternatives(1) do. Each is
//! followed here, one component at a time by descriptor, and every directory on any part of the way,
//! every link and the file itself must be root's and writable by nobody else.
//!
//! A program may be setuid or setgid, or have capabilities of its own: who can change it is no other
//! for that, and in the sandbox it gains nothing (`PR_SET_NO_NEW_PRIVS`). In the profile `host` there
//! is no sandbox, and it is what its administrator named.
//!
//! So must whatever interprets it, where it is a script: the interpreter of its first line and, where that is env(1),
//! the program that env finds on the PATH of jobs.
//!
//! Not looked at: what the program itself loads, such as libraries.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use remit_common::shebang;
use remit_policy::{PATH_DIRS, Program};

use crate::trust::{Distrusted, check_root, distrusted, failed, kind};

/// Symbolic links on the way, as many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;
/// Nothing is opened for reading, and no link followed unseen.
const HOW: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Looks at the program at an absolute path.
pub fn program(path: &str) -> Program {
    match walk(Path::new(path), check_program) {
        Ok(Found::File) => match interpreted(Path::new(path), 0) {
            Ok(()) => Program::Trusted,
            Err(why) => {
                Program::Distrusted(format!("it is a script, and what interprets it: {why}"))
            }
        },
        Ok(Found::Nothing) => Program::Missing,
        Err(why) => Program::Distrusted(why.to_string()),
    }
}

/// Whether only root can change what interprets a program that only root can change. One that is missing is nobody's:
/// the way to it is looked at, and the script is not executed either.
fn interpreted(program: &Path, depth: usize) -> Result<(), Distrusted> {
    let first = match first_bytes(program) {
        Ok(first) => first,
        // For who is not root: the daemon's own load looks.
        Err(_) => return Ok(()),
    };
    let found = shebang::interpreter(&first).map_err(|why| distrusted(program, why))?;
    let Some(found) = found else {
        return Ok(());
    };
    if depth == shebang::DEPTH {
        return Err(distrusted(
            program,
            "its interpreters are scripts themselves",
        ));
    }
    let interpreter = Path::new(OsStr::from_bytes(found.path));
    let is_there = walk(interpreter, check_program)? == Found::File;
    match (found.by_env, is_there) {
        (None, true) => interpreted(interpreter, depth + 1),
        (Some(name), true) => {
            let name = OsStr::from_bytes(name);
            for dir in PATH_DIRS {
                let program = Path::new(dir).join(name);
                if walk(&program, check_program)? == Found::File {
                    return interpreted(&program, depth + 1);
                }
            }
            Ok(())
        }
        (_, false) => Ok(()),
    }
}

/// How a file begins, which only root can change.
fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    let how = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits())
        .open(path)?;
    how.take(shebang::FIRST_BYTES as u64)
        .read_to_end(&mut first)?;
    Ok(first)
}

/// Whether only root can change the regular file at an absolute path, or the way to it.
///
/// # Errors
/// Who else can, at which part of the way; or there is no such file.
pub fn only_root_changes(path: &Path) -> Result<(), String> {
    match walk(path, check_root) {
        Ok(Found::File) => Ok(()),
        Ok(Found::Nothing) => Err(failed(path, Errno::ENOENT).to_string()),
        Err(why) => Err(why.to_string()),
    }
}

/// What a file that was reached must be.
type Check = fn(&Path, &FileStat) -> Result<(), Distrusted>;

#[derive(Debug, PartialEq, Eq)]
enum Found {
    File,
    Nothing,
}

/// Goes to where `path` leads.
fn walk(path: &Path, check: Check) -> Result<Found, Distrusted> {
    if !path.is_absolute() {
        return Err(distrusted(path, "the path must be absolute"));
    }
    let mut here = Here::root()?;
    let mut links = 0;
    // What is still to go, the next component last.
    let mut left = parts(path);
    while let Some(part) = left.pop() {
        if part == ".." {
            here.up();
            continue;
        }
        let at = here.path.join(&part);
        let opened = match openat(here.dir(), part.as_os_str(), HOW, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(failed(&at, errno)),
        };
        let stat = fstat(&opened).map_err(|errno| failed(&at, errno))?;
        match kind(&stat) {
            SFlag::S_IFDIR => {
                check_root(&at, &stat)?;
                here.down(at, opened);
            }
            SFlag::S_IFLNK => {
                links += 1;
                if links > LINKS {
                    let why = format!("more than {LINKS} symbolic links lead on from there");
                    return Err(distrusted(path, why));
                }
                check_link(&at, &stat)?;
                let to = readlinkat(&opened, "").map_err(|errno| failed(&at, errno))?;
                let to = Path::new(&to);
                if to.is_absolute() {
                    here = Here::root()?;
                }
                left.extend(parts(to));
            }
            SFlag::S_IFREG if left.is_empty() => return check(&at, &stat).map(|()| Found::File),
            SFlag::S_IFREG => return Err(failed(&at, Errno::ENOTDIR)),
            _ => return Err(distrusted(&at, "it is not a regular file")),
        }
    }
    Err(distrusted(&here.path, "it is a directory, not a program"))
}

/// The components of a path that name something, the first last.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(named).collect()
}

/// The mode of a link means nothing, and what it says cannot be changed (symlink(7)).
fn check_link(path: &Path, stat: &FileStat) -> Result<(), Distrusted> {
    match stat.st_uid {
        0 => Ok(()),
        uid => Err(distrusted(
            path,
            format!("the symbolic link is owned by uid {uid}, not by root"),
        )),
    }
}

fn check_program(path: &Path, stat: &FileStat) -> Result<(), Distrusted> {
    check_root(path, stat)?;
    let executable = Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH;
    match Mode::from_bits_truncate(stat.st_mode).intersects(executable) {
        true => Ok(()),
        false => Err(distrusted(path, "it is not executable")),
    }
}

/// A directory that was reached, and those above it: each is real, so `..` is the one before.
struct Here {
    path: PathBuf,
    root: OwnedFd,
    below: Vec<OwnedFd>,
}

impl Here {
    fn root() -> Result<Self, Distrusted> {
        let path = PathBuf::from("/");
        let root = open("/", HOW, Mode::empty()).map_err(|errno| failed(&path, errno))?;
        let stat = fstat(&root).map_err(|errno| failed(&path, errno))?;
        check_root(&path, &stat)?;
        Ok(Self {
            path,
            root,
            below: Vec::new(),
        })
    }

    fn dir(&self) -> &OwnedFd {
        self.below.last().unwrap_or(&self.root)
    }

    fn down(&mut self, path: PathBuf, dir: OwnedFd) {
        self.path = path;
        self.below.push(dir);
    }

    /// Of `/` itself it is `/`.
    fn up(&mut self) {
        self.path.pop();
        self.below.pop();
    }
}

#[cfg(test)]
mod tests;
