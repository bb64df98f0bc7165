//! Files that arguments name: what somebody approved of their content is what runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use remit_common::admin::{AdminReply, AdminRequest, ShownRequest};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{JobReport, State};
use remit_common::refusal::Code;
use remit_common::wire::{Purpose, Run};
use remit_tests::caller::{Caller, argv, at_once, cause, change, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};

use super::scene::{approve, asks, code, events, options};

/// Commands about a file in a directory, in which `own` is user A's and the rest root's.
struct Ground {
    dir: PathBuf,
    daemon: Daemon,
}

impl Ground {
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

    /// A file with this text, user A's where it is called `own`.
    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("it is ours");
        if name == "own" {
            chown(&path, Some(64_001), Some(64_001)).expect("the tests run as root");
        }
        path
    }

    /// The value of a command's argument: a whole path, but for the command that takes any text.
    fn value(&self, name: &str, file: &str) -> String {
        match name {
            "file.text" => file.to_owned(),
            _ => self.dir.join(file).display().to_string(),
        }
    }

    /// What a request for this command about this file is.
    fn change(&self, name: &str, file: &str) -> Run {
        at_once(change(name, &[("file", &self.value(name, file))]))
    }

    /// Asks for it.
    fn asks(&self, caller: &mut Caller, name: &str, file: &str) -> JobId {
        asks(caller, name, &[("file", &self.value(name, file))]).0
    }

    fn show(&self, job: JobId) -> ShownRequest {
        let id = job.to_string();
        match self.daemon.administers(&admin(), AdminRequest::Show { id }) {
            Ok(AdminReply::Shown(shown)) => *shown,
            other => panic!("{other:?}"),
        }
    }

    /// The files of a request as its approver sees them.
    fn files(&self, job: JobId) -> Vec<(String, String)> {
        let files = self.show(job).files.into_iter();
        let hex = |sha256: [u8; 32]| sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        files.map(|file| (file.what, hex(file.sha256))).collect()
    }

    /// Asks for a change of `name`, has `meanwhile` done, and has it approved.
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

impl Drop for Ground {
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
        command("blind", "strict", "/usr/bin/cat", &path("is = \"file\", pass = \"descriptor\"")),
        format!(
            "[profile.files]\nbase = \"strict\"\nread = [\"{dir}\"]\n\n[[grant]]\nname = \"files\"\n\
             to = [\"#64001\"]\nallow = [\"file.*\"]\neffect = \"change\"\napproval = {{ by = [\"#64005\"] }}\n\n\
             [[grant]]\nname = \"runs\"\nto = [\"#64001\"]\nallow = [\"run\"]\nprofile = \"files\"\n\
             approval = {{ by = [\"#64005\"] }}\n\n\
             [[grant]]\nname = \"looks\"\nto = [\"#64002\"]\nallow = [\"run\"]\napproval = \"none\"\n"
        ),
    ]
    .concat()
}

/// SHA-256 of "good=1" and a line end.
const GOOD: &str = "bab123fb448ffbf357550cb56535ad41dcd3f261f121a7ee49f14aeb2f04b5c5";

#[test]
fn w04_a_copy_of_the_file_that_was_shown_is_what_runs() {
    let ground = Ground::lay(16);
    ground.file("own", "good=1\n");
    let mut caller = Caller::new(&ground.daemon, &user_a());
    let job = ground.asks(&mut caller, "file.open", "own");
    let files = ground.files(job);
    assert_eq!(
        files.last(),
        Some(&("argument 1, in a copy".to_owned(), GOOD.to_owned()))
    );
    // It is the requester's own: whoever looks at it now sees something else than was asked for.
    ground.file("own", "evil=1\n");
    approve(&ground.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::Exited, "good=1\n"),
        "{report:?}"
    );
}

#[test]
fn w04_a_copy_stays_when_another_file_has_the_name_and_a_link_is_refused() {
    let ground = Ground::lay(16);
    ground.file("own", "good=1\n");
    let (report, _) = ground.approved_after("file.open", "own", |path| {
        fs::write(path.with_extension("new"), "evil=1\n").expect("it is ours");
        fs::rename(path.with_extension("new"), path).expect("it is ours");
    });
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    let (report, _) = ground.approved_after("file.open", "own", |path| {
        fs::remove_file(path).expect("it is ours");
        symlink("/etc/passwd", path).expect("it is ours");
    });
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, "")
    );
}

#[test]
fn w04_a_copy_shows_no_file_that_the_sandbox_hides() {
    let ground = Ground::lay(16);
    ground.file("plain", "good=1\n");
    let (report, _) = ground.approved_after("file.blind", "plain", |_| {});
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, "")
    );
    // Neither one that the job's user may not read: nobody is even asked.
    let path = ground.file("secret", "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let refusal = Caller::new(&ground.daemon, &user_a())
        .run(ground.change("file.open", "secret"))
        .expect_err("the job cannot read it");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
}

