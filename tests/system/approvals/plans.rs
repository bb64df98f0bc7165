//! Changes of files: a plan is committed as it was shown, in the paths of a grant, all of it or nothing, and undone.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest, Grantee, NewGrant};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_edit::{Action, Edit, Found};
use remit_plan::{Base, Bundle, Kind, Metadata, OldCapabilities, PlanPath, Stat, sha256};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, at_once, cause, change, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b, user_m};
use remit_tests::process::{Identity, children};
use remit_tests::test_dir::{built, copy};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Purpose, Run};

use super::scene::{about, approve, approve_as, asks, listed, options, until};

/// The commands of the package, with this directory's program.
pub(super) const COMMANDS: &str = r##"
[[command]]
name = "plan.commit"
summary = "commits"
argv = ["@DIR@/bin/remit-commit", "commit", "@DIR@/state/commits", ["--then", "{then}"]]
effect = "change"
profile = "commits"
stdin = "plan"
args.then = { type = "string", pattern = "[!-~ ]+", max = 512, repeat = 4, optional = true }

[[command]]
name = "plan.undo"
summary = "undoes"
argv = ["@DIR@/bin/remit-commit", "undo", "@DIR@/state/commits", "{id}", "{contents}", ["--then", "{then}"]]
effect = "change"
profile = "commits"
args.contents = { type = "bool", flag = "--with-contents" }
args.id = { type = "string", pattern = "[0-9a-f]{32}" }
args.then = { type = "string", pattern = "[!-~ ]+", max = 512, repeat = 4, optional = true }

[[command]]
name = "plan.recover"
summary = "recovers"
argv = ["@DIR@/bin/remit-commit", "recover", "@DIR@/state/commits"]
effect = "change"
profile = "commits"

[profile.commits]
base = "host"
limits = { runtime = "1min", open_files = 4096 }
"##;

/// `#64001` needs an approval and may change anything, `#64002` needs none beneath `free`.
const POLICY: &str = r##"
[[command]]
name = "all.change"
summary = "changes all"
argv = ["/usr/bin/true"]
effect = "change"
profile = "host"

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["plan.commit", "plan.undo"]
approval = { by = ["#64005", "#64001", "%#64400"], expires = "10min" }

[[grant]]
name = "free"
to = ["#64002"]
allow = ["plan.commit"]
paths = ["@DIR@/free", "/etc/cron.d"]
approval = "none"

[[grant]]
name = "undoes-free"
to = ["#64002"]
allow = ["plan.undo"]
paths = ["@DIR@/free"]
approval = { by = ["#64005"] }

[[grant]]
name = "all-but-plans"
to = ["#64001", "#64002", "#64003"]
allow = ["*"]
effect = "change"
unconfined = true
"##;

pub(super) struct PlanFixture {
    pub daemon: Daemon,
}

impl PlanFixture {
    fn lay() -> Self {
        Self::with(options())
    }

    fn with(options: Options) -> Self {
        Self::with_rules(options, "")
    }

    /// With more rules.
    /// User A is asked about nothing of others, and so is an agent.
    pub fn of_agents(options: Options) -> Self {
        let policy = format!("{COMMANDS}{POLICY}").replace(", \"#64001\", \"%", ", \"%");
        Self::of(Options { policy, ..options })
    }

    pub fn with_rules(options: Options, more: &str) -> Self {
        let policy = format!("{COMMANDS}{POLICY}{more}");
        Self::of(Options { policy, ..options })
    }

    pub fn of(options: Options) -> Self {
        let daemon = Daemon::start(options);
        // Other tests have links to the program, and each new one would be a change of it.
        let program = daemon.program("remit-commit");
        fs::remove_file(&program).expect("the directory is ours");
        copy(&built().join("remit-commit"), &program);
        for name in ["files", "free", "watched"] {
            fs::create_dir(daemon.path().join(name)).expect("the directory is ours");
        }
        Self { daemon }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.daemon.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the directory is ours");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it is text")
    }

    pub fn write(&self, name: &str, text: &str) -> Edit {
        edit(self.path(name), Action::Write(text.as_bytes().to_vec()))
    }

    /// Commits without an approval, and returns the end.
    pub fn commits(&self, bundle: &[u8]) -> JobReport {
        let mut caller = Caller::new(&self.daemon, &user_b());
        caller.run(commit(bundle)).expect("B needs no approval")
    }

    pub fn asks(&self, caller: &mut Caller, bundle: &[u8]) -> JobId {
        let report = caller
            .run(at_once(commit(bundle)))
            .expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        report.job
    }

    pub fn refused(&self, user: &Identity, run: Run) -> Refusal {
        let mut caller = Caller::new(&self.daemon, user);
        caller.run(run).expect_err("it is refused")
    }

    pub fn undo(&self, id: &str) -> JobReport {
        let mut caller = Caller::new(&self.daemon, &user_a());
        let (job, _) = asks(&mut caller, "plan.undo", &[("id", id)]);
        approve(&self.daemon, job).expect("the approver can");
        caller.end_of(job)
    }

    /// Returns the bytes of all files beneath a directory, and the names of other things in it.
    pub fn tree(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path(name))
            .expect("it is there")
            .flatten();
        let read = |path: PathBuf| (path.clone(), fs::read(&path).unwrap_or_default());
        let mut all: Vec<_> = entries.map(|entry| read(entry.path())).collect();
        all.sort();
        all
    }

    /// Waits until commits are possible again: the recovery has worked.
    pub fn is_recovered(&self) {
        until("commits are recovered", || {
            let bundle = plan(&[self.write("free/probe", "x")]);
            let mut caller = Caller::new(&self.daemon, &user_b());
            match caller.run(commit(&bundle)) {
                Ok(report) => {
                    assert_eq!(exit(&report), Some(0), "{report:?}");
                    fs::remove_file(self.path("free/probe")).expect("it was made");
                    true
                }
                Err(refusal) => {
                    assert!(refusal.message.contains("recover"), "{refusal:?}");
                    false
                }
            }
        });
    }
}

