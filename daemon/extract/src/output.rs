//! Prints an extraction: a bundle on standard output, or what keeps it from being one on standard error. The daemon gets what does not
//! fit into it.

use std::fs::File;
use std::io::{self, Write};

use remit_plan::{Bundle, Entry, Plan, Upload};
use sha2::{Digest, Sha256};

use crate::asked;
use crate::content::{ContentError, ContentSource};
use crate::extraction::{Extraction, NoPlan};
use crate::fitted::fitted;
use crate::handover::hand_over;
use crate::input::CopiedMachine;
use crate::walk::extract;

/// The top of the view.
const TREE: &str = "/proc/self/fd/3";

/// Extracts the view of descriptor 3: hands over the contents that are an upload, then prints a bundle. Notes go to standard error,
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
    let plan = packed(plan, &source)?;
    let bundle = bundle(&plan, &source)?;
    if let Some(pack) = plan.pack() {
        let entries = plan.entries().iter();
        hand_over(io::stdin(), pack, &|sink| {
            entries
                .clone()
                .try_for_each(|entry| write_packed(entry, &source, sink))
        })?;
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(bundle.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("cannot print the plan: {error}"))
}

fn lines(extraction: &Extraction) -> Vec<String> {
    let further = |count: usize, what: &str| (count > 0).then(|| format!("{count} more {what}"));
    let counted = [
        further(extraction.further_notes, "paths are left out"),
        further(extraction.further_refusals, "changes cannot be planned"),
        extraction.first_scratch.as_ref().map(|first| {
            let count = extraction.scratch;
            format!(
                "of /var/log and /var/cache only new directories are in a plan, of /run, /tmp, /var/tmp and /dev nothing is; \
                 left out: {count}, first '{first}'"
            )
        }),
    ];
    let notes = extraction.notes.iter().map(ToString::to_string);
    let refusals = extraction.refusals.iter().map(ToString::to_string);
    notes
        .chain(refusals)
        .chain(counted.into_iter().flatten())
        .collect()
}

/// Returns the plan with a pack of the contents that are not in its bundle, if there are some.
fn packed(plan: Plan, source: &ContentSource<'_>) -> Result<Plan, String> {
    let Some(entries) = fitted(&plan)? else {
        return Ok(plan);
    };
    let (mut hash, mut size) = (Sha256::new(), 0);
    for entry in &entries {
        write_packed(entry, source, &mut |piece| {
            size += piece.len() as u64;
            hash.update(piece);
            Ok(())
        })?;
    }
    let sha256 = hash.finalize().into();
    let pack = (size > 0).then_some(Upload { sha256, size });
    Plan::packed(entries, pack).map_err(|error| error.to_string())
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
    for (entry, shown_old) in plan.entries().iter().zip(plan.shown_old()) {
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
        if let Some(expected) = shown_old {
            source
                .write_old(entry, expected, &mut keep)
                .map_err(|error| cannot(entry, &error))?;
        }
    }
    Bundle::new(plan, &new, &old).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::PlanPath;

    use super::*;
    use crate::extraction::Collector;

    #[test]
    fn changes_of_logs_and_caches_that_are_left_out_have_a_line() {
        let mut found = Collector::new();
        for path in ["/var/log/b", "/var/cache/a", "/var/log/a"] {
            found.count_scratch(&PlanPath::new(path).unwrap());
        }
        let text = "of /var/log and /var/cache only new directories are in a plan, of /run, /tmp, /var/tmp and /dev nothing is; \
                    left out: 3, first '/var/cache/a'";
        assert_eq!(lines(&found.finish()), [text]);
        assert!(lines(&Extraction::default()).is_empty());
    }
}
