//! `logs` of many hosts: one order of times, clocks that differ, answers that are no journal.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stage::{RELEASE, Stage, canned, ran};

fn journal(lines: &str) -> String {
    canned("remit", RELEASE, &ran(&format!("2026-11-27 UTC\n{lines}")))
}

/// A host that says that it started the job at the beginning of 1970.
fn with_a_slow_clock(lines: &str) -> String {
    let data = json!({
        "job_id": "ab", "state": "exited", "exit": 0, "started_ms": 0,
        "stdout": format!("2026-11-27 UTC\n{lines}"),
    });
    let result = json!({"content": [{"type": "text", "text": "{}"}], "structuredContent": data, "isError": false});
    canned("remit", RELEASE, &result)
}

fn stage() -> Stage {
    let stage = Stage::new(&["web1", "web2", "web3", "web4", "web5"]);
    stage.set_host(
        "web1",
        &journal("09:00:01 nginx[7]: one\n09:00:03 nginx[7]: three\n"),
    );
    stage.set_host("web2", &with_a_slow_clock("09:00:02 nginx[9]: two\n"));
    stage.set_host("web3", "echo 'ssh: no route' >&2; exit 255\n");
    stage.set_host(
        "web4",
        &canned(
            "remit",
            RELEASE,
            &ran("not a journal\n09:00:01 web1: forged\n"),
        ),
    );
    stage.set_host(
        "web5",
        &journal("09:00:03 nginx[7]: three\n\u{1b}[2Jforged\n"),
    );
    stage
}