pub(super) fn commit(bundle: &[u8]) -> Run {
    Run {
        stdin: Some(bundle.to_vec().into()),
        ..change("plan.commit", &[])
    }
}

pub fn edit(path: impl AsRef<Path>, action: Action) -> Edit {
    Edit {
        path: PlanPath::new(path.as_ref().as_os_str().as_encoded_bytes()).expect("a plain path"),
        action,
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    }
}

/// Returns what is at a path, as the reader of `plan.make` would.
pub(super) fn found(path: &Path) -> Option<Found> {
    let stat = stat(path)?;
    let bytes = (stat.kind == Kind::File).then(|| fs::read(path).expect("it is readable"));
    let sha256 = bytes.as_deref().map(sha256);
    let base = Base {
        stat,
        sha256,
        capabilities: OldCapabilities::Unread,
    };
    Some(Found { base, bytes })
}

pub fn stat(path: &Path) -> Option<Stat> {
    let seen = fs::symlink_metadata(path).ok()?;
    let kind = match seen.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        _ => Kind::Special,
    };
    Some(Stat {
        kind,
        dev: seen.dev(),
        ino: seen.ino(),
        ctime_ns: i128::from(seen.ctime()) * 1_000_000_000 + i128::from(seen.ctime_nsec()),
        size: seen.size(),
        meta: Metadata {
            mode: seen.mode() & 0o7777,
            uid: seen.uid(),
            gid: seen.gid(),
        },
    })
}

pub(super) fn plan(edits: &[Edit]) -> Vec<u8> {
    let planned = edits.iter().filter_map(|edit| {
        let path = String::from_utf8(edit.path.as_bytes().to_vec()).expect("it is text");
        edit.apply(found(Path::new(&path)).as_ref())
            .expect("it fits")
    });
    let bundle = remit_edit::bundle(planned.collect()).expect("a plan");
    bundle.as_bytes().to_vec()
}

pub(super) fn id_of(bundle: &[u8]) -> String {
    Bundle::decode(bundle.to_vec())
        .expect("a bundle")
        .plan()
        .id()
}

pub(super) fn exit(report: &JobReport) -> Option<i32> {
    report.ending.as_ref().and_then(|ending| ending.exit)
}

#[track_caller]
fn is_done(report: &JobReport) {
    assert_eq!(exit(report), Some(0), "{report:?}");
}

#[test]
fn plan_is_committed_as_approved_and_undone() {
    let fixture = PlanFixture::lay();
    fixture.put("files/a", "old\n");
    let inode = fs::metadata(fixture.path("files/a")).unwrap().ino();
    let bundle = plan(&[
        fixture.write("files/a", "new\n"),
        fixture.write("files/b", "made\n"),
    ]);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &bundle);
    assert_eq!(fixture.read("files/a"), "old\n");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    let (id, said) = (id_of(&bundle), stdout(&report));
    assert_eq!(exit(&report), Some(0), "{report:?}");
    assert_eq!(
        said,
        format!("done: 2 changes\nundo: remit undo {id} -m WHY\n")
    );
    assert_eq!(
        (fixture.read("files/a"), fixture.read("files/b")),
        ("new\n".into(), "made\n".into())
    );

    // The approver of an undo is shown each path.
    let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id)]);
    let shown = fixture.daemon.shows(job);
    let undoes = shown.undoes.unwrap_or_default();
    assert!(undoes.starts_with(&format!("commit {id} of ")), "{undoes}");
    let does = shown.risks.join("\n");
    let path = fixture.path("files/a").display().to_string();
    assert!(
        does.contains(&format!("'{path}' again a file of 4 bytes, sha256 ")),
        "{does}"
    );
    assert!(
        does.contains("files/b' is removed; the commit left a file of 5 bytes, sha256 "),
        "{does}"
    );
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(stdout(&report), "undone: 2 changes\n", "{report:?}");
    assert_eq!(fixture.read("files/a"), "old\n");
    assert_eq!(fs::metadata(fixture.path("files/a")).unwrap().ino(), inode);
    assert!(!fixture.path("files/b").exists());

    // Neither the commit nor the undo can be done again, and no approver is asked.
    let again = fixture.refused(&user_a(), at_once(commit(&bundle)));
    assert!(
        again.code == Code::NotStarted && again.message.contains("files/a': it has changed"),
        "{again:?}"
    );
    assert!(
        again
            .next
            .as_deref()
            .is_some_and(|next| next.starts_with("plan again")),
        "{again:?}"
    );
    let again = fixture.refused(&user_a(), at_once(change("plan.undo", &[("id", &id)])));
    assert!(
        again.message.contains("no commit with this id"),
        "{again:?}"
    );
}

