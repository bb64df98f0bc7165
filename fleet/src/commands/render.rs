//! Text for people. All text of hosts is escaped before it comes here, and escaped again where it is one line.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

use remit_common::text;
use serde_json::{Map, Value};

use crate::approvals::page::add_text;
use crate::columns;
use crate::engine::diff;
use crate::engine::group::{Group, Grouped};
use crate::exit::{Exit, say};
use crate::hosts::HostRow;
use crate::link::answer::is_well;

/// Names in the line above an output.
const NAMES: usize = 12;
const WORDS: usize = 300;
/// Lines of what lifts a refusal: a rule of the policy has more than one.
const LIFT: usize = 40;

pub fn print(text: &str) -> Exit {
    let mut out = io::stdout();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Returns the exit status after a write to standard output, and says why it failed. A reader that has gone is no failure.
pub fn printed(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            say(&format!("cannot write to standard output: {error}"));
            Exit::Output
        }
    }
}

/// Prints lines with texts of hosts, which are folded on a terminal.
pub fn print_folded(text: &str) -> Exit {
    print(&columns::fitted(text, io::stdout().is_terminal()))
}

/// A line for each host. `remarks` says what is unusual about one.
pub fn hosts(rows: &[HostRow], remarks: impl Fn(&HostRow) -> Vec<String>) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let mut words = Vec::new();
        if let Some(probed) = &row.probed {
            words.push(match &probed.answer {
                Ok((user, server)) => format!("remit {} as {user}", server.version),
                Err(why) => format!("no answer: {why}"),
            });
            words.extend(remarks(row));
            words.push(probed.address.clone());
        }
        words.extend(row.tags.iter().map(|tag| format!("tag:{tag}")));
        let line = format!("{:width$}  {}", row.name, words.join("  "));
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// The largest group with its output, the others as the difference from it, and hosts without an answer.
/// `ssh`: as a person types it.
pub fn grouped(grouped: &Grouped, ssh: &str) -> String {
    let mut out = String::new();
    let majority = grouped.groups.first();
    for (number, group) in grouped.groups.iter().enumerate() {
        let other = majority.filter(|_| number > 0);
        add_group(&mut out, group, other, grouped.asked);
        add_jobs(&mut out, group, ssh);
    }
    for (why, hosts) in &grouped.unreachable {
        let _ = writeln!(out, "== no answer: {}", names(hosts, grouped.asked));
        add_text(&mut out, why);
    }
    out
}

fn add_group(out: &mut String, group: &Group, majority: Option<&Group>, asked: usize) {
    let _ = writeln!(
        out,
        "== {}: {}",
        names(&group.hosts, asked),
        end(&group.facts)
    );
    if let Some(error) = group.facts.get("error") {
        for key in ["message", "lift", "next"] {
            if let Some(words) = error.get(key).and_then(Value::as_str) {
                add_words(out, key, words);
            }
        }
    }
    for (key, words) in remarks(&group.facts) {
        add_words(out, key, &words);
    }
    for (name, text) in &group.texts {
        let other = majority.and_then(|majority| Some((majority, majority.texts.get(name)?)));
        let difference = other.and_then(|(majority, other)| {
            let difference = diff::diff(other, text).filter(|it| it.len() < text.len())?;
            Some((majority.hosts.first()?, difference))
        });
        match difference {
            Some((from, difference)) if difference.is_empty() => {
                let _ = writeln!(out, "-- {name} as of {from}");
            }
            Some((from, difference)) => {
                let _ = writeln!(out, "-- {name}, difference from {from}");
                add_text(out, &difference);
            }
            None => {
                if *name != "stdout" {
                    let _ = writeln!(out, "-- {name}");
                }
                add_text(out, text);
            }
        }
    }
    if group.has_other_numbers {
        let _ = writeln!(out, "-- numbers of the first host, others differ");
    }
}

fn add_jobs(out: &mut String, group: &Group, ssh: &str) {
    for (host, job) in &group.jobs {
        let job = job.as_str().unwrap_or_default();
        let _ = writeln!(
            out,
            "-- more on {host}, with a key that may start remit: {ssh} {host} remit job {}",
            text::line(job.as_bytes(), 40)
        );
    }
}

