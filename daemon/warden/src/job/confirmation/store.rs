//! The commits that are to be confirmed, on the disk: `STATE/warden/unconfirmed`, rewritten as a whole.
//!
//! **Invariant:** a commit that needs a confirmation is on the disk before it starts.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use remit_common::admin::{UNCONFIRMED, UnconfirmedView};
use remit_common::frame;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_plan::Extent;
use remit_policy::{Approval, CommitUse};
use serde::{Deserialize, Serialize};

use super::admission::{self, Starting, has_share};
use super::{Clocks, CommitEnd, ConfirmStage, Unconfirmed, UndoStage};
use crate::event_loop::timers;
use crate::job::commits::{LOCK_IS_BUSY, was_stopped};
use crate::request::{BoundCall, Call, Plan, file_change};
use crate::state_dir::framed_file::Snapshot;

const MAGIC: &[u8; 16] = b"remit confirm 2\n";
/// Bytes. Approvers of one take less than 64 KiB.
const FILE: u64 = 8 << 20;

/// All of them, as they are saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedConfirmations {
    pub boot_id: String,
    /// When it was saved: since boot, and in milliseconds since 1970.
    pub boot: Duration,
    pub unix_ms: u64,
    pub all: Vec<Unconfirmed>,
}

impl SavedConfirmations {
    /// Continues them in another daemon. A clock that was set back adds no time.
    pub fn restarted(self, boot_id: &str, now: Clocks) -> Vec<Unconfirmed> {
        let saved = Clocks {
            boot: self.boot,
            monotonic: Duration::ZERO,
            unix_ms: self.unix_ms,
        };
        let off = Duration::from_millis(now.unix_ms.saturating_sub(self.unix_ms));
        let since = (self.boot_id != boot_id).then_some(off);
        let all = self.all.into_iter();
        all.map(|one| one.restarted(saved, since, now)).collect()
    }
}

/// Finds the one that an administrator names by the beginning of its id, or the only one.
pub fn choose<'a>(
    mut all: impl Iterator<Item = &'a Unconfirmed> + Clone,
    id: Option<&str>,
) -> Result<&'a Unconfirmed, Refusal> {
    let begins = |one: &&Unconfirmed| id.is_none_or(|id| one.commit.starts_with(id));
    let mut found = all.clone().filter(begins);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            let text = "several commits wait for a confirmation; name one";
            let ids: Vec<&str> = all.map(Unconfirmed::short).take(8).collect();
            Err(Refusal::new(Code::InvalidArgs, text)
                .object("id")
                .next(format!("remit confirm with one of {}", ids.join(", "))))
        }
        (None, _) => {
            let text = match (id, all.next()) {
                (Some(_), Some(_)) => "no commit with this id waits for a confirmation",
                _ => "no commit waits for a confirmation",
            };
            Err(Refusal::new(Code::NotFound, text)
                .next("remit status lists them; one that was undone or confirmed is over"))
        }
    }
}

#[derive(Debug)]
pub struct Confirmations {
    pub(in crate::job) all: Vec<Unconfirmed>,
    pub(in crate::job) file: Snapshot,
    boot_id: String,
    /// The directory of the journals.
    pub(in crate::job) directory: String,
    /// An undo or a recovery has worked: some of them may be over.
    pub(in crate::job) is_settled: bool,
}

impl Confirmations {
    /// Reads what waits for a confirmation. Fails if the file cannot be used: what it says must not be forgotten.
    pub fn open(state: &Path) -> Result<Self, String> {
        let file = Snapshot::new(state, "unconfirmed", MAGIC, FILE);
        let path = file.path.display().to_string();
        let damaged = |why: String| {
            format!(
                "cannot determine which commits wait for a confirmation: '{path}': {why}; look at what was committed \
                 (remit audit show --command commit), and move this file away: then none of that is undone by itself"
            )
        };
        let boot_id = timers::boot_id().map_err(|error| damaged(error.to_string()))?;
        let directory = state.join("commits");
        let mut all = match file.read().map_err(damaged)? {
            None => Vec::new(),
            Some(body) => {
                let saved = frame::decode::<SavedConfirmations>(&body);
                let saved = saved.map_err(|error| damaged(error.to_string()))?;
                saved.restarted(&boot_id, clocks())
            }
        };
        for one in &mut all {
            one.extent = file_change::extent(&directory, &one.commit);
        }
        let confirmations = Self {
            is_settled: !all.is_empty(),
            all,
            file,
            boot_id,
            directory: directory.to_string_lossy().into_owned(),
        };
        if !confirmations.all.is_empty() {
            // A full disk must not keep a commit beyond its time.
            confirmations.save_or_say();
        }
        Ok(confirmations)
    }

