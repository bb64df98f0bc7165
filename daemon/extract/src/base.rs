//! Reads what the host has at a changed path. A base has stat and bytes of one moment.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use remit_plan::{Base, FileCapabilities, OldCapabilities};

use crate::attributes;
use crate::content::{ContentError, read_pieces};
use crate::extraction::Collector;
use crate::node::{Node, NodeKind, open_file};
use crate::refusal::RefusalReason;

/// A file with its bytes' hash. `node` was the same before and after they were read.
pub struct HashedFile {
    pub file: File,
    pub node: Node,
    pub sha256: [u8; 32],
    pub capabilities: Option<FileCapabilities>,
}

pub struct ReadLink {
    pub node: Node,
    pub target: Vec<u8>,
    pub sha256: [u8; 32],
}

impl HashedFile {
    /// Opens a file of the host, takes its size from the budget and reads it.
    pub fn old(found: &mut Collector, dir: &OwnedFd, name: &CStr) -> Result<Self, RefusalReason> {
        let file = open_file(dir, name)?;
        Self::read(file, |size| found.take_base(size))
    }

    pub fn new(found: &mut Collector, dir: &OwnedFd, name: &CStr) -> Result<Self, RefusalReason> {
        let file = open_file(dir, name)?;
        Self::read(file, |size| found.take_new(size))
    }

    fn read(
        file: File,
        take: impl FnOnce(u64) -> Result<(), RefusalReason>,
    ) -> Result<Self, RefusalReason> {
        let node = Node::from_fd(&file)?;
        if node.kind != NodeKind::File {
            return Err(RefusalReason::ChangedOnHost);
        }
        take(node.stat.size)?;
        let sha256 = read_pieces(&file, node.stat.size, &mut |_| Ok(()));
        let sha256 = sha256.map_err(|error| match error {
            ContentError::Read(error) | ContentError::Sink(error) => error
                .raw_os_error()
                .map_or(Errno::EIO, Errno::from_raw)
                .into(),
            ContentError::Changed | ContentError::Outside => RefusalReason::ChangedOnHost,
        })?;
        let capabilities = attributes::capabilities(file.as_fd())?;
        if Node::from_fd(&file)? != node {
            return Err(RefusalReason::ChangedOnHost);
        }
        Ok(Self {
            file,
            node,
            sha256,
            capabilities,
        })
    }

    pub const fn base(&self) -> Base {
        Base {
            capabilities: OldCapabilities::Read(self.capabilities),
            ..with_hash(&self.node, Some(self.sha256))
        }
    }
}

impl ReadLink {
    pub fn read(dir: &OwnedFd, name: &CStr) -> Result<Self, RefusalReason> {
        let find = || Node::find(dir, name)?.ok_or(RefusalReason::ChangedOnHost);
        let node = find()?;
        let target = readlinkat(dir.as_fd(), name)?.into_vec();
        if find()? != node || node.kind != NodeKind::Link {
            return Err(RefusalReason::ChangedOnHost);
        }
        let sha256 = remit_plan::sha256(&target);
        Ok(Self {
            node,
            target,
            sha256,
        })
    }

    pub const fn base(&self) -> Base {
        with_hash(&self.node, Some(self.sha256))
    }
}

/// The base of a directory, or of a file whose bytes the plan's user may not read.
pub const fn without_hash(node: &Node) -> Base {
    with_hash(node, None)
}

const fn with_hash(node: &Node, sha256: Option<[u8; 32]>) -> Base {
    Base::new(node.stat, sha256)
}
