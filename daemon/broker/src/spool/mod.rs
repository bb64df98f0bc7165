//! The spool directory: one file for each stream of a job that wrote something.
//!
//! `ID.out` and `ID.err` hold what is kept, and nothing else does: their sizes say what was already taken from the
//! pipes. `ID.out.more` and `ID.err.more` exist where a job wrote more than is kept: as long as it was, and full of
//! holes but for the last bytes. `ID.lost` says what is in neither. Names are made from job ids, never from what a
//! client says.

mod disk;
mod note;
mod sweep;

pub use self::note::{Gap, Note};

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::Stream;
use remit_common::text;

use self::disk::Disk;

/// What follows a job's id in the names of its files.
const SUFFIXES: [&str; 5] = [".out", ".err", ".out.more", ".err.more", ".lost"];

/// Bytes of output that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one job.
    pub per_job: u64,
    /// Of the jobs of one uid.
    pub per_user: u64,
    /// In all.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_job: caps::SPOOL_PER_JOB,
            per_user: caps::SPOOL_PER_UID,
            total: caps::SPOOL,
        }
    }
}

/// The directory, and how much is in it.
#[derive(Debug)]
pub struct Spool {
    /// How much may be in it.
    pub limits: Limits,
    dir: OwnedFd,
    used: Cell<u64>,
    disk: Disk,
}

fn name(job: JobId, stream: Stream) -> String {
    match stream {
        Stream::Stdout => format!("{job}.out"),
        Stream::Stderr => format!("{job}.err"),
    }
}

fn more(job: JobId, stream: Stream) -> String {
    name(job, stream) + ".more"
}

fn lost(job: JobId) -> String {
    format!("{job}.lost")
}

