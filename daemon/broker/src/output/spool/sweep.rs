//! Removes files of forgotten jobs from the spool. Everything else stays and is logged.

use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use remit_common::names::JobId;
use remit_common::text;

use super::{SUFFIXES, Spool};

const LISTED: usize = 10;

impl Spool {
    /// Removes the files of every job that `known` does not know. Other entries stay as they are, and the log names
    /// them.
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
mod tests {
    use super::*;
    use crate::output::spool::tests::Scratch;

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