/// A service starts after the commit, and makes files in directories of its package.
#[test]
fn directory_with_files_of_a_service_stays_as_the_page_of_the_undo_says() {
    let fixture = PlanFixture::lay();
    let bundle = plan(&[
        edit(fixture.path("files/log"), Action::CreateDirectory),
        edit(fixture.path("files/lib"), Action::CreateDirectory),
        fixture.write("files/unit", "made\n"),
    ]);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &bundle);
    approve(&fixture.daemon, job).expect("the approver can");
    assert_eq!(exit(&caller.end_of(job)), Some(0));
    let id = id_of(&bundle);
    let undo = |caller: &mut Caller| asks(caller, "plan.undo", &[("id", &id)]).0;

    // Something else is in it by the time of the approval: that is not what was asked for.
    let job = undo(&mut caller);
    let page = fixture.daemon.shows(job).risks.join("\n");
    assert!(
        page.contains("files/log' is removed unless something else is in it then"),
        "{page}"
    );
    fixture.put("files/log/access", "theirs\n");
    let void = approve(&fixture.daemon, job).expect_err("it is void");
    assert!(void.message.contains("its effect has changed"), "{void:?}");

    // A service manager gives it to the user of the service.
    let log = fixture.path("files/log");
    chown(&log, Some(107), Some(0)).unwrap();
    let mode = fs::metadata(&log).unwrap().mode() & 0o7777;
    let job = undo(&mut caller);
    let page = fixture.daemon.shows(job).risks.join("\n");
    let now = format!(
        "files/log' stays, as something else is in it; it is removed if that is gone then, now a directory, mode {mode:04o}, \
         owner 107:0"
    );
    assert!(page.contains(&now), "{page}");
    assert!(
        page.contains("files/lib' is removed unless something else is in it then"),
        "{page}"
    );
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    let stays = format!(
        "undone: 2 changes\n'{}': it stays, with mode {mode:04o} and owner 107:0, as something else is in it: 'access'\n",
        log.display()
    );
    assert_eq!((exit(&report), stdout(&report)), (Some(0), stays));
    assert_eq!(fixture.read("files/log/access"), "theirs\n");
    assert!(!fixture.path("files/unit").exists() && !fixture.path("files/lib").exists());
    let records = about(&fixture.daemon, job);
    let stays = format!("'{}'", log.display());
    let said = records
        .iter()
        .filter(|record| record["REMIT_UNDO_STAYS"] == stays);
    assert_eq!(said.count(), 2, "{records:?}");
}

#[test]
fn directory_of_a_service_goes_with_all_in_it_as_the_page_says() {
    let fixture = PlanFixture::lay();
    let bundle = plan(&[
        edit(fixture.path("files/lib"), Action::CreateDirectory),
        fixture.write("files/lib/table", "made\n"),
    ]);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &bundle);
    approve(&fixture.daemon, job).expect("the approver can");
    assert_eq!(exit(&caller.end_of(job)), Some(0));
    let id = id_of(&bundle);
    fixture.put("files/lib/table", "theirs\n");
    fixture.put("files/lib/journal", "theirs\n");
    let lib = fixture.path("files/lib");

    let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id)]);
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(exit(&report), Some(1), "{report:?}");
    let refused = stdout(&report);
    assert!(
        refused.contains("an undo with contents (--with-contents) takes"),
        "{refused}"
    );

    let (job, _) = asks(
        &mut caller,
        "plan.undo",
        &[("id", &id), ("contents", "true")],
    );
    let page = fixture.daemon.shows(job).risks.join("\n");
    for words in [
        "new directories of the commit go with all that others have made or changed in them by then",
        &format!("{}: what others have made in it goes, too", lib.display()),
    ] {
        assert!(page.contains(words), "{page}");
    }
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    let lib = lib.display();
    let kept = format!(
        "undone: 2 changes; '{lib}': it is kept with all that is in it, beside the journal, as '0'\n"
    );
    assert_eq!((exit(&report), stdout(&report)), (Some(0), kept));
    assert!(!fixture.path("files/lib").exists());
    let kept = fixture.path("state/commits").join(&id).join("0/journal");
    assert_eq!(fs::read_to_string(kept).unwrap(), "theirs\n");
}

