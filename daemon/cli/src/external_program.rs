//! Runs programs by absolute path, with limits on time and output: no shell, no search path, no inherited variables.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::text;

const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes kept of each stream. A program that writes more is killed.
const OUTPUT: usize = 1 << 20;
/// Bytes of stderr in an error.
const SAID: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(PathBuf);

#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug)]
pub enum ProgramError {
    Start(PathBuf, io::Error),
    Read(PathBuf, io::Error),
    Late(PathBuf),
    Large(PathBuf),
    Failed(PathBuf, ExitStatus, String),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(path, error) => write!(f, "cannot start '{}': {error}", path.display()),
            Self::Read(path, error) => {
                write!(f, "cannot read what '{}' says: {error}", path.display())
            }
            Self::Late(path) => write!(
                f,
                "'{}' took more than {} s and was ended",
                path.display(),
                DEADLINE.as_secs()
            ),
            Self::Large(path) => write!(
                f,
                "'{}' wrote more than {OUTPUT} bytes and was ended",
                path.display()
            ),
            Self::Failed(path, status, said) => {
                write!(f, "'{}' failed ({status})", path.display())?;
                match said.as_str() {
                    "" => Ok(()),
                    said => write!(f, ": {said}"),
                }
            }
        }
    }
}

impl std::error::Error for ProgramError {}

impl Program {
    pub fn systemctl() -> Option<Self> {
        Self::find(&["/usr/bin/systemctl", "/bin/systemctl"])
    }

    pub fn find(paths: &[&str]) -> Option<Self> {
        paths
            .iter()
            .map(Path::new)
            .find(|path| nix::unistd::access(*path, nix::unistd::AccessFlags::X_OK).is_ok())
            .map(|path| Self(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it without input and returns stdout. Fails as [`Program::run`], and with [`ProgramError::Failed`].
    pub fn ask(&self, args: &[&str]) -> Result<Vec<u8>, ProgramError> {
        let output = self.run(args)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = text::line(output.stderr.trim_ascii(), SAID);
        Err(ProgramError::Failed(self.0.clone(), output.status, said))
    }

    /// Runs it without input, to its end. Any exit status is a success.
    pub fn run(&self, args: &[impl AsRef<OsStr>]) -> Result<Output, ProgramError> {
        self.until(args, |_| false)
    }

    /// Runs it without input until it has written a line, then kills it.
    pub fn line(&self, args: &[&str]) -> Result<Vec<u8>, ProgramError> {
        Ok(self.until(args, |stdout| stdout.contains(&b'\n'))?.stdout)
    }

    fn until(
        &self,
        args: &[impl AsRef<OsStr>],
        is_enough: fn(&[u8]) -> bool,
    ) -> Result<Output, ProgramError> {
        let mut child = Command::new(&self.0)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| ProgramError::Start(self.0.clone(), error))?;
        let read = self.read(&mut child, is_enough);
        if read.as_ref().map_or(true, |(stdout, _)| is_enough(stdout)) {
            // It may have exited already; it is reaped in both cases.
            let _ = child.kill();
        }
        let status = child
            .wait()
            .map_err(|error| ProgramError::Read(self.0.clone(), error))?;
        let (stdout, stderr) = read?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    fn read(
        &self,
        child: &mut Child,
        is_enough: fn(&[u8]) -> bool,
    ) -> Result<(Vec<u8>, Vec<u8>), ProgramError> {
        let broken = |error| ProgramError::Read(self.0.clone(), error);
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let end = Instant::now() + DEADLINE;
        while !is_enough(&stdout) && (out.is_some() || err.is_some()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ProgramError::Late(self.0.clone()));
            }
            let (out_ready, err_ready) = ready(out.as_ref(), err.as_ref(), left).map_err(broken)?;
            if out_ready {
                take(&mut out, &mut stdout).map_err(broken)?;
            }
            if err_ready {
                take(&mut err, &mut stderr).map_err(broken)?;
            }
            if stdout.len().max(stderr.len()) > OUTPUT {
                return Err(ProgramError::Large(self.0.clone()));
            }
        }
        Ok((stdout, stderr))
    }
}

fn ready(
    out: Option<&impl AsFd>,
    err: Option<&impl AsFd>,
    left: Duration,
) -> io::Result<(bool, bool)> {
    let watched = |fd: Option<_>| fd.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let (out, err) = (watched(out.map(AsFd::as_fd)), watched(err.map(AsFd::as_fd)));
    let has_out = out.is_some();
    let mut fds: Vec<PollFd> = out.into_iter().chain(err).collect();
    // Rounded up, otherwise the last round would spin.
    let ms = left.as_millis().saturating_add(1);
    let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut events = fds
        .iter()
        .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
    let out_ready = has_out && events.next().unwrap_or_default();
    Ok((out_ready, events.next().unwrap_or_default()))
}

fn take<R: Read>(stream: &mut Option<R>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let Some(open) = stream else { return Ok(()) };
    match open.read(&mut buffer) {
        Ok(0) => *stream = None,
        Ok(length) => into.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh() -> Program {
        Program::find(&["/nonexistent", "/bin/sh"]).unwrap()
    }

    #[test]
    fn the_first_program_that_is_there_is_found() {
        assert_eq!(sh().path(), Path::new("/bin/sh"));
        assert_eq!(Program::find(&["/nonexistent", "/etc/passwd"]), None);
    }

    #[test]
    fn both_streams_and_the_status_are_kept() {
        let output = sh().run(&["-c", "echo out; echo err >&2; exit 7"]).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
        assert_eq!(sh().ask(&["-c", "echo out"]).unwrap(), b"out\n");
    }

    #[test]
    fn nothing_of_our_environment_is_passed_on() {
        let output = sh()
            .ask(&["-c", "env | sort | cut -d= -f1; pwd; cat"])
            .unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "LC_ALL\nPATH\nPWD\n/\n");
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = sh()
            .ask(&["-c", "printf 'no\\033[2J\\n' >&2; exit 3"])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "'/bin/sh' failed (exit status: 3): no\\x1b[2J"
        );
    }

    #[test]
    fn one_that_writes_too_much_is_ended() {
        let error = sh().run(&["-c", "exec cat /dev/zero"]).unwrap_err();
        assert!(matches!(error, ProgramError::Large(_)), "{error}");
    }

    #[test]
    fn a_line_is_enough() {
        let line = sh().line(&["-c", "echo a; exec sleep 60"]).unwrap();
        assert_eq!(line, b"a\n");
        assert_eq!(sh().line(&["-c", "printf b"]).unwrap(), b"b");
    }

    #[test]
    fn one_stream_may_end_before_the_other() {
        let output = sh().run(&["-c", "exec 1>&-; echo late >&2"]).unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b""[..], &b"late\n"[..])
        );
        let output = sh().run(&["-c", "exec 2>&-; echo late"]).unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"late\n"[..], &b""[..])
        );
    }
}
