//! What one audit record says of a past decision: the request as far as the log has it, and how it was decided. Pure.

use std::collections::BTreeMap;

use remit_common::refusal::Code;
use remit_common::signed::Signed;
use remit_common::text;
use remit_trail::Event;
use remit_wire::Effect;
use remit_words::command_line::{self, LineWord};

use crate::commands::audit::AuditRecord;

/// Shown instead of a value that may be a secret.
const HIDDEN: &str = "***";
/// `RULE` of what the daemon starts itself: no rule decides about it.
const OF_DAEMON: [&str; 3] = [
    "approval.notify of remit.toml",
    "recovery of commits",
    "undo of what nobody confirmed",
];
const SHOWN: usize = 300;

/// How the rules decided then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastVerdict {
    Allowed,
    Asked,
    /// With the code of the refusal.
    Refused(String),
}

/// A value of the request. `Unknown` if the record does not have it as it was: hidden, truncated, escaped or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedValue<T> {
    Known(T),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastWhat {
    /// Any program, in a profile, with the names of the caller's variables.
    Run(String, RecordedValue<Vec<String>>),
    Try(String, RecordedValue<Vec<String>>),
    OneOff(String, RecordedValue<Vec<String>>),
    Named {
        name: String,
        effect: Effect,
        args: RecordedValue<Vec<(String, String)>>,
        has_stdin: bool,
        has_env: bool,
    },
    /// A command that followed a commit: the rule of the commit decided.
    Following,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRequest {
    pub seq: Option<u64>,
    pub job: Option<String>,
    pub at_ms: Option<u64>,
    pub user: String,
    pub uid: Option<u32>,
    /// `None`: the record was made by a remit that did not record groups.
    pub gids: Option<RecordedValue<Vec<u32>>>,
    pub what: PastWhat,
    pub past: PastVerdict,
    /// The rule that decided then, as recorded.
    pub rule: Option<String>,
    /// Digest of the policy of then.
    pub policy: String,
    /// The request on one line.
    pub shown: String,
    pub program: PastProgram,
}

/// What of the record makes a candidate of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastProgram {
    /// The argument list. Unknown if the record has not exactly it.
    pub argv: Option<Vec<String>>,
    pub is_script: bool,
    pub has_stdin: bool,
    pub cwd: String,
    /// Who could approve it.
    pub by: Option<String>,
    /// What each approver's signature had to prove.
    pub signed: Option<Signed>,
}

/// Reads who could approve a request: how many people, and of whom. `None`: of several lists.
pub fn approvers(by: &str) -> (usize, Option<Vec<&str>>) {
    let number = by.split_once(" of ");
    let number = number.and_then(|(count, rest)| Some((count.parse().ok()?, rest)));
    let (count, list) = number.unwrap_or((1, by));
    let words: Vec<&str> = match list.strip_prefix('(') {
        None => list.split(' ').collect(),
        Some(list) => match list.strip_suffix(')') {
            Some(list) => list.split(", ").collect(),
            None => return (count, None),
        },
    };
    let is_word = |word: &&str| !word.contains(['(', ')', ' ']) && *word != "and";
    (count, words.iter().all(is_word).then_some(words))
}

/// What a record is to a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// About something else.
    Other,
    Decided(Box<PastRequest>),
    /// Allowed, but waits for a slot. Its intent follows if it is started.
    Queued(String, Box<PastRequest>),
    /// The request with this id was approved by all whom its rule asks for.
    Approved(String),
    /// The request with this id waits no longer: denied, expired or void.
    Lapsed(String),
    /// A refusal for the state of the machine, a limit or a person's word, with its code.
    NotByRules(String),
    /// So many refusals that are in the log only as a number.
    Counted(u64),
}