#[test]
fn plan_without_an_approval_stays_in_its_paths() {
    let fixture = PlanFixture::lay();
    let free = plan(&[fixture.write("free/a", "x")]);
    let report = fixture.commits(&free);
    assert_eq!(exit(&report), Some(0), "{report:?}");
    assert_eq!(fixture.read("free/a"), "x");
    let record = about(&fixture.daemon, report.job);
    assert_eq!(record[0]["REMIT_PLAN_PATHS"], "1", "{record:?}");
    let digest = record[0]["REMIT_PLAN_DIGEST"].as_str().unwrap();
    assert!(digest.starts_with(&id_of(&free)), "{record:?}");
    let changes = record[0]["REMIT_PLAN_CHANGES"].as_str().unwrap();
    let expect = format!("'{}': new file, mode ", fixture.path("free/a").display());
    assert!(changes.starts_with(&expect), "{record:?}");

    // One path of several is enough.
    let other = plan(&[fixture.write("free/b", "x"), fixture.write("files/b", "x")]);
    let refusal = fixture.refused(&user_b(), commit(&other));
    assert_eq!(refusal.code, Code::DeniedRule);
    assert!(
        refusal.message.contains("granted only with paths: "),
        "{refusal:?}"
    );
    assert!(refusal.message.contains("files/b'"), "{refusal:?}");
    let prefix = plan(&[fixture.write("free2", "x")]);
    assert_eq!(
        fixture.refused(&user_b(), commit(&prefix)).code,
        Code::DeniedRule
    );

    // In its paths, but worse than its bytes.
    let cron = plan(&[edit("/etc/cron.d/remit-test", Action::Write(b"x".to_vec()))]);
    let refusal = fixture.refused(&user_b(), commit(&cron));
    assert!(
        refusal
            .message
            .contains("without an approval cannot change"),
        "{refusal:?}"
    );
    assert!(!Path::new("/etc/cron.d/remit-test").exists());
    let setuid = Edit {
        mode: Some(0o4755),
        ..fixture.write("free/s", "x")
    };
    let refusal = fixture.refused(&user_b(), commit(&plan(std::slice::from_ref(&setuid))));
    assert!(refusal.message.contains("set-id"), "{refusal:?}");
    assert!(!fixture.path("free/b").exists() && !fixture.path("free/s").exists());

    // An approver may want that.
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, &plan(&[setuid]));
    approve(&fixture.daemon, job).expect("the approver can");
    is_done(&caller.end_of(job));
    assert_eq!(
        fs::metadata(fixture.path("free/s")).unwrap().mode() & 0o7777,
        0o4755
    );
}

/// Gives A a grant for a time as an approver: of this command within these paths of the test's directory.
pub(super) fn gives(fixture: &PlanFixture, what: &str, paths: &[&str]) -> Result<u64, Refusal> {
    let new = NewGrant {
        to: Grantee::User {
            name: "a".into(),
            uid: user_a().uid,
        },
        what: what.into(),
        args: Vec::new(),
        for_s: 600,
        uses: None,
        across_reboot: false,
        paths: paths.iter().map(ToString::to_string).collect(),
    };
    match fixture.daemon.administers(
        &admin(),
        AdminRequest::Grant {
            new,
            accepts_paths: false,
        },
    )? {
        AdminReply::Granted(granted) => Ok(granted.grant),
        other => panic!("{other:?}"),
    }
}

#[test]
fn grant_for_a_time_with_paths_covers_plans_without_risk() {
    let fixture = PlanFixture::lay();
    let own = fixture.path("files").display().to_string();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let inside = plan(&[fixture.write("files/a", "x")]);
    let starts_at_once =
        |caller: &mut Caller, bundle: &[u8]| match caller.run(at_once(commit(bundle))) {
            Ok(report) if report.state == State::AwaitingApproval => {
                let no = AdminRequest::Deny {
                    job: report.job,
                    why: "a test".into(),
                };
                fixture.daemon.administer(no).expect("the approver can");
                false
            }
            Ok(report) => exit(&caller.end_of(report.job)) == Some(0),
            Err(refusal) => panic!("{refusal:?}"),
        };
    assert!(
        !starts_at_once(&mut caller, &inside),
        "nothing is granted yet"
    );
    let grant = gives(&fixture, "plan.commit", &[&own, "/etc/cron.d"]).expect("it may be given");
    assert!(starts_at_once(&mut caller, &inside));
    assert_eq!(fixture.read("files/a"), "x");
    // Another path, a prefix of a name, and one path of two.
    let outside = plan(&[fixture.write("free/a", "x")]);
    let prefix = plan(&[fixture.write("files2", "x")]);
    let both = plan(&[fixture.write("files/b", "x"), fixture.write("free/b", "x")]);
    // Within its paths, but an approver would be shown a risk.
    let cron = plan(&[edit("/etc/cron.d/remit-test", Action::Write(b"x".to_vec()))]);
    let set_id = plan(&[Edit {
        mode: Some(0o4755),
        ..fixture.write("files/s", "x")
    }]);
    for bundle in [&outside, &prefix, &both, &cron, &set_id] {
        assert!(!starts_at_once(&mut caller, bundle));
    }
    for name in ["free/a", "files2", "files/b", "files/s"] {
        assert!(!fixture.path(name).exists(), "{name}");
    }
    // What no plan may change is refused, and an undo is approved each time.
    let state = fixture.path("state/x");
    gives(
        &fixture,
        "plan.commit",
        &[&fixture.path("state").display().to_string()],
    )
    .expect("it may be given");
    let protected = plan(&[edit(&state, Action::Write(b"x".to_vec()))]);
    let refusal = fixture.refused(&user_a(), commit(&protected));
    assert!(
        refusal.message.contains("no plan can change"),
        "{refusal:?}"
    );
    let (undo, _) = asks(&mut caller, "plan.undo", &[("id", &id_of(&inside))]);
    assert_eq!(fixture.read("files/a"), "x");
    approve(&fixture.daemon, undo).expect("the approver can");
    is_done(&caller.end_of(undo));
    // It is A's, and ends when it is revoked.
    let other = fixture.refused(&user_b(), commit(&inside));
    assert_eq!(other.code, Code::DeniedRule, "{other:?}");
    let revoke = AdminRequest::Revoke { grant: Some(grant) };
    fixture.daemon.administer(revoke).expect("the approver can");
    assert!(!starts_at_once(&mut caller, &inside));
}

