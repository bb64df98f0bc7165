//! Commands that follow a commit or an undo of files, in its approval: which may, when they start, and what is said.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv, at_once, change, named, stdout};
use remit_tests::daemon::{ADMIN_GROUP, Options, SOCKET_GROUP, admin, other_admin, user_a, user_b};
use remit_wire::outcome::{FollowUp, JobReport, State};
use remit_wire::{Request, Run, What};

use super::plans::{COMMANDS, PlanFixture, commit, commit_process, exit, id_of, plan};
use super::scene::{approve, approve_as, deny, does, listed, options, until};

/// `#64001` needs an approval, `#64002` needs none beneath `free`.
const POLICY: &str = r##"
[[command]]
name = "site.cat"
summary = "shows the file as it is by then"
argv = ["/usr/bin/cat", "@DIR@/files/a"]
effect = "change"
profile = "host"

[[command]]
name = "site.say"
summary = "says a word"
argv = ["/usr/bin/printf", "[%s]", "{word}"]
effect = "change"
profile = "strict"
args.word = { type = "enum", values = ["one", "two"] }

[[command]]
name = "site.look"
summary = "looks"
argv = ["/usr/bin/printf", "looked"]
effect = "read"
profile = "read"

[[command]]
name = "site.fail"
summary = "fails"
argv = ["/usr/bin/false"]
effect = "change"
profile = "strict"

[[command]]
name = "site.gate"
summary = "waits for a lock"
argv = ["/usr/bin/flock", "@DIR@/gate", "/usr/bin/true"]
effect = "change"
profile = "host"

[[command]]
name = "site.plan"
summary = "writes what it reads"
argv = ["/usr/bin/cat"]
effect = "read"
profile = "read"
stdin = "caller"

[[command]]
name = "site.other"
summary = "is in no list"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["plan.commit", "plan.undo"]
acts = ["site.cat", "site.say", "site.look", "site.fail", "site.gate"]
approval = { by = ["#64005", "%#64400"], expires = "10min" }

[[grant]]
name = "free"
to = ["#64002"]
allow = ["plan.commit"]
paths = ["@DIR@/free"]
acts = ["site.say", "site.fail", "site.look"]
approval = "none"

[[grant]]
name = "says"
to = ["#64002"]
allow = ["site.say", "site.look", "site.plan"]
approval = "none"

[[grant]]
name = "fails"
to = ["#64002"]
allow = ["site.fail"]
approval = { by = ["#64005"] }
"##;

fn laid() -> PlanFixture {
    let fixture = PlanFixture::of(Options {
        policy: format!("{COMMANDS}{POLICY}"),
        ..options()
    });
    fixture.put("files/a", "old\n");
    fixture
}

fn followed(run: Run, then: &[&str]) -> Run {
    let What::Named { name, mut args } = run.what else {
        panic!("a named command");
    };
    args.extend(
        then.iter()
            .map(|call| ("then".to_owned(), (*call).to_owned())),
    );
    Run {
        what: What::Named { name, args },
        ..run
    }
}

/// Asks as A for a commit that writes `text`.
fn asks(fixture: &PlanFixture, caller: &mut Caller, text: &str, then: &[&str]) -> (JobId, String) {
    let bundle = plan(&[fixture.write("files/a", text)]);
    let report = caller
        .run(at_once(followed(commit(&bundle), then)))
        .expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    (report.job, id_of(&bundle))
}

fn approved(fixture: &PlanFixture, caller: &mut Caller, then: &[&str]) -> JobReport {
    let (job, _) = asks(fixture, caller, "new\n", then);
    approve(&fixture.daemon, job).expect("the approver can");
    caller.end_of(job)
}

fn refused(fixture: &PlanFixture, then: &[&str]) -> Refusal {
    let bundle = plan(&[fixture.write("files/a", "new\n")]);
    fixture.refused(&user_a(), at_once(followed(commit(&bundle), then)))
}

/// A job whose output is the plan, as that of `plan.make`.
fn writes_plan(bundle: &[u8]) -> Run {
    Run {
        stdin: Some(bundle.to_vec().into()),
        ..named("site.plan", &[])
    }
}

fn job_of(one: &FollowUp) -> JobId {
    one.job.unwrap_or_else(|| panic!("it was started: {one:?}"))
}

