//! Groups the answers of many hosts by what is the same. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::events;
use crate::link::answer::{ToolResult, is_well};
use crate::link::{Answered, Unreachable};

/// Texts of a job or a plan. All else of its result is compared as it is.
const OUTPUT: [&str; 3] = ["stdout", "stderr", "diff"];
/// Fields that differ from job to job and say nothing about the host.
const VOLATILE: [&str; 11] = [
    "job_id",
    "request_id",
    "created_ms",
    "started_ms",
    "ended_ms",
    "runtime_ms",
    "cpu_ms",
    "cpu_usec",
    "waited_ms",
    "memory_peak",
    "elapsed_ms",
];

/// Results of other jobs in a result: commands that followed, the program of a plan and its checks.
const OF_JOBS: [&str; 3] = ["then", "ran", "checks"];

/// States of a job whose output may still grow.
const OPEN: [&str; 3] = ["awaiting_approval", "queued", "running"];

/// Bytes of the facts. More are a text, so that a host cannot crowd out the others.
const FACTS: usize = 4096;
/// Facts that say how a job ended. They stay facts, as far as they fit, if the others are a text.
const END: [&str; 5] = ["state", "exit", "signal", "cause", "error"];
/// Bytes of a job's id. Those of remit have 36.
const JOB: usize = 64;

/// What counts as the same output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fold {
    /// White space at the ends of lines and of the text does not count, except in a diff.
    #[default]
    Exact,
    /// Numbers and the width of columns do not count, either.
    Numbers,
}

/// What one host answered.
pub type Outcome = Result<ToolResult, Unreachable>;

/// The same answer of one or more hosts.
#[derive(Debug, PartialEq)]
pub struct Group {
    pub hosts: Vec<String>,
    pub is_error: bool,
    /// The result without its texts.
    pub facts: Map<String, Value>,
    /// Texts by their names. A result without output is one text, `data`.
    pub texts: BTreeMap<&'static str, String>,
    /// What the text `data` shows. Empty without it.
    pub data: Map<String, Value>,
    /// The job of each host, if its output is not all here or it still runs.
    pub jobs: Vec<(String, Value)>,
    /// Some of these hosts have other numbers than the texts, which are of the first one.
    pub has_other_numbers: bool,
    /// A list of jobs or records, of which the others have ids and times of their own.
    pub has_other_ids: bool,
}

impl Group {
    /// Returns true for a refusal, or a job that ended otherwise than well.
    fn has_failed(&self) -> bool {
        let state = self.facts.get("state").and_then(Value::as_str);
        let has_ended = state.is_some_and(|state| !OPEN.contains(&state));
        self.is_error || has_ended && !is_well(&self.facts)
    }
}

#[derive(Debug, PartialEq)]
pub struct Grouped {
    /// The largest first, then those that failed, then by their first host. The first of all is one of the largest: the
    /// others are shown as the difference from it.
    pub groups: Vec<Group>,
    /// Reasons, each with its hosts.
    pub unreachable: Vec<(String, Vec<String>)>,
    pub asked: usize,
}

/// Groups the answers of a call to `asked` hosts, of which some may be shown in another form.
pub fn of_answers(
    answers: Vec<(String, Result<Answered, Unreachable>)>,
    fold: Fold,
    asked: usize,
) -> Grouped {
    let outcomes = answers
        .into_iter()
        .map(|(host, answer)| (host, answer.map(|answered| answered.result)));
    Grouped {
        asked,
        ..group(outcomes, fold)
    }
}

/// Groups outcomes that are in the order of hosts.
pub fn group(outcomes: impl IntoIterator<Item = (String, Outcome)>, fold: Fold) -> Grouped {
    let mut grouped = Grouped {
        groups: Vec::new(),
        unreachable: Vec::new(),
        asked: 0,
    };
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (host, outcome) in outcomes {
        grouped.asked += 1;
        match outcome {
            Ok(result) => {
                let job = job(&result);
                let events = events::without_ids(&result.data);
                let SplitResult { facts, texts, data } = split(result.data);
                let key = match &events {
                    Some(events) => key(result.is_error, events, &BTreeMap::new(), fold),
                    None => key(result.is_error, &facts, &texts, fold),
                };
                let at = *known.entry(key).or_insert(grouped.groups.len());
                if at == grouped.groups.len() {
                    grouped.groups.push(Group {
                        hosts: Vec::new(),
                        is_error: result.is_error,
                        facts,
                        texts,
                        data,
                        jobs: Vec::new(),
                        has_other_numbers: false,
                        has_other_ids: false,
                    });
                } else if let Some(group) = grouped.groups.get_mut(at)
                    && events.is_some()
                {
                    group.has_other_ids |= group.texts != texts;
                } else if let Some(group) = grouped.groups.get_mut(at)
                    && fold == Fold::Numbers
                    && !group.has_other_numbers
                {
                    let first = folded(&group.texts, Fold::Exact);
                    group.has_other_numbers = folded(&texts, Fold::Exact) != first;
                }
                if let Some(group) = grouped.groups.get_mut(at) {
                    group.jobs.extend(job.map(|job| (host.clone(), job)));
                    group.hosts.push(host);
                }
            }
            Err(Unreachable(why)) => {
                // A reason that names its host is the same reason.
                let why = renamed(&why, &host, "HOST");
                match grouped
                    .unreachable
                    .iter_mut()
                    .find(|(known, _)| *known == why)
                {
                    Some((_, hosts)) => hosts.push(host),
                    None => grouped.unreachable.push((why, vec![host])),
                }
            }
        }
    }
    // Stable: groups of one size stay in the order of hosts.
    grouped
        .groups
        .sort_by_key(|group| Reverse(group.hosts.len()));
    if let [_, others @ ..] = &mut *grouped.groups {
        others.sort_by_key(|group| (Reverse(group.hosts.len()), !group.has_failed()));
    }
    grouped
}