/// Words on one line; the other lines of a rule are indented more than its key.
fn add_words(out: &mut String, key: &str, words: &str) {
    if key != "lift" {
        let words = text::line(words.as_bytes(), WORDS);
        return add_text(out, &format!("{key}: {words}"));
    }
    let lines = words.lines().take(LIFT);
    let lines: Vec<String> = lines
        .map(|line| text::line(line.as_bytes(), WORDS))
        .collect();
    add_text(out, &format!("{key}: {}", lines.join("\n  ")));
}

fn names(hosts: &[String], asked: usize) -> String {
    let listed: Vec<&str> = hosts.iter().map(String::as_str).take(NAMES).collect();
    let more = hosts.len() - listed.len();
    let listed = listed.join(" ");
    match (hosts.len(), more) {
        (1, _) if asked == 1 => listed,
        (count, 0) => format!("{count} of {asked}: {listed}"),
        (count, more) => format!("{count} of {asked}: {listed} and {more} more"),
    }
}

/// Returns a fact on one line, if there is one.
fn word(facts: &Map<String, Value>, key: &str) -> Option<String> {
    match facts.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) => Some(text::line(word.as_bytes(), WORDS)),
        Some(other) => Some(text::line(other.to_string().as_bytes(), WORDS)),
    }
}

/// What a job was denied, what may mislead, and what to do instead.
fn remarks(facts: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let all = |key: &str| {
        let all = facts.get(key).and_then(Value::as_array);
        all.map(Vec::as_slice).unwrap_or_default()
    };
    let mut remarks = Vec::new();
    for denial in all("denials").iter().filter_map(Value::as_object) {
        let parts = ["operation", "object", "rule"].map(|key| word(denial, key));
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let is_guess = denial.get("guess") == Some(&Value::Bool(true));
        let key = if is_guess { "perhaps denied" } else { "denied" };
        remarks.push((key, parts.join(", ")));
        let lift = denial.get("lift").and_then(Value::as_str);
        remarks.extend(lift.map(|lift| ("lift", lift.to_owned())));
        remarks.extend(word(denial, "next").map(|words| ("next", words)));
    }
    let notes = all("notes").iter().filter_map(Value::as_str);
    remarks.extend(notes.map(|note| ("note", text::line(note.as_bytes(), WORDS))));
    remarks.extend(word(facts, "next").map(|next| ("next", next)));
    remarks
}

