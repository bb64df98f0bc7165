//! Checks of plans in a copy of the machine: they see all of a plan of edits and of a copy, and leave nothing behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_edit::Action;
use remit_plan::Bundle;
use remit_tests::caller::{Caller, named};
use remit_tests::daemon::{user_a, user_b};
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State, Stream};
use serde_json::Value;

use crate::copies;
use crate::plan_checks::{check, ends, page};
use crate::plans::{PlanFixture, replacement};

/// Prints what is in the directory of the site. It succeeds if the site's configuration includes files that are there.
fn policy(fixture: &PlanFixture) -> String {
    let site = fixture.dir.display();
    format!(
        r##"
[[command]]
name = "site.check"
summary = "Check the site as a plan will leave it"
argv = ["/bin/sh", "-c", "find . -mindepth 1 -printf '%P %y %m %U:%G %l\\n' | sort; echo mine >mine; cat key private/* 2>/dev/null; for f in $(cat site.conf); do grep -q good $f || exit 3; done"]
cwd = "{site}"
effect = "read"
profile = "site-copy"
stdin = "plan"

[profile.site-copy]
base = "plan"
limits = {{ runtime = "2min" }}

[[command]]
name = "strict.check"
summary = "The same in base strict"
argv = ["/bin/sh", "-c", "true"]
effect = "read"
profile = "site-strict"
stdin = "plan"

[profile.site-strict]
base = "strict"
read = ["{site}"]

[[grant]]
name = "checks"
to = ["#64001", "#64002"]
allow = ["site.check", "strict.check"]

[[grant]]
name = "private"
to = ["#64001"]
allow = ["plan.private"]
approval = "none"
"##
    )
}

fn lay() -> PlanFixture {
    let fixture = copies::lay();
    fixture.file("site.conf", "a\n");
    fixture.file("a", "good\n");
    fixture.file("gone", "x");
    symlink("a", fixture.dir.join("link")).unwrap();
    fixture.loads("30-checks.toml", &policy(&fixture));
    fixture
}

const BEFORE: &str = "a f 644 0:0 \ngone f 644 0:0 \nlink l 777 0:0 a\nsite.conf f 644 0:0 \n";

/// Nothing of it ran. Returns why.
#[track_caller]
fn not_started(report: &JobReport) -> String {
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(ending.state, State::NotStarted, "{report:?}");
    assert_eq!(report.stdout.head.as_ref(), b"", "{report:?}");
    ending.cause.clone()
}

fn plan_id(ran: &copies::Ran) -> JobId {
    let id = ran.answer["plan_id"].as_str();
    let id = id.unwrap_or_else(|| panic!("{}", ran.answer));
    id.parse().unwrap()
}

/// What the checks of `remit plan` said: exit and output of each.
fn checked(answer: &Value) -> Vec<(i64, String)> {
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let one = |check: &Value| {
        let exit = check["exit"].as_i64().unwrap_or(-1);
        (
            exit,
            check["stdout"].as_str().unwrap_or_default().to_owned(),
        )
    };
    checks.iter().map(one).collect()
}

