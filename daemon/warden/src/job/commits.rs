//! Whether commits of files may start. A recovery takes back or finishes what was interrupted. It is due at the start, each
//! day, and after a commit or an undo that did not end by itself. Until it has worked, no commit and no undo starts, but for
//! the daemon's own undo of a commit that nobody confirmed: what a recovery could not repair has none of its paths, because
//! nothing else starts that changes them ([`super::confirmation::admission`]).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Command, CommitUse, Policy};

/// Exit status of remit-commit if another process has the lock of the journals: it has changed nothing.
pub const LOCK_IS_BUSY: i32 = 75;
/// The same if another process has a lock of the tables of packages or accounts. Any program can have these for long.
pub const TABLES_ARE_LOCKED: i32 = 6;
/// Exit status of a commit whose files are changed, and whose journal a recovery has to finish.
pub const NEEDS_RECOVERY: i32 = 5;
/// After this time a request or an approval may start a failed recovery again.
const AGAIN: Duration = Duration::from_secs(10);
/// After this time an undo that is due starts a failed recovery again.
const FOR_UNDO: Duration = Duration::from_secs(60);
/// After this time a recovery is taken for lost: its longest runtime, and some more.
const LOST: Duration = Duration::from_secs(3600);

/// Returns true if a commit or an undo ended by itself and before its first step.
pub fn has_changed_nothing(ending: &Ending) -> bool {
    ending.state == State::Exited
        && matches!(ending.exit, Some(1 | TABLES_ARE_LOCKED | LOCK_IS_BUSY))
}

/// Returns true if a command changes what an interrupted commit may have left.
fn has_to_wait(command: &Command) -> bool {
    matches!(
        command.commit_use(),
        Some(CommitUse::Commit | CommitUse::Undo)
    )
}

/// Returns true if a job was stopped before it had ended. That says nothing about what it does.
pub fn was_stopped(ending: &Ending) -> bool {
    ending.state == State::Cancelled
}

#[derive(Debug)]
pub struct Commits {
    directory: String,
    is_due: bool,
    /// A commit or an undo did not end by itself, or a journal says so, and no recovery has worked since.
    is_interrupted: bool,
    running: Option<(JobId, Instant)>,
    /// How the last one ended, if it did not work.
    failed: Option<(String, Instant)>,
    /// False as long as nothing was ever committed.
    has_any: bool,
}

impl Commits {
    /// Fails if the directory with the journals cannot be read.
    pub fn open(state: &Path) -> std::io::Result<Self> {
        let directory = state.join("commits");
        let has_any = fs::read_dir(&directory)?.next().is_some();
        Ok(Self {
            directory: directory.to_string_lossy().into_owned(),
            is_due: has_any,
            is_interrupted: false,
            running: None,
            failed: None,
            has_any,
        })
    }

    /// Checks as [`Self::may_start`]. A request after a recovery that failed starts it again.
    pub fn check(
        &mut self,
        command: Option<&Command>,
        is_to_be_confirmed: bool,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let is_commit = command.is_some_and(Command::is_commit);
        let may_start = self.may_start(command, is_to_be_confirmed, policy);
        if is_commit {
            self.retry_for_request();
        }
        self.has_any |= is_commit;
        may_start
    }

    /// Fails unless this command may start now, if it commits or undoes.
    pub fn may_start(
        &self,
        command: Option<&Command>,
        is_to_be_confirmed: bool,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        self.may_start_own(command, policy)?;
        let Some(command) = command.filter(|command| has_to_wait(command)) else {
            return Ok(());
        };
        let refuse = |why: String| {
            let refusal = Refusal::new(Code::NotStarted, why);
            Err(refusal.object(&*command.name))
        };
        if is_to_be_confirmed && let Err(why) = policy.unconfirmed(&self.directory) {
            return refuse(format!(
                "nothing could undo it if nobody confirms it: {why}"
            ));
        }
        match &self.failed {
            None => Ok(()),
            Some((why, _)) => refuse(why.clone()),
        }
    }

    /// Fails unless the daemon itself may start this command now. A recovery that failed does not keep it from that.
    pub fn may_start_own(&self, command: Option<&Command>, policy: &Policy) -> Result<(), Refusal> {
        let Some(command) = command.filter(|command| has_to_wait(command)) else {
            return Ok(());
        };
        let refuse = |code, why: String| Err(Refusal::new(code, why).object(&*command.name));
        let own = &self.directory;
        if command.commit_directory() != Some(own) {
            let text = format!(
                "'{}' keeps its journals in another directory than '{own}', so nothing would recover them",
                command.name
            );
            return refuse(Code::NotStarted, text);
        }
        if let Err(why) = policy.recovery(own) {
            return refuse(Code::NotStarted, why);
        }
        if self.is_in_the_way() {
            let text = "an interrupted commit of files is being recovered".to_owned();
            return Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        }
        Ok(())
    }