/// State and exit of each, and how its cause begins.
fn ends(report: &JobReport) -> Vec<(&str, State, Option<i32>)> {
    let then = report.then.iter();
    then.map(|one| (one.command.as_str(), one.state, one.exit))
        .collect()
}

#[test]
fn commands_follow_a_commit_in_their_order() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let then = ["site.cat", "site.say word=two", "site.look"];
    let report = approved(&fixture, &mut caller, &then);
    assert_eq!(exit(&report), Some(0), "{report:?}");
    let expect = then.map(|call| (call, State::Exited, Some(0)));
    assert_eq!(ends(&report), expect, "{report:?}");
    let jobs: Vec<JobId> = report.then.iter().map(job_of).collect();
    let outputs = jobs.iter().map(|job| stdout(&caller.end_of(*job)));
    // The first one has read the new file.
    assert_eq!(outputs.collect::<Vec<_>>(), ["new\n", "[two]", "looked"]);

    // Each has begun after the end of the one before.
    let all = fixture.daemon.audit();
    let at = |job: JobId, event: &str| {
        let id = job.to_string();
        let is_it = |record: &serde_json::Value| {
            record["REMIT_JOB"] == id && record["REMIT_EVENT"] == event
        };
        all.iter().position(is_it).expect("it is recorded")
    };
    let mut before = at(report.job, "end");
    for job in &jobs {
        assert!(before < at(*job, "intent"), "{job}");
        before = at(*job, "end");
    }
    let record = &all[at(jobs[0], "intent")];
    let reason = format!("after job {}: a test", report.job.short());
    assert_eq!(record["REMIT_REASON"], reason, "{record}");
    assert_eq!(record["REMIT_UID"], "64001", "{record}");
    let message = record["MESSAGE"].as_str().unwrap();
    assert!(message.contains(", approved by "), "{message}");
    assert!(
        record["REMIT_RULE"].as_str().unwrap().starts_with("asks ("),
        "{record}"
    );
}

#[test]
fn approver_sees_the_commands_and_signs_them() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let then = ["site.say word=one", "site.cat"];
    let (job, _) = asks(&fixture, &mut caller, "new\n", &then);
    let shown = fixture.daemon.shows(job);
    assert_eq!(shown.then, then);
    let text = shown.risks.join("\n");
    for part in [
        "does: then 'site.say word=one' runs in the profile strict: /usr/bin/printf ",
        "does: then 'site.cat' runs without a sandbox: /usr/bin/cat ",
        "then site.cat: no sandbox: it runs as root",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The same plan with others, or none, is another request.
    let mut digests = vec![listed(&fixture.daemon, job).digest];
    for then in [&["site.cat", "site.say word=one"][..], &["site.cat"], &[]] {
        let (other, _) = asks(&fixture, &mut caller, "new\n", then);
        let digest = listed(&fixture.daemon, other).digest;
        assert!(!digests.contains(&digest), "{then:?}");
        let refusal = approve_as(&fixture.daemon, &admin(), other, digests[0]);
        assert!(refusal.is_err(), "{then:?}");
        digests.push(digest);
    }
}

#[test]
fn first_that_fails_ends_the_rest_and_the_files_stay() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let then = ["site.say word=one", "site.fail", "site.cat"];
    let (job, id) = asks(&fixture, &mut caller, "new\n", &then);
    approve(&fixture.daemon, job).expect("the approver can");
    // An approver who waits learns all of it.
    let request = AdminRequest::Job {
        id: job.to_string(),
        wait: true,
    };
    let AdminReply::Job(any) = does(&fixture.daemon, request) else {
        panic!("a job");
    };
    let report = caller.end_of(job);
    assert_eq!(any.then, report.then);
    assert_eq!(exit(&report), Some(0), "{report:?}");
    let expect = [
        (then[0], State::Exited, Some(0)),
        (then[1], State::Exited, Some(1)),
        (then[2], State::NotStarted, None),
    ];
    assert_eq!(ends(&report), expect, "{report:?}");
    let undo = format!("the files stay changed; to undo that: remit undo {id}");
    assert!(report.then[1].cause.contains(&undo), "{report:?}");
    let next = report
        .ending
        .as_ref()
        .and_then(|ending| ending.next.as_deref());
    assert!(next.is_some_and(|next| next.contains(&undo)), "{report:?}");
    assert_eq!(report.then[2].job, None);
    assert_eq!(fixture.read("files/a"), "new\n");

    // An undo has commands that follow, too.
    let run = change("plan.undo", &[("id", &id)]);
    let report = caller
        .run(at_once(followed(run, &["site.cat"])))
        .expect("it may ask");
    approve(&fixture.daemon, report.job).expect("the approver can");
    let report = caller.end_of(report.job);
    assert_eq!(stdout(&report), "undone: 1 change\n", "{report:?}");
    assert_eq!(stdout(&caller.end_of(job_of(&report.then[0]))), "old\n");
}

