//! Decides if others than root and a job's own user can change what a name means. The answer stays true while those two
//! do nothing: in a directory that nobody else can write, nobody else can put another file under the same name. Checks
//! inside the sandbox that files are as they were at the approval of their run, with the job's own identity, as the
//! last action before its exec: what the job cannot read is not executed. Only files that nobody but root can change
//! pass, so a checked file stays the same until the program that names it opens it. Allocates nothing.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use remit_core::disks;
use remit_core::shebang::{self, DEPTH, FIRST_BYTES};
use remit_spawn::{Measured, Why};
use sha2::{Digest, Sha256};

use crate::steps::report::Fault;
use crate::sys;

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

/// Most symbolic links on a way, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

/// Returns true if only root and `uid` can change what an absolute path leads to: `/`, each directory on the way, and those
/// on the way of each link. A missing one passes, as nothing can be executed there.
pub(crate) fn of_way(path: &CStr, uid: u32) -> bool {
    let Some(mut walk) = PathWalk::new(path) else {
        return false;
    };
    for _ in 0..=LINKS {
        match walk.to_link(uid) {
            WalkEnd::File => return true,
            WalkEnd::Untrusted => return false,
            WalkEnd::Link(end) if !walk.follow(end) => return false,
            WalkEnd::Link(_) => {}
        }
    }
    false
}

/// A path whose first link is replaced by its target again and again. On the stack, as [`Name`].
struct PathWalk {
    text: [u8; LONGEST],
    length: usize,
}

enum WalkEnd {
    File,
    Untrusted,
    /// The first bytes, so many, are the path of a link.
    Link(usize),
}

impl PathWalk {
    fn new(path: &CStr) -> Option<PathWalk> {
        let mut walk = PathWalk {
            text: [0; LONGEST],
            length: 0,
        };
        let is_whole = walk.push(path.to_bytes());
        (is_whole && walk.text.first() == Some(&b'/')).then_some(walk)
    }

    /// Returns false if the path is too long. A NUL byte remains after it.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.length.saturating_add(bytes.len());
        let free = self.text.get_mut(self.length..end);
        let Some(free) = free.filter(|_| end < LONGEST) else {
            return false;
        };
        free.copy_from_slice(bytes);
        self.length = end;
        true
    }

    /// Looks at each directory up to the first link.
    fn to_link(&self, uid: u32) -> WalkEnd {
        let all = self.text.get(..self.length).unwrap_or_default();
        let slashes = all.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut part = [0u8; LONGEST];
        for end in slashes.map(|(end, _)| end.max(1)).chain([self.length]) {
            let (Some(from), Some(to)) = (all.get(..end), part.get_mut(..end)) else {
                return WalkEnd::Untrusted;
            };
            to.copy_from_slice(from);
            let name = CStr::from_bytes_until_nul(&part).unwrap_or_default();
            match sys::read_link(name, &mut [0]) {
                Ok(_) => return WalkEnd::Link(end),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                // Only trusted users can make it.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return WalkEnd::File,
                Err(_) => return WalkEnd::Untrusted,
            }
            let is_dir = end < self.length;
            if is_dir && !sys::stat(name).is_ok_and(|stat| is_own(name, &stat, uid)) {
                return WalkEnd::Untrusted;
            }
        }
        WalkEnd::File
    }

    /// Replaces the link by its target. Returns false if that is impossible.
    fn follow(&mut self, end: usize) -> bool {
        let old = self.text;
        let (Some(link), Some(rest)) = (old.get(..end), old.get(end..self.length)) else {
            return false;
        };
        let mut name = [0u8; LONGEST];
        if let Some(to) = name.get_mut(..end) {
            to.copy_from_slice(link);
        }
        let mut target = [0u8; LONGEST];
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        let Ok(length) = sys::read_link(name, &mut target) else {
            return false;
        };
        let target = target.get(..length).unwrap_or_default();
        let above = link.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let dir: &[u8] = match target.first() {
            Some(b'/') => b"",
            _ => link.get(..=above).unwrap_or_default(),
        };
        self.text = [0; LONGEST];
        self.length = 0;
        self.push(dir) && self.push(target) && self.push(rest)
    }
}

