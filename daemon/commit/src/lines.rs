//! Makes the file of each entry that has changes of lines. From then on the plan is one of files, and so is its journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use remit_plan::{Change, Content, Entry, Plan, TABLE_BYTES, TableChange, changed_table, sha256};

use crate::tree::{Tree, about, c_string, open_file};

/// A plan, and the contents of its entries: in a file, from a position on.
pub type PlanWithContents = (Plan, File, u64);

/// A plan of files alone.
pub struct PlanOfFiles {
    pub plan: Plan,
    pub contents: File,
    pub start: u64,
    /// Hashes of the tables that were read, by the position of their entry: the check of the bases has to find the same.
    pub read: BTreeMap<usize, [u8; 32]>,
}

pub fn resolved(
    tree: &Tree,
    (plan, contents, start): PlanWithContents,
) -> Result<PlanOfFiles, String> {
    let mut read = BTreeMap::new();
    if !plan
        .entries()
        .iter()
        .any(|entry| entry.change.is_of_lines())
    {
        return Ok(PlanOfFiles {
            plan,
            contents,
            start,
            read,
        });
    }
    let mut made = File::from(memfd_create(c"contents", MFdFlags::MFD_CLOEXEC).map_err(memory)?);
    let mut entries = plan.entries().to_vec();
    for (at, (entry, range)) in entries.iter_mut().zip(plan.ranges()).enumerate() {
        let range = start + range.start..start + range.end;
        let mut bytes = read_range(&contents, range).map_err(memory)?;
        if entry.change.is_of_lines() {
            let table = read_table(tree, entry)?;
            read.insert(at, sha256(&table));
            bytes = changed(entry, &table, &bytes)?;
            if let Change::Replace { content, .. } = &mut entry.change {
                *content = Content::bundled(&bytes);
            }
        }
        made.write_all(&bytes).map_err(memory)?;
    }
    let plan = Plan::packed(entries, plan.pack()).map_err(|error| error.to_string())?;
    Ok(PlanOfFiles {
        plan,
        contents: made,
        start: 0,
        read,
    })
}

fn read_table(tree: &Tree, entry: &Entry) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| about(entry, format!("cannot read it: {error}"));
    let path = &entry.path;
    let parent = tree.directory(path.parent()).map_err(cannot)?;
    let file = open_file(&parent, &c_string(path.name()).map_err(cannot)?).map_err(cannot)?;
    let mut table = Vec::new();
    // What is longer is refused by its length.
    let mut some = file.take(TABLE_BYTES as u64 + 1);
    some.read_to_end(&mut table).map_err(cannot)?;
    Ok(table)
}

fn changed(entry: &Entry, table: &[u8], text: &[u8]) -> Result<Vec<u8>, String> {
    let changes = TableChange::decode(text).map_err(|why| about(entry, why))?;
    changed_table(table, &changes).map_err(|why| about(entry, format!("{why}; plan again")))
}

fn read_range(contents: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(range.end.saturating_sub(range.start));
    let mut bytes = vec![0; length.map_err(io::Error::other)?];
    contents.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn memory(error: impl std::fmt::Display) -> String {
    format!("cannot use the contents of the plan: {error}")
}
