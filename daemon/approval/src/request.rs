//! The signed request as data.

use std::ffi::CString;

use remit_common::names::JobId;
use remit_common::wire::Effect;
use remit_policy::PathIs;
use serde::{Deserialize, Serialize};

use crate::name_of_argument;

/// Everything that an approval binds. [`crate::encode()`] defines the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// /etc/machine-id, without its line end.
    pub machine_id: String,
    /// The job's id.
    pub job: JobId,
    /// Uid of the requester, by the kernel.
    pub requester_uid: u32,
    /// Name of the requester, by the user database.
    pub requester_name: String,
    /// Name of a named command.
    pub command: Option<String>,
    /// What it may do.
    pub effect: Effect,
    /// Directories to search for a program without a slash.
    pub path: Vec<CString>,
    /// Program and arguments; `***` for a secret.
    pub argv: Vec<CString>,
    /// Arguments that are more than text.
    pub slots: Vec<BoundArgument>,
    /// Files with their content.
    pub files: Vec<BoundFile>,
    /// What the package's own program says that the change would do.
    pub does: Vec<String>,
    /// SHA-256 of the script.
    pub script: Option<[u8; 32]>,
    /// SHA-256 of standard input.
    pub stdin: Option<[u8; 32]>,
    /// Keyed SHA-256 of standard input that is a secret.
    pub secret_stdin: Option<[u8; 32]>,
    /// Working directory.
    pub cwd: CString,
    /// Variables, each as `NAME=value`.
    pub env: Vec<CString>,
    /// Name of the profile.
    pub profile: String,
    /// Digest of the policy.
    pub policy: String,
    /// Rule that asks for the approval, with its position.
    pub rule: String,
    /// Resource limits.
    pub limits: BoundLimits,
    /// Seconds until it is ended.
    pub runtime_s: u32,
    /// The requester's words.
    pub reason: Option<String>,
    /// End of the time to approve it, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// An argument that is a path or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundArgument {
    /// A path beneath a directory.
    Path(BoundPath),
    /// A secret.
    Secret {
        /// Index into argv.
        index: usize,
        /// The text before it in the element.
        before: Vec<u8>,
        /// Keyed SHA-256 of its value.
        keyed: [u8; 32],
    },
}

/// An argument that is a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPath {
    /// Index into argv.
    pub index: usize,
    /// The text before it in the element.
    pub before: Vec<u8>,
    /// Directory of the policy.
    pub under: CString,
    /// The path in it.
    pub beneath: CString,
    /// What it has to be.
    pub is: PathIs,
    /// How the program gets it.
    pub pass: BoundPass,
}

/// How a program gets a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundPass {
    /// As text.
    Path,
    /// As a descriptor of the file.
    Descriptor,
    /// As a descriptor of a copy, made when the approval was asked for.
    Copy,
}

/// A file that is part of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundFile {
    /// `program`, `interpreter` or `argument 2`.
    pub what: String,
    /// How its content stays the approved content.
    pub held: FileBinding,
    /// The name that is executed or passed.
    pub name: CString,
    /// Its path with links resolved.
    pub real: CString,
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Time of the last change of the inode, in nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
}

/// How the content that runs stays the approved content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileBinding {
    /// Only root can change it. The job compares it again just before the exec.
    Checked,
    /// Only root can change it. Only text of the requester names it, so the job may not use it.
    Seen,
    /// The job gets a sealed copy.
    Copied,
}

/// Resource limits of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundLimits {
    /// Open descriptors of a process.
    pub nofile: u64,
    /// Processes of its user.
    pub nproc: u64,
    /// Bytes of private memory of a process.
    pub data: u64,
    /// CPU seconds of a process.
    pub cpu_s: u64,
    /// Bytes of a file.
    pub fsize: u64,
    /// Bytes in each private directory.
    pub tmp_bytes: u64,
    /// Files in each private directory.
    pub tmp_inodes: u64,
    /// Bytes of memory of the whole job.
    pub memory: Option<u64>,
    /// Tasks of the whole job.
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job.
    pub cpu_percent: Option<u32>,
}

impl FileBinding {
    /// Returns its name in the encoding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Seen => "seen",
            Self::Copied => "copied",
        }
    }
}

impl BoundPass {
    /// Returns its name in the encoding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Descriptor => "descriptor",
            Self::Copy => "copy",
        }
    }
}

impl ApprovalRequest {
    /// Returns the copied files, with the numbers of their arguments.
    #[must_use]
    pub fn copied(&self) -> Vec<(usize, &BoundFile)> {
        let copies = self.slots.iter().filter_map(|slot| match slot {
            BoundArgument::Path(path) if path.pass == BoundPass::Copy => Some(path.index),
            BoundArgument::Path(_) | BoundArgument::Secret { .. } => None,
        });
        let found = copies.filter_map(|at| {
            let what = name_of_argument(at);
            let is = |file: &&BoundFile| file.held == FileBinding::Copied && file.what == what;
            Some((at, self.files.iter().find(is)?))
        });
        found.collect()
    }

    /// Returns the secrets in argv: their indexes, and the text before each in its element.
    pub fn secrets(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.slots.iter().filter_map(|slot| match slot {
            BoundArgument::Secret { index, before, .. } => Some((*index, before.as_slice())),
            BoundArgument::Path(_) => None,
        })
    }
}
