//! What the page keeps of a record, and lists of the newest of them. Pure.

use std::collections::VecDeque;
use std::rc::Rc;

use remit_common::names::JobId;
use remit_common::text;

use super::super::record::AuditRecord;
use super::super::undo_links::CommitStep;
use super::counts::AgentName;
use super::signature::CitedSignature;

/// Maximum bytes of a sentence, a command and a word.
const SENTENCE: usize = 600;
const COMMAND: usize = 400;
const WORD: usize = 80;
/// Hexadecimal digits.
const HASH: usize = 64;
/// Of a digest that is in the record as a whole.
const DIGEST: usize = 16;
/// Bytes of a list of paths.
const CHANGES: usize = 1500;

/// A record that the page names. Its values are of the record, of whatever form, only cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cited {
    /// Its position in the order of reading.
    pub position: u64,
    pub seq: Option<u64>,
    pub hash: String,
    pub ms: Option<u64>,
    pub event: String,
    pub verdict: String,
    pub user: String,
    pub command: String,
    /// Why, in the requester's words or remit's.
    pub cause: String,
    pub reason: String,
    /// The rule that decided, with the approvers or the giver of the grant.
    pub rule: String,
    pub approver: String,
    /// `1 of 2`.
    pub approvals: String,
    pub signature: Option<CitedSignature>,
    /// What becomes of each path of a commit.
    pub plan_changes: String,
    /// The start of the hash of all that would run.
    pub digest: String,
    pub script_hash: String,
    pub commit: Option<CommitStep>,
    pub message: String,
    pub job: Option<JobId>,
    pub exit: String,
}

impl Cited {
    pub fn new(record: &AuditRecord, position: u64) -> Self {
        let cut =
            |value: Option<&str>, bytes| text::line(value.unwrap_or_default().as_bytes(), bytes);
        let word = |name| cut(record.own(name), WORD);
        let command = record.command();
        let number = match (record.own("EXIT"), record.own("SIGNAL")) {
            (Some(exit), _) => format!("status {exit}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => String::new(),
        };
        Self {
            position,
            seq: record.seq(),
            hash: cut(record.own("HASH"), HASH),
            ms: record.time_ms(),
            event: word("EVENT"),
            verdict: cut(record.word(), WORD),
            user: user(record).0,
            command: cut(command.as_deref(), COMMAND),
            cause: cut(record.own("CAUSE"), SENTENCE),
            reason: cut(record.own("REASON"), SENTENCE),
            rule: cut(record.own("RULE"), SENTENCE),
            approver: word("APPROVER"),
            approvals: word("APPROVALS"),
            signature: CitedSignature::from_record(record),
            plan_changes: cut(record.own("PLAN_CHANGES"), CHANGES),
            digest: cut(record.own("DIGEST"), DIGEST),
            script_hash: cut(record.own("SCRIPT_SHA256"), HASH),
            commit: CommitStep::from_record(record),
            message: cut(record.get("MESSAGE"), SENTENCE),
            job: record.job(),
            exit: cut(Some(&number), WORD),
        }
    }
}

/// Returns the requester's name and uid; of a record that has none, of no length.
pub fn user(record: &AuditRecord) -> AgentName {
    let word = |name| text::line(record.own(name).unwrap_or_default().as_bytes(), WORD);
    (word("USER"), word("UID"))
}

pub fn approver(record: &AuditRecord) -> AgentName {
    let word = |name| text::line(record.own(name).unwrap_or_default().as_bytes(), WORD);
    (word("APPROVER"), word("APPROVER_UID"))
}

/// The newest of a list, in the order of reading, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    pub cited: VecDeque<Rc<Cited>>,
    pub count: u64,
}

impl Newest {
    pub const MOST: usize = 300;

    pub fn add(&mut self, cited: &Rc<Cited>) {
        self.count += 1;
        self.cited.push_back(Rc::clone(cited));
        if self.cited.len() > Self::MOST {
            self.cited.pop_front();
        }
    }

    pub fn left_out(&self) -> u64 {
        self.count.saturating_sub(self.cited.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_are_kept_and_others_counted() {
        let mut newest = Newest::default();
        for position in 0..1000 {
            newest.add(&Rc::new(Cited {
                position,
                ..Cited::default()
            }));
        }
        let positions: Vec<u64> = newest.cited.iter().map(|cited| cited.position).collect();
        assert_eq!(positions, (700..1000).collect::<Vec<_>>());
        assert_eq!((newest.count, newest.left_out()), (1000, 700));
    }

    #[test]
    fn long_values_are_cut() {
        let long = "<".repeat(100_000);
        let line = format!(
            r#"{{"MESSAGE":"{long}","REMIT_USER":"{long}","REMIT_ARGV":"{long}","REMIT_HASH":"{long}","REMIT_SEQ":"7"}}"#
        );
        let cited = Cited::new(&AuditRecord::of_line(line.as_bytes(), 1), 3);
        let lengths = [&cited.message, &cited.user, &cited.command, &cited.hash].map(String::len);
        assert_eq!(
            lengths,
            [SENTENCE, WORD, COMMAND, HASH].map(|bytes| bytes + "…".len())
        );
        assert_eq!((cited.seq, cited.position), (Some(7), 3));
    }
}
