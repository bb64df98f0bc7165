//! Reasons why a change cannot be planned, and what is left out of a plan, as values with sentences.

use std::fmt;

use nix::errno::Errno;
use remit_common::escape;
use remit_plan::{LineError, PathError};

use crate::bounds::{ATTRIBUTES, BASE_BYTES, FILE_BYTES, LISTED_NAMES, NEW_BYTES, PLAN_ENTRIES};
use crate::node::NodeKind;

/// Bytes of a path or a name in a sentence.
const SHOWN: usize = 512;

/// With one of these there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRefusal {
    /// Absolute, of any bytes and length.
    pub path: Vec<u8>,
    pub reason: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The host changed it after the plan began, or a clock tick before.
    ChangedOnHost,
    HiddenChanged,
    HiddenMoved,
    /// The directory above was shown empty, and the host has something of this name in it: whatever that is.
    HiddenName,
    /// A package that is changed has it in such a directory.
    HiddenOfPackage,
    /// It is a program of ours, which only a view has.
    StandIn,
    /// A table of passwords.
    Lines(LineError),
    UnknownOwner,
    OtherKind {
        old: NodeKind,
        new: NodeKind,
    },
    /// A device, a FIFO or a socket of the host was removed, or has another mode or owner.
    Special(NodeKind),
    HardLinks(u64),
    Attribute(Vec<u8>),
    ManyAttributes,
    /// With the attributes of the old file or directory no commit makes the change.
    OldAttributes(String),
    MountPoint,
    /// The path of an entry cannot be this one: too deep, too long, reserved.
    Path(PathError),
    Unreadable(Errno),
    LargeFile(u64),
    ManyNewBytes(u64),
    ManyBaseBytes,
    ManyEntries,
    ManyNames,
}

/// The plan is without this path or without this property of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanNote {
    pub path: Vec<u8>,
    pub omission: Omission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omission {
    Socket,
    Fifo,
    Device,
    /// What the tools of shadow(5) keep of a table of passwords when they change it.
    OldTable,
    /// Attributes `user.overlay.*`: overlayfs(5) would give them a meaning.
    OverlayAttributes,
    /// What a directory has in it that the plan's user may not read.
    HiddenNames,
    /// Number of names that the new file has in the view.
    HardLinks(u64),
}

impl RefusalReason {
    /// Returns true if there is nothing to gain from looking at further paths.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::ManyNewBytes(_) | Self::ManyBaseBytes | Self::ManyEntries | Self::ManyNames
        )
    }

    pub(crate) fn at(self, path: &[u8]) -> PlanRefusal {
        let path = path.to_vec();
        PlanRefusal { path, reason: self }
    }
}

impl From<Errno> for RefusalReason {
    fn from(errno: Errno) -> Self {
        Self::Unreadable(errno)
    }
}

impl fmt::Display for PlanRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escape::in_quotes(&self.path, SHOWN);
        write!(f, "cannot plan a change of '{path}': {}", self.reason)
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedOnHost => {
                f.write_str("it was changed on the machine while the plan ran; plan again")
            }
            Self::HiddenChanged => f.write_str("you cannot read what is there now"),
            Self::HiddenMoved => f.write_str("it was moved from a path that you cannot read"),
            Self::HiddenName => f.write_str(
                "its directory is hidden in copies of the machine, and has something of that name",
            ),
            Self::StandIn => f.write_str(
                "it is remit's own program, which a copy has in place of systemctl or policy-rc.d; leave that as it is",
            ),
            Self::Lines(error) => write!(f, "{error}"),
            Self::HiddenOfPackage => f.write_str(
                "a package that is changed has it, and its directory is hidden in copies of the machine",
            ),
            Self::UnknownOwner => {
                f.write_str("its owner or group is 'nobody' (65534) or has no number in the plan")
            }
            Self::OtherKind { old, new } => write!(
                f,
                "{old} would become {new}; plan the removal first, and the new one after that change"
            ),
            Self::Special(kind) => write!(f, "it is {kind}, which a plan cannot remove or change"),
            Self::HardLinks(names) => write!(
                f,
                "it has {names} names (hard links), and the others would stay as they are"
            ),
            Self::Attribute(name) => write!(
                f,
                "its extended attribute '{}' would be lost: the plan format has no attributes yet",
                escape::in_quotes(name, SHOWN)
            ),
            Self::ManyAttributes => write!(f, "it has more than {ATTRIBUTES} extended attributes"),
            Self::OldAttributes(why) => f.write_str(why),
            Self::MountPoint => f.write_str("a file system is mounted on it"),
            Self::Path(error) => write!(f, "{error}"),
            Self::Unreadable(errno) => write!(f, "cannot read it: {}", errno.desc()),
            Self::LargeFile(size) => write!(
                f,
                "it has {size} bytes, holes included; a plan has files of at most {FILE_BYTES} (256 MiB)"
            ),
            Self::ManyNewBytes(size) => write!(
                f,
                "with it the new files have {size} bytes, holes included; a plan has at most {NEW_BYTES} (1 GiB)"
            ),
            Self::ManyBaseBytes => write!(f, "the old files have more than {BASE_BYTES} bytes"),
            Self::ManyEntries => write!(f, "more than {PLAN_ENTRIES} paths are changed"),
            Self::ManyNames => write!(
                f,
                "the changed directories have more than {LISTED_NAMES} names"
            ),
        }
    }
}

impl fmt::Display for PlanNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escape::in_quotes(&self.path, SHOWN);
        match self.omission {
            Omission::Socket => write!(f, "'{path}' is left out: it is a socket"),
            Omission::Fifo => write!(f, "'{path}' is left out: it is a FIFO"),
            Omission::Device => write!(f, "'{path}' is left out: it is a device"),
            Omission::OldTable => write!(
                f,
                "'{path}' is left out: it is what the table of passwords was before, without its passwords"
            ),
            Omission::OverlayAttributes => {
                write!(
                    f,
                    "'{path}' is planned without its attributes 'user.overlay.*'"
                )
            }
            Omission::HiddenNames => write!(
                f,
                "'{path}' was shown without the names that are in it, because you cannot read them; they stay as they are"
            ),
            Omission::HardLinks(names) => write!(
                f,
                "'{path}' has {names} names (hard links); the plan makes each of them a file of its own"
            ),
        }
    }
}
