//! Commits of files that are undone by themselves, unless another person confirms them from a new login.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest, UnconfirmedView};
use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_edit::Action;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Daemon, admin, user_a, user_b, user_m};
use remit_tests::process::{Identity, ends_within};
use remit_tests::test_dir::missing;
use remit_wire::outcome::JobReport;
use remit_wire::{HistoryQuery, Reply, Request, Run};

use super::plans::{PlanFixture, commit, commit_process, edit, exit, gives, id_of, many, plan};
use super::scene::{approve, asks, does, options, until};

/// `#64002` commits beneath `watched` without an approval, but somebody has to confirm it.
pub(super) const RULES: &str = r##"
[[grant]]
name = "watched"
to = ["#64002"]
allow = ["plan.commit"]
paths = ["@DIR@/watched"]
approval = "none"
confirm = "10s"
"##;
/// The same, and a command that writes down what the file is.
const FOLLOWED: &str = r##"
[[command]]
name = "site.follow"
summary = "follows"
argv = ["/bin/sh", "-c", "cat @DIR@/watched/a >>@DIR@/free/log"]
effect = "change"
profile = "host"

[[grant]]
name = "followed"
to = ["#64002"]
allow = ["plan.commit", "site.follow"]
paths = ["@DIR@/watched"]
acts = ["site.follow"]
approval = "none"
unconfined = true
confirm = "10s"
"##;
/// Longer than the window.
pub(super) const OVER: Duration = Duration::from_secs(12);

pub(super) fn lay() -> PlanFixture {
    PlanFixture::with_rules(options(), RULES)
}

pub(super) fn unconfirmed(daemon: &Daemon) -> Vec<UnconfirmedView> {
    daemon.status().unconfirmed
}

/// Commits to one file, whose old bytes are `old`.
pub(super) fn armed(fixture: &PlanFixture, name: &str) -> (String, JobReport) {
    fixture.put(name, "old");
    let bundle = plan(&[fixture.write(name, "new")]);
    let report = fixture.commits(&bundle);
    assert_eq!(exit(&report), Some(0), "{report:?}");
    assert_eq!(fixture.read(name), "new");
    (id_of(&bundle), report)
}

pub(super) fn is_undone(fixture: &PlanFixture, name: &str) {
    is_undone_to(fixture, name, "old");
}

fn is_undone_to(fixture: &PlanFixture, name: &str, old: &str) {
    until("it is undone by itself", || fixture.read(name) == old);
    until("nothing waits", || unconfirmed(&fixture.daemon).is_empty());
}

/// A login session of a person: logind's file, and the scope that its processes are in.
pub(super) struct Login {
    scope: PathBuf,
}

