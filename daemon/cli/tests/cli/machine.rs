//! Tests the verbs that set up and check a machine. Their effects and most checks of `doctor` are tested in tests/machine.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::Receiver;

use remit_common::admin::{
    ActiveGrant, AdminReply, AdminRequest, Checkup, Grantee, LayerCheck, LayerState, NewGrant,
    ProfileCheck, Reloaded,
};
use remit_common::refusal::{Code, Refusal};
use serde_json::{Value, json};

use crate::admin::status;
use crate::fake::{Answer, Directory, Fake, Said, remit};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn said(args: &[&str], input: &str) -> Said {
    let mut child = remit(Path::new("/nonexistent"), args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program does not read its input if it refuses the arguments.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn printing_does_nothing_and_says_so() {
    let key = format!("{KEY} me");
    let printed = said(&["enroll", "agent", "-", "--print"], &key);
    let line = format!("restrict,command=\"/usr/bin/mcp-shim\" {key}");
    assert_eq!(
        (printed.status, printed.text()),
        (Some(0), &*format!("{line}\n"))
    );
    assert!(
        printed.stderr.starts_with("remit: nothing was done"),
        "{printed:?}"
    );
    let json = said(&["enroll", "agent", "-", "--print", "--json"], &key).json();
    assert_eq!(json, json!({ "line": line }));
}

#[test]
fn invalid_key_is_refused_in_both_forms() {
    let input = "-----BEGIN OPENSSH PRIVATE KEY-----";
    let refused = said(&["enroll", "agent", "-", "--print"], input);
    assert_eq!((refused.status, refused.text()), (Some(125), ""));
    assert!(
        refused
            .stderr
            .contains("standard input: it is a private key"),
        "{refused:?}"
    );
    let json = said(&["enroll", "agent", "-", "--print", "--json"], input).json();
    assert_eq!(json["error"]["code"], "invalid_args");
}

#[test]
fn user_not_enrolled_is_not_unenrolled() {
    let state = std::env::temp_dir().join(format!("remit-unenroll-{}", std::process::id()));
    let args = [
        "unenroll",
        "no-such-agent",
        "--json",
        "--state",
        state.to_str().unwrap(),
    ];
    let refused = said(&args, "");
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(refused.status, Some(125), "{refused:?}");
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "not_found");
    let message = "there is no user 'no-such-agent'; no account is enrolled";
    assert_eq!(error["message"], message, "{refused:?}");
}

fn grant_to(grant: u64, to: Grantee) -> ActiveGrant {
    ActiveGrant {
        grant,
        new: NewGrant {
            to,
            what: "service.restart".into(),
            args: Vec::new(),
            for_s: 3600,
            uses: None,
            across_reboot: false,
            paths: Vec::new(),
        },
        covered: Vec::new(),
        by: "ann".into(),
        by_uid: 1000,
        granted_ms: 0,
        left_ms: 1000,
        uses_left: None,
    }
}

/// A later account of the same name and uid would inherit what the daemon keeps.
#[test]
fn account_that_is_gone_leaves_no_right_in_the_daemon() {
    let name = "no-such-agent";
    let user = |name: &str, uid| Grantee::User {
        name: name.into(),
        uid,
    };
    let group = Grantee::Group {
        name: name.into(),
        gid: 60_101,
    };
    let grants = vec![
        grant_to(7, user(name, 60_101)),
        grant_to(8, user("carol", 60_101)),
        grant_to(9, group),
    ];
    let reloaded = AdminReply::Reloaded(Reloaded {
        policy: "0".repeat(64),
        rules: 0,
        commands: 0,
        changes: Vec::new(),
        more_changes: 0,
        warnings: Vec::new(),
        notes: Vec::new(),
    });
    let refusal = Refusal::new(Code::InvalidArgs, "the new policy is refused");
    let refused = AdminReply::Refused(refusal.lift("remit policy check"));
    for (reload, problem) in [
        (Some(reloaded), None),
        (
            Some(refused),
            Some("may be left: the new policy is refused; to go on: remit policy check"),
        ),
        (None, Some("to go on: systemctl start remitd")),
    ] {
        let state = Directory::new();
        let record = state.path().join("enrolled").join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(record.parent().unwrap())
            .unwrap();
        let text = json!({"version": 1, "account_made": true, "uid": 60_101, "group_added": "remit",
                          "directories_made": [], "files_made": [], "keys": []});
        fs::write(&record, text.to_string()).unwrap();
        let fake = Fake::new(|_| Answer::HangUp);
        let heard = reload.map(|reload| {
            let grants = grants.clone();
            fake.answer_each_administrator(move |request| match request {
                AdminRequest::Grants => AdminReply::Grants(grants.clone()),
                AdminRequest::Reload => reload.clone(),
                _ => AdminReply::Done(String::new()),
            })
        });
        let state = state.path().to_str().unwrap();
        let said = fake.output(&["unenroll", name, "--json", "--state", state]);
        let asked: Vec<AdminRequest> = heard.iter().flat_map(Receiver::try_iter).collect();
        let all = [
            AdminRequest::Grants,
            AdminRequest::Revoke { grant: Some(7) },
            AdminRequest::Reload,
        ];
        assert_eq!(asked, all[..asked.len()], "{said:?}");
        assert_eq!(asked.len(), heard.map_or(0, |_| 3));
        assert_eq!(record.exists(), problem.is_some(), "{said:?}");
        assert_eq!(said.status, Some(if problem.is_some() { 125 } else { 0 }));
        assert!(
            said.stderr.contains(problem.unwrap_or_default()),
            "{said:?}"
        );
    }
}

#[test]
fn stdout_has_only_text_to_paste() {
    let args = [
        "client-config",
        "cursor",
        "web-1.example.org",
        "--user",
        "agent",
    ];
    let config = said(&args, "");
    assert_eq!(config.status, Some(0), "{config:?}");
    let read: Value = serde_json::from_str(config.text()).unwrap();
    let ssh = read["mcpServers"]["web-1"]["args"].as_array().unwrap();
    assert_eq!(
        ssh[ssh.len() - 2..],
        ["agent@web-1.example.org", "mcp-shim"]
    );
    assert!(config.stderr.contains("~/.cursor/mcp.json"), "{config:?}");
    let json = said(&[&args[..], &["--json"]].concat(), "").json();
    assert_eq!(
        (&json["client"], &json["config"]),
        (&"cursor".into(), &config.text().into())
    );
    assert_eq!(json["command"][0], "ssh");
}

#[test]
fn ambiguous_ssh_words_are_usage_errors() {
    for args in [
        &["client-config", "cursor", "--", "-oProxyCommand=x"][..],
        &["client-config", "cursor", "a b"],
        &["client-config", "cursor", "web", "--user", "-x"],
        &["client-config", "cursor", "a@web", "--user", "b"],
        &["client-config", "cursor", "web", "--identity", "a\nb"],
        &["client-config", "cursor", "web", "--name", "a b"],
        &["client-config", "emacs", "web"],
        &["enroll", "--", "-x", "-"],
        &["enroll", "a b", "-"],
        &["enroll", "a", "-", "--expires", "soon"],
        &["enroll", "a", "-", "--group", "x,y"],
        &["unenroll", "../root"],
    ] {
        let refused = said(args, KEY);
        assert_eq!((refused.status, refused.text()), (Some(64), ""), "{args:?}");
    }
}

fn checkup(state: LayerState) -> AdminReply {
    AdminReply::Doctor(Box::new(Checkup {
        kernel: "6.1.0-test".into(),
        landlock: 2,
        landlock_errata: 0,
        cgroup: Some("/sys/fs/cgroup/x".into()),
        controllers: vec!["memory".into(), "pids".into(), "cpu".into()],
        missing_controllers: Vec::new(),
        lowered_limits: Vec::new(),
        audit: "file".into(),
        audit_error: None,
        daemon: Vec::new(),
        profiles: vec![ProfileCheck {
            name: "read".into(),
            refused: None,
            layers: vec![LayerCheck {
                name: "mounts".into(),
                state,
                detail: "it was \x1b[2J refused".into(),
            }],
        }],
    }))
}

fn verdict<'a>(report: &'a Value, part: &str, name: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let found = checks
        .iter()
        .find(|check| check["part"] == part && check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {part} {name}: {report}"));
    (
        found["verdict"].as_str().unwrap(),
        found["why"].as_str().unwrap_or_default(),
    )
}

fn report(said: &Said) -> Value {
    let report = said.json();
    assert_eq!(
        report["counts"]["failures"]
            .as_i64()
            .map(|count| count as i32),
        said.status,
        "{said:?}"
    );
    report
}

#[test]
fn broken_layer_is_named_and_counted() {
    let (fake, heard) = Fake::admin(checkup(LayerState::Held));
    let held = report(&fake.output(&["doctor", "--json"]));
    assert_eq!(heard.recv().unwrap(), AdminRequest::Doctor);
    assert_eq!(verdict(&held, "walls", "read: mounts").0, "ok");
    assert_eq!(held["checkup"]["profiles"][0]["walls"][0]["state"], "held");

    let (fake, _heard) = Fake::admin(checkup(LayerState::Broken));
    let broken = report(&fake.output(&["doctor", "--json"]));
    let (word, why) = verdict(&broken, "walls", "read: mounts");
    assert_eq!(word, "failure");
    assert!(
        why.starts_with("sandbox layer 'mounts' does not hold"),
        "{why}"
    );
    let count = |report: &Value| report["counts"]["failures"].as_i64().unwrap();
    assert_eq!(count(&broken), count(&held) + 1);
}

#[test]
fn unknown_lock_state_is_not_shown_open() {
    let (fake, heard) = Fake::admin(checkup(LayerState::Held));
    let report = report(&fake.output(&["doctor", "--json"]));
    assert_eq!(heard.recv().unwrap(), AdminRequest::Doctor);
    assert_eq!(heard.recv().unwrap(), AdminRequest::Status);
    for name in ["lock", "breaker", "confirm"] {
        assert_eq!(verdict(&report, "service", name).0, "skipped");
    }
}

#[test]
fn what_is_not_in_force_is_a_warning() {
    let fake = Fake::new(|_| Answer::HangUp);
    let _heard = fake.answer_each_administrator(|request| match request {
        AdminRequest::Status => AdminReply::Status(Box::new(status())),
        _ => checkup(LayerState::Held),
    });
    let report = report(&fake.output(&["doctor", "--json"]));
    let checks = report["checks"].as_array().unwrap().iter();
    let warnings = checks.filter(|check| {
        check["name"] == "configuration and policy" && check["verdict"] == "warning"
    });
    let whys: Vec<&str> = warnings.filter_map(|check| check["why"].as_str()).collect();
    for expect in [
        "the old policy is in force, because the new one was refused: \
         '/etc/remit/policy.d/x.toml':1:1: unknown key",
        "changed in remit.toml, and not in force: jobs.max, audit.sink",
    ] {
        assert!(whys.contains(&expect), "{whys:?}");
    }
}

#[test]
fn failures_come_last_and_are_escaped() {
    let (fake, _heard) = Fake::admin(checkup(LayerState::Broken));
    let said = fake.output(&["doctor"]);
    let text = said.text();
    assert!(
        text.contains("\nFAILURE  read: mounts: ") && text.contains("\n    fix: boot a kernel"),
        "{text}"
    );
    assert!(
        text.contains("\\x1b[2J") && !text.contains('\x1b'),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("remit has problems here: "), "{last}");
}

#[test]
fn fine_checks_are_listed_only_with_verbose() {
    let (fake, _heard) = Fake::admin(checkup(LayerState::Held));
    let short = fake.output(&["doctor"]);
    let line = "sandbox   ok       1 of 1 checks hold\n";
    assert!(short.text().starts_with(line), "{short:?}");
    assert!(!short.text().contains("ok       read: mounts"), "{short:?}");

    let (fake, _heard) = Fake::admin(checkup(LayerState::Held));
    let all = fake.output(&["doctor", "-v"]);
    assert!(
        all.text().starts_with("sandbox\n  ok       read: mounts: "),
        "{all:?}"
    );
    assert_eq!(all.status, short.status);
}

#[test]
fn other_checks_run_without_daemon_answer() {
    let without_daemon = remit(Path::new("/nonexistent"), &["doctor", "--json"]);
    let silent = report(&Said::from({ without_daemon }.output().unwrap()));
    let (word, why) = verdict(&silent, "walls", "daemon");
    assert_eq!(word, "failure");
    assert!(why.starts_with("remitd is not running"), "{why}");
    assert_eq!(verdict(&silent, "files", "remit.sock").0, "failure");
    assert_eq!(silent["checkup"], Value::Null);

    let refusal = Refusal::new(Code::NotStarted, "the layers were not tried");
    let (fake, _heard) = Fake::admin(AdminReply::Refused(refusal));
    let refused = report(&fake.output(&["doctor", "--json"]));
    assert!(
        verdict(&refused, "walls", "daemon")
            .1
            .contains("were not tried")
    );

    let (fake, _heard) = Fake::admin(AdminReply::Done("x".into()));
    let wrong = report(&fake.output(&["doctor", "--json"]));
    assert_eq!(verdict(&wrong, "walls", "daemon").0, "failure");
}
