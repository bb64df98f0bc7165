//! Requesters who do not want their commits undone, and what keeps the daemon from undoing them.

use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Options, admin, user_a, user_b};
use remit_tests::test_dir::missing;
use serde_json::Value;

use super::confirm::{
    Login, OVER, RULES, armed, is_undone, lay, login, now, own_sessions, unconfirmed,
};
use super::plans::{COMMANDS, PlanFixture, commit, commit_process, exit, id_of, many, plan};
use super::scene::{approve, asks, options, until};

fn verdicts(fixture: &PlanFixture, verdict: &str) -> usize {
    let all = fixture.daemon.records("unconfirmed").into_iter();
    all.filter(|record| record["REMIT_VERDICT"] == verdict)
        .count()
}

fn stop(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the test is root");
}

/// Starts a commit that needs no confirmation, and stops its process.
fn stopped_commit(fixture: &PlanFixture) -> (Caller, i32) {
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    for round in 0..20 {
        fs::remove_dir_all(fixture.path("free")).expect("the directory is ours");
        fs::create_dir(fixture.path("free")).expect("the directory is ours");
        let first = caller
            .run(at_once(commit(&many(fixture, "free", round))))
            .expect("B needs no approval");
        let mut found = None;
        until("it runs or is over", || {
            found = commit_process(&fixture.daemon);
            found.is_some() || fixture.tree("free").len() == 100
        });
        if let Some(pid) = found
            && kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok()
            && commit_process(&fixture.daemon) == Some(pid)
        {
            return (caller, pid);
        }
        let _ = caller.end_of(first.job);
    }
    panic!("no commit can be stopped");
}

#[test]
fn undo_is_put_off_by_a_running_commit_and_keeps_its_tries() {
    let fixture = lay();
    armed(&fixture, "watched/a");
    let (_caller, pid) = stopped_commit(&fixture);
    std::thread::sleep(OVER);
    let [view] = &unconfirmed(&fixture.daemon)[..] else {
        panic!("it waits");
    };
    assert!(!view.has_failed, "{view:?}");
    assert!(view.what.contains("it is undone once no other"), "{view:?}");
    assert_eq!(
        (verdicts(&fixture, "undoes"), verdicts(&fixture, "failed")),
        (0, 0)
    );
    // Nobody can keep one running after another.
    let next = fixture.refused(&user_b(), commit(&plan(&[fixture.write("free/x", "y")])));
    assert_eq!(next.code, Code::Busy, "{next:?}");
    assert!(
        next.message.contains("undone before any other commit"),
        "{next:?}"
    );
    stop(pid, Signal::SIGCONT);
    is_undone(&fixture, "watched/a");
    assert_eq!(verdicts(&fixture, "failed"), 0);
    let free = plan(&[fixture.write("free/x", "y")]);
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
}

/// The end of the lock is no event of the daemon.
#[test]
fn undo_that_meets_a_lock_of_somebody_else_keeps_its_tries() {
    let fixture = lay();
    armed(&fixture, "watched/a");
    let directory = File::open(fixture.path("state/commits")).unwrap();
    directory.lock().unwrap();
    let says = |text: &str| {
        let all = unconfirmed(&fixture.daemon);
        all.iter().any(|one| one.what.contains(text))
    };
    until("it met the lock", || {
        says("has the lock of the journals (tries: 0;")
    });
    std::thread::sleep(OVER);
    assert!(says("(tries: 0;"), "{:?}", unconfirmed(&fixture.daemon));
    assert!(verdicts(&fixture, "undoes") >= 2);
    directory.unlock().unwrap();
    is_undone(&fixture, "watched/a");
    assert_eq!(verdicts(&fixture, "failed"), 0);
}

/// One more file, which the requester changes after the commit, does not keep the others as they are.
#[test]
fn what_somebody_else_has_changed_keeps_no_other_file_from_its_undo() {
    own_sessions();
    let fixture = lay();
    for name in ["watched/a", "watched/b"] {
        fixture.put(name, "old");
    }
    let both = [
        fixture.write("watched/a", "new"),
        fixture.write("watched/b", "new"),
    ];
    assert_eq!(exit(&fixture.commits(&plan(&both))), Some(0));
    fixture.put("watched/b", "of others");
    until("the rest is undone", || {
        verdicts(&fixture, "undone_partly") == 1
    });
    let bytes = ["watched/a", "watched/b"].map(|name| fixture.read(name));
    assert_eq!(bytes, ["old", "of others"]);
    assert_eq!(
        (verdicts(&fixture, "failed"), verdicts(&fixture, "undoes")),
        (2, 3)
    );
    let [view] = &unconfirmed(&fixture.daemon)[..] else {
        panic!("a person has to look at it");
    };
    assert!(
        view.has_failed
            && view
                .what
                .ends_with("but for what somebody else has changed since"),
        "{view:?}"
    );
    let free = plan(&[fixture.write("free/x", "y")]);
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
    let said = login!(now())
        .confirms(&fixture.daemon, &admin(), &view.commit_id)
        .expect("it is left to a person");
    assert!(
        said.contains("but for what somebody else had changed"),
        "{said}"
    );
}