impl Login {
    /// `None` where no process can be moved into a cgroup of this name.
    pub fn new(began: Duration, class: &str) -> Option<Self> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("t{}n{number}", std::process::id());
        let mounts = fs::read_to_string("/proc/mounts").expect("there is /proc");
        let fields = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let root = fields
            .filter(|fields| fields.get(2) == Some(&"cgroup2"))
            .find_map(|fields| fields.get(1).map(PathBuf::from))?;
        let scope = root.join(format!("user.slice/user-64005.slice/session-{name}.scope"));
        // Another session's end removes the slices at the same time.
        (0..1000).find_map(|_| fs::create_dir_all(&scope).ok())?;
        let text = format!("CLASS={class}\nREMOTE=1\nMONOTONIC={}\n", began.as_micros());
        fs::write(format!("/run/systemd/sessions/{name}"), text).expect("it is a new file system");
        Some(Self { scope })
    }

    fn remit(&self, daemon: &Daemon, user: &Identity, arguments: &[&str]) -> Output {
        let mut command = Command::new("/bin/sh");
        // The shell is root's until it has moved itself.
        let groups: Vec<String> = user.groups.iter().map(ToString::to_string).collect();
        command
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.scope.join("cgroup.procs"))
            .args(["setpriv", "--reuid", &user.uid.to_string()])
            .args(["--regid", &user.gid.to_string()])
            .args(["--groups", &groups.join(",")])
            .arg(daemon.program("remit"))
            .arg("--runtime")
            .arg(daemon.runtime().dir())
            .args(arguments)
            .stdin(Stdio::null());
        command.output().expect("it starts")
    }

    pub fn confirms(&self, daemon: &Daemon, user: &Identity, id: &str) -> Result<String, String> {
        let said = self.remit(daemon, user, &["confirm", id]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match said.status.success() {
            true => Ok(text(&said.stdout)),
            false => Err(text(&said.stderr)),
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        for path in self.scope.ancestors().take(3) {
            let _ = fs::remove_dir(path);
        }
    }
}

pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Has sessions of its own, in mounts of its own: call it before the daemon starts.
pub(super) fn own_sessions() {
    unshare(CloneFlags::CLONE_NEWNS).expect("the tests run as root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("it is ours");
    fs::create_dir_all("/run/systemd/sessions").expect("the tests run as root");
    let none = MsFlags::empty();
    mount(
        Some("none"),
        "/run/systemd/sessions",
        Some("tmpfs"),
        none,
        Some("size=64k"),
    )
    .expect("the tests run as root");
}

macro_rules! login {
    ($began:expr) => {
        match Login::new($began, "user") {
            Some(login) => login,
            None => return missing("a cgroup for a login session"),
        }
    };
}
pub(super) use login;

#[test]
fn unconfirmed_commit_is_undone_by_itself() {
    let fixture = lay();
    let (id, report) = armed(&fixture, "watched/a");
    let next = report.ending.and_then(|ending| ending.next).unwrap();
    let command = format!("remit confirm {}", &id[..12]);
    assert!(
        next.starts_with("undone at ") && next.contains(&format!("run: {command}; an agent shows")),
        "{next}"
    );
    let [view] = &unconfirmed(&fixture.daemon)[..] else {
        panic!("it waits");
    };
    assert_eq!((&view.commit_id, view.job), (&id, report.job));
    assert_eq!(view.command, command);
    is_undone(&fixture, "watched/a");
    let record = |verdict: &str| {
        let all = fixture.daemon.records("unconfirmed").into_iter();
        all.filter(|record| record["REMIT_VERDICT"] == verdict && record["REMIT_COMMIT"] == id)
            .count()
    };
    assert_eq!(
        (record("undoes"), record("undone"), record("failed")),
        (1, 1, 0)
    );
    let confirm = AdminRequest::Confirm { id: Some(id) };
    let late = fixture.daemon.administers(&admin(), confirm).unwrap_err();
    assert!(late.message.contains("no commit waits"), "{late:?}");

    // The rule says nothing of other commits.
    fixture.commits(&plan(&[fixture.write("free/x", "new")]));
    assert!(unconfirmed(&fixture.daemon).is_empty());
}

#[test]
fn commit_that_changed_nothing_needs_no_confirmation() {
    let fixture = lay();
    fixture.put("watched/a", "old");
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    fixture.put("watched/a", "of others");
    assert_eq!(exit(&fixture.commits(&bundle)), Some(1));
    assert!(unconfirmed(&fixture.daemon).is_empty());
}

#[test]
fn another_person_confirms_from_a_new_login_and_it_stays() {
    own_sessions();
    let before = login!(now());
    let fixture = lay();
    let (id, report) = armed(&fixture, "watched/a");
    let daemon = &fixture.daemon;
    let new = login!(now());
    let refused = |login: &Login, user: &Identity, id: &str, why: &str| {
        let said = login.confirms(daemon, user, id).unwrap_err();
        assert!(said.contains(why), "{why:?} is not in {said}");
    };
    // The process of this test is in no session.
    let confirm = AdminRequest::Confirm { id: None };
    let nowhere = daemon.administers(&admin(), confirm).unwrap_err();
    assert!(
        nowhere.message.contains("not in a login session"),
        "{nowhere:?}"
    );
    refused(&before, &admin(), &id, "began before the commit had ended");
    let cron = Login::new(now(), "background").expect("there is a cgroup");
    refused(&cron, &admin(), &id, "nobody works in it");
    let requester = Identity::new(64_002, &[64_000, 64_200]);
    refused(&new, &requester, &id, "your own change");
    refused(&new, &admin(), "ffffffff", "no commit with this id");
    assert_eq!(unconfirmed(daemon).len(), 1);

    let said = new
        .confirms(daemon, &admin(), &id[..8])
        .expect("it is confirmed");
    assert!(
        said.starts_with(&format!("confirmed; commit {id}: ")),
        "{said}"
    );
    assert!(unconfirmed(daemon).is_empty());
    refused(&new, &admin(), &id, "no commit waits");
    let records = daemon.records("confirmed");
    assert_eq!(records[0]["REMIT_JOB"], report.job.to_string());
    let mut intents = daemon.records("intent").into_iter();
    let intent = intents.find(|record| record["REMIT_JOB"] == records[0]["REMIT_JOB"]);
    assert_eq!(
        records[0]["REMIT_OF"],
        intent.expect("it ran")["REMIT_USER"]
    );
    std::thread::sleep(OVER);
    assert_eq!(fixture.read("watched/a"), "new");
    assert!(fixture.daemon.records("unconfirmed").is_empty());
}

#[test]
fn of_two_commits_the_confirmed_one_stays() {
    own_sessions();
    let fixture = lay();
    let (one, _) = armed(&fixture, "watched/a");
    let (other, _) = armed(&fixture, "watched/b");
    let login = login!(now());
    let said = login.remit(&fixture.daemon, &admin(), &["confirm"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("several commits") && said.contains(&one[..12]),
        "{said}"
    );
    login
        .confirms(&fixture.daemon, &admin(), &other)
        .expect("it is confirmed");
    let mut requester = Caller::new(&fixture.daemon, &user_b());
    let query = HistoryQuery {
        limit: 1,
        ..HistoryQuery::default()
    };
    let page = requester.ask(Request::History(query));
    let Ok(Reply::History(page)) = page else {
        panic!("one may ask for one's own: {page:?}");
    };
    assert_eq!(page.entries[0].verdict, "confirmed", "{page:?}");
    is_undone(&fixture, "watched/a");
    assert_eq!(fixture.read("watched/b"), "new");
}

/// Until its first step the journal does not say that it runs.
#[test]
fn commit_that_a_person_undoes_cannot_be_confirmed() {
    own_sessions();
    let fixture = PlanFixture::with_rules(options(), &RULES.replace("10s", "10min"));
    let daemon = &fixture.daemon;
    let mut caller = Caller::new(daemon, &user_a());
    for round in 0..20 {
        let bundle = many(&fixture, "watched", round);
        assert_eq!(exit(&fixture.commits(&bundle)), Some(0));
        let login = login!(now());
        let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id_of(&bundle))]);
        approve(daemon, job).expect("the approver can");
        let mut undo = None;
        until("it runs or is over", || {
            undo = commit_process(daemon).map(Pid::from_raw);
            undo.is_some() || unconfirmed(daemon).is_empty()
        });
        let stopped = undo.filter(|undo| {
            kill(*undo, Signal::SIGSTOP).is_ok() && commit_process(daemon) == Some(undo.as_raw())
        });
        if let Some(undo) = stopped {
            let said = login.confirms(daemon, &admin(), &id_of(&bundle));
            kill(undo, Signal::SIGCONT).expect("it is stopped");
            let why = said.unwrap_err();
            let words = format!("not confirmed: job {} undoes commit", job.short());
            assert!(why.contains(&words), "{why}");
        }
        assert_eq!(exit(&caller.end_of(job)), Some(0));
        assert!(fixture.tree("watched").is_empty());
        if stopped.is_some() {
            return;
        }
    }
    panic!("no undo can be stopped");
}

