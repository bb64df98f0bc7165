//! The signed request as data, and names in it whose content is not bound.

use std::collections::BTreeSet;
use std::ffi::CString;

use remit_common::names::JobId;
use remit_common::prove::OpenedPath;
use remit_common::wire::Effect;
use remit_policy::PathIs;
use serde::{Deserialize, Serialize};

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
    /// Ways to root or to another account that exist only after the change.
    pub opens: Vec<OpenedPath>,
    /// Why it may open others, a sentence each.
    pub opens_unknown: Vec<String>,
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

const NAMED: usize = 6;

/// A name in a request whose content is not bound. If there is none, the content of each named file is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Loose {
    /// The working directory, because others than root can change it.
    Cwd,
    Argument(usize, Unbound),
}

/// Reason why the content of a name is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unbound {
    Directory,
    /// Others than root can change it, or it cannot be read.
    Changeable,
    /// A device, a FIFO or a socket.
    Special,
    /// Generated when it is read, or another file for each process.
    ProcessSpecific,
    Unseen,
    Absent,
    /// More names than are looked up.
    More,
}

impl Unbound {
    const ALL: [Self; 7] = [
        Self::Directory,
        Self::Changeable,
        Self::Special,
        Self::ProcessSpecific,
        Self::Unseen,
        Self::Absent,
        Self::More,
    ];
}

/// Returns one sentence per reason, for any number of arguments.
#[must_use]
pub fn sentences(loose: &BTreeSet<Loose>) -> Vec<String> {
    let cwd = loose.get(&Loose::Cwd).map(sentence);
    let of = |why: Unbound| {
        let at = loose.iter().filter_map(|one| match one {
            Loose::Argument(at, other) if *other == why => Some(*at),
            Loose::Argument(..) | Loose::Cwd => None,
        });
        about(&at.collect::<Vec<_>>(), why)
    };
    Unbound::ALL.into_iter().filter_map(of).chain(cwd).collect()
}

#[must_use]
pub fn sentence(loose: &Loose) -> String {
    let cwd = "users other than root can change the working directory, or the way to it: which files relative names \
               mean there is not part of what is approved";
    match loose {
        Loose::Cwd => cwd.to_owned(),
        Loose::Argument(at, why) => about(&[*at], *why).unwrap_or_default(),
    }
}

fn about(at: &[usize], why: Unbound) -> Option<String> {
    let (one, many) = match why {
        Unbound::Directory => (
            "is a directory: what is in it is not part of what is approved",
            "are directories: what is in them is not part of what is approved",
        ),
        Unbound::Changeable => (
            "names a file whose content is not part of what is approved: users other than root can change it, or it \
             cannot be read",
            "name files whose content is not part of what is approved: users other than root can change them, or they \
             cannot be read",
        ),
        Unbound::Special => (
            "names a device, a FIFO or a socket: what is read from it is not part of what is approved",
            "name devices, FIFOs or sockets: what is read from them is not part of what is approved",
        ),
        Unbound::ProcessSpecific => (
            "names what is made when it is read, or is another file for each process, as in /proc: its content is \
             not part of what is approved",
            "name what is made when it is read, or is another file for each process, as in /proc: their content is \
             not part of what is approved",
        ),
        Unbound::Unseen => (
            "may name a file that could not be looked at: its content is not part of what is approved",
            "may name files that could not be looked at: their content is not part of what is approved",
        ),
        Unbound::Absent => (
            "may name a file that is not there now: what is there when it runs is not part of what is approved",
            "may name files that are not there now: what is there when it runs is not part of what is approved",
        ),
        Unbound::More => (
            "may name more files than are looked at: their content is not part of what is approved",
            "may name more files than are looked at: their content is not part of what is approved",
        ),
    };
    arguments_sentence(at, one, many)
}

/// Returns a sentence about arguments by their numbers; 0 is the program. `None` if there are none.
#[must_use]
pub fn arguments_sentence(at: &[usize], one: &str, many: &str) -> Option<String> {
    let numbers = at.iter().take(NAMED).map(ToString::to_string);
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    Some(match (at, at.len().saturating_sub(NAMED)) {
        ([], _) => return None,
        ([0], _) => format!("the program's name {one}"),
        ([_], _) => format!("argument {numbers} {one}"),
        (_, 0) => format!("arguments {numbers} {many}"),
        (_, more) => format!("arguments {numbers} and {more} more {many}"),
    })
}

#[must_use]
pub fn name_of_argument(at: usize) -> String {
    format!("argument {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_arguments_share_one_sentence_per_reason() {
        let mut all: BTreeSet<Loose> = (1..5000)
            .map(|at| Loose::Argument(at, Unbound::Absent))
            .collect();
        all.insert(Loose::Cwd);
        all.insert(Loose::Argument(7, Unbound::Directory));
        let said = sentences(&all);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("argument 7 is a directory"), "{said:?}");
        assert!(
            said[1].starts_with("arguments 1, 2, 3, 4, 5, 6 and 4993 more may name"),
            "{said:?}"
        );
        assert!(said[2].contains("the working directory"), "{said:?}");
        assert!(sentences(&BTreeSet::new()).is_empty());
    }
}