pub fn seen(record: &AuditRecord) -> RecordKind {
    let own = |name: &str| record.own(name);
    let Some(event) = own("EVENT").and_then(Event::of_name) else {
        return RecordKind::Other;
    };
    if let (Event::Refusal, Some(count)) = (event, own("SUPPRESSED")) {
        return RecordKind::Counted(count.parse().unwrap_or(1));
    }
    if let (Event::Approved, Some(job)) = (event, own("JOB")) {
        let number = own("APPROVALS").and_then(|number| number.split_once(" of "));
        return match number.is_none_or(|(this, count)| this == count) {
            true => RecordKind::Approved(job.to_owned()),
            false => RecordKind::Other,
        };
    }
    if let (Event::Denied | Event::Expired | Event::Void, Some(job)) = (event, own("JOB")) {
        return RecordKind::Lapsed(job.to_owned());
    }
    let rule = own("RULE").unwrap_or_default();
    if own("ARGV").is_none() || OF_DAEMON.contains(&rule) {
        return RecordKind::Other;
    }
    let past = match event {
        // An approved request was decided when it was asked for.
        Event::Intent | Event::Queued if own("DIGEST").is_some() => return RecordKind::Other,
        Event::Intent | Event::Queued if is_by_grant(rule) => PastVerdict::Asked,
        Event::Intent | Event::Queued => PastVerdict::Allowed,
        Event::Asked => PastVerdict::Asked,
        Event::Refusal => {
            let code = own("VERDICT").unwrap_or_default();
            match is_by_rules(code, own("COMMAND").is_some()) {
                true => PastVerdict::Refused(code.to_owned()),
                false => return RecordKind::NotByRules(code.to_owned()),
            }
        }
        _ => return RecordKind::Other,
    };
    let request = Box::new(request(record, past));
    match (event, own("JOB")) {
        (Event::Queued, Some(job)) => RecordKind::Queued(job.to_owned(), request),
        _ => RecordKind::Decided(request),
    }
}

/// A temporary grant spared the approval that the rule asks for.
fn is_by_grant(rule: &str) -> bool {
    let grant = rule.rsplit_once(", grant ").map(|(_, grant)| grant);
    let number = grant.and_then(|grant| grant.split_once(" given by "));
    number.is_some_and(|(number, _)| number.parse::<u64>().is_ok())
}

/// Returns true if rules or the definition of a command led to this refusal. Those of programs never look at arguments.
fn is_by_rules(code: &str, is_named: bool) -> bool {
    let is = |other: Code| code == other.as_str();
    is(Code::DeniedRule) || is(Code::NotFound) || (is_named && is(Code::InvalidArgs))
}

fn request(record: &AuditRecord, past: PastVerdict) -> PastRequest {
    let own = |name: &str| record.own(name);
    let gids = own("GIDS").map(gids);
    let shown = record.command().unwrap_or_default();
    PastRequest {
        seq: record.seq(),
        job: own("JOB").map(str::to_owned),
        at_ms: record.time_ms(),
        user: own("USER").unwrap_or_default().to_owned(),
        uid: own("UID").and_then(|uid| uid.parse().ok()),
        what: what(record, gids.is_some()),
        gids,
        past,
        rule: own("RULE").map(str::to_owned),
        policy: own("POLICY").unwrap_or_default().to_owned(),
        shown: text::line(shown.as_bytes(), SHOWN),
        program: program(record),
    }
}

fn gids(text: &str) -> RecordedValue<Vec<u32>> {
    let gids = text.split(' ').map(|gid| gid.parse().ok()).collect();
    match gids {
        Some(gids) => RecordedValue::Known(gids),
        None => RecordedValue::Unknown,
    }
}

/// `has_env`: the record was made by a remit that records the names of variables.
fn what(record: &AuditRecord, has_env: bool) -> PastWhat {
    let own = |name: &str| record.own(name);
    let effect = match own("EFFECT") {
        Some("change") => Effect::Change,
        _ => Effect::Read,
    };
    // Its name in CLIENT is a claim.
    if own("FOLLOWS").is_some() {
        return PastWhat::Following;
    }
    if let Some(name) = own("COMMAND") {
        return PastWhat::Named {
            name: name.to_owned(),
            effect,
            args: args(own("ARGS").unwrap_or_default()),
            has_stdin: own("STDIN_SHA256").is_some(),
            has_env: own("ENV").is_some(),
        };
    }
    let env = match (own("ENV"), has_env) {
        (None, true) => RecordedValue::Known(Vec::new()),
        (None, false) => RecordedValue::Unknown,
        (Some(line), _) => match exact(command_line::words(line)) {
            Some(names) => RecordedValue::Known(names),
            None => RecordedValue::Unknown,
        },
    };
    let profile = own("PROFILE").unwrap_or_default().to_owned();
    let is_try = own("TRY").is_some() || own("VERDICT") == Some("try by root");
    match effect {
        _ if is_try => PastWhat::Try(profile, env),
        Effect::Read => PastWhat::Run(profile, env),
        Effect::Change => PastWhat::OneOff(profile, env),
    }
}

fn exact(words: Option<Vec<LineWord>>) -> Option<Vec<String>> {
    let exact = |word: LineWord| (!word.ambiguous).then_some(word.text);
    words?.into_iter().map(exact).collect()
}

fn args(line: &str) -> RecordedValue<Vec<(String, String)>> {
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        (value != HIDDEN).then(|| (name.to_owned(), value.to_owned()))
    };
    let words = exact(command_line::words(line));
    match words.and_then(|words| words.into_iter().map(pair).collect()) {
        Some(args) => RecordedValue::Known(args),
        None => RecordedValue::Unknown,
    }
}

