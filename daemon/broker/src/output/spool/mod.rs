//! One file for each stream of a job with output. `ID.out` and `ID.err` contain only kept output, so their sizes say how
//! much was taken from the pipes. `ID.out.more` and `ID.err.more` exist after an overflow: they have its full length, but
//! the middle is a hole. `ID.lost` describes bytes that are in neither. Names come from job ids, never from client input.

mod note;

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use remit_common::names::JobId;
use remit_common::{caps, text};
use remit_wire::outcome::Stream;

use crate::output::disk::Disk;

pub use self::note::{Amount, Lost, LostRange, Note};

const SUFFIXES: [&str; 5] = [".out", ".err", ".out.more", ".err.more", ".lost"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    pub per_job: u64,
    pub per_user: u64,
    pub total: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            per_job: caps::SPOOL_PER_JOB,
            per_user: caps::SPOOL_PER_UID,
            total: caps::SPOOL,
        }
    }
}

#[derive(Debug)]
pub struct Spool {
    pub limits: SpoolLimits,
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
    /// Opens the directory. It must belong to this user and be closed to others. An error is a sentence that names it.
    pub fn open(path: &Path, limits: SpoolLimits) -> Result<Self, String> {
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

    pub fn used(&self) -> u64 {
        self.used.get()
    }

    pub fn free_on_disk(&self) -> u64 {
        self.disk.free(&self.dir)
    }

    pub fn holds(&self, bytes: u64) {
        self.used.set(self.used.get().saturating_add(bytes));
    }

    pub fn grew(&self, bytes: u64) {
        self.disk.wrote(bytes);
        self.holds(bytes);
    }

    pub fn create(&self, job: JobId, stream: Stream) -> Result<File, Errno> {
        self.at(&name(job, stream), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    pub fn find(&self, job: JobId, stream: Stream) -> Result<Option<File>, Errno> {
        self.present(&name(job, stream))
    }

    pub fn create_more(&self, job: JobId, stream: Stream) -> Result<File, Errno> {
        self.at(&more(job, stream), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    pub fn find_more(&self, job: JobId, stream: Stream) -> Result<Option<File>, Errno> {
        self.present(&more(job, stream))
    }

    pub fn remove_more(&self, job: JobId, stream: Stream) {
        self.unlink(more(job, stream).as_bytes());
    }

    /// Removes the files of a stream. The note of [`Self::note`] stays until [`Self::forget`]. The space is free only
    /// after the returned file is closed, which can block (64 MiB: 5 to 60 ms on ext4): not for the serving thread.
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

    /// Opens a regular file. It follows no symlink and does not block on a FIFO.
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
                tracing::warn!("'{name}': cannot remove a spool file: {error}");
            }
        }
    }
}

const LISTED: usize = 10;

impl Spool {
    /// Removes the files of every job that `known` does not know. Other entries stay, and the log names them.
    pub fn sweep(&self, known: impl Fn(JobId) -> bool) {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return tracing::warn!("cannot list the spool: {error}"),
        };
        let mut odd = Vec::new();
        for name in names {
            match job_of(&name).filter(|_| self.is_file(&name)) {
                None => odd.push(text::line(&name, 64)),
                Some(job) if known(job) => {}
                Some(_) => self.unlink(name.as_slice()),
            }
        }
        if !odd.is_empty() {
            let count = odd.len();
            odd.sort_unstable();
            odd.truncate(LISTED);
            let names = odd.join("' '");
            tracing::warn!("{count} in the spool not made by remit, left unchanged: '{names}'");
        }
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::from_fd(openat(&self.dir, ".", flags, Mode::empty())?)?;
        let names = dir
            .iter()
            .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()));
        names
            .filter(|name| !matches!(name.as_deref(), Ok(b"." | b"..")))
            .collect()
    }

    fn is_file(&self, name: &[u8]) -> bool {
        let name = std::ffi::OsStr::from_bytes(name);
        fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG
        })
    }
}

fn job_of(name: &[u8]) -> Option<JobId> {
    let (id, suffix) = std::str::from_utf8(name).ok()?.split_at_checked(32)?;
    let job: JobId = id.parse().ok()?;
    // Each job has exactly one name: uppercase ids are refused.
    (SUFFIXES.contains(&suffix) && job.to_string() == id).then_some(job)
}

#[cfg(test)]
pub mod tests {
    use std::path::PathBuf;

    use super::*;

    pub struct Scratch {
        pub path: PathBuf,
        pub spool: Spool,
    }

    impl Scratch {
        pub fn new() -> Self {
            let path =
                nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-spool-XXXXXX")).unwrap();
            let spool = Spool::open(&path, SpoolLimits::default()).unwrap();
            Self { path, spool }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.path).unwrap();
        }
    }

    #[test]
    fn foreign_or_open_spool_directory_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        std::fs::set_permissions(&scratch.path, PermissionsExt::from_mode(0o750)).unwrap();
        assert!(
            Spool::open(&scratch.path, SpoolLimits::default())
                .unwrap_err()
                .ends_with("it is open to other users")
        );
        std::fs::set_permissions(&scratch.path, PermissionsExt::from_mode(0o700)).unwrap();
        nix::unistd::chown(&scratch.path, Some(65_534.into()), None).unwrap();
        assert!(
            Spool::open(&scratch.path, SpoolLimits::default())
                .unwrap_err()
                .ends_with("it belongs to another user")
        );
        assert!(Spool::open(Path::new("/no/such/spool"), SpoolLimits::default()).is_err());
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
    fn removed_files_are_uncounted_forget_removes_all() {
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
            "closing it is all that is left to do"
        );
        assert_eq!(spool.used(), 3);
        assert_eq!(std::fs::read_dir(&scratch.path).unwrap().count(), 1);
        spool.forget(job);
        assert_eq!(std::fs::read_dir(&scratch.path).unwrap().count(), 0);
    }

    #[test]
    fn sweep_removes_unknown_jobs_keeps_other_entries() {
        let scratch = Scratch::new();
        let [mine, other, third] = [1, 2, 0xab].map(|byte| JobId([byte; 16]));
        let path = |name: String| scratch.path.join(name);
        for job in [mine, other] {
            for suffix in SUFFIXES {
                std::fs::write(path(format!("{job}{suffix}")), "x").unwrap();
            }
        }
        let odd = [
            format!("{other}.txt"),
            format!("{other}"),
            format!("{}.out", third.to_string().to_uppercase()),
            ".hidden".to_owned(),
        ];
        for name in &odd {
            std::fs::write(path(name.clone()), "x").unwrap();
        }
        std::fs::create_dir(path(format!("{third}.out"))).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", path(format!("{third}.err"))).unwrap();
        scratch.spool.sweep(|job| job == mine);
        let mut left: Vec<_> = std::fs::read_dir(&scratch.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expect: Vec<_> = SUFFIXES
            .iter()
            .map(|suffix| format!("{mine}{suffix}"))
            .collect();
        expect.extend(odd);
        expect.extend([format!("{third}.out"), format!("{third}.err")]);
        expect.sort();
        assert_eq!(left, expect);
    }
}