    pub fn on_end(&mut self, used: Option<CommitUse>, ending: &Ending) {
        let by_itself = ending.has_succeeded() || has_changed_nothing(ending);
        match used {
            // One that failed may have waited for this job.
            Some(CommitUse::Commit | CommitUse::Undo) => {
                self.is_interrupted |= !by_itself;
                self.is_due |= !by_itself || self.failed.is_some();
            }
            Some(CommitUse::Recover) | None => {}
        }
    }

    /// Notes the recorded end of a job, also of one that never ran.
    pub fn on_recorded(&mut self, job: JobId, ending: &Ending) {
        if self.running.is_none_or(|(running, _)| running != job) {
            return;
        }
        self.running = None;
        // Stopping it again and again must not keep from an undo what it makes way for.
        let was_stopped = was_stopped(ending);
        self.is_due |= was_stopped;
        self.is_interrupted &= !ending.has_succeeded();
        self.failed = (!ending.has_succeeded() && !was_stopped).then(|| {
            let text = format!(
                "the recovery of commits has not worked: job {} {}; its output says why",
                job.short(),
                ending.cause
            );
            (text, Instant::now())
        });
    }

    pub fn is_due(&self) -> bool {
        self.is_due && !self.is_running()
    }

    /// Returns the directory of the journals if a recovery has to start now, which is then no longer due.
    pub fn take_due(&mut self) -> Option<String> {
        let is_due = self.is_due();
        self.is_due &= !is_due;
        is_due.then(|| self.directory.clone())
    }