/// The undo would find another file than its commit made, and leave it; the undo of the later one would bring the first back.
#[test]
fn nothing_else_changes_the_paths_of_an_unconfirmed_commit() {
    let rules = RULES.replace("10s", "10min");
    let plain = rules.replace("\"watched\"\nto", "\"plain\"\nto");
    let plain = plain
        .replace("#64002", "#64003")
        .replace("confirm", "# confirm");
    let mut fixture = PlanFixture::with_rules(options(), &format!("{rules}{plain}"));
    let (id, _) = armed(&fixture, "watched/a");
    let later = plan(&[fixture.write("watched/a", "newer")]);
    let is_refused = |fixture: &PlanFixture| {
        for user in [user_b(), user_m()] {
            let refusal = fixture.refused(&user, commit(&later));
            let text = format!("{refusal:?}");
            let path = format!("'{}'", fixture.path("watched/a").display());
            for words in [
                &format!("remit confirm {}", &id[..12]),
                &format!("remit undo {id}"),
                &path,
            ] {
                assert!(text.contains(words), "{words} is not in {text}");
            }
        }
        assert_eq!(fixture.read("watched/a"), "new");
    };
    is_refused(&fixture);
    fixture.daemon.signal(Signal::SIGKILL);
    fixture.daemon.restart_insistently();
    is_refused(&fixture);
    let other = plan(&[fixture.write("watched/b", "new")]);
    assert_eq!(exit(&fixture.commits(&other)), Some(0));
    assert_eq!(exit(&fixture.undo(&id)), Some(0));
    let later = plan(&[fixture.write("watched/a", "newer")]);
    assert_eq!(exit(&fixture.commits(&later)), Some(0));
}

#[test]
fn it_is_undone_while_remit_is_locked() {
    let fixture = lay();
    armed(&fixture, "watched/a");
    let why = "an incident".to_owned();
    does(&fixture.daemon, AdminRequest::Lock { why, kill: true });
    is_undone(&fixture, "watched/a");
}

#[test]
fn it_is_undone_after_the_daemon_was_killed() {
    let mut fixture = lay();
    armed(&fixture, "watched/a");
    fixture.daemon.signal(Signal::SIGKILL);
    fixture.daemon.restart_insistently();
    assert_eq!(unconfirmed(&fixture.daemon).len(), 1);
    is_undone(&fixture, "watched/a");
}

/// A recovery removes what a kill just before the end has left.
fn is_empty(fixture: &PlanFixture) {
    until("nothing is left", || fixture.tree("watched").is_empty());
}

