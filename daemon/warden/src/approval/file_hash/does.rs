//! Asks the package's own program what a change would do: an approver sees a unit's name, and the unit's files say what
//! it executes. The lines that `remit-act describe` prints are part of what is approved. It runs as root, as in its
//! job, and changes nothing: no other user can trace it and forge its output.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::text;
use remit_link::memfd;

const NAME: &str = "remit-act";
/// Programs of the package that do only what their arguments and their input say.
const OWN: [&str; 2] = [NAME, "remit-commit"];
const PACKAGED: &str = "/usr/libexec/remit";
const DESCRIBED: [&[u8]; 4] = [b"unit", b"units", b"package", b"reboot"];
/// Of these with the paths of a change of files before.
const OF_UNITS: [&[u8]; 2] = [b"unit", b"units"];
const LINES: usize = 64 << 10;
const REFUSAL: usize = 2 << 10;
/// Shorter than the time limit for measuring, so a refusal names this program and not a disk.
const PATIENCE: Duration = Duration::from_secs(8);

pub fn asking(argv: &[CString]) -> Option<Vec<CString>> {
    let (program, words) = argv.split_first()?;
    let kind = words.first()?.to_bytes();
    (is_packaged(program, NAME) && DESCRIBED.contains(&kind)).then(|| {
        let describe = [program.clone(), c"describe".to_owned()];
        describe.into_iter().chain(words.iter().cloned()).collect()
    })
}

/// The same for a command that follows a change of files: of units it describes with the paths of that.
pub fn asking_after(argv: &[CString]) -> Option<Vec<CString>> {
    let mut words = asking(argv)?;
    if words
        .get(2)
        .is_some_and(|kind| OF_UNITS.contains(&kind.to_bytes()))
    {
        words.insert(2, c"--changed".to_owned());
    }
    Some(words)
}

pub fn is_own_program(program: &CStr) -> bool {
    OWN.into_iter().any(|name| is_packaged(program, name))
}

fn is_packaged(program: &CStr, name: &str) -> bool {
    let program = Path::new(OsStr::from_bytes(program.to_bytes()));
    let own = std::env::current_exe().ok();
    let beside = own.map(|own| own.with_file_name(name));
    program == Path::new(PACKAGED).join(name) || beside.as_deref() == Some(program)
}

/// Runs it with this standard input, and waits. It stays in the process group of the measuring child, and ends with it.
pub fn ask(argv: Option<&[CString]>, input: Option<&[u8]>) -> Result<Vec<String>, String> {
    ask_within(argv, input, PATIENCE)
}

fn ask_within(
    argv: Option<&[CString]>,
    input: Option<&[u8]>,
    patience: Duration,
) -> Result<Vec<String>, String> {
    let Some((program, words)) = argv.and_then(<[CString]>::split_first) else {
        return Ok(Vec::new());
    };
    let cannot = |why: String| format!("cannot show what it would do: {why}");
    let failed = |error: io::Error| cannot(format!("'{NAME}': {error}"));
    let os = |text: &CString| OsStr::from_bytes(text.to_bytes()).to_owned();
    let stdin = match input {
        Some(bytes) => memfd::seal(c"changed", bytes).map_err(failed)?.into(),
        None => Stdio::null(),
    };
    let end = Instant::now() + patience;
    let mut child = Command::new(os(program))
        .args(words.iter().map(os))
        .env_clear()
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let Some((said, refusal)) = output(&mut child, end).map_err(failed)? else {
        let words: Vec<&[u8]> = words.iter().map(|word| word.to_bytes()).collect();
        let asked = text::line(&words.join(&b' '), 200);
        return Err(cannot(format!(
            "'{NAME} {asked}' did not end within {} s: the service it asks is slow or waits for a lock; ask again later",
            patience.as_secs()
        )));
    };
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        let why = text::line(refusal.trim_ascii(), 1000);
        let why = why.strip_prefix("remit-act: ").unwrap_or(&why);
        return Err(cannot(match why {
            "" => format!("'{NAME}' ended with {status}"),
            why => why.to_owned(),
        }));
    }
    lines(&said).ok_or_else(|| cannot(format!("'{NAME}' gave no lines of text")))
}

