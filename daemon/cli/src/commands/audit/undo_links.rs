//! Which job undid which commit, as the records say it. Pure.

use std::borrow::Borrow;
use std::collections::HashMap;

use remit_common::names::JobId;

use super::record::AuditRecord;

/// Commands whose records have to be read for [`UndoLinks`], and their events.
pub const COMMANDS: [&str; 2] = [COMMIT, UNDO];
pub const EVENTS: [&str; 3] = ["asked", "intent", "end"];

const COMMIT: &str = "plan.commit";
const UNDO: &str = "plan.undo";
/// Hexadecimal digits of the id of a commit: the first ones of the digest of its plan.
const DIGITS: usize = 32;

/// What a record says of a commit of files, by the id of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitStep {
    Commits(String),
    /// A request for its undo, or how that ended: with status 0 all of it is undone.
    Undoes {
        id: String,
        is_undone: bool,
    },
}

impl CommitStep {
    /// `None` for a record that is not of a commit that starts, nor of an undo.
    pub fn from_record(record: &AuditRecord) -> Option<Self> {
        let event = record.own("EVENT")?;
        match record.own("COMMAND")? {
            COMMIT if event == "intent" => {
                let id = record.own("PLAN_DIGEST")?.get(..DIGITS)?;
                is_id(id).then(|| Self::Commits(id.to_owned()))
            }
            UNDO => {
                // Arguments are in the order of their names: the text of a later one is no id.
                let mut words = record.own("ARGS")?.split(' ');
                let id = words.find_map(|word| word.strip_prefix("id="))?;
                let is_undone = event == "end" && record.own("EXIT") == Some("0");
                is_id(id).then(|| Self::Undoes {
                    id: id.to_owned(),
                    is_undone,
                })
            }
            _ => None,
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Self::Commits(id) | Self::Undoes { id, .. } => id,
        }
    }
}

fn is_id(text: &str) -> bool {
    text.parse::<JobId>().is_ok()
}

#[derive(Debug, Default)]
pub struct UndoLinks {
    /// By id, the newest commit with it: a plan that was undone can be committed again.
    commits: HashMap<String, JobId>,
    undoes: HashMap<JobId, JobId>,
    undone_by: HashMap<JobId, JobId>,
}

impl UndoLinks {
    /// Returns those of these steps, each with its position in the log and its job.
    pub fn of_steps<P: Ord, S: Borrow<CommitStep>>(mut steps: Vec<(P, JobId, S)>) -> Self {
        steps.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut links = Self::default();
        for (_, job, step) in &steps {
            links.take(*job, step.borrow());
        }
        links
    }

    /// Takes the next step in the order of the records.
    fn take(&mut self, job: JobId, step: &CommitStep) {
        match step {
            CommitStep::Commits(id) => {
                self.commits.insert(id.clone(), job);
            }
            CommitStep::Undoes { id, is_undone } => {
                let Some(newest) = self.commits.get(id) else {
                    return;
                };
                let commit = *self.undoes.entry(job).or_insert(*newest);
                if *is_undone {
                    self.undone_by.insert(commit, job);
                }
            }
        }
    }

    /// Returns the commit that this job was to undo.
    pub fn undoes(&self, job: JobId) -> Option<JobId> {
        self.undoes.get(&job).copied()
    }

    /// Returns the job that has undone this commit.
    pub fn undone_by(&self, job: JobId) -> Option<JobId> {
        self.undone_by.get(&job).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u8) -> JobId {
        JobId([number; 16])
    }

    fn links(records: &[(u8, &str)]) -> UndoLinks {
        let mut links = UndoLinks::default();
        for (number, fields) in records {
            let record = AuditRecord::of_line(format!("{{{fields}}}").as_bytes(), 1);
            if let Some(step) = CommitStep::from_record(&record) {
                links.take(job(*number), &step);
            }
        }
        links
    }

    fn commit(event: &str, digit: &str) -> String {
        let digest = digit.repeat(64);
        format!(
            r#""REMIT_EVENT":"{event}","REMIT_COMMAND":"plan.commit","REMIT_PLAN_DIGEST":"{digest}""#
        )
    }

    fn undo(event: &str, args: &str, exit: &str) -> String {
        format!(
            r#""REMIT_EVENT":"{event}","REMIT_COMMAND":"plan.undo","REMIT_ARGS":"{args}"{exit}"#
        )
    }

    #[test]
    fn undo_names_the_newest_commit_before_it() {
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let done = r#","REMIT_EXIT":"0""#;
        let found = links(&[
            (1, &commit("intent", "a")),
            (2, &undo("asked", &format!("id={a}"), "")),
            (
                2,
                &undo(
                    "end",
                    &format!("contents=true id={a} then='x id={b}'"),
                    done,
                ),
            ),
            (3, &commit("asked", "a")),
            (4, &commit("intent", "a")),
            (5, &undo("end", &format!("id={a}"), r#","REMIT_EXIT":"1""#)),
            // What it undoes is not in what was read.
            (6, &undo("end", &format!("id={b}"), done)),
            (7, &commit("intent", "c")),
            (8, &undo("end", "id=cccc", done)),
        ]);
        let of = |number| (found.undoes(job(number)), found.undone_by(job(number)));
        let expect = [
            (1, (None, Some(job(2)))),
            (2, (Some(job(1)), None)),
            (3, (None, None)),
            (4, (None, None)),
            (5, (Some(job(4)), None)),
            (6, (None, None)),
            (7, (None, None)),
            (8, (None, None)),
        ];
        for (number, links) in expect {
            assert_eq!(of(number), links, "{number}");
        }
    }
}