#[test]
fn commit_that_was_killed_with_the_daemon_leaves_nothing_behind() {
    let mut fixture = lay();
    let bundle = many(&fixture, "watched", 0);
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    caller
        .run(at_once(commit(&bundle)))
        .expect("B needs no approval");
    until("it runs or is over", || {
        commit_process(&fixture.daemon).is_some() || fixture.tree("watched").len() == 100
    });
    fixture.daemon.signal(Signal::SIGKILL);
    fixture.daemon.restart_insistently();
    until("nothing waits", || unconfirmed(&fixture.daemon).is_empty());
    is_empty(&fixture);
}

/// `kill` ends the undo as soon as it runs; it is made nevertheless.
fn is_undone_after(kill: impl FnOnce(&mut PlanFixture)) {
    let mut fixture = lay();
    let bundle = many(&fixture, "watched", 0);
    assert_eq!(exit(&fixture.commits(&bundle)), Some(0));
    until("the undo runs", || {
        commit_process(&fixture.daemon).is_some() || fixture.tree("watched").is_empty()
    });
    kill(&mut fixture);
    until("nothing waits", || unconfirmed(&fixture.daemon).is_empty());
    is_empty(&fixture);
}

#[test]
fn undo_that_is_killed_with_the_daemon_begins_again() {
    is_undone_after(|fixture| {
        fixture.daemon.signal(Signal::SIGKILL);
        fixture.daemon.restart_insistently();
    });
}

#[test]
fn undo_that_is_killed_is_tried_again() {
    is_undone_after(|fixture| {
        if let Some(pid) = commit_process(&fixture.daemon) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    });
}

#[test]
fn what_somebody_else_wrote_is_not_overwritten_and_people_learn_of_it() {
    own_sessions();
    let fixture = lay();
    let (id, _) = armed(&fixture, "watched/a");
    fixture.put("watched/a", "of others");
    until("the undo has failed", || {
        unconfirmed(&fixture.daemon)
            .iter()
            .any(|one| one.has_failed)
    });
    assert_eq!(fixture.read("watched/a"), "of others");
    let failed = |record: &serde_json::Value| {
        record["REMIT_VERDICT"] == "failed" && record["PRIORITY"] == "3"
    };
    let records = fixture.daemon.records("unconfirmed");
    assert!(records.iter().any(failed), "{records:?}");
    let view = unconfirmed(&fixture.daemon).remove(0);
    assert!(view.what.contains("its output says why"), "{view:?}");
    login!(now())
        .confirms(&fixture.daemon, &admin(), &id)
        .expect("it is left to a person");
    assert!(unconfirmed(&fixture.daemon).is_empty());
}

#[test]
fn without_a_disk_to_remember_it_nothing_starts() {
    let fixture = lay();
    fixture.put("watched/a", "old");
    let blocked = fixture.path("state/warden/unconfirmed.new");
    fs::create_dir(&blocked).unwrap();
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    let refusal = fixture.refused(&user_b(), commit(&bundle));
    let why = "cannot save that its commit has to be confirmed";
    assert!(refusal.message.contains(why), "{refusal:?}");
    assert_eq!(fixture.read("watched/a"), "old");
    // Others start.
    let free = plan(&[fixture.write("free/a", "x")]);
    assert_eq!(exit(&fixture.commits(&free)), Some(0));
    fs::remove_dir(&blocked).unwrap();
    assert_eq!(exit(&fixture.commits(&bundle)), Some(0));
}

#[test]
fn damaged_file_of_them_refuses_the_start() {
    let mut fixture = lay();
    armed(&fixture, "watched/a");
    assert!(fixture.daemon.end_alone());
    let path = fixture.path("state/warden/unconfirmed");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let said = fixture.daemon.refuses_to_start();
    assert!(
        said.contains("unconfirmed': its checksum is wrong; look at what was"),
        "{said}"
    );
    fs::write(&path, &whole).unwrap();
    fixture.daemon.restart();
    is_undone(&fixture, "watched/a");
}

