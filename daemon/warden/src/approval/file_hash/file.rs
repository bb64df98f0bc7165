//! Hashes one whole file. Only root may be able to change the file and the directories above it. Any other content
//! could change right after the last check. Only regular files of a disk are opened for reading.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlink};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{self, FsType, fstatfs};
use remit_approval::FileBinding;
use remit_common::text;
use remit_spawn::Measured;
use sha2::{Digest, Sha256};

use super::FileFound;

pub const LARGEST_PROGRAM: u64 = 512 << 20;
pub const LARGEST_ARGUMENT: u64 = 64 << 20;
const SHOWN: usize = 256;

/// File systems whose content is generated when it is read (statfs(2)).
const MADE_WHEN_READ: [FsType; 7] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::CGROUP_SUPER_MAGIC,
    statfs::CGROUP2_SUPER_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::TRACEFS_MAGIC,
    statfs::SECURITYFS_MAGIC,
];

pub struct ResolvedFile {
    path: CString,
    stat: FileStat,
    is_made_when_read: bool,
}

pub enum Look {
    At(ResolvedFile),
    Nothing,
    /// The path has a loop, or a link of /proc, which differs for each process.
    ProcessSpecific,
}

pub fn look(path: &CStr) -> Result<Look, String> {
    let root = open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| cannot(path, errno))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let at = match openat2(root.as_fd(), path, how) {
        Ok(at) => at,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => return Ok(Look::Nothing),
        Err(Errno::ELOOP) => return Ok(Look::ProcessSpecific),
        Err(errno) => return Err(cannot(path, errno)),
    };
    let stat = fstat(&at).map_err(|errno| cannot(path, errno))?;
    let kind = fstatfs(&at)
        .map_err(|errno| cannot(path, errno))?
        .filesystem_type();
    Ok(Look::At(ResolvedFile {
        path: path.to_owned(),
        stat,
        is_made_when_read: MADE_WHEN_READ.contains(&kind),
    }))
}

impl ResolvedFile {
    pub fn is(&self, stat: &FileStat) -> bool {
        (self.stat.st_dev, self.stat.st_ino) == (stat.st_dev, stat.st_ino)
    }

    pub fn is_file(&self) -> bool {
        kind(&self.stat) == SFlag::S_IFREG && !self.is_made_when_read
    }

    pub fn kind(&self) -> SFlag {
        kind(&self.stat)
    }

    pub fn device(&self) -> u64 {
        self.stat.st_rdev
    }

    pub fn is_executable(&self) -> bool {
        self.stat.st_mode & 0o111 != 0
    }

    pub fn measure(
        &self,
        what: &str,
        held: FileBinding,
        largest: u64,
        first: Option<&mut Vec<u8>>,
    ) -> Result<FileFound, String> {
        let path = &self.path;
        remit_policy_files::only_root_changes(Path::new(std::ffi::OsStr::from_bytes(
            path.as_bytes(),
        )))
        .map_err(|why| {
            format!(
                "'{}' cannot be approved, because it may change: {why}",
                shown(path)
            )
        })?;
        // Only root could have put a FIFO there meanwhile.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = open(path.as_c_str(), flags, Mode::empty()).map_err(|e| cannot(path, e))?;
        let before = fstat(&file).map_err(|errno| cannot(path, errno))?;
        if identity(&before) != identity(&self.stat) {
            return Err(changing(path));
        }
        if u64::try_from(before.st_size).unwrap_or(u64::MAX) > largest {
            return Err(too_large(path, largest));
        }
        let real = readlink(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).as_str())
            .map_err(|errno| cannot(path, errno))?;
        let mut file = File::from(file);
        let sha256 = hash(&mut file, largest, first, path)?;
        let after = fstat(&file).map_err(|errno| cannot(path, errno))?;
        if identity(&before) != identity(&after) {
            return Err(changing(path));
        }
        Ok(FileFound {
            what: what.to_owned(),
            held,
            measured: Measured {
                path: path.clone(),
                dev: after.st_dev,
                ino: after.st_ino,
                ctime_ns: ctime_ns(&after),
                size: u64::try_from(after.st_size).unwrap_or(u64::MAX),
                sha256,
            },
            real: CString::new(real.into_vec()).map_err(|_| cannot(path, Errno::EINVAL))?,
        })
    }
}

fn hash(
    file: &mut File,
    largest: u64,
    mut first: Option<&mut Vec<u8>>,
    path: &CStr,
) -> Result<[u8; 32], String> {
    let mut sha256 = Sha256::new();
    let mut buf = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let n = match file.read(&mut buf) {
            Ok(0) => return Ok(sha256.finalize().into()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(cannot(path, e)),
        };
        let read = buf.get(..n).unwrap_or_default();
        if let Some(first) = first.take() {
            first.extend_from_slice(read);
        }
        sha256.update(read);
        total += n as u64;
        if total > largest {
            return Err(too_large(path, largest));
        }
    }
}

pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Nanoseconds since 1970.
pub fn ctime_ns(stat: &FileStat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

/// Differs after a write, a rename or a change of rights.
pub fn identity(stat: &FileStat) -> (u64, u64, i128, i64) {
    (stat.st_dev, stat.st_ino, ctime_ns(stat), stat.st_size)
}

pub fn shown(path: &CStr) -> String {
    text::line(path.to_bytes(), SHOWN)
}

fn cannot(path: &CStr, error: impl std::fmt::Display) -> String {
    format!("'{}' cannot be read: {error}", shown(path))
}

pub fn changing(path: &CStr) -> String {
    format!("'{}' changed while it was read; try again", shown(path))
}

fn too_large(path: &CStr, largest: u64) -> String {
    let mib = largest >> 20;
    format!(
        "'{}' cannot be approved: it is larger than {mib} MiB",
        shown(path)
    )
}
