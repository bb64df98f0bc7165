//! History as users and administrators see it, over the real daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b, user_m};
use remit_tests::process::{Identity, ends_within};
use remit_wire::{HistoryEntry, HistoryPage, HistoryQuery, Kind, Reply, Request};
use serde_json::{Value, json};

fn query(limit: u32) -> HistoryQuery {
    HistoryQuery {
        limit,
        ..HistoryQuery::default()
    }
}

fn ask(daemon: &Daemon, identity: &Identity, query: HistoryQuery) -> Result<HistoryPage, Refusal> {
    match Caller::new(daemon, identity).ask(Request::History(query))? {
        Reply::History(page) => Ok(page),
        other => panic!("{other:?}"),
    }
}

fn own(daemon: &Daemon, identity: &Identity) -> Vec<HistoryEntry> {
    let page = ask(daemon, identity, query(100)).expect("one may ask for one's own");
    assert_eq!(page.next, None);
    page.entries
}

fn of(daemon: &Daemon, user: Option<&str>, query: HistoryQuery) -> Result<HistoryPage, Refusal> {
    let user = user.map(str::to_owned);
    match daemon.administers(&admin(), AdminRequest::History { user, query })? {
        AdminReply::History(page) => Ok(page),
        other => panic!("{other:?}"),
    }
}

fn summaries(entries: &[HistoryEntry]) -> Vec<(Kind, &str, Option<&str>)> {
    entries
        .iter()
        .map(|entry| (entry.kind, entry.verdict.as_str(), entry.command.as_deref()))
        .collect()
}

fn file(daemon: &Daemon) -> PathBuf {
    daemon.path().join("state/history/log.1")
}

fn runs(daemon: &Daemon, identity: &Identity, words: &[&str]) -> String {
    let report = Caller::new(daemon, identity).run(argv(words));
    report.expect("it is accepted").job.to_string()
}

#[test]
fn users_see_own_history_auditors_see_all() {
    let daemon = Daemon::start(Options::default());
    let job = runs(&daemon, &user_a(), &["true"]);
    let other = runs(&daemon, &user_b(), &["false"]);
    let refused = Caller::new(&daemon, &user_m()).run(argv(&["id"]));
    let refused = refused.expect_err("they have no grant");

    let a = own(&daemon, &user_a());
    let expect = [
        (Kind::Ended, "exited", Some("true")),
        (Kind::Started, "allow", Some("true")),
    ];
    assert_eq!(summaries(&a), expect);
    assert!(a.iter().all(|entry| entry.job_id.as_deref() == Some(&job)));
    assert_eq!(a[0].cause.as_deref(), Some("exited with status 0"));
    let m = own(&daemon, &user_m());
    assert_eq!(
        summaries(&m),
        [(Kind::Refused, refused.code.as_str(), Some("id"))]
    );
    assert_eq!(m[0].cause.as_deref(), Some(refused.message.as_str()));

    let all = of(&daemon, None, query(100))
        .expect("an auditor may")
        .entries;
    let users: Vec<&str> = all.iter().map(|entry| entry.user.as_str()).collect();
    assert_eq!(users, ["#64003", "#64002", "#64002", "#64001", "#64001"]);
    let records = daemon.audit();
    for entry in &all {
        let seq = entry.seq.to_string();
        let record = records
            .iter()
            .find(|record| record["REMIT_SEQ"] == seq.as_str());
        let record = record.expect("it is in the audit log");
        assert_eq!(record["REMIT_USER"], entry.user.as_str(), "{record}");
    }
    let b = of(&daemon, Some("#64002"), query(100)).expect("an auditor may");
    assert!(b.entries.len() == 2 && b.entries[0].job_id.as_deref() == Some(&other));
    assert_eq!(
        of(&daemon, Some("nobody"), query(100)),
        Ok(HistoryPage::default())
    );
    let mode = fs::metadata(file(&daemon))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop();
}

