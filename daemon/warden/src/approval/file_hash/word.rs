//! Words of an argv as files: the program with its interpreters, arguments that may name files, and path arguments, which
//! the command's definition declares. Each regular file is bound by its content. If that fails, text of the definition is
//! refused; for text of the requester, the approver gets a sentence about it and about every other meaning of a name. If
//! the program gets a descriptor for a path argument, it gets a sealed copy. Otherwise only root may be able to change the
//! file.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use remit_approval::{FileBinding, Loose, Unbound, name_of_argument};
use remit_common::caps;
use remit_common::shebang::{FIRST_BYTES, interpreter};
use remit_link::memfd;
use remit_policy::PathIs;
use remit_spawn::Measured;
use sha2::{Digest, Sha256};

use super::FileFound;
use super::file::{
    LARGEST_ARGUMENT, LARGEST_PROGRAM, Look, ResolvedFile, changing, ctime_ns, identity, kind,
    look, shown,
};
use super::names::{Name, Names};

/// Memory devices without content: null, zero, full, random, urandom (null(4), random(4)).
const MEMORY: u64 = 1;
const EMPTY: [u64; 5] = [3, 5, 7, 8, 9];

#[derive(Debug, Default)]
pub struct NamedFiles {
    pub files: Vec<FileFound>,
    pub loose: BTreeSet<Loose>,
}

/// Fails if it names a file that cannot be bound.
pub fn of_definition(at: usize, word: &CStr, cwd: &CStr) -> Result<NamedFiles, String> {
    let mut named = NamedFiles::default();
    let what = name_of_argument(at);
    let names = Names::of(word, cwd);
    named.has_more(at, &names);
    for name in &names.all {
        let unbound = match look(&name.path)? {
            Look::At(resolved) if resolved.is_file() => {
                let file = resolved.measure(&what, FileBinding::Checked, LARGEST_ARGUMENT, None)?;
                named.files.push(file);
                None
            }
            Look::At(resolved) => kind_of(&resolved),
            Look::ProcessSpecific => Some(Unbound::ProcessSpecific),
            Look::Nothing => (name.is_path && !root_names(name)).then_some(Unbound::Absent),
        };
        named.add(at, unbound);
    }
    Ok(named)
}

/// Uses the requester's rights. Reports missing files: the job may have other rights, and a file can appear.
pub fn of_requester(at: usize, text: &CStr, cwd: &CStr, held: FileBinding) -> NamedFiles {
    let mut named = NamedFiles::default();
    let what = name_of_argument(at);
    let names = Names::of(text, cwd);
    named.has_more(at, &names);
    for name in &names.all {
        let unbound = match look(&name.path) {
            Ok(Look::At(resolved)) if resolved.is_file() => {
                match resolved.measure(&what, held, LARGEST_ARGUMENT, None) {
                    Ok(file) => {
                        named.files.push(file);
                        None
                    }
                    Err(_) => Some(Unbound::Changeable),
                }
            }
            Ok(Look::At(resolved)) => kind_of(&resolved),
            Ok(Look::ProcessSpecific) => Some(Unbound::ProcessSpecific),
            Ok(Look::Nothing) => name.is_path.then_some(Unbound::Absent),
            Err(_) => Some(Unbound::Unseen),
        };
        named.add(at, unbound);
    }
    named
}

pub fn of_cwd(cwd: &CStr) -> Option<Loose> {
    let path = Path::new(OsStr::from_bytes(cwd.to_bytes()));
    (!remit_policy_files::only_root_names(path)).then_some(Loose::Cwd)
}

impl NamedFiles {
    fn add(&mut self, at: usize, unbound: Option<Unbound>) {
        self.loose
            .extend(unbound.map(|why| Loose::Argument(at, why)));
    }

    fn has_more(&mut self, at: usize, names: &Names) {
        self.add(at, names.has_more.then_some(Unbound::More));
    }
}

fn root_names(name: &Name) -> bool {
    let path = Path::new(OsStr::from_bytes(name.path.to_bytes()));
    remit_policy_files::only_root_names(path)
}

fn kind_of(resolved: &ResolvedFile) -> Option<Unbound> {
    let device = resolved.device();
    match resolved.kind() {
        SFlag::S_IFDIR => Some(Unbound::Directory),
        SFlag::S_IFREG => Some(Unbound::ProcessSpecific),
        SFlag::S_IFCHR if major(device) == MEMORY && EMPTY.contains(&minor(device)) => None,
        _ => Some(Unbound::Special),
    }
}

