//! Finds what a run would read of files, and who its requester is, as both are now. A forked child looks before an
//! approver is asked, and again before an approved job starts, because it may wait for a disk or a directory service.
//! The sandbox looks a third time just before the exec.

mod does;
mod file;
mod names;
mod outdated;
mod reader;
mod unmeasured;
mod word;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use remit_approval::{FileBinding, Loose, Unbound, name_of_argument};
use remit_common::caps;
use remit_link::memfd;
use remit_policy::PathIs;
use remit_spawn::Measured;
use remit_sys::{Answer, in_child_with};
use serde::{Deserialize, Serialize};

use crate::approval::accepted::{AcceptedSignatures, SignaturesNow};
use crate::approval::opens::{Opens, OpensAsked, OpensWanted};
use crate::approval::signature::{SignatureWanted, VerifiedSignature};
use crate::identity::accounts::{People, Question};
use crate::request::file_change::Undo;
use crate::startup::error::chain;
pub use does::{asking, asking_after, is_own_program};
pub use reader::ReaderIdentity;
pub use unmeasured::{Measurement, Unmeasured, late};
pub use word::is_as_copied;

/// Time limit of the child. After it, the [`Measuring`] is dropped, which ends the child.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub argv: Vec<Word>,
    pub path: Vec<CString>,
    pub cwd: CString,
    /// True if the requester, not the policy, named the program and the working directory.
    pub chosen: bool,
    /// Binding of files that text of the requester names. Without a sandbox the job has the same files under these names.
    pub text_files: FileBinding,
    pub describe: Option<Vec<CString>>,
    pub undo: Option<Undo>,
    /// Of each command that follows: what it runs, and what describes that.
    pub acts: Vec<(String, Option<Vec<CString>>)>,
    /// The paths that the commit before them changes. Those of an undo are in its journal.
    pub changed: Option<Vec<u8>>,
    pub reader: ReaderIdentity,
    pub uid: u32,
    pub people: Question,
    /// The signature of an approver.
    pub signature: Option<SignatureWanted>,
    /// Those of earlier approvals.
    pub accepted: Option<AcceptedSignatures>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Text of the policy, or the program.
    Literal(CString),
    /// Text of the requester, which may name a file.
    Text(CString),
    Path {
        /// Absolute.
        path: CString,
        is: PathIs,
        /// The program gets a copy of it.
        copied: bool,
    },
    /// A secret, a file that is already copied, or the script.
    Settled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileFound {
    /// `program`, `interpreter` or `argument 2`.
    pub what: String,
    pub held: FileBinding,
    /// Its identity, by the name that is executed or passed.
    pub measured: Measured,
    /// Its path with links resolved, for display.
    pub real: CString,
}

/// Files as they were when an approver was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsFound {
    pub files: Vec<FileFound>,
    /// Names whose content is not bound.
    pub loose: BTreeSet<Loose>,
    /// What the change would do, by line, if its program describes it.
    pub does: Vec<String>,
    /// Which ways to root it opens. It is not asked again when it is approved.
    pub opens: Opens,
    /// The directories that an undo leaves.
    pub stays: Option<String>,
}

impl AsFound {
    /// Bytes that it keeps in memory.
    pub fn held(&self) -> usize {
        let file = |file: &FileFound| {
            let names = [file.measured.path.count_bytes(), file.real.count_bytes()];
            size_of::<FileFound>() + file.what.len() + names.iter().sum::<usize>()
        };
        let files: usize = self.files.iter().map(file).sum();
        let does: usize = self
            .does
            .iter()
            .map(|line| size_of::<String>() + line.len())
            .sum();
        let stays = self.stays.as_ref().map_or(0, String::len);
        files + does + self.opens.held() + stays + self.loose.len() * size_of::<Loose>()
    }

