//! Walks the upper directories by descriptors: a stack of directories, and what was removed from each.

use std::os::fd::AsFd;

use remit_plan::PlanPath;

use crate::attributes::{self, OldAttributes};
use crate::extraction::{Collector, Extraction, Halt};
use crate::input::{CopiedMachine, Overlay};
use crate::listing;
use crate::node::{Node, open_directory};
use crate::packages;
use crate::refusal::RefusalReason;
use crate::removal::Removal;
use crate::rules::PathRules;
use crate::step::{OldDirectory, UpperDirectory, UpperStep};

/// Finds all changes. What cannot be planned is in the result, so this does not fail.
#[must_use]
pub fn extract(machine: &CopiedMachine) -> Extraction {
    let mut found = Collector::new();
    let mut overlays = machine.overlays.iter();
    let walked = overlays.try_for_each(|overlay| {
        UpperWalk::new(machine, overlay, &mut found).and_then(UpperWalk::run)
    });
    // After a halt there is no plan whatever it finds.
    if walked.is_ok() {
        let _ = packages::check(machine, &mut found);
    }
    found.finish()
}

struct UpperWalk<'a> {
    rules: PathRules<'a>,
    found: &'a mut Collector,
    /// Device of the overlay's directories.
    device: u64,
    /// From the root of the overlay to the directory that is looked at: no deeper than a path may be.
    stack: Vec<UpperDirectory>,
}

impl<'a> UpperWalk<'a> {
    fn new(
        machine: &'a CopiedMachine,
        overlay: &Overlay,
        found: &'a mut Collector,
    ) -> Result<Self, Halt> {
        let (rules, stack) = (PathRules::new(machine), Vec::new());
        let root = root(overlay, found).map_err(|reason| reason.at(&overlay.at));
        let root = found.keep(root)?;
        let device = root.as_ref().map_or(0, |(device, _)| *device);
        let mut walk = Self {
            rules,
            found,
            device,
            stack,
        };
        if let Some((_, root)) = root {
            walk.enter(root)?;
        }
        Ok(walk)
    }

    fn run(mut self) -> Result<(), Halt> {
        while let Some(directory) = self.stack.last_mut() {
            let Some(name) = directory.names.next() else {
                self.stack.pop();
                continue;
            };
            let mut step = UpperStep {
                rules: self.rules,
                found: self.found,
                device: self.device,
                directory,
            };
            let next = step.visit(&name);
            if let Some(Some(next)) = self.found.keep(next)? {
                self.enter(next)?;
            }
        }
        Ok(())
    }

    /// Adds what was removed from a directory. Its own names are next.
    fn enter(&mut self, directory: UpperDirectory) -> Result<(), Halt> {
        let old = directory.old.as_ref();
        let seen = old.and_then(|old| Some((&old.lower, old.merged.as_ref()?)));
        if let Some((lower, merged)) = seen {
            let names = listing::missing(lower, merged, self.found.names());
            let names = names.map_err(|reason| reason.at(&directory.path));
            let mut removal = Removal {
                rules: self.rules,
                found: self.found,
            };
            for name in removal.found.keep(names)?.unwrap_or_default() {
                removal.remove(lower, &directory.path, &name)?;
            }
        }
        self.stack.push(directory);
        Ok(())
    }
}

/// Opens the directories of an overlay. Returns the device of the merged one.
fn root(overlay: &Overlay, found: &mut Collector) -> Result<(u64, UpperDirectory), RefusalReason> {
    if overlay.at != b"/" {
        PlanPath::new(overlay.at.as_slice()).map_err(RefusalReason::Path)?;
    }
    let upper = open_directory(&overlay.upper, c".")?;
    let lower = open_directory(&overlay.lower, c".")?;
    let merged = open_directory(&overlay.merged, c".")?;
    let made = open_directory(&overlay.made, c".")?;
    if Node::from_fd(&upper)?.stat.meta != Node::from_fd(&made)?.stat.meta {
        return Err(RefusalReason::MountPoint);
    }
    let old = OldAttributes {
        fd: made.as_fd(),
        has_new_bytes: false,
    };
    attributes::check(upper.as_fd(), Some(old))?;
    let names = listing::names(&upper, found.names())?.into_iter();
    let (path, device) = (overlay.at.clone(), Node::from_fd(&merged)?.stat.dev);
    let merged = Some(merged);
    let old = Some(OldDirectory { lower, merged });
    let root = UpperDirectory {
        path,
        upper,
        old,
        names,
    };
    Ok((device, root))
}