#[test]
fn while_an_undo_has_failed_only_its_own_undo_starts() {
    // The third try, which leaves what others have changed, begins 40 s after the first one.
    let fixture = PlanFixture::with_rules(options(), &RULES.replace("\"10s\"", "\"30s\""));
    let (id, _) = armed(&fixture, "watched/a");
    let earlier = plan(&[fixture.write("files/b", "new")]);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &earlier);
    approve(&fixture.daemon, job).expect("the approver can");
    assert_eq!(exit(&caller.end_of(job)), Some(0));
    // Asked for before, approved afterwards.
    let waiting = fixture.asks(&mut caller, &plan(&[fixture.write("files/c", "new")]));
    fixture.put("watched/a", "of others");
    until("the undo has failed", || verdicts(&fixture, "failed") > 0);

    let free = plan(&[fixture.write("free/x", "y")]);
    let refusal = fixture.refused(&user_b(), commit(&free));
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    for word in [
        "remit status",
        &format!("remit confirm {}", &id[..12]),
        &format!("remit undo {id}"),
    ] {
        assert!(
            refusal.message.contains(word),
            "{word:?} is not in {refusal:?}"
        );
    }
    let undo = at_once(change("plan.undo", &[("id", &id_of(&earlier))]));
    let other = fixture.refused(&user_a(), undo);
    assert!(other.message.contains(&id[..12]), "{other:?}");
    let late = approve(&fixture.daemon, waiting).unwrap_err();
    assert!(late.message.contains(&id[..12]), "{late:?}");
    assert!(late.message.contains("it still waits"), "{late:?}");
    assert!(!fixture.path("files/c").exists());

    // As the commit left it.
    fixture.put("watched/a", "new");
    let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id)]);
    approve(&fixture.daemon, job).expect("the approver can");
    let end = caller.end_of(job);
    assert_eq!(exit(&end), Some(0), "{end:?}");
    is_undone(&fixture, "watched/a");
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
    approve(&fixture.daemon, waiting).expect("no approval is used up");
    assert_eq!(exit(&caller.end_of(waiting)), Some(0));
}

/// It would meet the lock of the journals, and be over.
#[test]
fn approval_is_not_used_up_while_another_commit_runs() {
    let fixture = lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let waiting = fixture.asks(&mut caller, &plan(&[fixture.write("files/c", "new")]));
    let (_caller, pid) = stopped_commit(&fixture);
    let refusal = approve(&fixture.daemon, waiting).unwrap_err();
    assert_eq!(refusal.code, Code::Busy, "{refusal:?}");
    let says = |words| refusal.message.contains(words);
    assert!(
        says("another commit") && says("it still waits"),
        "{refusal:?}"
    );
    assert!(fixture.daemon.records("approved").is_empty());
    stop(pid, Signal::SIGCONT);
    until("it can be approved", || {
        approve(&fixture.daemon, waiting).is_ok()
    });
    assert_eq!(exit(&caller.end_of(waiting)), Some(0));
}

/// Has a recovery run, as B can: it stops a commit of its own.
fn recovers(fixture: &PlanFixture) {
    let before = recoveries(fixture).len();
    let (_caller, pid) = stopped_commit(fixture);
    stop(pid, Signal::SIGKILL);
    until("it was recovered", || recoveries(fixture).len() > before);
}

/// The records of recoveries that ended well.
fn recoveries(fixture: &PlanFixture) -> Vec<Value> {
    let is_one =
        |record: &Value| record["REMIT_COMMAND"] == "plan.recover" && record["REMIT_EXIT"] == "0";
    let all = fixture.daemon.records("end").into_iter();
    all.filter(is_one).collect()
}

#[test]
fn recovery_forgets_no_undo_of_an_unconfirmed_commit() {
    let rules = RULES.replace("\"10s\"", "\"40s\"");
    let fixture = PlanFixture::with_rules(options(), &rules);
    let (id, _) = armed(&fixture, "watched/a");
    // Older than any undo that is kept.
    let journal = fixture.path(&format!("state/commits/{id}/journal"));
    let journal = File::options().write(true).open(journal).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
    let times = FileTimes::new().set_modified(long_ago);
    journal.set_times(times).unwrap();
    recovers(&fixture);
    let keeps = |record: &Value| {
        let argv = record["REMIT_ARGV"].as_str().unwrap_or_default();
        argv.ends_with(&format!("--keep {id}"))
    };
    let intents = fixture.daemon.records("intent");
    assert!(intents.iter().any(keeps), "{intents:#?}");
    assert_eq!(unconfirmed(&fixture.daemon).len(), 1);
    is_undone(&fixture, "watched/a");
    let both = (verdicts(&fixture, "undone"), verdicts(&fixture, "failed"));
    assert_eq!(both, (1, 0));
}

