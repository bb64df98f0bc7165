//! The files of kept snapshots, in the directory of the history: `snapshot.NUMBER`, a higher number is newer.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use remit_facts::snapshot;

use super::kept::{KeptSnapshot, SnapshotReason};

const NAME: &str = "snapshot.";
/// KeptSnapshot for certain: the newest ones, around changes and starts.
const NEWEST: usize = 20;
/// Of the older ones: the last of each day, for so many days.
const DAYS: usize = 14;
const DAY_MS: u64 = 86_400_000;
/// Bytes of all files, and of one: its lines, and the header.
const TOTAL: u64 = 32 << 20;
const ONE: u64 = 4 << 20;
const _: () = assert!(ONE - snapshot::LINES as u64 >= 512 << 10);

#[derive(Clone, Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
}

impl SnapshotStore {
    pub fn open(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
        }
    }

    pub fn add(&self, kept: &KeptSnapshot) -> Result<(), String> {
        let text = kept.encode();
        if text.len() as u64 > ONE {
            return Err(format!("it has {} bytes, more than {ONE}", text.len()));
        }
        let last = self.numbers().last().copied();
        if let Some(last) = last
            && kept.reason == SnapshotReason::BeforeChange
            && kept.ended.is_empty()
            && self.read(last).is_some_and(|last| last.lines == kept.lines)
        {
            // Requests that are refused push no others out.
            return Ok(());
        }
        let number = last.map_or(1, |last| last.saturating_add(1));
        let path = self.path(number);
        write(&path, &text)
            .map_err(|error| format!("cannot write '{}': {error}", path.display()))?;
        self.remove_old();
        Ok(())
    }

    pub fn all(&self) -> Vec<KeptSnapshot> {
        self.numbers()
            .into_iter()
            .filter_map(|number| self.read(number))
            .collect()
    }

    fn read(&self, number: u64) -> Option<KeptSnapshot> {
        let mut text = String::new();
        let file = File::open(self.path(number)).ok()?;
        file.take(ONE).read_to_string(&mut text).ok()?;
        let kept = KeptSnapshot::decode(&text)?;
        Some(KeptSnapshot { number, ..kept })
    }

    fn numbers(&self) -> BTreeSet<u64> {
        let listing = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        listing
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(NAME)?.parse().ok())
            .collect()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{NAME}{number}"))
    }

    fn remove_old(&self) {
        let files: Vec<SnapshotFile> = self
            .numbers()
            .into_iter()
            .rev()
            .map(|number| {
                let size = fs::metadata(self.path(number)).map_or(0, |meta| meta.len());
                let kept = self.read(number);
                SnapshotFile {
                    number,
                    size,
                    day: kept.map(|kept| kept.from.unix_ms / DAY_MS),
                }
            })
            .collect();
        for number in superfluous(&files) {
            // What stays is tried again after the next one.
            let _ = fs::remove_file(self.path(number));
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct SnapshotFile {
    number: u64,
    size: u64,
    /// Days since 1970; absent for a damaged file.
    day: Option<u64>,
}

/// Returns the numbers of those that are not kept. `files` has the newest first.
fn superfluous(files: &[SnapshotFile]) -> Vec<u64> {
    let (mut days, mut bytes) = (BTreeSet::new(), 0_u64);
    let is_kept = |(index, file): (usize, &SnapshotFile)| {
        let Some(day) = file.day else { return false };
        let is_last_of_day = days.len() < DAYS && days.insert(day);
        if index >= NEWEST && !is_last_of_day {
            return false;
        }
        bytes = bytes.saturating_add(file.size);
        bytes <= TOTAL
    };
    let kept: Vec<bool> = files.iter().enumerate().map(is_kept).collect();
    let files = files.iter().zip(kept);
    files
        .filter(|(_, kept)| !kept)
        .map(|(file, _)| file.number)
        .collect()
}

/// The history's directory is the broker's own. A file that was not written whole has no end, and is not read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;

    use super::*;
    use crate::job::registry::tests::own;
    use crate::output::spool::tests::Scratch;
    use crate::snapshots::kept::EndedChange;
    use crate::snapshots::kept::tests::kept;

    #[test]
    fn newest_and_one_of_each_day_are_kept() {
        let file = |number: u64, day: u64| SnapshotFile {
            number,
            size: 1000,
            day: Some(day),
        };
        let mut files: Vec<_> = (0..30).map(|index| file(100 - index, 50)).collect();
        files.extend((0..40).map(|index| file(60 - index, 49 - index / 2)));
        let gone = superfluous(&files);
        assert!(!gone.contains(&81) && gone.contains(&80), "{gone:?}");
        assert!(!gone.contains(&60) && gone.contains(&59), "{gone:?}");
        assert_eq!(files.len() - gone.len(), 20 + 13);
        let damaged = SnapshotFile {
            day: None,
            ..file(9, 1)
        };
        assert_eq!(superfluous(&[damaged]), [9]);
        let large = [3, 2, 1].map(|number| SnapshotFile {
            size: TOTAL / 2,
            ..file(number, 1)
        });
        assert_eq!(superfluous(&large), [1]);
    }

    #[test]
    fn kept_ones_are_read_in_order_and_others_are_removed() {
        let scratch = Scratch::new();
        let store = SnapshotStore::open(&scratch.path);
        fs::write(
            scratch.path.join("snapshot.3"),
            "remit snapshot 1\nreason daily\n",
        )
        .unwrap();
        fs::write(scratch.path.join("log.1"), "other").unwrap();
        for ms in 0..30 {
            store
                .add(&kept(SnapshotReason::Start, ms, "a\tb\tc\n"))
                .unwrap();
        }
        let all = store.all();
        assert_eq!(all.len(), NEWEST);
        assert!(all.is_sorted_by_key(|kept| kept.from.boottime_ms));
        assert_eq!(all.last().unwrap().from.boottime_ms, 29);
        assert!(!scratch.path.join("snapshot.3").exists() && scratch.path.join("log.1").exists());
        let newest = all.last().unwrap().number;
        let unchanged = kept(SnapshotReason::BeforeChange, 50, "a\tb\tc\n");
        store.add(&unchanged).unwrap();
        assert_eq!(store.all().last().unwrap().number, newest);
        let with_ended = KeptSnapshot {
            ended: vec![EndedChange {
                job: JobId([1; 16]),
                owner: own(1),
                looked_ms: 0,
                started_ms: 1,
                ended_ms: 2,
            }],
            ..unchanged
        };
        store.add(&with_ended).unwrap();
        let newest = newest + 1;
        assert_eq!(store.all().last().unwrap().ended, with_ended.ended);
        let changed = kept(SnapshotReason::BeforeChange, 60, "a\tb\td\n");
        store.add(&changed).unwrap();
        assert_eq!(store.all().last().unwrap().number, newest + 1);
        let large = "a\tb\tc\n".repeat(1 << 20);
        assert!(
            store
                .add(&kept(SnapshotReason::Start, 99, &large))
                .unwrap_err()
                .contains("bytes")
        );
    }
}
