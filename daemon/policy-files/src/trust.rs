//! Opens what only root can change, and reads it whole; lists the daemon's own files at fixed paths.
//! A path is walked from `/`, component by component by descriptor, without following symbolic links. Each directory on
//! the way and the file itself must belong to root and be writable by nobody else. A sticky bit does not help: others can
//! still add names. An access control list needs no check of its own: the group bits are its upper bound (acl(5)). Files
//! that are not installed yet may belong to any user ([`Owners::Any`]), but their type and size are checked all the same.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use remit_common::caps;
use remit_common::service::UNIT_DIRECTORIES;
use remit_common::text::line;

#[derive(Debug, PartialEq, Eq)]
pub struct Distrusted {
    pub path: PathBuf,
    pub why: String,
}

impl fmt::Display for Distrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = line(self.path.as_os_str().as_bytes(), caps::PATH);
        write!(f, "cannot open '{path}': {}", self.why)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Root, with write access for nobody else: for files in force.
    Root,
    /// Any owner and any writer: for files to check before they are installed.
    Any,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    Missing,
    /// The target of a symbolic link. It was not followed.
    Link(OsString),
    Bytes(Vec<u8>),
}

/// Opens a directory for reading. Returns `None` if it, or one above it, does not exist. Refuses a component that is
/// not a directory or that others than `owners` can change, and a path that is relative or contains `..`.
pub fn directory(path: &Path, owners: Owners) -> Result<Option<OwnedFd>, Distrusted> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(distrusted(path, "the path must be absolute"));
    }
    let mut so_far = PathBuf::from("/");
    let how = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut reached = open("/", how, Mode::empty()).map_err(|errno| failed(&so_far, errno))?;
    check_directory(&so_far, &reached, owners)?;
    for component in components {
        let Component::Normal(name) = component else {
            return Err(distrusted(path, "the path must not contain '..'"));
        };
        so_far.push(name);
        reached = match openat(&reached, name, how, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(&so_far, errno)),
        };
        check_directory(&so_far, &reached, owners)?;
    }
    // The same inode, now for reading: "." of a descriptor cannot be replaced.
    let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(&reached, ".", how, Mode::empty())
        .map(Some)
        .map_err(|errno| failed(path, errno))
}

/// Reads the file `name` of a directory that [`directory`] opened. `path` names it in errors. It opens the file once,
/// without waiting for the writer of a FIFO, and reads the same descriptor that it checked.
/// Errors: not a regular file, not only root's, a second hard link, over `cap` bytes, changed during the read.
pub fn read(
    dir: impl AsFd,
    name: &OsStr,
    path: &Path,
    owners: Owners,
    cap: usize,
) -> Result<Entry, Distrusted> {
    let how = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let opened = match openat(&dir, name, how, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::ENOENT) => return Ok(Entry::Missing),
        Err(Errno::ELOOP) => {
            return readlinkat(&dir, name)
                .map(Entry::Link)
                .map_err(|errno| failed(path, errno));
        }
        Err(Errno::ENXIO) => return Err(distrusted(path, "it is not a regular file")),
        Err(errno) => return Err(failed(path, errno)),
    };
    let before = fstat(&opened).map_err(|errno| failed(path, errno))?;
    check_file(path, &before, owners, cap)?;

    let mut file = File::from(opened);
    let mut bytes = Vec::new();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let taken = file.by_ref().take(most).read_to_end(&mut bytes);
    taken.map_err(|error| distrusted(path, error.to_string()))?;
    let after = fstat(&file).map_err(|errno| failed(path, errno))?;
    if stamp(&before) != stamp(&after) || usize::try_from(after.st_size) != Ok(bytes.len()) {
        return Err(distrusted(path, "it changed while it was read; try again"));
    }
    Ok(Entry::Bytes(bytes))
}

/// Returns fields that differ after a write. Before Linux 6.13 one within a tick changes no time: compare lengths.
fn stamp(stat: &FileStat) -> impl PartialEq + use<> {
    (
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec,
    )
}

fn check_directory(path: &Path, opened: impl AsFd, owners: Owners) -> Result<(), Distrusted> {
    let stat = fstat(opened).map_err(|errno| failed(path, errno))?;
    match kind(&stat) {
        SFlag::S_IFDIR => check_owner(path, &stat, owners),
        SFlag::S_IFLNK => Err(distrusted(
            path,
            "it is a symbolic link; name the real directory",
        )),
        _ => Err(distrusted(path, "it is not a directory")),
    }
}