fn program(record: &AuditRecord) -> PastProgram {
    let own = |name: &str| record.own(name);
    let is_script = own("SCRIPT").is_some();
    let is_exact = !is_script && own("ARGV_SHA256").is_none() && own("COMMAND").is_none();
    // Without a hash, nothing in it was escaped.
    let words = || command_line::words(own("ARGV")?);
    let argv = is_exact.then(words).flatten();
    PastProgram {
        argv: argv.map(|words| words.into_iter().map(|word| word.text).collect()),
        is_script,
        has_stdin: own("STDIN_SHA256").is_some(),
        cwd: own("CWD").unwrap_or("/").to_owned(),
        by: own("BY").map(str::to_owned),
        signed: record.signed(),
    }
}

/// Requests that waited for a slot, until the records of their starts.
#[derive(Debug, Default)]
pub struct QueuedRequests(BTreeMap<String, Box<PastRequest>>);

impl QueuedRequests {
    pub fn put(&mut self, job: String, request: Box<PastRequest>) {
        self.0.insert(job, request);
    }

    /// Forgets a request whose start was recorded: that decided.
    pub fn started(&mut self, record: &AuditRecord) {
        if let Some(job) = record
            .own("JOB")
            .filter(|_| record.own("EVENT") == Some("intent"))
        {
            self.0.remove(job);
        }
    }