#[test]
fn commands_that_followed_the_commit_follow_its_undo() {
    let mut fixture = PlanFixture::with_rules(options(), FOLLOWED);
    fixture.put("watched/a", "old");
    let followed = fixture.path("free/log");
    let lines = || fs::read_to_string(&followed).unwrap_or_default();
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    let run = Run {
        stdin: Some(bundle.into()),
        ..change("plan.commit", &[("then", "site.follow")])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    let report = caller.run(run).expect("B needs no approval");
    assert_eq!((exit(&report), lines().as_str()), (Some(0), "new"));
    let next = report.ending.and_then(|ending| ending.next).unwrap();
    assert!(next.starts_with("undone at "), "{next}");
    let why = "an incident".to_owned();
    does(&fixture.daemon, AdminRequest::Lock { why, kill: true });
    until("it follows the undo", || lines() == "newold");
    is_undone(&fixture, "watched/a");
    let by_daemon = |record: &serde_json::Value| {
        record["REMIT_COMMAND"] == "site.follow"
            && record["REMIT_RULE"] == "undo of what nobody confirmed"
    };
    assert!(fixture.daemon.audit().iter().any(by_daemon));
    assert!(fixture.daemon.end_alone());
    fixture.daemon.restart();
    assert!(unconfirmed(&fixture.daemon).is_empty());
}

/// The note about its commands does not replace that about the window, which a restart changes.
#[test]
fn requester_learns_the_window_after_the_daemon_was_killed_before_all_followed() {
    let rules = FOLLOWED.replace(
        "cat @DIR@/watched/a >>@DIR@/free/log",
        "echo >@DIR@/free/log; grep -q old @DIR@/watched/a || sleep 60",
    );
    let mut fixture = PlanFixture::with_rules(options(), &rules);
    fixture.put("watched/a", "old");
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    let run = Run {
        stdin: Some(bundle.into()),
        ..change("plan.commit", &[("then", "site.follow")])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    let job = caller.run(at_once(run)).expect("B needs no approval").job;
    until("its command runs", || fixture.path("free/log").exists());
    fixture.daemon.signal(Signal::SIGKILL);
    fixture.daemon.restart_insistently();
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    let next = caller.end_of(job).ending.and_then(|ending| ending.next);
    let next = next.unwrap();
    for words in [
        "the commands that follow: ",
        "; undone at ",
        "remit confirm ",
    ] {
        assert!(next.contains(words), "{words} is not in {next}");
    }
    is_undone(&fixture, "watched/a");
}

/// The advice of remit is such an undo: without them the service goes on with the new file, and no window is left.
#[test]
fn commands_that_followed_the_commit_follow_its_undo_by_a_person() {
    let rules = FOLLOWED.replace("10s", "10min");
    let undoes = r##"
[[grant]]
name = "undoes"
to = ["#64001"]
allow = ["plan.undo"]
acts = ["site.follow"]
approval = { by = ["#64005"] }
"##;
    let fixture = PlanFixture::with_rules(options(), &format!("{rules}{undoes}"));
    let lines = || fs::read_to_string(fixture.path("free/log")).unwrap_or_default();
    let mut expect = String::new();
    // The second undo carries the command itself.
    for (new, then) in [("new ", &[][..]), ("newer ", &[("then", "site.follow")])] {
        fixture.put("watched/a", "old ");
        let bundle = plan(&[fixture.write("watched/a", new)]);
        let run = Run {
            stdin: Some(bundle.clone().into()),
            ..change("plan.commit", &[("then", "site.follow")])
        };
        let mut caller = Caller::new(&fixture.daemon, &user_b());
        assert_eq!(
            exit(&caller.run(run).expect("B needs no approval")),
            Some(0)
        );
        expect.push_str(new);
        assert_eq!(lines(), expect);
        let id = id_of(&bundle);
        let args: Vec<_> = [("id", id.as_str())]
            .into_iter()
            .chain(then.iter().copied())
            .collect();
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let asked = caller.run(at_once(change("plan.undo", &args)));
        let job = asked.expect("it may be asked for").job;
        let page = fixture.daemon.shows(job).risks.join("\n");
        let words = "then remitd runs 'site.follow', which has followed the commit";
        assert_eq!(page.contains(words), then.is_empty(), "{page}");
        approve(&fixture.daemon, job).expect("the approver can");
        assert_eq!(exit(&caller.end_of(job)), Some(0));
        expect.push_str("old ");
        until("nothing waits", || unconfirmed(&fixture.daemon).is_empty());
        assert_eq!(lines(), expect);
    }
    let by_daemon = |record: &serde_json::Value| {
        record["REMIT_COMMAND"] == "site.follow"
            && record["REMIT_EVENT"] == "intent"
            && record["REMIT_RULE"] == "undo of what nobody confirmed"
    };
    let all = fixture.daemon.audit();
    assert_eq!(all.iter().filter(|record| by_daemon(record)).count(), 1);
}

#[test]
fn approver_is_shown_what_becomes_of_it() {
    let fixture = lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let path = "/etc/ssh/sshd_config.d/remit-test.conf";
    let planned = edit(path, Action::Write(b"AllowUsers nobody\n".to_vec())).apply(None);
    let bundle = remit_edit::bundle(vec![planned.unwrap().unwrap()]).unwrap();
    let job = fixture.asks(&mut caller, bundle.as_bytes());
    let undone = fixture.daemon.shows(job).plan.unwrap().undone.unwrap();
    let expect = format!(
        "unless confirmed within 5 min from a new login, because it can lock people out: '{path}': it \
         decides who may log in over ssh"
    );
    assert_eq!(undone, expect);
    let id = job.to_string();
    let page = fixture.daemon.remit(&admin(), &["show", &id]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let first: Vec<&str> = page.lines().take(12).collect();
    assert!(
        first.join("\n").contains("unless confirmed within 5 min"),
        "{page}"
    );

    let plain = fixture.asks(&mut caller, &plan(&[fixture.write("files/a", "x")]));
    assert_eq!(fixture.daemon.shows(plain).plan.unwrap().undone, None);
}

#[test]
fn approver_reads_when_it_is_undone() {
    let rules = RULES.replace("to = [\"#64002\"]", "to = [\"#64001\"]");
    let rules = rules.replace("approval = \"none\"", "approval = { by = [\"#64005\"] }");
    let fixture = PlanFixture::with_rules(options(), &rules);
    fixture.put("watched/a", "old");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &plan(&[fixture.write("watched/a", "new")]));
    approve(&fixture.daemon, job).expect("the approver can");
    let id = job.to_string();
    match fixture
        .daemon
        .administers(&admin(), AdminRequest::Job { id, wait: true })
    {
        Ok(AdminReply::Job(job)) => {
            let text = job.unconfirmed.expect("it waits");
            assert!(text.contains("undone at "), "{text}");
        }
        other => panic!("{other:?}"),
    }
    is_undone(&fixture, "watched/a");
}

/// Nobody approved what follows, so it runs neither after the commit nor after its undo.
#[test]
fn what_follows_a_commit_by_a_grant_for_a_time_does_not_follow_its_undo() {
    let rules = FOLLOWED
        .replace("#64002", "#64001")
        .replace(", \"site.follow\"]\npaths", "]\npaths")
        .replace("unconfined = true\n", "")
        .replace("approval = \"none\"", "approval = { by = [\"#64005\"] }");
    let fixture = PlanFixture::with_rules(options(), &rules);
    fixture.put("watched/a", "old");
    let own = fixture.path("watched").display().to_string();
    gives(&fixture, "plan.commit", &[&own]).expect("the approver can");
    let bundle = plan(&[fixture.write("watched/a", "new")]);
    let run = Run {
        stdin: Some(bundle.into()),
        ..change("plan.commit", &[("then", "site.follow")])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let report = caller.run(at_once(run)).expect("it may be asked for");
    let is_asked = report.state == State::AwaitingApproval;
    // Otherwise the commit and its undo.
    until("nothing waits", || {
        is_asked
            || fixture
                .daemon
                .records("unconfirmed")
                .iter()
                .any(|record| record["REMIT_VERDICT"] == "undone")
    });
    let log = fs::read_to_string(fixture.path("free/log"));
    assert!(log.is_err(), "it ran, and nobody approved it: {log:?}");
    assert!(is_asked, "{report:?}");
}

/// Commands of the file's grant that wait for a lock, and that come after it.
const GATED: &str = r##"
[[command]]
name = "site.gate"
summary = "waits for a lock"
argv = ["/usr/bin/flock", "@DIR@/free/gate", "/bin/sh", "-c", "echo gate >>@DIR@/free/log"]
effect = "change"
profile = "host"

[[command]]
name = "site.last"
summary = "comes last"
argv = ["/bin/sh", "-c", "echo last >>@DIR@/free/log"]
effect = "change"
profile = "host"
"##;

/// A commit of `old` is undone, and the second command that follows the undo waits for the lock.
struct Gated {
    fixture: PlanFixture,
    gate: fs::File,
}

impl Gated {
    /// `rules`: with the gate in them. `is_open`: while the commands follow the commit.
    fn lay(rules: &str, is_open: bool) -> Self {
        let followed = FOLLOWED.replace(
            "\"site.follow\"]",
            "\"site.follow\", \"site.gate\", \"site.last\"]",
        );
        let fixture = PlanFixture::with_rules(options(), &format!("{rules}{followed}"));
        fixture.put("watched/a", "old ");
        let gate = fs::File::create(fixture.path("free/gate")).unwrap();
        let laid = Self { fixture, gate };
        let then = ["site.follow", "site.gate", "site.last"].map(|call| ("then", call));
        let run = Run {
            stdin: Some(plan(&[laid.fixture.write("watched/a", "new ")]).into()),
            ..change("plan.commit", &then)
        };
        let mut caller = Caller::new(&laid.fixture.daemon, &user_b());
        if is_open {
            caller.run(run).expect("B needs no approval");
            laid.gate.lock().unwrap();
            laid.gate_runs(2);
        } else {
            laid.gate.lock().unwrap();
            caller.run(at_once(run)).expect("B needs no approval");
            laid.gate_runs(1);
        }
        laid
    }

    fn gate_runs(&self, times: usize) {
        let is_gate = |record: &serde_json::Value| record["REMIT_COMMAND"] == "site.gate";
        let times_run = || {
            let records = self.fixture.daemon.records("intent");
            records.iter().filter(|record| is_gate(record)).count()
        };
        until("the gate runs", || times_run() == times);
    }

    fn words(&self) -> String {
        fs::read_to_string(self.fixture.path("free/log")).unwrap_or_default()
    }

    fn ends(&self) {
        assert!(ends_within(self.fixture.daemon.pid(), 30_000), "it ends");
    }
}

#[test]
fn after_a_restart_what_was_started_follows_the_undo_and_nothing_else() {
    let mut gated = Gated::lay(GATED, false);
    assert_eq!(gated.words(), "new ");
    gated.fixture.daemon.signal(Signal::SIGKILL);
    gated.fixture.daemon.restart_insistently();
    gated.gate.unlock().unwrap();
    is_undone_to(&gated.fixture, "watched/a", "old ");
    assert_eq!(gated.words(), "new old gate\n");
}

/// A login during the first command shows nothing of what the last one does, and an undo would run beside them.
#[test]
fn nothing_confirms_or_undoes_a_commit_while_its_commands_run() {
    own_sessions();
    let gated = Gated::lay(GATED, false);
    let daemon = &gated.fixture.daemon;
    let only = || {
        let [view] = &unconfirmed(daemon)[..] else {
            panic!("it is to be confirmed");
        };
        view.clone()
    };
    let (id, login) = (only().commit_id, login!(now()));
    let refused = |why: &str| {
        let said = login.confirms(daemon, &admin(), &id).unwrap_err();
        assert!(said.contains(why), "{why:?} is not in {said}");
    };
    refused("the commands that follow it still run");
    let undo = || change("plan.undo", &[("id", &id)]);
    let busy = gated.fixture.refused(&user_a(), undo());
    assert_eq!(busy.code, Code::Busy, "{busy:?}");
    assert!(busy.message.contains("are not over"), "{busy:?}");
    std::thread::sleep(OVER);
    refused("the commands that follow it still run");
    let what = only().what;
    assert!(what.contains("the commands run that follow it"), "{what}");
    assert_eq!(
        (
            gated.fixture.read("watched/a").as_str(),
            gated.words().as_str()
        ),
        ("new ", "new ")
    );
    gated.gate.unlock().unwrap();
    until("its window begins", || only().what.contains("is undone at"));
    refused("began before the commit had ended");
    is_undone_to(&gated.fixture, "watched/a", "old ");
    assert_eq!(gated.words(), "new gate\nlast\nold gate\nlast\n");
}

/// A service must not go on with the files of a commit that was undone.
#[test]
fn stop_lets_what_follows_an_undo_finish_also_a_look() {
    let look = GATED.replacen("\"change\"", "\"read\"", 1);
    let gated = Gated::lay(&look, true);
    stops(&gated.fixture.daemon);
    gated.gate.unlock().unwrap();
    gated.ends();
    assert_eq!(gated.words(), "new gate\nlast\nold gate\nlast\n");
}

/// Commits `new ` to many files, and stops the process of their undo. `None` if it has ended before.
fn stopped_undo(fixture: &PlanFixture) -> Option<Pid> {
    fixture.put("watched/a", "old ");
    let text = "new ".repeat(2000);
    let edits = (0..100).map(|at| fixture.write(&format!("watched/{at}"), &text));
    let edits: Vec<_> = edits.chain([fixture.write("watched/a", "new ")]).collect();
    let run = Run {
        stdin: Some(plan(&edits).into()),
        ..change("plan.commit", &[("then", "site.follow")])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    let report = caller.run(run).expect("B needs no approval");
    assert_eq!(exit(&report), Some(0), "{report:?}");
    let mut undo = None;
    until("it is undone", || {
        undo = commit_process(&fixture.daemon).map(Pid::from_raw);
        undo.is_some() || fixture.read("watched/a") == "old "
    });
    undo.filter(|undo| kill(*undo, Signal::SIGSTOP).is_ok())
}

/// Sends SIGTERM, and returns once it was received.
fn stops(daemon: &Daemon) {
    daemon.signal(Signal::SIGTERM);
    let mut caller = Caller::new(daemon, &user_b());
    until("it stops", || {
        let said = caller.run(argv(&["true"]));
        said.is_err_and(|refusal| refusal.code == Code::DaemonUnavailable)
    });
}

#[test]
fn stop_during_an_undo_lets_it_finish_and_commands_follow() {
    let fixture = PlanFixture::with_rules(options(), FOLLOWED);
    let Some(undo) = stopped_undo(&fixture) else {
        return;
    };
    stops(&fixture.daemon);
    kill(undo, Signal::SIGCONT).expect("it is stopped");
    assert!(ends_within(fixture.daemon.pid(), 60_000), "it ends");
    assert_eq!(fixture.read("watched/a"), "old ");
    let log = fs::read_to_string(fixture.path("free/log"));
    assert_eq!(log.expect("it follows the commit"), "new old ");
}

#[test]
fn second_stop_during_an_undo_leaves_it_and_what_follows_to_the_next_start() {
    let mut fixture = PlanFixture::with_rules(options(), FOLLOWED);
    if stopped_undo(&fixture).is_none() {
        return;
    }
    stops(&fixture.daemon);
    fixture.daemon.signal(Signal::SIGTERM);
    assert!(ends_within(fixture.daemon.pid(), 60_000), "it ends");
    fixture.daemon.restart();
    is_undone_to(&fixture, "watched/a", "old ");
    let log = fs::read_to_string(fixture.path("free/log"));
    assert_eq!(log.expect("it follows the commit"), "new old ");
}

#[test]
fn second_stop_leaves_what_follows_an_undo_to_the_next_start() {
    let mut gated = Gated::lay(GATED, true);
    stops(&gated.fixture.daemon);
    gated.fixture.daemon.signal(Signal::SIGTERM);
    gated.ends();
    let stopped = "new gate\nlast\nold ";
    assert_eq!(gated.words(), stopped);
    gated.gate.unlock().unwrap();
    gated.fixture.daemon.restart();
    is_undone_to(&gated.fixture, "watched/a", "old ");
    assert_eq!(gated.words(), format!("{stopped}old gate\nlast\n"));
}

/// A requester who administers remit must not keep the change by it.
#[test]
fn neither_a_lock_nor_a_stop_ends_what_takes_a_commit_back() {
    let gated = Gated::lay(GATED, true);
    let daemon = &gated.fixture.daemon;
    let mut gates = daemon.records("intent").into_iter();
    let last = gates.rfind(|record| record["REMIT_COMMAND"] == "site.gate");
    let job = last.expect("it runs")["REMIT_JOB"].clone();
    let job = job.as_str().expect("it has an id").parse().unwrap();
    let stopped = daemon.administers(&admin(), AdminRequest::Stop { job, signal: None });
    let refusal = stopped.expect_err("it follows the undo");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    let next = refusal.next.unwrap_or_default();
    assert!(next.starts_with("remit confirm keeps a commit"), "{next}");
    let why = "an incident".to_owned();
    let said = does(daemon, AdminRequest::Lock { why, kill: true });
    let expect = "jobs being ended: 0; recoveries and undos by remitd that go on: 1";
    assert!(
        matches!(&said, AdminReply::Done(said) if said.contains(expect)),
        "{said:?}"
    );
    gated.gate.unlock().unwrap();
    is_undone_to(&gated.fixture, "watched/a", "old ");
    assert_eq!(gated.words(), "new gate\nlast\nold gate\nlast\n");
    let mut verdicts = daemon.records("unconfirmed").into_iter();
    assert!(verdicts.all(|record| record["REMIT_VERDICT"] != "failed"));
}

/// No recovery works while it is there. It is of another commit.
#[test]
fn damaged_journal_of_one_commit_does_not_hold_back_the_undo_of_another() {
    let mut fixture = lay();
    armed(&fixture, "watched/a");
    let journal = fixture.path("state/commits").join("0".repeat(32));
    assert!(fixture.daemon.end_alone());
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("journal"), "damaged").unwrap();
    fixture.daemon.restart();
    is_undone(&fixture, "watched/a");
    let other = plan(&[fixture.write("watched/b", "x")]);
    until("the recovery has failed", || {
        let refusal = fixture.refused(&user_b(), commit(&other));
        let why = "the recovery of commits has not worked";
        refusal.message.contains(why)
    });
    fs::remove_dir_all(&journal).unwrap();
    fixture.is_recovered();
}

/// A person has to look at it.
#[test]
fn unconfirmed_commit_with_a_failed_recovery_is_listed_as_failed() {
    let mut fixture = lay();
    let (id, _) = armed(&fixture, "watched/a");
    let journal = fixture.path("state/commits").join(id).join("journal");
    assert!(fixture.daemon.end_alone());
    // It is being applied, and its plan is cut short.
    let mut bytes = fs::read(&journal).unwrap();
    bytes[16] = b'A';
    bytes.truncate(40);
    fs::write(&journal, bytes).unwrap();
    fixture.daemon.restart();
    let why = "it was interrupted, and its recovery has not worked";
    until("it is listed", || {
        let all = unconfirmed(&fixture.daemon);
        all.iter()
            .any(|one| one.has_failed && one.what.contains(why))
    });
    let records = fixture.daemon.records("unconfirmed");
    let failed = records
        .iter()
        .filter(|record| record["REMIT_VERDICT"] == "failed");
    assert_eq!(failed.count(), 1);
}

/// A full disk must not keep a commit beyond its time.
#[test]
fn start_without_a_disk_to_write_still_undoes() {
    let mut fixture = lay();
    armed(&fixture, "watched/a");
    assert!(fixture.daemon.end_alone());
    fs::create_dir(fixture.path("state/warden/unconfirmed.new")).unwrap();
    fixture.daemon.restart();
    is_undone(&fixture, "watched/a");
}
