use super::store::{Confirmations, SavedConfirmations, choose, views};
use super::view::with_note;
use super::window::ConfirmWindow;
use super::*;
use crate::job::commits::{LOCK_IS_BUSY, TABLES_ARE_LOCKED};
use nix::unistd::mkdtemp;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Purpose;
use remit_edit::{Action, Edit};
use remit_link::{Spec, memfd};
use remit_plan::PlanPath;
use remit_policy::{MachineTable, PlanWithin, Verdict};

use crate::approval::approver::consent;
use crate::approval::fixture::Scene as Undoes;
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::allocation::JobUids;
use crate::request::fixture::{Scene, named, spec};
use crate::request::{BoundCall, Call, Draft, NewJob, Requester};

const WINDOW: u32 = 120;

fn at(seconds: u64) -> Clocks {
    Clocks {
        boot: Duration::from_secs(seconds),
        // The machine slept.
        monotonic: Duration::from_secs(seconds / 2),
        unix_ms: 1_000_000_000 + seconds * 1000,
    }
}

pub(super) fn committing() -> Unconfirmed {
    Unconfirmed {
        commit: "0123456789abcdef".repeat(2),
        job: JobId([7; 16]),
        user: "bot".to_owned(),
        uid: 1000,
        login: Some(1001),
        approval: None,
        signed: None,
        window_s: WINDOW,
        then: Vec::new(),
        ended: Duration::ZERO,
        is_extended: false,
        stage: ConfirmStage::Committing { is_followed: false },
        undo: UndoStage::Started,
        undone_by: None,
        extent: Extent::none(),
    }
}

pub(super) fn waiting(until: u64) -> Unconfirmed {
    Unconfirmed {
        stage: ConfirmStage::Waiting(Duration::from_secs(until)),
        undo: UndoStage::Kept,
        ended: Duration::from_secs(50),
        ..committing()
    }
}

pub(super) fn undoing() -> Unconfirmed {
    let mut one = waiting(1000);
    one.on_undo_started(JobId([9; 16]));
    one
}

fn ending(state: State, exit: Option<i32>) -> Ending {
    Ending {
        exit,
        ..Ending::unmeasured(state, "it ended".to_owned(), true)
    }
}

#[test]
fn only_a_commit_that_changed_nothing_is_disarmed() {
    for (state, exit, is_armed) in [
        (State::Exited, Some(0), true),
        (State::Exited, Some(1), false),
        (State::Exited, Some(LOCK_IS_BUSY), false),
        (State::Exited, Some(TABLES_ARE_LOCKED), false),
        (State::Cancelled, Some(LOCK_IS_BUSY), true),
        (State::Exited, Some(3), true),
        (State::Exited, Some(134), true),
        (State::Signalled, None, true),
        (State::TimedOut, None, true),
        (State::Cancelled, Some(1), true),
        (State::Interrupted, None, true),
        (State::NotStarted, Some(126), false),
    ] {
        let mut one = committing();
        let ended = one
            .on_commit_end(&ending(state, exit), false, at(100))
            .unwrap();
        match ended {
            CommitEnd::Armed(note) => {
                assert!(is_armed, "{state:?} {exit:?}");
                assert!(note.contains("remit confirm 0123456789ab"), "{note}");
                assert!(note.contains("1970-01-12 13:50:20 UTC"), "{note}");
                assert_eq!(one.due_at(), Some(Duration::from_secs(220)));
                assert_eq!(one.ended, Duration::from_secs(50));
                assert_eq!(
                    one.undo == UndoStage::Kept,
                    exit == Some(0) && state == State::Exited
                );
            }
            CommitEnd::Disarmed => assert!(!is_armed, "{state:?} {exit:?}"),
        }
    }
}

#[test]
fn end_that_is_recorded_again_has_the_same_note_and_window() {
    let end = ending(State::Exited, Some(0));
    let mut one = committing();
    let first = one.on_commit_end(&end, false, at(100));
    assert!(matches!(first, Some(CommitEnd::Armed(_))), "{first:?}");
    let waiting = one.clone();
    assert_eq!(one.on_commit_end(&end, false, at(150)), first);
    assert_eq!(one, waiting);
    // The undo has begun before the audit log had space.
    one.on_undo_started(JobId([9; 16]));
    assert_eq!(one.on_commit_end(&end, false, at(300)), None);
}

#[test]
fn window_is_that_of_the_rule_or_of_what_locks_out() {
    let why = || Some("'/etc/ssh/x': it decides who may log in over ssh".to_owned());
    let new = ConfirmWindow::new;
    assert_eq!(new(None, None), None);
    assert_eq!(
        new(Some(120), None).unwrap().line(),
        "undone by itself unless confirmed within 2 min from a new login"
    );
    let both = new(Some(90), why()).unwrap();
    assert_eq!(both.seconds, 90);
    assert!(
        both.line().contains(
            "within 90 s from a new login, because it can lock people out: '/etc/ssh/x': it"
        ),
        "{}",
        both.line()
    );
    assert_eq!(new(None, why()).unwrap().seconds, 300);
}