pub fn of_program(name: &CStr, path: &[CString]) -> Result<Vec<FileFound>, String> {
    let (program, first) = one("program", &find(name, path)?)?;
    let mut files = vec![program];
    let Some(line) = interpreter(&first)? else {
        return Ok(files);
    };
    let unnamed = |_| "its first line has a NUL byte";
    let path_of_it = CString::new(line.path).map_err(unnamed)?;
    let (found, first_of_it) = one("interpreter", &present(&path_of_it)?)?;
    if interpreter(&first_of_it)?.is_some() {
        let text = shown(&path_of_it);
        return Err(format!(
            "'{}' cannot be approved: its interpreter '{text}' is itself a script",
            shown(name)
        ));
    }
    files.push(found);
    if let Some(name) = line.by_env {
        let name = CString::new(name).map_err(unnamed)?;
        files.push(one("interpreter", &find(&name, path)?)?.0);
    }
    Ok(files)
}

fn one(what: &str, resolved: &ResolvedFile) -> Result<(FileFound, Vec<u8>), String> {
    let mut first = Vec::new();
    let found = resolved.measure(
        what,
        FileBinding::Checked,
        LARGEST_PROGRAM,
        Some(&mut first),
    )?;
    first.truncate(FIRST_BYTES);
    Ok((found, first))
}

/// Searches like execvp(3).
fn find(name: &CStr, path: &[CString]) -> Result<ResolvedFile, String> {
    let bytes = name.to_bytes();
    if bytes.first() == Some(&b'/') {
        return present(name);
    }
    if bytes.is_empty() || bytes.contains(&b'/') {
        return Err(format!(
            "'{}' cannot be approved: the program needs an absolute path, or a name found in the PATH \
             of jobs",
            shown(name)
        ));
    }
    for dir in path {
        let whole = [dir.to_bytes(), b"/", bytes].concat();
        let Ok(whole) = CString::new(whole) else {
            continue;
        };
        match look(&whole)? {
            Look::At(resolved) if resolved.is_file() && resolved.is_executable() => {
                return Ok(resolved);
            }
            Look::At(_) | Look::Nothing => {}
            Look::ProcessSpecific => return Err(process_specific(&whole)),
        }
    }
    Err(format!(
        "there is no program '{}' in the PATH of jobs",
        shown(name)
    ))
}

fn present(path: &CStr) -> Result<ResolvedFile, String> {
    let text = shown(path);
    match look(path)? {
        Look::ProcessSpecific => Err(process_specific(path)),
        Look::Nothing => Err(format!("'{text}' does not exist")),
        Look::At(resolved) if !resolved.is_file() => Err(format!("'{text}' is not a regular file")),
        Look::At(resolved) if !resolved.is_executable() => {
            Err(format!("'{text}' is not an executable file"))
        }
        Look::At(resolved) => Ok(resolved),
    }
}

fn process_specific(path: &CStr) -> String {
    format!(
        "'{}' cannot be approved: it is a different file for each process",
        shown(path)
    )
}

#[derive(Debug, PartialEq, Eq)]
pub enum PathArgument {
    File(FileFound),
    Directory,
}

fn absent(what: &str, path: &CStr, is: PathIs) -> String {
    let kind = match is {
        PathIs::File => "file",
        PathIs::Directory => "directory",
        PathIs::Either => "file or directory",
    };
    format!(
        "{what}, '{}', is not a {kind} that the job can open",
        shown(path)
    )
}

/// Returns the error of [`of_path`] for a requester who cannot open the path: the same whatever is there.
pub fn undisclosed(what: &str, path: &CStr, is: PathIs, is_copied: bool) -> String {
    let or = match is_copied {
        true => format!("is larger than {} MiB", caps::COPIED_FILE >> 20),
        false => "is one that others than root can change".to_owned(),
    };
    format!("{}, or {or}", absent(what, path, is))
}

/// Opens no device and no FIFO.
pub fn can_open(path: &CStr) -> bool {
    let named = open_plain(path, OFlag::O_PATH).and_then(fstat);
    let is_plain = named.is_ok_and(|named| matches!(kind(&named), SFlag::S_IFREG | SFlag::S_IFDIR));
    is_plain && open_plain(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).is_ok()
}

