//! A page of what is kept, for one question. Pure.

use std::collections::VecDeque;

use remit_common::wire::{HistoryEntry, HistoryPage, HistoryQuery};
use remit_link::Owner;
use serde::{Deserialize, Serialize};

use super::frame::{self, End, Kept};

/// Bytes of a page: it fits in a frame for administrators.
const PAGE: usize = 48 << 10;
/// Of an entry beside its texts, at most.
const FIXED: usize = 64;

/// Whose past is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One's own.
    Own(Owner),
    /// Of everybody who has this name.
    Named(String),
    /// All users'.
    All,
}

/// What a child found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The answer.
    pub page: HistoryPage,
    /// Part of a file could not be read back.
    pub is_damaged: bool,
}

/// The newest entries that are asked for, out of the files' bytes, the older file first.
pub fn page<'a>(
    files: impl IntoIterator<Item = &'a [u8]>,
    whose: &Whose,
    query: &HistoryQuery,
) -> Found {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut newest: VecDeque<Kept> = VecDeque::new();
    // Those that are too many, or too long for the page, are on the next one.
    let mut older = false;
    let mut is_damaged = false;
    for file in files {
        let end = frame::walk(file, |kept| {
            if !is_wanted(&kept, whose, query) {
                return;
            }
            newest.push_back(kept);
            if newest.len() > limit {
                newest.pop_front();
                older = true;
            }
        });
        is_damaged |= matches!(end, End::Damaged(_));
    }
    let mut room = PAGE;
    let mut entries = Vec::new();
    for kept in newest.into_iter().rev() {
        let Some(left) = room.checked_sub(size(&kept)) else {
            older = true;
            break;
        };
        room = left;
        entries.push(entry(kept));
    }
    let last = entries.last().map(|entry| entry.seq);
    Found {
        page: HistoryPage {
            next: last.filter(|_| older),
            entries,
        },
        is_damaged,
    }
}

fn is_wanted(kept: &Kept, whose: &Whose, query: &HistoryQuery) -> bool {
    let theirs = match whose {
        Whose::Own(owner) => kept.uid == owner.uid && kept.user == owner.user,
        Whose::Named(user) => kept.user == *user,
        Whose::All => true,
    };
    theirs
        && query.before.is_none_or(|before| kept.seq < before)
        && query.since_ms.is_none_or(|since| kept.at_ms >= since)
        && query.kind.is_none_or(|kind| kept.kind == kind)
}

fn size(kept: &Kept) -> usize {
    let optional = [&kept.command, &kept.cause];
    let optional = optional.into_iter().flatten().map(String::len);
    FIXED + 32 + kept.user.len() + kept.verdict.len() + optional.sum::<usize>()
}

fn entry(kept: Kept) -> HistoryEntry {
    HistoryEntry {
        seq: kept.seq,
        at_ms: kept.at_ms,
        kind: kept.kind,
        user: kept.user,
        job_id: kept.job.map(|job| job.to_string()),
        command: kept.command,
        verdict: kept.verdict,
        cause: kept.cause,
    }
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Kind;

    use super::*;
    use crate::history::frame::{BEGIN, encode, tests::kept};

    fn file(entries: &[Kept]) -> Vec<u8> {
        let entries = entries.iter().filter_map(encode);
        [BEGIN.to_vec(), entries.flatten().collect()].concat()
    }

    fn own(uid: u32, user: &str) -> Whose {
        Whose::Own(Owner {
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

    fn seqs(found: &Found) -> Vec<u64> {
        found.page.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn one_sees_ones_own_and_not_what_another_account_with_the_uid_did() {
        let entries = [
            kept(1, 1000, "old"),
            kept(2, 1000, "alice"),
            kept(3, 1001, "alice"),
            kept(4, 1002, "bob"),
        ];
        let file = file(&entries);
        let check = |whose: Whose, expect: &[u64]| {
            let found = page([file.as_slice()], &whose, &query(10));
            assert_eq!(seqs(&found), expect, "{whose:?}");
            assert_eq!(found.page.next, None);
        };
        check(own(1000, "alice"), &[2]);
        check(own(1000, "old"), &[1]);
        check(own(1001, "bob"), &[]);
        check(Whose::Named("alice".into()), &[3, 2]);
        check(Whose::Named(String::new()), &[]);
        check(Whose::All, &[4, 3, 2, 1]);
    }

    #[test]
    fn pages_put_together_are_all_of_it_over_both_files() {
        let entries: Vec<Kept> = (1..=200)
            .map(|seq| kept(seq, 1000 + u32::try_from(seq % 3).unwrap(), "alice"))
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
        let mut entries: Vec<Kept> = (1..=9).map(|seq| kept(seq, 1, "a")).collect();
        entries[6].kind = Kind::Refused;
        let file = file(&entries);
        let since = HistoryQuery {
            since_ms: Some(5000),
            ..query(10)
        };
        let found = page([file.as_slice()], &Whose::All, &since);
        assert_eq!(seqs(&found), [9, 8, 7, 6, 5]);
        let refused = HistoryQuery {
            kind: Some(Kind::Refused),
            ..since
        };
        assert_eq!(seqs(&page([file.as_slice()], &Whose::All, &refused)), [7]);
    }

    #[test]
    fn a_page_is_bounded_in_bytes_and_damage_is_told() {
        let long = |seq| Kept {
            cause: Some("c".repeat(1000)),
            ..kept(seq, 1, "a")
        };
        let entries: Vec<Kept> = (1..=100).map(long).collect();
        let mut file = file(&entries);
        let found = page([file.as_slice()], &Whose::All, &query(100));
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
        let found = page([file.as_slice()], &Whose::All, &query(1));
        assert!(found.is_damaged && seqs(&found) < vec![51]);
    }
}