#[test]
fn pages_are_bounded_and_filters_choose() {
    let daemon = Daemon::start(Options::default());
    let jobs: Vec<String> = (0..5)
        .map(|_| runs(&daemon, &user_a(), &["true"]))
        .collect();
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let page = ask(&daemon, &user_a(), HistoryQuery { before, ..query(3) });
        let page = page.expect("one may ask");
        assert!(page.entries.len() <= 3);
        all.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(
        all,
        own(&daemon, &user_a()),
        "pages put together are all of it"
    );
    let kind = Some(Kind::Started);
    let page = ask(&daemon, &user_a(), HistoryQuery { kind, ..query(100) });
    let started = page.expect("one may ask").entries;
    let ids: Vec<&str> = started.iter().filter_map(|e| e.job_id.as_deref()).collect();
    let newest_first: Vec<&str> = jobs.iter().rev().map(String::as_str).collect();
    assert_eq!(ids, newest_first);
    let since_ms = Some(all[4].at_ms);
    let page = ask(
        &daemon,
        &user_a(),
        HistoryQuery {
            since_ms,
            ..query(100)
        },
    );
    let page = page.expect("one may ask");
    assert!(page.entries.len() >= 5 && page.entries.iter().all(|e| e.at_ms >= all[4].at_ms));
    for limit in [0, caps::HISTORY_PAGE + 1, u32::MAX] {
        let refused = ask(&daemon, &user_a(), query(limit)).expect_err("it is no page");
        assert_eq!(refused.code, Code::InvalidArgs, "{limit}");
        let refused = of(&daemon, None, query(limit)).expect_err("it is no page");
        assert_eq!(refused.code, Code::InvalidArgs, "{limit}");
    }
    daemon.stop();
}

