//! Landlock: what the daemon changes. It reads and executes everywhere: it measures any file that is approved, and asks
//! the host's programs what a change would do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use remit_sys::sys::{self, Handled};

const WRITE_FILE: u64 = 1 << 1;
/// Removing, making and writing of files of any kind.
const CHANGE: u64 = WRITE_FILE | 0b1_1111_1111 << 4;
/// Commands to devices, which root may open for reading.
const IOCTL_DEV: u64 = 1 << 15;
/// Rights that came later, with their ABI version: moving between directories, truncating, commands to devices.
const LATER: [(u32, u64); 3] = [(2, 1 << 13), (3, 1 << 14), (5, IOCTL_DEV)];
/// Rights that a rule for a file, not for a directory, can have.
const OF_A_FILE: u64 = WRITE_FILE | 1 << 14 | IOCTL_DEV;
/// `LANDLOCK_ACCESS_NET_BIND_TCP`, ABI 4: it never listens on a network.
const BIND_TCP: u64 = 1;

/// Returns false if this kernel has no Landlock.
pub fn enter(written: &[PathBuf]) -> io::Result<bool> {
    let abi = match sys::landlock_abi() {
        Ok(abi) => abi,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let change = LATER
        .iter()
        .filter(|(since, _)| abi >= *since)
        .fold(CHANGE, |set, (_, right)| set | right);
    let net = if abi >= 4 { BIND_TCP } else { 0 };
    let ruleset = sys::landlock_ruleset(&Handled {
        fs: change,
        net,
        scoped: 0,
    })?;
    let grant = |path: &Path, rights: u64| {
        let file = open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let rights = match file.metadata()?.is_dir() {
            true => rights,
            false => rights & OF_A_FILE,
        };
        sys::landlock_grant(ruleset.as_fd(), file.as_fd(), rights)
    };
    for path in written {
        grant(path, change)?;
    }
    grant(Path::new("/dev/null"), change)?;
    sys::landlock_restrict(ruleset.as_fd(), 0)?;
    Ok(true)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)
}
