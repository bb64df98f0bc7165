//! Files named by arguments: the approved content is what runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use remit_common::caps;
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_page::{ShownRequest, Verified};
use remit_tests::caller::{Caller, argv, at_once, cause, change, stdout};
use remit_tests::daemon::{
    ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_a, user_b,
};
use remit_tests::process::Identity;
use remit_wire::client;
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Purpose, Run};

use super::scene::{approve, asks, code, events, options};

/// Commands about files in a directory. `own` belongs to user A, all others to root.
struct FilesFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl FilesFixture {
    fn lay(jobs: usize) -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-files-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::create_dir(dir.join("hidden")).expect("it is ours");
        let policy = policy(&dir);
        let options = Options {
            policy,
            jobs,
            ..options()
        };
        let daemon = Daemon::start(options);
        Self { dir, daemon }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("it is ours");
        if name == "own" {
            chown(&path, Some(64_001), Some(64_001)).expect("the tests run as root");
        }
        path
    }

    fn value(&self, name: &str, file: &str) -> String {
        match name {
            "file.text" => file.to_owned(),
            _ => self.dir.join(file).display().to_string(),
        }
    }

    fn change(&self, name: &str, file: &str) -> Run {
        at_once(change(name, &[("file", &self.value(name, file))]))
    }

    fn asks(&self, caller: &mut Caller, name: &str, file: &str) -> JobId {
        asks(caller, name, &[("file", &self.value(name, file))]).0
    }

    fn show(&self, job: JobId) -> ShownRequest {
        self.daemon.shows(job)
    }

    fn files(&self, job: JobId) -> Vec<(String, String)> {
        let files = self.show(job).files.into_iter();
        files.map(|file| (file.what, hex(&file.sha256))).collect()
    }

    fn approved_after(
        &self,
        name: &str,
        file: &str,
        meanwhile: impl FnOnce(&Path),
    ) -> (JobReport, Vec<String>) {
        let mut caller = Caller::new(&self.daemon, &user_a());
        let job = self.asks(&mut caller, name, file);
        meanwhile(&self.dir.join(file));
        let _ = approve(&self.daemon, job);
        let report = caller.end_of(job);
        (report, events(&self.daemon, job))
    }
}

impl Drop for FilesFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn policy(dir: &Path) -> String {
    let dir = dir.display();
    let command = |name: &str, profile: &str, program: &str, file: &str| {
        format!(
            "[[command]]\nname = \"file.{name}\"\nsummary = \"shows a file\"\nargv = [\"{program}\", \"{{file}}\"]\n\
             effect = \"change\"\nprofile = \"{profile}\"\ncwd = \"{dir}\"\nargs.file = {{ {file} }}\n\n"
        )
    };
    let path = |more: &str| format!("type = \"path\", under = \"{dir}\", {more}");
    [
        command("open", "files", "/usr/bin/cat", &path("is = \"file\", pass = \"descriptor\"")),
        command("name", "files", "/usr/bin/cat", &path("is = \"file\", pass = \"path\"")),
        command("any", "files", "/usr/bin/ls", &path("is = \"either\", pass = \"descriptor\"")),
        command("text", "files", "/usr/bin/cat", "type = \"string\", pattern = \"[a-z/]+\""),
        command("private", "private", "/usr/bin/cat", &path("is = \"file\", pass = \"descriptor\"")),
        command("blind", "strict", "/usr/bin/cat", &path("is = \"file\", pass = \"descriptor\"")),
        format!(
            "[profile.files]\nbase = \"strict\"\nread = [\"{dir}\"]\n\n[profile.private]\nbase = \"strict\"\n\
             read = [\"{dir}\"]\nuser = \"root\"\n\n[[grant]]\nname = \"files\"\n\
             to = [\"#64001\"]\nallow = [\"file.*\"]\neffect = \"change\"\napproval = {{ by = [\"#64005\"] }}\n\n\
             [[grant]]\nname = \"runs\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"files\"\n\
             approval = {{ by = [\"#64005\"] }}\n\n\
             [[grant]]\nname = \"looks\"\nto = [\"#64002\"]\nallow = [\"run\"]\napproval = \"none\"\n"
        ),
    ]
    .concat()
}

/// SHA-256 of "good=1" and a newline.
const GOOD: &str = "bab123fb448ffbf357550cb56535ad41dcd3f261f121a7ee49f14aeb2f04b5c5";

