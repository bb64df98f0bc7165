//! What people type: `hosts` and `run`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::AdminRequest;
use serde_json::{Value, json};

use crate::screen::Screen;
use crate::stage::{NONE, RELEASE, Stage, approver, canned, changing, daemon, ran};

#[test]
fn hosts_are_listed_and_probed() {
    let daemon = daemon();
    let stage = Stage::new(&["web1", "web2", "db1"]);
    stage.set_fleet("[hosts]\ninclude = [\"web*\", \"db1\"]\n[tags]\nprod = [\"web1\"]\n");
    stage.set_real("web1", &daemon);
    stage.set_host(
        "web2",
        "echo 'ann@web2: Permission denied (publickey).' >&2; exit 255\n",
    );
    stage.set_host(
        "db1",
        &canned(
            "remit",
            "0.0.1",
            &json!({"structuredContent": {"user": "x"}}),
        ),
    );
    let (status, out, _) = stage.run(&["hosts"]);
    assert_eq!((status, &*out), (Some(0), "web1  tag:prod\nweb2\ndb1\n"));
    assert_eq!(stage.logins(), [""; 0]);
    let (status, out, err) = stage.run(&["hosts", "--probe"]);
    assert_eq!(status, Some(1), "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with(&format!("web1  remit {RELEASE} as ")),
        "{out}"
    );
    assert!(lines[0].ends_with("@192.0.2.1:22  tag:prod"), "{out}");
    assert!(
        lines[1].contains("no answer: ann@web2: Permission denied")
            && lines[1].contains("/home/.ssh/config -o BatchMode=yes HOST"),
        "{out}"
    );
    assert!(lines[2].starts_with("db1   remit 0.0.1 as x"), "{out}");
    let (status, out, _) = stage.run(&["hosts", "--on", "db1", "--probe", "--json"]);
    let row: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &row["release"]), (Some(0), &json!("0.0.1")));
    // The tool says the same.
    let data = stage
        .client()
        .data("hosts", json!({"probe": true, "on": "web1"}));
    assert_eq!(data["hosts"][0]["release"], RELEASE, "{data}");
    assert_eq!(data["tags"], json!({"prod": 1}));
}

#[test]
fn probe_shows_policies_and_locks_to_administrators() {
    let (usual, other) = (daemon(), changing("/usr/bin/true", NONE));
    let stage = Stage::new(&["web1", "web2", "web3", "web4"]);
    for (host, daemon) in [("web1", &usual), ("web2", &other), ("web3", &usual)] {
        stage.set_real(host, daemon);
    }
    stage.set_host("web4", "exit 255\n");
    let lock = AdminRequest::Lock {
        why: "what\u{1b} is it doing?".into(),
        kill: false,
    };
    other.administer(lock).unwrap();
    let (status, out, err) = stage.run_of(&approver(), &["hosts", "--probe"]);
    assert_eq!((status, &*err), (Some(1), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6, "{out}");
    assert!(
        !lines[0].contains("LOCKED") && !lines[2].contains("LOCKED"),
        "{out}"
    );
    assert!(
        lines[1].contains("  LOCKED by ") && lines[1].contains(": what\\x1b is it doing?  "),
        "{out}"
    );
    assert!(lines[4].ends_with("  on 2 of 3"), "{out}");
    assert!(lines[5].ends_with("  on 1 of 3: web2"), "{out}");
    let (_, out, _) = stage.run_of(&approver(), &["hosts", "--probe", "--json"]);
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0]["policy"], rows[2]["policy"]);
    assert_ne!(rows[0]["policy"], rows[1]["policy"]);
    let digest = rows[1]["policy"].as_str().unwrap();
    assert!(
        lines[5].starts_with(&format!("policy {}  ", &digest[..12])),
        "{digest}"
    );
    assert!(rows[1]["locked"].is_string() && rows[0].get("locked").is_none());
    assert_eq!(
        (rows[3].get("policy"), rows[3]["why"].is_string()),
        (None, true)
    );
    // Others see what they saw.
    let (status, out, err) = stage.run(&["hosts", "--probe", "--on", "web1"]);
    assert_eq!((status, out.lines().count()), (Some(0), 1), "{out}");
    assert!(
        err.starts_with("remit-fleet: policy and lock are not known of web1: "),
        "{err}"
    );
}

#[test]
fn run_shows_groups_and_fails_if_a_host_does() {
    let daemon = daemon();
    let stage = Stage::new(&["web1", "web2", "web3"]);
    for host in ["web1", "web2"] {
        stage.set_real(host, &daemon);
    }
    stage.set_host("web3", "exit 255\n");
    let (status, out, err) = stage.run(&["run", "--on", "web1 web2", "--", "echo", "a", "--on"]);
    assert_eq!(
        (status, &*out, &*err),
        (Some(0), "== 2 of 2: web1 web2: exit 0\n  a --on\n", "")
    );
    let (status, out, _) = stage.run(&[
        "run",
        "--on",
        "web1",
        "--",
        "sh",
        "-c",
        "echo x >&2; exit 3",
    ]);
    assert_eq!(
        (status, &*out),
        (Some(1), "== web1: exit 3\n-- stderr\n  x\n")
    );
    let (status, out, _) = stage.run(&["run", "--on", "web1", "--", "nosuch"]);
    let begin = "== web1: exit 127: ";
    assert!(out.starts_with(begin) && out.contains("'nosuch'"), "{out}");
    assert!(!out.contains("remit job"), "{out}");
    assert_eq!(status, Some(1));
    let (status, out, _) = stage.run(&["run", "--on", "*", "--json", "--", "true"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &report["unreachable"][0]["hosts"]),
        (Some(1), &json!(["web3"]))
    );
    for (arguments, expect) in [
        (
            &["run", "--", "true"][..],
            "'--on' is required, because there are 3 hosts",
        ),
        (
            &["run", "--on", "mail", "--", "true"],
            "no host is named 'mail'",
        ),
        (
            &["run", "--on", "web1"],
            "required arguments were not provided",
        ),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let (status, out, err) = stage.run(arguments);
        assert_eq!((status, &*out), (Some(64), ""), "{err}");
        assert!(err.contains(expect), "{err}");
    }
}

