//! The signed request as data.

use std::ffi::CString;

use remit_common::names::JobId;
use remit_common::wire::Effect;
use remit_policy::PathIs;
use serde::{Deserialize, Serialize};

use crate::name_of_argument;

/// Everything that an approval binds. [`crate::encode()`] has a table of the parts and defines the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    pub machine_id: String,
    pub job: JobId,
    pub requester_uid: u32,
    pub requester_name: String,
    pub command: Option<String>,
    pub effect: Effect,
    pub path: Vec<CString>,
    pub argv: Vec<CString>,
    pub slots: Vec<BoundArgument>,
    pub files: Vec<BoundFile>,
    pub does: Vec<String>,
    pub script: Option<[u8; 32]>,
    pub stdin: Option<[u8; 32]>,
    pub secret_stdin: Option<[u8; 32]>,
    pub cwd: CString,
    pub env: Vec<CString>,
    pub profile: String,
    pub policy: String,
    pub rule: String,
    pub limits: BoundLimits,
    pub runtime_s: u32,
    pub reason: Option<String>,
    pub expires_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundArgument {
    Path(BoundPath),
    Secret {
        index: usize,
        before: Vec<u8>,
        keyed: [u8; 32],
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPath {
    pub index: usize,
    pub before: Vec<u8>,
    pub under: CString,
    pub beneath: CString,
    pub is: PathIs,
    pub pass: BoundPass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundPass {
    Path,
    Descriptor,
    /// A descriptor of a copy, made when the approval was asked for.
    Copy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundFile {
    pub what: String,
    pub held: FileBinding,
    pub name: CString,
    pub real: CString,
    pub dev: u64,
    pub ino: u64,
    pub ctime_ns: i128,
    pub size: u64,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundLimits {
    pub nofile: u64,
    pub nproc: u64,
    pub data: u64,
    pub cpu_s: u64,
    pub fsize: u64,
    pub tmp_bytes: u64,
    pub tmp_inodes: u64,
    pub memory: Option<u64>,
    pub tasks: Option<u64>,
    pub cpu_percent: Option<u32>,
}

impl FileBinding {
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

    /// Returns the index of each secret in argv, and the text before it in its element.
    pub fn secrets(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.slots.iter().filter_map(|slot| match slot {
            BoundArgument::Secret { index, before, .. } => Some((*index, before.as_slice())),
            BoundArgument::Path(_) => None,
        })
    }
}
