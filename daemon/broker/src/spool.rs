//! The spool directory: one file for each stream of a job that wrote something.
//!
//! `ID.out` and `ID.err` hold what was kept, and nothing else does: their sizes
//! say what was already taken from the pipes. `ID.lost` exists where more was
//! written than is kept, and holds both counts. Names are made from job ids,
//! never from what a client says.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::Stream;

/// Bytes in an `ID.lost` file: two numbers of 8 bytes.
const LOST: usize = 16;

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
}

fn name(job: JobId, stream: Stream) -> String {
    match stream {
        Stream::Stdout => format!("{job}.out"),
        Stream::Stderr => format!("{job}.err"),
    }
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
        })
    }

    /// Bytes kept of all jobs.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Counts bytes that were just kept.
    pub fn grew(&self, bytes: u64) {
        self.used.set(self.used.get().saturating_add(bytes));
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
        match self.at(&name(job, stream), OFlag::O_RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Notes how much was written in all, where not all of it is kept.
    pub fn note_lost(&self, job: JobId, written: [u64; 2]) {
        let [out, err] = written.map(u64::to_le_bytes);
        let file = self.at(&lost(job), OFlag::O_WRONLY | OFlag::O_CREAT);
        let done = file.map_err(std::io::Error::from).and_then(|file| {
            file.write_all_at(&out, 0)?;
            file.write_all_at(&err, 8)
        });
        if let Err(error) = done {
            // Only a broker that starts after this one would have used it.
            tracing::warn!(%job, %error, "cannot note how much output was lost");
        }
    }

    /// What [`Self::note_lost`] noted.
    pub fn noted_lost(&self, job: JobId) -> Option<[u64; 2]> {
        let mut bytes = [0; LOST];
        self.at(&lost(job), OFlag::O_RDONLY)
            .ok()?
            .read_exact(&mut bytes)
            .ok()?;
        let (out, err) = bytes.split_first_chunk::<8>()?;
        Some([
            u64::from_le_bytes(*out),
            u64::from_le_bytes(*err.first_chunk()?),
        ])
    }

    /// Removes the output of a job; its counts stay if `ID.lost` was written, until [`Self::forget`].
    pub fn remove(&self, job: JobId) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let size = self
                .find(job, stream)
                .ok()
                .flatten()
                .and_then(|file| file.metadata().ok());
            self.unlink(&name(job, stream));
            let size = size.map_or(0, |meta| meta.size());
            self.used.set(self.used.get().saturating_sub(size));
        }
    }

    /// Removes everything of a job.
    pub fn forget(&self, job: JobId) {
        self.remove(job);
        self.unlink(&lost(job));
    }

    /// Removes the files of every job that `known` does not know.
    pub fn sweep(&self, known: impl Fn(JobId) -> bool) {
        let listing = openat(
            &self.dir,
            ".",
            OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .and_then(Dir::from_fd);
        let names: Vec<String> = match listing {
            Ok(mut dir) => dir
                .iter()
                .filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned()))
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "cannot list the spool");
                return;
            }
        };
        for name in names {
            let job = name.split_once('.').and_then(|(id, _)| id.parse().ok());
            if job.is_some_and(|job| !known(job)) {
                self.unlink(&name);
            }
        }
    }

    fn at(&self, name: &str, flags: OFlag) -> Result<File, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }

    fn unlink(&self, name: &str) {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => tracing::warn!(name, %error, "cannot remove a spool file"),
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
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let scratch = Scratch::new();
        let job = JobId([1; 16]);
        std::os::unix::fs::symlink("/etc/hostname", scratch.path.join(format!("{job}.out")))
            .unwrap();
        assert!(scratch.spool.create(job, Stream::Stdout).is_err());
        assert!(scratch.spool.find(job, Stream::Stdout).is_err());
    }

    #[test]
    fn unknown_jobs_are_swept_and_lost_counts_read_back() {
        let scratch = Scratch::new();
        let [mine, other] = [JobId([1; 16]), JobId([2; 16])];
        for job in [mine, other] {
            scratch
                .spool
                .create(job, Stream::Stderr)
                .unwrap()
                .write_all_at(b"four", 0)
                .unwrap();
            scratch.spool.grew(4);
            scratch.spool.note_lost(job, [7, u64::MAX]);
        }
        scratch.spool.sweep(|job| job == mine);
        assert!(scratch.spool.find(other, Stream::Stderr).unwrap().is_none());
        assert_eq!(scratch.spool.noted_lost(other), None);
        assert_eq!(scratch.spool.noted_lost(mine), Some([7, u64::MAX]));
        scratch.spool.remove(mine);
        assert_eq!(scratch.spool.used(), 4);
        scratch.spool.forget(mine);
        assert_eq!(std::fs::read_dir(&scratch.path).unwrap().count(), 0);
    }
}
