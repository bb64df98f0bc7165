//! Files as they were when somebody approved a run of them, looked at once more inside the sandbox.

use std::ffi::CString;

/// A file that an approval covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Absolute; the name by which the job has it.
    pub path: CString,
    /// Its device and inode (stat(2)).
    pub dev: u64,
    /// See `dev`.
    pub ino: u64,
    /// Its change time in nanoseconds since 1970: nobody can set it back.
    pub ctime_ns: i128,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}