    /// Those that never started: what decided then is all that is known.
    pub fn rest(self) -> impl Iterator<Item = Box<PastRequest>> {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> AuditRecord {
        AuditRecord::of_line(format!("{{{fields}}}").as_bytes(), 1)
    }

    fn request_of(fields: &str) -> PastRequest {
        match seen(&record(fields)) {
            RecordKind::Decided(request) => *request,
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn approvers_are_read_as_the_daemon_writes_them() {
        for (by, count, words) in [
            ("ann", 1, Some(&["ann"][..])),
            ("%sre ann", 1, Some(&["%sre", "ann"])),
            ("2 of %sre", 2, Some(&["%sre"])),
            ("3 of (%sre, ann)", 3, Some(&["%sre", "ann"])),
            ("(%sre, ann) and bob", 1, None),
            ("(%sre, ann) and (bob, eve)", 1, None),
            ("2 of (%sre, ann) and (bob, eve)", 2, None),
            ("2 of ann and bob", 2, None),
        ] {
            let (found, all) = approvers(by);
            assert_eq!((found, all.as_deref()), (count, words), "{by}");
        }
    }

    #[test]
    fn each_kind_of_record_is_distinguished() {
        for (fields, expect) in [
            (
                r#""REMIT_EVENT":"approved","REMIT_JOB":"7f""#,
                RecordKind::Approved("7f".into()),
            ),
            (
                r#""REMIT_EVENT":"approved","REMIT_JOB":"7f","REMIT_APPROVALS":"1 of 2""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"approved","REMIT_JOB":"7f","REMIT_APPROVALS":"2 of 2""#,
                RecordKind::Approved("7f".into()),
            ),
            (
                r#""REMIT_EVENT":"denied","REMIT_JOB":"7f","REMIT_ARGV":"df""#,
                RecordKind::Lapsed("7f".into()),
            ),
            (
                r#""REMIT_EVENT":"expired","REMIT_JOB":"7f""#,
                RecordKind::Lapsed("7f".into()),
            ),
            (
                r#""REMIT_EVENT":"expired","REMIT_GRANT":"7""#,
                RecordKind::Other,
            ),
            (r#""REMIT_EVENT":"start""#, RecordKind::Other),
            (
                r#""REMIT_EVENT":"no-such","REMIT_ARGV":"df""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"end","REMIT_ARGV":"df""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"busy""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_DIGEST":"00""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_RULE":"recovery of commits""#,
                RecordKind::Other,
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_SUPPRESSED":"7""#,
                RecordKind::Counted(7),
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"locked","REMIT_ARGV":"a""#,
                RecordKind::NotByRules("locked".into()),
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"invalid_args","REMIT_ARGV":"a""#,
                RecordKind::NotByRules("invalid_args".into()),
            ),
        ] {
            assert_eq!(seen(&record(fields)), expect, "{fields}");
        }
    }

    #[test]
    fn past_verdict_is_that_of_the_rules() {
        for (fields, expect) in [
            (
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_RULE":"r (f:1)""#,
                PastVerdict::Allowed,
            ),
            (
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_RULE":"r (f:1), grant 3 given by bob""#,
                PastVerdict::Asked,
            ),
            (
                r#""REMIT_EVENT":"asked","REMIT_ARGV":"a""#,
                PastVerdict::Asked,
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"denied_rule","REMIT_ARGV":"a""#,
                PastVerdict::Refused("denied_rule".into()),
            ),
            (
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"invalid_args","REMIT_ARGV":"a","REMIT_COMMAND":"a.b""#,
                PastVerdict::Refused("invalid_args".into()),
            ),
        ] {
            assert_eq!(request_of(fields).past, expect, "{fields}");
        }
    }

    #[test]
    fn what_is_not_recorded_as_it_was_is_unknown() {
        let named = |args: &str| {
            let fields = format!(
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_COMMAND":"a.b","REMIT_ARGS":{}"#,
                serde_json::to_string(args).unwrap()
            );
            match request_of(&fields).what {
                PastWhat::Named { args, .. } => args,
                other => panic!("{other:?}"),
            }
        };
        let known = |name: &str, value: &str| {
            RecordedValue::Known(vec![(name.to_owned(), value.to_owned())])
        };
        assert_eq!(named("x=1"), known("x", "1"));
        assert_eq!(named("'x=a b=c'"), known("x", "a b=c"));
        assert_eq!(named(""), RecordedValue::Known(Vec::new()));
        for unknown in ["x='***'", "'x=***'", r"'x=a\x1bb'", "x=1…", "x", "'x=1"] {
            assert_eq!(named(unknown), RecordedValue::Unknown, "{unknown}");
        }
        let env = |fields: &str| {
            let fields = format!(r#""REMIT_EVENT":"intent","REMIT_ARGV":"a"{fields}"#);
            match request_of(&fields).what {
                PastWhat::Run(_, env) => env,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(env(""), RecordedValue::Unknown);
        assert_eq!(
            env(r#","REMIT_GIDS":"1 2""#),
            RecordedValue::Known(Vec::new())
        );
        let names = RecordedValue::Known(vec!["A".to_owned(), "B".to_owned()]);
        assert_eq!(env(r#","REMIT_GIDS":"1","REMIT_ENV":"A B""#), names);
        assert_eq!(
            env(r#","REMIT_GIDS":"1","REMIT_ENV":"A…""#),
            RecordedValue::Unknown
        );
        let gids = |fields: &str| {
            request_of(&format!(
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a"{fields}"#
            ))
            .gids
        };
        assert_eq!(gids(""), None);
        assert_eq!(
            gids(r#","REMIT_GIDS":"1 2""#),
            Some(RecordedValue::Known(vec![1, 2]))
        );
        assert_eq!(
            gids(r#","REMIT_GIDS":"1 2…""#),
            Some(RecordedValue::Unknown)
        );
    }

    #[test]
    fn requests_are_distinguished() {
        let what = |fields: &str| {
            request_of(&format!(
                r#""REMIT_EVENT":"intent","REMIT_ARGV":"a","REMIT_GIDS":"1","REMIT_PROFILE":"p"{fields}"#
            ))
            .what
        };
        let none = || RecordedValue::Known(Vec::new());
        for (fields, expect) in [
            ("", PastWhat::Run("p".into(), none())),
            (
                r#","REMIT_EFFECT":"change""#,
                PastWhat::OneOff("p".into(), none()),
            ),
            (
                r#","REMIT_EFFECT":"change","REMIT_TRY":"yes""#,
                PastWhat::Try("p".into(), none()),
            ),
            (
                r#","REMIT_VERDICT":"try by root""#,
                PastWhat::Try("p".into(), none()),
            ),
            (
                r#","REMIT_FOLLOWS":"7f3a91c20000000000000000000000aa""#,
                PastWhat::Following,
            ),
            (
                r#","REMIT_CLIENT":"remitd, after job 7f3a91c2""#,
                PastWhat::Run("p".into(), none()),
            ),
        ] {
            assert_eq!(what(fields), expect, "{fields}");
        }
    }

    #[test]
    fn argv_is_known_only_if_it_is_exact() {
        let argv = |fields: &str| {
            request_of(&format!(r#""REMIT_EVENT":"intent","REMIT_ARGV":{fields}"#))
                .program
                .argv
        };
        let of = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(argv(r#""df '-h x'""#), of(&["df", "-h x"]));
        assert_eq!(argv(r#""grep 'a\\nb'""#), of(&["grep", r"a\nb"]));
        for inexact in [
            r#""df\\x1b","REMIT_ARGV_SHA256":"00""#,
            r#""df…","REMIT_ARGV_SHA256":"00""#,
            r#""sh script: df","REMIT_SCRIPT":"df""#,
            r#""df","REMIT_COMMAND":"a.b""#,
        ] {
            assert_eq!(argv(inexact), None, "{inexact}");
        }
    }
}
