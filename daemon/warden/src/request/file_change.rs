//! Changes of files: what a plan may not change, whoever approves it, and what an undo puts back.
//! **Invariant:** what is checked is what `remit-commit` gets: the decoded bytes are those of the sealed standard input.

mod kept;

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use remit_approval::UNDOES;
use remit_common::calendar::utc;
use remit_common::changed;
use remit_common::refusal::{Code, Refusal};
use remit_plan::{
    BeforeUndo, Bundle, ENTRIES, Entry, Extent, FoundDirectory, Journal, Metadata, New, OwnNames,
    Phase, PlanPath, Protected, TABLE_BYTES, UndoPage, View, is_of_accounts, sha256,
};
use remit_policy::model::command::CONTENTS_WORD;
use remit_policy::{Command, CommitUse, Stdin, Terms};

use crate::event_loop::timers;
use crate::request::Call;
use kept::KeptFile;

pub fn check(call: &Call, command: Option<&Command>, protected: &Protected) -> Result<(), Refusal> {
    if command.is_none_or(|command| command.stdin != Stdin::Plan) {
        let size = call.stdin.as_ref().map_or(0, |part| part.size);
        return remit_policy::check_stdin_size(size);
    }
    let wrong = |why: &str| {
        let text = format!("standard input is not a plan: {why}");
        Refusal::new(Code::InvalidArgs, text)
            .object("stdin")
            .next("give the whole output of the command plan.make")
    };
    match call.file_change() {
        None if command.is_some_and(Command::checks_plans) && call.stdin().is_none() => Ok(()),
        None => Err(wrong("there is none")),
        Some(Err(why)) => Err(wrong(why)),
        Some(Ok(bundle)) => recheck(bundle, protected),
    }
}

pub fn recheck(bundle: &Bundle, protected: &Protected) -> Result<(), Refusal> {
    check_views(bundle.views(), protected)
}

fn check_views<'a>(
    mut views: impl Iterator<Item = View<'a>>,
    protected: &Protected,
) -> Result<(), Refusal> {
    let refused = views.find_map(|view| Some((&view.entry.path, protected.refuses(&view)?)));
    refused.map_or(Ok(()), |(path, why)| Err(never(path, why)))
}

fn never(path: &PlanPath, why: &str) -> Refusal {
    let text = format!("no plan can change '{path}': {why}");
    Refusal::new(Code::DeniedRule, text)
        .object(path.to_string())
        .next("leave it out of the plan; root can change it without remit")
}

pub fn open_journal(directory: &Path, id: &str) -> io::Result<File> {
    File::open(directory.join(id).join("journal"))
}

fn read_journal(directory: &Path, id: &str) -> io::Result<Journal> {
    let (file, mut bytes) = (open_journal(directory, id)?, Vec::new());
    file.take(Journal::MOST as u64 + 1)
        .read_to_end(&mut bytes)?;
    Journal::decode(&bytes).map_err(|error| io::Error::other(error.to_string()))
}

/// Returns where a commit has changed something, by its journal: without one, nowhere.
pub fn extent(directory: &Path, id: &str) -> Extent {
    match read_journal(directory, id) {
        Ok(journal) => Extent::new(&journal.plan),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Extent::none(),
        Err(_) => Extent::Everywhere,
    }
}

/// Reads the journal of a commit that can be undone. Fails for an id that is none: it is part of a path.
fn kept_journal(directory: &Path, id: &str) -> Result<Journal, String> {
    let none = |why: String| format!("there is no commit with this id that can be undone: {why}");
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none("an id has 32 hexadecimal digits".to_owned()));
    }
    let journal = read_journal(directory, id).map_err(|error| {
        none(match error.kind() {
            io::ErrorKind::NotFound => {
                "it was undone, was never committed, or its undo is not kept any more".to_owned()
            }
            _ => error.to_string(),
        })
    })?;
    match journal.phase {
        Phase::Kept => Ok(journal),
        _ => Err(none("it is not done, or not kept any more".to_owned())),
    }
}

/// Returns the paths that a commit changed, by its journal. None if it cannot be undone.
pub fn changed_paths(directory: &Path, id: &str) -> Vec<PlanPath> {
    let Ok(journal) = kept_journal(directory, id) else {
        return Vec::new();
    };
    let entries = journal.plan.entries().iter();
    entries.map(|entry| entry.path.clone()).collect()
}