#[test]
fn commit_without_its_undo_is_never_reported_as_undone() {
    own_sessions();
    let mut fixture = lay();
    let (id, _) = armed(&fixture, "watched/a");
    fs::remove_dir_all(fixture.path("state/commits").join(&id)).unwrap();
    until("it has failed", || verdicts(&fixture, "failed") == 1);
    let is_left = |fixture: &PlanFixture| {
        let [view] = &unconfirmed(&fixture.daemon)[..] else {
            panic!("it stays");
        };
        assert!(
            view.has_failed && view.what.ends_with("its undo is gone"),
            "{view:?}"
        );
    };
    is_left(&fixture);
    assert_eq!(fixture.read("watched/a"), "new");
    assert!(fixture.daemon.end_alone());
    fixture.daemon.restart();
    is_left(&fixture);
    assert_eq!(
        (verdicts(&fixture, "undone"), verdicts(&fixture, "failed")),
        (0, 1)
    );
    let said = login!(now())
        .confirms(&fixture.daemon, &admin(), &id)
        .expect("it is left to a person");
    assert!(said.ends_with("its undo is gone\n"), "{said}");
    assert!(unconfirmed(&fixture.daemon).is_empty());
    let free = plan(&[fixture.write("free/x", "y")]);
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
}

#[test]
fn one_user_has_a_share_of_the_table() {
    let more = format!(
        "{}\n[[grant]]\nname = \"of-a\"\nto = [\"#64001\"]\nallow = [\"plan.commit\"]\npaths = [\"@DIR@/watched\"]\n\
         approval = \"none\"\nconfirm = \"1h\"\n",
        RULES.replace("\"10s\"", "\"1h\"")
    );
    let fixture = PlanFixture::with_rules(options(), &more);
    let bundle = |at: usize| plan(&[fixture.write(&format!("watched/{at}"), "new")]);
    for at in 0..16 {
        assert_eq!(exit(&fixture.commits(&bundle(at))), Some(0));
    }
    let refusal = fixture.refused(&user_b(), commit(&bundle(16)));
    assert_eq!(refusal.code, Code::Busy, "{refusal:?}");
    assert!(
        refusal.message.starts_with("16 commits of this user wait"),
        "{refusal:?}"
    );
    assert!(!fixture.path("watched/16").exists());
    // Others go on, and B without a confirmation.
    let free = plan(&[fixture.write("free/x", "y")]);
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &bundle(17));
    approve(&fixture.daemon, job).expect("the approver can");
    let end = caller.end_of(job);
    assert_eq!(exit(&end), Some(0), "{end:?}");
    let next = end.ending.and_then(|ending| ending.next);
    assert!(next.is_some_and(|next| next.starts_with("undone at ")));
}

#[test]
fn full_slots_do_not_delay_the_undo() {
    let sleeper = "\n[[grant]]\nname = \"runs\"\nto = [\"#64001\"]\nallow = [\"run\"]\n";
    let options = Options {
        jobs: 1,
        ..options()
    };
    let fixture = PlanFixture::with_rules(options, &format!("{RULES}{sleeper}"));
    armed(&fixture, "watched/a");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let first = caller.run(at_once(argv(&["sleep", "600"])));
    let first = first.expect("A may run it");
    let second = caller.run(at_once(argv(&["sleep", "600"])));
    second.expect("it waits for a slot");
    is_undone(&fixture, "watched/a");
    assert_eq!(verdicts(&fixture, "failed"), 0);
    caller.stop(first.job).expect("it is A's");
}

#[test]
fn commit_that_nothing_could_undo_does_not_start() {
    let all = format!("{}{}", COMMANDS, RULES);
    let begin = all.find("[[command]]\nname = \"plan.undo\"").unwrap();
    let end = all.find("[[command]]\nname = \"plan.recover\"").unwrap();
    let policy = format!("{}{}", &all[..begin], &all[end..]);
    let fixture = PlanFixture::of(Options {
        policy,
        ..options()
    });
    fixture.put("watched/a", "old");
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    let refusal = fixture.refused(&user_b(), commit(&bundle));
    let why =
        "nothing could undo it if nobody confirms it: the policy has no command 'remit-commit undo";
    assert!(refusal.message.contains(why), "{refusal:?}");
    assert_eq!(fixture.read("watched/a"), "old");
}
