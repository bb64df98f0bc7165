//! A commit: the order of its steps, and of what is on disk before the next one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::syncfs;
use remit_plan::Direction::{self, Commit};
use remit_plan::{Journal, PLAN_BYTES, Phase, Plan, PlanDirectories};
use remit_sys::sys;

use crate::confine;
use crate::disks;
use crate::failure::Failure;
use crate::journal::JournalFile;
use crate::lines::{PlanOfFiles, resolved};
use crate::locks::{self, NotLocked};
use crate::restore::{back, keep};
use crate::stage::{check, check_directories, stage};
use crate::tree::{Operation, Tree};
use crate::uploads::UploadDirectory;

#[derive(Debug)]
pub enum End {
    Done(String),
    /// The tree is as it was before.
    Nothing(String),
    /// Another process has the lock of the journals, so nothing was tried.
    Busy(String),
    /// Another process has a lock of tables that the plan changes, so nothing was tried.
    Locked(String),
    /// What somebody else has changed was left as it is. A recovery tries once more.
    Left(String),
    /// An error stopped the way back. A recovery tries again.
    Mixed(String),
    /// An error of the machine stopped a partial undo. Another one goes on.
    Unfinished(String),
    /// The tree is the old one or the new one, and the journal does not say which: a recovery has to finish it.
    Pending(String),
}

impl From<NotLocked> for End {
    fn from(why: NotLocked) -> Self {
        match why {
            NotLocked::Busy(why) => Self::Locked(why),
            NotLocked::Failed(why) => Self::Nothing(why),
        }
    }
}

/// Commits the plan of standard input. Its id is that of the plan, so a plan is committed once.
pub fn commit(state: &File, uploads: Option<&Path>, descriptors: usize) -> Result<End, String> {
    let input = input()?;
    let id = &input.0.id();
    // Before the tables are read.
    let _locks = match locks::take(&input.0) {
        Ok(locks) => locks,
        Err(why) => return Ok(why.into()),
    };
    let tree = Tree::open(descriptors).map_err(journal_error)?;
    let PlanOfFiles {
        plan,
        contents,
        start,
        read,
    } = resolved(&tree, input)?;
    let ranges = plan.ranges();
    let uploads = UploadDirectory::open(&plan, uploads)?;
    let mut operations = tree.operations(&plan, id)?;
    for operation in &mut operations {
        operation.sha256 = operation.sha256.or(read.get(&operation.at).copied());
    }
    restrict(state, &operations, uploads.directory())?;
    operations
        .iter_mut()
        .try_for_each(|operation| check(operation, Commit))?;
    check_directories(&operations, Commit)?;
    disks::check(&operations)?;
    forget_same(state, id)?;
    let mut directories = PlanDirectories::new();
    tree.note(&operations, &mut directories)
        .map_err(journal_error)?;
    let created = JournalFile::create(state, id, &plan, &directories);
    let (journal, rows_at) = created.map_err(journal_error)?;
    let (mut inodes, mut hashes) = (vec![0; ranges.len()], vec![None; ranges.len()]);
    let staged = (0..operations.len()).try_for_each(|at| {
        let Some(operation) = operations.get_mut(at) else {
            return Ok(());
        };
        let range = ranges.get(operation.at).cloned().unwrap_or_default();
        let made = match operation.entry.change.upload() {
            None => stage(operation, &contents, start + range.start..start + range.end)?,
            Some(upload) => {
                let (file, range) = uploads.bytes(operation.at, upload)?;
                stage(operation, &file, range)?
            }
        };
        if let Some(inode) = inodes.get_mut(operation.at) {
            *inode = operation.inode;
        }
        if let Some(hash) = hashes.get_mut(operation.at) {
            *hash = operation.sha256;
        }
        let path = operation.entry.path.as_bytes();
        if let Some(made) = made.map(Rc::new) {
            let beneath = operations
                .iter_mut()
                .filter(|other| other.entry.path.parent() == path);
            beneath.for_each(|other| other.parent = Some(Rc::clone(&made)));
        }
        Ok(())
    });
    let staged = staged.and_then(|()| {
        // New directories are there only now.
        tree.note(&operations, &mut directories)
            .map_err(journal_error)?;
        let rows = Journal::encode_rows(&plan, &inodes, &hashes, &directories);
        journal.set_rows(rows_at, &rows).map_err(journal_error)?;
        journal.set_phase(Phase::Applying).map_err(journal_error)?;
        sync(state, &operations)
    });
    if let Err(why) = staged {
        let lost = Vec::new();
        return Ok(back(state, &journal, &operations, false, why, lost));
    }
    if let Err(why) = make_all(state, &tree, &journal, &operations, Commit) {
        let lost = Vec::new();
        return Ok(back(state, &journal, &operations, true, why.into(), lost));
    }
    let changes = changes(operations.len());
    Ok(match keep(&journal, &operations) {
        Ok(()) => End::Done(format!("done: {changes}\nundo: remit undo {id} -m WHY")),
        Err(why) => End::Pending(format!(
            "done: {changes}; a recovery has to finish: {why}\nundo: remit undo {id} -m WHY"
        )),
    })
}