#[test]
fn paths_are_for_the_whole_name_of_a_command_that_commits() {
    let fixture = PlanFixture::lay();
    let own = fixture.path("files").display().to_string();
    for (what, paths, why) in [
        ("plan.undo", &[own.as_str()][..], "only that takes paths"),
        ("plan.recover", &[&own], "only that takes paths"),
        ("plan.*", &[&own], "only that takes paths"),
        ("*", &[&own], "only that takes paths"),
        ("all.change", &[&own], "only that takes paths"),
        ("plan.commit", &[], "without a sandbox"),
        ("plan.commit", &["files"], "not an absolute path"),
        ("plan.commit", &["/etc/../srv"], "not an absolute path"),
        ("plan.commit", &["/"], "not an absolute path"),
        ("plan.commit", &["/srv\n"], "not an absolute path"),
        ("plan.commit", &["/srv"; 65], "at most 64 paths"),
    ] {
        let refusal = gives(&fixture, what, paths).expect_err("it is refused");
        assert!(
            refusal.message.contains(why),
            "{what} {paths:?}: {refusal:?}"
        );
    }
}

#[test]
fn grant_with_paths_holds_over_a_restart() {
    let mut fixture = PlanFixture::lay();
    let own = fixture.path("files").display().to_string();
    gives(&fixture, "plan.commit", &[&own]).expect("it may be given");
    fixture.daemon.restart_cleanly();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let report = caller.run(commit(&plan(&[fixture.write("files/a", "x")])));
    is_done(&report.expect("it is granted"));
    let outside = commit(&plan(&[fixture.write("free/a", "x")]));
    let report = caller.run(at_once(outside)).expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
}

#[test]
fn pattern_grants_no_plan_and_other_input_is_none() {
    let fixture = PlanFixture::lay();
    let bundle = plan(&[fixture.write("files/a", "x")]);
    // Its grant has allow = ["*"], effect = "change" and unconfined = true.
    let refusal = fixture.refused(&user_m(), commit(&bundle));
    assert_eq!(refusal.code, Code::NotFound, "{refusal:?}");
    let undo = fixture.refused(&user_m(), change("plan.undo", &[("id", &id_of(&bundle))]));
    assert_eq!(undo.code, Code::NotFound, "{undo:?}");
    let mut caller = Caller::new(&fixture.daemon, &user_m());
    assert!(caller.run(change("all.change", &[])).is_ok());

    let mut damaged = bundle.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (input, words) in [
        (damaged.as_slice(), "another hash"),
        (&bundle[..bundle.len() - 1], "as many bytes"),
        (b"", "it is cut"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", "it is cut"),
    ] {
        let refusal = fixture.refused(&user_a(), commit(input));
        assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
        assert!(refusal.message.contains(words), "{refusal:?}");
    }
    let none = fixture.refused(&user_a(), change("plan.commit", &[]));
    assert!(
        none.message
            .contains("standard input is not a plan: there is none"),
        "{none:?}"
    );
    assert!(!fixture.path("files/a").exists());
}

#[test]
fn nothing_of_remit_or_its_approvers_is_changed() {
    let accounts = Accounts {
        users: vec![
            ("bob", 64_005),
            ("eve", 64_001),
            ("carl", 64_006),
            ("dave", 64_009),
        ],
        groups: vec![
            ("approvers", 64_400, vec!["carl"]),
            ("admins", 64_200, vec!["bob"]),
        ],
        directory: Vec::new(),
    };
    let fixture = PlanFixture::with(Options {
        accounts: Some(accounts),
        ..options()
    });
    let own = |name: &str| fixture.path(name).display().to_string();
    let text = |path: &str, text: &str| edit(path, Action::Write(text.as_bytes().to_vec()));
    for path in [
        own("state/commits/x"),
        own("state/audit.jsonl"),
        own("config/policy.d/99-mine.toml"),
        own("vendor/policy.d/99-mine.toml"),
        "/usr/libexec/remit/remitd".to_owned(),
        "/etc/systemd/system/remitd.service.d/x.conf".to_owned(),
        "/usr/bin/mcp-shim".to_owned(),
        "/etc/ssh/sshd_config.d/remit.conf".to_owned(),
        "/proc/sys/kernel/core_pattern".to_owned(),
        "/run/x".to_owned(),
        // The home of these accounts is '/'.
        "/.ssh/authorized_keys".to_owned(),
        "/var/spool/cron/crontabs/carl".to_owned(),
    ] {
        let made = remit_edit::bundle(vec![text(&path, "x").apply(None).unwrap().unwrap()]);
        let refusal = fixture.refused(&user_a(), at_once(commit(made.unwrap().as_bytes())));
        assert_eq!(refusal.code, Code::DeniedRule, "{path}: {refusal:?}");
        assert!(
            refusal.message.contains("no plan can change"),
            "{path}: {refusal:?}"
        );
        assert!(
            refusal.message.contains(&format!("'{path}'")),
            "{refusal:?}"
        );
    }
    // Accounts by their lines: what is there is not compared before that.
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 1,
        ctime_ns: 1,
        size: 0,
        meta: Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
        },
    };
    let replaced = |path: &str, old: &str, new: &str| {
        let stat = Stat {
            size: old.len() as u64,
            ..stat
        };
        let sha256 = Some(sha256(old.as_bytes()));
        let base = Base {
            stat,
            sha256,
            capabilities: OldCapabilities::Unread,
        };
        let bytes = Some(old.as_bytes().to_vec());
        let planned = text(path, new).apply(Some(&Found { base, bytes })).unwrap();
        remit_edit::bundle(vec![planned.unwrap()]).unwrap()
    };
    let (passwd, group) = ("/etc/passwd", "/etc/group");
    for (path, old, new, is_refused) in [
        (
            passwd,
            "bob:x:64005:1::/:/bin/sh\n",
            "bob::64005:1::/:/bin/sh\n",
            true,
        ),
        (passwd, "carl:x:64006:1::/:/bin/sh\n", "", true),
        (passwd, "", "mallory:x:64005:1::/:/bin/sh\n", true),
        (
            group,
            "approvers:x:64400:carl\n",
            "approvers:x:64400:carl,eve\n",
            true,
        ),
        (
            group,
            "admins:x:64200:bob\n",
            "admins:x:64200:bob,eve\n",
            true,
        ),
        (group, "", "other:x:64200:eve\n", true),
        (
            passwd,
            "dave:x:64009:1::/:/bin/sh\n",
            "dave:x:64009:1::/home:/bin/sh\n",
            false,
        ),
        (group, "staff:x:50:\n", "staff:x:50:eve\n", false),
    ] {
        let bundle = replaced(path, old, new);
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let asked = caller.run(at_once(commit(bundle.as_bytes())));
        let refusal = asked.expect_err("its base is no file of this computer");
        // What affects no approver is refused only for that.
        let why = match is_refused {
            true => "somebody who approves",
            false => "it is another file",
        };
        assert!(refusal.message.contains(why), "{new}: {refusal:?}");
    }
}

