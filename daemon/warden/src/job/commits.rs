//! Whether commits of files may start. A recovery takes back or finishes what was interrupted. It is due at the start, each
//! day, and after a commit or an undo that did not end by itself. Until it has worked, no commit and no undo starts.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Command, CommitUse, Policy};

/// After this time a request may start a failed recovery again.
const AGAIN: Duration = Duration::from_secs(10);
/// After this time a recovery is taken for lost: its longest runtime, and some more.
const LOST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct Commits {
    directory: String,
    is_due: bool,
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
            running: None,
            failed: None,
            has_any,
        })
    }

    /// Checks as [`Self::may_start`]. A request after a recovery that failed starts it again.
    pub fn check(&mut self, command: Option<&Command>, policy: &Policy) -> Result<(), Refusal> {
        let is_commit = command.is_some_and(Command::is_commit);
        let may_start = self.may_start(command, policy);
        let failed = self.failed.as_ref().filter(|_| is_commit);
        self.is_due |= failed.is_some_and(|(_, at)| at.elapsed() > AGAIN);
        self.has_any |= is_commit;
        may_start
    }

    /// Fails unless this command may start now, if it commits or undoes.
    pub fn may_start(&self, command: Option<&Command>, policy: &Policy) -> Result<(), Refusal> {
        let used = command.and_then(Command::commit_use);
        let (Some(command), Some(CommitUse::Commit | CommitUse::Undo)) = (command, used) else {
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
        if self.is_running() || self.is_due {
            let text = "an interrupted commit of files is being recovered".to_owned();
            return Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        }
        match &self.failed {
            None => Ok(()),
            Some((why, _)) => refuse(Code::NotStarted, why.clone()),
        }
    }

    pub fn on_end(&mut self, used: Option<CommitUse>, ending: &Ending) {
        let by_itself = ending.state == State::Exited && matches!(ending.exit, Some(0 | 1));
        match used {
            // One that failed may have waited for this job.
            Some(CommitUse::Commit | CommitUse::Undo) => {
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
        self.failed = (!ending.has_succeeded()).then(|| {
            let text = format!(
                "the recovery of commits has not worked: job {} {}; its output says why",
                job.short(),
                ending.cause
            );
            (text, Instant::now())
        });
    }

    /// Returns the directory of the journals if a recovery has to start now, which is then no longer due.
    pub fn take_due(&mut self) -> Option<String> {
        let is_due = self.is_due && !self.is_running();
        self.is_due &= !is_due;
        is_due.then(|| self.directory.clone())
    }

    pub fn on_start(&mut self, started: Result<JobId, String>) {
        let now = Instant::now();
        match started {
            Ok(job) => self.running = Some((job, now)),
            Err(why) => self.failed = Some((why, now)),
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
    use super::*;

    fn ending(state: State, exit: Option<i32>) -> Ending {
        Ending {
            exit,
            ..Ending::unmeasured(state, "killed".to_owned(), true)
        }
    }

    #[test]
    fn recovery_is_due_after_what_did_not_end_by_itself() {
        let new = || Commits {
            directory: "/var/lib/remit/commits".to_owned(),
            is_due: false,
            running: None,
            failed: None,
            has_any: false,
        };
        let (commit, undo, recover) = (CommitUse::Commit, CommitUse::Undo, CommitUse::Recover);
        for (used, state, exit, is_due) in [
            (Some(commit), State::Exited, Some(0), false),
            (Some(commit), State::Exited, Some(1), false),
            (Some(commit), State::Exited, Some(3), true),
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
}