fn check_file(path: &Path, stat: &FileStat, owners: Owners, cap: usize) -> Result<(), Distrusted> {
    if kind(stat) != SFlag::S_IFREG {
        return Err(distrusted(path, "it is not a regular file"));
    }
    check_owner(path, stat, owners)?;
    // A second name is another user's way to it, in any directory.
    if stat.st_nlink != 1 && owners == Owners::Root {
        let why = format!(
            "it has {} hard links; make it a file of its own",
            stat.st_nlink
        );
        return Err(distrusted(path, why));
    }
    if usize::try_from(stat.st_size).map_or(true, |size| size > cap) {
        let why = format!("it has {} bytes, the most is {cap}", stat.st_size);
        return Err(distrusted(path, why));
    }
    Ok(())
}

fn check_owner(path: &Path, stat: &FileStat, owners: Owners) -> Result<(), Distrusted> {
    match owners {
        Owners::Root => check_root(path, stat),
        Owners::Any => Ok(()),
    }
}

pub fn check_root(path: &Path, stat: &FileStat) -> Result<(), Distrusted> {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    if stat.st_uid != 0 {
        let why = format!("it is owned by uid {}, not by root; chown it", stat.st_uid);
        return Err(distrusted(path, why));
    }
    if mode.contains(Mode::S_IWOTH) {
        return Err(distrusted(path, "it is writable by everybody; chmod go-w"));
    }
    if mode.contains(Mode::S_IWGRP) {
        let why = format!("it is writable by group {}; chmod go-w", stat.st_gid);
        return Err(distrusted(path, why));
    }
    Ok(())
}

pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

pub fn failed(path: &Path, errno: Errno) -> Distrusted {
    distrusted(path, errno.desc())
}

pub fn distrusted(path: &Path, why: impl Into<String>) -> Distrusted {
    Distrusted {
        path: path.to_path_buf(),
        why: why.into(),
    }
}

/// Programs of the package, and files that create its accounts and directories. Who writes one of these controls root.
const FIXED: [&str; 7] = [
    "/usr/libexec/remit",
    "/usr/bin/remit",
    "/usr/bin/mcp-shim",
    "/usr/lib/sysusers.d/remit.conf",
    "/usr/lib/tmpfiles.d/remit.conf",
    "/etc/sysusers.d/remit.conf",
    "/etc/tmpfiles.d/remit.conf",
];
const UNITS: [&str; 5] = [
    "remitd.service",
    "remitd.socket",
    "remitd-admin.socket",
    "remit-prove.service",
    "remit-prove.timer",
];

/// Returns the daemon's files and `dirs`, absolute. No profile may write them or a directory above them.
pub fn own_files(dirs: &[&Path]) -> Vec<String> {
    let units = UNIT_DIRECTORIES.iter().flat_map(|dir| {
        let units = UNITS.iter();
        units.flat_map(move |unit| [format!("{dir}/{unit}"), format!("{dir}/{unit}.d")])
    });
    // A path that is not UTF-8 cannot be in a policy. The parts above it that can be there have the same text.
    let dir_paths = dirs.iter().map(|dir| dir.to_string_lossy().into_owned());
    let mut all: Vec<String> = FIXED.map(str::to_owned).into();
    all.extend(units.chain(dir_paths));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn lies_in(all: &[String], path: &str) -> bool {
        all.iter().any(|own| Path::new(path).starts_with(own))
    }

    #[test]
    fn passed_directories_are_added_to_fixed_paths() {
        let all = own_files(&[Path::new("/etc/remit"), Path::new("/usr/libexec/remit")]);
        assert!(all.is_sorted());
        assert!(all.iter().all(|path| path.starts_with('/')));
        for path in [
            "/etc/remit/policy.d/10.toml",
            "/etc/systemd/system/remitd.service",
            "/etc/systemd/system/remitd.socket.d/x.conf",
            "/etc/systemd/system.attached/remitd.service.d/x.conf",
        ] {
            assert!(lies_in(&all, path), "{path}");
        }
        assert!(!lies_in(&all, "/etc/remit2") && !lies_in(&all, "/usr/bin/ls"));
    }

    /// Every packaged file is covered, except documents, catalogs, presets, completions and configurable paths.
    #[test]
    fn what_the_packages_hold_is_the_daemons_own() {
        const OTHERS: [&str; 5] = [
            "/usr/share/",
            "/usr/lib/systemd/catalog/",
            "/usr/lib/systemd/system-preset/",
            "/etc/remit/",
            "/usr/lib/remit/",
        ];
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cli/Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap();
        let all = own_files(&[]);
        let mut seen = 0;
        for asset in text.split("dest = \"").skip(1) {
            let path = asset.split('"').next().unwrap();
            if !OTHERS.iter().any(|dir| path.starts_with(dir)) {
                assert!(lies_in(&all, path), "{path}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
