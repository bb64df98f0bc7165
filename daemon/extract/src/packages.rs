//! Files of packages in emptied directories. dpkg does not see them there: it removes and replaces none, and says nothing.

use std::io::Read;
use std::os::fd::AsFd;

use remit_plan::{Change, Entry, PlanPath};

use crate::content::{c_string, open_parent, overlay_of};
use crate::extraction::{Collector, Halt};
use crate::input::CopiedMachine;
use crate::node::{Node, open_file};
use crate::refusal::RefusalReason;

/// The paths of each package: a file `NAME.list`, dpkg(1).
const LISTS: &[u8] = b"/var/lib/dpkg/info";
const LIST_BYTES: u64 = 16 << 20;

/// Refuses changes of packages that have a file in an emptied directory: the machine's package would not be as dpkg says.
pub fn check(machine: &CopiedMachine, found: &mut Collector) -> Result<(), Halt> {
    if machine.emptied.is_empty() {
        return Ok(());
    }
    let is_changed = |entry: &&Entry| {
        let is_old = matches!(
            entry.change,
            Change::Replace { .. } | Change::ReplaceKind { .. } | Change::Remove { .. }
        );
        is_old && entry.path.parent() == LISTS && entry.path.name().ends_with(b".list")
    };
    let changed = found.entries().iter().filter(is_changed);
    let lists: Vec<PlanPath> = changed.map(|entry| entry.path.clone()).collect();
    for list in lists {
        let hidden = hidden_files(machine, &list).map_err(|reason| reason.at(list.as_bytes()));
        for path in found.keep(hidden)?.unwrap_or_default() {
            let refusal = RefusalReason::HiddenOfPackage.at(path.as_bytes());
            found.keep::<()>(Err(refusal))?;
        }
    }
    Ok(())
}

fn hidden_files(machine: &CopiedMachine, list: &PlanPath) -> Result<Vec<PlanPath>, RefusalReason> {
    let changed = RefusalReason::ChangedOnHost;
    let mut bytes = Vec::new();
    let overlay = overlay_of(machine, list).map_err(|_| changed.clone())?;
    let parent = open_parent(overlay, overlay.lower.as_fd(), list).map_err(|_| changed.clone())?;
    let name = c_string(list.name()).map_err(|_| changed.clone())?;
    let read = open_file(&parent, &name)?
        .take(LIST_BYTES)
        .read_to_end(&mut bytes);
    read.map_err(|_| changed)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| PlanPath::new(line).ok());
    let is_beneath = |path: &PlanPath| path.ancestors().any(|dir| machine.emptied.contains(dir));
    Ok(paths
        .filter(|path| is_beneath(path) && is_there(machine, path))
        .collect())
}

/// Returns true also if that cannot be known.
fn is_there(machine: &CopiedMachine, path: &PlanPath) -> bool {
    let Ok(overlay) = overlay_of(machine, path) else {
        return true;
    };
    let parent = open_parent(overlay, overlay.lower.as_fd(), path);
    match (parent, c_string(path.name())) {
        (Ok(parent), Ok(name)) => !matches!(Node::find(&parent, &name), Ok(None)),
        // One above it is not there.
        (Err(_), _) => false,
        (_, Err(_)) => true,
    }
}
