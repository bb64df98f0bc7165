//! Files between this computer and hosts, through `mcp-shim --put` and `--get` there: what a key of an agent may start, too.
//!
//! **Invariant:** a host sends bytes and nothing else. Where they go and how many they may be is decided here, and they get
//! their name only if the host's receipt has their hash.

pub mod below;
pub mod directory;
pub mod local;
mod naming;
pub mod outgoing;
mod receipt;
pub mod targets;
pub mod transfer;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_common::text;

const PATH: usize = 4096;

/// Bytes of a file that is fetched, unless more are allowed: those of one that can be sent.
pub const LARGEST: u64 = remit_plan::FILE_BYTES;

/// Returns a path as one line without escape codes.
pub fn shown(path: &Path) -> String {
    text::line(path.as_os_str().as_bytes(), PATH)
}
