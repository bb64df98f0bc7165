//! Sorts records as journald has them: by the time when it took them, which a change of the clock disturbs. A new
//! installation begins a chain whose numbers are lower, so only records that their hashes join are sorted by number. Pure.

use std::collections::HashMap;

use super::record::AuditRecord;

/// Returns the records in the order of their numbers within each chain, the chain last whose record came last.
pub fn sorted(records: Vec<AuditRecord>) -> Vec<AuditRecord> {
    // Runs of ascending numbers, and for each another run of the same chain, or itself.
    let mut run_of = Vec::with_capacity(records.len());
    let mut joined = vec![0];
    let mut last = None;
    for record in &records {
        let seq = record.seq();
        if seq.is_some() && seq <= last {
            joined.push(joined.len());
        }
        last = seq.or(last);
        run_of.push(joined.len() - 1);
    }
    let mut run_of_hash = HashMap::new();
    for (record, run) in records.iter().zip(&run_of) {
        run_of_hash.extend(record.own("HASH").map(|hash| (hash, *run)));
    }
    for (record, run) in records.iter().zip(&run_of) {
        let before = record.own("PREV").and_then(|prev| run_of_hash.get(prev));
        if let Some(before) = before {
            let (one, other) = (chain_of(&mut joined, *run), chain_of(&mut joined, *before));
            // The later one leads, so that the chain is where its last record is.
            if let Some(entry) = joined.get_mut(one.min(other)) {
                *entry = one.max(other);
            }
        }
    }
    let chains = run_of.into_iter().map(|run| chain_of(&mut joined, run));
    let mut keyed: Vec<_> = chains.zip(records).collect();
    keyed.sort_by_key(|(chain, record)| (*chain, record.seq()));
    keyed.into_iter().map(|(_, record)| record).collect()
}

/// Returns the newest run of the chain of this run, and shortens the way there.
fn chain_of(joined: &mut [usize], mut run: usize) -> usize {
    let next_of = |joined: &[usize], run: usize| joined.get(run).copied().unwrap_or(run);
    loop {
        let next = next_of(joined, run);
        if next == run {
            return run;
        }
        let second = next_of(joined, next);
        if let Some(entry) = joined.get_mut(run) {
            *entry = second;
        }
        run = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of a chain with this name, without those between them.
    fn records(chain: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<AuditRecord> {
        let record = |seq: u64| {
            let before = seq - 1;
            let line = format!(
                r#"{{"REMIT_SEQ":"{seq}","REMIT_HASH":"{chain}{seq}","REMIT_PREV":"{chain}{before}"}}"#
            );
            AuditRecord::of_line(line.as_bytes(), 1)
        };
        numbers.into_iter().map(record).collect()
    }

    #[test]
    fn each_chain_is_sorted_alone() {
        let one = |numbers: &[u64]| records("a", numbers.iter().copied());
        let other = |numbers: &[u64]| records("b", numbers.iter().copied());
        for (arrived, expect) in [
            (vec![], &[][..]),
            (one(&[1, 2, 3]), &["a1", "a2", "a3"]),
            // The clock was set back: far, and by little.
            (one(&[4, 5, 1, 2, 3]), &["a1", "a2", "a3", "a4", "a5"]),
            (one(&[1, 4, 2, 5, 3]), &["a1", "a2", "a3", "a4", "a5"]),
            (one(&[7, 8, 8, 9]), &["a7", "a8", "a8", "a9"]),
            // A new installation, with its first record and without.
            (
                [one(&[59, 60]), other(&[1, 2])].concat(),
                &["a59", "a60", "b1", "b2"],
            ),
            (
                [one(&[55, 60]), other(&[3, 61])].concat(),
                &["a55", "a60", "b3", "b61"],
            ),
            (
                [one(&[3, 2, 4]), other(&[3, 1, 2])].concat(),
                &["a2", "a3", "a4", "b1", "b2", "b3"],
            ),
        ] {
            let sorted = sorted(arrived);
            let names: Vec<_> = sorted.iter().filter_map(|one| one.own("HASH")).collect();
            assert_eq!(names, expect);
        }
    }

    #[test]
    fn many_runs_take_no_long_time() {
        let numbers = (0..50_000).flat_map(|number| [number + 100_000, number + 1]);
        let sorted = sorted(records("a", numbers));
        assert!(sorted.is_sorted_by_key(AuditRecord::seq));
    }
}