#[test]
fn questions_at_once_are_bounded() {
    let daemon = Daemon::start(Options::default());
    let _ = runs(&daemon, &user_a(), &["true"]);
    let answers: Vec<Result<HistoryPage, Refusal>> = std::thread::scope(|scope| {
        let asks = (0..12).map(|_| scope.spawn(|| ask(&daemon, &user_a(), query(100))));
        let asks: Vec<_> = asks.collect();
        let joined = asks
            .into_iter()
            .map(|ask| ask.join().expect("it is answered"));
        joined.collect()
    });
    for answer in answers {
        match answer {
            Ok(page) => {
                // A refused query is part of the history when a later one is answered.
                let refused = |entry: &&HistoryEntry| entry.kind == Kind::Refused;
                let (busy, ran): (Vec<_>, Vec<_>) = page.entries.iter().partition(refused);
                assert_eq!(ran.len(), 2, "{page:?}");
                assert!(busy.iter().all(|entry| entry.verdict == "busy"), "{page:?}");
            }
            Err(refusal) => assert_eq!(refusal.code, Code::Busy, "{refusal:?}"),
        }
    }
    assert!(!own(&daemon, &user_a()).is_empty(), "it is accepted again");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn history_continues_after_restart_kill_and_partial_entry() {
    let mut daemon = Daemon::start(Options::default());
    let first = runs(&daemon, &user_a(), &["true"]);
    daemon.restart_cleanly();
    let second = runs(&daemon, &user_a(), &["true"]);
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    let mut bytes = fs::read(file(&daemon)).expect("it is there");
    let whole = bytes.len();
    // A partial entry, as left by a daemon that is killed during a write.
    let half = bytes[16..40].to_vec();
    bytes.extend(half);
    fs::write(file(&daemon), &bytes).expect("the directory is writable");
    daemon.restart();
    assert_eq!(fs::read(file(&daemon)).expect("it is there").len(), whole);
    let third = runs(&daemon, &user_a(), &["true"]);
    let entries = own(&daemon, &user_a());
    let ids: Vec<&str> = entries.iter().filter_map(|e| e.job_id.as_deref()).collect();
    assert_eq!(ids, [&third, &third, &second, &second, &first, &first]);
    assert!(entries.is_sorted_by(|a, b| a.seq > b.seq), "{entries:?}");
    daemon.stop();
}

#[test]
fn interrupted_job_has_end_entry() {
    let mut daemon = Daemon::start(Options::default());
    let mut a = Caller::new(&daemon, &user_a());
    let run = at_once(script("sleep 1000"));
    let job = a.run(run).expect("it is accepted").job.to_string();
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    daemon.restart();
    let entries = own(&daemon, &user_a());
    assert_eq!(
        (entries[0].kind, entries[0].verdict.as_str()),
        (Kind::Ended, "interrupted")
    );
    assert_eq!(entries[0].job_id.as_deref(), Some(job.as_str()));
    assert_eq!((entries.len(), entries[1].kind), (2, Kind::Started));
    daemon.stop();
}

#[test]
fn damaged_history_is_quarantined_and_reported() {
    let mut daemon = Daemon::start(Options::default());
    let first = runs(&daemon, &user_a(), &["true"]);
    let whole = fs::read(file(&daemon)).expect("it is there").len();
    let _ = runs(&daemon, &user_a(), &["true"]);
    let mut bytes = fs::read(file(&daemon)).expect("it is there");
    bytes[whole + 20] ^= 1;
    fs::write(file(&daemon), &bytes).expect("the directory is writable");
    assert_eq!(own(&daemon, &user_a()).len(), 2);
    assert!(
        daemon
            .stderr()
            .contains("part of the history is damaged and cannot be read")
    );
    daemon.restart_cleanly();
    let quarantined = file(&daemon).with_extension("damaged-1");
    assert_eq!(fs::read(&quarantined).expect("it is kept"), bytes);
    assert!(
        daemon.stderr().contains("log.damaged-1"),
        "{}",
        daemon.stderr()
    );
    let entries = own(&daemon, &user_a());
    assert!(
        entries
            .iter()
            .all(|entry| entry.job_id.as_deref() == Some(&first))
    );
    daemon.stop();
}

#[test]
fn broker_killed_at_random_loses_no_entry_and_repeats_none() {
    const KILLS: usize = 8;
    const JOBS: usize = 5;
    let daemon = Daemon::start(Options::default());
    let mut random = std::process::id();
    for _ in 0..KILLS {
        let mut caller = Caller::new(&daemon, &user_a());
        let jobs: Vec<JobId> = (1..=JOBS)
            .map(|tenths| {
                let run = at_once(script(&format!("sleep 0.{tenths}")));
                caller.run(run).expect("it is accepted").job
            })
            .collect();
        // A linear congruential generator: any moment while the jobs end.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(random >> 23)));
        let broker = daemon.broker().expect("there is a broker");
        kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
        assert!(ends_within(broker, 20_000));
        let mut caller = Caller::new(&daemon, &user_a());
        for job in jobs {
            let _ = caller.end_of(job);
        }
        // Whoever knows of an end finds it in the history, whichever broker they ask.
        let (kind, limit) = (Some(Kind::Ended), 5);
        let newest = HistoryQuery {
            kind,
            ..query(limit)
        };
        let page = ask(&daemon, &user_a(), newest).expect("one may ask");
        let newest = daemon.records("end").pop().expect("five jobs have ended");
        assert_eq!(
            newest["REMIT_SEQ"],
            page.entries[0].seq.to_string().as_str()
        );
    }
    let mut entries = Vec::new();
    let mut before = None;
    loop {
        let page = of(
            &daemon,
            None,
            HistoryQuery {
                before,
                ..query(100)
            },
        );
        let page = page.expect("an auditor may");
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    for (kind, event) in [(Kind::Started, "intent"), (Kind::Ended, "end")] {
        let stored = entries.iter().filter(|entry| entry.kind == kind);
        let stored: Vec<String> = stored.map(|entry| entry.seq.to_string()).rev().collect();
        let recorded = daemon.records(event);
        let recorded = recorded.iter().map(|record| &record["REMIT_SEQ"]);
        let recorded: Vec<&str> = recorded.filter_map(Value::as_str).collect();
        assert_eq!(stored, recorded, "{event}");
        assert_eq!(stored.len(), KILLS * JOBS);
    }
    daemon.stop();
}

#[test]
fn history_of_last_release_is_taken_over_once() {
    let mut daemon = Daemon::start(Options::default());
    let first = runs(&daemon, &user_a(), &["true"]);
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    // As the last release left it: in the warden's directory, root's.
    let old = daemon.path().join("state/warden/history");
    fs::rename(file(&daemon), &old).expect("the directory is writable");
    nix::unistd::chown(&old, Some(0.into()), Some(0.into())).expect("root may");
    daemon.restart();
    assert!(!old.exists());
    let second = runs(&daemon, &user_a(), &["true"]);
    daemon.restart_cleanly();
    let ids = own(&daemon, &user_a());
    let ids: Vec<&str> = ids.iter().filter_map(|e| e.job_id.as_deref()).collect();
    assert_eq!(ids, [&second, &second, &first, &first]);
    daemon.stop();
}

#[test]
fn administrator_is_answered_by_next_broker() {
    let daemon = Daemon::start(Options::default());
    let job = runs(&daemon, &user_a(), &["true"]);
    let broker = daemon.broker().expect("there is a broker");
    // It cannot answer any more, and its end is still to come.
    kill(Pid::from_raw(broker), Signal::SIGSTOP).expect("it lives");
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| of(&daemon, None, query(100)));
        std::thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
        let page = asks
            .join()
            .expect("it is answered")
            .expect("an auditor may");
        assert_eq!(page.entries[0].job_id.as_deref(), Some(job.as_str()));
    });
    daemon.stop();
}

