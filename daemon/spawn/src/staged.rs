//! Files of a plan that a job sees at their paths as they will be. The warden writes them down in a sealed memory file;
//! the child reads it when it builds the job's root: a list of [`StagedEntry`] in base `strict`, a [`crate::LaidPlan`] in base `plan`.
//!
//! Format: the length of the list (8 bytes, little-endian), the list, the bytes of all files.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use remit_sys::sys;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::socket::decode;

/// Maximum bytes of the list: as many as a plan can have.
const LIST: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedEntry {
    /// Relative to the host's root, without `.`, `..` or empty parts.
    pub path: CString,
    pub what: StagedAs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StagedAs {
    /// What is there on the host is not shown.
    Gone,
    Directory(Owner),
    /// `start` and `length` say where its bytes are.
    File {
        owner: Owner,
        start: u64,
        length: u64,
    },
    /// A symbolic link. `start` and `length` say where its target is.
    Link {
        start: u64,
        length: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Parents come before what is beneath them.
#[derive(Debug)]
pub struct Staged<T = Vec<StagedEntry>> {
    pub list: T,
    file: File,
    bytes_at: u64,
}

/// What a child of one base shows. An array would be written otherwise than a list.
pub trait StagedList: Serialize + DeserializeOwned {}

impl StagedList for Vec<StagedEntry> {}

impl<T: StagedList> Staged<T> {
    /// Writes down a list, and the bytes that its ranges are in.
    pub fn seal(list: &T, bytes: &[u8]) -> io::Result<OwnedFd> {
        let list = postcard::to_stdvec(list).map_err(io::Error::other)?;
        let length = (list.len() as u64).to_le_bytes();
        let whole = [&length[..], &list, bytes].concat();
        sys::sealed_memfd(c"remit-staged", &whole)
    }

    /// Fails for what is not sealed, or not in this form.
    pub fn read(sealed: BorrowedFd<'_>) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EBADMSG);
        if !sys::is_sealed(sealed) {
            return Err(invalid());
        }
        let file = File::from(sealed.try_clone_to_owned()?);
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LIST {
            return Err(invalid());
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 8)?;
        Ok(Self {
            list: decode(&bytes).map_err(|_| invalid())?,
            file,
            bytes_at: 8 + length as u64,
        })
    }

    /// Fills `buffer` with bytes of a file from `start` on. Fails if there are fewer.
    pub fn fill(&self, start: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = self.bytes_at.checked_add(start);
        let at = at.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))?;
        self.file.read_exact_at(buffer, at)
    }

    /// Returns the bytes of all files.
    pub fn size(&self) -> io::Result<u64> {
        let size = sys::stat_of(self.file.as_fd())?.st_size;
        Ok(u64::try_from(size)
            .unwrap_or(0)
            .saturating_sub(self.bytes_at))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    const OWNER: Owner = Owner {
        uid: 0,
        gid: 4,
        mode: 0o640,
    };

    fn entries() -> Vec<StagedEntry> {
        let entry = |path: &CStr, what| StagedEntry {
            path: path.to_owned(),
            what,
        };
        let file = |start, length| StagedAs::File {
            owner: OWNER,
            start,
            length,
        };
        vec![
            entry(c"etc/a", file(0, 3)),
            entry(c"etc/b", StagedAs::Gone),
            entry(c"etc/c", StagedAs::Directory(OWNER)),
            entry(c"etc/c/d", file(3, 2)),
            entry(
                c"etc/e",
                StagedAs::Link {
                    start: 3,
                    length: 2,
                },
            ),
        ]
    }

    #[test]
    fn entries_and_bytes_are_read_back() {
        let sealed = Staged::seal(&entries(), b"oneto").unwrap();
        let staged = Staged::<Vec<StagedEntry>>::read(sealed.as_fd()).unwrap();
        assert_eq!(staged.list, entries());
        assert_eq!(staged.size().unwrap(), 5);
        let mut bytes = [0; 2];
        staged.fill(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"to");
        for start in [4, 5, u64::MAX] {
            assert!(staged.fill(start, &mut bytes).is_err(), "{start}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let unsealed = File::open("/dev/null").unwrap();
        assert!(Staged::<Vec<StagedEntry>>::read(unsealed.as_fd()).is_err());
        let good = postcard::to_stdvec(&entries()).unwrap();
        let length = |length: usize| (length as u64).to_le_bytes().to_vec();
        for (name, bytes) in [
            ("empty", Vec::new()),
            ("cut length", vec![1; 7]),
            ("too long", length(LIST + 1)),
            ("longest", vec![0xff; 64]),
            (
                "cut",
                [length(good.len()), good[..good.len() - 1].to_vec()].concat(),
            ),
            (
                "more than entries",
                [length(good.len() + 1), good.clone(), vec![0]].concat(),
            ),
        ] {
            let sealed = sys::sealed_memfd(c"test", &bytes).unwrap();
            assert!(
                Staged::<Vec<StagedEntry>>::read(sealed.as_fd()).is_err(),
                "{name}"
            );
        }
    }
}