#[test]
fn nothing_follows_a_commit_that_has_not_worked() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let then = ["site.say word=one"];
    let is_not_started = |report: &JobReport| {
        assert_eq!(
            ends(report),
            [(then[0], State::NotStarted, None)],
            "{report:?}"
        );
        assert!(report.then[0].job.is_none(), "{report:?}");
    };
    // The base is another one by then.
    let (job, _) = asks(&fixture, &mut caller, "new\n", &then);
    fixture.put("files/a", "of others\n");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(exit(&report), Some(1), "{report:?}");
    is_not_started(&report);
    assert_eq!(fixture.read("files/a"), "of others\n");

    // Denied: neither the commit nor anything else.
    let (job, _) = asks(&fixture, &mut caller, "new\n", &then);
    deny(&fixture.daemon, &admin(), job, "no").expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, report.then.len()),
        (State::Denied, 0),
        "{report:?}"
    );

    // Killed.
    let long = "a line\n".repeat(100_000);
    let (job, _) = asks(&fixture, &mut caller, &long, &then);
    approve(&fixture.daemon, job).expect("the approver can");
    let mut was_killed = false;
    until("it runs", || {
        if let Some(pid) = commit_process(&fixture.daemon) {
            was_killed = kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
        }
        was_killed || fixture.read("files/a") == long
    });
    let report = caller.end_of(job);
    match report.state {
        State::Signalled => is_not_started(&report),
        // It was faster.
        _ => assert!(report.then[0].has_succeeded(), "{report:?}"),
    }
    let started = fixture.daemon.audit().into_iter();
    let of_act = started.filter(|record| record["REMIT_COMMAND"] == "site.say");
    let intents = of_act
        .filter(|record| record["REMIT_EVENT"] == "intent")
        .count();
    assert_eq!(intents, usize::from(report.state != State::Signalled));
}

#[test]
fn what_may_not_follow_is_refused_before_the_question() {
    let fixture = laid();
    let five = ["site.look"; 5];
    for (then, code, words) in [
        (
            &["site.other"][..],
            Code::DeniedRule,
            "the rule does not name it in 'acts'",
        ),
        (
            &["site.cat", "site.none"],
            Code::DeniedRule,
            "the rule does not name it in 'acts'",
        ),
        (
            &["plan.undo id=0"],
            Code::DeniedRule,
            "the rule does not name it in 'acts'",
        ),
        (
            &["site.say"],
            Code::InvalidArgs,
            "site.say needs the argument 'word'",
        ),
        (
            &["site.say word=three"],
            Code::InvalidArgs,
            "'site.say word=three' cannot follow",
        ),
        (
            &["site.cat more=x"],
            Code::InvalidArgs,
            "site.cat has no argument",
        ),
        (&["site.cat\u{1b}[2J"], Code::DeniedRule, "cannot follow"),
        (
            &["site.say word=one word=two"],
            Code::InvalidArgs,
            "is given twice",
        ),
        (
            &["site.say  word=one"],
            Code::InvalidArgs,
            "is no call of a command",
        ),
        (&[""], Code::InvalidArgs, "is no call of a command"),
        (&five, Code::InvalidArgs, "is given over 4 times"),
    ] {
        let refusal = refused(&fixture, then);
        assert_eq!(refusal.code, code, "{then:?}: {refusal:?}");
        assert!(refusal.message.contains(words), "{then:?}: {refusal:?}");
        assert!(refusal.next.is_some(), "{then:?}: {refusal:?}");
        assert!(!refusal.message.contains('\u{1b}'), "{refusal:?}");
    }
    let pending = fixture.daemon.pending(&admin());
    assert!(pending.is_empty(), "{pending:?}");
    assert_eq!(fixture.read("files/a"), "old\n");
}