    /// Returns why a recovery starts, for its record.
    pub const fn reason(&self) -> &'static str {
        match self.is_interrupted || self.failed.is_some() {
            true => "to finish or take back what was interrupted",
            false => "to look for interrupted commits",
        }
    }

    /// Returns whether a recovery has to end before anything else is undone.
    pub fn is_in_the_way(&self) -> bool {
        self.is_due || self.is_running()
    }

    /// Returns whether the last recovery has not worked.
    pub const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Has a recovery start: a journal says that one is needed.
    pub fn set_due(&mut self) {
        self.is_due = true;
        self.is_interrupted = true;
    }

    /// Has a recovery that failed start again, for an undo that is due and whose commit was interrupted.
    pub fn retry_for_undo(&mut self) {
        self.retry_after(FOR_UNDO);
    }

    /// Has a recovery that failed start again, for a request or an approval that it keeps from its start.
    pub fn retry_for_request(&mut self) {
        self.retry_after(AGAIN);
    }

    fn retry_after(&mut self, pause: Duration) {
        let failed = self.failed.as_ref();
        self.is_due |= failed.is_some_and(|(_, at)| at.elapsed() > pause);
    }

    /// The recovery that was started, until its end is recorded.
    pub fn running(&self) -> Option<JobId> {
        self.running.map(|(job, _)| job)
    }

    pub fn on_start(&mut self, started: Result<JobId, String>) {
        let now = Instant::now();
        match started {
            Ok(job) => self.running = Some((job, now)),
            Err(why) => {
                self.running = None;
                self.failed = Some((why, now));
            }
        }
    }

    fn is_running(&self) -> bool {
        self.running
            .is_some_and(|(_, since)| since.elapsed() < LOST)
    }

    pub fn on_day(&mut self) {
        self.is_due |= self.has_any;
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::request::fixture::Scene;

    const COMMIT: &str = r##"
[[command]]
name = "plan.commit"
summary = "commits"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[command]]
name = "plan.recover"
summary = "recovers"
argv = ["/usr/libexec/remit/remit-commit", "recover", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
"##;
    const UNDO: &str = r##"
[[command]]
name = "plan.undo"
summary = "undoes"
argv = ["/usr/libexec/remit/remit-commit", "undo", "/var/lib/remit/commits", "{id}"]
effect = "change"
profile = "host"
args.id = { type = "string" }
"##;

    fn ending(state: State, exit: Option<i32>) -> Ending {
        Ending {
            exit,
            ..Ending::unmeasured(state, "killed".to_owned(), true)
        }
    }

    fn new() -> Commits {
        Commits {
            directory: "/var/lib/remit/commits".to_owned(),
            is_due: false,
            is_interrupted: false,
            running: None,
            failed: None,
            has_any: false,
        }
    }

    #[test]
    fn recovery_that_knows_of_nothing_only_looks() {
        let (look, finish) = (
            "to look for interrupted commits",
            "to finish or take back what was interrupted",
        );
        let commit = Some(CommitUse::Commit);
        let job = JobId([1; 16]);
        let mut commits = new();
        commits.has_any = true;
        commits.on_day();
        assert_eq!(commits.reason(), look);
        commits.on_end(commit, &ending(State::Exited, Some(0)));
        assert_eq!(commits.reason(), look);
        commits.on_end(commit, &ending(State::Signalled, None));
        assert_eq!(commits.reason(), finish);
        // One that was stopped, or has failed, finished nothing.
        for (state, exit, expect) in [
            (State::Cancelled, None, finish),
            (State::Exited, Some(1), finish),
            (State::Exited, Some(0), look),
        ] {
            commits.on_start(Ok(job));
            commits.on_recorded(job, &ending(state, exit));
            assert_eq!(commits.reason(), expect, "{state:?}");
        }
        commits.set_due();
        assert_eq!(commits.reason(), finish);
    }

    #[test]
    fn recovery_is_due_after_what_did_not_end_by_itself() {
        let (commit, undo, recover) = (CommitUse::Commit, CommitUse::Undo, CommitUse::Recover);
        for (used, state, exit, is_due) in [
            (Some(commit), State::Exited, Some(0), false),
            (Some(commit), State::Exited, Some(1), false),
            (Some(commit), State::Exited, Some(LOCK_IS_BUSY), false),
            (Some(undo), State::Exited, Some(LOCK_IS_BUSY), false),
            (Some(undo), State::Exited, Some(TABLES_ARE_LOCKED), false),
            (Some(commit), State::Signalled, Some(LOCK_IS_BUSY), true),
            (Some(commit), State::Exited, Some(3), true),
            // The tree is whole and the journal is not.
            (Some(commit), State::Exited, Some(5), true),
            (Some(undo), State::Exited, Some(5), true),
            (Some(commit), State::Exited, Some(134), true),
            (Some(commit), State::Signalled, None, true),
            (Some(undo), State::TimedOut, None, true),
            (Some(undo), State::Cancelled, Some(0), true),
            (Some(undo), State::Exited, Some(0), false),
            (Some(recover), State::Signalled, None, false),
            (None, State::Signalled, None, false),
        ] {
            let mut commits = new();
            commits.on_end(used, &ending(state, exit));
            assert_eq!(commits.is_due, is_due, "{used:?} {state:?} {exit:?}");
        }
        let mut commits = new();
        commits.failed = Some((String::new(), Instant::now()));
        commits.on_end(Some(commit), &ending(State::Exited, Some(1)));
        assert!(commits.is_due);
        let mut commits = new();
        commits.on_day();
        assert!(!commits.is_due);
    }
    #[test]
    fn recovery_that_is_due_or_runs_is_in_the_way_of_undos() {
        let mut commits = new();
        assert!(!commits.is_in_the_way());
        commits.is_due = true;
        assert!(commits.is_in_the_way() && commits.take_due().is_some());
        let job = JobId([1; 16]);
        commits.on_start(Ok(job));
        assert!(commits.is_in_the_way() && commits.running() == Some(job));
        commits.on_recorded(job, &ending(State::Exited, Some(LOCK_IS_BUSY)));
        // It has failed, perhaps about the commit of somebody else.
        assert!(!commits.is_in_the_way() && commits.has_failed());
        assert!(commits.running().is_none());
        // Not at once: it would be started again and again.
        for (pause, retry) in [
            (AGAIN, Commits::retry_for_request as fn(&mut Commits)),
            (FOR_UNDO, Commits::retry_for_undo),
        ] {
            commits.failed = Some((String::new(), Instant::now()));
            retry(&mut commits);
            assert!(!commits.is_due());
            commits.failed = Some((String::new(), Instant::now() - pause));
            retry(&mut commits);
            assert!(commits.is_due() && commits.take_due().is_some());
        }
        commits.on_start(Ok(job));
        // One that was stopped is no try.
        commits.on_recorded(job, &ending(State::Cancelled, None));
        assert!(commits.is_in_the_way() && commits.take_due().is_some());
        commits.on_start(Ok(job));
        commits.on_recorded(job, &ending(State::Exited, Some(0)));
        assert!(!commits.is_in_the_way() && !commits.has_failed());
    }

    #[test]
    fn failed_recovery_keeps_all_but_the_undo_of_the_daemon_from_their_start() {
        let policy = Scene::of(&format!("{COMMIT}{UNDO}"), &MachineTable::default()).policy;
        let failed = || Some(("it has not worked".to_owned(), Instant::now()));
        for (is_due, failed, by_request, own) in [
            (false, None, None, None),
            (false, failed(), Some(Code::NotStarted), None),
            (true, None, Some(Code::Busy), Some(Code::Busy)),
            (true, failed(), Some(Code::Busy), Some(Code::Busy)),
        ] {
            let commits = Commits {
                is_due,
                failed,
                ..new()
            };
            for name in ["plan.commit", "plan.undo"] {
                let command = policy.command(name).map(AsRef::as_ref);
                let code = |started: Result<(), Refusal>| started.err().map(|why| why.code);
                let codes = [
                    code(commits.may_start(command, false, &policy)),
                    code(commits.may_start_own(command, &policy)),
                ];
                assert_eq!(codes, [by_request, own], "{name} {commits:?}");
            }
        }
    }

    #[test]
    fn commit_that_is_to_be_confirmed_needs_a_command_that_undoes_it() {
        let started = |policy: &str, is_to_be_confirmed| {
            let policy = Scene::of(policy, &MachineTable::default()).policy;
            let commit = policy.command("plan.commit").map(AsRef::as_ref);
            new().may_start(commit, is_to_be_confirmed, &policy)
        };
        let text = started(COMMIT, true).unwrap_err().message;
        assert!(text.contains("nothing could undo it"), "{text}");
        assert!(started(COMMIT, false).is_ok());
        assert!(started(&format!("{COMMIT}{UNDO}"), true).is_ok());
    }
}