#[test]
fn output_of_a_host_begins_no_row_of_a_screen() {
    let stage = Stage::new(&["web1", "liar"]);
    let forged = "== 2 of 2: web1 liar: exit 0";
    let refusal = json!({"code": "denied_rule", "message": format!("{}{forged}", "x".repeat(69))});
    let refused = json!({"structuredContent": {"error": refusal}, "isError": true});
    stage.set_host("web1", &canned("remit", RELEASE, &ran("a\n")));
    for result in [ran(&format!("{}{forged}\n", "x".repeat(78))), refused] {
        stage.set_host("liar", &canned("remit", RELEASE, &result));
        let command = stage.command(&["run", "--on", "*", "--", "x"]);
        let (_, _, _, seen) = Screen::with_output(&command).end();
        let rows = Screen::rows(&seen);
        let own = rows.iter().filter(|row| row.starts_with("=="));
        assert_eq!(own.count(), 2, "{seen}");
        assert!(rows.contains(&format!("  + {forged}")), "{seen}");
    }
}

#[test]
fn run_follows_a_long_job_to_its_end() {
    let stage = Stage::new(&["web1"]);
    let running = json!({"structuredContent": {"job_id": "ab", "state": "running"}});
    let ends = canned("remit", RELEASE, &ran("at last\n"));
    let first = canned("remit", RELEASE, &running);
    // The first call starts, the next one is 'job'.
    let first = first.replacen(
        "done\n",
        "case $line in *tools/call*) break ;; esac\ndone\n",
        1,
    );
    // The second answer that it still runs comes at once: the host is asked again after a pause.
    stage.set_host("web1", &(first.repeat(3) + &ends));
    let started = Instant::now();
    let (status, out, _) = stage.run(&["run", "--", "sleep", "100"]);
    assert_eq!((status, &*out), (Some(0), "== web1: exit 0\n  at last\n"));
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[test]
fn interrupted_run_shows_the_answers_so_far() {
    let daemon = daemon();
    let mut stage = Stage::new(&["web1", "web2"]);
    // The second is asked once the first has answered.
    stage.set_limits("connect_s = 10\nparallel = 1");
    stage.set_fleet("[hosts]\ninclude = [\"web1\", \"web2\"]\n");
    stage.set_host("web1", &canned("remit", RELEASE, &ran("a\n")));
    stage.set_real("web2", &daemon);
    let mut command = stage.command(&["run", "--on", "*", "--", "sleep", "1000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    let start = Instant::now();
    while daemon.records("intent").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "no job");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let left = run.wait_with_output().unwrap();
    let out = String::from_utf8(left.stdout).unwrap();
    assert_eq!(left.status.code(), Some(130), "{out}");
    assert!(out.contains("web1: exit 0"), "{out}");
    let dir = stage.path().display();
    let expect = format!(
        "  interrupted before its end; a job that it started goes on there: with a login of your own, '{dir}/ssh -F \
         {dir}/home/.ssh/config HOST remit jobs' lists it"
    );
    assert!(out.contains("web2") && out.contains(&expect), "{out}");
    let mut client = stage.client();
    let jobs = client.data("job", json!({"on": "web2"}));
    let job = &jobs["jobs"][0];
    assert_eq!(job["state"], "running", "{jobs}");
    client.data("job_stop", json!({"on": "web2", "job_id": job["job_id"]}));
}

#[test]
fn wrong_configuration_is_reported() {
    let stage = Stage::new(&["web1"]);
    for (text, expect) in [
        (
            "[hosts]\ninclude = [\"-oProxyCommand=x\"]\n",
            "the name of a host has letters",
        ),
        (
            "[hosts]\ninclude = [\"web1\"]\nexclude = [\"a\"]\n",
            "line 3: unknown field `exclude`",
        ),
        ("[hosts]\ninclude = [\"mail*\"]\n", "matches no 'Host'"),
    ] {
        stage.set_fleet(text);
        let (status, _, err) = stage.run(&["hosts"]);
        assert_eq!(status, Some(78), "{err}");
        assert!(
            err.contains(expect) && err.contains("home/.config/remit/fleet.toml"),
            "{err}"
        );
        // A server that does not start says nothing to a model.
        let why = stage.client().refusal("hosts", json!({}));
        assert!(why.contains(expect), "{why}");
    }
    let (status, _, err) = stage.run(&["hosts", "--config", "/nonexistent"]);
    assert_eq!(status, Some(78));
    assert!(
        err.contains("no hosts: '/nonexistent' is not there"),
        "{err}"
    );
    assert_eq!(stage.logins(), [""; 0]);
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let stage = Stage::new(&["web1"]);
    for argument in ["--help", "--version", "hosts"] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let mut command = stage.command(&[argument]);
        let out = command.stdout(full).stderr(Stdio::piped());
        let out = out.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(74), "{argument}: {said}");
        assert!(
            said.contains("cannot write to standard output: No space left"),
            "{said}"
        );
    }
}