    pub(in crate::job) fn save(&self) -> io::Result<()> {
        self.file.replace(&self.body()?, true)
    }

    /// Saves a change of what was `before`, or has that be in force and in the file again.
    pub(in crate::job) fn save_or_keep(&mut self, before: Vec<Unconfirmed>) -> io::Result<()> {
        let body = self.body();
        let all = std::mem::replace(&mut self.all, before);
        self.file.replace_or_keep(&body?, &self.body()?, true)?;
        self.all = all;
        Ok(())
    }

    fn body(&self) -> io::Result<Vec<u8>> {
        let now = clocks();
        let saved = SavedConfirmations {
            boot_id: self.boot_id.clone(),
            boot: now.boot,
            unix_ms: now.unix_ms,
            all: self.all.clone(),
        };
        postcard::to_extend(&saved, Vec::new()).map_err(io::Error::other)
    }

    /// Saves what can only make an undo come later or not at all if it is lost.
    pub(in crate::job) fn save_or_say(&self) {
        if let Err(error) = self.save() {
            say_error!("cannot save which commits wait for a confirmation: {error}");
        }
    }

    /// Fails unless it may start now ([`admission::may_start`]).
    pub fn may_start(
        &self,
        used: Option<CommitUse>,
        uid: u32,
        call: &Call,
        bound: &BoundCall,
    ) -> Result<(), Refusal> {
        if self.all.is_empty() {
            return Ok(());
        }
        let starting = Starting::of(used, uid, bound);
        let extent = match (starting, call.file_change(), &bound.undo) {
            (Some(Starting::Commit { .. }), Some(Ok(bundle)), _) => Extent::new(bundle.plan()),
            (Some(Starting::Undo(_)), _, Some(undo)) => undo.extent(),
            _ => Extent::default(),
        };
        admission::may_start(&self.all, starting, &extent, timers::since_boot())
    }

    /// Puts a commit that needs a confirmation on the disk, and that an undo of one begins. Fails, and then it must not
    /// start.
    pub fn arm(&mut self, plan: &Plan) -> Result<(), String> {
        if let Some(undo) = &plan.bound.undo {
            self.on_undo_begins(undo.id());
        }
        let (Some(CommitUse::Commit), Some(Ok(bundle))) =
            (plan.commit_use(), plan.call().file_change())
        else {
            return Ok(());
        };
        let commit = bundle.plan().commit_id();
        if self.all.iter().any(|one| one.commit == commit) {
            return Err(format!(
                "an earlier commit of this plan waits for a confirmation: remit confirm {commit}"
            ));
        }
        let Some(window) = &plan.bound.confirm else {
            return Ok(());
        };
        let requester = &plan.requester.subject;
        has_share(&self.all, requester.uid())?;
        let (asked, before) = (plan.asked_approval(), self.all.clone());
        self.all.push(Unconfirmed {
            commit,
            job: plan.job,
            user: requester.user().to_owned(),
            uid: requester.uid(),
            login: requester.loginuid(),
            approval: asked.map(Approval::by_one),
            signed: asked.and_then(Approval::signed),
            window_s: window.seconds,
            then: Vec::new(),
            ended: Duration::ZERO,
            is_extended: false,
            stage: ConfirmStage::Committing { is_followed: false },
            undo: UndoStage::Started,
            undone_by: None,
            extent: Extent::new(bundle.plan()),
        });
        let saved = self.save_or_keep(before);
        saved.map_err(|error| format!("cannot save that its commit has to be confirmed: {error}"))
    }

    /// Before the undo starts, so that a restart of remitd can tell it from a journal that was lost.
    fn on_undo_begins(&mut self, commit: &str) {
        let mut all = self.all.iter_mut();
        if let Some(one) = all.find(|one| one.commit == commit)
            && one.undo == UndoStage::Kept
        {
            one.undo = UndoStage::Started;
            self.save_or_say();
        }
    }

