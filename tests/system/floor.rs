//! What every change needs on this machine (`[floor]`), and what pauses a user (`[breaker]`), over the real daemon.

use std::fs;
use std::time::{Duration, Instant};

use remit_common::admin::{AdminReply, AdminRequest, Grantee, NewGrant};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::accounts::{Accounts, HeldDirectory};
use remit_tests::caller::{Caller, at_once, cause, change, named, script, stdout};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a, user_b};
use remit_tests::process::{Identity, until};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{AccessReport, Bytes, Run};

const POLICY: &str = r##"
[[command]]
name = "site.reload"
summary = "reloads"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[command]]
name = "site.fail"
summary = "fails"
argv = ["/usr/bin/false"]
effect = "change"
profile = "strict"

[[command]]
name = "backup.fresh"
summary = "checks"
argv = ["/usr/bin/grep", "-q", "fresh"]
effect = "read"
profile = "read"
stdin = "caller"

[[command]]
name = "people.tell"
summary = "passes on what it reads"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "strict"
stdin = "caller"

[[grant]]
name = "acts"
to = ["#64001", "#64002"]
allow = ["site.*", "backup.fresh", "run"]
effect = "change"
approval = "none"
"##;

const REQUIRE: &str = "[floor]\nrequire = [{ command = \"backup.fresh\", within_s = 3600 }]\n";
const FAILED: &str = "[breaker]\nfailed_changes = 3\nslow_refusals = 0\npause_refusals = 0\n";

fn started(config: &str) -> Daemon {
    Daemon::start(Options {
        waiting: 16,
        policy: POLICY.to_owned(),
        config: config.to_owned(),
        ..Options::default()
    })
}

fn runs(daemon: &Daemon, user: &Identity, run: Run) -> Result<JobReport, Refusal> {
    Caller::new(daemon, user).run(run)
}

fn changes(daemon: &Daemon, user: &Identity, name: &str) -> Result<JobReport, Refusal> {
    runs(daemon, user, change(name, &[]))
}

fn has_run(report: Result<JobReport, Refusal>) -> bool {
    let report = report.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    report.state == State::Exited
}

fn checks(daemon: &Daemon, user: &Identity, text: &str) -> JobReport {
    let stdin = Some(Bytes::from(text.as_bytes().to_vec()));
    let run = Run {
        stdin,
        ..named("backup.fresh", &[])
    };
    runs(daemon, user, run).expect("a rule allows it")
}

fn accesses(daemon: &Daemon, name: Option<&str>) -> AccessReport {
    crate::grants::scene::accesses(daemon, &user_a(), name)
}

fn approve(daemon: &Daemon, job: JobId) -> Result<AdminReply, Refusal> {
    daemon.approve(&admin(), job, daemon.shows(job).pending.digest)
}