#[test]
fn requester_approves_nothing_and_no_other_bytes_are_committed() {
    let fixture = PlanFixture::lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let one = fixture.asks(&mut caller, &plan(&[fixture.write("files/a", "one")]));
    let other = fixture.asks(&mut caller, &plan(&[fixture.write("files/a", "two")]));
    let digests = [one, other].map(|job| listed(&fixture.daemon, job).digest);
    assert_ne!(digests[0], digests[1]);
    // The rule names the requester.
    let own = Identity::new(64_001, &[64_000, 64_200]);
    let refusal = approve_as(&fixture.daemon, &own, one, digests[0]).expect_err("it is its own");
    assert_ne!(refusal.code, Code::InvalidArgs, "{refusal:?}");
    let refusal = approve_as(&fixture.daemon, &admin(), one, digests[1]).expect_err("other bytes");
    assert!(refusal.message.contains("not the digest"), "{refusal:?}");
    assert!(!fixture.path("files/a").exists());
    approve(&fixture.daemon, other).expect("the approver can");
    is_done(&caller.end_of(other));
    assert_eq!(fixture.read("files/a"), "two");
    // The base of the other one is gone.
    approve(&fixture.daemon, one).expect("the approver can");
    let late = caller.end_of(one);
    assert_eq!(exit(&late), Some(1), "{late:?}");
    assert!(stdout(&late).contains("nothing was changed: "), "{late:?}");
    assert_eq!(fixture.read("files/a"), "two");
}

#[test]
fn request_for_the_same_names_the_earlier_one() {
    let fixture = PlanFixture::lay();
    let bundle = plan(&[fixture.write("files/a", "x")]);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut asks = |reason: &str| {
        let purpose = Purpose::Change {
            reason: reason.to_owned(),
        };
        let run = Run {
            purpose,
            ..at_once(commit(&bundle))
        };
        let report = caller.run(run).expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        report
    };
    let first = asks("it is due");
    assert!(first.notes.is_empty(), "{first:?}");
    let again = asks("in other words");
    assert_ne!(again.job, first.job);
    let [note] = &again.notes[..] else {
        panic!("{again:?}");
    };
    assert!(
        note.contains(&format!("as {}, since ", first.job)),
        "{note}"
    );
}

#[test]
fn file_that_changed_since_the_plan_stays() {
    let fixture = PlanFixture::lay();
    fixture.put("files/a", "old");
    fixture.put("files/b", "old");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let bundle = plan(&[
        fixture.write("files/a", "new"),
        fixture.write("files/b", "new"),
    ]);
    let job = fixture.asks(&mut caller, &bundle);
    fixture.put("files/b", "of others");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(exit(&report), Some(1), "{report:?}");
    assert!(
        stdout(&report).contains("files/b': its size has changed"),
        "{report:?}"
    );
    assert_eq!(
        (fixture.read("files/a"), fixture.read("files/b")),
        ("old".into(), "of others".into())
    );
}

