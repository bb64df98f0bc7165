//! Finds what was removed: names of the host's directory that the overlay does not show, and everything beneath them.
//! That covers whiteouts and opaque directories alike.

use std::collections::btree_set;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use remit_plan::{Base, Change, PlanPath};

use crate::base::{HashedFile, ReadLink, without_hash};
use crate::extraction::{Collector, Halt};
use crate::listing::{self, join};
use crate::node::{Node, NodeKind, open_directory};
use crate::refusal::{PlanRefusal, RefusalReason};
use crate::rules::{Hiding, PathRules, Region};

pub struct Removal<'a> {
    pub rules: PathRules<'a>,
    pub found: &'a mut Collector,
}

/// A directory whose names are removed, or some of them.
pub struct RemovedNames {
    path: Vec<u8>,
    lower: OwnedFd,
    names: btree_set::IntoIter<CString>,
}

impl Removal<'_> {
    /// Removes `name` of a directory that stays.
    pub fn remove(&mut self, lower: &OwnedFd, dir: &[u8], name: &CStr) -> Result<(), Halt> {
        // An overlay does not show a whiteout of its lower directory, as in the layers of containers.
        let is_whiteout = |node: Node| node.kind == NodeKind::Whiteout;
        if matches!(Node::find(lower, name), Ok(node) if node.is_none_or(is_whiteout)) {
            return Ok(());
        }
        let first = self.visit(lower, dir, name);
        let mut stack: Vec<RemovedNames> = Vec::new();
        stack.extend(self.found.keep(first)?.flatten());
        while let Some(directory) = stack.last_mut() {
            let Some(name) = directory.names.next() else {
                stack.pop();
                continue;
            };
            let next = self.visit(&directory.lower, &directory.path, &name);
            stack.extend(self.found.keep(next)?.flatten());
        }
        Ok(())
    }

    /// Adds the entry of one path. Returns a directory, whose names are next.
    fn visit(
        &mut self,
        lower: &OwnedFd,
        dir: &[u8],
        name: &CStr,
    ) -> Result<Option<RemovedNames>, PlanRefusal> {
        let raw = join(dir, name);
        let removed = PlanPath::new(raw.as_slice())
            .map_err(RefusalReason::Path)
            .and_then(|path| self.visit_path(lower, name, path));
        removed.map_err(|reason| reason.at(&raw))
    }

    fn visit_path(
        &mut self,
        lower: &OwnedFd,
        name: &CStr,
        path: PlanPath,
    ) -> Result<Option<RemovedNames>, RefusalReason> {
        let region = self.rules.region(&path);
        let Some(node) = Node::find(lower, name)? else {
            return Err(RefusalReason::ChangedOnHost);
        };
        match node.kind {
            _ if region.is_mount => Err(RefusalReason::MountPoint),
            NodeKind::Directory if region.contains_kept => {
                self.found.count_scratch(&path);
                self.open(lower, name, &path).map(|(_, names)| Some(names))
            }
            _ if region.is_scratch => {
                self.found.count_scratch(&path);
                Ok(None)
            }
            NodeKind::Directory if region.hiding != Hiding::None => {
                Err(RefusalReason::HiddenChanged)
            }
            // The job cannot have removed what it did not see.
            _ if region.hiding == Hiding::Unseen => Err(RefusalReason::HiddenChanged),
            NodeKind::Directory => {
                let (node, names) = self.open(lower, name, &path)?;
                self.add(path, &node, without_hash(&node))?;
                Ok(Some(names))
            }
            NodeKind::File => {
                let (node, base) = self.file(lower, name, node, region)?;
                self.add(path, &node, base).map(|()| None)
            }
            NodeKind::Link => {
                let link = ReadLink::read(lower, name)?;
                self.add(path, &link.node, link.base()).map(|()| None)
            }
            kind => Err(RefusalReason::Special(kind)),
        }
    }

    /// A file that the plan's user cannot read can be removed. Its base is compared by its stat.
    fn file(
        &mut self,
        lower: &OwnedFd,
        name: &CStr,
        node: Node,
        region: Region,
    ) -> Result<(Node, Base), RefusalReason> {
        if region.hiding != Hiding::None {
            return Ok((node, without_hash(&node)));
        }
        match HashedFile::old(self.found, lower, name) {
            Ok(file) => Ok((file.node, file.base())),
            Err(RefusalReason::Unreadable(Errno::EACCES | Errno::EPERM)) => {
                Ok((node, without_hash(&node)))
            }
            Err(reason) => Err(reason),
        }
    }

    fn open(
        &mut self,
        lower: &OwnedFd,
        name: &CStr,
        path: &PlanPath,
    ) -> Result<(Node, RemovedNames), RefusalReason> {
        let lower = open_directory(lower, name)?;
        let node = Node::from_fd(&lower)?;
        let names = listing::names(&lower, self.found.names())?.into_iter();
        let path = path.as_bytes().to_vec();
        Ok((node, RemovedNames { path, lower, names }))
    }

    fn add(&mut self, path: PlanPath, node: &Node, base: Base) -> Result<(), RefusalReason> {
        self.rules.check_base(node)?;
        self.found.change(path, Change::Remove { base })
    }
}