fn resume(daemon: &Daemon, by: &Identity) -> Result<String, Refusal> {
    let user = "#64001".to_owned();
    match daemon.administers(by, AdminRequest::Resume { user })? {
        AdminReply::Done(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

fn pauses_of(daemon: &Daemon) -> usize {
    daemon.status().paused.len()
}

#[test]
fn change_without_approval_asks_where_floor_asks() {
    let off = started("");
    assert!(has_run(changes(&off, &user_a(), "site.reload")));
    assert_eq!(off.status().floor, Vec::<String>::new());
    off.stop();
    let daemon = started("[floor]\napproval = true\napprovers = [\"#64005\"]\n");
    let floor = daemon.status().floor;
    assert_eq!(floor.len(), 1);
    assert!(floor[0].contains("needs approval by #64005"), "{floor:?}");
    let asked = accesses(&daemon, Some("site.reload"))
        .asked
        .expect("it was asked");
    assert!(asked.approval.is_some() || !asked.allowed, "{asked:?}");
    assert!(has_run(runs(&daemon, &user_a(), script("echo looks"))));
    let run = at_once(change("site.reload", &[]));
    let report = runs(&daemon, &user_a(), run).expect("it is asked");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    assert!(daemon.records("intent").len() == 1, "only the look ran");
    let other = Identity::new(64_006, &[SOCKET_GROUP, ADMIN_GROUP]);
    let digest = daemon.shows(report.job).pending.digest;
    let job = report.job;
    let refusal = daemon.approve(&other, job, digest);
    assert_eq!(
        refusal.expect_err("nobody named them").code,
        Code::DeniedRule
    );
    approve(&daemon, job).expect("the floor names them");
    let end = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(
        (end.state, end.ending.expect("it ended").exit),
        (State::Exited, Some(0))
    );
    daemon.stop();
}

#[test]
fn floor_without_approvers_refuses_change() {
    let daemon = started("[floor]\napproval = true\n");
    let refusal = changes(&daemon, &user_a(), "site.reload").expect_err("nobody can be asked");
    assert_eq!(refusal.code, Code::DeniedRule);
    for part in [
        "floor.approval of remit.toml",
        "neither the rule nor floor.approvers",
    ] {
        assert!(refusal.message.contains(part), "{refusal:?}");
    }
    assert!(
        refusal
            .lift
            .is_some_and(|lift| lift.contains("write floor.approvers"))
    );
    assert!(has_run(runs(&daemon, &user_a(), script("echo looks"))));
    daemon.stop();
}

#[test]
fn change_needs_a_fresh_end_of_required_command() {
    let mut daemon = started(REQUIRE);
    let unmet = |daemon: &Daemon| {
        let refusal = changes(daemon, &user_a(), "site.reload").expect_err("it is required");
        assert_eq!(
            (refusal.code, refusal.object.as_deref()),
            (Code::NotStarted, Some("backup.fresh"))
        );
        assert!(
            refusal
                .next
                .is_some_and(|next| next.contains("run backup.fresh"))
        );
        refusal.message
    };
    assert!(unmet(&daemon).contains("has not run since remitd started"));
    assert!(
        !accesses(&daemon, Some("site.reload"))
            .asked
            .expect("asked")
            .allowed
    );
    let failed = checks(&daemon, &user_b(), "stale");
    assert_eq!(failed.ending.expect("it ended").exit, Some(1));
    assert!(unmet(&daemon).contains("its last run failed"));
    checks(&daemon, &user_b(), "fresh");
    assert!(has_run(changes(&daemon, &user_a(), "site.reload")));
    let lines = daemon.status().floor;
    assert!(
        lines[0].starts_with("required command 'backup.fresh' ended with exit 0"),
        "{lines:?}"
    );
    checks(&daemon, &user_b(), "stale");
    let _ = unmet(&daemon);
    checks(&daemon, &user_b(), "fresh");
    daemon.restart_cleanly();
    assert!(unmet(&daemon).contains("has not run since remitd started"));
    daemon.stop();
}

const SLOW: &str = r##"
[[command]]
name = "backup.slow"
summary = "checks"
argv = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo checks; while :; do sleep 0.1; done"]
effect = "read"
profile = "read"

[[command]]
name = "site.slow"
summary = "changes"
argv = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo checks; while :; do sleep 0.1; done"]
effect = "change"
profile = "strict"

[[grant]]
name = "slow"
to = ["#64001"]
allow = ["backup.slow"]
"##;

fn start_slow(config: &str) -> Daemon {
    Daemon::start(Options {
        waiting: 16,
        policy: format!("{POLICY}{SLOW}"),
        config: config.to_owned(),
        ..Options::default()
    })
}

/// A program that is stopped can still end with 0.
fn stops_with_0(daemon: &Daemon, run: Run) {
    let mut caller = Caller::new(daemon, &user_a());
    let job = caller.run(at_once(run)).expect("a rule allows it").job;
    until("it has its trap", || {
        let report = caller.job(job, 0).expect("it is theirs");
        stdout(&report).contains("checks")
    });
    caller.stop(job).expect("it is theirs");
    let end = caller.end_of(job);
    let exit = end.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!((end.state, exit), (State::Cancelled, Some(0)), "{end:?}");
}

#[test]
fn stopped_required_command_is_no_fresh_end() {
    let require = "[floor]\nrequire = [{ command = \"backup.slow\", within_s = 3600 }]\n";
    let daemon = start_slow(require);
    stops_with_0(&daemon, named("backup.slow", &[]));
    let refusal = changes(&daemon, &user_a(), "site.reload").expect_err("it was stopped");
    assert!(
        refusal.message.contains("its last run failed"),
        "{refusal:?}"
    );
    daemon.stop();
}

#[test]
fn stopped_change_counts_as_failed() {
    let daemon = start_slow(FAILED);
    for paused in [0, 0, 1] {
        stops_with_0(&daemon, change("site.slow", &[]));
        assert_eq!(pauses_of(&daemon), paused);
    }
    daemon.stop();
}

#[test]
fn restart_records_another_policy_and_a_removed_floor() {
    const FLOOR: &str = "approval = true\napprovers = [\"#64005\"]\n";
    let mut daemon = started(&format!("[floor]\n{FLOOR}"));
    daemon.restart_cleanly();
    assert!(daemon.records("policy").is_empty(), "nothing has changed");
    let old = daemon.status().policy;
    let config = fs::read_to_string(daemon.path().join("config/remit.toml")).expect("a text");
    daemon.set_file("config/remit.toml", &config.replace(FLOOR, ""));
    let policy = POLICY.replace("\"backup.fresh\", \"run\"", "\"backup.fresh\"");
    daemon.set_file("config/policy.d/10-test.toml", &policy);
    daemon.restart_cleanly();
    let records = daemon.records("policy");
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    let now = daemon.status().policy;
    assert_ne!(now, old);
    for (field, expect) in [
        ("REMIT_POLICY", now),
        ("REMIT_VERDICT", "loaded".to_owned()),
        (
            "REMIT_CHANGES",
            format!("not known: it came into force by a start, before it was {old}"),
        ),
        (
            "REMIT_SETTINGS_CHANGES",
            "floor.approval: true -> false; floor.approvers: [\"#64005\"] -> []".to_owned(),
        ),
    ] {
        assert_eq!(record[field], expect, "{record}");
    }
    let page = daemon.path().join("page.html").display().to_string();
    let log = daemon.path().join("state/audit.jsonl");
    let log = log.display().to_string();
    let report = ["audit", "report", "--file", &log, "-o", &page];
    let done = daemon.remit(&Identity::new(0, &[0]), &report);
    assert!(done.status.success(), "{done:?}");
    let page = fs::read_to_string(page).expect("a text");
    let section = page.split("Policy and sandbox").last();
    assert!(
        section.is_some_and(|text| text.contains("changed settings: floor.approval: true")),
        "{page}"
    );
    daemon.stop();
}

#[test]
fn required_end_becomes_stale() {
    let daemon = started("[floor]\nrequire = [{ command = \"backup.fresh\", within_s = 1 }]\n");
    checks(&daemon, &user_a(), "fresh");
    std::thread::sleep(Duration::from_millis(1100));
    let refusal = changes(&daemon, &user_a(), "site.reload").expect_err("it is too old");
    assert!(
        refusal.message.contains("within 1 s, and it last did"),
        "{refusal:?}"
    );
    daemon.stop();
}

#[test]
fn required_command_is_checked_again_at_approval_and_turn() {
    let config = format!("{REQUIRE}approval = true\napprovers = [\"#64005\"]\n");
    let daemon = started(&config);
    checks(&daemon, &user_b(), "fresh");
    let run = at_once(change("site.reload", &[]));
    let job = runs(&daemon, &user_a(), run).expect("it is asked").job;
    let risks = daemon.shows(job).risks;
    let said = risks
        .iter()
        .find(|risk| risk.contains("required command 'backup.fresh' ended with exit 0"));
    assert!(said.is_some(), "{risks:?}");
    checks(&daemon, &user_b(), "stale");
    let refusal = approve(&daemon, job).expect_err("its last run failed");
    assert_eq!(
        refusal.object.as_deref(),
        Some("backup.fresh"),
        "{refusal:?}"
    );
    checks(&daemon, &user_b(), "fresh");
    approve(&daemon, job).expect("the request still waits");
    let end = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(end.state, State::Exited, "{end:?}");
    daemon.stop();

    let daemon = Daemon::start(Options {
        waiting: 16,
        jobs_of_one: Some(1),
        queue: "queue = 8\nqueue_per_user = 8".to_owned(),
        policy: POLICY.to_owned(),
        config: REQUIRE.to_owned(),
        ..Options::default()
    });
    checks(&daemon, &user_b(), "fresh");
    let mut caller = Caller::new(&daemon, &user_a());
    let first = caller.run(at_once(script("sleep 60"))).expect("it runs");
    let queued = caller
        .run(at_once(change("site.reload", &[])))
        .expect("it is queued");
    assert_eq!(queued.state, State::Queued, "{queued:?}");
    checks(&daemon, &user_b(), "stale");
    let _ = caller.stop(first.job);
    let end = caller.end_of(queued.job);
    assert_eq!(end.state, State::NotStarted, "{end:?}");
    assert!(
        cause(&end).contains("'backup.fresh' has ended with exit 0"),
        "{end:?}"
    );
    daemon.stop();
}

#[test]
fn wrong_floor_is_an_error_of_the_load() {
    let daemon = started("");
    let text = fs::read_to_string(daemon.path().join("config/remit.toml")).expect("it is there");
    for (floor, why) in [
        (
            "require = [{ command = \"no.such\", within_s = 9 }]",
            "there is no command 'no.such'",
        ),
        (
            "require = [{ command = \"site.reload\", within_s = 9 }]",
            "'site.reload' is a change",
        ),
        (
            "approval = true\napprovers = [\"no-such-user\"]",
            "floor.approvers: there is no user 'no-such-user'",
        ),
    ] {
        daemon.set_file("config/remit.toml", &format!("{text}\n[floor]\n{floor}\n"));
        let refusal = daemon.administer(AdminRequest::Reload);
        let said = format!("{refusal:?}");
        assert!(said.contains(why), "{said}");
    }
    daemon.set_file("config/remit.toml", &format!("{text}\n{REQUIRE}"));
    let reloaded = daemon.administer(AdminRequest::Reload);
    assert!(
        format!("{reloaded:?}").contains("floor.require"),
        "{reloaded:?}"
    );
    daemon.stop();
}

#[test]
fn change_that_keeps_failing_pauses_its_user_until_another_person_resumes_them() {
    let mut daemon = started(FAILED);
    for name in ["site.fail", "site.reload", "site.fail"] {
        assert!(has_run(changes(&daemon, &user_a(), name)));
    }
    assert_eq!(pauses_of(&daemon), 0);
    assert!(has_run(changes(&daemon, &user_a(), "site.fail")));
    let paused = |daemon: &Daemon| {
        let refusal = changes(daemon, &user_a(), "site.reload").expect_err("they are paused");
        assert_eq!(refusal.code, Code::Locked, "{refusal:?}");
        assert_eq!(refusal.lift.as_deref(), Some("remit resume #64001"));
        assert!(has_run(runs(daemon, &user_a(), script("echo looks"))));
        assert!(
            !accesses(daemon, Some("site.reload"))
                .asked
                .expect("asked")
                .allowed
        );
        let listed = accesses(daemon, None).commands;
        let listed = listed.iter().find(|command| command.usage == "site.reload");
        let paused = listed.and_then(|command| command.approval.clone());
        assert!(paused.is_some_and(|why| why.contains("your changes are paused")));
        assert!(has_run(changes(daemon, &user_b(), "site.reload")));
        assert_eq!(pauses_of(daemon), 1);
    };
    paused(&daemon);
    assert_eq!(daemon.records("paused")[0]["REMIT_PAUSED"], "changes");
    daemon.restart_cleanly();
    paused(&daemon);
    let own = Identity::new(64_001, &[SOCKET_GROUP, ADMIN_GROUP]);
    let refusal = resume(&daemon, &own).expect_err("it is their own pause");
    assert!(refusal.message.contains("your own pause"), "{refusal:?}");
    paused(&daemon);
    assert!(resume(&daemon, &admin()).is_ok());
    assert_eq!(daemon.records("resumed")[0]["REMIT_RESUMED"], "#64001");
    assert!(has_run(changes(&daemon, &user_a(), "site.reload")));
    assert_eq!(
        resume(&daemon, &admin()).expect("nothing is wrong"),
        "#64001 is not paused"
    );
    daemon.restart_cleanly();
    assert_eq!(pauses_of(&daemon), 0);
    daemon.stop();
}

#[test]
fn damaged_file_of_pauses_refuses_the_start() {
    let mut daemon = started(FAILED);
    for _ in 0..3 {
        assert!(has_run(changes(&daemon, &user_a(), "site.fail")));
    }
    let path = daemon.path().join("state/warden/pauses");
    let whole = fs::read(&path).expect("it was saved");
    assert!(daemon.end_alone());
    fs::write(&path, &whole[..whole.len() - 1]).expect("it is ours");
    let said = daemon.refuses_to_start();
    assert!(
        said.contains("pauses': its checksum is wrong; look at the pauses (remit audit show"),
        "{said}"
    );
}

/// A load looks at all that is queued.
#[test]
fn queued_notification_of_a_pause_outlives_a_load_of_the_policy() {
    for (from, to) in [("", ""), ("passes on", "hands on")] {
        let daemon = Daemon::start(Options {
            waiting: 16,
            jobs: 1,
            policy: POLICY.to_owned(),
            config: "[breaker]\nfailed_changes = 0\nslow_refusals = 0\npause_refusals = 3\npause_within_s = 3600\n\
                     [approval]\nnotify = \"people.tell\"\n"
                .to_owned(),
            ..Options::default()
        });
        let mut b = Caller::new(&daemon, &user_b());
        let holder = b.run(at_once(script("sleep 60"))).expect("B may");
        for number in 0..3 {
            refused(&daemon, &user_a(), number);
        }
        until("the notification is queued", || {
            daemon.records("queued").len() == 1
        });
        let text = POLICY.replace(from, to);
        daemon.set_file("config/policy.d/10-test.toml", &text);
        let loaded = daemon.administer(AdminRequest::Reload);
        loaded.expect("the policy is right");
        b.stop(holder.job).expect("it is B's");
        let mut end = None;
        until("people are notified", || {
            let mut ends = daemon.records("end").into_iter();
            end = ends.find(|end| end["REMIT_USER"] == "remitd");
            end.is_some()
        });
        let end = end.expect("it has ended");
        assert_eq!(end["REMIT_STATE"], "exited", "{end}");
        daemon.stop();
    }
}

/// Has the daemon refuse a request, and with an odd number the broker alone.
fn refused(daemon: &Daemon, user: &Identity, number: usize) -> (Code, Duration) {
    let (start, name) = (Instant::now(), format!("no.such{number}"));
    let request = match number % 2 {
        0 => named(&name, &[]),
        _ => named("logs", &[("unit", "-x")]),
    };
    let refusal = runs(daemon, user, request).expect_err("it is refused");
    (refusal.code, start.elapsed())
}

#[test]
fn refusals_are_slowed_then_pause_their_user() {
    const LATE: Duration = Duration::from_secs(2);
    let daemon = started(
        "[breaker]\nfailed_changes = 0\nslow_refusals = 4\nslow_within_s = 3600\npause_refusals = 6\n\
         pause_within_s = 3600\n",
    );
    let took: Vec<_> = (0..5)
        .map(|number| refused(&daemon, &user_a(), number))
        .collect();
    let codes: Vec<_> = took.iter().map(|(code, _)| *code).collect();
    let (absent, invalid) = (Code::NotFound, Code::InvalidArgs);
    assert_eq!(codes, [absent, invalid, absent, invalid, absent]);
    assert!(took[4].1 >= LATE, "{took:?}");
    assert_eq!(pauses_of(&daemon), 0);
    // Another user is neither slow nor paused, and is served while an answer waits.
    let first = std::thread::scope(|scope| {
        let slow = scope.spawn(|| refused(&daemon, &user_a(), 5));
        assert!(has_run(runs(&daemon, &user_b(), script("echo looks"))));
        slow.join().expect("it is answered")
    });
    assert!(first.0 == invalid && first.1 >= LATE, "{first:?}");
    assert_eq!(refused(&daemon, &user_a(), 6).0, Code::Locked);
    let refusal = runs(&daemon, &user_a(), script("echo looks")).expect_err("they are paused");
    assert!(
        refusal.message.contains("you are paused until"),
        "{refusal:?}"
    );
    assert_eq!(accesses(&daemon, None).user, "#64001");
    assert_eq!(daemon.records("paused")[0]["REMIT_PAUSED"], "everything");
    assert!(resume(&daemon, &admin()).is_ok());
    assert!(has_run(runs(&daemon, &user_a(), script("echo looks"))));
    daemon.is_well();
    daemon.stop();
}

/// The pause comes while the accounts of its grant are looked up.
#[test]
fn paused_user_does_not_look_by_a_temporary_grant() {
    const LOOKS: &str = r##"
[[command]]
name = "look.far"
summary = "looks"
argv = ["/usr/bin/true"]
effect = "read"
profile = "read"

[[grant]]
name = "looks"
to = ["#64001"]
allow = ["look.far"]
approval = { by = ["#0"] }
"##;
    let daemon = Daemon::start(Options {
        waiting: 16,
        policy: format!("{POLICY}{LOOKS}"),
        config: "[breaker]\nfailed_changes = 0\nslow_refusals = 0\npause_refusals = 3\npause_within_s = 3600\n"
            .to_owned(),
        accounts: Some(Accounts {
            users: vec![("agent", 64_001)],
            groups: vec![
                ("remit", SOCKET_GROUP, vec!["agent"]),
                ("remit-admin", ADMIN_GROUP, Vec::new()),
            ],
            directory: vec![("far", 64_007)],
        }),
        ..Options::default()
    });
    let new = NewGrant {
        to: Grantee::User {
            name: "agent".into(),
            uid: 64_001,
        },
        what: "look.far".into(),
        args: Vec::new(),
        for_s: 60,
        uses: None,
        across_reboot: false,
        paths: Vec::new(),
    };
    let request = AdminRequest::Grant {
        new,
        accepts_paths: false,
    };
    let root = Identity::new(0, &[]);
    let granted = daemon.administers(&root, request);
    let granted = granted.expect("root can approve it");
    assert!(matches!(granted, AdminReply::Granted(_)), "{granted:?}");
    assert!(has_run(runs(&daemon, &user_a(), named("look.far", &[]))));
    let held = HeldDirectory::hold(daemon.path());
    let looked = std::thread::scope(|scope| {
        let looks = scope.spawn(|| runs(&daemon, &user_a(), named("look.far", &[])));
        held.until_asked();
        for number in 0..3 {
            refused(&daemon, &user_a(), number);
        }
        // An administrator would be looked up.
        until("they are paused", || daemon.records("paused").len() == 1);
        drop(held);
        looks.join().expect("it is answered")
    });
    let refusal = looked.expect_err("they are paused");
    assert_eq!(refusal.code, Code::Locked, "{refusal:?}");
    daemon.stop();
}

#[test]
fn notify_command_gets_pause() {
    let daemon = started(&format!("{FAILED}[approval]\nnotify = \"people.tell\"\n"));
    for _ in 0..3 {
        assert!(has_run(changes(&daemon, &user_a(), "site.fail")));
    }
    let own = |daemon: &Daemon| {
        let ends = daemon.records("end").into_iter();
        ends.filter(|end| end["REMIT_USER"] == "remitd").count()
    };
    until("people are notified", || own(&daemon) == 1);
    let end = daemon
        .records("end")
        .into_iter()
        .find(|end| end["REMIT_USER"] == "remitd");
    let id = end.expect("it ended")["REMIT_JOB"]
        .as_str()
        .expect("it is a job")
        .to_owned();
    let said = fs::read(daemon.path().join(format!("state/spool/{id}.out"))).expect("it wrote");
    let said: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(
        (&said["paused"], &said["user"]),
        (&"changes".into(), &"#64001".into())
    );
    assert_eq!(said["line"], "remit resume #64001");
    daemon.stop();
}