#[test]
fn without_a_history_all_else_works() {
    let mut daemon = Daemon::start(Options::default());
    let _ = runs(&daemon, &user_a(), &["true"]);
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    fs::remove_file(file(&daemon)).expect("it is there");
    fs::create_dir(file(&daemon)).expect("the directory is writable");
    daemon.restart();
    assert!(
        daemon.stderr().contains("cannot keep a history"),
        "{}",
        daemon.stderr()
    );
    let _ = runs(&daemon, &user_a(), &["true"]);
    let refused = ask(&daemon, &user_a(), query(1)).expect_err("there is none");
    assert_eq!(refused.code, Code::NotStarted);
    // Paths that only root can read are reported only to root.
    assert!(
        refused.lift.is_some() && !refused.message.contains("state/history"),
        "{refused:?}"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn agent_reads_own_history_without_control_characters() {
    let daemon = Daemon::start(Options::default());
    let hostile = "x\n\u{1b}[2J\u{202e}PRIORITY=0\u{e0041}";
    let _ = runs(&daemon, &user_b(), &["echo", "of-b"]);
    let mut session = daemon.session(&user_a());
    let report = session.run(&json!({ "argv": ["echo", hostile] }));
    let result = session.tool("history", &json!({}));
    assert_eq!(result["isError"], false, "{result}");
    let page = &result["structuredContent"];
    let entries = page["entries"].as_array().expect("a list");
    assert_eq!((entries.len(), &page["next"]), (2, &Value::Null), "{page}");
    for entry in entries {
        assert_eq!(entry["job_id"], report["job_id"]);
        let command = entry["command"].as_str().expect("it has one");
        assert!(command.contains("PRIORITY=0") && !command.contains("of-b"));
        let acts = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}');
        assert!(!command.contains(acts), "{command:?}");
    }
    let page = session.tool(
        "history",
        &json!({ "limit": 1, "kind": "started", "since": "-1h" }),
    );
    let page = &page["structuredContent"];
    assert_eq!(page["entries"][0]["kind"], "started", "{page}");
    let before = page["entries"][0]["seq"].clone();
    let page = session.tool("history", &json!({ "before": before }));
    assert_eq!(page["structuredContent"]["entries"], json!([]));
    let wrong = session.tool("history", &json!({ "since": "soon" }));
    assert_eq!(wrong["isError"], true);
    assert_eq!(wrong["structuredContent"]["error"]["code"], "invalid_args");
    let _ = session.close();
    daemon.stop();
}

#[test]
fn remit_history_shows_it() {
    let daemon = Daemon::start(Options::default());
    for _ in 0..3 {
        let _ = runs(&daemon, &user_a(), &["true"]);
    }
    let text = |identity: &Identity, arguments: &[&str]| {
        let output = daemon.remit(identity, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let shown = text(&user_a(), &["history", "--limit", "4"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 6 && lines[0].contains("EVENT"), "{shown}");
    assert!(
        lines[1].contains("ended") && lines[2].contains("started"),
        "{shown}"
    );
    let (_, next) = lines[5].split_once("--before ").expect("there is more");
    let rest = text(&user_a(), &["history", "--before", next]);
    assert_eq!(rest.lines().count(), 3, "{rest}");
    assert!(text(&user_b(), &["history"]).starts_with("nothing"));

    let all = text(&admin(), &["history", "--all", "--json"]);
    let all: Value = serde_json::from_str(&all).expect("it is JSON");
    let entries = all["entries"].as_array().expect("a list");
    assert!(entries.len() == 6 && entries.iter().all(|entry| entry["user"] == "#64001"));
    let one = text(
        &admin(),
        &["history", "--user", "#64001", "--kind", "ended"],
    );
    assert_eq!(one.lines().count(), 4, "{one}");
    let refused = daemon.remit(&user_a(), &["history", "--all"]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    daemon.stop();
}
