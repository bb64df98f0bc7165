//! One job, as the warden describes it. Data only.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use remit_sys::{Error, Limits, Result, sys};
use serde::{Deserialize, Serialize};

pub const MOST_ARGUMENTS: usize = 64;
/// The fewest descriptors with which a child can take its own steps.
const LEAST_NOFILE: u64 = 32;

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
    /// Files that it sees at their paths: what [`crate::Staged`] reads. Its child gets them before the job. Base `strict`.
    pub staged: Option<BorrowedFd<'a>>,
    /// The view that it reads; its top becomes descriptor 3. Only in an [`crate::ExtractProfile`].
    pub kept: Option<Kept<'a>>,
    /// Checked inside, just before the exec. The first, if any, is executed, whatever `argv` and `path` name.
    pub measured: &'a [Measured],
    pub cgroup: Option<BorrowedFd<'a>>,
    pub limits: &'a Limits,
}

/// A [`crate::KeptView`] by its descriptors.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub users: BorrowedFd<'a>,
    pub tree: BorrowedFd<'a>,
}

impl Job<'_> {
    /// Checks the form, for the warden and for the child. `needs_cgroup`: the profile has a user. Refuses uid or gid 0,
    /// an empty argv, a relative cwd, a script, plan, copy or secret that is not sealed, a path argument that is not plain, a
    /// hashed file without an absolute name, fewer than 32 descriptors, and private directories without a limit.
    pub fn vet(&self, needs_cgroup: bool) -> Result<()> {
        let why = if self.uid == 0 || self.gid == 0 {
            "a job is never root"
        } else if needs_cgroup && self.cgroup.is_none() {
            // Its processes can be neither found nor counted by their uid.
            "a user shared with other processes needs a cgroup"
        } else if self.argv.first().is_none_or(|name| name.is_empty()) {
            "no program is named"
        } else if !is_absolute(self.cwd) {
            "its working directory is not absolute"
        } else if self.script.is_some_and(|script| !sys::is_sealed(script)) {
            "its script is not a sealed memfd"
        } else if self.staged.is_some_and(|staged| !sys::is_sealed(staged)) {
            "its plan is not a sealed memfd"
        } else if self.script.is_some() && self.kept.is_some() {
            "a script and a view have the same descriptor"
        } else if self.measured.iter().any(|file| !is_absolute(&file.path)) {
            "a measured file has no absolute name"
        } else if self.limits.nofile < LEAST_NOFILE + self.arguments.len() as u64 {
            "it needs at least 32 descriptors, and one for each path or secret"
        } else if self.limits.tmp_bytes == 0 || self.limits.tmp_inodes == 0 {
            // A tmpfs takes 0 for no limit.
            "its private directories need a limit"
        } else if self.arguments.len() > MOST_ARGUMENTS {
            "it has more than 64 paths and secrets"
        } else if let Some(why) = self.arguments.iter().find_map(|it| self.misfit(it)) {
            why
        } else {
            return Ok(());
        };
        Err(Error::refused("cannot spawn a job", why))
    }

    fn misfit(&self, argument: &Argument<'_>) -> Option<&'static str> {
        let index = argument.index;
        if index == 0 || index >= self.argv.len() || u16::try_from(index).is_err() {
            return Some("a path or a secret does not belong to an argument");
        }
        if argument.before.contains(&0) {
            return Some("an argument has a NUL");
        }
        match argument.what {
            What::Path {
                copy: Some(copy),
                by_descriptor,
                ..
            } if !by_descriptor || !sys::is_sealed(copy) => {
                Some("a copy of a file is not a sealed memfd")
            }
            What::Path { under, beneath, .. } => match join(under, beneath) {
                Some(_) => None,
                None => Some("a path argument is not a plain one"),
            },
            What::Secret(fd) if sys::is_sealed(fd) => None,
            What::Secret(_) => Some("a secret is not a sealed memfd"),
        }
    }
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
}

/// Returns the path of an argument; `None` if it is not plain.
pub fn join(under: &CStr, beneath: &CStr) -> Option<CString> {
    let plain = |part: &[u8]| ![&b""[..], b".", b".."].contains(&part);
    let under = under.to_bytes().strip_prefix(b"/")?;
    let parts = [under, beneath.to_bytes()];
    let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let whole = parts.join(&b'/');
    let fine = whole.is_empty() || whole.split(|b| *b == b'/').all(plain);
    fine.then(|| CString::new([b"/", whole.as_slice()].concat()).ok())?
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
        /// A sealed copy that the job gets instead of the file, which must exist and be readable. Only with `by_descriptor`.
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