/// Replaces a name where ssh says it: `connect to host web1 port 22`, `ann@web1: Permission denied`. A host may be named
/// like any word.
pub fn renamed(why: &str, name: &str, other: &str) -> String {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut parts = why.split(name);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_said = ["host ", "hostname ", "@"]
            .iter()
            .any(|words| out.ends_with(words));
        let is_whole = !part.starts_with(is_of_name);
        out += if is_said && is_whole { other } else { name };
        out += part;
    }
    out
}

fn job(result: &ToolResult) -> Option<Value> {
    let id = result.data.get("job_id")?;
    let state = result.data.get("state").and_then(Value::as_str);
    let has_ended = state.is_some_and(|state| !OPEN.contains(&state));
    let is_whole = has_ended && !result.data.contains_key("truncated");
    let is_id = id.as_str().is_some_and(is_id);
    (is_id && !is_whole).then(|| id.clone())
}

/// It becomes part of a command line that people paste.
fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    text.len() <= JOB && !text.starts_with('-') && text.bytes().all(is_digit)
}

/// Parts of a [`Group`] that are of its first host.
struct SplitResult {
    facts: Map<String, Value>,
    texts: BTreeMap<&'static str, String>,
    data: Map<String, Value>,
}

fn split(mut data: Map<String, Value>) -> SplitResult {
    let is_job = ["job_id", "error", "diff"]
        .iter()
        .any(|key| data.contains_key(*key));
    let mut texts = BTreeMap::new();
    if is_job {
        remove_volatile(&mut data);
        for name in OUTPUT {
            if let Some(Value::String(text)) = data.remove(name) {
                texts.insert(name, text);
            }
        }
    }
    let size = serde_json::to_string(&data).map_or(usize::MAX, |json| json.len());
    if is_job && size <= FACTS {
        return SplitResult {
            facts: data,
            texts,
            data: Map::new(),
        };
    }
    let mut facts = Map::new();
    let mut left = FACTS;
    for name in END.iter().filter(|_| is_job) {
        let size = data.get(*name).map_or(0, |value| value.to_string().len());
        let fits = left.checked_sub(size + name.len());
        if let (Some(rest), Some(value)) = (fits, data.get(*name)) {
            facts.insert((*name).to_owned(), value.clone());
            left = rest;
        }
    }
    facts.keys().for_each(|name| drop(data.remove(name)));
    let text = serde_json::to_string_pretty(&data).unwrap_or_default();
    texts.insert("data", text);
    SplitResult { facts, texts, data }
}

fn remove_volatile(data: &mut Map<String, Value>) {
    let of_job = |data: &mut Map<String, Value>| {
        VOLATILE.iter().for_each(|name| drop(data.remove(*name)));
    };
    of_job(data);
    for name in OF_JOBS {
        match data.get_mut(name) {
            Some(Value::Array(all)) => {
                let all = all.iter_mut().filter_map(Value::as_object_mut);
                all.for_each(of_job);
            }
            Some(Value::Object(one)) => of_job(one),
            Some(_) | None => {}
        }
    }
}

fn key(
    is_error: bool,
    facts: &Map<String, Value>,
    texts: &BTreeMap<&'static str, String>,
    fold: Fold,
) -> String {
    // Plain data always serializes.
    serde_json::to_string(&(is_error, facts, folded(texts, fold))).unwrap_or_default()
}

