//! Two files: one that grows, and the one before it. There is no older history.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use remit_common::wire::HistoryQuery;

use super::frame::{self, BEGIN, End, Kept};
use super::page::{self, FoundPage, HistoryScope};
use crate::state_dir::lock::private_file;
use crate::state_dir::quarantine;

/// Bytes of one file.
const SEGMENT: u64 = 1 << 20;
const TRIES: usize = 3;

#[derive(Debug)]
pub struct HistoryStore {
    path: PathBuf,
    file: File,
    ino: u64,
    size: u64,
    /// The number of the newest entry, or 0.
    last: u64,
}

impl HistoryStore {
    /// Opens or creates the files in `dir`. Cuts off an entry that a killed daemon left unfinished. Copies and logs
    /// a damaged file; entries before the damage stay.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let path = dir.join("history");
        let old_path = old(&path);
        let cannot = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("'{path}': {error}")
        };
        let mut last = 0;
        match fs::symlink_metadata(&old_path) {
            Ok(_) => drop(open_repaired(&old_path, &mut last).map_err(cannot(&old_path))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&old_path)(error)),
        }
        let (file, size) = open_repaired(&path, &mut last).map_err(cannot(&path))?;
        let ino = file.metadata().map_err(cannot(&path))?.ino();
        Ok(Self {
            path,
            file,
            ino,
            size,
            last,
        })
    }

    /// Adds an entry by one write. A failed write leaves nothing of it.
    pub fn add(&mut self, kept: &Kept) -> io::Result<()> {
        if kept.seq <= self.last {
            self.start_over()?;
        }
        let bytes = frame::encode(kept)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an entry is too long"))?;
        let length = bytes.len() as u64;
        if self.size + length > SEGMENT {
            self.turn_over()?;
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.size) {
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += length;
        self.last = kept.seq;
        Ok(())
    }

    /// Runs in a forked child without our descriptors, so it opens the files by path.
    pub fn page(&self, scope: &HistoryScope, query: &HistoryQuery) -> Result<FoundPage, String> {
        let files = self.read().map_err(|error| error.to_string())?;
        Ok(page::page(files.iter().map(Vec::as_slice), scope, query))
    }

    /// The older file is first.
    fn read(&self) -> io::Result<[Vec<u8>; 2]> {
        let mut why = io::Error::other("it changes too fast");
        for _ in 0..TRIES {
            let file = match for_reading(&self.path) {
                // Between two renames the path does not exist.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    why = error;
                    continue;
                }
                other => other?,
            };
            let before = match for_reading(&old(&self.path)) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let ino = file.metadata()?.ino();
            // The growing file was just renamed: another attempt finds the new one.
            if let Some(before) = &before
                && before.metadata()?.ino() == ino
            {
                continue;
            }
            // Bytes that are being written are not read: they could look damaged.
            let size = match ino == self.ino {
                true => self.size,
                false => SEGMENT,
            };
            let mut bytes = [Vec::new(), Vec::new()];
            let [old, new] = &mut bytes;
            match before {
                Some(before) => drop(before.take(SEGMENT).read_to_end(old)?),
                None => old.extend(BEGIN),
            }
            file.take(size).read_to_end(new)?;
            return Ok(bytes);
        }
        Err(why)
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let new = self.path.with_file_name("history-new");
        let file = private_file(&new)?;
        file.set_len(0)?;
        file.write_all_at(BEGIN, 0)?;
        fs::rename(&self.path, old(&self.path))?;
        // If killed here, the next daemon makes an empty file.
        fs::rename(&new, &self.path)?;
        self.ino = file.metadata()?.ino();
        self.file = file;
        self.size = BEGIN.len() as u64;
        Ok(())
    }

    /// The audit log began again, and so did its numbers. Files with the old numbers are quarantined.
    fn start_over(&mut self) -> io::Result<()> {
        for path in [old(&self.path), self.path.clone()] {
            match quarantine::move_file(&path, "the audit log began again".to_owned()) {
                Ok(kept_as) => say!("the history begins again: {}", kept_as.describe()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let (file, size) = open_repaired(&self.path, &mut 0)?;
        self.ino = file.metadata()?.ino();
        self.file = file;
        self.size = size;
        self.last = 0;
        Ok(())
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_file_name("history-old")
}

/// Does not follow links.
fn for_reading(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn open_repaired(path: &Path, last: &mut u64) -> io::Result<(File, u64)> {
    let mut file = private_file(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    // One byte more shows that it is longer than ours.
    (&mut file).take(SEGMENT + 1).read_to_end(&mut bytes)?;
    let end = frame::walk(&bytes, |kept| *last = kept.seq.max(*last));
    let (whole, is_damaged) = match end {
        End::Whole => (bytes.len(), bytes.len() as u64 > SEGMENT),
        End::Half(at) => (at, false),
        End::Damaged(at) => (at, true),
    };
    if is_damaged {
        say!(
            "'{}': {}",
            path.display(),
            quarantine::copied(path, 1).describe()
        );
    }
    file.set_len(whole as u64)?;
    if whole == 0 {
        file.write_all_at(BEGIN, 0)?;
    }
    Ok((file, whole.max(BEGIN.len()) as u64))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::state_dir::history::frame::tests::kept;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("remit-history-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
            let mut names: Vec<String> = entries.map(|entry| name(entry).unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn seqs(store: &HistoryStore) -> Vec<u64> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let query = HistoryQuery {
                before,
                limit: 100,
                ..HistoryQuery::default()
            };
            let found = store.page(&HistoryScope::All, &query).unwrap();
            assert!(!found.is_damaged);
            all.extend(found.page.entries.iter().map(|entry| entry.seq));
            before = found.page.next;
            if before.is_none() {
                return all;
            }
        }
    }

    fn add(store: &mut HistoryStore, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            store.add(&kept(seq, 1, "alice")).unwrap();
        }
    }

    #[test]
    fn restart_continues_and_cuts_half_entry() {
        let dir = Dir::new("half");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 1..=3);
        let whole = store.size;
        add(&mut store, 4..=4);
        let mode = store.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        store.file.set_len(store.size - 1).unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        assert_eq!((store.size, store.last), (whole, 3));
        assert_eq!(store.file.metadata().unwrap().len(), whole);
        add(&mut store, 4..=5);
        assert_eq!(seqs(&store), [5, 4, 3, 2, 1]);
        assert_eq!(dir.names(), ["history"], "half an entry is no damage");
    }

    #[test]
    fn history_is_two_files_of_one_mebibyte() {
        let dir = Dir::new("full");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        let long = |seq| Kept {
            cause: Some("c".repeat(1000)),
            ..kept(seq, 1, "alice")
        };
        (1..=2500).for_each(|seq| store.add(&long(seq)).unwrap());
        assert_eq!(dir.names(), ["history", "history-old"]);
        let read = |name| fs::read(dir.path(name)).unwrap();
        let (old, new) = (read("history-old"), read("history"));
        assert!([&old, &new].map(Vec::len).into_iter().max() <= usize::try_from(SEGMENT).ok());
        let mut kept = Vec::new();
        for file in [&old, &new] {
            let end = frame::walk(file, |entry| kept.push(entry.seq));
            assert_eq!(end, End::Whole);
        }
        let first = 2501 - kept.len() as u64;
        let expect: Vec<u64> = (first..=2500).collect();
        assert!(
            kept == expect && kept.len() > 1000,
            "the newest, none left out"
        );
        let newest = |store: &HistoryStore| {
            let query = HistoryQuery {
                limit: 2,
                ..HistoryQuery::default()
            };
            let found = store.page(&HistoryScope::All, &query).unwrap();
            let seqs = found.page.entries.iter().map(|entry| entry.seq);
            (seqs.collect::<Vec<_>>(), found.page.next)
        };
        assert_eq!(newest(&store), (vec![2500, 2499], Some(2499)));
        // A kill between the two renames leaves no file that grows.
        fs::rename(dir.path("history"), dir.path("history-new")).unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        store.add(&long(2501)).unwrap();
        assert_eq!(newest(&store).0.first(), Some(&2501));
    }

    #[test]
    fn a_page_goes_on_in_the_file_before() {
        let dir = Dir::new("over");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        let usual = |seq| Kept {
            cause: Some("exited with status 0".repeat(8)),
            ..kept(seq, 1, "alice")
        };
        (1..=10_000).for_each(|seq| store.add(&usual(seq)).unwrap());
        let mut first = 0;
        frame::walk(&fs::read(dir.path("history")).unwrap(), |entry| {
            first = if first == 0 { entry.seq } else { first };
        });
        assert!(first > 5000, "{first}");
        let query = HistoryQuery {
            before: Some(first + 50),
            limit: 100,
            ..HistoryQuery::default()
        };
        let found = store.page(&HistoryScope::All, &query).unwrap();
        let seqs: Vec<u64> = found.page.entries.iter().map(|entry| entry.seq).collect();
        let expect: Vec<u64> = (first - 50..first + 50).rev().collect();
        assert_eq!((seqs, found.page.next), (expect, Some(first - 50)));
    }

    #[test]
    fn damaged_history_is_quarantined_and_valid_start_kept() {
        let dir = Dir::new("damaged");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 1..=3);
        let whole = store.size;
        add(&mut store, 4..=40);
        let mut bytes = fs::read(dir.path("history")).unwrap();
        bytes[usize::try_from(whole).unwrap() + 20] ^= 1;
        fs::write(dir.path("history"), &bytes).unwrap();
        // A running daemon reports it, too.
        let query = HistoryQuery {
            limit: 100,
            ..HistoryQuery::default()
        };
        assert!(store.page(&HistoryScope::All, &query).unwrap().is_damaged);
        let store = HistoryStore::open(&dir.0).unwrap();
        assert_eq!(seqs(&store), [3, 2, 1]);
        assert_eq!(dir.names(), ["history", "history.damaged-1"]);
        assert_eq!(fs::read(dir.path("history.damaged-1")).unwrap(), bytes);
        drop(store);
        fs::write(dir.path("history"), "something else").unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 41..=41);
        assert_eq!(seqs(&store), [41]);
        fs::remove_file(dir.path("history")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path("history")).unwrap();
        assert!(HistoryStore::open(&dir.0).is_err(), "no link is followed");
    }

    #[test]
    fn restarted_audit_log_repeats_no_number() {
        let dir = Dir::new("again");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 7..=9);
        add(&mut store, 1..=2);
        assert_eq!(seqs(&store), [2, 1]);
        assert_eq!(dir.names(), ["history", "history.damaged-1"]);
        assert_eq!(seqs(&HistoryStore::open(&dir.0).unwrap()), [2, 1]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = Dir::new("full-disk");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 1..=2);
        let writable = std::mem::replace(&mut store.file, File::open(dir.path("history")).unwrap());
        assert!(store.add(&kept(3, 1, "alice")).is_err());
        store.file = writable;
        add(&mut store, 4..=4);
        assert_eq!(seqs(&store), [4, 2, 1]);
    }
}