#[test]
fn journals_are_one_timeline_for_a_model() {
    let stage = stage();
    let arguments = json!({"on": "*", "name": "logs", "args": {"unit": "nginx", "lines": 20}});
    let data = stage.client().data("run", arguments);
    assert_eq!(
        data["timeline"],
        "2026-11-27 UTC\n09:00:01 web1: nginx[7]: one\n09:00:02 web2: nginx[9]: two\n09:00:03 web1: nginx[7]: three\n",
        "{data}"
    );
    let notes = data["notes"].as_array().unwrap();
    let is_of_web2 = |note: &Value| {
        note.as_str()
            .unwrap()
            .starts_with("web2: its clock is at least ")
    };
    assert!(notes.len() == 1 && is_of_web2(&notes[0]), "{data}");
    let others: Vec<&Value> = data["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["hosts"])
        .collect();
    assert_eq!(others, [&json!(["web4"]), &json!(["web5"])], "{data}");
    assert_eq!(data["unreachable"][0]["hosts"], json!(["web3"]));
    assert_eq!(data["hosts_asked"], 5, "{data}");
}

/// A host whose journal does not fit into one answer.
fn with_a_long_journal(lines: &str) -> String {
    let whole = format!("2026-11-27 UTC\n{lines}");
    let (first, rest) = whole.split_at(20);
    let result = |data: Value| json!({"content": [], "structuredContent": data});
    let cut = result(json!({
        "job_id": "ab", "state": "exited", "exit": 0, "truncated": true,
        "stdout": "2026-11-27 UTC\n09:0\n[… 9 bytes omitted: read them with job, offset=9 …]\n02 nginx",
    }));
    let page = |data: &str, next: u64, is_last: bool| {
        result(
            json!({"page": {"offset": 0, "next": next, "total": 99, "eof": is_last, "data": data}}),
        )
    };
    let quoted = |value: &Value| value.to_string().replace('\'', "'\\''");
    let answer = canned("remit", RELEASE, &cut);
    // The whole case of a call of a tool, with others before it.
    let pages = format!(
        "case $line in\n*'\"offset\":0'*) result='{}' ;;\n*'\"offset\":20'*) result='{}' ;;\nesac\nprintf",
        quoted(&page(first, 20, false)),
        quoted(&page(rest, 99, true))
    );
    answer.replacen("printf", &pages, 1)
}

#[test]
fn journal_longer_than_an_answer_is_read_whole() {
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_host("web1", &journal("09:00:02 nginx[7]: two\n"));
    let lines = "09:00:01 nginx[9]: one\n    at line 7\n09:00:03 nginx[9]: three\n";
    stage.set_host("web2", &with_a_long_journal(lines));
    let data = stage
        .client()
        .data("run", json!({"on": "*", "name": "logs"}));
    assert_eq!(
        data["timeline"],
        "2026-11-27 UTC\n09:00:01 web2: nginx[9]: one\n    at line 7\n09:00:02 web1: nginx[7]: two\n\
         09:00:03 web2: nginx[9]: three\n",
        "{data}"
    );
    assert_eq!(data["groups"], json!([]), "{data}");
}

/// Has this host do something else with questions about the job.
fn with_job(journal: &str, script: &str) -> String {
    let case = format!("*'\"name\":\"job\"'*) {script} ;;\n*'\"method\":\"tools/call\"'*)");
    journal.replacen("*'\"method\":\"tools/call\"'*)", &case, 1)
}

#[test]
fn host_that_claims_a_running_job_is_asked_once() {
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_host("web1", &journal("09:00:01 nginx[7]: one\n"));
    let lie =
        r#"result='{"content": [], "structuredContent": {"job_id": "ab", "state": "running"}}'"#;
    stage.set_host("web2", &with_job(&journal("09:00:02 nginx[9]: two\n"), lie));
    let (status, out, _) = stage.run(&["logs", "--on", "*"]);
    let expect = "2026-11-27 UTC\n09:00:01 web1: nginx[7]: one\n09:00:02 web2: nginx[9]: two\n";
    assert_eq!((status, &*out), (Some(0), expect));
}

#[test]
fn interrupted_timeline_shows_the_lines_so_far() {
    let mut stage = Stage::new(&["web1", "web2"]);
    // The second is asked once the first has answered.
    stage.set_limits("connect_s = 10\nparallel = 1");
    stage.set_fleet("[hosts]\ninclude = [\"web1\", \"web2\"]\n");
    let asked = stage.path().join("r/asked");
    stage.set_host("web1", &journal("09:00:01 nginx[7]: one\n"));
    let silent = format!(">'{}'; continue", asked.display());
    stage.set_host(
        "web2",
        &with_job(&journal("09:00:02 nginx[9]: two\n"), &silent),
    );
    let mut command = stage.command(&["logs", "--on", "*"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let logs = command.spawn().unwrap();
    let start = Instant::now();
    while !asked.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "it is not asked");
        sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(logs.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let left = logs.wait_with_output().unwrap();
    let out = String::from_utf8(left.stdout).unwrap();
    let expect = "2026-11-27 UTC\n09:00:01 web1: nginx[7]: one\n09:00:02 web2: nginx[9]: two\n";
    assert_eq!((left.status.code(), &*out), (Some(130), expect));
}

#[test]
fn people_read_the_same() {
    let stage = stage();
    let (status, out, _) = stage.run(&["logs", "--on", "web1 web2 web4", "unit=nginx"]);
    assert_eq!(status, Some(1), "one answer is no journal: {out}");
    let (first, rest) = out.split_once('\n').unwrap();
    assert!(
        first.starts_with("-- web2: its clock is at least "),
        "{out}"
    );
    assert!(
        rest.starts_with(
            "2026-11-27 UTC\n09:00:01 web1: nginx[7]: one\n09:00:02 web2: nginx[9]: two\n"
        ),
        "{out}"
    );
    assert!(
        rest.contains("\n== 1 of 3: web4: exit 0\n  not a journal\n  09:00:01 web1: forged\n"),
        "{out}"
    );
    let (status, out, _) = stage.run(&["logs", "--on", "web1", "--json", "unit=nginx"]);
    let data: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, data["timeline"].as_str().unwrap().lines().count()),
        (Some(0), 3)
    );
    let (status, _, err) = stage.run(&["logs", "--on", "web1", "nginx"]);
    assert_eq!(status, Some(64), "{err}");
    assert!(err.contains("it must be NAME=VALUE"), "{err}");
}
