//! One name of an upper directory: compared with the host's, and its entry.

use std::collections::btree_set;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use remit_plan::{Change, Content, Metadata, New, PlanPath, Source, sha256};

use crate::attributes::{self, OldAttributes};
use crate::base::{HashedFile, ReadLink, without_hash};
use crate::compare::{NodeDifference, PathCase, case, difference};
use crate::extraction::Collector;
use crate::listing::{self, join};
use crate::node::{Node, NodeKind, open_directory};
use crate::refusal::{Omission, PlanRefusal, RefusalReason};
use crate::rules::{Hiding, PathRules};
use crate::stand_in::is_untouched;
use crate::table::{self, TableChanges};

/// symlink(7): the mode of a link is not used, and is this one.
const LINK_MODE: u32 = 0o777;

pub struct UpperDirectory {
    pub path: Vec<u8>,
    pub upper: OwnedFd,
    /// If the host has a directory at this path.
    pub old: Option<OldDirectory>,
    pub names: btree_set::IntoIter<CString>,
}

pub struct OldDirectory {
    pub lower: OwnedFd,
    /// As the job saw it; nothing if it saw none of the names of `lower`.
    pub merged: Option<OwnedFd>,
}

/// One name of an upper directory.
pub struct UpperStep<'a> {
    pub rules: PathRules<'a>,
    pub found: &'a mut Collector,
    /// Device of the overlay's directories.
    pub device: u64,
    pub directory: &'a UpperDirectory,
}