/// The commit that a command undoes, and what decides whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    directory: PathBuf,
    id: String,
    /// `paths` of each rule that allows it.
    allowed: Vec<Vec<PlanPath>>,
    protected: Rc<Protected>,
    /// New directories go with all that is in them.
    with_contents: bool,
}

impl Undo {
    pub fn from_argv(argv: &[CString], terms: &Terms, protected: &Rc<Protected>) -> Option<Self> {
        let used = terms.command()?.commit_use()?;
        let id = argv.get(3).filter(|_| used == CommitUse::Undo)?;
        Some(Self {
            directory: terms.command()?.commit_directory()?.into(),
            id: id.to_str().ok()?.to_owned(),
            allowed: terms.undo_paths().to_vec(),
            protected: Rc::clone(protected),
            with_contents: argv
                .get(4)
                .is_some_and(|word| word.to_bytes() == CONTENTS_WORD.as_bytes()),
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns which commit it is, and what it puts back. Reads the journal, so a child does it.
    pub fn page(&self) -> Result<UndoPage, String> {
        let journal = self.journal()?;
        self.judge(&journal)?;
        let mut page = journal.plan.undo_page(&Machine::new(self, &journal));
        page.lines.insert(0, self.head());
        Ok(page)
    }

    /// Names the commit. Its journal was made when it began, and what an undo writes to it changes no such time.
    fn head(&self) -> String {
        let journal = open_journal(&self.directory, &self.id);
        let made = journal.and_then(|journal| journal.metadata()?.created());
        let made = made
            .ok()
            .and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let time = made.map_or_else(String::new, |made| {
            format!(" of {}", utc(timers::millis(made)))
        });
        format!("{UNDOES}commit {}{time}", self.id)
    }

    /// Returns the paths that it changes, encoded. Reads the journal, too.
    pub fn changed(&self) -> Result<Vec<u8>, String> {
        Ok(changed::encode(&self.journal()?.plan.changed_by_undo()))
    }

    /// Returns what the undo does with each path, with the bytes that it puts back, up to as many of one file and of all.
    pub fn put_back(&self, most: usize, all: usize) -> Result<Vec<PutBack>, String> {
        let journal = self.journal()?;
        let entries = journal.plan.entries().iter().enumerate();
        let mut left = all;
        let entries = entries.map(|(at, entry)| {
            let kept = || self.kept(entry, at);
            let entry = entry.reversed();
            let bytes = match entry.change.makes() {
                Some(New::Link(_)) => kept().and_then(|kept| kept.target()),
                Some(New::File(_)) => kept().and_then(|kept| kept.read(most.min(left))),
                Some(New::Directory) | None => None,
            };
            left = left.saturating_sub(bytes.as_ref().map_or(0, Vec::len));
            (entry, bytes)
        });
        Ok(entries.collect())
    }

    /// Fails if other paths or accounts are protected now than [`Undo::page`] judges by.
    pub fn check_protected(&self, live: &Protected) -> Result<(), Refusal> {
        if *self.protected == *live {
            return Ok(());
        }
        let text = "what no undo may change is not the same any more as when it was asked for: an approver, or a home or group \
                    of one, is new or gone";
        Err(Refusal::new(Code::ApprovalVoid, text).next("ask again"))
    }

    /// Returns where it changes something. Reads the journal, too.
    pub fn extent(&self) -> Extent {
        extent(&self.directory, &self.id)
    }

    /// Reads the journal of the commit, so a child does it. Fails if it cannot be undone.
    pub fn journal(&self) -> Result<Journal, String> {
        kept_journal(&self.directory, &self.id)
    }

    /// Opens what `remit-commit` keeps of the path of an entry.
    fn kept(&self, entry: &Entry, at: usize) -> Option<KeptFile> {
        let old = entry.change.base()?.stat;
        KeptFile::open(&self.directory, &self.id, (&entry.path, at), old)
    }

    /// Reads a file of accounts as it is, and as the undo makes it again. `None` if one of them is another one than the
    /// commit left: then the undo is refused, too.
    fn accounts(&self, journal: &Journal, at: usize) -> Option<[Vec<u8>; 2]> {
        let entry = journal.plan.entries().get(at)?;
        let path = Path::new(OsStr::from_bytes(entry.path.as_bytes()));
        let now = match entry.change.makes() {
            Some(New::File(content)) => {
                let (mut now, file) = (Vec::new(), File::open(path).ok()?);
                let mut some = file.take(TABLE_BYTES as u64 + 1);
                some.read_to_end(&mut now).ok()?;
                (sha256(&now) == content.sha256).then_some(now)?
            }
            _ => Vec::new(),
        };
        let again = match entry.change.base() {
            Some(base) => {
                let again = self.kept(entry, at)?.read(TABLE_BYTES)?;
                // The plan of a copy has no hash of a table of passwords, and only root may write what is kept.
                let old = base.sha256.or(journal.hashes.get(at).copied().flatten());
                let is_old = old.is_none_or(|old| old == sha256(&again));
                is_old.then_some(again)?
            }
            None => Vec::new(),
        };
        Some([now, again])
    }

    /// Checks its paths, and the lines of files of accounts. Other bytes are not here.
    fn judge(&self, journal: &Journal) -> Result<(), String> {
        let plan = &journal.plan;
        let mut rules = self.allowed.iter();
        if !rules.any(|paths| plan.outside(paths).is_none()) {
            return Err(
                "it changed paths that are not in 'paths' of a rule that allows the undo"
                    .to_owned(),
            );
        }
        let entries = plan.entries().iter().enumerate();
        let read = entries.map(|(at, entry)| {
            let is_read = is_of_accounts(entry.path.as_bytes());
            let lines = is_read.then(|| self.accounts(journal, at)).flatten();
            (entry.reversed(), lines)
        });
        let read: Vec<_> = read.collect();
        let views = read.iter().map(|(entry, lines)| View {
            entry,
            old: lines.as_ref().map(|[now, _]| now.as_slice()),
            new: lines.as_ref().map(|[_, again]| again.as_slice()),
        });
        check_views(views, &self.protected).map_err(|refusal| refusal.message)?;
        // A directory above crontabs goes without them otherwise.
        let mut entries = plan.entries().iter();
        let holds_protected = |entry: &&Entry| self.protected.paths.has_beneath(&entry.path);
        match entries.find(|entry| self.with_contents && holds_protected(entry)) {
            Some(entry) => Err(format!(
                "'{}' does not go with its contents: remit, or somebody who approves, has files beneath it",
                entry.path
            )),
            None => Ok(()),
        }
    }
}

/// An entry as its undo changes the path, with the bytes that are there again, if they are at hand.
type PutBack = (Entry, Option<Vec<u8>>);

/// The machine as an undo finds it.
struct Machine<'a> {
    undo: &'a Undo,
    journal: &'a Journal,
    own: OwnNames<'a>,
}

impl<'a> Machine<'a> {
    fn new(undo: &'a Undo, journal: &'a Journal) -> Self {
        Self {
            undo,
            journal,
            own: OwnNames::new(journal.plan.entries().iter().enumerate()),
        }
    }

    fn path(&self, at: usize) -> Option<&Path> {
        let entry = self.journal.plan.entries().get(at)?;
        Some(Path::new(OsStr::from_bytes(entry.path.as_bytes())))
    }
}

impl BeforeUndo for Machine<'_> {
    /// The old link is where `remit-commit` keeps it.
    fn link_target(&self, at: usize, is_old: bool) -> Option<Vec<u8>> {
        if is_old {
            let entry = self.journal.plan.entries().get(at)?;
            return self.undo.kept(entry, at)?.target();
        }
        let link = fs::read_link(self.path(at)?).ok()?;
        Some(link.into_os_string().into_vec())
    }

    fn directory(&self, at: usize) -> Option<FoundDirectory> {
        let path = self.path(at)?;
        let found = fs::symlink_metadata(path).ok()?;
        let is_own = found.is_dir() && self.journal.inodes.get(at) == Some(&found.ino());
        let names = is_own.then(|| fs::read_dir(path).ok()).flatten()?;
        let is_of_others = |name: &OsStr| {
            let at = self.own.at(path.as_os_str().as_bytes(), name.as_bytes());
            at.is_none_or(|at| {
                let now = fs::symlink_metadata(path.join(name));
                now.is_ok_and(|now| self.journal.inodes.get(at) != Some(&now.ino()))
            })
        };
        // A plan makes no more names than this.
        let names = names.take(ENTRIES + 1).flatten();
        let others = names
            .filter(|found| is_of_others(&found.file_name()))
            .count();
        let meta = Metadata {
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
        };
        Some(FoundDirectory { others, meta })
    }

    fn accounts(&self, at: usize) -> Option<[Vec<u8>; 2]> {
        self.undo.accounts(self.journal, at)
    }

    fn with_contents(&self) -> bool {
        self.undo.with_contents
    }
}

#[cfg(test)]
mod tests;