fn refusal(one: &Unconfirmed, by: &Subject, began: u64) -> Option<String> {
    let confirmed = one.may_confirm(by, by.gids(), Ok(Duration::from_secs(began)));
    confirmed.err().map(|refusal| refusal.message)
}

#[test]
fn another_person_confirms_from_a_new_login() {
    let ann = Subject::fake(1005, "ann", Some(1005));
    let one = waiting(1000);
    assert_eq!(refusal(&one, &ann, 51), None);
    for began in [0, 49, 50] {
        let text = refusal(&one, &ann, began).unwrap();
        assert!(text.contains("began before the commit had ended"), "{text}");
    }
    let nowhere = one.may_confirm(&ann, &[], Err(Refusal::new(Code::DeniedRule, "no session")));
    assert_eq!(nowhere.unwrap_err().message, "no session");
    // The requester, by another account, by the login, by root.
    for (uid, login) in [
        (1000, None),
        (1001, None),
        (1005, Some(1000)),
        (0, Some(1001)),
    ] {
        let text = refusal(&one, &Subject::fake(uid, "x", login), 51).unwrap();
        assert!(text.contains("your own change"), "{uid} {login:?}: {text}");
    }
    let own = Subject::fake(1005, "ann", None).claiming(1000);
    assert!(refusal(&one, &own, 51).is_some());
}

#[test]
fn approvers_of_its_rule_and_root_confirm() {
    let words = vec!["ann".to_owned()];
    let mut by = remit_policy::model::rule::Grantees::default();
    let user = remit_policy::model::rule::Principal::User(1005);
    by.ids.insert(user, "ann".to_owned());
    by.words = words;
    let one = Unconfirmed {
        approval: Some(Approval::new(by, remit_policy::Count::One, 600)),
        ..waiting(1000)
    };
    for (uid, may) in [(1005, true), (1006, false), (0, true)] {
        let found = refusal(&one, &Subject::fake(uid, "x", None), 51);
        assert_eq!(found.is_none(), may, "{uid}: {found:?}");
        assert!(found.is_none_or(|text| text.contains("not one of its approvers (ann)")));
    }
}

#[test]
fn approver_by_group_has_it_in_the_connection_and_now() {
    let mut by = remit_policy::model::rule::Grantees::default();
    let group = remit_policy::model::rule::Principal::Group(1005);
    by.ids.insert(group, "%sre".to_owned());
    by.words = vec!["%sre".to_owned()];
    let one = Unconfirmed {
        approval: Some(Approval::new(by, remit_policy::Count::One, 600)),
        ..waiting(1000)
    };
    // A fake connection has its uid as its only group.
    for (uid, now, may) in [
        (1005, &[1005, 50][..], true),
        (1005, &[50], false),
        (1006, &[1005], false),
        (0, &[], true),
    ] {
        let subject = Subject::fake(uid, "x", None);
        let found = one.may_confirm(&subject, now, Ok(Duration::from_secs(51)));
        assert_eq!(found.is_ok(), may, "{uid} {now:?}: {found:?}");
    }
}

