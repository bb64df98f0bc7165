//! Files of packages in emptied directories. dpkg does not see them there: it removes and replaces none, and says nothing.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;

use remit_plan::PlanPath;

use crate::content::{ContentError, c_string, open_parent, overlay_of};
use crate::extraction::{Collector, Halt};
use crate::input::CopiedMachine;
use crate::node::{Node, open_file};
use crate::refusal::RefusalReason;

/// Files of each package; its paths are `NAME.list`, dpkg(1).
const LISTS: &[u8] = b"/var/lib/dpkg/info";
const LIST_BYTES: u64 = 16 << 20;

/// Refuses changes of packages that have a file in an emptied directory: the machine's package would not be as dpkg says.
pub fn check(machine: &CopiedMachine, found: &mut Collector) -> Result<(), Halt> {
    if machine.emptied.is_empty() {
        return Ok(());
    }
    // An upgrade can leave the list as it is. Its other files, as NAME.md5sums, are those of the package, too.
    let entries = found.entries().iter();
    let own = entries.filter(|entry| entry.path.parent() == LISTS);
    let lists: BTreeSet<Vec<u8>> = own.filter_map(|entry| list_of(&entry.path)).collect();
    let lists: Vec<PlanPath> = lists
        .into_iter()
        .filter_map(|list| PlanPath::new(list).ok())
        .collect();
    for list in lists {
        let hidden = hidden_files(machine, &list).map_err(|reason| reason.at(list.as_bytes()));
        for path in found.keep(hidden)?.unwrap_or_default() {
            let refusal = RefusalReason::HiddenOfPackage.at(path.as_bytes());
            found.keep::<()>(Err(refusal))?;
        }
    }
    Ok(())
}

/// Returns the list of the package that has this file of dpkg's.
fn list_of(path: &PlanPath) -> Option<Vec<u8>> {
    let name = path.name();
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Some([LISTS, b"/", name.get(..dot)?, b".list"].concat())
}

fn hidden_files(machine: &CopiedMachine, list: &PlanPath) -> Result<Vec<PlanPath>, RefusalReason> {
    let changed = RefusalReason::ChangedOnHost;
    let mut bytes = Vec::new();
    let overlay = overlay_of(machine, list).map_err(|_| changed.clone())?;
    let parent = match open_parent(overlay, overlay.lower.as_fd(), list) {
        // The host has no dpkg.
        Err(ContentError::Read(error)) if error.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        parent => parent.map_err(|_| changed.clone())?,
    };
    let name = c_string(list.name()).map_err(|_| changed.clone())?;
    if Node::find(&parent, &name)?.is_none() {
        // A new package, or no package.
        return Ok(Vec::new());
    }
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
