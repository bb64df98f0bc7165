//! Writes the same bytes into a file without remit.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice as splice_once};

use crate::Failure;
use crate::output::Writer;

/// The default maximum of a pipe: `fs.pipe-max-size`.
const PIPE: i32 = 1 << 20;

/// Moves the bytes from a pipe by splice(2).
pub fn splice(writer: Writer, bytes: u64, path: &Path) -> Result<Duration, Failure> {
    let file = File::create(path)?;
    let start = Instant::now();
    let mut child = begin(writer, bytes, Stdio::piped())?;
    let pipe = child.stdout.take().ok_or("no pipe")?;
    fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE))?;
    let flags = SpliceFFlags::SPLICE_F_MOVE;
    while splice_once(pipe.as_fd(), None, file.as_fd(), None, PIPE as usize, flags)? > 0 {}
    end(child)?;
    let took = start.elapsed();
    gone(path, bytes)?;
    Ok(took)
}

pub fn direct(writer: Writer, bytes: u64, path: &Path) -> Result<Duration, Failure> {
    let file = File::create(path)?;
    let start = Instant::now();
    end(begin(writer, bytes, file.into())?)?;
    let took = start.elapsed();
    gone(path, bytes)?;
    Ok(took)
}

fn begin(writer: Writer, bytes: u64, stdout: Stdio) -> Result<Child, Failure> {
    let argv = writer.argv(bytes);
    let (program, args) = argv.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(stdout);
    Ok(command.spawn()?)
}

fn end(mut child: Child) -> Result<(), Failure> {
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("a writer failed: {status}").into())
    }
}

/// Removes the file. Fails if it does not have the expected size.
fn gone(path: &Path, bytes: u64) -> Result<(), Failure> {
    let found = fs::metadata(path)?.len();
    fs::remove_file(path)?;
    if found == bytes {
        Ok(())
    } else {
        Err(format!(
            "{found} bytes are in '{}' instead of {bytes}",
            path.display()
        )
        .into())
    }
}