/// Without an approval of the commit, a command must not get around its own.
#[test]
fn commit_without_an_approval_has_no_commands_that_need_one() {
    let fixture = laid();
    let bundle = plan(&[fixture.write("free/a", "x")]);
    for then in [&["site.fail"][..], &["site.say word=one", "site.fail"]] {
        let refusal = fixture.refused(&user_b(), followed(commit(&bundle), then));
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(
            refusal.message.contains("the commit needs no approval"),
            "{refusal:?}"
        );
    }
    assert!(!fixture.path("free/a").exists());
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    let report = caller
        .run(followed(
            commit(&bundle),
            &["site.say word=two", "site.look"],
        ))
        .expect("B may");
    assert_eq!(ends(&report).len(), 2, "{report:?}");
    assert!(
        report.then.iter().all(FollowUp::has_succeeded),
        "{report:?}"
    );
}

/// Holds what `site.gate` needs to end.
struct Gate(Flock<File>);

impl Gate {
    fn closed(fixture: &PlanFixture) -> Self {
        let file = File::create(fixture.path("gate")).expect("the directory is ours");
        Self(Flock::lock(file, FlockArg::LockExclusive).expect("nobody has it"))
    }

    fn open(self) {
        drop(self.0.unlock().expect("it is ours"));
    }
}

/// Waits until a command that follows runs, and returns its job.
fn running(fixture: &PlanFixture, name: &str) -> JobId {
    let mut job = None;
    until("it runs", || {
        let all = fixture.daemon.audit();
        let mut found = all
            .iter()
            .rev()
            .filter(|record| record["REMIT_COMMAND"] == name);
        let record = found.find(|record| record["REMIT_EVENT"] == "intent");
        job = record.and_then(|record| record["REMIT_JOB"].as_str()?.parse().ok());
        job.is_some()
    });
    job.expect("it runs")
}

