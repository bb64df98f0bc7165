//! Files that clients send in parts for plans. A name has its owner, its hash and its length, and a shorter file is not
//! whole. `remit-commit` reads them as root and compares the hash again, so nobody has to trust this process.

pub mod pack;
mod space;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_wire::{Upload, transfer};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::output::disk::free_but_reserve;
use crate::runtime::threads::{run_blocking, start_blocking};
use space::no_space;

const PAUSE: Duration = Duration::from_secs(caps::UPLOAD_PAUSE_S);
const IDLE: Duration = Duration::from_secs(caps::UPLOAD_IDLE_S);
const KEPT: Duration = Duration::from_secs(caps::UPLOAD_KEPT_S);
/// Threads at once that write and hash uploads.
pub const THREADS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    pub uid: u32,
    pub upload: Upload,
}

#[derive(Debug)]
struct OpenUpload {
    file: File,
    hash: Sha256,
}

#[derive(Debug)]
enum UploadState {
    Open(OpenUpload),
    /// A thread writes it.
    Busy,
    /// A thread hashes it. It was [`UploadState::Found`].
    Hashing,
    Whole,
    /// Of an earlier process, as long as its name says.
    Found,
}

#[derive(Debug)]
struct KeptUpload {
    state: UploadState,
    received: u64,
    until: Instant,
}

#[derive(Debug, Default)]
pub struct UploadStore {
    /// `None`: this broker keeps none.
    dir: Option<OwnedFd>,
    entries: RefCell<HashMap<UploadKey, KeptUpload>>,
    changed: Notify,
    /// One that was found is hashed.
    hashed: Notify,
    turns: UploadTurns,
}

#[derive(Debug)]
struct UploadTurns(Semaphore);

impl Default for UploadTurns {
    fn default() -> Self {
        Self(Semaphore::new(THREADS))
    }
}

impl UploadKey {
    fn name(&self) -> String {
        format!("{}-{}", self.uid, self.upload)
    }

    fn of(name: &[u8]) -> Option<Self> {
        let (uid, upload) = std::str::from_utf8(name).ok()?.split_once('-')?;
        let (uid, upload) = (uid.parse().ok()?, upload.parse().ok()?);
        let key = Self { uid, upload };
        (key.name().as_bytes() == name).then_some(key)
    }
}

impl OpenUpload {
    fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(self)
    }
}

impl KeptUpload {
    const fn is_open(&self) -> bool {
        matches!(self.state, UploadState::Open(_)) || self.is_busy()
    }

    const fn is_busy(&self) -> bool {
        matches!(self.state, UploadState::Busy | UploadState::Hashing)
    }

    const fn is_hashing(&self) -> bool {
        matches!(self.state, UploadState::Hashing)
    }

    /// Returns true if it is not finished and no part of it has come for a while.
    fn is_idle(&self, now: Instant) -> bool {
        let is_waiting = matches!(self.state, UploadState::Open(_));
        is_waiting && self.until + IDLE <= now + PAUSE
    }
}

