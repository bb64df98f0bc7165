//! Arguments of `remit audit` and `remit history`, and how they read a time.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use remit_audit_verify::Expected;
use remit_common::builtin::Time;
use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::Code;
use remit_common::span;
use remit_trail::{Event, RecordVerdict};
use remit_wire::Kind;
use remit_wire::outcome::State;

/// How many records are shown unless somebody says otherwise, and at most.
const SHOWN: u32 = 50;
const SHOWN_MOST: i64 = 100_000;

/// What to do with the records.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Check that all records are there, in order and unchanged
    Verify(VerifyArgs),
    /// List the newest records, one a line; or show all records of one job
    Show(RecordsArgs),
    /// Print records as JSON Lines, with exactly the fields that their hashes cover
    Export(ExportArgs),
    /// Write a page for auditors, one HTML file: what was asked, refused, approved and changed, and if the audit log is whole
    Report(AuditReportArgs),
}

/// Where the records are.
#[derive(Debug, Args)]
pub struct RecordSourceArgs {
    /// Read this file, several from the oldest on; '-' is standard input [default: the daemon's audit log]
    #[arg(long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// Configuration directory; its remit.toml says where records go [default: the daemon says it, or /etc/remit]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub config: Option<PathBuf>,

    /// The daemon's state directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/var/lib/remit")]
    pub state: PathBuf,
}

/// Of what time.
#[derive(Debug, Args)]
pub struct SpanArgs {
    /// From this time on: '-1h', '-30m', today, yesterday, '2026-11-20 08:30', 2026-11-20T08:30:00Z; UTC without an offset
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    pub since: Option<Time>,

    /// Up to this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    pub until: Option<Time>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub span: SpanArgs,

    /// A record that an earlier 'verify' printed: it must still be there, unless the log begins after it; may be given again
    #[arg(long, value_name = "SEQ:HASH", value_parser = expected)]
    pub expect: Vec<Expected>,

    /// Check the signatures of approvers by the keys in this file (allowed_signers of ssh-keygen(1)), as of when each was made
    #[arg(long, value_name = "FILE", conflicts_with = "journal", value_hint = ValueHint::FilePath)]
    pub signers: Option<PathBuf>,

    /// Verify each host whose journal a collector (systemd-journal-remote) keeps in this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["since", "until", "expect", "files", "config", "state"])]
    pub journal: Option<PathBuf>,

    /// With --journal: the directory that remembers the newest record of each host [default: ~/.local/state/remit/heads]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "journal")]
    pub heads: Option<PathBuf>,

    /// With --journal: accept what is found of a host, as 'to accept' says, if this is still its newest record; may be given again
    #[arg(long, value_name = "HOST@SEQ:HASH", requires = "journal", value_parser = accepted)]
    pub accept: Vec<AcceptedHost>,

    /// With --journal: a host of which nothing was heard for so long is a finding
    #[arg(long, value_name = "TIME", requires = "journal", value_parser = silence)]
    pub silent_after: Option<u32>,

    #[command(flatten)]
    pub source_args: RecordSourceArgs,
}

/// A host, and its newest record when a person looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedHost {
    pub host: String,
    /// Number and first digits of the hash. `None`: there was no record.
    newest: Option<(u64, String)>,
}

impl AcceptedHost {
    /// Fewer digits of a hash may fit another record.
    const DIGITS: usize = 16;

    pub fn is(&self, newest: Option<Expected>) -> bool {
        match (&self.newest, newest) {
            (None, None) => true,
            (Some((seq, digits)), Some(newest)) => {
                *seq == newest.seq && remit_trail::hex(&newest.hash).starts_with(digits)
            }
            _ => false,
        }
    }
}

