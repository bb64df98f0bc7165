//! What a run would read of files, and who its requester is, as both are now.
//!
//! Looked at by a forked child, which may wait for a disk or a directory service: before somebody is
//! asked, and again before what was approved starts. Just before the exec the sandbox looks a third time.

mod argument;
mod does;
mod eyes;
mod file;
mod program;

pub use does::asking;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_confine::{Answer, Measured, PathIs, in_child_with};
use remit_link::memfd;
use serde::{Deserialize, Serialize};

use crate::error::chain;
use crate::people::{People, Question};

/// For a measuring to end. Then it is dropped, which ends its child.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The argument vector; the first is the program.
    pub argv: Vec<Word>,
    /// Where a program without a slash is looked up.
    pub path: Vec<CString>,
    /// Where relative names in what the requester wrote begin.
    pub cwd: CString,
    /// Whether the requester named the program, not the policy.
    pub chosen: bool,
    /// The argument vector that says what the change would do.
    pub describe: Option<Vec<CString>>,
    /// Whose rights path arguments are opened with.
    pub eyes: Eyes,
    /// Of the requester.
    pub uid: u32,
    /// The requester, and who approves where somebody does.
    pub people: Question,
}

/// An element of an argument vector, by what it means for files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The policy's own, or the program.
    Literal(CString),
    /// The requester's text, which may name a file.
    Text(CString),
    /// A path argument.
    Path {
        /// Absolute.
        path: CString,
        /// What must be there.
        is: PathIs,
        /// Whether the program gets a copy of it.
        copied: bool,
    },
    /// A secret, or a file that is copied already.
    Settled,
}

/// Rights to look at files with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eyes {
    /// All.
    Root,
    /// Those of a user in these groups.
    User {
        /// Its uid.
        uid: u32,
        /// Its first group.
        gid: u32,
        /// Its other groups.
        groups: Vec<u32>,
    },
}

/// How it is made sure that what was approved of a file is what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// Root alone can change it, and the job compares it once more just before its exec.
    Checked,
    /// Root alone can change it. Only the requester's text names it, so the job may use it or not.
    Seen,
    /// The job gets a sealed copy.
    Copied,
}

impl Held {
    /// As it stands in the digest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Seen => "seen",
            Self::Copied => "copied",
        }
    }
}

/// A file as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFound {
    /// `program`, `interpreter` or `argument 2`.
    pub what: String,
    /// What keeps it as it is.
    pub held: Held,
    /// What identifies it; by the name under which it is executed or given.
    #[serde(with = "MeasuredAs")]
    pub measured: Measured,
    /// Its name with links resolved, for people.
    pub real: CString,
}

/// Files as they were when somebody was asked to approve them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsFound {
    /// The program first.
    pub files: Vec<FileFound>,
    /// What the arguments name without that its content is bound, a sentence each.
    pub loose: Vec<String>,
    /// What the change would do, a line each, where its program says it.
    pub does: Vec<String>,
}

impl AsFound {
    /// Those that the job compares once more just before its exec.
    pub fn checked(&self) -> Vec<Measured> {
        let checked = self.files.iter().filter(|file| file.held == Held::Checked);
        checked.map(|file| file.measured.clone()).collect()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The program first.
    pub files: Vec<FileFound>,
    /// What the change would do, a line each, where its program says it.
    pub does: Vec<String>,
    /// What the arguments name without that its content is bound, a sentence each.
    pub loose: Vec<String>,
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
    copies: Copies,
    /// When nobody waits for it any longer.
    pub end: Instant,
}

/// Memory files that the child fills, with the number of the argument that each is for.
pub type Copies = Vec<(usize, OwnedFd)>;

impl Measuring {
    /// Forks the child.
    ///
    /// # Errors
    /// It cannot be forked, or no descriptor is left.
    pub fn start(wanted: &Wanted) -> Result<Self, String> {
        let numbered = wanted.argv.iter().enumerate();
        let copied = numbered.filter(|(_, word)| matches!(word, Word::Path { copied: true, .. }));
        let copies = copied
            .map(|(at, _)| Ok((at, memfd::empty(c"file")?)))
            .collect::<std::io::Result<Copies>>()
            .map_err(|error| format!("no memory file for a copy: {error}"))?;
        let files: Vec<_> = copies.iter().map(|(_, file)| file.as_fd()).collect();
        let answer = in_child_with(&files, |files| {
            let found = Found::of(wanted, files);
            postcard::to_extend(&found, Vec::new()).unwrap_or_default()
        });
        Ok(Self {
            answer: answer.map_err(|error| chain(&error))?,
            copies,
            end: Instant::now() + PATIENCE,
        })
    }

    /// The sealed copies of those files that were found to be copied.
    ///
    /// # Errors
    /// The child has not sealed one.
    pub fn into_copies(self, files: &[FileFound]) -> Result<Copies, String> {
        let is_copied = |at: usize| {
            let name = argument::name(at);
            files
                .iter()
                .any(|file| file.held == Held::Copied && file.what == name)
        };
        let copies = self.copies.into_iter().filter(|(at, _)| is_copied(*at));
        let copies: Copies = copies.collect();
        for (at, copy) in &copies {
            memfd::check(copy, caps::COPIED_FILE)
                .map_err(|error| format!("{} was not copied: {error}", argument::name(*at)))?;
        }
        Ok(copies)
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
    /// Measures, and may wait. `copies`: where files are copied to, one for each argument for which that is wanted.
    fn of(wanted: &Wanted, copies: &[BorrowedFd<'_>]) -> Result<Self, String> {
        let requester = Eyes::alone(wanted.uid);
        let Some(Word::Literal(program) | Word::Text(program)) = wanted.argv.first() else {
            return Err("no program is named".to_owned());
        };
        let mut files = match wanted.chosen {
            true => requester.look(|| program::measure(program, &wanted.path))?,
            false => program::measure(program, &wanted.path)?,
        };
        let mut loose = Vec::new();
        let mut copies = copies.iter();
        for (at, word) in wanted.argv.iter().enumerate().skip(1) {
            let name = argument::name(at);
            match word {
                Word::Literal(path) => files.extend(file::of_argument(&name, path)?),
                Word::Text(text) => {
                    let named = requester.look(|| argument::of_text(&name, text, &wanted.cwd))?;
                    named.add(&mut files, &mut loose);
                }
                Word::Path { path, is, copied } => {
                    let copy = copied.then(|| copies.next()).flatten();
                    let named = wanted
                        .eyes
                        .look(|| argument::of_path(&name, path, *is, copy.copied()))?;
                    named.add(&mut files, &mut loose);
                }
                Word::Settled => {}
            }
        }
        Ok(Self {
            files,
            does: does::ask(wanted.describe.as_deref())?,
            loose,
            people: People::look_up(&wanted.people),
        })
    }
}

#[cfg(test)]
mod tests;
