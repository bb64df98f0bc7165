//! What a run would read of files, and who its requester is, as both are now.
//!
//! Looked at by a forked child, which may wait for a disk or a directory service: before somebody is
//! asked, and again before what was approved starts. Just before the exec the sandbox looks a third time.

mod does;
mod eyes;
mod file;
mod program;

pub use does::asking;

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use remit_confine::{Answer, Measured, in_child};
use serde::{Deserialize, Serialize};

use crate::error::chain;
use crate::people::{People, Question};

/// For a measuring to end. Then it is dropped, which ends its child.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The argument vector; `None` where a caller's value stands. The first is always there.
    pub argv: Vec<Option<CString>>,
    /// Where a program without a slash is looked up.
    pub path: Vec<CString>,
    /// Whether the requester named the program, not the policy.
    pub chosen: bool,
    /// The argument vector that says what the change would do.
    pub describe: Option<Vec<CString>>,
    /// Of the requester.
    pub uid: u32,
    /// The requester, and who approves where somebody does.
    pub people: Question,
}

/// A file as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFound {
    /// `program`, `interpreter` or `argument 2`.
    pub what: String,
    /// What identifies it; by the name under which it is executed or given.
    #[serde(with = "MeasuredAs")]
    pub measured: Measured,
    /// Its name with links resolved, for people.
    pub real: CString,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The program first.
    pub files: Vec<FileFound>,
    /// What the change would do, a line each, where its program says it.
    pub does: Vec<String>,
    /// Who the people are now.
    pub people: People,
}

/// A [`Measured`] on its way out of the child.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Measured")]
struct MeasuredAs {
    path: CString,
    dev: u64,
    ino: u64,
    ctime_ns: i128,
    size: u64,
    sha256: [u8; 32],
}

/// A measuring under way. Dropped, its child ends.
#[derive(Debug)]
pub struct Measuring {
    answer: Answer,
    /// When nobody waits for it any longer.
    pub end: Instant,
}

impl Measuring {
    /// Forks the child.
    ///
    /// # Errors
    /// It cannot be forked.
    pub fn start(wanted: &Wanted) -> Result<Self, String> {
        let answer = in_child(|| {
            let found = Found::of(wanted);
            postcard::to_extend(&found, Vec::new()).unwrap_or_default()
        });
        Ok(Self {
            answer: answer.map_err(|error| chain(&error))?,
            end: Instant::now() + PATIENCE,
        })
    }

    /// Readable when [`Measuring::read`] gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.fd()
    }

    /// What was found, or why this cannot be approved. `None`: read again when readable. Never waits.
    pub fn read(&mut self) -> Option<Result<Found, String>> {
        match self.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(
                postcard::from_bytes::<Result<Found, String>>(&bytes)
                    .map_err(|_| "the child that measures files died".to_owned())
                    .and_then(|found| found),
            ),
            Err(error) => Some(Err(chain(&error))),
        }
    }
}

/// The child has had its time.
pub fn late() -> String {
    let seconds = PATIENCE.as_secs();
    format!("the files were not read in {seconds} s: a disk or a directory service does not answer")
}

impl Found {
    /// Measures, and may wait.
    fn of(wanted: &Wanted) -> Result<Self, String> {
        let program = wanted.argv.first().and_then(Option::as_ref);
        let program = program.ok_or("no program is named")?;
        let mut files = match wanted.chosen {
            true => eyes::of(wanted.uid, || program::measure(program, &wanted.path))?,
            false => program::measure(program, &wanted.path)?,
        };
        for (at, element) in wanted.argv.iter().enumerate().skip(1) {
            let Some(path) = element.as_ref() else {
                continue;
            };
            files.extend(file::of_argument(&format!("argument {at}"), path)?);
        }
        Ok(Self {
            files,
            does: does::ask(wanted.describe.as_deref())?,
            people: People::look_up(&wanted.people),
        })
    }
}

#[cfg(test)]
mod tests;