    /// Returns the ids of all of them: a recovery must not forget their undos.
    pub(in crate::job) fn ids(&self) -> Vec<String> {
        self.all.iter().map(|one| one.commit.clone()).collect()
    }

    /// Notes a command that follows a commit, before it starts: a restart of remitd must not lose what the undo needs.
    pub(in crate::job) fn on_act(&mut self, commit: JobId, act: String) -> Result<(), Refusal> {
        let before = self.all.clone();
        let Some(one) = self.all.iter_mut().find(|one| one.job == commit) else {
            return Ok(());
        };
        one.then.push(act);
        self.save_or_keep(before).map_err(|error| {
            let text = format!("cannot save that it has to follow the undo of its commit: {error}");
            Refusal::new(Code::NotStarted, text)
        })
    }

    pub(in crate::job) fn remove(&mut self, job: JobId) {
        let before = self.all.len();
        self.all.retain(|one| one.job != job);
        if self.all.len() < before {
            self.save_or_say();
        }
    }

    /// Notes the end of a job. Returns what its requester has to know.
    pub fn on_end(&mut self, plan: &Plan, ending: &Ending) -> Option<String> {
        let makes_way = matches!(
            plan.commit_use(),
            Some(CommitUse::Undo | CommitUse::Recover)
        );
        self.is_settled |= makes_way && ending.has_succeeded();
        if ending.has_succeeded() && !plan.call().is_partial_undo() {
            self.on_whole_undo(plan);
        }
        let ended = self.all.iter_mut().find(|one| one.job == plan.job)?;
        let has_commands = !plan.bound.acts.is_empty();
        match ended.on_commit_end(ending, has_commands, clocks())? {
            CommitEnd::Disarmed => {
                self.remove(plan.job);
                None
            }
            CommitEnd::Armed(note) => {
                self.save_or_say();
                Some(note)
            }
        }
    }

    /// Notes the recorded end of a job, also of one that never ran. Returns the commit that it
    /// could not undo, for a report.
    pub(in crate::job) fn on_undo_end(
        &mut self,
        job: JobId,
        ending: &Ending,
    ) -> Option<Unconfirmed> {
        let is_it = |one: &&mut Unconfirmed| matches!(one.stage, ConfirmStage::Undoing { job: undo, .. } if undo == job);
        let one = self.all.iter_mut().find(is_it)?;
        if ending.has_succeeded() {
            // It is removed when the journal says the same.
            self.is_settled = true;
            return None;
        }
        let (now, was_stopped) = (timers::since_boot(), was_stopped(ending));
        let is_try = !was_stopped && !is_locked(ending);
        if was_stopped {
            one.on_undo_stopped(job, now);
        } else if !is_try {
            one.on_undo_locked(job, now);
        } else {
            let why = format!("job {} {}; its output says why", job.short(), ending.cause);
            one.on_undo_failed(&why, now);
        }
        let one = one.clone();
        self.save_or_say();
        is_try.then_some(one)
    }

    /// Describes them for administrators, those first that nothing undoes: an answer has room for some.
    pub fn views(&self) -> Vec<UnconfirmedView> {
        views(&self.all, clocks())
    }

    /// Describes the one that this job committed.
    pub fn sentence_of(&self, job: JobId) -> Option<String> {
        let one = self.all.iter().find(|one| one.job == job)?;
        Some(format!("{}: {}", one.sentence(clocks()), one.command()))
    }
}

pub fn views(all: &[Unconfirmed], now: Clocks) -> Vec<UnconfirmedView> {
    let mut views: Vec<_> = all.iter().map(|one| one.view(now)).collect();
    views.sort_by_key(|view| !view.has_failed);
    views.truncate(UNCONFIRMED);
    views
}

fn is_locked(ending: &Ending) -> bool {
    ending.state == State::Exited && ending.exit == Some(LOCK_IS_BUSY)
}

pub fn clocks() -> Clocks {
    Clocks {
        boot: timers::since_boot(),
        monotonic: clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from),
        unix_ms: timers::unix_ms(),
    }
}