/// Looks up a path as the job will, without links; `copy` gets the content. The error says what is there, so it is only
/// for a requester who can open the path, too.
pub fn of_path(
    what: &str,
    path: &CStr,
    is: PathIs,
    copy: Option<BorrowedFd<'_>>,
) -> Result<PathArgument, String> {
    let absent = || absent(what, path, is);
    let resolved = open_plain(path, OFlag::O_PATH).map_err(|_| absent())?;
    let stat = fstat(&resolved).map_err(|_| absent())?;
    match (kind(&stat), is) {
        (SFlag::S_IFDIR, PathIs::Directory | PathIs::Either) => {
            return Ok(PathArgument::Directory);
        }
        (SFlag::S_IFREG, PathIs::File | PathIs::Either) => {}
        _ => return Err(absent()),
    }
    // Reading binds it. O_NONBLOCK: a FIFO or a lease (fcntl(2)) that was put there meanwhile must not block.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_plain(path, flags).map_err(|_| absent())?;
    if let Some(copy) = copy {
        return copied(what, path, &stat, file, copy).map(PathArgument::File);
    }
    let found = match look(path)? {
        Look::At(found) if found.is(&stat) => found,
        Look::At(_) | Look::Nothing | Look::ProcessSpecific => return Err(changing(path)),
    };
    if !found.is_file() {
        let why = "its content is made when it is read";
        return Err(format!(
            "{what}, '{}', cannot be approved: {why}",
            shown(path)
        ));
    }
    let file = found.measure(what, FileBinding::Checked, LARGEST_ARGUMENT, None);
    file.map(PathArgument::File).map_err(|why| {
        format!("{why}; with pass = \"descriptor\" the command would get a copy of it")
    })
}

fn copied(
    what: &str,
    path: &CStr,
    stat: &FileStat,
    file: OwnedFd,
    copy: BorrowedFd<'_>,
) -> Result<FileFound, String> {
    let cannot = |why: String| format!("{what}, '{}', cannot be copied: {why}", shown(path));
    let errno = |errno: Errno| cannot(errno.to_string());
    let before = fstat(&file).map_err(errno)?;
    if (before.st_dev, before.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(changing(path));
    }
    let largest = u64::try_from(caps::COPIED_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    Read::by_ref(&mut file)
        .take(largest.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(error.to_string()))?;
    if bytes.len() > caps::COPIED_FILE {
        let mib = caps::COPIED_FILE >> 20;
        return Err(cannot(format!("it is larger than {mib} MiB")));
    }
    let after = fstat(&file).map_err(errno)?;
    if identity(&before) != identity(&after)
        || u64::try_from(after.st_size) != Ok(bytes.len() as u64)
    {
        return Err(changing(path));
    }
    let copy = copy.try_clone_to_owned();
    let mut copy = File::from(copy.map_err(|error| cannot(error.to_string()))?);
    copy.write_all(&bytes)
        .and_then(|()| memfd::close(&mut copy))
        .map_err(|error| cannot(error.to_string()))?;
    Ok(FileFound {
        what: what.to_owned(),
        held: FileBinding::Copied,
        measured: Measured {
            path: path.to_owned(),
            dev: after.st_dev,
            ino: after.st_ino,
            ctime_ns: ctime_ns(&after),
            size: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
        },
        real: path.to_owned(),
    })
}

pub fn is_as_copied(file: &FileFound) -> bool {
    let measured = &file.measured;
    let resolved = open_plain(&measured.path, OFlag::O_PATH);
    resolved.and_then(fstat).is_ok_and(|now| {
        let size = u64::try_from(now.st_size);
        (now.st_dev, now.st_ino, ctime_ns(&now)) == (measured.dev, measured.ino, measured.ctime_ns)
            && size == Ok(measured.size)
    })
}

fn open_plain(path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let root = open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let relative = path.to_bytes().strip_prefix(b"/").unwrap_or_default();
    let relative = match relative {
        [] => b".",
        relative => relative,
    };
    let relative = CString::new(relative).map_err(|_| Errno::EINVAL)?;
    let plain = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(plain | ResolveFlag::RESOLVE_BENEATH);
    openat2(root.as_fd(), relative.as_c_str(), how)
}
