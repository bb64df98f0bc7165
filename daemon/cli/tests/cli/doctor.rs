//! `remit doctor`: what a daemon tells, and what is told without one. The rest is the machine's.

use remit_common::admin::{AdminReply, AdminRequest, Checkup, ProfileCheck, WallCheck, WallState};
use remit_common::refusal::{Code, Refusal};
use serde_json::Value;

use crate::fake::{Fake, Said, remit};

fn checkup(state: WallState) -> AdminReply {
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
        profiles: vec![ProfileCheck {
            name: "read".into(),
            refused: None,
            walls: vec![WallCheck {
                name: "mounts".into(),
                state,
                detail: "it was \x1b[2J refused".into(),
            }],
        }],
    }))
}

/// The verdict of a check, and the reason.
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

/// The report; the exit status is the number of its failures.
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
fn a_broken_wall_is_named_and_counted() {
    let (fake, heard) = Fake::admin(checkup(WallState::Held));
    let held = report(&fake.output(&["doctor", "--json"]));
    assert_eq!(heard.recv().unwrap(), AdminRequest::Doctor);
    assert_eq!(verdict(&held, "walls", "read: mounts").0, "ok");
    assert_eq!(held["checkup"]["profiles"][0]["walls"][0]["state"], "held");

    let (fake, _heard) = Fake::admin(checkup(WallState::Broken));
    let broken = report(&fake.output(&["doctor", "--json"]));
    let (word, why) = verdict(&broken, "walls", "read: mounts");
    assert_eq!(word, "failure");
    assert!(why.starts_with("wall 'mounts' does not hold"), "{why}");
    let count = |report: &Value| report["counts"]["failures"].as_i64().unwrap();
    assert_eq!(count(&broken), count(&held) + 1);
}

#[test]
fn a_daemon_that_does_not_tell_of_its_lock_is_not_said_to_be_open() {
    let (fake, heard) = Fake::admin(checkup(WallState::Held));
    let report = report(&fake.output(&["doctor", "--json"]));
    assert_eq!(heard.recv().unwrap(), AdminRequest::Doctor);
    assert_eq!(heard.recv().unwrap(), AdminRequest::Status);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["name"] != "lock"));
}

#[test]
fn the_screen_is_safe_and_ends_with_the_counts() {
    let (fake, _heard) = Fake::admin(checkup(WallState::Broken));
    let said = fake.output(&["doctor"]);
    let text = said.text();
    assert!(
        text.contains("FAILURE  read: mounts: ") && text.contains("way out: "),
        "{text}"
    );
    assert!(
        text.contains("\\x1b[2J") && !text.contains('\x1b'),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.contains(" checks: "), "{last}");
}

#[test]
fn without_an_answer_the_rest_is_still_looked_at() {
    let nobody = remit(std::path::Path::new("/nonexistent"), &["doctor", "--json"]);
    let silent = report(&Said::from({ nobody }.output().unwrap()));
    let (word, why) = verdict(&silent, "walls", "daemon");
    assert_eq!(word, "failure");
    assert!(why.starts_with("cannot reach remitd"), "{why}");
    assert_eq!(verdict(&silent, "files", "remit.sock").0, "failure");
    assert_eq!(silent["checkup"], Value::Null);

    let refusal = Refusal::new(Code::NotStarted, "the walls were not tried");
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
