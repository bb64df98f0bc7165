//! A secret given to a command is in nothing that anybody reads, even if its program prints it.
//!
//! The spool is the exception: it has the raw output, readable by the broker only (0600).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, at_once, cause, named, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::ends_within;
use remit_tests::test_dir::holder;
use remit_wire::outcome::{JobReport, Stream};
use remit_wire::{GrepQuery, PageQuery, Request};
use serde_json::json;

const CANARY: &str = "hunter2-canary-8f3a";
/// Base64 of the canary, if it is at the beginning.
const BASE64: &str = "aHVudGVyMi1jYW5hcnktOGYzY";
const HEX: &str = "68756e746572322d63616e6172792d38663361";

fn daemon() -> Daemon {
    let writes = "x=$(cat); echo \"$x\"; echo \"say $x twice\" >&2; printf %s \"$x\" | base64 -w0; echo; \
                  printf %s \"$x\" | od -An -tx1 -v | tr -d ' \\n'; echo";
    let slow = format!("{writes}; sleep 1.5; printf %s \"$x\"; sleep 1000");
    let shell = |script: &str| format!("\"/usr/bin/sh\", \"-c\", '''{script}'''");
    let policy = [
        ("site.echo", shell(writes), "stdin = \"{key}\""),
        ("site.slow", shell(&slow), "stdin = \"{key}\""),
        (
            "site.file",
            "\"/usr/bin/cat\", \"--\", \"{key}\"".to_owned(),
            "",
        ),
    ]
    .map(|(name, argv, stdin)| {
        format!(
            "[[command]]\nname = \"{name}\"\nsummary = \"writes\"\nargv = [{argv}]\n{stdin}\n\
             effect = \"read\"\nprofile = \"read\"\nargs.key = {{ type = \"secret\" }}\n\n"
        )
    });
    let grant =
        "[[grant]]\nname = \"commands\"\nto = [\"#64001\"]\nallow = [\"*\"]\neffect = \"change\"\n";
    Daemon::start(Options {
        policy: format!("{}{grant}", policy.concat()),
        ..Options::default()
    })
}

fn clean(shown: &str) {
    for form in [CANARY, BASE64, HEX] {
        assert!(!shown.contains(form), "{shown}");
    }
}

fn page(stream: Stream, offset: u64, limit: u32, tail: bool) -> PageQuery {
    PageQuery {
        stream,
        offset,
        limit,
        tail,
        whole_characters: true,
    }
}

fn grep(caller: &mut Caller, job: JobId, pattern: &str) -> usize {
    let query = GrepQuery {
        stream: Stream::Stdout,
        pattern: pattern.to_owned(),
        offset: 0,
        limit: 100,
        context: 2,
    };
    let found = caller.grep(job, query).expect("it can be searched");
    found
        .lines
        .iter()
        .for_each(|line| clean(&String::from_utf8_lossy(&line.text)));
    found.lines.len()
}

fn looks(daemon: &Daemon, job: JobId) -> JobReport {
    let mut caller = Caller::new(daemon, &user_a());
    let report = caller.job(job, 0).expect("it is theirs");
    clean(&String::from_utf8_lossy(&report.stdout.head));
    clean(&String::from_utf8_lossy(&report.stderr.head));
    let mut joined = Vec::new();
    loop {
        let from = joined.len() as u64;
        let page = caller
            .paged(job, page(Stream::Stdout, from, 5, false))
            .expect("a page");
        if page.bytes.is_empty() {
            break;
        }
        joined.extend_from_slice(&page.bytes);
    }
    clean(&String::from_utf8_lossy(&joined));
    let tail = caller
        .paged(job, page(Stream::Stderr, 0, 12, true))
        .expect("a page");
    clean(&String::from_utf8_lossy(&tail.bytes));
    let news = caller.follow(job, [0, 0], 0).expect("it is theirs");
    clean(&String::from_utf8_lossy(&news.stdout.bytes));
    clean(&String::from_utf8_lossy(&news.stderr.bytes));
    assert_eq!(grep(&mut caller, job, "canary|hunter|aHVud|6875"), 0);
    let mut session = daemon.session(&user_a());
    for more in [
        json!({}),
        json!({"offset": 0}),
        json!({"tail": true, "stream": "stderr"}),
        json!({"grep": "."}),
    ] {
        let mut arguments = json!({"job_id": job.to_string(), "wait_ms": 0});
        let (to, from) = (arguments.as_object_mut(), more.as_object());
        to.expect("an object")
            .extend(from.expect("an object").clone());
        clean(&session.tool("job", &arguments).to_string());
    }
    let raw = json!({"job_id": job.to_string(), "wait_ms": 0, "offset": 0, "encoding": "base64"});
    assert!(
        !session.tool("job", &raw).to_string().contains(BASE64),
        "base64 of it"
    );
    assert_eq!(session.close(), Some(0));
    let id = job.to_string();
    for words in [
        &["job", &id][..],
        &["--json", "job", &id],
        &["job", &id, "--tail", "5"],
    ] {
        let answer = daemon.remit(&user_a(), words);
        clean(&String::from_utf8_lossy(&answer.stdout));
        clean(&String::from_utf8_lossy(&answer.stderr));
    }
    report
}