/// A later commit of the path is in the way, and the newest can be undone.
#[test]
fn undo_of_an_older_commit_is_refused_until_the_later_one_is_undone() {
    let fixture = PlanFixture::lay();
    fixture.put("free/a", "0");
    let commits = ["1", "2"].map(|text| {
        let bundle = plan(&[fixture.write("free/a", text)]);
        assert_eq!(exit(&fixture.commits(&bundle)), Some(0));
        id_of(&bundle)
    });
    let [older, newer] = &commits;
    let refusal = fixture.refused(&user_a(), change("plan.undo", &[("id", older)]));
    assert!(
        refusal.message.contains("free/a': it is another file"),
        "{refusal:?}"
    );
    // The later commit is of another user.
    assert!(!format!("{refusal:?}").contains(newer), "{refusal:?}");
    let next = refusal.next.as_deref().unwrap_or_default();
    assert!(next.starts_with("undo a later commit"), "{refusal:?}");
    for (id, left) in [(newer, "1"), (older, "0")] {
        assert_eq!(exit(&fixture.undo(id)), Some(0));
        assert_eq!(fixture.read("free/a"), left);
    }
}

#[test]
fn undo_needs_what_the_commit_left() {
    let fixture = PlanFixture::lay();
    fixture.put("free/a", "old");
    let bundle = plan(&[fixture.write("free/a", "new")]);
    assert_eq!(exit(&fixture.commits(&bundle)), Some(0));
    // Another user's commit, and another one's edit.
    let id = id_of(&bundle);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id)]);
    fixture.put("free/a", "of others");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(exit(&report), Some(1), "{report:?}");
    let refusal = fixture.refused(&user_a(), change("plan.undo", &[("id", &id)]));
    assert!(
        refusal.message.contains("free/a': its size has changed") && refusal.next.is_some(),
        "{refusal:?}"
    );
    assert_eq!(fixture.read("free/a"), "of others");

    // Whose rule has other paths does not undo it, whoever would approve.
    let bundle = plan(&[fixture.write("files/c", "x")]);
    let job = fixture.asks(&mut caller, &bundle);
    approve(&fixture.daemon, job).expect("the approver can");
    is_done(&caller.end_of(job));
    let id = id_of(&bundle);
    let refusal = fixture.refused(&user_b(), change("plan.undo", &[("id", &id)]));
    assert!(
        refusal.message.contains("is granted only with paths"),
        "{refusal:?}"
    );
    let own = plan(&[fixture.write("free/d", "x")]);
    assert_eq!(exit(&fixture.commits(&own)), Some(0));
    let mut other = Caller::new(&fixture.daemon, &user_b());
    let (job, _) = asks(&mut other, "plan.undo", &[("id", &id_of(&own))]);
    approve(&fixture.daemon, job).expect("the approver can");
    is_done(&other.end_of(job));
    assert!(!fixture.path("free/d").exists() && fixture.path("files/c").exists());
    for id in [
        "0".repeat(32),
        "../../../../../../../etc/passwd0".to_owned(),
    ] {
        let refusal = fixture.refused(&user_a(), change("plan.undo", &[("id", &id)]));
        assert!(
            matches!(refusal.code, Code::NotStarted | Code::InvalidArgs),
            "{refusal:?}"
        );
    }
}

/// No member of a group is in the digest of the policy. A commit is judged again by its plan.
#[test]
fn undo_is_void_once_other_people_approve() {
    let accounts = |approvers| Accounts {
        users: vec![("bob", 64_005), ("eve", 64_001), ("carl", 64_006)],
        groups: vec![
            ("approvers", 64_400, approvers),
            ("admins", 64_200, vec!["bob"]),
        ],
        directory: Vec::new(),
    };
    let mut fixture = PlanFixture::with(Options {
        accounts: Some(accounts(Vec::new())),
        ..options()
    });
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let bundle = plan(&[fixture.write("files/a", "x")]);
    let job = fixture.asks(&mut caller, &bundle);
    approve(&fixture.daemon, job).expect("the approver can");
    is_done(&caller.end_of(job));
    let id = id_of(&bundle);
    let (undo, _) = asks(&mut caller, "plan.undo", &[("id", &id)]);
    let other = fixture.asks(&mut caller, &plan(&[fixture.write("files/b", "x")]));
    let loads = |fixture: &PlanFixture| {
        let reloaded = fixture.daemon.administers(&admin(), AdminRequest::Reload);
        reloaded.expect("the policy is right");
    };
    loads(&fixture);
    listed(&fixture.daemon, undo);
    fixture.daemon.set_accounts(accounts(vec!["carl"]));
    loads(&fixture);
    let refused = approve(&fixture.daemon, undo).expect_err("carl approves now");
    assert_eq!(refused.code, Code::ApprovalVoid, "{refused:?}");
    assert_eq!(caller.end_of(undo).state, State::Denied);
    assert_eq!(fixture.read("files/a"), "x");
    approve(&fixture.daemon, other).expect("no approver has this path");
    is_done(&caller.end_of(other));
    // Asked for again, it is judged by what is protected now.
    is_done(&fixture.undo(&id));
    assert!(!fixture.path("files/a").exists());
}

/// Files with much to write, so that a kill hits each part of the work.
pub(super) fn many(fixture: &PlanFixture, dir: &str, round: usize) -> Vec<u8> {
    let text = |at: usize| format!("round {round} file {at}\n").repeat(200);
    let edits: Vec<Edit> = (0..100)
        .map(|at| fixture.write(&format!("{dir}/{at}"), &text(at)))
        .collect();
    plan(&edits)
}

pub(super) fn commit_process(daemon: &Daemon) -> Option<i32> {
    let mut all = children(daemon.pid()).into_iter();
    all.find(|process| process.name == "remit-commit" && process.state != 'Z')
        .map(|process| process.pid)
}

