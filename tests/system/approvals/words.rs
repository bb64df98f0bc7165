//! Arguments that name files in any form: bound with their content, refused, or reported to the approver.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_page::ShownRequest;
use remit_tests::blocking::Fuse;
use remit_tests::caller::{Caller, argv, at_once, change, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::outcome::State;
use remit_wire::{Purpose, Run};

use super::scene::{approve, asks, options};

const USER_A: u32 = 64_001;

/// Arguments of a definition that name the file `job`, with the program that reads it.
const FORMS: [(&str, &str, &str); 5] = [
    ("relative", "/usr/bin/sh", "\"job\""),
    ("long", "/usr/bin/sed", "\"--file=DIR/job\", \"/dev/null\""),
    ("short", "/usr/bin/sed", "\"-fDIR/job\", \"/dev/null\""),
    ("key", "/usr/bin/dd", "\"if=DIR/job\", \"status=none\""),
    ("list", "/usr/bin/printf", "\"%s\", \"x:DIR/job,y\""),
];

struct WordsFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl WordsFixture {
    fn lay() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-words-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let text = dir.display().to_string();
        let commands = FORMS.map(|(name, program, words)| {
            format!(
                "[[command]]\nname = \"word.{name}\"\nsummary = \"reads a file\"\nargv = [\"{program}\", {}]\n\
                 effect = \"change\"\nprofile = \"words\"\ncwd = \"{text}\"\n\n",
                words.replace("DIR", &text)
            )
        });
        let path = |name: &str, profile: &str, pass: &str| {
            format!(
                "[[command]]\nname = \"word.{name}\"\nsummary = \"reads a file\"\nargv = [\"/usr/bin/cat\", \"{{file}}\"]\n\
                 effect = \"change\"\nprofile = \"{profile}\"\nargs.file = {{ type = \"path\", under = \"{text}\", \
                 is = \"file\", pass = \"{pass}\" }}\n\n"
            )
        };
        let paths = path("named", "words", "path") + &path("copied", "root", "descriptor");
        let rest = format!(
            "[profile.root]\nbase = \"strict\"\nuser = \"root\"\nread = [\"{text}\"]\n\n[profile.words]\nbase = \"strict\"\nread = [\"{text}\"]\n\n[[grant]]\nname = \"words\"\n\
             to = [\"#64001\"]\nallow = [\"word.*\"]\neffect = \"change\"\napproval = {{ by = [\"#64005\"] }}\n\n\
             [[grant]]\nname = \"runs\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"words\"\n\
             approval = {{ by = [\"#64005\"] }}\n"
        );
        let daemon = Daemon::start(Options {
            policy: commands.concat() + &paths + &rest,
            ..options()
        });
        let fixture = Self { dir, daemon };
        fixture.file("job", 0, "# good\n");
        fixture
    }

    fn file(&self, name: &str, owner: u32, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("it is ours");
        own(&path, owner);
        path
    }

    fn show(&self, job: JobId) -> ShownRequest {
        self.daemon.shows(job)
    }

    fn shown(&self, words: &[&str], cwd: &Path) -> ShownRequest {
        let run = Run {
            profile: Some("words".into()),
            cwd: Some(cwd.display().to_string().into_bytes().into()),
            purpose: Purpose::Use,
            ..at_once(argv(words))
        };
        let mut caller = Caller::new(&self.daemon, &user_a());
        let report = caller.run(run).expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        let shown = self.show(report.job);
        caller.stop(report.job).expect("it is theirs");
        shown
    }
}

impl Drop for WordsFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn own(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("the tests run as root");
}

fn unbound(shown: &ShownRequest) -> Vec<&String> {
    let risks = shown.risks.iter();
    risks
        .filter(|risk| risk.contains("not part of what is approved"))
        .collect()
}

#[test]
fn q01_file_in_definition_is_bound_or_refused() {
    let fixture = WordsFixture::lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    for (name, ..) in FORMS {
        let name = format!("word.{name}");
        let job = fixture.dir.join("job");
        own(&job, USER_A);
        let reply = caller.run(at_once(change(&name, &[])));
        let refusal = reply.expect_err("it may change");
        assert!(
            refusal.message.contains("because it may change"),
            "{name}: {refusal:?}"
        );
        own(&job, 0);
        let (id, _) = asks(&mut caller, &name, &[]);
        let shown = fixture.show(id);
        let files = shown.files.iter();
        assert!(
            files
                .clone()
                .any(|file| file.path == job.display().to_string()),
            "{name}: {shown:?}"
        );
        assert!(unbound(&shown).is_empty(), "{name}: {shown:?}");
        fs::write(&job, "# evil\n").expect("it is ours");
        let refusal = approve(&fixture.daemon, id).expect_err("it has changed");
        assert_eq!(refusal.code, Code::ApprovalVoid, "{name}: {refusal:?}");
    }
}

#[test]
fn q01_unchanged_relative_path_runs() {
    let fixture = WordsFixture::lay();
    fixture.file("job", 0, "echo good\n");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let (job, _) = asks(&mut caller, "word.relative", &[]);
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(stdout(&report), "good\n", "{report:?}");
}

