use std::collections::VecDeque;

use remit_link::{HistoryRecord, Owner};
use remit_wire::{HistoryEntry, HistoryPage, HistoryQuery};

use super::frame::{self, FileEnd};

/// Bytes of a page. It fits a frame for administrators.
const PAGE: usize = 48 << 10;
/// Bytes of an entry without its texts.
const FIXED: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryScope {
    Own(Owner),
    /// All accounts of this name.
    Named(String),
    All,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundPage {
    pub page: HistoryPage,
    pub is_damaged: bool,
}

/// Returns the newest entries that match; the older file is first.
pub fn page<'a>(
    files: impl IntoIterator<Item = &'a [u8]>,
    scope: &HistoryScope,
    query: &HistoryQuery,
) -> FoundPage {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut newest: VecDeque<HistoryRecord> = VecDeque::new();
    let mut older = false;
    let mut is_damaged = false;
    for file in files {
        let end = frame::walk(file, |record| {
            if !is_wanted(&record, scope, query) {
                return;
            }
            newest.push_back(record);
            if newest.len() > limit {
                newest.pop_front();
                older = true;
            }
        });
        is_damaged |= matches!(end, FileEnd::Damaged(_));
    }
    let mut free_bytes = PAGE;
    let mut entries = Vec::new();
    for record in newest.into_iter().rev() {
        let Some(left) = free_bytes.checked_sub(size(&record)) else {
            older = true;
            break;
        };
        free_bytes = left;
        entries.push(entry(record));
    }
    let last = entries.last().map(|entry| entry.seq);
    FoundPage {
        page: HistoryPage {
            next: last.filter(|_| older),
            entries,
        },
        is_damaged,
    }
}

fn is_wanted(record: &HistoryRecord, scope: &HistoryScope, query: &HistoryQuery) -> bool {
    let is_in_scope = match scope {
        HistoryScope::Own(owner) => record.uid == owner.uid && record.user == owner.user,
        HistoryScope::Named(user) => record.user == *user,
        HistoryScope::All => true,
    };
    is_in_scope
        && query.before.is_none_or(|before| record.seq < before)
        && query.since_ms.is_none_or(|since| record.at_ms >= since)
        && query.kind.is_none_or(|kind| record.kind == kind)
}

fn size(record: &HistoryRecord) -> usize {
    let optional = [&record.command, &record.cause];
    let optional = optional.into_iter().flatten().map(String::len);
    FIXED + 32 + record.user.len() + record.verdict.len() + optional.sum::<usize>()
}

fn entry(record: HistoryRecord) -> HistoryEntry {
    HistoryEntry {
        seq: record.seq,
        at_ms: record.at_ms,
        kind: record.kind,
        user: record.user,
        job_id: record.job.map(|job| job.to_string()),
        command: record.command,
        verdict: record.verdict,
        cause: record.cause,
    }
}

#[cfg(test)]
mod tests {
    use remit_wire::Kind;

    use super::*;
    use crate::call::history::frame::tests::record;
    use crate::call::history::frame::{BEGIN, encode};

    fn file(entries: &[HistoryRecord]) -> Vec<u8> {
        let entries = entries.iter().filter_map(encode);
        [BEGIN.to_vec(), entries.flatten().collect()].concat()
    }

    fn own(uid: u32, user: &str) -> HistoryScope {
        HistoryScope::Own(Owner {
            uid,
            user: user.to_owned(),
        })
    }

    fn query(limit: u32) -> HistoryQuery {
        HistoryQuery {
            limit,
            ..HistoryQuery::default()
        }
    }

    fn seqs(found: &FoundPage) -> Vec<u64> {
        found.page.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn user_sees_only_entries_of_own_account() {
        let entries = [
            record(1, 1000, "old"),
            record(2, 1000, "alice"),
            record(3, 1001, "alice"),
            record(4, 1002, "bob"),
        ];
        let file = file(&entries);
        let check = |scope: HistoryScope, expect: &[u64]| {
            let found = page([file.as_slice()], &scope, &query(10));
            assert_eq!(seqs(&found), expect, "{scope:?}");
            assert_eq!(found.page.next, None);
        };
        check(own(1000, "alice"), &[2]);
        check(own(1000, "old"), &[1]);
        check(own(1001, "bob"), &[]);
        check(HistoryScope::Named("alice".into()), &[3, 2]);
        check(HistoryScope::Named(String::new()), &[]);
        check(HistoryScope::All, &[4, 3, 2, 1]);
    }

    #[test]
    fn pages_cover_both_files_completely() {
        let entries: Vec<HistoryRecord> = (1..=200)
            .map(|seq| record(seq, 1000 + u32::try_from(seq % 3).unwrap(), "alice"))
            .collect();
        let (old, new) = entries.split_at(117);
        let (old, new) = (file(old), file(new));
        for limit in [1, 7, 100] {
            let mut all = Vec::new();
            let mut before = None;
            loop {
                let query = HistoryQuery {
                    before,
                    ..query(limit)
                };
                let files = [old.as_slice(), new.as_slice()];
                let found = page(files, &own(1001, "alice"), &query);
                assert!(!found.is_damaged && found.page.entries.len() <= limit as usize);
                all.extend(seqs(&found));
                before = found.page.next;
                if before.is_none() {
                    break;
                }
            }
            let expect: Vec<u64> = (1..=200).rev().filter(|seq| seq % 3 == 1).collect();
            assert_eq!(all, expect, "{limit}");
        }
    }

    #[test]
    fn time_and_kind_choose() {
        let mut entries: Vec<HistoryRecord> = (1..=9).map(|seq| record(seq, 1, "a")).collect();
        entries[6].kind = Kind::Refused;
        let file = file(&entries);
        let since = HistoryQuery {
            since_ms: Some(5000),
            ..query(10)
        };
        let found = page([file.as_slice()], &HistoryScope::All, &since);
        assert_eq!(seqs(&found), [9, 8, 7, 6, 5]);
        let refused = HistoryQuery {
            kind: Some(Kind::Refused),
            ..since
        };
        assert_eq!(
            seqs(&page([file.as_slice()], &HistoryScope::All, &refused)),
            [7]
        );
    }

    #[test]
    fn page_is_bounded_and_damage_is_reported() {
        let long = |seq| HistoryRecord {
            cause: Some("c".repeat(1000)),
            ..record(seq, 1, "a")
        };
        let entries: Vec<HistoryRecord> = (1..=100).map(long).collect();
        let mut file = file(&entries);
        let found = page([file.as_slice()], &HistoryScope::All, &query(100));
        let bytes = postcard::to_extend(&found.page, Vec::new()).unwrap();
        assert!(
            bytes.len() <= PAGE && bytes.len() > PAGE / 2,
            "{}",
            bytes.len()
        );
        let last = seqs(&found).last().copied();
        assert!(found.page.next == last && last > Some(50));
        let middle = file.len() / 2;
        file[middle] ^= 1;
        let found = page([file.as_slice()], &HistoryScope::All, &query(1));
        assert!(found.is_damaged && seqs(&found) < vec![51]);
    }
}