impl Spool {
    /// Opens the directory, which must be this user's own and closed to others.
    ///
    /// # Errors
    /// A sentence that names the directory.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, String> {
        let refuse =
            |why: &dyn std::fmt::Display| format!("cannot use spool '{}': {why}", path.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let dir = nix::fcntl::open(path, flags, Mode::empty()).map_err(|error| refuse(&error))?;
        let stat = fstat(&dir).map_err(|error| refuse(&error))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(refuse(&"it belongs to another user"));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(refuse(&"it is open to other users"));
        }
        Ok(Self {
            limits,
            dir,
            used: Cell::new(0),
            disk: Disk::default(),
        })
    }

    /// Bytes kept of all jobs.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Bytes that may be written before the file system is as full as may be.
    pub fn room_on_disk(&self) -> u64 {
        self.disk.room(&self.dir)
    }

    /// Counts bytes that lie in the spool from now on.
    pub fn holds(&self, bytes: u64) {
        self.used.set(self.used.get().saturating_add(bytes));
    }

    /// Counts bytes that were just written.
    pub fn grew(&self, bytes: u64) {
        self.disk.wrote(bytes);
        self.holds(bytes);
    }

    /// The file of a stream, made if need be.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn create(&self, job: JobId, stream: Stream) -> Result<File, Errno> {
        self.at(&name(job, stream), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    /// The file of a stream, if there is one.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn find(&self, job: JobId, stream: Stream) -> Result<Option<File>, Errno> {
        self.present(&name(job, stream))
    }

    /// The file of what a stream has beyond what is kept, made if need be.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn create_more(&self, job: JobId, stream: Stream) -> Result<File, Errno> {
        self.at(&more(job, stream), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    /// That file, if there is one.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn find_more(&self, job: JobId, stream: Stream) -> Result<Option<File>, Errno> {
        self.present(&more(job, stream))
    }

    /// Removes that file.
    pub fn remove_more(&self, job: JobId, stream: Stream) {
        self.unlink(more(job, stream).as_bytes());
    }

    /// Removes the output of a stream. What [`Self::note`] noted stays until [`Self::forget`].
    /// The disk has its room again when the file is closed, and that may take a while (64 MiB: 5 to 60 ms on
    /// ext4): not for the one thread that serves.
    pub fn remove(&self, job: JobId, stream: Stream) -> Option<File> {
        let file = self.find(job, stream).ok().flatten();
        let size = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.size());
        self.unlink(name(job, stream).as_bytes());
        self.remove_more(job, stream);
        self.used.set(self.used.get().saturating_sub(size));
        file
    }

    /// Removes everything of a job. What is left to do is to close its files, as in [`Self::remove`].
    pub fn forget(&self, job: JobId) -> [Option<File>; 2] {
        let files = [Stream::Stdout, Stream::Stderr].map(|stream| self.remove(job, stream));
        self.unlink(lost(job).as_bytes());
        files
    }

    fn present(&self, name: &str) -> Result<Option<File>, Errno> {
        match self.at(name, OFlag::O_RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A plain file and nothing else: no link is followed, no pipe waited for.
    fn at(&self, name: &str, flags: OFlag) -> Result<File, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)?;
        match file.metadata() {
            Ok(meta) if meta.is_file() => Ok(file),
            Ok(_) | Err(_) => Err(Errno::EINVAL),
        }
    }

    fn unlink(&self, name: &[u8]) {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => {
                let name = text::line(name, 64);
                tracing::warn!(name, %error, "cannot remove a spool file");
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A spool in a directory of its own, removed when dropped.
    pub struct Scratch {
        pub path: PathBuf,
        pub spool: Spool,
    }

    impl Scratch {
        pub fn new() -> Self {
            let path =
                nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-spool-XXXXXX")).unwrap();
            let spool = Spool::open(&path, Limits::default()).unwrap();
            Self { path, spool }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.path).unwrap();
        }
    }

    #[test]
    fn a_directory_of_others_or_open_to_them_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        std::fs::set_permissions(&scratch.path, PermissionsExt::from_mode(0o750)).unwrap();
        assert!(
            Spool::open(&scratch.path, Limits::default())
                .unwrap_err()
                .ends_with("it is open to other users")
        );
        std::fs::set_permissions(&scratch.path, PermissionsExt::from_mode(0o700)).unwrap();
        nix::unistd::chown(&scratch.path, Some(65_534.into()), None).unwrap();
        assert!(
            Spool::open(&scratch.path, Limits::default())
                .unwrap_err()
                .ends_with("it belongs to another user")
        );
        assert!(Spool::open(Path::new("/no/such/spool"), Limits::default()).is_err());
    }

    #[test]
    fn only_plain_files_are_opened() {
        let scratch = Scratch::new();
        let [job, dir, pipe] = [1, 2, 3].map(|byte| JobId([byte; 16]));
        std::fs::create_dir(scratch.path.join(format!("{dir}.out"))).unwrap();
        let path = scratch.path.join(format!("{pipe}.out"));
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        for odd in [dir, pipe] {
            assert!(scratch.spool.find(odd, Stream::Stdout).is_err());
        }
        std::os::unix::fs::symlink("/etc/hostname", scratch.path.join(format!("{job}.out")))
            .unwrap();
        assert!(scratch.spool.create(job, Stream::Stdout).is_err());
        assert!(scratch.spool.find(job, Stream::Stdout).is_err());
    }

    #[test]
    fn what_is_removed_no_longer_counts_and_forgetting_leaves_nothing() {
        let scratch = Scratch::new();
        let (spool, job) = (&scratch.spool, JobId([1; 16]));
        let file = spool.create(job, Stream::Stderr).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"four", 0).unwrap();
        spool.create_more(job, Stream::Stderr).unwrap();
        spool.note(job, Stream::Stderr).unwrap();
        spool.grew(7);
        let removed = spool.remove(job, Stream::Stderr).unwrap();
        assert_eq!(
            removed.metadata().unwrap().nlink(),
            0,
            "closing it is all there is left to do"
        );
        assert_eq!(spool.used(), 3);
        assert_eq!(std::fs::read_dir(&scratch.path).unwrap().count(), 1);
        spool.forget(job);
        assert_eq!(std::fs::read_dir(&scratch.path).unwrap().count(), 0);
    }
}
