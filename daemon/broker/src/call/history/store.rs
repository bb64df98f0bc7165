//! Two files. Entries are added to one; if it is full, the other is removed and begun again. Older ones are gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use remit_link::{HistoryMark, HistoryRecord};
use remit_wire::HistoryQuery;

use super::frame::{self, BEGIN, FileEnd};
use super::page::{self, FoundPage, HistoryScope};

/// Bytes of one file.
const SEGMENT: u64 = 1 << 20;
/// The one with the newest entry grows. A release that had the history in the warden left it in these, too.
const NAMES: [&str; 2] = ["log.1", "log.2"];
/// Copies of damaged files that are kept.
const COPIES: u64 = 4;

#[derive(Debug)]
pub struct HistoryStore {
    dir: PathBuf,
    growing: usize,
    file: File,
    size: u64,
    full: Option<File>,
    newest: Option<HistoryMark>,
}

/// Both files as they are now. A reader may be on another thread while the store goes on.
#[derive(Debug)]
pub struct HistoryFiles {
    full: Option<File>,
    file: File,
    size: u64,
}

#[derive(Debug)]
struct OpenedFile {
    file: File,
    size: u64,
    newest: Option<HistoryMark>,
}

impl HistoryStore {
    /// Opens or makes the files. Cuts off an unfinished entry. Copies and logs a damaged file; entries before it stay.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let open = |name: &str| {
            let path = dir.join(name);
            open_repaired(&path).map_err(|error| format!("'{}': {error}", path.display()))
        };
        let [first, second] = [open(NAMES[0])?, open(NAMES[1])?];
        let is_second_newer = age(&second) > age(&first);
        let (growing, opened, full) = match is_second_newer {
            true => (1, second, first),
            false => (0, first, second),
        };
        let full_newest = full.as_ref().and_then(|full| full.newest);
        let opened = match opened {
            Some(opened) => opened,
            None => {
                let path = dir.join(NAMES[0]);
                create(&path).map_err(|error| format!("'{}': {error}", path.display()))?
            }
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            growing,
            newest: opened.newest.or(full_newest),
            file: opened.file,
            size: opened.size,
            full: full.map(|full| full.file),
        })
    }

    pub const fn newest(&self) -> Option<HistoryMark> {
        self.newest
    }

    /// Adds an entry by one write. A failed write leaves nothing of it.
    pub fn add(&mut self, record: &HistoryRecord) -> io::Result<()> {
        if self.newest.is_some_and(|newest| record.seq <= newest.seq) {
            self.start_over()?;
        }
        let bytes = frame::encode(record)
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
        self.newest = Some(record.mark());
        Ok(())
    }

    pub fn files(&self) -> io::Result<HistoryFiles> {
        let full = self.full.as_ref().map(File::try_clone).transpose()?;
        let file = self.file.try_clone()?;
        let size = self.size;
        Ok(HistoryFiles { full, file, size })
    }

    /// Begins the other file again. If the broker is killed between the steps, the next one finds only the full file.
    fn turn_over(&mut self) -> io::Result<()> {
        let growing = 1 - self.growing;
        let path = self.path(growing);
        self.full = None;
        remove(&path)?;
        let new = create(&path)?;
        self.full = Some(std::mem::replace(&mut self.file, new.file));
        self.size = new.size;
        self.growing = growing;
        Ok(())
    }

    /// The audit log began again, and so did its numbers. Files with the old numbers are kept as copies.
    fn start_over(&mut self) -> io::Result<()> {
        // The older file is copied first.
        for index in [1 - self.growing, self.growing] {
            let path = self.path(index);
            match fs::read(&path) {
                Ok(bytes) => {
                    let copy = copy(&path, &bytes)?;
                    let copy = copy.display();
                    tracing::warn!(
                        "the history begins again: the audit log began again; it is kept as '{copy}'"
                    );
                    remove(&path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let new = create(&self.path(0))?;
        self.growing = 0;
        self.file = new.file;
        self.size = new.size;
        self.full = None;
        self.newest = None;
        Ok(())
    }

    fn path(&self, index: usize) -> PathBuf {
        self.dir.join(if index == 0 { NAMES[0] } else { NAMES[1] })
    }
}

impl HistoryFiles {
    pub fn page(&self, scope: &HistoryScope, query: &HistoryQuery) -> Result<FoundPage, String> {
        let full = self
            .full
            .as_ref()
            .map(|full| read(full, SEGMENT))
            .transpose();
        let full = full.map_err(|error| error.to_string())?;
        // Bytes that are being written are not read: they could look damaged.
        let file = read(&self.file, self.size).map_err(|error| error.to_string())?;
        let files = full.iter().chain([&file]).map(Vec::as_slice);
        Ok(page::page(files, scope, query))
    }
}

/// Orders the files. One without entries was just begun, so it is newer than any other.
fn age(opened: &Option<OpenedFile>) -> (u8, u64) {
    match opened {
        None => (0, 0),
        Some(OpenedFile { newest, .. }) => newest.map_or((2, 0), |newest| (1, newest.seq)),
    }
}

/// Returns `None` if there is no file. Follows no link.
fn open_repaired(path: &Path) -> io::Result<Option<OpenedFile>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    // One byte more shows that it is longer than ours.
    let bytes = read(&file, SEGMENT + 1)?;
    let mut newest = None;
    let end = frame::walk(&bytes, |record| newest = Some(record.mark()));
    let (whole, is_damaged) = match end {
        FileEnd::Whole => (bytes.len(), bytes.len() as u64 > SEGMENT),
        FileEnd::Half(at) => (at, false),
        FileEnd::Damaged(at) => (at, true),
    };
    if is_damaged {
        let kept = match copy(path, &bytes) {
            Ok(copy) => format!("it is kept as '{}'", copy.display()),
            Err(error) => format!("it cannot be kept: {error}"),
        };
        tracing::warn!("'{}': 1 entry is damaged; {kept}", path.display());
    }
    file.set_len(whole as u64)?;
    if whole == 0 {
        file.write_all_at(BEGIN, 0)?;
    }
    Ok(Some(OpenedFile {
        size: whole.max(BEGIN.len()) as u64,
        file,
        newest,
    }))
}

fn create(path: &Path) -> io::Result<OpenedFile> {
    let file = new_file(path)?;
    file.write_all_at(BEGIN, 0)?;
    Ok(OpenedFile {
        file,
        size: BEGIN.len() as u64,
        newest: None,
    })
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn read(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(most).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a copy beside the file, `log.damaged-1` and so on, because the broker may not rename; removes old copies.
fn copy(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let dir = path.parent().unwrap_or(path);
    let named = |number: u64| dir.join(format!("log.damaged-{number}"));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("log.damaged-"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    let next = numbers
        .iter()
        .max()
        .map_or(1, |newest| newest.saturating_add(1));
    let too_old = |number: &u64| number.saturating_add(COPIES) <= next;
    for old in numbers.into_iter().filter(too_old) {
        fs::remove_file(named(old))?;
    }
    let copy = named(next);
    let written = new_file(&copy).and_then(|file| file.write_all_at(bytes, 0));
    if written.is_err() {
        let _ = fs::remove_file(&copy);
    }
    written.map(|()| copy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::call::history::frame::tests::record;

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
            let found = store
                .files()
                .unwrap()
                .page(&HistoryScope::All, &query)
                .unwrap();
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
            store.add(&record(seq, 1, "alice")).unwrap();
        }
    }

    fn filled(name: &str, seqs: std::ops::RangeInclusive<u64>) -> (Dir, HistoryStore) {
        let dir = Dir::new(name);
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, seqs);
        (dir, store)
    }

    #[test]
    fn restart_continues_and_cuts_half_entry() {
        let (dir, mut store) = filled("half", 1..=3);
        let whole = store.size;
        add(&mut store, 4..=4);
        let mode = store.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        store.file.set_len(store.size - 1).unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        assert_eq!((store.size, store.newest.unwrap().seq), (whole, 3));
        assert_eq!(store.file.metadata().unwrap().len(), whole);
        add(&mut store, 4..=5);
        assert_eq!(seqs(&store), [5, 4, 3, 2, 1]);
        assert_eq!(dir.names(), ["log.1"], "half an entry is no damage");
    }

    #[test]
    fn history_is_two_files_of_one_mebibyte() {
        let dir = Dir::new("full");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        let long = |seq| HistoryRecord {
            cause: Some("c".repeat(1000)),
            ..record(seq, 1, "alice")
        };
        (1..=2500).for_each(|seq| store.add(&long(seq)).unwrap());
        assert_eq!(dir.names(), ["log.1", "log.2"]);
        let read = |name| fs::read(dir.path(name)).unwrap();
        let files = NAMES.map(read);
        assert!(files.iter().map(Vec::len).max() <= usize::try_from(SEGMENT).ok());
        let mut kept = Vec::new();
        for file in &files {
            let end = frame::walk(file, |entry| kept.push(entry.seq));
            assert_eq!(end, FileEnd::Whole);
        }
        let first = 2501 - kept.len() as u64;
        let expect: Vec<u64> = (first..=2500).rev().collect();
        kept.sort_unstable_by(|a, b| b.cmp(a));
        assert!(
            kept == expect && kept.len() > 1000,
            "the newest, none left out"
        );
        for store in [store, HistoryStore::open(&dir.0).unwrap()] {
            let query = HistoryQuery {
                limit: 2,
                ..HistoryQuery::default()
            };
            let found = store.files().unwrap().page(&HistoryScope::All, &query);
            let page = found.unwrap().page;
            let seqs: Vec<u64> = page.entries.iter().map(|entry| entry.seq).collect();
            assert_eq!((seqs, page.next), (vec![2500, 2499], Some(2499)));
        }
    }

    #[test]
    fn kill_at_turn_over_leaves_the_full_file() {
        let (dir, mut store) = filled("turn-over", 1..=3);
        store.turn_over().unwrap();
        add(&mut store, 4..=5);
        store.turn_over().unwrap();
        assert_eq!(seqs(&store), [5, 4], "the older file is removed");
        // Killed before the first entry: the empty file is the newer one.
        let mut store = HistoryStore::open(&dir.0).unwrap();
        assert_eq!((store.growing, store.newest.unwrap().seq), (0, 5));
        add(&mut store, 6..=6);
        assert_eq!(seqs(&store), [6, 5, 4]);
        fs::remove_file(dir.path("log.1")).unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 6..=7);
        assert_eq!((seqs(&store), store.growing), (vec![7, 6, 5, 4], 1));
        assert_eq!(dir.names(), ["log.2"]);
    }

    #[test]
    fn reader_is_not_disturbed_by_turn_over() {
        let (_dir, mut store) = filled("reader", 1..=3);
        store.turn_over().unwrap();
        add(&mut store, 4..=5);
        let files = store.files().unwrap();
        store.turn_over().unwrap();
        add(&mut store, 6..=6);
        let query = HistoryQuery {
            limit: 100,
            ..HistoryQuery::default()
        };
        let found = files.page(&HistoryScope::All, &query).unwrap();
        let seqs = found.page.entries.iter().map(|entry| entry.seq);
        assert!(seqs.eq([5, 4, 3, 2, 1]) && !found.is_damaged);
    }

    /// Written by release 0.1.0, whose warden kept the history.
    const LAST_RELEASE: &[u8] = b"\
        remit history 1\nO\x00\xcf\xf6\xa4qE\xc3t\xa4\x02\xd4\x94\x92\xa6\xa04\x02\x81\xf4\x03\
        \x06#64001\x01~\xb8JkT4\xdc-\x06\xe6\xeaX\xd6\xad_\xa2\x01#sh script: trap '' TERM; sl\
        eep 1000\x05allow\x00O\x00?{_\x85\xc4\x08\xedU\x03\xfc\x94\x92\xa6\xa04\x02\x81\xf4\
        \x03\x06#64001\x01\x9e\xa4\x8c\x9f\xdd\x977\xfd\xacOr\x0d\xd1\x00\xc5\x9d\x01#sh scrip\
        t: trap '' TERM; sleep 1000\x05allow\x00O\x00\xb3\xd4\xd9\xb1x\x18\xdb]\x04\x83\x95\
        \x92\xa6\xa04\x02\x81\xf4\x03\x06#64001\x01\x1b\xa7\xec\xa5<3'>\xeeO\xa0\xdd\xfe\xea\
        \x8fk\x01#sh script: trap '' TERM; sleep 1000\x05allow\x00";

    #[test]
    fn last_release_history_cut_at_any_byte_is_taken_over() {
        let dir = Dir::new("taken-over");
        let mut most = 0;
        for cut in 0..=LAST_RELEASE.len() {
            fs::write(dir.path("log.2"), &LAST_RELEASE[..cut]).unwrap();
            let mut store = HistoryStore::open(&dir.0).unwrap();
            let found = seqs(&store);
            let expect: Vec<u64> = (2..2 + found.len() as u64).rev().collect();
            assert_eq!(found, expect, "{cut}");
            assert!(
                found.len() >= most,
                "{cut}: entries that were whole are lost"
            );
            most = found.len();
            add(&mut store, 50..=50);
            assert_eq!(seqs(&store).len(), found.len() + 1, "{cut}");
            assert!(!dir.names().iter().any(|name| name.contains("damaged")));
            fs::remove_file(dir.path("log.2")).unwrap();
        }
        assert_eq!(most, 3, "all of them, if nothing is cut off");
    }

    #[test]
    fn a_page_goes_on_in_the_file_before() {
        let dir = Dir::new("over");
        let mut store = HistoryStore::open(&dir.0).unwrap();
        let usual = |seq| HistoryRecord {
            cause: Some("exited with status 0".repeat(8)),
            ..record(seq, 1, "alice")
        };
        (1..=10_000).for_each(|seq| store.add(&usual(seq)).unwrap());
        let mut first = 0;
        frame::walk(
            &fs::read(dir.path(NAMES[store.growing])).unwrap(),
            |entry| {
                first = if first == 0 { entry.seq } else { first };
            },
        );
        assert!(first > 5000, "{first}");
        let query = HistoryQuery {
            before: Some(first + 50),
            limit: 100,
            ..HistoryQuery::default()
        };
        let found = store
            .files()
            .unwrap()
            .page(&HistoryScope::All, &query)
            .unwrap();
        let seqs: Vec<u64> = found.page.entries.iter().map(|entry| entry.seq).collect();
        let expect: Vec<u64> = (first - 50..first + 50).rev().collect();
        assert_eq!((seqs, found.page.next), (expect, Some(first - 50)));
    }

    #[test]
    fn damaged_history_is_quarantined_and_valid_start_kept() {
        let (dir, mut store) = filled("damaged", 1..=3);
        let whole = store.size;
        add(&mut store, 4..=40);
        let mut bytes = fs::read(dir.path("log.1")).unwrap();
        bytes[usize::try_from(whole).unwrap() + 20] ^= 1;
        fs::write(dir.path("log.1"), &bytes).unwrap();
        let query = HistoryQuery {
            limit: 100,
            ..HistoryQuery::default()
        };
        assert!(
            store
                .files()
                .unwrap()
                .page(&HistoryScope::All, &query)
                .unwrap()
                .is_damaged
        );
        let store = HistoryStore::open(&dir.0).unwrap();
        assert_eq!(seqs(&store), [3, 2, 1]);
        assert_eq!(dir.names(), ["log.1", "log.damaged-1"]);
        assert_eq!(fs::read(dir.path("log.damaged-1")).unwrap(), bytes);
        drop(store);
        fs::write(dir.path("log.1"), "something else").unwrap();
        let mut store = HistoryStore::open(&dir.0).unwrap();
        add(&mut store, 41..=41);
        assert_eq!(seqs(&store), [41]);
        fs::remove_file(dir.path("log.1")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path("log.1")).unwrap();
        assert!(HistoryStore::open(&dir.0).is_err(), "no link is followed");
    }

    #[test]
    fn restarted_audit_log_repeats_no_number() {
        let (dir, mut store) = filled("again", 7..=9);
        add(&mut store, 1..=2);
        assert_eq!(seqs(&store), [2, 1]);
        assert_eq!(dir.names(), ["log.1", "log.damaged-1"]);
        assert_eq!(seqs(&HistoryStore::open(&dir.0).unwrap()), [2, 1]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let (dir, mut store) = filled("full-disk", 1..=2);
        let writable = std::mem::replace(&mut store.file, File::open(dir.path("log.1")).unwrap());
        assert!(store.add(&record(3, 1, "alice")).is_err());
        store.file = writable;
        add(&mut store, 4..=4);
        assert_eq!(seqs(&store), [4, 2, 1]);
    }
}
