//! One job, as the warden describes it. Data only.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use remit_sys::Limits;
use serde::{Deserialize, Serialize};

/// Most path arguments and secrets of a job.
pub const MOST_ARGUMENTS: usize = 64;

#[derive(Debug)]
pub struct Job<'a> {
    /// The job's own uid, never 0. With a profile's user: that of the processes that serve only this job.
    pub uid: u32,
    pub gid: u32,
    /// Audit login uid of the requester; `None` leaves the warden's.
    pub loginuid: Option<u32>,
    pub argv: &'a [CString],
    pub arguments: &'a [Argument<'a>],
    /// Absolute directories, searched if `argv[0]` has no `/`.
    pub path: &'a [CString],
    pub env: &'a [CString],
    /// Absolute; opened inside, with the job's identity.
    pub cwd: &'a CStr,
    /// `None`: /dev/null. Otherwise a sealed memfd or a pipe, which gives no access to anything else.
    pub stdin: Option<BorrowedFd<'a>>,
    /// A sealed memfd that becomes descriptor 3; `argv` names `/proc/self/fd/3`.
    pub script: Option<BorrowedFd<'a>>,
    /// Checked inside, just before the exec. The first, if any, is executed, whatever `argv` and `path` name.
    pub measured: &'a [Measured],
    pub cgroup: Option<BorrowedFd<'a>>,
    pub limits: &'a Limits,
}

#[derive(Clone, Copy, Debug)]
pub struct Argument<'a> {
    /// Index in `Job::argv`, not 0. What is there is replaced.
    pub index: usize,
    /// Prefix of the element: `--config=`, or nothing.
    pub before: &'a [u8],
    pub what: What<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// An existing file or directory below a directory, without a link on the way.
    Path {
        under: &'a CStr,
        /// Relative, without `.`, `..` or empty parts; empty for `under` itself.
        beneath: &'a CStr,
        is: PathIs,
        /// If true, the job gets a descriptor opened for reading, and its name in `/proc/self/fd`. Otherwise it gets
        /// the path, which then only root and the job's own user may be able to redirect.
        by_descriptor: bool,
        /// A sealed memfd with a copy of the file, which the job gets instead. The file must still exist and be
        /// readable for the job. Only with `by_descriptor`.
        copy: Option<BorrowedFd<'a>>,
    },
    /// A sealed memfd; the job gets its name in `/proc/self/fd`.
    Secret(BorrowedFd<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathIs {
    File,
    Directory,
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Measured {
    /// Absolute; the name by which the job opens it.
    pub path: CString,
    pub dev: u64,
    pub ino: u64,
    /// Its change time in nanoseconds since 1970, which nobody can set back.
    pub ctime_ns: i128,
    pub size: u64,
    pub sha256: [u8; 32],
}
