//! A file of an upper directory where the host has a link, or the reverse: one entry has both.

use std::ffi::CStr;

use remit_plan::{Change, New, PlanPath};

use crate::base::{HashedFile, ReadLink};
use crate::node::NodeKind;
use crate::refusal::RefusalReason;
use crate::stand_in::is_untouched;
use crate::step::{UpperStep, content, content_of, link_meta};

impl UpperStep<'_> {
    /// Adds the entry. `kind` is what the job made of the path.
    pub fn file_or_link(
        &mut self,
        name: &CStr,
        path: PlanPath,
        kind: NodeKind,
    ) -> Result<(), RefusalReason> {
        let directory = self.directory;
        let (Some(old), upper) = (&directory.old, &directory.upper) else {
            return Ok(());
        };
        let (node, base, new, meta) = match kind {
            NodeKind::Link => {
                let new = ReadLink::read(upper, name)?;
                let old = HashedFile::old(self.found, &old.lower, name)?;
                let to = content(new.target.len() as u64, new.sha256);
                (old.node, old.base(), New::Link(to), link_meta(&new.node))
            }
            _ => {
                let new = HashedFile::new(self.found, upper, name)?;
                if is_untouched(&path, &new.node.stat, new.sha256)? {
                    self.found.count_equal();
                    return Ok(());
                }
                self.check_attributes(&path, &new.file, None)?;
                self.note_links(&path, &new.node);
                let old = ReadLink::read(&old.lower, name)?;
                let meta = new.node.stat.meta;
                (old.node, old.base(), New::File(content_of(&new)), meta)
            }
        };
        self.rules.check_base(&node)?;
        self.found
            .change(path, Change::ReplaceKind { base, new, meta })
    }
}