#[test]
fn w04_job_gets_copy_of_shown_file() {
    let fixture = FilesFixture::lay(16);
    fixture.file("own", "good=1\n");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, "file.open", "own");
    let files = fixture.files(job);
    assert_eq!(
        files.last(),
        Some(&("argument 1, in a copy".to_owned(), GOOD.to_owned()))
    );
    // The file is the requester's and now differs from what was requested.
    fixture.file("own", "evil=1\n");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::Exited, "good=1\n"),
        "{report:?}"
    );
}

#[test]
fn w04_replaced_file_keeps_copy_and_link_is_refused() {
    let fixture = FilesFixture::lay(16);
    fixture.file("own", "good=1\n");
    let (report, _) = fixture.approved_after("file.open", "own", |path| {
        fs::write(path.with_extension("new"), "evil=1\n").expect("it is ours");
        fs::rename(path.with_extension("new"), path).expect("it is ours");
    });
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    let (report, _) = fixture.approved_after("file.open", "own", |path| {
        fs::remove_file(path).expect("it is ours");
        symlink("/etc/passwd", path).expect("it is ours");
    });
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, "")
    );
}

#[test]
fn w04_hidden_file_is_not_copied() {
    let fixture = FilesFixture::lay(16);
    fixture.file("plain", "good=1\n");
    let (report, _) = fixture.approved_after("file.blind", "plain", |_| {});
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, "")
    );
    let path = fixture.file("secret", "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let refusal = Caller::new(&fixture.daemon, &user_a())
        .run(fixture.change("file.open", "secret"))
        .expect_err("the job cannot read it");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
}