impl UpperStep<'_> {
    /// Adds the entry of a name. Returns a directory, whose names are next.
    pub fn visit(&mut self, name: &CStr) -> Result<Option<UpperDirectory>, PlanRefusal> {
        let raw = join(&self.directory.path, name);
        self.visit_raw(name, &raw).map_err(|reason| reason.at(&raw))
    }

    fn visit_raw(
        &mut self,
        name: &CStr,
        raw: &[u8],
    ) -> Result<Option<UpperDirectory>, RefusalReason> {
        let new = find(&self.directory.upper, name)?;
        if new.kind == NodeKind::Whiteout {
            return Ok(None);
        }
        let path = PlanPath::new(raw).map_err(RefusalReason::Path)?;
        let old = match &self.directory.old {
            Some(old) => Node::find(&old.lower, name)?,
            None => None,
        };
        let old = old.filter(|old| old.kind != NodeKind::Whiteout);
        let region = self.rules.region(&path);
        match case(region, old, &new)? {
            PathCase::NewFile => self.new_file(name, path)?,
            PathCase::NewLink => self.new_link(name, path)?,
            PathCase::NewDirectory => return self.new_directory(name, path).map(Some),
            PathCase::File => self.file(name, path)?,
            PathCase::Table => self.table(name, path)?,
            PathCase::Link => self.link(name, path)?,
            PathCase::FileOrLink => self.file_or_link(name, path, new.kind)?,
            PathCase::Directory => return self.directory(name, path, region.hiding).map(Some),
            PathCase::ScratchDirectory => {
                if old.is_some_and(|old| !old.is_alike(&new)) {
                    self.found.count_scratch(&path);
                }
                let upper = open_directory(&self.directory.upper, name)?;
                let old = self.old_directory(name, region.hiding)?;
                return self.open(upper, old, &path).map(Some);
            }
            PathCase::Scratch => self.found.count_scratch(&path),
            PathCase::Unchanged => self.found.count_equal(),
            PathCase::MountPoint => {}
            PathCase::Omitted(omission) => self.found.note(&path, omission),
        }
        Ok(None)
    }

    fn new_file(&mut self, name: &CStr, path: PlanPath) -> Result<(), RefusalReason> {
        let file = HashedFile::new(self.found, &self.directory.upper, name)?;
        if is_untouched(&path, &file.node.stat, file.sha256)? {
            self.found.count_equal();
            return Ok(());
        }
        self.check_attributes(&path, &file.file, None)?;
        self.note_links(&path, &file.node);
        let new = New::File(content_of(&file));
        let meta = file.node.stat.meta;
        self.found.change(path, Change::Create { new, meta })
    }

    fn new_link(&mut self, name: &CStr, path: PlanPath) -> Result<(), RefusalReason> {
        let link = ReadLink::read(&self.directory.upper, name)?;
        let new = New::Link(content(link.target.len() as u64, link.sha256));
        let meta = link_meta(&link.node);
        self.found.change(path, Change::Create { new, meta })
    }

    fn new_directory(
        &mut self,
        name: &CStr,
        path: PlanPath,
    ) -> Result<UpperDirectory, RefusalReason> {
        let upper = open_directory(&self.directory.upper, name)?;
        self.check_attributes(&path, &upper, None)?;
        let (new, meta) = (New::Directory, Node::from_fd(&upper)?.stat.meta);
        self.found
            .change(path.clone(), Change::Create { new, meta })?;
        self.open(upper, None, &path)
    }

    fn file(&mut self, name: &CStr, path: PlanPath) -> Result<(), RefusalReason> {
        let Some(old) = &self.directory.old else {
            return Ok(());
        };
        // The new one first: its size has a bound.
        let new = HashedFile::new(self.found, &self.directory.upper, name)?;
        if is_untouched(&path, &new.node.stat, new.sha256)? {
            self.found.count_equal();
            return Ok(());
        }
        let old = HashedFile::old(self.found, &old.lower, name)?;
        let (old_meta, meta) = (old.node.stat.meta, new.node.stat.meta);
        let sets_capabilities = old.capabilities != new.capabilities
            || new.capabilities.is_some() && owner(old_meta) != owner(meta);
        // Capabilities are those of a new file: a new owner takes them away.
        let found = match difference((old_meta, old.sha256), (meta, new.sha256)) {
            _ if sets_capabilities => NodeDifference::Content,
            found => found,
        };
        let old_attributes = OldAttributes {
            fd: old.file.as_fd(),
            has_new_bytes: found == NodeDifference::Content,
        };
        self.check_attributes(&path, &new.file, Some(old_attributes))?;
        if found == NodeDifference::None {
            self.found.count_equal();
            return Ok(());
        }
        self.rules.check_base(&old.node)?;
        let base = old.base();
        if found == NodeDifference::Metadata {
            let change = Change::SetMetadata { base, meta };
            attributes::check_change(&change, old.file.as_fd())?;
            return self.found.change(path, change);
        }
        self.note_links(&path, &new.node);
        let content = content_of(&new);
        let change = Change::Replace {
            base,
            content,
            meta,
        };
        attributes::check_change(&change, old.file.as_fd())?;
        self.found.change(path, change)
    }

    fn table(&mut self, name: &CStr, path: PlanPath) -> Result<(), RefusalReason> {
        let Some(old) = &self.directory.old else {
            return Ok(());
        };
        let new = HashedFile::new(self.found, &self.directory.upper, name)?;
        let old = HashedFile::old(self.found, &old.lower, name)?;
        let TableChanges {
            text,
            old: old_sha256,
            new: new_sha256,
        } = table::changes(&old.file, &new.file)?;
        if (old_sha256, new_sha256) != (old.sha256, new.sha256) {
            return Err(RefusalReason::ChangedOnHost);
        }
        if new.capabilities.is_some() {
            return Err(RefusalReason::Attribute(b"security.capability".to_vec()));
        }
        let meta = new.node.stat.meta;
        match (text.is_empty(), old.node.stat.meta == meta) {
            (true, true) => {
                self.found.count_equal();
                return Ok(());
            }
            (true, false) => return Err(RefusalReason::HiddenChanged),
            (false, _) => {}
        }
        let old_attributes = OldAttributes {
            fd: old.file.as_fd(),
            has_new_bytes: true,
        };
        self.check_attributes(&path, &new.file, Some(old_attributes))?;
        self.rules.check_base(&old.node)?;
        let content = Content {
            source: Source::Lines,
            ..content(text.len() as u64, sha256(&text))
        };
        // Its hash would let a reader of the plan try passwords.
        let base = without_hash(&old.node);
        let change = Change::Replace {
            base,
            content,
            meta,
        };
        self.found.change(path, change)
    }

    fn link(&mut self, name: &CStr, path: PlanPath) -> Result<(), RefusalReason> {
        let Some(old) = &self.directory.old else {
            return Ok(());
        };
        let old = ReadLink::read(&old.lower, name)?;
        let new = ReadLink::read(&self.directory.upper, name)?;
        let (old_meta, meta) = (link_meta(&old.node), link_meta(&new.node));
        if difference((old_meta, old.sha256), (meta, new.sha256)) == NodeDifference::None {
            self.found.count_equal();
            return Ok(());
        }
        self.rules.check_base(&old.node)?;
        // A link with another owner is another link: a plan sets no metadata of links.
        let change = Change::Replace {
            base: old.base(),
            content: content(new.target.len() as u64, new.sha256),
            meta,
        };
        self.found.change(path, change)
    }

    fn directory(
        &mut self,
        name: &CStr,
        path: PlanPath,
        hiding: Hiding,
    ) -> Result<UpperDirectory, RefusalReason> {
        let upper = open_directory(&self.directory.upper, name)?;
        let old = self.old_directory(name, hiding)?;
        if hiding == Hiding::Emptied {
            self.found.note(&path, Omission::HiddenNames);
        }
        if let Some(old) = &old {
            let old_attributes = OldAttributes {
                fd: old.lower.as_fd(),
                has_new_bytes: false,
            };
            self.check_attributes(&path, &upper, Some(old_attributes))?;
            let node = Node::from_fd(&old.lower)?;
            self.rules.check_directory(&node)?;
            let (base, meta) = (without_hash(&node), Node::from_fd(&upper)?.stat.meta);
            if base.stat.meta != meta {
                self.rules.check_base(&node)?;
                let change = Change::SetMetadata { base, meta };
                attributes::check_change(&change, old.lower.as_fd())?;
                self.found.change(path.clone(), change)?;
            }
        }
        self.open(upper, old, &path)
    }

    fn old_directory(
        &self,
        name: &CStr,
        hiding: Hiding,
    ) -> Result<Option<OldDirectory>, RefusalReason> {
        let Some(old) = &self.directory.old else {
            return Ok(None);
        };
        let above = old.merged.as_ref().ok_or(RefusalReason::HiddenChanged)?;
        let lower = open_directory(&old.lower, name)?;
        let merged = open_directory(above, name)?;
        let seen = Node::from_fd(&merged)?;
        // All directories of an overlay have its device, so this is another file system.
        if seen.stat.dev != self.device {
            return Err(RefusalReason::MountPoint);
        }
        if hiding == Hiding::Emptied {
            // One that was removed and made again: all that it had would be gone. The overlay counts one link of a directory that
            // layers beneath have, too.
            let is_same = seen.links == 1;
            let old = OldDirectory {
                lower,
                merged: None,
            };
            return is_same
                .then_some(Some(old))
                .ok_or(RefusalReason::HiddenChanged);
        }
        Ok(Some(OldDirectory {
            lower,
            merged: Some(merged),
        }))
    }

    fn open(
        &mut self,
        upper: OwnedFd,
        old: Option<OldDirectory>,
        path: &PlanPath,
    ) -> Result<UpperDirectory, RefusalReason> {
        let names = listing::names(&upper, self.found.names())?.into_iter();
        let path = path.as_bytes().to_vec();
        Ok(UpperDirectory {
            path,
            upper,
            old,
            names,
        })
    }

    pub fn check_attributes(
        &mut self,
        path: &PlanPath,
        new: impl AsFd,
        old: Option<OldAttributes<'_>>,
    ) -> Result<(), RefusalReason> {
        if attributes::check(new.as_fd(), old)? {
            self.found.note(path, Omission::OverlayAttributes);
        }
        Ok(())
    }

    pub fn note_links(&mut self, path: &PlanPath, new: &Node) {
        if new.links > 1 {
            self.found.note(path, Omission::HardLinks(new.links));
        }
    }
}

fn find(upper: &OwnedFd, name: &CStr) -> Result<Node, RefusalReason> {
    Node::find(upper, name)?.ok_or(RefusalReason::Unreadable(Errno::ENOENT))
}

pub fn content_of(file: &HashedFile) -> Content {
    Content {
        capabilities: file.capabilities,
        mtime: i64::try_from(file.node.mtime_ns).ok(),
        ..content(file.node.stat.size, file.sha256)
    }
}

const fn owner(meta: Metadata) -> (u32, u32) {
    (meta.uid, meta.gid)
}

pub const fn content(size: u64, sha256: [u8; 32]) -> Content {
    Content {
        size,
        sha256,
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    }
}

pub const fn link_meta(node: &Node) -> Metadata {
    Metadata {
        mode: LINK_MODE,
        ..node.stat.meta
    }
}