#[test]
fn kill_in_the_middle_leaves_the_old_or_the_new_tree() {
    let fixture = PlanFixture::lay();
    let (mut old, mut new) = (0, 0);
    // On a busy machine the first kills may all come too late.
    for round in 0..60_usize {
        if round >= 12 && old > 0 {
            break;
        }
        let before = fixture.tree("free");
        let bundle = many(&fixture, "free", round);
        let mut caller = Caller::new(&fixture.daemon, &user_b());
        let job = caller
            .run(at_once(commit(&bundle)))
            .expect("B needs no approval")
            .job;
        until("it runs", || {
            commit_process(&fixture.daemon).is_some() || has_ended(&mut caller, job)
        });
        std::thread::sleep(Duration::from_millis(round as u64 % 12 * 4));
        if let Some(pid) = commit_process(&fixture.daemon) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let report = caller.end_of(job);
        fixture.is_recovered();
        let after = fixture.tree("free");
        match after == before {
            true => old += 1,
            false => {
                new += 1;
                assert!(
                    after.len() == 100,
                    "{round}: {} of 100: {report:?}",
                    after.len()
                );
                let text = format!("round {round} file");
                let is_new = |(_, bytes): &(PathBuf, Vec<u8>)| bytes.starts_with(text.as_bytes());
                assert!(after.iter().all(is_new), "round {round}: a mix: {report:?}");
            }
        }
    }
    println!("kills: {old} old trees, {new} new ones");
    let is_recovery = |record: &serde_json::Value| {
        record["REMIT_RULE"] == "recovery of commits" && record["REMIT_EVENT"] == "end"
    };
    assert!(
        old > 0 && fixture.daemon.audit().iter().any(is_recovery),
        "{old} {new}"
    );
}

fn has_ended(caller: &mut Caller, job: JobId) -> bool {
    let report = caller.job(job, 0).expect("the job is ours");
    report.state != State::Running && !report.state.is_waiting()
}

#[test]
fn daemon_killed_in_the_middle_recovers_at_its_next_start() {
    let mut fixture = PlanFixture::lay();
    for round in 0..4_usize {
        let before = fixture.tree("free");
        let bundle = many(&fixture, "free", round);
        let mut caller = Caller::new(&fixture.daemon, &user_b());
        let report = caller.run(at_once(commit(&bundle)));
        let job = report.expect("B needs no approval").job;
        until("it runs", || {
            commit_process(&fixture.daemon).is_some() || has_ended(&mut caller, job)
        });
        std::thread::sleep(Duration::from_millis(round as u64 * 8));
        fixture.daemon.signal(Signal::SIGKILL);
        fixture.daemon.restart_insistently();
        fixture.is_recovered();
        let after = fixture.tree("free");
        let text = format!("round {round} file");
        let is_new = |(_, bytes): &(PathBuf, Vec<u8>)| bytes.starts_with(text.as_bytes());
        let is_all_new = after.len() == 100 && after.iter().all(is_new);
        assert!(after == before || is_all_new, "round {round}: a mix");
    }
}

#[test]
fn of_two_commits_at_once_each_is_whole() {
    let fixture = PlanFixture::lay();
    for round in 0..4_usize {
        let bundle = many(&fixture, "free", round);
        let other = plan(&[fixture.write("free/other", &format!("{round}"))]);
        let mut callers = [
            Caller::new(&fixture.daemon, &user_b()),
            Caller::new(&fixture.daemon, &user_b()),
        ];
        let jobs: Vec<JobId> = callers
            .iter_mut()
            .zip([&bundle, &other])
            .map(|(caller, bundle)| caller.run(at_once(commit(bundle))).expect("B may").job)
            .collect();
        for (caller, job) in callers.iter_mut().zip(jobs) {
            let report = caller.end_of(job);
            let said = stdout(&report);
            let is_locked = said.contains("another commit, undo or recovery runs");
            assert!(exit(&report) == Some(0) || is_locked, "{report:?}");
            assert!(cause(&report).starts_with("exited"), "{report:?}");
        }
    }
    let tree = fixture.tree("free");
    let starts: Vec<String> = tree
        .iter()
        .filter(|(path, _)| !path.ends_with("other"))
        .map(|(_, bytes)| String::from_utf8_lossy(&bytes[..7]).into_owned())
        .collect();
    assert!(
        starts.windows(2).all(|pair| pair[0] == pair[1]),
        "a mix: {starts:?}"
    );
    is_done(&fixture.commits(&plan(&[fixture.write("free/last", "x")])));
}

#[test]
fn commit_starts_after_a_recovery_that_works() {
    let mut fixture = PlanFixture::lay();
    let journal = fixture.path("state/commits").join("0".repeat(32));
    assert!(fixture.daemon.end_alone());
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("journal"), "damaged").unwrap();
    fixture.daemon.restart();
    let bundle = plan(&[fixture.write("free/a", "x")]);
    until("the recovery has failed", || {
        let refusal = fixture.refused(&user_b(), commit(&bundle));
        refusal
            .message
            .contains("the recovery of commits has not worked")
    });
    assert!(!fixture.path("free/a").exists());
    fs::remove_dir_all(&journal).unwrap();
    // A request starts it again, some seconds after the last one.
    fixture.is_recovered();
}