#[test]
fn check_sees_all_of_a_plan_of_edits() {
    let fixture = lay();
    let seen = check(&fixture, &user_a(), None).expect("it is granted");
    ends(&seen, 0, BEFORE);
    let large = fixture.file("large", vec![b'x'; 600_000]);
    let (conf, made, gone, link) = (
        fixture.at("site.conf"),
        fixture.at("made"),
        fixture.at("gone"),
        fixture.at("link"),
    );
    let (b, big, own) = (fixture.at("made/b"), fixture.at("big"), fixture.at("a"));
    let text = fixture.file("text", "good\n");
    for name in ["large", "text"] {
        fs::rename(fixture.dir.join(name), fixture.daemon.path().join(name)).unwrap();
    }
    let [large, text] = [large, text].map(|path| {
        let name = path.rsplit('/').next().unwrap().to_owned();
        let path = fixture.daemon.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path.display().to_string()
    });
    let words = |new: &str| -> Vec<String> {
        [
            "plan",
            "--replace",
            &conf,
            "a",
            new,
            "--mkdir",
            &made,
            "--write",
            &b,
            &text,
            "--remove",
            &gone,
            "--link",
            &link,
            "made/b",
            "--mode",
            &own,
            "0640",
            "--owner",
            &own,
            "33:34",
            "--write",
            &big,
            &large,
            "--check",
            "site.check",
        ]
        .map(str::to_owned)
        .into()
    };
    let asks = |new: &str| {
        let words = words(new);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        fixture.asks_for(&user_a(), &words)
    };
    let after = "a f 640 33:34 \nbig f 644 0:0 \nlink l 777 0:0 made/b\nmade d 755 0:0 \nmade/b f 644 0:0 \n\
                 site.conf f 644 0:0 \n";
    let good = asks("made/b");
    assert_eq!(
        checked(&good.answer),
        [(0, after.to_owned())],
        "{}",
        good.answer
    );
    assert!(good.out.status.success(), "{}", good.answer);
    let shown = page(&fixture, &plan_id(&good).to_string()).replace('\n', " ");
    assert!(
        shown.contains("checked     | exit 0 in a copy with all of the plan, which"),
        "{shown}"
    );
    assert!(!shown.contains("FAILED"), "{shown}");
    // A file that is not there.
    let bad = asks("made/c");
    assert_eq!(
        checked(&bad.answer),
        [(3, after.to_owned())],
        "{}",
        bad.answer
    );
    assert!(!bad.out.status.success(), "{}", bad.answer);
    let shown = page(&fixture, &plan_id(&bad).to_string()).replace('\n', " ");
    assert!(
        shown.contains(
            "RISK        | check of exactly these files: FAILED in a copy with all of the"
        ),
        "{shown}"
    );
    // Nothing of it is on the machine, nor in the next check.
    ends(&check(&fixture, &user_a(), None).unwrap(), 0, BEFORE);
    assert_eq!(fs::read_dir(&fixture.dir).unwrap().count(), 4);
}

#[test]
fn check_sees_all_of_a_plan_of_a_copy_and_leaves_no_copy() {
    let fixture = lay();
    let at = fixture.dir.display();
    let script = format!(
        "cd {at} && mkdir -m 700 made && echo good >made/b && rm gone && ln -sfn made/b link && chmod 640 a && \
         chown 33:34 a && echo made/b >site.conf && yes new | head -c 3000000 >big && chown 5:6 made"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{}", ran.answer);
    let job = ran.job.to_string();
    let planned = fixture.asks_for(&user_a(), &["plan", "--job", &job, "--check", "site.check"]);
    let after = "a f 640 33:34 \nbig f 644 0:0 \nlink l 777 0:0 made/b\nmade d 700 5:6 \nmade/b f 644 0:0 \n\
                 site.conf f 644 0:0 \n";
    assert_eq!(
        checked(&planned.answer),
        [(0, after.to_owned())],
        "{}",
        planned.answer
    );
    let plan = plan_id(&planned).to_string();
    let bytes = bundle_of(&fixture, plan_id(&planned));
    assert!(
        Bundle::decode(bytes.clone())
            .unwrap()
            .plan()
            .pack()
            .is_some()
    );
    let seen = check(&fixture, &user_a(), Some(&bytes)).expect("it is granted");
    ends(&seen, 0, after);
    // Its copy proposes nothing, with a plan and without.
    for seen in [seen, check(&fixture, &user_a(), None).unwrap()] {
        let extracted = fixture.extract(&user_a(), seen.job);
        let said = extracted.answer.to_string();
        assert!(said.contains("no copy of job"), "{said}");
    }
    // Attack: another user has the plan, and not the bytes.
    let cause = not_started(&check(&fixture, &user_b(), Some(&bytes)).unwrap());
    assert!(cause.contains("upload is not there any more"), "{cause}");
    // The plan is as it was, and can be committed.
    assert_eq!(bundle_of(&fixture, plan_id(&planned)), bytes);
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    assert!(fixture.daemon.remit(&user_a(), &words).status.success());
    assert_eq!(fixture.read("big").len(), 3_000_000);
}

fn bundle_of(fixture: &PlanFixture, job: JobId) -> Vec<u8> {
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len() as u64;
        let page = caller.page(job, Stream::Stdout, from, 256 << 10).unwrap();
        bytes.extend_from_slice(&page.bytes);
        if page.eof || page.bytes.is_empty() {
            return bytes;
        }
    }
}