impl UploadStore {
    /// Removes what an earlier process has not received to the end.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let cannot = |errno| format!("cannot use '{}': {errno}", path.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(path, flags, Mode::empty()).map_err(cannot)?;
        let own = openat(&dir, ".", flags, Mode::empty()).map_err(cannot)?;
        let mut entries = HashMap::new();
        for entry in Dir::from_fd(own).map_err(cannot)?.iter() {
            let entry = entry.map_err(cannot)?;
            let Some(key) = UploadKey::of(entry.file_name().to_bytes()) else {
                continue;
            };
            let age = found(&dir, &key).filter(|_| entries.len() < caps::UPLOADS_COUNT);
            let left = age.and_then(|age| KEPT.checked_sub(age));
            let Some(left) = left else {
                remove(&dir, &key);
                continue;
            };
            let kept = KeptUpload {
                state: UploadState::Found,
                received: key.upload.size,
                until: Instant::now() + left,
            };
            entries.insert(key, kept);
        }
        Ok(Self {
            dir: Some(dir),
            entries: RefCell::new(entries),
            ..Self::default()
        })
    }

    /// Removes what nobody goes on with, and what is old.
    pub async fn serve(&self) {
        loop {
            let next = {
                let entries = self.entries.borrow();
                let idle = entries.values().filter(|it| !it.is_busy());
                idle.map(|it| it.until).min()
            };
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => self.expire(Instant::now()),
            }
        }
    }

    fn expire(&self, now: Instant) {
        let is_due = |entry: &KeptUpload| entry.until <= now && !entry.is_busy();
        let due = |(key, entry): (&UploadKey, &KeptUpload)| is_due(entry).then_some(*key);
        let due: Vec<UploadKey> = self.entries.borrow().iter().filter_map(due).collect();
        due.iter().for_each(|key| self.forget(key));
    }

    fn forget(&self, key: &UploadKey) {
        self.entries.borrow_mut().remove(key);
        if let Some(dir) = &self.dir {
            remove(dir, key);
        }
    }

    fn set(&self, key: UploadKey, state: UploadState, received: u64) {
        let left = match state {
            UploadState::Open(_) | UploadState::Busy | UploadState::Hashing => PAUSE,
            UploadState::Whole | UploadState::Found => KEPT,
        };
        let until = Instant::now() + left;
        let mut entries = self.entries.borrow_mut();
        let kept = KeptUpload {
            state,
            received,
            until,
        };
        entries.insert(key, kept);
        self.changed.notify_one();
    }

    /// Puts a state back that nothing was done to: what nobody goes on with must end.
    fn put_back(&self, key: &UploadKey, state: UploadState) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.state = state;
        }
    }

    /// Returns what is there of an upload; `None`: it was never begun.
    pub fn received(&self, key: &UploadKey) -> Option<u64> {
        let entries = self.entries.borrow();
        let entry = entries.get(key)?;
        let is_there = entry.is_open() || found(self.dir.as_ref()?, key).is_some();
        is_there.then_some(entry.received)
    }

    pub fn begin(&self, key: UploadKey) -> Result<(), Refusal> {
        if self.received(&key).is_some() {
            return Ok(());
        }
        let evicted = self.check_space(&key)?;
        evicted.iter().for_each(|other| self.forget(other));
        let dir = self.dir.as_ref().ok_or_else(|| none(Errno::ENOTDIR))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let name = key.name();
        let made = || openat(dir, name.as_str(), flags | OFlag::O_CLOEXEC, mode);
        let file = made().or_else(|_| {
            remove(dir, &key);
            made()
        });
        let part = OpenUpload {
            file: file.map_err(none)?.into(),
            hash: Sha256::new(),
        };
        self.set(key, UploadState::Open(part), 0);
        Ok(())
    }

    /// Returns the uploads that have to go for this one. Fails if that does not suffice.
    pub fn check_space(&self, key: &UploadKey) -> Result<Vec<UploadKey>, Refusal> {
        space::evicted(&self.entries.borrow(), key, self.free(), Instant::now())
    }

    fn free(&self) -> u64 {
        self.dir.as_ref().map_or(0, free_but_reserve)
    }

    /// Adds a part if it is the next one. Returns the bytes that are there.
    pub async fn add(&self, key: UploadKey, offset: u64, bytes: Vec<u8>) -> Result<u64, Refusal> {
        let size = key.upload.size;
        let is_hashing = |entry: &KeptUpload| entry.is_hashing();
        // Questions alone: a part outlives its client here, and then no bound counts its bytes.
        while bytes.is_empty() && self.entries.borrow().get(&key).is_some_and(is_hashing) {
            self.hashed.notified().await;
        }
        let taken = self.entries.borrow_mut().get_mut(&key).map(|entry| {
            let state = std::mem::replace(&mut entry.state, UploadState::Busy);
            (state, entry.received)
        });
        let Some((state, received)) = taken else {
            return Ok(0);
        };
        let part = match state {
            UploadState::Open(part) if received == offset && !bytes.is_empty() => part,
            UploadState::Busy if bytes.is_empty() && received < size => return Ok(received),
            state @ (UploadState::Busy | UploadState::Hashing) => {
                self.put_back(&key, state);
                let text = "another connection sends this upload or asked about it";
                return Err(Refusal::new(Code::Busy, text).next("let it finish"));
            }
            UploadState::Found => {
                self.put_back(&key, UploadState::Hashing);
                drop(bytes);
                let end = self.verify(key).await;
                self.hashed.notify_waiters();
                return end;
            }
            UploadState::Whole => {
                self.set(key, UploadState::Whole, size);
                return Ok(size);
            }
            state @ UploadState::Open(_) => {
                self.put_back(&key, state);
                return Ok(received);
            }
        };
        let length = bytes.len() as u64;
        let fits = match self.free() < length {
            true => Err(no_space()),
            false => space::check_bound(&self.entries.borrow(), length),
        };
        if let Err(refusal) = fits {
            self.put_back(&key, UploadState::Open(part));
            return Err(refusal);
        }
        let turn = self.turns.0.acquire().await;
        let written = run_blocking(move || part.write(&bytes)).await;
        drop(turn);
        let written = written.unwrap_or_else(|| Err(io::Error::other("its writer failed")));
        let part = written.map_err(|error| {
            self.forget(&key);
            Refusal::new(Code::NotStarted, format!("cannot keep the upload: {error}"))
                .next("begin it again later")
        })?;
        let received = received + length;
        if received < size {
            self.set(key, UploadState::Open(part), received);
            return Ok(received);
        }
        self.end(key, part.hash.finalize().into())
    }

    /// A crash can leave a file of the right length with other bytes.
    async fn verify(&self, key: UploadKey) -> Result<u64, Refusal> {
        let file = self.dir.as_ref().map(|dir| read(dir, &key));
        let turn = self.turns.0.acquire().await;
        let named = run_blocking(move || transfer::copy(&mut file?.ok()?, &mut io::sink()).ok());
        let named = named.await;
        drop(turn);
        match named.flatten() == Some(key.upload) {
            true => self.end(key, key.upload.sha256),
            false => {
                self.forget(&key);
                Ok(0)
            }
        }
    }

    fn end(&self, key: UploadKey, sha256: [u8; 32]) -> Result<u64, Refusal> {
        if sha256 == key.upload.sha256 {
            self.set(key, UploadState::Whole, key.upload.size);
            return Ok(key.upload.size);
        }
        self.forget(&key);
        let text = format!("the bytes of the upload {} have another hash", key.upload);
        Err(Refusal::new(Code::InvalidArgs, text)
            .object("upload")
            .next("send the file again; did it change while it was sent?"))
    }
}