/// Reads stdout and stderr until both are closed. Returns `None` if this takes too long; the child is killed.
fn output(child: &mut Child, end: Instant) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut out = Stream::new(child.stdout.take().map(OwnedFd::from), LINES + 1);
    let mut err = Stream::new(child.stderr.take().map(OwnedFd::from), REFUSAL);
    while out.is_open() || err.is_open() {
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let both = [&out, &err];
        let mut ready: Vec<PollFd<'_>> = both.iter().filter_map(|one| one.waited()).collect();
        match poll(&mut ready, left) {
            Ok(0) => {
                child.kill()?;
                return Ok(None);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        out.read()?;
        err.read()?;
    }
    Ok(Some((out.said, err.said)))
}

struct Stream {
    file: Option<File>,
    most: usize,
    said: Vec<u8>,
}

impl Stream {
    fn new(fd: Option<OwnedFd>, most: usize) -> Self {
        Self {
            file: fd.map(File::from),
            most,
            said: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn waited(&self) -> Option<PollFd<'_>> {
        let file = self.file.as_ref()?;
        Some(PollFd::new(file.as_fd(), PollFlags::POLLIN))
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref() else {
            return Ok(());
        };
        let mut now = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut now, PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        let mut buf = [0; 4 << 10];
        let n = file.read(&mut buf)?;
        let left = self.most - self.said.len();
        self.said.extend(buf.iter().take(n.min(left)));
        if n == 0 || self.said.len() == self.most {
            self.file = None;
        }
        Ok(())
    }
}

fn lines(said: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(said).ok();
    let text = text.filter(|text| text.len() <= LINES && text.ends_with('\n'))?;
    Some(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<CString> {
        words
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect()
    }

    #[test]
    fn only_the_packages_program_is_asked() {
        let packaged = "/usr/libexec/remit/remit-act";
        let commit = "/usr/libexec/remit/remit-commit";
        assert!(is_own_program(&CString::new(commit).unwrap()));
        assert!(!is_own_program(c"/srv/remit-commit"));
        assert_eq!(
            asking(&argv(&[packaged, "unit", "stop", "a.service"])),
            Some(argv(&[packaged, "describe", "unit", "stop", "a.service"]))
        );
        for (kind, after) in [
            ("unit", &["describe", "--changed", "unit"][..]),
            ("units", &["describe", "--changed", "units"]),
            ("package", &["describe", "package"]),
            ("reboot", &["describe", "reboot"]),
        ] {
            let expect = argv(&[&[packaged], after].concat());
            assert_eq!(asking_after(&argv(&[packaged, kind])), Some(expect));
        }
        for words in [
            &["/srv/remit-act", "unit", "stop", "a.service"][..],
            &["/usr/libexec/remit/../remit/remit-act", "unit"],
            &[packaged, "container", "stop", "a"],
            &[packaged, "describe", "unit"],
            &[commit, "unit", "stop", "a.service"],
            &[packaged],
            &[],
        ] {
            assert_eq!(asking(&argv(words)), None, "{words:?}");
        }
    }

    #[test]
    fn lines_are_whole_and_bounded() {
        assert_eq!(
            lines(b"a\nb c\n"),
            Some(vec!["a".to_owned(), "b c".to_owned()])
        );
        let long = "x\n".repeat(LINES);
        for said in [&b""[..], b"a\nb", b"\xff\n", long.as_bytes()] {
            assert_eq!(lines(said), None);
        }
    }

    #[test]
    fn q07_refusal_names_the_command_that_is_slow() {
        let slow = argv(&["/bin/sh", "-c", "exec sleep 300", "package install x"]);
        let why = ask_within(Some(&slow), None, Duration::from_millis(50)).unwrap_err();
        assert!(
            why.contains("package install x' did not end within"),
            "{why}"
        );
        assert!(!why.contains("disk"), "{why}");
    }

    #[test]
    fn both_output_streams_are_read_to_bounds() {
        let both = argv(&["/bin/sh", "-c", "echo a; echo no >&2; exit 2"]);
        let why = ask(Some(&both), None).unwrap_err();
        assert_eq!(why, "cannot show what it would do: no");
        let much = argv(&["/bin/sh", "-c", "head -c 100000 /dev/zero >&2; echo b"]);
        let status = ask(Some(&much), None);
        assert!(status.is_err() || status == Ok(vec!["b".to_owned()]));
        assert_eq!(
            ask(Some(&argv(&["/bin/echo", "b"])), None),
            Ok(vec!["b".to_owned()])
        );
        let cat = argv(&["/bin/cat"]);
        let read = ask(Some(&cat), Some(b"changed\n"));
        assert_eq!(read, Ok(vec!["changed".to_owned()]));
        assert_eq!(ask(None, None), Ok(Vec::new()));
    }
}