fn accepted(text: &str) -> Result<AcceptedHost, &'static str> {
    const WRONG: &str = "not a host and its newest record; copy it from 'to accept' of 'remit audit verify --journal': \
                         HOST@SEQ:HASH or HOST@none";
    let (host, record) = text.rsplit_once('@').ok_or(WRONG)?;
    let newest = match record {
        "none" => None,
        _ => {
            let (seq, digits) = record.split_once(':').ok_or(WRONG)?;
            let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(WRONG)?;
            let digits = digits.to_ascii_lowercase();
            let is_hash = (AcceptedHost::DIGITS..=64).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash.then_some((seq, digits)).ok_or(WRONG).map(Some)?
        }
    };
    Ok(AcceptedHost {
        host: host.to_owned(),
        newest,
    })
}

fn silence(text: &str) -> Result<u32, String> {
    let seconds = span::seconds(text).map_err(|error| error.to_string())?;
    Ok(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// How a job ends; lists show it in the column of verdicts.
const ENDS: [State; 8] = [
    State::Exited,
    State::Signalled,
    State::TimedOut,
    State::OomKilled,
    State::OutputLimit,
    State::Cancelled,
    State::Interrupted,
    State::NotStarted,
];
/// What lists call those of requests or people may type, and what records have.
const SHORT: [(&str, &str); 5] = [
    ("asked", Code::NeedsApproval.as_str()),
    ("denied", Code::ApprovalDenied.as_str()),
    ("expired", Code::ApprovalExpired.as_str()),
    ("void", Code::ApprovalVoid.as_str()),
    ("try", RecordVerdict::TryByRoot.name()),
];

fn verdict(text: &str) -> Result<String, String> {
    let codes = Code::ALL.map(Code::as_str);
    let ends = ENDS.map(State::as_str);
    let verdicts = RecordVerdict::ALL.map(RecordVerdict::name);
    let mut words = verdicts.iter().chain(&codes).chain(&ends);
    if let Some(word) = words.find(|word| **word == text) {
        return Ok((*word).to_owned());
    }
    if let Some((_, word)) = SHORT.iter().find(|(short, _)| *short == text) {
        return Ok((*word).to_owned());
    }
    let short = SHORT.iter().map(|(short, _)| *short);
    let codes = codes.into_iter().filter(|code| !is_of_end(code));
    let all: Vec<&str> = short.chain(verdicts).chain(ends).chain(codes).collect();
    Err(format!(
        "no record has this verdict; there are: {}",
        all.join(", ")
    ))
}

/// Returns true for the word of a job's end: it is the record's state, not its verdict.
pub fn is_of_end(word: &str) -> bool {
    ENDS.iter().any(|state| state.as_str() == word)
}

/// Which records.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// About this user, by name or uid, also as approver
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// About this job, by its id or how it begins: 4 digits or more
    #[arg(long, value_name = "JOB")]
    pub job: Option<IdPrefix>,

    /// With this number
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub seq: Option<u64>,

    /// With this verdict, such as allow, denied_rule, approved, denied, void or timed_out
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub verdict: Option<String>,

    /// Of this kind, such as intent, end, refusal or approved; may be given again
    #[arg(long, value_name = "EVENT", value_parser = event(), hide_possible_values = true)]
    pub event: Vec<Event>,

    /// With this text in the command, or in what becomes of the files of its plan; in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub command: Option<String>,

    #[command(flatten)]
    pub span: SpanArgs,
}

#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// Tell all of this job: its id or how it begins, 4 digits or more
    #[arg(value_name = "JOB",
          conflicts_with_all = ["user", "job", "seq", "verdict", "event", "command", "since", "until", "lines"])]
    pub story: Option<IdPrefix>,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Show the newest N
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = SHOWN,
          value_parser = clap::value_parser!(u32).range(1..=SHOWN_MOST))]
    pub lines: u32,

    #[command(flatten)]
    pub source_args: RecordSourceArgs,
}

/// A format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// How records are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Jsonl, hide_possible_values = true)]
    pub format: Format,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub source_args: RecordSourceArgs,
}

#[derive(Debug, Args)]
pub struct AuditReportArgs {
    #[command(flatten)]
    pub span: SpanArgs,

