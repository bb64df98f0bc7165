//! Programs of the package that read what strangers wrote: each a process of its own, for one question.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

const PACKAGED: &str = "/usr/libexec/remit";

/// Next to this program, as in a build, or in the package's directory.
pub fn find(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own
        .map(|own| own.with_file_name(name))
        .filter(|path| path.exists());
    beside.unwrap_or_else(|| Path::new(PACKAGED).join(name))
}

/// Starts it, writes the question and reads the answer. Fails with the reason.
pub fn ask<T, W, R>(
    program: &Path,
    write: impl FnOnce(&mut ChildStdin) -> Result<(), W>,
    read: impl FnOnce(&mut ChildStdout) -> Result<T, R>,
) -> Result<T, String> {
    let mut child = Command::new(program)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // It reads the whole question before it answers, and ends by itself: its time is limited.
    let written = child.stdin.take().map(|mut input| write(&mut input));
    let answer = child.stdout.take().map(|mut output| read(&mut output));
    let status = child.wait().map_err(|error| error.to_string())?;
    match (written, answer) {
        (Some(Ok(())), Some(Ok(answer))) => Ok(answer),
        _ => Err(format!("it gave no answer ({status})")),
    }
}