#[test]
fn a04_every_file_of_requester_gets_warning() {
    let fixture = WordsFixture::lay();
    let own_dir = fixture.dir.join("own.d");
    fs::create_dir(&own_dir).expect("it is ours");
    fixture.file("own.d/payload", USER_A, "good\n");
    own(&own_dir, USER_A);
    let text = |path: &str| fixture.dir.join(path).display().to_string();
    let payload = text("own.d/payload");
    let says = |words: &[&str], cwd: &Path, what: &str| {
        let shown = fixture.shown(words, cwd);
        let said = unbound(&shown);
        assert!(
            said.iter().any(|risk| risk.contains(what)),
            "{words:?}: {shown:?}"
        );
        shown
    };
    let root = Path::new("/");
    for word in [
        payload.clone(),
        format!("if={payload}"),
        format!("-f{payload}"),
        format!("@{payload}"),
        format!("x:{payload},y"),
        format!("-d@{payload}"),
    ] {
        says(
            &["cat", &word],
            root,
            "argument 1 names a file whose content",
        );
    }
    says(
        &["cp", "-r", &text("own.d"), "/srv"],
        root,
        "2, 3 are directories",
    );
    says(
        &["cat", &text("own.d/none")],
        root,
        "argument 1 may name a file that is not there",
    );
    says(&["cat", "payload"], &own_dir, "the working directory");
    // The requester cannot enter the directory, but the job can.
    fs::set_permissions(&own_dir, fs::Permissions::from_mode(0o005)).expect("it is ours");
    says(
        &["cat", &payload],
        root,
        "argument 1 may name a file that could not be looked at",
    );
    fs::set_permissions(&own_dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    // A path that means another file for the daemon than for the job.
    let shown = says(
        &["sh", "/proc/self/cwd/usr/bin/env"],
        &own_dir,
        "argument 1 names what is made when it is read, or is another file",
    );
    assert!(
        shown
            .files
            .iter()
            .all(|file| !file.what.contains("argument")),
        "{shown:?}"
    );
}

/// Counter-check: without a warning the file is bound.
#[test]
fn a04_bound_file_gets_no_warning() {
    let fixture = WordsFixture::lay();
    let job = fixture.dir.join("job").display().to_string();
    for (words, cwd) in [
        (vec!["cat".to_owned(), job.clone()], Path::new("/")),
        (vec!["cat".to_owned(), "job".to_owned()], &fixture.dir),
        (vec!["dd".to_owned(), format!("if={job}")], Path::new("/")),
        (vec!["date".to_owned(), "+%s".to_owned()], Path::new("/")),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let shown = fixture.shown(&words, cwd);
        assert!(unbound(&shown).is_empty(), "{words:?}: {shown:?}");
        let bound = shown.files.iter().any(|file| file.path == job);
        assert_eq!(bound, words[0] != "date", "{words:?}: {shown:?}");
    }
}

/// The server of a FUSE file chooses content, owner and mode at each read.
#[test]
fn a07_file_on_user_mounted_file_system_is_untrusted() {
    let fixture = WordsFixture::lay();
    let dir = fixture.dir.join("own.d");
    fs::create_dir(&dir).expect("it is ours");
    let fuse = Fuse::mount(&dir, USER_A, "good=1\n");
    let file = fuse.file().display().to_string();
    let read = fs::read_to_string(&file).expect("its server answers");
    assert_eq!(read, "good=1\n");
    let shown = fixture.shown(&["cat", &file], Path::new("/"));
    let said = unbound(&shown);
    assert!(
        said.iter()
            .any(|risk| risk.contains("argument 1 names a file whose content")),
        "{shown:?}"
    );
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let reply = caller.run(at_once(change("word.named", &[("file", &file)])));
    let refusal = reply.expect_err("it may change");
    assert!(
        refusal.message.contains("because it may change")
            && refusal.message.contains("file system"),
        "{refusal:?}"
    );
}

/// Root in a profile has no capabilities, so hashing for it must not use them either.
#[test]
fn a08_file_hidden_from_job_is_never_shown() {
    let fixture = WordsFixture::lay();
    let hidden = fixture.dir.join("own.d");
    fs::create_dir(&hidden).expect("it is ours");
    fixture.file("own.d/file", 64_009, "secret\n");
    fs::create_dir(hidden.join("directory")).expect("it is ours");
    own(&hidden, 64_009);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut said = |name: &str| {
        let path = fixture.dir.join(name).display().to_string();
        let reply = caller.run(at_once(change("word.copied", &[("file", &path)])));
        let refusal = reply.expect_err("the job cannot see it");
        refusal.message.replace(&path, "PATH")
    };
    let nothing = said("own.d/none");
    for name in ["own.d/file", "own.d/directory", "none", "own.d"] {
        assert_eq!(said(name), nothing, "{name}");
    }
    let path = fixture.file("secret", 64_009, "secret\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    said("secret");
    let path = fixture
        .file("plain", 64_009, "good\n")
        .display()
        .to_string();
    let (job, _) = asks(&mut caller, "word.copied", &[("file", &path)]);
    approve(&fixture.daemon, job).expect("the approver can");
    assert_eq!(stdout(&caller.end_of(job)), "good\n");
}