#[test]
fn w04_a_file_that_is_passed_by_its_name_is_bound_with_its_content() {
    let ground = Ground::lay(16);
    ground.file("plain", "good=1\n");
    let (report, _) = ground.approved_after("file.name", "plain", |_| {});
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    let (report, events) = ground.approved_after("file.name", "plain", |path| {
        fs::write(path, "evil=1\n").expect("it is ours");
    });
    assert_eq!(code(&report), "approval_void", "{report:?}");
    assert_eq!(events, ["asked", "void"]);
    // A file that the requester can change would not stay what was approved.
    ground.file("own", "good=1\n");
    let refusal = Caller::new(&ground.daemon, &user_a())
        .run(ground.change("file.name", "own"))
        .expect_err("it need not stay");
    assert!(
        refusal.message.contains("need not stay as it is"),
        "{refusal:?}"
    );
    assert!(
        refusal.message.contains("pass = \"descriptor\""),
        "{refusal:?}"
    );
}

#[test]
fn w04_what_is_named_and_not_bound_is_said_to_the_approver() {
    let ground = Ground::lay(16);
    ground.file("own", "good=1\n");
    ground.file("plain", "good=1\n");
    let mut caller = Caller::new(&ground.daemon, &user_a());
    let risks = |job| ground.show(job).risks.join("\n");
    let job = ground.asks(&mut caller, "file.any", "hidden");
    assert!(
        risks(job).contains("argument 1 is a directory"),
        "{}",
        risks(job)
    );
    // The requester's own words, as a name below the working directory and as a whole one.
    let whole = ground.dir.join("own").display().to_string();
    for word in ["own", whole.as_str()] {
        let run = Run {
            profile: Some("files".into()),
            cwd: Some(ground.dir.display().to_string().into_bytes().into()),
            purpose: Purpose::Use,
            ..at_once(argv(&["cat", word]))
        };
        let report = caller.run(run).expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        let said = risks(report.job);
        assert!(
            said.contains("argument 1 names a file whose content is no part"),
            "{said}"
        );
    }
    let job = ground.asks(&mut caller, "file.text", "plain");
    let files = ground.files(job);
    assert_eq!(
        files.last(),
        Some(&("argument 1".to_owned(), GOOD.to_owned()))
    );
    ground.file("plain", "evil=1\n");
    let refusal = approve(&ground.daemon, job).expect_err("it has changed");
    assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
}

#[test]
fn w04_a_copy_has_its_bound() {
    let ground = Ground::lay(16);
    for (more, taken) in [(0, true), (1, false)] {
        ground.file("own", vec![b'x'; caps::COPIED_FILE + more]);
        let run = ground.change("file.open", "own");
        let mut caller = Caller::new(&ground.daemon, &user_a());
        match (caller.run(run), taken) {
            (Ok(report), true) => {
                approve(&ground.daemon, report.job).expect("the approver can");
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

/// Has a change approved while there is no slot for it, changes something, and frees the slot.
fn at_its_turn(
    ground: &Ground,
    name: &str,
    file: &str,
    meanwhile: impl FnOnce(&Path),
) -> JobReport {
    let mut other = Caller::new(&ground.daemon, &user_b());
    let holder = other
        .run(at_once(argv(&["sleep", "50"])))
        .expect("B may run");
    let mut caller = Caller::new(&ground.daemon, &user_a());
    let job = ground.asks(&mut caller, name, file);
    let done = approve(&ground.daemon, job).expect("the approver can");
    assert!(done.contains("waits for a place"), "{done}");
    meanwhile(&ground.dir.join(file));
    other.stop(holder.job).expect("it is B's");
    let report = caller.end_of(job);
    let begun = report.state == State::Exited;
    let expect: &[&str] = match begun {
        true => &["asked", "approved", "intent", "end"],
        false => &["asked", "approved", "end"],
    };
    assert_eq!(events(&ground.daemon, job), expect, "{report:?}");
    report
}

#[test]
fn w14_files_are_looked_at_again_when_an_approved_job_has_its_turn() {
    let ground = Ground::lay(1);
    ground.file("plain", "good=1\n");
    let report = at_its_turn(&ground, "file.name", "plain", |_| {});
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    // Before there is an intent on record: nothing of it began.
    for name in ["file.name", "file.text"] {
        ground.file("plain", "good=1\n");
        let report = at_its_turn(&ground, name, "plain", |path| {
            fs::write(path, "evil=1\n").expect("it is ours");
        });
        assert_eq!(code(&report), "approval_void", "{report:?}");
        assert!(cause(&report).contains("plain' has changed"), "{report:?}");
    }
    // What was copied is what runs, whatever became of the file.
    ground.file("own", "good=1\n");
    let report = at_its_turn(&ground, "file.open", "own", |path| {
        fs::write(path, "evil=1\n").expect("it is ours");
    });
    assert_eq!(stdout(&report), "good=1\n", "{report:?}");
    ground.daemon.is_well();
}
