//! Processes of remit beside the loop, and the service manager: the broker, the bus, the sink, sd_notify(3), log lines.

// First, because its macros are used in the others.
#[macro_use]
pub mod log;

mod broker_messages;
pub mod broker_process;
pub mod bus_process;
mod ending;
pub mod helper;
pub mod program {
    //! Finds and starts the package's programs without rights.

    use std::ffi::CString;
    use std::os::fd::BorrowedFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use crate::startup::error::Fatal;

    /// The variable of systemd.exec(5) that names the stream of standard error.
    pub const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

    /// Finds a program next to remitd or in the package's libexec directory. Only root may be able to change it.
    pub fn find(name: &str) -> Result<PathBuf, Fatal> {
        let own = std::env::current_exe().map_err(Fatal::call("cannot find our own program"))?;
        let beside = own.with_file_name(name);
        let program = [beside, Path::new("/usr/libexec/remit").join(name)]
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| {
                Fatal::Unavailable(format!(
                    "cannot find '{name}' in the directory of '{}' or in '/usr/libexec/remit'",
                    own.display()
                ))
            })?;
        check(&program)?;
        Ok(program)
    }

    fn check(path: &Path) -> Result<(), Fatal> {
        let refuse = |why: &str| {
            Err(Fatal::Unavailable(format!(
                "cannot use '{}': {why}",
                path.display()
            )))
        };
        match path.symlink_metadata() {
            Err(error) => refuse(&error.to_string()),
            Ok(meta) if !meta.is_file() => refuse("it is not a regular file"),
            Ok(meta) if meta.uid() != 0 => refuse("it is not owned by root"),
            Ok(meta) if meta.mode() & 0o022 != 0 => refuse("users other than root can write it"),
            Ok(_) => Ok(()),
        }
    }

    /// Returns what such a program may know of the daemon's environment: the destination of its log.
    pub fn environment() -> Result<Vec<CString>, Fatal> {
        let stream = std::env::var(JOURNAL_STREAM).ok();
        let stream = stream.map(|stream| format!("{JOURNAL_STREAM}={stream}"));
        [Some("PATH=/usr/bin:/bin".to_owned()), stream]
            .into_iter()
            .flatten()
            .map(|variable| c_string(variable.as_bytes()))
            .collect()
    }

    pub fn c_string(bytes: &[u8]) -> Result<CString, Fatal> {
        CString::new(bytes).map_err(|_| Fatal::Usage("a path contains a NUL byte".into()))
    }

    /// Blocks until a process ends, at most `patience`. Never for the loop.
    pub fn wait_for_exit(pidfd: BorrowedFd<'_>, patience: Duration) {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], patience);
    }
}
pub mod prover;
pub mod sd_notify;
pub mod sink;
