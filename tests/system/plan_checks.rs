//! Checks of plans: a command sees the files as they will be, and the approver reads how it ended.

use std::fs;

use remit_common::refusal::{Code, Refusal};
use remit_edit::{Action, Edit};
use remit_plan::Bundle;
use remit_tests::caller::{Caller, named};
use remit_tests::daemon::{admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

use crate::plans::{GRANTS, PlanFixture, replacement};

/// A command that succeeds if the site's configuration has the word `good` and there is a file `more`.
fn policy(fixture: &PlanFixture) -> String {
    let site = fixture.dir.display();
    format!(
        r##"{GRANTS}
[[command]]
name = "site.check"
summary = "Check the configuration of the site"
argv = ["/bin/sh", "-c", "cat site.conf 2>&1; ls; grep -q good site.conf && [ -e more ] && [ ! -e gone ]"]
cwd = "{site}"
effect = "read"
profile = "site"
stdin = "plan"

[profile.site]
base = "strict"
read = ["{site}"]

[[grant]]
name = "checks"
to = ["#64001", "#64002"]
allow = ["site.check"]
"##
    )
}

fn lay() -> PlanFixture {
    let mut fixture = PlanFixture::lay();
    fixture.file("site.conf", "bad\n");
    fixture.file("gone", "x");
    let policy = policy(&fixture);
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
    fixture
}

pub fn check(
    fixture: &PlanFixture,
    by: &Identity,
    bundle: Option<&[u8]>,
) -> Result<JobReport, Refusal> {
    let run = Run {
        stdin: bundle.map(|bytes| bytes.to_vec().into()),
        ..named("site.check", &[])
    };
    let mut caller = Caller::new(&fixture.daemon, by);
    let report = caller.run(run)?;
    Ok(match report.ending {
        Some(_) => report,
        None => caller.end_of(report.job),
    })
}

#[track_caller]
pub fn ends(report: &JobReport, exit: i32, stdout: &str) {
    let ending = report.ending.as_ref().expect("it has ended");
    let text = String::from_utf8_lossy(&report.stdout.head).into_owned();
    assert_eq!(
        (ending.exit, text.as_str()),
        (Some(exit), stdout),
        "{report:?}"
    );
}

/// Returns the page of a request to commit this plan.
pub fn page(fixture: &PlanFixture, plan: &str) -> String {
    let job = fixture.asks(&["change", "--plan", plan, "-m", "why", "--no-wait"]);
    let page = fixture.daemon.remit(&admin(), &["show", &job.to_string()]);
    String::from_utf8(page.stdout).expect("it is text")
}

fn fixes(fixture: &PlanFixture) -> Vec<Edit> {
    vec![
        fixture.edit("site.conf", replacement(b"bad", b"good", 1)),
        fixture.edit("more", Action::Write(b"1".to_vec())),
        fixture.edit("gone", Action::Remove),
    ]
}

#[test]
fn check_sees_the_files_of_the_plan_and_the_approver_its_end() {
    let fixture = lay();
    ends(
        &check(&fixture, &user_a(), None).expect("it is granted"),
        1,
        "bad\ngone\nsite.conf\n",
    );
    let bundle = fixture.bundle(fixes(&fixture));
    let seen = check(&fixture, &user_a(), Some(bundle.as_bytes())).expect("it is granted");
    ends(&seen, 0, "good\nmore\nsite.conf\n");
    assert_eq!(fixture.read("site.conf"), b"bad\n");
    assert!(!fixture.dir.join("more").exists());
    // Of another plan, and of another user.
    let other = fixture.bundle(vec![
        fixture.edit("site.conf", replacement(b"bad", b"worse", 1)),
    ]);
    ends(
        &check(&fixture, &user_a(), Some(other.as_bytes())).expect("it is granted"),
        1,
        "worse\ngone\nsite.conf\n",
    );
    ends(
        &check(&fixture, &user_b(), Some(other.as_bytes())).expect("it is granted"),
        1,
        "worse\ngone\nsite.conf\n",
    );

    let shown = |edits: Vec<Edit>| {
        let (report, _) = fixture.plan(edits);
        page(&fixture, &report.job.to_string())
    };
    let page = shown(fixes(&fixture)).replace('\n', " ");
    assert!(page.contains("checked     | exit 0, "), "{page}");
    assert!(!page.contains("FAILED"), "{page}");
    let page = shown(vec![
        fixture.edit("site.conf", replacement(b"bad", b"worse", 1)),
    ]);
    assert!(
        page.contains("checked     | FAILED, ")
            && page.contains("RISK        | check of exactly these files: FAILED, "),
        "{page}"
    );
    let page = shown(vec![fixture.edit("more", Action::Write(b"2".to_vec()))]);
    assert!(
        !page.contains("checked ") && !page.contains("of exactly these files"),
        "{page}"
    );
}

#[test]
fn check_sees_links() {
    let fixture = lay();
    let mut edits = fixes(&fixture);
    edits[1].action = Action::Link(b"site.conf".to_vec());
    let bundle = fixture.bundle(edits.clone());
    let seen = check(&fixture, &user_a(), Some(bundle.as_bytes())).expect("it is granted");
    ends(&seen, 0, "good\nmore\nsite.conf\n");
    // One that leads nowhere.
    edits[1].action = Action::Link(b"nowhere".to_vec());
    let bundle = fixture.bundle(edits);
    let seen = check(&fixture, &user_a(), Some(bundle.as_bytes())).expect("it is granted");
    ends(&seen, 1, "good\nmore\nsite.conf\n");
}

#[track_caller]
fn is_refused(found: Result<JobReport, Refusal>, part: &str) {
    let refusal = found.expect_err("it ran");
    assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
    assert!(refusal.message.contains(part), "{refusal:?}");
}

#[test]
fn what_a_check_cannot_see_is_refused() {
    let fixture = lay();
    let outside = Edit {
        path: remit_plan::PlanPath::new("/srv/remit-outside").expect("it is a path"),
        ..fixture.edit("x", Action::Write(b"1".to_vec()))
    };
    let mode = Edit {
        mode: Some(0o600),
        ..fixture.edit("site.conf", Action::Keep)
    };
    for (edit, part) in [
        (outside, "its profile 'site' does not list it in 'read'"),
        (mode, "a change of mode or owner alone"),
    ] {
        let bundle = fixture.bundle(vec![edit, fixes(&fixture).remove(1)]);
        is_refused(check(&fixture, &user_a(), Some(bundle.as_bytes())), part);
    }
    is_refused(
        check(&fixture, &user_a(), Some(b"no plan")),
        "standard input is not a plan",
    );
    // Attack: a plan that no plan.make has made, for a path that is a link on the host.
    std::os::unix::fs::symlink("/etc", fixture.dir.join("link")).expect("it is foreign");
    let bundle = fixture.bundle(vec![
        fixture.edit("site.conf", replacement(b"bad", b"good", 1)),
    ]);
    let forged = forge(&bundle, &fixture.at("link/shadow"));
    let report = check(&fixture, &user_a(), Some(forged.as_bytes()));
    let ending = report
        .expect("only its child knows")
        .ending
        .expect("it has ended");
    assert_ne!(ending.exit, Some(0), "{ending:?}");
    assert!(
        ending
            .cause
            .contains("symbolic link, which is not followed"),
        "{ending:?}"
    );
    assert_eq!(fs::read("/srv/remit-outside").ok(), None);
}

/// A plan that makes a file at another path.
fn forge(bundle: &Bundle, path: &str) -> Bundle {
    let mut entries = bundle.plan().entries().to_vec();
    entries[0].path = remit_plan::PlanPath::new(path).expect("it is a path");
    let remit_plan::Change::Replace { content, meta, .. } = entries[0].change else {
        panic!("{entries:?}")
    };
    let new = remit_plan::New::File(content);
    entries[0].change = remit_plan::Change::Create { new, meta };
    let plan = remit_plan::Plan::new(entries).expect("it is a plan");
    Bundle::new(&plan, b"good\n", b"").expect("it has its bytes")
}

/// Attack: a check of what can lock people out is no commit that waits for a confirmation, and none is undone by it.
#[test]
fn check_arms_no_undo() {
    let fixture = lay();
    let keys = fixture.edit("authorized_keys", Action::Write(b"1".to_vec()));
    let bundle = fixture.bundle(vec![keys, fixes(&fixture).remove(0)]);
    let report = check(&fixture, &user_a(), Some(bundle.as_bytes())).expect("it is granted");
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (ending.state, &ending.next),
        (State::Exited, &None),
        "{report:?}"
    );
    let status = fixture.daemon.remit(&admin(), &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("it is JSON");
    assert_eq!(status["unconfirmed"], serde_json::json!([]), "{status}");
}

/// The approver signs the bytes of the files that a command names, and the check would see others.
#[test]
fn approved_check_sees_no_file_that_the_approver_saw_otherwise() {
    let mut fixture = lay();
    let asks = "allow = [\"site.check\"]\napproval = { by = [\"#64005\"] }";
    let policy = policy(&fixture).replace("allow = [\"site.check\"]", asks);
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
    let bundle = fixture.bundle(fixes(&fixture));
    let run = Run {
        stdin: Some(bundle.as_bytes().to_vec().into()),
        wait_ms: Some(0),
        ..named("site.check", &[])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let asked = caller.run(run).expect("it asks");
    fixture.approve(asked.job);
    let ending = caller.end_of(asked.job).ending.expect("it has ended");
    assert_eq!(ending.state, State::NotStarted, "{ending:?}");
    assert!(
        ending.cause.contains("is not what was approved"),
        "{ending:?}"
    );
}