#[test]
fn hidden_entry_is_refused_and_stays_hidden() {
    let fixture = lay();
    fixture.file("key", "SECRET\n");
    fs::set_permissions(fixture.dir.join("key"), Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(fixture.dir.join("private")).unwrap();
    fixture.file("private/in", "SECRET\n");
    fs::set_permissions(fixture.dir.join("private"), Permissions::from_mode(0o700)).unwrap();
    fixture.ages();
    let planned = |words: &[&str]| {
        let planned = fixture.asks_for(&user_a(), &[&["plan"], words].concat());
        assert!(planned.out.status.success(), "{}", planned.answer);
        bundle_of(&fixture, plan_id(&planned))
    };
    let (key, a) = (fixture.at("key"), fixture.at("a"));
    let opened = planned(&["--private", "--mode", &key, "0644", "--mode", &a, "0600"]);
    let cause = not_started(&check(&fixture, &user_a(), Some(&opened)).unwrap());
    for words in [
        &format!("the change of '{key}'")[..],
        "cannot read it",
        "eyes = \"root\"",
    ] {
        assert!(cause.contains(words), "{words}: {cause}");
    }
    // A new name in a private directory is shown, without those beside it.
    let script = format!("echo good >{}/private/b", fixture.dir.display());
    let ran = fixture.on_copy(&user_a(), &script);
    let extracted = fixture.extract(&user_a(), ran.job);
    let bytes = bundle_of(&fixture, extracted.job);
    let seen = check(&fixture, &user_a(), Some(&bytes)).unwrap();
    let text = String::from_utf8_lossy(&seen.stdout.head).into_owned();
    assert!(text.contains("private/b f 644"), "{seen:?}");
    assert!(
        text.ends_with("good\n") && !text.contains("SECRET"),
        "{text}"
    );
    assert!(!text.contains("private/in"), "{text}");
}

#[test]
fn what_a_copy_cannot_have_is_refused_with_the_way_out() {
    let fixture = lay();
    let refused = |call: &str, bundle: &Bundle| {
        let run = Run {
            stdin: Some(bundle.as_bytes().to_vec().into()),
            ..named(call, &[])
        };
        let refusal = Caller::new(&fixture.daemon, &user_a()).run(run);
        let refusal = refusal.expect_err("it ran");
        assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
        refusal
    };
    // Base strict says what shows more.
    let mode = remit_edit::Edit {
        mode: Some(0o600),
        ..fixture.edit("a", Action::Keep)
    };
    let bundle = fixture.bundle(vec![mode.clone()]);
    let refusal = refused("strict.check", &bundle);
    assert!(
        refusal
            .next
            .iter()
            .any(|next| next.contains("a profile of base plan")),
        "{refusal:?}"
    );
    let owner = remit_edit::Edit {
        uid: Some(70_000),
        ..mode
    };
    let refusal = refused("site.check", &fixture.bundle(vec![owner]));
    assert!(
        refusal.message.contains("no owner or group above 65535"),
        "{refusal:?}"
    );
    // Attack: a plan that no plan.make has made, for a path behind a link of the machine.
    symlink("/etc", fixture.dir.join("behind")).unwrap();
    let bundle = fixture.bundle(vec![fixture.edit("a", replacement(b"good", b"evil", 1))]);
    for (path, words) in [
        (
            fixture.at("behind/shadow-x"),
            "its path has a symbolic link",
        ),
        (fixture.at("none/x"), "a directory above it is not there"),
        (
            fixture.at("a"),
            "does not have there what the plan has found",
        ),
        ("/tmp/home".to_owned(), "has a small /tmp of its own"),
        (
            "/var/tmp/none/x".to_owned(),
            "has a small /var/tmp of its own",
        ),
        (
            "/usr/sbin/policy-rc.d".to_owned(),
            "has a program of remit's own there",
        ),
    ] {
        let forged = forge(&bundle, &path);
        let cause = not_started(&check(&fixture, &user_a(), Some(forged.as_bytes())).unwrap());
        assert!(cause.contains(words) && cause.contains(&path), "{cause}");
    }
    assert!(!fs::exists("/etc/shadow-x").unwrap());
}

/// What an approver reads of the checks of a plan, in one line.
fn checks_on_page(fixture: &PlanFixture, plan: &str) -> String {
    let page = page(fixture, plan);
    let lines = page
        .lines()
        .map(|line| line.trim_start_matches([' ', '|', '+']));
    lines.collect::<Vec<_>>().concat()
}

#[test]
fn check_that_did_not_run_leaves_no_older_end_on_the_page() {
    let fixture = lay();
    let (site, kept) = (fixture.dir.join("sub"), fixture.dir.join("kept"));
    fs::create_dir(&site).unwrap();
    let file = fixture.file("sub/a", "good\n");
    let planned = fixture.asks_for(
        &user_a(),
        &["plan", "--mode", &file, "0600", "--check", "site.check"],
    );
    assert_eq!(checked(&planned.answer)[0].0, 0, "{}", planned.answer);
    let plan = plan_id(&planned).to_string();
    let bytes = bundle_of(&fixture, plan_id(&planned));
    let well = "exit 0 in a copy with all of the plan, which decides what runs there,";
    let not_run = "DID NOT RUN,";
    let shown = checks_on_page(&fixture, &plan);
    assert!(shown.contains(well) && !shown.contains(not_run), "{shown}");
    // One that its child refuses. The file itself is not moved, which would change it for the plan.
    fs::rename(&site, &kept).unwrap();
    not_started(&check(&fixture, &user_a(), Some(&bytes)).unwrap());
    fs::rename(&kept, &site).unwrap();
    let shown = checks_on_page(&fixture, &plan);
    assert!(
        shown.contains(not_run) && !shown.contains("exit 0"),
        "{shown}"
    );
    // One that is refused before it is a job.
    let seen = check(&fixture, &user_a(), Some(&bytes)).unwrap();
    assert_eq!(seen.ending.unwrap().exit, Some(0));
    let shown = checks_on_page(&fixture, &plan);
    assert!(shown.contains(well) && !shown.contains(not_run), "{shown}");
    let strict = policy(&fixture).replace("profile = \"site-copy\"", "profile = \"site-strict\"");
    fixture.loads("30-checks.toml", &strict);
    check(&fixture, &user_a(), Some(&bytes)).expect_err("base strict shows no mode");
    let shown = checks_on_page(&fixture, &plan);
    assert!(
        shown.contains(not_run) && !shown.contains("exit 0"),
        "{shown}"
    );
}

/// The approver signs the bytes of the program: it runs in the copy, unless the plan replaces it.
#[test]
fn approved_check_runs_no_program_that_the_approver_saw_otherwise() {
    let fixture = lay();
    let program = fixture.file("program", "#!/bin/sh\necho approved\n");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let asks = format!(
        r##"
[[command]]
name = "site.check"
summary = "Run a program"
argv = ["{program}"]
effect = "read"
profile = "site-copy"
stdin = "plan"

[profile.site-copy]
base = "plan"
eyes = "root"

[[grant]]
name = "checks"
to = ["#64001"]
allow = ["site.check"]
approval = {{ by = ["#64005"] }}
"##
    );
    fixture.loads("30-checks.toml", &asks);
    fixture.ages();
    let checked = |name: &str, action: Action| {
        let bundle = fixture.bundle(vec![fixture.edit(name, action)]);
        let run = Run {
            stdin: Some(bundle.as_bytes().to_vec().into()),
            wait_ms: Some(0),
            ..named("site.check", &[])
        };
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let asked = caller.run(run).expect("it asks");
        assert!(fixture.approve(asked.job).status.success());
        caller.end_of(asked.job)
    };
    let seen = checked("a", replacement(b"good", b"evil", 1));
    ends(&seen, 0, "approved\n");
    let cause = not_started(&checked("program", replacement(b"approved", b"other", 1)));
    assert!(cause.contains("is not what was approved"), "{cause}");
}

/// A plan that makes a file at another path.
fn forge(bundle: &Bundle, path: &str) -> Bundle {
    let mut entries = bundle.plan().entries().to_vec();
    entries[0].path = remit_plan::PlanPath::new(path).unwrap();
    let remit_plan::Change::Replace { content, meta, .. } = entries[0].change else {
        panic!("{entries:?}")
    };
    let new = remit_plan::New::File(content);
    entries[0].change = remit_plan::Change::Create { new, meta };
    Bundle::new(&remit_plan::Plan::new(entries).unwrap(), b"evil\n", b"").unwrap()
}