/// As if its approvers had seen the plan: another administrator could keep what they would not.
#[test]
fn commit_by_a_temporary_grant_is_confirmed_by_approvers_of_its_rule() {
    const POLICY: &str = r##"
[[command]]
name = "plan.commit"
summary = "commits"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[grant]]
to = ["#1000"]
allow = ["plan.commit"]
paths = ["/srv"]
confirm = "2min"
approval = { by = ["#1005"] }
"##;
    let scene = Scene::of(POLICY, &MachineTable::default());
    let path = || PlanPath::new("/srv/a").unwrap();
    let edit = Edit {
        path: path(),
        action: Action::Write(b"x".to_vec()),
        mode: Some(0o644),
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    };
    let bundle = remit_edit::bundle(vec![edit.apply(None).unwrap().unwrap()]).unwrap();
    let reason = "it is due".into();
    let spec = Spec {
        stdin: true,
        ..spec(named("plan.commit", &[]), Purpose::Change { reason })
    };
    let stdin = memfd::seal(c"stdin", bundle.as_bytes()).unwrap();
    let mut call = Call::new(spec, vec![stdin]).unwrap();
    call.decode_plan(&scene.policy);
    let bot = Subject::fake(1000, "bot", None);
    let Verdict::Ask(pending) = scene.policy.decide(bot.caller_ids(), &call.ask(&[])) else {
        panic!("it asks");
    };
    let ann = Subject::fake(1005, "ann", None);
    let within = PlanWithin {
        plan: &bundle,
        paths: &[path()],
        requester: bot.caller_ids(),
    };
    let lifted = pending.granted(&consent(&ann, &bot), 3, Some(within));
    let grant = lifted.unwrap().spend(|_| Ok::<_, ()>(())).unwrap();
    let bound = BoundCall::new(&call, grant.terms(), &scene.setting("d")).unwrap();
    let requester = Requester {
        subject: bot,
        session: 1,
        ticket: 2,
    };
    let new = NewJob {
        job: JobId([7; 16]),
        number: 3,
        uid: JobUids::new(70_000, 10).take().unwrap(),
        ready: None,
    };
    let plan = Draft::new(call, bound, requester, new).granted(grant, None);
    let state = mkdtemp(&std::env::temp_dir().join("remit-confirm-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let mut confirmations = Confirmations::open(&state).unwrap();
    confirmations.arm(&plan).unwrap();
    let armed = Unconfirmed {
        approval: confirmations.all.remove(0).approval,
        ..waiting(1000)
    };
    let saved = Confirmations::open(&state).unwrap();
    assert_eq!(saved.all[0].approval, armed.approval);
    std::fs::remove_dir_all(state).unwrap();
    for (uid, may) in [(1005, true), (1006, false), (0, true)] {
        let found = refusal(&armed, &Subject::fake(uid, "x", None), 51);
        assert_eq!(found.is_none(), may, "{uid}: {found:?}");
    }
}

#[test]
fn confirmation_that_is_not_saved_is_not_in_the_file() {
    let state = mkdtemp(&std::env::temp_dir().join("remit-unsynced-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let mut confirmations = Confirmations::open(&state).unwrap();
    confirmations.all = vec![waiting(1000)];
    confirmations.save().unwrap();
    confirmations.file.sync_name = |_| Err(std::io::ErrorKind::Other.into());
    let before = confirmations.all.clone();
    confirmations.all.clear();
    confirmations.save_or_keep(before.clone()).unwrap_err();
    assert_eq!(confirmations.all, before);
    let saved = Confirmations::open(&state).unwrap();
    assert_eq!(saved.all.len(), 1, "a restart would not undo it");
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn damaged_file_names_a_way_out_without_the_daemon() {
    let state = mkdtemp(&std::env::temp_dir().join("remit-damaged-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let path = state.join("warden/unconfirmed");
    std::fs::write(&path, b"remit confirm 2\nx").unwrap();
    let why = Confirmations::open(&state).unwrap_err();
    assert!(why.contains("move this file away"), "{why}");
    // Every other verb asks the daemon, which does not start.
    let verbs: Vec<&str> = why.split("remit ").skip(1).collect();
    assert!(!verbs.is_empty(), "{why}");
    assert!(
        verbs.iter().all(|verb| verb.starts_with("audit show ")),
        "{why}"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(Confirmations::open(&state).is_ok());
    std::fs::remove_dir_all(state).unwrap();
}

/// A commit that locked people out is still undone by the daemon of a restart, or of an upgrade.
#[test]
fn saved_confirmation_keeps_approvers_and_signature() {
    let mut by = remit_policy::model::rule::Grantees::default();
    let user = remit_policy::model::rule::Principal::User(1005);
    by.ids.insert(user, "ann".to_owned());
    by.words = vec!["ann".to_owned()];
    let asked = Approval::new(by, remit_policy::Count::Two, 600);
    let state = mkdtemp(&std::env::temp_dir().join("remit-saved-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let mut confirmations = Confirmations::open(&state).unwrap();
    confirmations.all = vec![Unconfirmed {
        approval: Some(asked.by_one()),
        signed: Some(Signed::Touch),
        ..waiting(1000)
    }];
    confirmations.save().unwrap();
    // Its form changes only with its magic.
    let bytes = postcard::to_extend(&confirmations.all[0], Vec::new()).unwrap();
    let expect = b" 0123456789abcdef0123456789abcdef\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
        \x03bot\xe8\x07\x01\xe9\x07\x01\x01\x01\x00\xed\x07\x03ann\x00\x01\x03ann\x00\x00\xd8\x04\x01\x01x\x002\x00\x00\x01\
        \xe8\x07\x00\x01";
    assert_eq!(bytes, expect);
    let [one] = Confirmations::open(&state).unwrap().all.try_into().unwrap();
    assert_eq!(
        (one.approval, one.signed),
        (Some(asked.by_one()), Some(Signed::Touch))
    );
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn nothing_is_confirmed_that_runs_or_is_being_undone() {
    let ann = Subject::fake(1005, "ann", None);
    let text = refusal(&committing(), &ann, 1000).unwrap();
    assert!(text.contains("being committed"), "{text}");
    let text = refusal(&undoing(), &ann, 1000).unwrap();
    assert!(text.contains("nobody confirmed it in time"), "{text}");
    // An undo that does not work leaves it to a person.
    let mut failed = undoing();
    failed.on_undo_failed("x", Duration::from_secs(1000));
    assert_eq!(refusal(&failed, &ann, 1000), None);
}

#[test]
fn failed_undo_is_tried_again_with_growing_pauses_and_then_left() {
    let mut one = waiting(1000);
    let mut now = Duration::from_secs(1000);
    let mut pauses = Vec::new();
    loop {
        assert_eq!(one.is_undone_partly(), pauses.len() >= 2);
        one.on_undo_started(JobId([9; 16]));
        assert_eq!(one.due_at(), None);
        one.on_undo_failed("exited with status 1\n\u{1b}[2J", now);
        let Some(again) = one.due_at() else { break };
        pauses.push((again - now).as_secs());
        now = again;
    }
    assert_eq!(pauses, [10, 60, 300, 900]);
    let mut short = Unconfirmed {
        window_s: 20,
        ..waiting(0)
    };
    let pauses = [0; 4].map(|_| {
        short.on_undo_failed("x", Duration::ZERO);
        short.due_at().unwrap().as_secs()
    });
    assert_eq!(pauses, [10, 20, 300, 900]);
    let view = one.view(at(3000));
    assert!(view.has_failed && view.command == "remit confirm 0123456789ab");
    let rest = "status 1\\n\\x1b[2J (tries: 5; it is not tried again)";
    assert!(view.what.ends_with(rest), "{view:?}");
    // Another undo has worked.
    one.retry(now);
    assert_eq!(one.due_at(), Some(now));
    one.put_off(now);
    assert_eq!(one.due_at(), Some(now + Duration::from_secs(2)));
}

/// What is left in seconds after a restart at `now`, if it was saved at 100 s.
fn left(one: Unconfirmed, boot_id: &str, now: Clocks) -> (u64, Unconfirmed) {
    let saved = SavedConfirmations {
        boot_id: "one".to_owned(),
        boot: at(100).boot,
        unix_ms: at(100).unix_ms,
        all: vec![one],
    };
    let one = saved.restarted(boot_id, now).remove(0);
    let due = one.due_at().expect("it is undone at some time");
    ((due - now.boot).as_secs(), one)
}

#[test]
fn restart_within_a_boot_goes_on_and_leaves_time_to_log_in_once() {
    assert_eq!(left(waiting(200), "one", at(110)).0, 90);
    for now in [150, 199, 200, 5000] {
        let (seconds, once) = left(waiting(200), "one", at(now));
        assert_eq!(seconds, 60, "{now}");
        assert_eq!(once.ended, Duration::from_secs(50));
        let until = now + seconds;
        assert_eq!(left(once.clone(), "one", at(now + 20)).0, 40);
        assert_eq!(left(once, "one", at(until + 1)).0, 0);
    }
    let short = Unconfirmed {
        window_s: 10,
        ..waiting(200)
    };
    assert_eq!(left(short, "one", at(500)).0, 10);
}

#[test]
fn reboot_goes_on_by_the_wall_clock_within_the_window() {
    let booted = |off: i64| Clocks {
        boot: Duration::from_secs(5),
        monotonic: Duration::from_secs(5),
        unix_ms: at(100).unix_ms.saturating_add_signed(off * 1000),
    };
    for (off, expect) in [
        (10, 90),
        (40, 60),
        (1_000_000, 60),
        // A clock that was set back.
        (-500, 100),
        (0, 100),
    ] {
        let (seconds, one) = left(waiting(200), "two", booted(off));
        assert_eq!(seconds, expect, "{off}");
        assert_eq!(one.ended, Duration::ZERO);
        assert!(one.is_extended);
    }
    // Never longer than the window, whatever was saved.
    assert_eq!(left(waiting(9000), "two", booted(0)).0, 120);
    // A machine that boots again and again.
    let again = Unconfirmed {
        is_extended: true,
        ..waiting(200)
    };
    assert_eq!(left(again, "two", booted(1000)).0, 0);
}

#[test]
fn commit_that_was_cut_off_gets_its_window_and_an_undo_begins_again() {
    let (seconds, one) = left(committing(), "one", at(130));
    assert_eq!((seconds, one.ended), (120, at(130).monotonic));
    let (seconds, one) = left(committing(), "two", at(130));
    assert_eq!((seconds, one.ended), (120, Duration::ZERO));
    let (seconds, one) = left(undoing(), "one", at(130));
    assert_eq!(seconds, 0);
    assert!(matches!(one.stage, ConfirmStage::Failed { tries: 0, .. }));
    let mut failed = undoing();
    failed.on_undo_failed("x", Duration::from_secs(10));
    assert_eq!(left(failed, "two", at(130)).0, 0);
}

#[test]
fn window_begins_only_after_the_commands_that_follow() {
    let ann = Subject::fake(1005, "ann", None);
    let (end, cut_off) = (
        ending(State::Exited, Some(0)),
        ending(State::Signalled, None),
    );
    let mut one = committing();
    let first = one.on_commit_end(&end, true, at(100));
    let Some(CommitEnd::Armed(note)) = &first else {
        panic!("it changed something: {first:?}");
    };
    let words = "undone unless somebody confirms it within 2 min after the commands that follow it";
    assert!(note.starts_with(words), "{note}");
    assert!(note.ends_with("never types it itself"), "{note}");
    // However long they run, nothing undoes it beside them, and no login confirms it.
    assert_eq!((one.due_at(), one.undo), (None, UndoStage::Kept));
    let refused = one.may_confirm(&ann, ann.gids(), Ok(Duration::MAX));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.message.contains("still run"), "{refused:?}");
    let text = one.view(at(5000)).what;
    let words = "is done, and the commands run that follow it; then it is undone unless";
    assert!(text.contains(words), "{text}");
    // The audit log had no space for the end.
    let before = one.clone();
    assert_eq!(one.on_commit_end(&end, true, at(150)), first);
    assert_eq!(one, before);
    let (seconds, again) = left(one.clone(), "one", at(130));
    assert_eq!((seconds, again.ended), (120, at(130).monotonic));

    let note = one.on_acts_over(&[], at(5000)).unwrap();
    assert!(note.starts_with("undone at "), "{note}");
    assert_eq!(one.due_at(), Some(Duration::from_secs(5120)));
    assert_eq!(one.ended, at(5000).monotonic);
    assert!(refusal(&one, &ann, 2500).is_some());
    assert_eq!(refusal(&one, &ann, 2501), None);
    for mut other in [waiting(200), undoing(), committing()] {
        assert_eq!(other.on_acts_over(&[], at(150)), None, "{:?}", other.stage);
    }
    // Nothing follows a commit that was cut off.
    let mut one = committing();
    assert!(one.on_commit_end(&cut_off, true, at(100)).is_some());
    assert_eq!(one.due_at(), Some(Duration::from_secs(220)));
}

/// A restart ends what runs, and gives it a window.
#[test]
fn commit_with_running_commands_is_saved_as_running() {
    let saved = |is_followed| {
        let stage = ConfirmStage::Committing { is_followed };
        postcard::to_extend(&stage, Vec::new()).unwrap()
    };
    assert_eq!((saved(true), saved(false)), (vec![0], vec![0]));
    let read = postcard::from_bytes(&[0]);
    assert_eq!(read, Ok(ConfirmStage::Committing { is_followed: false }));
}

#[test]
fn command_that_did_not_run_does_not_follow_the_undo() {
    let act = |job, state| FollowUp {
        command: String::new(),
        job,
        state,
        exit: None,
        cause: String::new(),
    };
    let job = Some(JobId([1; 16]));
    for (job, state, is_kept) in [
        (job, State::Exited, true),
        (job, State::Signalled, true),
        (job, State::TimedOut, true),
        (job, State::NotStarted, false),
        (job, State::Denied, false),
        (job, State::Queued, false),
        (None, State::NotStarted, false),
    ] {
        let mut one = waiting(200);
        one.then = vec!["a.first".to_owned(), "b.second".to_owned()];
        let then = [act(job, state), act(Some(JobId([2; 16])), State::Exited)];
        one.on_acts_over(&then, at(150));
        let kept = one.then.iter().any(|text| text == "a.first");
        assert_eq!(
            (kept, one.then.len()),
            (is_kept, 1 + usize::from(is_kept)),
            "{state:?}"
        );
    }
}

#[test]
fn failed_commands_alone_follow_again_until_the_last_try() {
    let act = |name: &str, exit| FollowUp {
        command: name.to_owned(),
        job: Some(JobId([1; 16])),
        state: State::Exited,
        exit: Some(exit),
        cause: "exited".to_owned(),
    };
    for phase in [None, Some(Phase::Parted)] {
        let mut one = undoing();
        one.then = vec!["a.first".to_owned(), "b.second".to_owned()];
        one.saw(phase);
        let mut then = vec![act("a.first", 0), act("b.second", 1)];
        let mut now = Duration::from_secs(1000);
        loop {
            assert!(one.has_to_follow() && !one.is_left());
            one.on_follow();
            one.on_acts_failed(&then);
            one.on_undo_failed("it is undone, but not 'b.second': exited", now);
            assert_eq!(one.then, ["b.second"]);
            then = vec![act("b.second", 1)];
            let Some(again) = one.due_at() else { break };
            now = again;
        }
        assert_eq!(one.tries(), 5);
        assert!(one.is_left());
        one.retry(now);
        assert!(one.is_left() && one.due_at().is_none());
        let text = one.view(at(3000)).what;
        let words = "commit 0123456789ab of bot in time: it is undone, but not 'b.second': exited (tries: 5;";
        assert!(text.contains(words), "{text}");
        let (seconds, again) = left(one, "one", at(130));
        assert!(seconds == 0 && again.has_to_follow() && !again.is_left());
    }
}

#[test]
fn commands_follow_each_undo_until_a_confirmation() {
    let then = |one: Unconfirmed| Unconfirmed {
        then: vec!["service.reload unit=ssh.service".to_owned()],
        ..one
    };
    assert!(!then(waiting(1)).has_to_follow() && !undoing().has_to_follow());
    // Somebody has asked for the undo, and the window is still open.
    for undo in [UndoStage::Done, UndoStage::Parted] {
        let by_request = |one: Unconfirmed| Unconfirmed {
            undo,
            undone_by: Some(JobId([3; 16])),
            ..one
        };
        let mut one = by_request(then(waiting(1000)));
        let why = "the commit was undone before somebody confirmed it";
        assert_eq!(one.why_followed(), why);
        assert!(one.has_to_follow() && !by_request(waiting(1000)).has_to_follow());
        let text = one.sentence(at(500));
        assert!(text.contains("is undone and not confirmed"), "{text}");
        assert_eq!(one.on_follow(), JobId([3; 16]));
        assert!(!one.has_to_follow());
        assert!(
            one.undone_note(at(500))
                .ends_with("before somebody confirmed it")
        );
        // The job of the undo is not known after a restart.
        let saved = postcard::to_extend(&by_request(then(waiting(1000))), Vec::new());
        let read: Unconfirmed = postcard::from_bytes(&saved.unwrap()).unwrap();
        let (_, mut again) = left(read, "one", at(130));
        assert!(again.has_to_follow() && again.undone_by.is_none());
        assert_eq!(again.on_follow(), again.job);
    }
    let mut one = then(undoing());
    assert_eq!(one.why_followed(), "nobody confirmed the commit");
    assert!(one.has_to_follow());
    assert_eq!(one.on_follow(), JobId([9; 16]));
    assert!(!one.has_to_follow() && one.due_at().is_none());
    assert!(refusal(&one, &Subject::fake(1005, "ann", None), 1000).is_some());
    // A daemon that ends meanwhile has them follow again.
    let (seconds, again) = left(one.clone(), "one", at(130));
    assert!(seconds == 0 && again.has_to_follow());
    one.on_undo_failed("x", Duration::from_secs(1000));
    assert!(one.has_to_follow());
}

#[test]
fn commit_is_named_by_its_beginning_or_is_the_only_one() {
    let other = Unconfirmed {
        commit: "01ff".repeat(8),
        ..waiting(1)
    };
    let all = [waiting(1), other];
    let find = |list: &[Unconfirmed], id: Option<&str>| {
        choose(list.iter(), id)
            .map(|one| one.commit.clone())
            .map_err(|refusal| refusal.code)
    };
    assert!(find(&all[..1], None).is_ok());
    assert_eq!(find(&all, Some("01ff")).unwrap(), "01ff".repeat(8));
    assert_eq!(find(&all, None), Err(Code::InvalidArgs));
    assert_eq!(find(&all, Some("01")), Err(Code::InvalidArgs));
    assert_eq!(find(&all, Some("02")), Err(Code::NotFound));
    assert_eq!(find(&[], None), Err(Code::NotFound));
}

#[test]
fn lock_of_another_process_and_a_start_that_fails_are_no_tries() {
    let mut one = waiting(1000);
    let now = Duration::from_secs(1000);
    for at in 0..20 {
        one.on_undo_started(JobId([9; 16]));
        match at % 2 {
            0 => one.on_undo_locked(JobId([9; 16]), now),
            _ => assert!(one.on_undo_not_started("the disk is full", now)),
        }
        let again = one.due_at().expect("it is tried again");
        assert!(again > now, "it is not tried at once");
        assert_eq!(one.tries(), 0);
    }
    // It is reported once.
    assert!(!one.on_undo_not_started("the disk is full", now));
    one.on_undo_started(JobId([9; 16]));
    one.on_undo_failed("x", now);
    assert_eq!(one.tries(), 1);
}

#[test]
fn undo_that_was_stopped_is_no_try_and_begins_again_at_once() {
    let (mut one, job) = (waiting(1000), JobId([9; 16]));
    let now = Duration::from_secs(1000);
    for tried in [0, 1, 2] {
        for _ in 0..20 {
            one.on_undo_started(job);
            one.on_undo_stopped(job, now);
            assert_eq!(one.due_at(), Some(now));
            one.saw(Some(Phase::Kept));
            // The third one is partial: what was stopped may have undone some paths.
            assert_eq!(one.tries(), tried + u32::from(tried == 2));
            assert_eq!(one.may_be_undone_partly(), tried == 2);
        }
        one.on_undo_started(job);
        one.on_undo_failed("x", now);
    }
    assert_eq!(one.tries(), 4);
    assert!(one.due_at().is_some(), "it is tried once more");
}

#[test]
fn absence_of_the_journal_means_undone_only_after_a_started_undo() {
    use Phase::{Applying, Gone, Kept, Left, Parted, Staging, Undoing, Undone};
    for (phases, expect) in [
        // The commit was cut off, and taken back.
        (vec![None], UndoStage::Done),
        (vec![Some(Staging), None], UndoStage::Done),
        (vec![Some(Applying), Some(Kept)], UndoStage::Kept),
        (vec![Some(Applying), Some(Left)], UndoStage::Parted),
        (vec![Some(Left), Some(Left)], UndoStage::Parted),
        // Nothing but an undo of it may remove the journal.
        (vec![Some(Kept), None], UndoStage::Lost),
        // Forgotten after a month.
        (vec![Some(Left), Some(Gone)], UndoStage::Done),
        (vec![Some(Kept), Some(Undoing), None], UndoStage::Done),
        (vec![Some(Kept), Some(Undone), Some(Gone)], UndoStage::Done),
        (vec![Some(Kept), Some(Parted)], UndoStage::Parted),
        // The undo began, and was given up.
        (
            vec![Some(Kept), Some(Undoing), Some(Kept), None],
            UndoStage::Lost,
        ),
        (vec![Some(Kept), None, None], UndoStage::Lost),
        (vec![None, None], UndoStage::Done),
    ] {
        let mut one = committing();
        let last = phases.iter().map(|phase| one.saw(*phase)).last();
        assert_eq!(last, Some(expect), "{phases:?}");
    }
    let mut one = undoing();
    assert_eq!(one.saw(None), UndoStage::Done);
    // The undo of the whole commit has ended well, and its journal keeps what others had made.
    assert_eq!(one.saw(Some(Parted)), UndoStage::Done);
    assert_eq!(undoing().saw(Some(Parted)), UndoStage::Parted);
    assert_eq!(waiting(1000).saw(None), UndoStage::Lost);
}

#[test]
fn partial_undo_that_failed_is_said() {
    let mut one = undoing();
    for tries in 1..=3 {
        one.on_undo_failed("it was killed", Duration::from_secs(1000));
        one.saw(Some(Phase::Kept));
        assert_eq!(one.may_be_undone_partly(), tries == 3);
        let sentence = one.sentence(at(2000));
        assert_eq!(
            sentence.contains("some of it may be undone"),
            tries == 3,
            "{sentence}"
        );
        if tries < 3 {
            one.on_undo_started(JobId([9; 16]));
        }
    }
}

#[test]
fn partial_undo_that_a_restart_cut_off_is_said() {
    for (tries, is_partial) in [(1, false), (2, true)] {
        let mut one = undoing();
        for _ in 0..tries {
            one.on_undo_failed("x", Duration::from_secs(1000));
            one.on_undo_started(JobId([9; 16]));
        }
        let mut one = one.restarted(at(1500), None, at(1500));
        one.saw(Some(Phase::Kept));
        assert_eq!(one.may_be_undone_partly(), is_partial, "{one:?}");
    }
}

#[test]
fn lost_undo_stays_as_failed_and_a_person_confirms_it() {
    let mut one = waiting(1000);
    one.saw(None);
    assert!(one.on_final() && !one.on_final());
    one.retry(Duration::from_secs(1000));
    assert_eq!(one.due_at(), None);
    let view = one.view(at(500));
    assert!(view.has_failed, "{view:?}");
    let text = "commit 0123456789ab of bot waits for a confirmation, and cannot be undone: its undo is gone";
    assert_eq!(view.what, text);
    let ann = Subject::fake(1005, "ann", None);
    assert_eq!(refusal(&one, &ann, 1000), None);
    let saved = SavedConfirmations {
        boot_id: "one".to_owned(),
        boot: at(100).boot,
        unix_ms: at(100).unix_ms,
        all: vec![one.clone()],
    };
    let again = saved.restarted("two", at(200)).remove(0);
    assert_eq!((again.due_at(), again.undo), (None, UndoStage::Lost));
}

#[test]
fn partly_undone_commit_is_listed_until_a_person_confirms_it() {
    let mut one = undoing();
    one.then = vec!["service.reload unit=ssh.service".to_owned()];
    assert_eq!(one.saw(Some(Phase::Parted)), UndoStage::Parted);
    assert!(one.has_to_follow());
    one.on_follow();
    one.then.clear();
    assert!(one.on_final() && !one.on_final());
    one.retry(Duration::from_secs(1000));
    assert_eq!(one.due_at(), None);
    let view = one.view(at(500));
    let text = "commit 0123456789ab of bot is undone, but for what somebody else has changed since";
    assert!(view.has_failed && view.what == text, "{view:?}");
    let ann = Subject::fake(1005, "ann", None);
    assert_eq!(refusal(&one, &ann, 1000), None);
}

#[test]
fn overdue_commit_says_that_its_undo_is_in_line() {
    let text = |now| waiting(1000).view(at(now)).what;
    assert!(text(999).contains("is undone at "), "{}", text(999));
    let line = text(1000);
    assert!(
        line.starts_with("nobody confirmed commit 0123456789ab of bot in time;"),
        "{line}"
    );
}

#[test]
fn failed_undo_is_listed_however_many_wait() {
    let mut all = vec![waiting(1000); MOST];
    if let Some(last) = all.last_mut() {
        last.on_undo_failed("x", Duration::from_secs(1000));
    }
    let views = views(&all, at(900));
    assert!(views.len() < MOST && views[0].has_failed && !views[1].has_failed);
}

#[test]
fn note_of_an_ended_commit_follows_its_confirmation() {
    let clocks = at(500);
    let note = |one: &Unconfirmed| one.undone_note(clocks);
    let undone = note(&undoing());
    assert!(undone.starts_with("undone at ") && undone.ends_with(": nobody confirmed it"));
    assert!(note(&waiting(600)).ends_with(", before somebody confirmed it"));
    let armed = Some("undone at 2026-11-20 08:00:00 UTC unless somebody confirms it: log in");
    let failed = "'service.reload': exited with status 1";
    let mut one = undoing();
    one.on_undo_failed("x", clocks.boot);
    let failing = one.sentence(clocks);
    assert!(failing.contains("; next try"), "{failing}");
    for before in [armed, None, Some(undone.as_str()), Some(failing.as_str())] {
        for note in [undone.as_str(), "confirmed by ann"] {
            assert_eq!(with_note(before, note), note);
            let both = before.map_or(failed.to_owned(), |before| format!("{failed}; {before}"));
            assert_eq!(with_note(Some(&both), note), format!("{failed}; {note}"));
        }
    }
}

#[test]
fn note_of_a_restored_commit_is_that_of_its_new_window() {
    let now = at(500);
    let undone = Unconfirmed {
        undo: UndoStage::Done,
        then: vec!["service.reload sshd".to_owned()],
        ..waiting(600)
    };
    for (one, start) in [
        (
            waiting(600),
            "undone at 1970-01-12 13:56:40 UTC unless somebody confirms it: log in again",
        ),
        (waiting(500), "nobody confirmed commit 0123456789ab"),
        (
            undone,
            "commit 0123456789ab of bot is undone and not confirmed",
        ),
        (undoing(), "nobody confirmed commit 0123456789ab"),
    ] {
        let note = one.restored_note(now);
        assert!(note.starts_with(start), "{note}");
        assert_eq!(with_note(Some(&note), "x"), "x", "it is replaced later");
    }
}

#[test]
fn undo_by_request_leaves_its_commit_with_what_has_to_follow() {
    let (id, scene) = (waiting(1000).commit, Undoes::undoes());
    let all = ["site.reload unit=a", "site.reload unit=b"];
    let state = mkdtemp(&std::env::temp_dir().join("remit-undone-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let mut confirmations = Confirmations::open(&state).unwrap();
    for (carried, left) in [
        (&[][..], &all[..]),
        (&all[..1], &all[1..]),
        // They run before the first one.
        (&all[1..], &all[..]),
        (&[all[1], all[0]][..], &all[1..]),
        (&all[..], &[][..]),
    ] {
        let plan = scene.undo(&id, carried);
        assert!(confirmations.following_undo(&plan.bound).is_empty());
        confirmations.all = vec![Unconfirmed {
            then: all.map(str::to_owned).to_vec(),
            ..waiting(1000)
        }];
        // The approver reads of those that the request does not carry itself.
        assert_eq!(confirmations.following_undo(&plan.bound), left);
        assert!(!confirmations.is_undone_by(plan.job));
        let end = ending(State::Exited, Some(0));
        assert_eq!(confirmations.on_end(&plan, &end), None);
        assert!(confirmations.is_settled && confirmations.is_undone_by(plan.job));
        let mut one = confirmations.all.remove(0);
        assert!(one.has_to_follow());
        let over = |exit| {
            let over = |text: &&str| FollowUp {
                command: (*text).to_owned(),
                job: Some(JobId([4; 16])),
                state: State::Exited,
                exit: Some(exit),
                cause: "exited".to_owned(),
            };
            carried.iter().map(over).collect::<Vec<_>>()
        };
        one.on_carried_over(&over(1));
        assert_eq!(one.then, all, "one that has failed follows, too");
        one.on_carried_over(&over(0));
        assert_eq!(one.then, left, "{carried:?}");
    }
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn undo_by_request_is_followed_also_after_the_last_try_of_the_daemon() {
    let plan = Undoes::undoes().undo(&waiting(1000).commit, &[]);
    let state = mkdtemp(&std::env::temp_dir().join("remit-tried-XXXXXX")).unwrap();
    std::fs::create_dir(state.join("warden")).unwrap();
    let mut confirmations = Confirmations::open(&state).unwrap();
    for tries in [1, 5] {
        let mut one = undoing();
        one.then = vec!["site.reload unit=a".to_owned()];
        for _ in 0..tries {
            one.on_undo_failed("x", Duration::from_secs(1000));
            one.saw(Some(Phase::Kept));
        }
        assert_eq!((one.tries(), one.due_at().is_none()), (tries, tries == 5));
        confirmations.all = vec![one];
        confirmations.on_end(&plan, &ending(State::Exited, Some(0)));
        let one = &mut confirmations.all[0];
        assert!(one.has_to_follow() && !one.is_left(), "{tries}");
        assert!(one.due_at().is_some_and(|at| at <= timers::since_boot()));
        assert_eq!(one.tries(), 0, "what follows has all of its own");
        assert_eq!(one.on_follow(), plan.job);
    }
    std::fs::remove_dir_all(state).unwrap();
}