/// Forgets an earlier commit of the same plan. A plan with a base cannot fit again, and if a plan that only creates does,
/// nothing is left that an undo of the earlier commit could remove.
fn forget_same(state: &File, id: &str) -> Result<(), String> {
    let earlier = match JournalFile::open(state, id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        earlier => earlier.map_err(journal_error)?,
    };
    match earlier {
        Some((journal, read)) if read.phase == Phase::Kept => journal.discard(state),
        Some((_, read)) if read.phase == Phase::Parted => {
            return Err(format!(
                "'{id}' was committed and undone before, and what others had changed is kept in that directory of the journal: move it away, \
                 and remove the directory"
            ));
        }
        Some((_, read)) if read.phase == Phase::Left => {
            return Err(format!(
                "'{id}' was given up, and files of it are kept; once nobody needs them, remove that directory of the journal"
            ));
        }
        Some(_) => {
            return Err(format!(
                "'{id}' was interrupted; a recovery has to finish it"
            ));
        }
        None => {}
    }
    Ok(())
}

pub fn changes(count: usize) -> String {
    match count {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

pub fn journal_error(error: impl std::fmt::Display) -> String {
    format!("cannot use the journal: {error}")
}

/// Returns the lock, or an end if another process has it.
pub fn lock(state: File) -> Result<Flock<File>, End> {
    Flock::lock(state, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => {
            End::Busy("another commit, undo or recovery runs; try again".to_owned())
        }
        error => End::Nothing(format!("cannot lock the directory of the journal: {error}")),
    })
}

/// Reads the plan from standard input, a sealed memory file: nobody can change the bytes that an approver saw.
fn input() -> Result<(Plan, File, u64), String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read the plan: {why}");
    let input = io::stdin();
    if !sys::is_sealed(&input) {
        return Err(cannot(&"standard input is not a sealed memory file"));
    }
    let file = File::from(
        input
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| cannot(&error))?,
    );
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)
        .map_err(|error| cannot(&error))?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > PLAN_BYTES {
        return Err(cannot(&"it is too long"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 8)
        .map_err(|error| cannot(&error))?;
    let plan = Plan::decode(&bytes).map_err(|error| error.to_string())?;
    let start = 8 + length as u64;
    let end = start.saturating_add(plan.bundled_bytes());
    match file.metadata().map_err(|error| cannot(&error))?.len() == end {
        true => Ok((plan, file, start)),
        false => Err(cannot(&"it does not have as many bytes as it says")),
    }
}

pub fn restrict<'a>(
    state: &File,
    operations: impl IntoIterator<Item = &'a Operation<'a>>,
    read: Option<BorrowedFd<'_>>,
) -> Result<(), String> {
    let anchors = operations
        .into_iter()
        .map(|operation| operation.anchor.fd.as_fd());
    confine::restrict([state.as_fd()].into_iter().chain(anchors), read)
}

/// Writes to disk what was done on every file system that the plan is on.
pub fn sync(state: &File, operations: &[Operation<'_>]) -> Result<(), String> {
    let mut seen = Vec::new();
    let anchors = operations
        .iter()
        .map(|operation| operation.anchor.fd.as_fd());
    for fd in anchors.chain([state.as_fd()]) {
        let device = sys::stat_of(fd).map_err(journal_error)?.st_dev;
        if !seen.contains(&device) {
            syncfs(fd).map_err(|error| format!("cannot write to disk: {error}"))?;
            seen.push(device);
        }
    }
    Ok(())
}

pub fn make_all(
    state: &File,
    tree: &Tree,
    journal: &JournalFile,
    operations: &[Operation<'_>],
    direction: Direction,
) -> Result<(), Failure> {
    let each =
        |step: &dyn Fn(&Operation<'_>) -> Result<(), Failure>| operations.iter().try_for_each(step);
    each(&|operation| operation.make(tree, journal, direction))?;
    each(&|operation| {
        operation.check_anchor(tree)?;
        operation.check_leases()
    })?;
    let made = match direction {
        Commit => Phase::Done,
        Direction::Undo => Phase::Undone,
    };
    let set = journal.set_phase(made).map_err(journal_error);
    set.and_then(|()| sync(state, operations))
        .map_err(Failure::Machine)?;
    // A writer that found a path before its step may ask for its lease only now.
    each(&|operation| operation.check_leases())
}