/// What the job alone may read is read by its possible approvers alone.
#[test]
fn content_of_a_private_copy_is_for_possible_approvers() {
    let fixture = FilesFixture::lay(16);
    let path = fixture.file("secret", "launch code\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let requester = Identity::new(64_001, &[SOCKET_GROUP, ADMIN_GROUP]);
    let mut caller = Caller::new(&fixture.daemon, &requester);
    let job = fixture.asks(&mut caller, "file.private", "secret");
    let shows = |user: &Identity| {
        let (user, socket) = (user.clone(), fixture.daemon.runtime().admin_socket());
        let ask = move || {
            user.adopt().expect("the tests run as root");
            client::show(&socket, job.to_string())
        };
        let answer = std::thread::spawn(ask).join().expect("no panic");
        let answer = answer.expect("it waits");
        let is_there = answer.windows(11).any(|part| part == b"launch code");
        let verified = Verified::from_answer(&answer).expect("it is whole");
        (is_there, verified.is_withheld())
    };
    let records = || fixture.daemon.records("shown");
    for other in [&requester, &other_admin()] {
        assert_eq!(shows(other), (false, true), "{other:?}");
        let said = fixture.daemon.remit(other, &["approve", &job.to_string()]);
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(errors.contains("nothing was approved"), "{errors}");
    }
    assert_eq!(records().len(), 0);
    let root = Identity::new(0, &[]);
    for (count, reader) in [(1, &admin()), (2, &root)] {
        // Once more, which is no news for the audit log.
        for _ in 0..2 {
            assert_eq!(shows(reader), (true, false), "{reader:?}");
        }
        let last = records().pop().expect("it is recorded");
        assert_eq!(records().len(), count);
        assert_eq!(last["REMIT_UID"], reader.uid.to_string());
        assert_eq!(last["REMIT_JOB"], job.to_string());
    }
    approve(&fixture.daemon, job).expect("the approver can");
    assert_eq!(stdout(&caller.end_of(job)), "launch code\n");
}

#[test]
fn w04_file_passed_by_name_is_bound_by_content() {
    let fixture = FilesFixture::lay(16);
    fixture.file("plain", "good=1\n");
    let (report, _) = fixture.approved_after("file.name", "plain", |_| {});
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    let (report, events) = fixture.approved_after("file.name", "plain", |path| {
        fs::write(path, "evil=1\n").expect("it is ours");
    });
    assert_eq!(code(&report), "approval_void", "{report:?}");
    assert_eq!(events, ["asked", "void"]);
    // The requester could change this file after the approval.
    fixture.file("own", "good=1\n");
    let refusal = Caller::new(&fixture.daemon, &user_a())
        .run(fixture.change("file.name", "own"))
        .expect_err("it may change");
    assert!(
        refusal.message.contains("because it may change"),
        "{refusal:?}"
    );
    assert!(
        refusal.message.contains("pass = \"descriptor\""),
        "{refusal:?}"
    );
}

#[test]
fn w04_unbound_path_is_listed_as_risk() {
    let fixture = FilesFixture::lay(16);
    fixture.file("own", "good=1\n");
    fixture.file("plain", "good=1\n");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let risks = |job| fixture.show(job).risks.join("\n");
    let job = fixture.asks(&mut caller, "file.any", "hidden");
    assert!(
        risks(job).contains("argument 1 is a directory"),
        "{}",
        risks(job)
    );
    let whole = fixture.dir.join("own").display().to_string();
    for word in ["own", whole.as_str()] {
        let run = Run {
            profile: Some("files".into()),
            cwd: Some(fixture.dir.display().to_string().into_bytes().into()),
            purpose: Purpose::Use,
            ..at_once(argv(&["cat", word]))
        };
        let report = caller.run(run).expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        let said = risks(report.job);
        assert!(
            said.contains("argument 1 names a file whose content is not part"),
            "{said}"
        );
    }
    let job = fixture.asks(&mut caller, "file.text", "plain");
    let files = fixture.files(job);
    assert_eq!(
        files.last(),
        Some(&("argument 1".to_owned(), GOOD.to_owned()))
    );
    fixture.file("plain", "evil=1\n");
    let refusal = approve(&fixture.daemon, job).expect_err("it has changed");
    assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
}

#[test]
fn w04_a_copy_has_its_bound() {
    let fixture = FilesFixture::lay(16);
    for (more, taken) in [(0, true), (1, false)] {
        fixture.file("own", vec![b'x'; caps::COPIED_FILE + more]);
        let run = fixture.change("file.open", "own");
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        match (caller.run(run), taken) {
            (Ok(report), true) => {
                approve(&fixture.daemon, report.job).expect("the approver can");
                let report = caller.end_of(report.job);
                assert_eq!(report.stdout.total, caps::COPIED_FILE as u64, "{report:?}");
            }
            (Err(refusal), false) => {
                assert!(refusal.message.contains("larger than 8 MiB"), "{refusal:?}");
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

fn at_its_turn(
    fixture: &FilesFixture,
    name: &str,
    file: &str,
    meanwhile: impl FnOnce(&Path),
) -> JobReport {
    let mut other = Caller::new(&fixture.daemon, &user_b());
    let holder = other
        .run(at_once(argv(&["sleep", "50"])))
        .expect("B may run");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, name, file);
    let done = approve(&fixture.daemon, job).expect("the approver can");
    assert!(done.contains("is queued"), "{done}");
    meanwhile(&fixture.dir.join(file));
    other.stop(holder.job).expect("it is B's");
    let report = caller.end_of(job);
    let has_run = report.state == State::Exited;
    let expect: &[&str] = match has_run {
        true => &["asked", "approved", "intent", "end"],
        false => &["asked", "approved", "end"],
    };
    assert_eq!(events(&fixture.daemon, job), expect, "{report:?}");
    report
}

#[test]
fn w14_files_are_rechecked_when_approved_job_starts() {
    let fixture = FilesFixture::lay(1);
    fixture.file("plain", "good=1\n");
    let report = at_its_turn(&fixture, "file.name", "plain", |_| {});
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    for name in ["file.name", "file.text"] {
        fixture.file("plain", "good=1\n");
        let report = at_its_turn(&fixture, name, "plain", |path| {
            fs::write(path, "evil=1\n").expect("it is ours");
        });
        assert_eq!(code(&report), "approval_void", "{report:?}");
        assert!(cause(&report).contains("plain' has changed"), "{report:?}");
    }
    fixture.file("own", "good=1\n");
    let report = at_its_turn(&fixture, "file.open", "own", |path| {
        fs::write(path, "evil=1\n").expect("it is ours");
    });
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    fixture.daemon.is_well();
}

#[test]
fn a05_copy_content_and_difference_are_shown() {
    let fixture = FilesFixture::lay(16);
    fixture.file("own", "evil=1\nmore=2\n");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, "file.open", "own");
    let shown = fixture.show(job);
    let lines: Vec<&str> = shown.script.iter().map(String::as_str).collect();
    assert_eq!(lines.get(1..), Some(&["evil=1", "more=2"][..]), "{shown:?}");
    assert!(lines[0].contains("argument 1, in a copy"), "{shown:?}");
    let differs = |shown: &ShownRequest| {
        shown
            .risks
            .iter()
            .any(|risk| risk.contains("is not the file"))
    };
    assert!(!differs(&shown), "{shown:?}");
    // The requester replaces it with something harmless before anybody looks.
    fixture.file("own", "good=1\n");
    let shown = fixture.show(job);
    assert!(differs(&shown), "{shown:?}");
    assert_eq!(shown.script.get(1).map(String::as_str), Some("evil=1"));
    fixture.file("own", "line\n".repeat(10_000));
    let shown = fixture.show(fixture.asks(&mut caller, "file.open", "own"));
    assert!(shown.script[0].contains("bytes more"), "{shown:?}");
}