fn folded(texts: &BTreeMap<&'static str, String>, fold: Fold) -> BTreeMap<&'static str, String> {
    texts
        .iter()
        .map(|(name, text)| match *name {
            // A blank at the end of a line of a file counts.
            "diff" => (*name, text.clone()),
            _ => (*name, normalized(text, fold)),
        })
        .collect()
}

fn normalized(text: &str, fold: Fold) -> String {
    let lines = text.trim_end().lines().map(str::trim_end);
    let lines: Vec<String> = match fold {
        Fold::Exact => lines.map(str::to_owned).collect(),
        Fold::Numbers => lines.map(without_numbers).collect(),
    };
    lines.join("\n")
}

/// Replaces each number by `#`, and white space by one space: `/dev/vda  252G  71%` is `/dev/vda #G #%`. A digit that
/// follows a letter belongs to a name.
fn without_numbers(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut last = ' ';
    for c in line.chars() {
        let is_in_number = last == '#' && (c.is_ascii_digit() || c == '.');
        let is_new = c.is_ascii_digit() && !last.is_alphanumeric();
        match c {
            _ if is_in_number => continue,
            _ if is_new => last = '#',
            c if c.is_whitespace() && last == ' ' => continue,
            c if c.is_whitespace() => last = ' ',
            c => last = c,
        }
        out.push(last);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(data: Value) -> Outcome {
        Ok(ToolResult {
            is_error: data.get("error").is_some(),
            data: data.as_object().unwrap().clone(),
            text: String::new(),
        })
    }

    fn ran(job: &str, exit: i32, stdout: &str) -> Outcome {
        answer(json!({"job_id": job, "state": "exited", "exit": exit, "stdout": stdout}))
    }

    fn grouped(outcomes: Vec<(&str, Outcome)>) -> Grouped {
        folded_by(outcomes, Fold::Exact)
    }

    fn folded_by(outcomes: Vec<(&str, Outcome)>, fold: Fold) -> Grouped {
        let outcomes = outcomes.into_iter();
        group(
            outcomes.map(|(host, outcome)| (host.to_owned(), outcome)),
            fold,
        )
    }

    fn hosts(grouped: &Grouped) -> Vec<String> {
        grouped
            .groups
            .iter()
            .map(|group| group.hosts.join(" "))
            .collect()
    }

    #[test]
    fn same_exit_and_output_is_one_group() {
        let found = grouped(vec![
            ("a", ran("1", 0, "x\n")),
            ("b", ran("2", 0, "y\n")),
            ("c", ran("3", 0, "y  \n\n")),
            ("d", ran("4", 1, "y\n")),
            ("e", ran("5", 0, "y")),
        ]);
        assert_eq!(hosts(&found), ["b c e", "d", "a"]);
        assert_eq!(
            (found.asked, found.groups[1].facts["exit"].as_i64()),
            (5, Some(1))
        );
        assert_eq!(
            found.groups[0].texts["stdout"], "y\n",
            "as the first one has it"
        );
        assert_eq!(found.groups[0].jobs, [], "the output is all here");
    }

    #[test]
    fn end_of_a_job_with_many_denials_stays_a_fact() {
        let denials = vec![json!({"operation": "write", "object": "x".repeat(100)}); 60];
        let long = "y".repeat(FACTS);
        let found = grouped(vec![(
            "a",
            answer(json!({
                "job_id": "1", "state": "exited", "exit": 0, "cause": long, "denials": denials, "stdout": "z",
            })),
        )]);
        let group = &found.groups[0];
        assert_eq!(
            Value::Object(group.facts.clone()),
            json!({"state": "exited", "exit": 0})
        );
        let rest: Vec<_> = group.data.keys().collect();
        assert_eq!(rest, ["cause", "denials"]);
        assert!(group.texts["data"].contains("denials") && group.texts["stdout"] == "z");
    }

    #[test]
    fn group_of_a_job_that_did_not_end_well_is_before_others() {
        let killed = json!({"job_id": "1", "state": "oom_killed", "exit": 0});
        let found = grouped(vec![
            ("a", ran("1", 0, "x")),
            ("b", ran("2", 0, "x")),
            ("c", ran("3", 0, "y")),
            ("d", answer(killed)),
        ]);
        assert_eq!(hosts(&found), ["a b", "d", "c"]);
    }

    #[test]
    fn diffs_are_the_same_only_byte_by_byte() {
        let plan = |diff: &str| answer(json!({"diff": diff, "entries": []}));
        let found = grouped(vec![
            ("a", plan("+x\\\n")),
            ("b", plan("+x\\ \n")),
            ("c", plan("+x\\\n")),
        ]);
        assert_eq!(hosts(&found), ["a c", "b"]);
    }

    #[test]
    fn numbers_are_folded_only_if_asked() {
        let disks = |size: &str, used: &str| {
            format!("Filesystem  Size Use%\n/dev/vda1 {size:>5} {used:>4}\n")
        };
        let outcomes = || {
            vec![
                ("a", ran("1", 0, &disks("252G", "71%"))),
                ("b", ran("2", 0, &disks("1.2G", "5%"))),
                ("c", ran("3", 0, &disks("1.2T", "5%"))),
                ("d", ran("4", 1, &disks("252G", "71%"))),
                (
                    "e",
                    ran("5", 0, &disks("252G", "71%").replace("vda1", "vda2")),
                ),
            ]
        };
        assert_eq!(grouped(outcomes()).groups.len(), 5);
        let found = folded_by(outcomes(), Fold::Numbers);
        assert_eq!(hosts(&found), ["a b", "d", "c", "e"]);
        assert!(found.groups[0].has_other_numbers);
        assert!(!found.groups[1].has_other_numbers);
        assert_eq!(found.groups[0].texts["stdout"], disks("252G", "71%"));
        let twice = vec![("a", ran("1", 0, "7\n")), ("b", ran("2", 0, "7"))];
        assert!(!folded_by(twice, Fold::Numbers).groups[0].has_other_numbers);
        for (line, expect) in [
            ("up 3 days, 12:30,  load 0.02", "up # days, #:#, load #"),
            ("eth0 10.0.0.1/24", "eth0 #/#"),
            ("", ""),
            ("#5", "#"),
        ] {
            assert_eq!(without_numbers(line), expect, "{line}");
        }
    }

    #[test]
    fn jobs_with_more_output_are_named() {
        let more = json!({"job_id": "1", "state": "exited", "exit": 0, "truncated": true});
        let runs = |id| answer(json!({"job_id": id, "state": "running"}));
        let killed = json!({"job_id": "4", "state": "timed_out", "signal": 9, "stdout": "x"});
        let found = grouped(vec![
            ("a", answer(more)),
            ("b", runs("2")),
            ("c", runs("3")),
            ("d", answer(killed)),
        ]);
        assert_eq!(hosts(&found), ["b c", "d", "a"]);
        let jobs = [("b".to_owned(), json!("2")), ("c".to_owned(), json!("3"))];
        assert_eq!(found.groups[0].jobs, jobs);
        assert_eq!(found.groups[2].jobs, [("a".to_owned(), json!("1"))]);
        assert_eq!(
            found.groups[1].jobs,
            [],
            "it has ended, and its output is all here"
        );
    }

    #[test]
    fn only_an_id_is_shown_as_a_job() {
        let job = |id: &str| answer(json!({"job_id": id, "state": "running"}));
        for (id, is_shown) in [
            ("3f0c9a5e7d214b86a1f2c3d4e5f60718", true),
            ("1; rm -rf ~", false),
            ("$(reboot)", false),
            ("-oProxyCommand=x", false),
            (&"a".repeat(JOB + 1), false),
        ] {
            let found = grouped(vec![("a", job(id))]);
            assert_eq!(found.groups[0].jobs.len(), usize::from(is_shown), "{id}");
        }
    }

    #[test]
    fn refusals_and_reasons_are_grouped() {
        let refused = || answer(json!({"error": {"code": "denied_rule"}}));
        let down = |host: &str| Err(Unreachable(format!("connect to host {host}: refused")));
        let found = grouped(vec![
            ("web1", refused()),
            ("web2", down("web2")),
            ("web3", refused()),
            ("web4", down("web4")),
            ("web5", Err(Unreachable("silent".into()))),
        ]);
        assert_eq!(hosts(&found), ["web1 web3"]);
        assert!(found.groups[0].is_error);
        let expect = [
            (
                "connect to host HOST: refused".to_owned(),
                vec!["web2".into(), "web4".into()],
            ),
            ("silent".to_owned(), vec!["web5".to_owned()]),
        ];
        assert_eq!(found.unreachable, expect);
    }

    #[test]
    fn only_whole_names_are_replaced() {
        for (why, expect) in [
            ("connect to host a port 22", "connect to host HOST port 22"),
            ("a@a: host a: a", "a@HOST: host HOST: a"),
            (
                "resolve hostname a: what a name",
                "resolve hostname HOST: what a name",
            ),
            ("root@a: a key", "root@HOST: a key"),
            ("host a.example.org", "host a.example.org"),
            ("", ""),
        ] {
            assert_eq!(renamed(why, "a", "HOST"), expect);
        }
        let why = "connect to host 2001:db8::7 port 22; ann@2001:db8::71: x";
        let expect = "connect to host web1 port 22; ann@2001:db8::71: x";
        assert_eq!(renamed(why, "2001:db8::7", "web1"), expect);
    }

    #[test]
    fn other_results_are_compared_as_text() {
        let found = grouped(vec![
            ("a", answer(json!({"user": "x"}))),
            ("b", answer(json!({"user": "x"}))),
        ]);
        assert_eq!(hosts(&found), ["a b"]);
        assert_eq!(found.groups[0].texts["data"], "{\n  \"user\": \"x\"\n}");
    }
}
