//! Checks the signatures of approvers in an audit log, years later and without the daemon: `remit audit verify --signers`.
//! The keys are those of the file as it is now; whether one was valid is judged at the time of the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use remit_approval::Statement;
use remit_approval::signers::{Signer, Signers};
use remit_approval::verifier::{Answer, Bad, Good, Question};
use remit_common::admin::AuditHead;
use remit_common::calendar;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{NAMESPACE, Signed, Touch, armored, proves};
use remit_common::text;
use remit_trail::unhex;
use serde_json::{Value, json};

use super::record::AuditRecord;
use super::verify::RecordReader;
use crate::client::verifier;
use crate::error::Failure;
use crate::render::units;

/// Signatures in a log: each takes a process of a few milliseconds.
const MOST: usize = 100_000;
/// Requests whose first record is remembered.
const ASKED: usize = 100_000;
const NAME: usize = 100;

/// A signed approval as its record has it.
#[derive(Debug)]
struct Signature {
    seq: u64,
    at_ms: u64,
    approver: String,
    /// Made of the record's fields. `None`: one is missing or cannot be read.
    statement: Option<Statement>,
    /// Id of the machine that the journal names.
    machine: Option<String>,
    signature: String,
    fingerprint: String,
    flags: Option<String>,
    counter: Option<String>,
    /// What its rule asks for.
    demand: Option<Signed>,
    asked: Link,
}

/// The first record of a request, which the text names.
#[derive(Clone, Debug)]
struct RecordedRequest {
    seq: u64,
    hash: String,
    demand: Option<Signed>,
}

#[derive(Debug)]
enum Link {
    To(RecordedRequest),
    /// It is older than the records that were read.
    Unread,
    /// The records of that time were read.
    Missing,
}

#[derive(Debug, Default)]
pub struct Signatures {
    first: Option<u64>,
    asked: BTreeMap<String, RecordedRequest>,
    signed: Vec<Signature>,
    /// Approvals without a signature, of which none was asked for.
    unsigned: u64,
    /// Number and approver of records without the signature that their rule asks for.
    stripped: Vec<(u64, String)>,
    more: u64,
}

impl RecordReader for Signatures {
    fn take(&mut self, record: &AuditRecord) {
        let own = |name: &str| record.own(name).map(str::to_owned);
        let job = own("JOB").unwrap_or_default();
        let demand = record.signed();
        let seq = record.seq().unwrap_or_default();
        self.first = self.first.or(record.seq());
        match record.own("EVENT") {
            Some("asked") => {
                if let (Some(seq), Some(hash)) = (record.seq(), own("HASH"))
                    && self.asked.len() < ASKED
                {
                    self.asked
                        .insert(job, RecordedRequest { seq, hash, demand });
                }
            }
            Some("approved") => {
                let approver = own("APPROVER").unwrap_or_default();
                let asked = self.asked.get(&job);
                let demand = demand.max(asked.and_then(|asked| asked.demand));
                let Some(signature) = own("SIGNATURE") else {
                    match demand {
                        None => self.unsigned += 1,
                        Some(_) if self.stripped.len() < MOST => {
                            self.stripped.push((seq, approver));
                        }
                        Some(_) => self.more += 1,
                    }
                    return;
                };
                let statement = statement(record);
                let head = statement.as_ref().map(|one| one.head.seq);
                let is_read = self.first.is_some() && head >= self.first;
                let link = match asked {
                    Some(asked) => Link::To(asked.clone()),
                    None if is_read && self.asked.len() < ASKED => Link::Missing,
                    None => Link::Unread,
                };
                if self.signed.len() == MOST {
                    self.more += 1;
                    return;
                }
                self.signed.push(Signature {
                    seq,
                    at_ms: record.time_ms().unwrap_or_default(),
                    approver,
                    demand,
                    asked: link,
                    statement,
                    machine: record.origin.machine.clone(),
                    signature,
                    fingerprint: own("SIGNED_BY").unwrap_or_default(),
                    flags: own("SIGNED_FLAGS"),
                    counter: own("SIGNED_COUNTER"),
                });
            }
            _ => {}
        }
    }
}

fn statement(record: &AuditRecord) -> Option<Statement> {
    let (seq, hash) = record.own("SIGNED_RECORD")?.split_once(':')?;
    Some(Statement {
        summary: record.own("SIGNED_SUMMARY")?.to_owned(),
        host: record.own("SIGNED_HOST")?.to_owned(),
        job: record.job()?,
        digest: unhex(record.own("DIGEST")?)?,
        expires_ms: record.own("EXPIRES")?.parse().ok()?,
        head: AuditHead {
            seq: seq.parse().ok()?,
            hash: unhex(hash)?,
        },
    })
}