fn none(errno: Errno) -> Refusal {
    let text = format!("cannot keep uploads: {errno}");
    Refusal::new(Code::NotStarted, text).next("tell an administrator")
}

fn read(dir: &OwnedFd, key: &UploadKey) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(openat(dir, key.name().as_str(), flags, Mode::empty())?.into())
}

/// Returns the age of a whole file.
fn found(dir: &OwnedFd, key: &UploadKey) -> Option<Duration> {
    let meta = read(dir, key).and_then(|file| file.metadata()).ok()?;
    let is_whole = meta.is_file() && meta.len() == key.upload.size;
    let age = meta.modified().ok()?.elapsed().unwrap_or_default();
    is_whole.then_some(age)
}

/// The close of the last descriptor frees the space, which can take long.
fn remove(dir: &OwnedFd, key: &UploadKey) {
    let (file, name) = (read(dir, key), key.name());
    let removed = unlinkat(
        dir,
        OsStr::from_bytes(name.as_bytes()),
        UnlinkatFlags::NoRemoveDir,
    );
    if let Err(errno) = removed
        && errno != Errno::ENOENT
    {
        tracing::warn!("cannot remove the upload '{name}': {errno}");
    }
    match tokio::runtime::Handle::try_current() {
        Ok(_) => start_blocking(move || drop(file)),
        Err(_) => drop(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spool::tests::Scratch;

    fn key(uid: u32, number: u8, size: u64) -> UploadKey {
        let sha256 = [number; 32];
        let upload = Upload { sha256, size };
        UploadKey { uid, upload }
    }

    fn store(scratch: &Scratch) -> UploadStore {
        UploadStore::open(Some(&scratch.path)).unwrap()
    }

    fn whole(store: &UploadStore, scratch: &Scratch, key: UploadKey) {
        let file = File::create(scratch.path.join(key.name())).unwrap();
        file.set_len(key.upload.size).unwrap();
        store.set(key, UploadState::Whole, key.upload.size);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_whole_upload_makes_space() {
        let scratch = Scratch::new();
        let store = store(&scratch);
        let keys = [1, 2].map(|number| key(8, number, 400 << 20));
        let other = key(9, 3, 400 << 20);
        for key in [other, keys[0], keys[1]] {
            whole(&store, &scratch, key);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let new = key(8, 4, 240 << 20);
        store.begin(new).unwrap();
        let left = [other, keys[0], keys[1], new].map(|key| store.received(&key).is_some());
        assert_eq!(left, [true, false, true, true]);
        assert!(!scratch.path.join(keys[0].name()).exists());
        // Unfinished ones are not removed: 240 and 400 MiB are claimed, and 400 more do not fit.
        store.begin(key(8, 5, 400 << 20)).unwrap();
        store.begin(key(8, 6, 400 << 20)).unwrap_err();
        store.begin(key(9, 6, 400 << 20)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_continued_is_removed() {
        let scratch = Scratch::new();
        let store = std::rc::Rc::new(store(&scratch));
        let (cut, kept) = (key(8, 1, 2), key(8, 2, 2));
        store.begin(cut).unwrap();
        whole(&store, &scratch, kept);
        let there = || [cut, kept].map(|key| scratch.path.join(key.name()).exists());
        let serve = store.serve();
        let look = async {
            tokio::time::sleep(PAUSE - Duration::from_secs(1)).await;
            assert_eq!(store.add(cut, 0, b"x".to_vec()).await.unwrap(), 1);
            tokio::time::sleep(PAUSE - Duration::from_secs(1)).await;
            assert_eq!(there(), [true, true]);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(there(), [false, true]);
            tokio::time::sleep(KEPT).await;
            assert_eq!(there(), [false, false]);
        };
        tokio::select! {
            () = serve => {}
            () = look => {}
        }
    }

    #[tokio::test]
    async fn one_that_is_hashed_answers_questions_and_takes_no_part() {
        for (content, received) in [(b"right", 5), (b"wrong", 0)] {
            let scratch = Scratch::new();
            let upload = transfer::copy(&mut &b"right"[..], &mut io::sink()).unwrap();
            let key = UploadKey { uid: 8, upload };
            std::fs::write(scratch.path.join(key.name()), content).unwrap();
            let store = store(&scratch);
            let turns = store.turns.0.try_acquire_many(2).unwrap();
            let add = |bytes: &[u8]| store.add(key, 0, bytes.to_vec());
            let end = async { drop(turns) };
            let (one, part, other, ()) = tokio::join!(add(b""), add(b"right"), add(b""), end);
            assert_eq!((one.unwrap(), other.unwrap()), (received, received));
            assert_eq!(part.unwrap_err().code, Code::Busy);
        }
    }

    #[tokio::test]
    async fn only_names_of_uploads_are_taken_over() {
        let scratch = Scratch::new();
        let (short, right) = (key(8, 1, 3), key(8, 2, 2));
        let odd = format!("08-{}", right.upload);
        for name in [short.name(), right.name(), odd.clone()] {
            std::fs::write(scratch.path.join(name), "xy").unwrap();
        }
        let store = store(&scratch);
        assert_eq!(store.received(&short), None);
        assert_eq!(store.received(&right), Some(2));
        assert!(!scratch.path.join(short.name()).exists() && scratch.path.join(odd).exists());
        // Its bytes are not those of its name.
        assert_eq!(store.add(right, 0, Vec::new()).await.unwrap(), 0);
        assert!(!scratch.path.join(right.name()).exists());
    }
}