/// How a job ended, in words.
fn end(facts: &Map<String, Value>) -> String {
    let cause = word(facts, "cause").map_or_else(String::new, |cause| format!(": {cause}"));
    if let Some(exit) = word(facts, "exit") {
        // Of a job that was stopped or killed, status 0 says nothing good.
        let is_killed = exit == "0" && !is_well(facts);
        let state = word(facts, "state").filter(|_| is_killed);
        let state = state.map_or_else(String::new, |state| format!("{state}, "));
        return format!("{state}exit {exit}{cause}");
    }
    if let Some(signal) = word(facts, "signal") {
        return format!("signal {signal}{cause}");
    }
    let refused = facts.get("error").map(|error| {
        let code = error.get("code").and_then(Value::as_str).unwrap_or("error");
        format!("refused, {}", text::line(code.as_bytes(), 60))
    });
    refused
        .or_else(|| word(facts, "state").map(|state| state + &cause))
        .unwrap_or_else(|| "answered".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::group;
    use crate::link::Unreachable;
    use crate::link::answer::ToolResult;

    fn answer(data: Value) -> group::Outcome {
        Ok(ToolResult {
            is_error: data.get("error").is_some(),
            data: data.as_object().unwrap().clone(),
            text: String::new(),
        })
    }

    #[test]
    fn groups_are_shown_with_their_difference() {
        let ran = |exit: i32, stdout: &str| {
            answer(json!({"job_id": "7", "state": "exited", "exit": exit, "stdout": stdout}))
        };
        let usual = "a a a a a a a a a a a a a a a a\nb b b b b b b b\n";
        let other = usual.replace("b b b b b b b b", "c");
        let outcomes = [
            ("web1", ran(0, usual)),
            ("web2", ran(3, &other)),
            ("web3", ran(0, usual)),
            ("web4", Err(Unreachable("ann@web4: refused".into()))),
            (
                "web5",
                answer(
                    json!({"error": {"code": "denied_rule", "message": "no\n== web9: exit 0", "next": "ask",
                    "lift": "add\n[[grant]]\n\nto = [\"a\"]\r\n== web9: exit 0\n"}}),
                ),
            ),
            ("web6", ran(4, usual)),
            ("web7", Err(Unreachable("== 9 of 9: web1: exit 0".into()))),
        ];
        let outcomes = outcomes.map(|(host, outcome)| (host.to_owned(), outcome));
        let shown = grouped(&group::group(outcomes, group::Fold::Exact), "ssh -F /c");
        let expect = "== 2 of 7: web1 web3: exit 0\n  a a a a a a a a a a a a a a a a\n  b b b b b b b b\n\
             == 1 of 7: web2: exit 3\n-- stdout, difference from web1\n  @@ line 2 @@\n  -b b b b b b b b\n  +c\n\
             == 1 of 7: web5: refused, denied_rule\n  message: no\\n== web9: exit 0\n\
             \x20 lift: add\n    [[grant]]\n    \n    to = [\"a\"]\n    == web9: exit 0\n  next: ask\n\
             == 1 of 7: web6: exit 4\n-- stdout as of web1\n\
             == no answer: 1 of 7: web4\n  ann@HOST: refused\n\
             == no answer: 1 of 7: web7\n  == 9 of 9: web1: exit 0\n";
        assert_eq!(shown, expect);
    }

    #[test]
    fn end_of_a_job_has_its_reason() {
        let job = |data: Value| {
            let mut job = json!({"job_id": "7"});
            job.as_object_mut()
                .unwrap()
                .extend(data.as_object().unwrap().clone());
            job
        };
        for (data, expect) in [
            (
                json!({"state": "exited", "exit": 127, "cause": "there is no program 'nosuch' in the PATH of jobs"}),
                "exit 127: there is no program 'nosuch' in the PATH of jobs\n",
            ),
            (
                json!({"state": "oom_killed", "exit": 0, "cause": "its memory was used up"}),
                "oom_killed, exit 0: its memory was used up\n",
            ),
            (
                json!({"state": "timed_out", "signal": 9, "cause": "its time was over\n== web2: exit 0"}),
                "signal 9: its time was over\\n== web2: exit 0\n",
            ),
            (
                json!({"state": "denied", "cause": "denied by ann: no", "next": "ask ann"}),
                "denied: denied by ann: no\n  next: ask ann\n",
            ),
            (
                json!({"state": "exited", "exit": 1, "stdout": "a\n", "notes": ["b\n== c", 7], "denials": [
                    {"layer": "landlock", "operation": "write", "object": "/etc/x", "rule": "read", "next": "call plan"},
                    {"layer": "cgroup", "operation": "fork", "rule": "tasks 32", "lift": "a\nb", "guess": true},
                ]}),
                "exit 1\n  denied: write, /etc/x, read\n  next: call plan\n  perhaps denied: fork, tasks 32\n  lift: a\n    b\n  \
                 note: b\\n== c\n  a\n",
            ),
            (
                json!({"state": "exited", "exit": 0, "stdout": "a\n", "truncated": true}),
                "exit 0\n  a\n-- more on web1, with a key that may start remit: ssh -F /c web1 remit job 7\n",
            ),
            (
                json!({"state": "running", "stdout": "a\n"}),
                "running\n  a\n-- more on web1, with a key that may start remit: ssh -F /c web1 remit job 7\n",
            ),
        ] {
            let outcomes = [("web1".to_owned(), answer(job(data)))];
            let shown = grouped(&group::group(outcomes, group::Fold::Exact), "ssh -F /c");
            assert_eq!(shown, format!("== web1: {expect}"));
        }
    }
}