/// The result of the check of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVerdict<'a> {
    Good { note: Option<&'a str> },
    Bad { why: &'a str },
}

/// What was found out about the signatures of a log.
#[derive(Debug, Default)]
pub struct SignaturesReport {
    /// Numbers of the records.
    good: Vec<u64>,
    /// Ids of the machines that the good ones were made for.
    machines: BTreeSet<String>,
    unsigned: u64,
    /// Number of the record, and a sentence.
    findings: Vec<(u64, String)>,
    notes: Vec<(u64, String)>,
}

/// Reads the keys.
pub fn read_signers(file: &Path) -> Result<Signers, Failure> {
    let wrong = |why: String| {
        let text = format!("cannot use '{}': {why}", file.display());
        Failure::Input(
            Refusal::new(Code::InvalidArgs, text)
                .next("ssh-keygen(1) has the format, ALLOWED SIGNERS"),
        )
    };
    let bytes = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    Signers::parse(&bytes).map_err(|error| wrong(error.to_string()))
}

impl Signatures {
    /// Judges each of them.
    pub fn check(self, keys: &Signers, now_ms: u64) -> Result<SignaturesReport, Failure> {
        let mut report = SignaturesReport {
            unsigned: self.unsigned,
            ..SignaturesReport::default()
        };
        let finding = |approver: &str, why: String| {
            let approver = text::line(approver.as_bytes(), NAME);
            format!("the approval by {approver} is not proven: {why}")
        };
        for (seq, approver) in self.stripped {
            let why = "its rule asks for a signature, and it has none".to_owned();
            report.findings.push((seq, finding(&approver, why)));
        }
        let mut counted = BTreeSet::new();
        for one in self.signed {
            let mut judged = one.check(keys, now_ms)?;
            let job = one.statement.as_ref().map(|statement| statement.job);
            if judged.is_ok() && !counted.insert((job, one.fingerprint.clone())) {
                judged = Err("its key has signed an earlier approval of this request".to_owned());
            }
            match judged {
                Ok(note) => {
                    report.good.push(one.seq);
                    report
                        .machines
                        .extend(one.statement.map(|statement| statement.host));
                    report.notes.extend(note.map(|note| (one.seq, note)));
                }
                Err(why) => {
                    report.findings.push((one.seq, finding(&one.approver, why)));
                }
            }
        }
        if self.more > 0 {
            let why = format!(
                "{} more were not checked",
                units::count(self.more, "signature")
            );
            report.findings.push((0, why));
        }
        Ok(report)
    }
}

type Judged = Result<Option<String>, String>;

impl Signature {
    fn check(&self, keys: &Signers, now_ms: u64) -> Result<Judged, Failure> {
        let Some(statement) = &self.statement else {
            return Ok(Err(
                "the record does not have all that was signed".to_owned()
            ));
        };
        if self
            .machine
            .as_ref()
            .is_some_and(|id| *id != statement.host)
        {
            let why = "it was signed for another machine than the record's";
            return Ok(Err(why.to_owned()));
        }
        let question = Question {
            namespace: NAMESPACE.to_owned(),
            text: statement.to_string(),
            signature: armored(&self.signature),
            keys: keys
                .0
                .iter()
                .map(|key| (key.line, key.key.clone()))
                .collect(),
        };
        // One record does not keep the others from being checked.
        let answer = match question.is_too_long() {
            true => Answer::Bad(Bad::NotASignature),
            false => verifier::ask(&question)?,
        };
        Ok(self.judge(statement, &answer, keys, now_ms))
    }

    /// Compares what was verified with the record. Returns a note, if there is something to say of a good one.
    fn judge(&self, statement: &Statement, answer: &Answer, keys: &Signers, now_ms: u64) -> Judged {
        let good = match answer {
            Answer::Good(good) => good,
            Answer::Bad(bad) => return Err(bad.to_string()),
        };
        if good.fingerprint != self.fingerprint || self.reported() != report_of(good) {
            return Err("the record names another key, or another report of the key".to_owned());
        }
        if let Some(Err(why)) = self.demand.map(|demand| proves(good.touch, demand)) {
            return Err(format!("its rule asks for more: {why}"));
        }
        let used = || keys.0.iter().filter(|key| good.lines.contains(&key.line));
        let own: Vec<&Signer> = used().filter(|key| key.is_of(&self.approver)).collect();
        if own.is_empty() {
            return Err("its key is not one of this account".to_owned());
        }
        let is_then = |key: &&&Signer| key.refuses(self.at_ms).is_none();
        if own.iter().find(is_then).is_none() {
            let why = own.first().and_then(|key| key.refuses(self.at_ms));
            return Err(format!(
                "{}, and it signed later or earlier",
                why.unwrap_or_default()
            ));
        }
        let ended = own.iter().all(|key| key.refuses(now_ms).is_some());
        let head = &statement.head;
        let is_linked = match &self.asked {
            Link::To(asked) => Some(head.seq == asked.seq && unhex(&asked.hash) == Some(head.hash)),
            Link::Unread => None,
            Link::Missing => return Err("the record of its request is missing".to_owned()),
        };
        match is_linked {
            Some(false) => Err("it names another record than that of its request".to_owned()),
            None => Ok(Some(
                "good; the record of its request was not read, so the log before it was not compared".to_owned(),
            )),
            Some(true) if ended => {
                let time = calendar::timestamp(self.at_ms);
                Ok(Some(format!("good: its key was valid then ({time}), and is no longer")))
            }
            Some(true) => Ok(None),
        }
    }

    fn reported(&self) -> [Option<String>; 2] {
        [self.flags.clone(), self.counter.clone()]
    }
}

fn with_record((seq, text): &(u64, String)) -> String {
    match seq {
        0 => text.clone(),
        seq => format!("record {seq}: {text}"),
    }
}

fn report_of(good: &Good) -> [Option<String>; 2] {
    let part = |of: fn(Touch) -> String| good.touch.map(of);
    [
        part(|touch| touch.flags.to_string()),
        part(|touch| touch.counter.to_string()),
    ]
}

impl SignaturesReport {
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns how many are good, and how many are not.
    pub fn summary(&self) -> String {
        let (good, bad) = (self.good.len(), self.findings.len());
        let unsigned = units::count(self.unsigned, "approval");
        format!("{good} good, {bad} not, {unsigned} without one")
    }

    /// Returns the result of each record by its number. Of several with one number, the worst.
    pub fn verdicts(&self) -> BTreeMap<u64, SignatureVerdict<'_>> {
        let good = self.good.iter();
        let good = good.map(|seq| (*seq, SignatureVerdict::Good { note: None }));
        let notes = self.notes.iter();
        let notes = notes.map(|(seq, note)| (*seq, SignatureVerdict::Good { note: Some(note) }));
        let bad = self.findings.iter();
        let bad = bad.map(|(seq, why)| (*seq, SignatureVerdict::Bad { why }));
        good.chain(notes).chain(bad).collect()
    }

    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("signatures", self.summary())];
        facts.extend(self.machines.iter().map(|id| ("signed for", id.clone())));
        facts.extend(self.findings().into_iter().map(|text| ("finding", text)));
        facts.extend(self.notes.iter().map(|one| ("note", with_record(one))));
        facts
    }

    pub fn findings(&self) -> Vec<String> {
        self.findings.iter().map(with_record).collect()
    }

    pub fn json(&self) -> Value {
        let list = |all: &[(u64, String)]| -> Vec<Value> {
            let one = |(seq, text): &(u64, String)| json!({ "seq": seq, "text": text });
            all.iter().map(one).collect()
        };
        json!({
            "good": self.good.len(),
            "machines": self.machines,
            "unsigned": self.unsigned,
            "findings": list(&self.findings),
            "notes": list(&self.notes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    /// Checks one approval, of a request whose rule asks for `demand`.
    fn checked(demand: Option<&str>, fields: &[(&str, &str)]) -> SignaturesReport {
        let (job, digest) = ("7f".repeat(16), "01".repeat(32));
        let mut signatures = Signatures::default();
        for (seq, event, own) in [("1", "asked", &[][..]), ("2", "approved", fields)] {
            let mut record = AuditRecord::of_line(b"{\"MESSAGE\":\"m\"}", 1);
            let demanded = demand.map(|demand| ("SIGNED", demand));
            let common = [
                ("SEQ", seq),
                ("EVENT", event),
                ("JOB", &job),
                ("DIGEST", &digest),
                ("APPROVER", "ann"),
                ("EXPIRES", "1800000000005"),
                ("HASH", &digest),
            ];
            for (name, value) in common.iter().chain(&demanded).chain(own) {
                let named = (format!("REMIT_{name}"), (*value).to_owned());
                record.entry.fields.push(named);
            }
            signatures.take(&record);
        }
        let keys = Signers::parse(KEY.as_bytes()).unwrap();
        signatures.check(&keys, 0).unwrap()
    }

    #[test]
    fn approval_without_a_signature_counts_once() {
        for (demand, summary) in [
            (None, "0 good, 0 not, 1 approval without one"),
            (Some("key"), "0 good, 1 not, 0 approvals without one"),
        ] {
            assert_eq!(checked(demand, &[]).summary(), summary);
        }
    }

    #[test]
    fn what_is_longer_than_any_signature_is_a_finding() {
        let fields = [
            ("SIGNED_SUMMARY", "alice asks"),
            ("SIGNED_HOST", &"0f".repeat(16)),
            ("SIGNED_RECORD", &format!("1:{}", "01".repeat(32))),
            ("SIGNATURE", &"A".repeat(100_000)),
        ];
        let report = checked(Some("key"), &fields);
        let found = report.findings();
        assert_eq!((found.len(), report.good.len()), (1, 0), "{found:?}");
        assert!(found[0].contains("not a whole signature"), "{found:?}");
    }
}
