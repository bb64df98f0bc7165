//! Checks that only root can change the programs that commands name. Symbolic links are followed here, component by
//! component by descriptor. Every directory on the way, every link and the file itself must belong to root, be writable
//! by nobody else, and be on a file system that keeps owners and modes itself ([`disks`]). The same holds for what
//! interprets a script: the interpreter of its first line and, if that is env(1), the program that env finds on the
//! PATH of jobs. A program may be setuid or have file capabilities: in a sandbox it gains nothing from them
//! (`PR_SET_NO_NEW_PRIVS`), for the profile `host` the administrator chose it. Libraries are not checked.

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
use nix::sys::statfs::fstatfs;
use remit_common::{disks, shebang};
use remit_policy::{PATH_DIRS, Program};

use crate::trust::{Distrusted, check_root, distrusted, failed, kind};

/// Maximum number of symbolic links on the way, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;
/// Opens nothing for reading, and follows no link without a check.
const HOW: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

pub fn program(path: &str) -> Program {
    match walk(Path::new(path), check_program) {
        Ok(Found::File) => match interpreted(Path::new(path), 0) {
            Ok(()) => Program::Trusted,
            Err(why) => Program::Distrusted(format!(
                "it is a script, and its interpreter is refused: {why}"
            )),
        },
        Ok(Found::Nothing) => Program::Missing,
        Ok(Found::Directory(real)) => Program::Distrusted(not_a_program(&real).to_string()),
        Err(why) => Program::Distrusted(why.to_string()),
    }
}

fn not_a_program(path: &Path) -> Distrusted {
    distrusted(path, "it is a directory, not a program")
}

/// Checks that only root can change what interprets a program. Of a missing one only the path to it.
fn interpreted(program: &Path, depth: usize) -> Result<(), Distrusted> {
    let first = match first_bytes(program) {
        Ok(first) => first,
        Err(_) => return Ok(()), // The caller is not root. The daemon's own load checks it.
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

/// Checks that only root can change the file at an absolute path and the way to it. The error says who can, and where.
pub fn only_root_changes(path: &Path) -> Result<(), String> {
    match walk(path, check_root) {
        Ok(Found::File) => Ok(()),
        Ok(Found::Nothing) => Err(failed(path, Errno::ENOENT).to_string()),
        Ok(Found::Directory(real)) => Err(not_a_program(&real).to_string()),
        Err(why) => Err(why.to_string()),
    }
}

/// Returns true if only root can change the file or its absence, the way to it, and the names in a directory.
pub fn only_root_names(path: &Path) -> bool {
    walk(path, check_root).is_ok()
}

type Check = fn(&Path, &FileStat) -> Result<(), Distrusted>;

#[derive(Debug, PartialEq, Eq)]
enum Found {
    File,
    Directory(PathBuf),
    Nothing,
}

fn walk(path: &Path, check: Check) -> Result<Found, Distrusted> {
    if !path.is_absolute() {
        return Err(distrusted(path, "the path must be absolute"));
    }
    let mut here = DirStack::root()?;
    let mut links = 0;
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
        check_disk(&at, &opened, &stat)?;
        match kind(&stat) {
            SFlag::S_IFDIR => {
                check_root(&at, &stat)?;
                here.down(at, opened);
            }
            SFlag::S_IFLNK => {
                links += 1;
                if links > LINKS {
                    let why = format!("it leads through more than {LINKS} symbolic links");
                    return Err(distrusted(path, why));
                }
                check_link(&at, &stat)?;
                let to = readlinkat(&opened, "").map_err(|errno| failed(&at, errno))?;
                let to = Path::new(&to);
                if to.is_absolute() {
                    here = DirStack::root()?;
                }
                left.extend(parts(to));
            }
            SFlag::S_IFREG if left.is_empty() => return check(&at, &stat).map(|()| Found::File),
            SFlag::S_IFREG => return Err(failed(&at, Errno::ENOTDIR)),
            _ => return Err(distrusted(&at, "it is not a regular file")),
        }
    }
    Ok(Found::Directory(here.path))
}

/// Refuses file systems whose owners and modes another machine or a program decides.
fn check_disk(path: &Path, opened: &OwnedFd, stat: &FileStat) -> Result<(), Distrusted> {
    let found = fstatfs(opened).map_err(|errno| failed(path, errno))?;
    // As large as the field of the kernel, of which no magic number uses more.
    let magic = found.filesystem_type().0 as u32;
    let is_here = |known_path: &&str| {
        nix::sys::stat::stat(*known_path).is_ok_and(|of| of.st_dev == stat.st_dev)
    };
    match disks::is_kept_here(magic) || disks::OF_THE_MACHINE.iter().any(is_here) {
        true => Ok(()),
        false => Err(distrusted(
            path,
            format!(
                "its file system (type {magic:#x}) is served by a program or another machine, or is unknown: \
                 keep it on a local disk"
            ),
        )),
    }
}

fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(named).collect()
}

/// The mode of a link means nothing, and its target cannot be changed (symlink(7)).
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

/// A directory with those above it. Each is a real directory, so `..` is the previous one.
struct DirStack {
    path: PathBuf,
    root: OwnedFd,
    below: Vec<OwnedFd>,
}

impl DirStack {
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

    fn up(&mut self) {
        self.path.pop();
        self.below.pop();
    }
}

#[cfg(test)]
mod tests;