fn kept_clean(daemon: &Daemon) {
    let found = holder(daemon.path(), CANARY.as_bytes(), &["spool", "bin"]);
    assert_eq!(found, None, "a file holds it");
    clean(&daemon.stderr());
    assert!(daemon.records("intent").iter().any(|record| {
        record["REMIT_COMMAND"]
            .as_str()
            .is_some_and(|name| name.starts_with("site."))
    }));
}

#[test]
fn secrets_are_stars_and_other_output_unchanged() {
    let daemon = daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let args = [("key", CANARY)];
    let report = caller
        .run(named("site.echo", &args))
        .expect("it is granted");
    let stars = "*".repeat(CANARY.len());
    let out = stdout(&report);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, stars.as_str()), "{out}");
    assert!(
        lines[1].starts_with("*****") && lines[2].bytes().all(|b| b == b'*'),
        "{out}"
    );
    let err = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert_eq!(err, format!("say {stars} twice\n"), "{report:?}");
    assert!(
        report.notes.iter().any(|note| note.starts_with("4 parts")),
        "{report:?}"
    );
    looks(&daemon, report.job);
    assert_eq!(
        grep(&mut caller, report.job, r"^\*+$"),
        3,
        "what is searched is what is shown"
    );

    let from_file = caller
        .run(named("site.file", &args))
        .expect("it is granted");
    assert_eq!(stdout(&from_file), stars, "{from_file:?}");
    looks(&daemon, from_file.job);
    kept_clean(&daemon);
    daemon.stop();
}

#[test]
fn running_job_is_redacted_also_after_broker_death() {
    let daemon = daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let run = at_once(named("site.slow", &[("key", CANARY)]));
    let job = caller.run(run).expect("it is granted").job;
    let followed = caller.follow(job, [0, 0], 20_000).expect("it is theirs");
    clean(&String::from_utf8_lossy(&followed.stdout.bytes));
    let broker = daemon.broker().expect("there is a broker");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(broker, 20_000));
    // The next broker receives the secrets again. Progress comes once a second.
    let mut caller = Caller::new(&daemon, &user_a());
    let wait = Request::Job(remit_wire::JobQuery {
        job,
        wait_ms: 2500,
        part: None,
    });
    let mut lines = Vec::new();
    let reply = caller
        .0
        .call(wait, |progress| lines.push(progress.last_line));
    assert!(reply.is_ok(), "{reply:?}");
    assert!(!lines.is_empty());
    lines.iter().for_each(|line| clean(line));
    let report = looks(&daemon, job);
    assert!(
        stdout(&report).starts_with(&"*".repeat(CANARY.len())),
        "{report:?}"
    );

    let ended = caller.stop(job).expect("it is theirs");
    assert!(!cause(&ended).is_empty());
    assert!(
        stdout(&ended).contains('*'),
        "its broker knows what to take out still"
    );
    let broker = daemon.broker().expect("there is a broker");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(broker, 20_000));
    // No process knows the secrets any more.
    is_withheld(&looks(&daemon, job));
    kept_clean(&daemon);
    daemon.stop();
}

fn is_withheld(report: &JobReport) {
    assert!(
        report.stdout.head.is_empty() && report.stdout.total > 0,
        "{report:?}"
    );
    assert!(
        report.notes.iter().any(|note| note.contains("withheld")),
        "{report:?}"
    );
}

#[test]
fn output_with_secrets_is_withheld_after_restart() {
    let mut daemon = daemon();
    let run = named("site.echo", &[("key", CANARY)]);
    let job = Caller::new(&daemon, &user_a())
        .run(run)
        .expect("it is granted")
        .job;
    daemon.restart_cleanly();
    is_withheld(&looks(&daemon, job));
    kept_clean(&daemon);
    daemon.stop();
}

#[test]
fn secret_too_short_to_redact_is_refused() {
    let daemon = daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    for (value, is_taken) in [("", false), ("abc", false), ("abcd", true)] {
        let answer = caller.run(named("site.echo", &[("key", value)]));
        assert_eq!(answer.is_ok(), is_taken, "{value:?}: {answer:?}");
        if let Err(refusal) = answer {
            assert!(
                value.is_empty() || refusal.message.contains("fewer than 4 bytes"),
                "{refusal:?}"
            );
        }
    }
    daemon.stop();
}