    /// Write the page to this file, for its owner alone; '-' is standard output
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// Replace the file also if it is no report
    #[arg(long)]
    pub force: bool,

    /// A record that an earlier 'verify' or report printed: it must still be there, unless the log begins after it; may be given again
    #[arg(long, value_name = "SEQ:HASH", value_parser = expected)]
    pub expect: Vec<Expected>,

    /// Check the signatures of approvers by the keys in this file, as 'verify' does
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub signers: Option<PathBuf>,

    #[command(flatten)]
    pub source_args: RecordSourceArgs,
}

fn event() -> impl TypedValueParser<Value = Event> {
    PossibleValuesParser::new(Event::ALL.map(Event::name))
        .try_map(|name| Event::of_name(&name).ok_or("there is no such event"))
}

/// A record's number and its hash, as they are printed for keeping.
fn expected(text: &str) -> Result<Expected, &'static str> {
    const WRONG: &str = "it is no record: its number, ':' and the 64 digits of its hash";
    let (seq, hash) = text.split_once(':').ok_or(WRONG)?;
    let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(WRONG)?;
    let hash = remit_trail::unhex(hash.to_ascii_lowercase()).ok_or(WRONG)?;
    Ok(Expected { seq, hash })
}

fn time(text: &str) -> Result<Time, &'static str> {
    text.parse().map_err(|_: &str| {
        "not a time; examples: -2h, -30m, today, yesterday, 2026-11-20, '2026-11-20 08:30'; UTC without an offset"
    })
}

/// How many entries are shown unless somebody says otherwise, and at most.
const HISTORY_LIMIT: u32 = 20;
const HISTORY_MOST: i64 = 10_000;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Of all users; the default for administrators
    #[arg(long, conflicts_with_all = ["user", "mine"])]
    pub all: bool,

    /// Only your own, also if you are an administrator
    #[arg(long, conflicts_with = "user")]
    pub mine: bool,

    /// Only of this user (administrators)
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// From this time on: -2h, today, 2026-11-20, '2026-11-20 10:00' (UTC)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    pub since: Option<Time>,

    /// Only this: asked, decided, started, ended or refused
    #[arg(long, value_name = "KIND", value_parser = kind_parser())]
    pub kind: Option<Kind>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = HISTORY_LIMIT, value_parser = clap::value_parser!(u32).range(1..=HISTORY_MOST))]
    pub limit: u32,

    /// Only entries before this number: the next page
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,
}

fn kind_parser() -> impl TypedValueParser<Value = Kind> {
    let names = Kind::ALL.map(Kind::as_str);
    PossibleValuesParser::new(names).try_map(|name| {
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or("no such kind")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_of_a_record_can_be_asked_for() {
        let words = RecordVerdict::ALL.map(RecordVerdict::name);
        for word in words.into_iter().chain(Code::ALL.map(Code::as_str)) {
            assert_eq!(verdict(word), Ok(word.to_owned()));
        }
        for (short, word) in [
            ("try", "try by root"),
            ("asked", "needs_approval"),
            ("void", "approval_void"),
        ] {
            assert_eq!(verdict(short), Ok(word.to_owned()));
        }
        let unknown = verdict("tried").unwrap_err();
        assert!(unknown.contains(", undone_partly, "), "{unknown}");
    }

    #[test]
    fn expected_record_is_number_and_hash() {
        let hash = "0123456789abcdef".repeat(4);
        let found = expected(&format!("7:{hash}")).unwrap();
        assert_eq!((found.seq, found.hash[1]), (7, 0x23));
        assert_eq!(expected(&format!("7:{}", hash.to_uppercase())), Ok(found));
        for wrong in [
            String::new(),
            "7".into(),
            "7:".into(),
            hash.clone(),
            format!("0:{hash}"),
            format!("-1:{hash}"),
            format!("7:{hash}0"),
            format!("7:{}", hash.replace('f', "g")),
        ] {
            assert!(expected(&wrong).is_err(), "{wrong}");
        }
    }
}