/// Returns true if only they can change a program and the way to it, or make a missing one.
pub(crate) fn of_program(program: &CStr, uid: u32) -> bool {
    let Ok(stat) = sys::stat(program) else {
        return of_way(program, uid);
    };
    is_own(program, &stat, uid) && of_way(program, uid)
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
                        SearchResult::Nothing => return true,
                        SearchResult::Untrusted => return false,
                        SearchResult::At(name) => Some(name),
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
enum SearchResult {
    Nothing,
    Untrusted,
    At(Name),
}

fn looked_up(name: &[u8], path: &[CString], uid: u32) -> SearchResult {
    for dir in path {
        let (Some(dir), Some(whole)) = (
            Name::new(dir.to_bytes(), b""),
            Name::new(dir.to_bytes(), name),
        ) else {
            return SearchResult::Untrusted;
        };
        let (Some(dir), Some(program)) = (dir.text(), whole.text()) else {
            return SearchResult::Untrusted;
        };
        if sys::mode_of(dir).is_err() {
            continue;
        }
        if !of_way(program, uid) {
            return SearchResult::Untrusted;
        }
        let is_program = |mode| mode & libc::S_IFMT == libc::S_IFREG && mode & 0o111 != 0;
        if sys::mode_of(program).is_ok_and(is_program) {
            return SearchResult::At(whole);
        }
    }
    SearchResult::Nothing
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

/// First bytes of every file that the kernel loads itself. elf(5).
const ELF: &[u8] = b"\x7fELF";

const PIECE: usize = 64 << 10;

pub(crate) struct Checked {
    pub(crate) file: OwnedFd,
    pub(crate) is_elf: bool,
}

/// Checks every file, the program, which is the first, last. `None`: there are none. `in_copy`: the job is in a copy of the
/// machine, whose overlay has numbers of its own for devices and inodes.
pub(crate) fn check(all: &[Measured], in_copy: bool) -> Result<Option<Checked>, Fault> {
    let mut program = None;
    for (at, file) in all.iter().enumerate().rev() {
        let at = u16::try_from(at).unwrap_or(u16::MAX);
        program = Some(check_one(file, in_copy).map_err(|fault| fault.at(at))?);
    }
    Ok(program)
}

/// Opens the file and compares it. Follows links, as an exec does: a changed link leads to another inode.
fn check_one(expected: &Measured, in_copy: bool) -> Result<Checked, Fault> {
    // First by name, so that nothing else is opened: it could be a FIFO.
    let stat = sys::stat(&expected.path).map_err(|e| unseen(&e))?;
    let compare = |stat: &libc::stat| compare(expected, stat, in_copy);
    compare(&stat)?;
    if !of_program(&expected.path, 0) {
        return Err(Fault::because(Why::Untrusted));
    }
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = sys::open(&expected.path, flags).map_err(|e| unseen(&e))?;
    compare(&sys::stat_of(file.as_fd())?)?;
    let is_elf = read(expected, &file)?;
    compare(&sys::stat_of(file.as_fd())?)?;
    Ok(Checked { file, is_elf })
}

fn compare(expected: &Measured, stat: &libc::stat, in_copy: bool) -> Result<(), Fault> {
    let ctime_ns = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    let same = stat.st_mode & libc::S_IFMT == libc::S_IFREG
        && (in_copy || (stat.st_dev, stat.st_ino) == (expected.dev, expected.ino))
        && ctime_ns == expected.ctime_ns
        && u64::try_from(stat.st_size) == Ok(expected.size);
    match same {
        true => Ok(()),
        false => Err(Fault::because(Why::Changed)),
    }
}

// Inlined, it would make each job touch the stack that the buffer needs.
#[inline(never)]
fn read(expected: &Measured, file: &OwnedFd) -> Result<bool, Fault> {
    let mut sha256 = Sha256::new();
    let mut buf = [0u8; PIECE];
    let mut total = 0u64;
    let mut is_elf = false;
    while total <= expected.size {
        let n = match sys::read(file.as_fd(), &mut buf) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        let piece = buf.get(..n).unwrap_or_default();
        is_elf |= total == 0 && piece.starts_with(ELF);
        sha256.update(piece);
        total += n as u64;
    }
    match total == expected.size && sha256.finalize()[..] == expected.sha256 {
        true => Ok(is_elf),
        false => Err(Fault::because(Why::Changed)),
    }
}

fn unseen(error: &io::Error) -> Fault {
    let errno = error.raw_os_error().unwrap_or(0);
    let why = match errno {
        libc::EACCES | libc::EPERM => Why::Unreadable,
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO => Why::Changed,
        _ => Why::Errno,
    };
    Fault::because(why).with_errno(errno)
}