#[test]
fn what_changes_between_stops_what_follows() {
    let policy = |fixture: &PlanFixture, from: &str, to: &str| {
        let dir = fixture.daemon.path().display().to_string();
        let text = format!("{COMMANDS}{POLICY}")
            .replace(from, to)
            .replace("@DIR@", &dir);
        fixture
            .daemon
            .set_file("config/policy.d/10-test.toml", &text);
        does(&fixture.daemon, AdminRequest::Reload);
    };
    let lock = |fixture: &PlanFixture| {
        let (why, kill) = ("a test".to_owned(), false);
        does(&fixture.daemon, AdminRequest::Lock { why, kill });
    };
    let withdraw = |fixture: &PlanFixture| policy(fixture, "\"site.cat\", ", "");
    let redefine =
        |fixture: &PlanFixture| policy(fixture, "shows the file as it is by then", "shows");
    let nothing = |_: &PlanFixture| ();
    type Change<'a> = &'a dyn Fn(&PlanFixture);
    let changes: [(Change<'_>, &str); 4] = [
        (&lock, "locked"),
        (&withdraw, "the policy has changed: "),
        (&redefine, "the policy has changed: "),
        // Both ways.
        (&nothing, ""),
    ];
    for (change, words) in changes {
        let fixture = laid();
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let gate = Gate::closed(&fixture);
        let (job, id) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
        approve(&fixture.daemon, job).expect("the approver can");
        running(&fixture, "site.gate");
        // As long as commands follow, the commit is not over for its requester.
        let report = caller.job(job, 0).expect("it is ours");
        assert_eq!((report.state, &report.ending), (State::Running, &None));
        change(&fixture);
        gate.open();
        let report = caller.end_of(job);
        let [first, second] = &report.then[..] else {
            panic!("{report:?}");
        };
        assert!(first.has_succeeded(), "{report:?}");
        assert_eq!(fixture.read("files/a"), "new\n");
        if words.is_empty() {
            assert!(second.has_succeeded(), "{report:?}");
            continue;
        }
        assert_eq!(
            (second.state, second.job),
            (State::NotStarted, None),
            "{report:?}"
        );
        assert!(second.cause.contains(words), "{words}: {report:?}");
        assert!(
            second.cause.contains(&format!("remit undo {id}")),
            "{report:?}"
        );
        let all = fixture.daemon.audit();
        let mut refusals = all
            .iter()
            .filter(|record| record["REMIT_EVENT"] == "refusal");
        let is_it = |record: &serde_json::Value| {
            let message = record["MESSAGE"].as_str().unwrap_or_default();
            message.contains(words) && record["REMIT_UID"] == "64001"
        };
        assert!(refusals.any(is_it), "{words}: it is recorded");
        assert!(
            !all.iter()
                .any(|record| record["REMIT_COMMAND"] == "site.cat"),
            "{words}"
        );
    }
}

/// Of the requester and of the approver. After a load of the policy nothing further is queued; without one its turn looks.
#[test]
fn what_follows_ends_with_the_accounts_that_it_rests_on() {
    let all = || Accounts {
        users: vec![("agent", 64_001), ("five", 64_005), ("six", 64_006)],
        groups: vec![
            ("remit", SOCKET_GROUP, vec!["agent", "five", "six"]),
            ("remit-admin", ADMIN_GROUP, vec!["five", "six"]),
        ],
        directory: Vec::new(),
    };
    let without_agent = || {
        let mut accounts = all();
        accounts.users.retain(|(name, _)| *name != "agent");
        accounts
    };
    let without_five = || {
        let mut accounts = all();
        for (name, _, members) in &mut accounts.groups {
            members.retain(|member| (*name, *member) != ("remit-admin", "five"));
        }
        accounts
    };
    type Change<'a> = &'a dyn Fn() -> Accounts;
    let changes: [(Change<'_>, Option<&str>); 3] = [
        (
            &without_agent,
            Some("the account of agent no longer exists"),
        ),
        (
            &without_five,
            Some("five is no longer in the group of admin.sock"),
        ),
        (&all, None),
    ];
    for ((change, why), is_loaded) in changes
        .into_iter()
        .flat_map(|change| [(change, true), (change, false)])
    {
        let mut fixture = PlanFixture::of(Options {
            policy: format!("{COMMANDS}{POLICY}"),
            accounts: Some(all()),
            ..options()
        });
        fixture.put("files/a", "old\n");
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let gate = Gate::closed(&fixture);
        let (job, _) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
        approve(&fixture.daemon, job).expect("the approver can");
        running(&fixture, "site.gate");
        fixture.daemon.set_accounts(change());
        let six = |request| {
            let reply = fixture.daemon.administers(&other_admin(), request);
            reply.expect("six is an administrator")
        };
        if is_loaded {
            six(AdminRequest::Reload);
        }
        gate.open();
        let request = AdminRequest::Job {
            id: job.to_string(),
            wait: true,
        };
        let AdminReply::Job(any) = six(request) else {
            panic!("a job");
        };
        let [first, second] = &any.then[..] else {
            panic!("{any:?}");
        };
        assert!(first.has_succeeded(), "{any:?}");
        let Some(why) = why else {
            assert!(second.has_succeeded(), "{any:?}");
            continue;
        };
        let expect = match is_loaded {
            true => (State::NotStarted, false),
            false => (State::Denied, true),
        };
        assert_eq!((second.state, second.job.is_some()), expect, "{any:?}");
        assert!(second.cause.contains(why), "{why}: {any:?}");
        let all = fixture.daemon.audit();
        let mut intents = all
            .iter()
            .filter(|record| record["REMIT_EVENT"] == "intent");
        assert!(
            !intents.any(|record| record["REMIT_COMMAND"] == "site.cat"),
            "{why}"
        );
        fixture.daemon.stop();
    }
}

/// Otherwise its requester could choose when it starts, by jobs that are queued before.
fn starts_before_what_is_queued(queue_per_user: u8, fills_memory: bool) {
    const RUNS: &str = r##"
[[grant]]
name = "runs"
to = ["#64001", "#64002"]
allow = ["run"]
approval = "none"
"##;
    let fixture = PlanFixture::of(Options {
        policy: format!("{COMMANDS}{POLICY}{RUNS}"),
        jobs: 1,
        queue: format!("queue_per_user = {queue_per_user}"),
        ..options()
    });
    fixture.put("files/a", "old\n");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let gate = Gate::closed(&fixture);
    let then = ["site.gate", "site.say word=one"];
    let (job, _) = asks(&fixture, &mut caller, "new\n", &then);
    approve(&fixture.daemon, job).expect("the approver can");
    running(&fixture, "site.gate");
    let long = caller.run(at_once(argv(&["sleep", "60"]))).expect("A may");
    let mut other = Caller::new(&fixture.daemon, &user_b());
    let short = other.run(at_once(argv(&["true"]))).expect("B may");
    assert_eq!((long.state, short.state), (State::Queued, State::Queued));
    let mut bytes = match fills_memory {
        true => caps::STDIN,
        false => 0,
    };
    while bytes > 0 {
        let run = Run {
            stdin: Some(vec![b'x'; bytes].into()),
            ..at_once(argv(&["true"]))
        };
        match caller.run_patiently(&run) {
            Ok(_) => {}
            // Smaller ones fit until nothing does.
            Err(refusal) => {
                assert_eq!(refusal.code, Code::Busy, "{refusal:?}");
                bytes /= 2;
            }
        }
    }
    let short_one = at_once(argv(&["true"]));
    while fills_memory && caller.run_patiently(&short_one).is_ok() {}
    let full = caller.run_patiently(&short_one);
    let is_full = fills_memory || queue_per_user == 1;
    assert_eq!(full.is_err(), is_full, "{full:?}");
    gate.open();
    until("the long job of A runs", || {
        let long = caller.job(long.job, 0).expect("it is A's");
        long.state == State::Running
    });
    let report = caller.job(job, 0).expect("it is A's");
    let expect = then.map(|call| (call, State::Exited, Some(0)));
    assert_eq!(ends(&report), expect, "{report:?}");
    let all = fixture.daemon.audit();
    let intent = |job: JobId| {
        let id = job.to_string();
        all.iter()
            .position(|record| record["REMIT_JOB"] == id && record["REMIT_EVENT"] == "intent")
    };
    let follows = intent(job_of(&report.then[1]));
    assert!(
        follows.is_some() && follows < intent(long.job),
        "{report:?}"
    );
    let is_before = |at: usize| follows < Some(at);
    assert!(intent(short.job).is_none_or(is_before), "{report:?}");
}

#[test]
fn command_that_follows_starts_before_what_is_queued() {
    starts_before_what_is_queued(8, false);
}

#[test]
fn command_that_follows_is_not_refused_by_a_full_queue() {
    starts_before_what_is_queued(1, false);
}

#[test]
fn command_that_follows_is_not_refused_by_what_queued_jobs_hold() {
    starts_before_what_is_queued(64, true);
}

#[test]
fn command_that_is_stopped_ends_the_rest() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let _gate = Gate::closed(&fixture);
    let (job, _) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
    approve(&fixture.daemon, job).expect("the approver can");
    let gate = running(&fixture, "site.gate");
    let stop = Request::Stop {
        job: gate,
        signal: None,
    };
    caller.ask(stop).expect("it is the requester's");
    let report = caller.end_of(job);
    let states: Vec<State> = report.then.iter().map(|one| one.state).collect();
    assert_eq!(states, [State::Cancelled, State::NotStarted], "{report:?}");
}

/// Its requester sees the commit as running until they are over.
#[test]
fn stop_of_a_commit_ends_the_commands_that_follow_it() {
    for by_administrator in [false, true] {
        let fixture = laid();
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let _gate = Gate::closed(&fixture);
        let then = ["site.gate", "site.cat", "site.cat"];
        let (job, _) = asks(&fixture, &mut caller, "new\n", &then);
        approve(&fixture.daemon, job).expect("the approver can");
        running(&fixture, "site.gate");
        let signal = None;
        let cause = match by_administrator {
            true => {
                let stop = AdminRequest::Stop { job, signal };
                // The answer comes once all are over.
                match does(&fixture.daemon, stop) {
                    AdminReply::Stopped(stopped) => {
                        assert!(stopped.then.iter().all(FollowUp::is_over), "{stopped:?}");
                    }
                    other => panic!("{other:?}"),
                }
                "stopped by administrator "
            }
            false => {
                caller
                    .ask(Request::Stop { job, signal })
                    .expect("it is the requester's");
                "stopped by its owner"
            }
        };
        let report = caller.end_of(job);
        assert_eq!(exit(&report), Some(0), "{report:?}");
        let states: Vec<State> = report.then.iter().map(|one| one.state).collect();
        let expect = [State::Cancelled, State::Cancelled, State::NotStarted];
        assert_eq!(states, expect, "{report:?}");
        let stopped = &report.then[..2];
        assert!(
            stopped.iter().all(|one| one.cause.starts_with(cause)),
            "{report:?}"
        );
        assert_eq!(fixture.read("files/a"), "new\n");
        let all = fixture.daemon.audit();
        assert!(
            !all.iter()
                .any(|record| record["REMIT_COMMAND"] == "site.cat")
        );
    }
}

/// The next command would start on the old files. It is not confirmed, so nothing else knows of it.
#[test]
fn commit_is_not_undone_while_its_commands_run() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let gate = Gate::closed(&fixture);
    let (job, id) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
    approve(&fixture.daemon, job).expect("the approver can");
    running(&fixture, "site.gate");
    let busy = fixture.refused(&user_a(), change("plan.undo", &[("id", &id)]));
    assert_eq!(busy.code, Code::Busy, "{busy:?}");
    let next = busy.next.expect("there is a way out");
    assert!(
        next.contains(&format!("remit stop {}", job.short())),
        "{next}"
    );
    gate.open();
    let report = caller.end_of(job);
    assert_eq!(stdout(&caller.end_of(job_of(&report.then[1]))), "new\n");
    assert_eq!(exit(&fixture.undo(&id)), Some(0));
    assert_eq!(fixture.read("files/a"), "old\n");
}