    pub fn checked(&self) -> Vec<Measured> {
        let checked = self
            .files
            .iter()
            .filter(|file| file.held == FileBinding::Checked);
        checked.map(|file| file.measured.clone()).collect()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredFiles {
    pub found: AsFound,
    pub people: People,
    /// `None`: none was wanted.
    pub signature: Option<Result<Box<VerifiedSignature>, String>>,
    /// Those of earlier approvals.
    pub signatures: SignaturesNow,
}

/// Dropping it ends the child.
#[derive(Debug)]
pub struct Measuring {
    answer: Answer,
    copies: Copies,
    pub end: Instant,
}

pub type Copies = Vec<(usize, OwnedFd)>;

impl Measuring {
    pub fn start(wanted: &Wanted, opens: Option<&OpensWanted<'_>>) -> Result<Self, String> {
        let numbered = wanted.argv.iter().enumerate();
        let copied = numbered.filter(|(_, word)| matches!(word, Word::Path { copied: true, .. }));
        let copies = copied
            .map(|(at, _)| Ok((at, memfd::empty(c"file")?)))
            .collect::<std::io::Result<Copies>>()
            .map_err(|error| format!("no memory file for a copy: {error}"))?;
        Self::in_child(copies, |files| MeasuredFiles::of(wanted, opens, files))
    }

    /// Looks people and `keys` up again, and at no other file. Fails if nothing can be forked.
    pub fn of_people(people: &Question, keys: Option<&AcceptedSignatures>) -> Result<Self, String> {
        Self::in_child(Copies::new(), |_| {
            Ok(MeasuredFiles {
                signatures: keys.map(AcceptedSignatures::now).unwrap_or_default(),
                people: People::look_up(people),
                ..MeasuredFiles::default()
            })
        })
    }

    fn in_child(
        copies: Copies,
        measure: impl FnOnce(&[BorrowedFd<'_>]) -> Measurement,
    ) -> Result<Self, String> {
        let files: Vec<_> = copies.iter().map(|(_, file)| file.as_fd()).collect();
        let answer = in_child_with(&files, |files| {
            postcard::to_extend(&measure(files), Vec::new()).unwrap_or_default()
        });
        Ok(Self {
            answer: answer.map_err(|error| chain(&error))?,
            copies,
            end: Instant::now() + PATIENCE,
        })
    }

    /// Returns the sealed copies. Fails if the child has not sealed one.
    pub fn into_copies(self, files: &[FileFound]) -> Result<Copies, String> {
        let is_copied = |at: usize| {
            let name = name_of_argument(at);
            files
                .iter()
                .any(|file| file.held == FileBinding::Copied && file.what == name)
        };
        let copies = self.copies.into_iter().filter(|(at, _)| is_copied(*at));
        let copies: Copies = copies.collect();
        for (at, copy) in &copies {
            memfd::check(copy, caps::COPIED_FILE)
                .map_err(|error| format!("{} was not copied: {error}", name_of_argument(*at)))?;
        }
        Ok(copies)
    }

    /// Readable when [`Measuring::read`] can continue.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.fd()
    }

    /// Returns what was found, or why it cannot be approved. `None`: not complete yet. Never blocks.
    pub fn read(&mut self) -> Option<Measurement> {
        match self.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(postcard::from_bytes::<Measurement>(&bytes).unwrap_or_else(
                |_| {
                    let why = "the child that hashes files died";
                    Err(Unmeasured::Failed(why.to_owned()))
                },
            )),
            Err(error) => Some(Err(Unmeasured::Failed(chain(&error)))),
        }
    }
}

impl MeasuredFiles {
    /// Measures; may block. `copies` has a memory file for each argument that is copied, in order.
    fn of(
        wanted: &Wanted,
        opens: Option<&OpensWanted<'_>>,
        copies: &[BorrowedFd<'_>],
    ) -> Measurement {
        // First, with all rights: the verifier gets an identity of its own.
        let signature = wanted.signature.as_ref().map(SignatureWanted::verify);
        let signature = signature.map(|verified| verified.map(Box::new));
        let files_wanted = opens.and_then(|opens| opens.files);
        // It works while this child measures.
        let opens = opens.map(OpensWanted::ask);
        let accepted = wanted.accepted.as_ref();
        let signatures = accepted.map(AcceptedSignatures::now).unwrap_or_default();
        let requester = ReaderIdentity::alone(wanted.uid);
        let Some(Word::Literal(program) | Word::Text(program)) = wanted.argv.first() else {
            return Err("no program is named".to_owned().into());
        };
        let mut files = match wanted.chosen {
            true => requester.look(|| word::of_program(program, &wanted.path))?,
            false => word::of_program(program, &wanted.path)?,
        };
        let cwd = &wanted.cwd;
        let mut loose = BTreeSet::new();
        loose.extend(match wanted.chosen {
            true => requester.look(|| Ok(word::of_cwd(cwd)))?,
            false => word::of_cwd(cwd),
        });
        let mut copies = copies.iter();
        for (at, word) in wanted.argv.iter().enumerate().skip(1) {
            let named = match word {
                Word::Literal(text) => word::of_definition(at, text, cwd)?,
                Word::Text(text) => {
                    let held = wanted.text_files;
                    requester.look(|| Ok(word::of_requester(at, text, cwd, held)))?
                }
                Word::Path { path, is, copied } => {
                    let name = name_of_argument(at);
                    let copy = copied.then(|| copies.next()).flatten();
                    let look = || word::of_path(&name, path, *is, copy.copied());
                    let found = wanted.reader.look(look).map_err(|why| {
                        // The job may see more than its requester, who would learn of any file what it is.
                        match requester.look(|| Ok(word::can_open(path))) {
                            Ok(true) => why,
                            Ok(false) | Err(_) => word::undisclosed(&name, path, *is, *copied),
                        }
                    });
                    match found? {
                        word::PathArgument::File(file) => files.push(file),
                        word::PathArgument::Directory => {
                            loose.insert(Loose::Argument(at, Unbound::Directory));
                        }
                    }
                    continue;
                }
                Word::Settled => continue,
            };
            files.extend(named.files);
            loose.extend(named.loose);
        }
        let (mut does, stays) = match &wanted.undo {
            Some(undo) => undo.page().map(|page| (page.lines, page.stays))?,
            None => {
                let does = does::ask(wanted.describe.as_deref(), None);
                (does.map_err(Unmeasured::Failed)?, None)
            }
        };
        // Before an approver is asked. Later the commit or the undo itself says it.
        if let Some(files) = files_wanted {
            outdated::check(files, &requester)?;
        }
        let changed = match &wanted.undo {
            Some(undo) if !wanted.acts.is_empty() => Some(undo.changed()?),
            _ => wanted.changed.clone(),
        };
        for (line, describe) in &wanted.acts {
            does.push(line.clone());
            let more = does::ask(describe.as_deref(), changed.as_deref());
            does.extend(more.map_err(Unmeasured::Failed)?);
        }
        let people = People::look_up(&wanted.people);
        Ok(Self {
            found: AsFound {
                files,
                loose,
                does,
                opens: opens.map(OpensAsked::answer).unwrap_or_default(),
                stays,
            },
            people,
            signature,
            signatures,
        })
    }
}

#[cfg(test)]
mod tests;
