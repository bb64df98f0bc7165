//! Prints an extraction: a bundle and what does not fit into it on standard output, or what keeps it from being one on standard error.

use std::fs::File;
use std::io::{self, Write};

use remit_plan::{BUNDLE_BYTES, Bundle, Entry, New, Plan, Upload, is_read};
use sha2::{Digest, Sha256};

use crate::asked;
use crate::content::{ContentError, ContentSource};
use crate::extraction::{Extraction, NoPlan};
use crate::input::CopiedMachine;
use crate::walk::extract;

/// Bytes of the name of a pack in a plan, at most.
const PACK_NAME: usize = 64;
const TOO_LONG: &str = "what an approver has to read of the changed files is more than a plan can have; change less at once";
/// The top of the view.
const TREE: &str = "/proc/self/fd/3";

/// Extracts the view of descriptor 3: prints a bundle, then the contents that are an upload of it. Notes go to standard error,
/// each a line. Fails with a sentence, and prints no bundle then.
pub fn print() -> Result<(), String> {
    let tree = File::open(TREE).map_err(|error| format!("cannot open the view: {error}"))?;
    let machine = CopiedMachine::open(&tree);
    let machine = machine.map_err(|error| format!("cannot read the view: {error}"))?;
    let extraction = extract(&machine);
    for line in lines(&extraction).into_iter().chain(asked::acts(&tree)) {
        eprintln!("remit-extract: {line}");
    }
    let plan = extraction.plan().map_err(|error| match error {
        NoPlan::Refused => "there is no plan".to_owned(),
        NoPlan::Plan(error) => error.to_string(),
    })?;
    let source = ContentSource::new(&machine);
    let plan = fitted(&plan, &source)?;
    let bundle = bundle(&plan, &source)?;
    let mut out = io::stdout().lock();
    let written = out.write_all(bundle.as_bytes());
    written.map_err(|error| format!("cannot print the plan: {error}"))?;
    for entry in plan.entries() {
        write_packed(entry, &source, &mut |piece| out.write_all(piece))?;
    }
    out.flush()
        .map_err(|error| format!("cannot print the plan: {error}"))
}

fn lines(extraction: &Extraction) -> Vec<String> {
    let further = |count: usize, what: &str| (count > 0).then(|| format!("{count} more {what}"));
    let counted = [
        further(extraction.further_notes, "paths are left out"),
        further(extraction.further_refusals, "changes cannot be planned"),
    ];
    let notes = extraction.notes.iter().map(ToString::to_string);
    let refusals = extraction.refusals.iter().map(ToString::to_string);
    notes
        .chain(refusals)
        .chain(counted.into_iter().flatten())
        .collect()
}

/// Returns the plan with the contents that fit into a bundle: those that an approver has to read, then the shortest. The
/// others are one upload. Fails if more has to be in the bundle than can be.
fn fitted(plan: &Plan, source: &ContentSource<'_>) -> Result<Plan, String> {
    let size = |entry: &Entry| entry.change.bundled().map_or(0, |content| content.size);
    let old = plan
        .entries()
        .iter()
        .filter_map(|entry| entry.change.shown_old());
    let old: u64 = old.map(|(size, _)| size).sum();
    let fixed = (plan.encode().len() + PACK_NAME) as u64 + old;
    let mut free = (BUNDLE_BYTES as u64).checked_sub(fixed).ok_or(TOO_LONG)?;
    let mut order: Vec<usize> = (0..plan.entries().len()).collect();
    let mut entries = plan.entries().to_vec();
    let key = |at: &usize| {
        let entry = plan.entries().get(*at);
        entry.map(|entry| (!is_shown(entry), size(entry)))
    };
    order.sort_by_key(key);
    let mut is_packed = false;
    for at in order {
        let Some(entry) = entries.get_mut(at) else {
            continue;
        };
        match free.checked_sub(size(entry)) {
            Some(left) if !is_packed => free = left,
            _ if is_shown(entry) => return Err(TOO_LONG.to_owned()),
            _ => {
                is_packed = true;
                entry.change.pack();
            }
        }
    }
    if !is_packed {
        return Ok(plan.clone());
    }
    let (mut hash, mut size) = (Sha256::new(), 0);
    for entry in &entries {
        write_packed(entry, source, &mut |piece| {
            size += piece.len() as u64;
            hash.update(piece);
            Ok(())
        })?;
    }
    let sha256 = hash.finalize().into();
    Plan::packed(entries, Some(Upload { sha256, size })).map_err(|error| error.to_string())
}

/// Returns true if an approver has to read it.
fn is_shown(entry: &Entry) -> bool {
    let size = entry.change.content().map_or(0, |content| content.size);
    let is_file = matches!(entry.change.makes(), Some(New::File(_)));
    !is_file || is_read(&entry.path, size)
}

fn write_packed(
    entry: &Entry,
    source: &ContentSource<'_>,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), String> {
    match entry.change.uploaded() {
        Some(_) => source
            .write_new(entry, sink)
            .map_err(|error| cannot(entry, &error)),
        None => Ok(()),
    }
}

fn cannot(entry: &Entry, error: &ContentError) -> String {
    format!("cannot read '{}': {error}", entry.path)
}

fn bundle(plan: &Plan, source: &ContentSource<'_>) -> Result<Bundle, String> {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for entry in plan.entries() {
        let mut keep = |piece: &[u8]| {
            new.extend_from_slice(piece);
            Ok(())
        };
        if entry.change.bundled().is_some() {
            source
                .write_new(entry, &mut keep)
                .map_err(|error| cannot(entry, &error))?;
        }
        let mut keep = |piece: &[u8]| {
            old.extend_from_slice(piece);
            Ok(())
        };
        source
            .write_old(entry, &mut keep)
            .map_err(|error| cannot(entry, &error))?;
    }
    Bundle::new(plan, &new, &old).map_err(|error| error.to_string())
}