#[test]
fn nothing_follows_by_itself_after_the_daemon_was_killed() {
    let mut fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let gate = Gate::closed(&fixture);
    let (job, _) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
    approve(&fixture.daemon, job).expect("the approver can");
    let first = running(&fixture, "site.gate");
    fixture.daemon.signal(Signal::SIGKILL);
    fixture.daemon.restart_insistently();
    gate.open();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let report = caller.end_of(job);
    assert_eq!(exit(&report), Some(0), "{report:?}");
    let next = report
        .ending
        .as_ref()
        .and_then(|ending| ending.next.as_deref());
    assert!(
        next.is_some_and(|next| next.contains("the commands that follow")),
        "{report:?}"
    );
    assert_eq!(caller.end_of(first).state, State::Interrupted);
    // Another commit works, and what was lost is not made up for.
    let (job, _) = asks(&fixture, &mut caller, "newer\n", &["site.say word=one"]);
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert!(
        report.then.iter().all(FollowUp::has_succeeded),
        "{report:?}"
    );
    let all = fixture.daemon.audit();
    assert!(
        !all.iter()
            .any(|record| record["REMIT_COMMAND"] == "site.cat")
    );
}

/// The broker that is new knows no follow-up of the old one's jobs but by the warden.
#[test]
fn broker_killed_between_learns_how_all_ended() {
    let fixture = laid();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let gate = Gate::closed(&fixture);
    let (job, _) = asks(&fixture, &mut caller, "new\n", &["site.gate", "site.cat"]);
    approve(&fixture.daemon, job).expect("the approver can");
    running(&fixture, "site.gate");
    let broker = fixture.daemon.broker().expect("it runs");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it runs");
    until("there is another one", || {
        fixture.daemon.broker().is_some_and(|other| other != broker)
    });
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    gate.open();
    until("all are over", || {
        let report = caller.job(job, 1000).expect("the job is ours");
        report.then.len() == 2 && report.then.iter().all(FollowUp::has_succeeded)
    });
}

#[test]
fn status_of_remit_is_that_of_the_first_that_fails() {
    let fixture = laid();
    let run = |arguments: &[&str]| fixture.daemon.remit(&user_b(), arguments);
    for (then, status, words) in [
        (
            &["site.say word=one"][..],
            0,
            "then site.say word=one: exited with status 0 (job ",
        ),
        (&[], 0, ""),
        (&["site.say word=three"], 125, "cannot follow"),
    ] {
        let bundle = plan(&[fixture.write("free/a", &format!("{then:?}"))]);
        let mut caller = Caller::new(&fixture.daemon, &user_b());
        let planned = caller.run(writes_plan(&bundle)).expect("B may look");
        let id = planned.job.to_string();
        let mut arguments = vec!["change", "--plan", &id, "-m", "a test"];
        then.iter()
            .for_each(|call| arguments.extend(["--then", call]));
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{then:?}: {said}");
        assert!(said.contains(words), "{then:?}: {said}");
    }
}
