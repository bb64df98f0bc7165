//! Changes of files: a plan shows what would change, another person approves exactly these bytes, an undo puts them back.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use remit_common::hex::hex;
use remit_common::inspect::EXTRACT;
use remit_common::names::JobId;
use remit_edit::{Action, Edit, Replacement, ViewText as _};
use remit_plan::{
    Base, Bundle, Change, Content, Entry, Metadata, New, OldCapabilities, Plan, PlanPath, Source,
    Stat,
};
use remit_sys::sys;
use remit_tests::caller::{Caller, change, named};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_tests::test_dir::{built, install_look};
use remit_wire::Run;
use remit_wire::edits::{self, keep};
use remit_wire::outcome::{JobReport, State, Stream};
use serde_json::{Value, json};

pub const GRANTS: &str = r##"
[[grant]]
name = "plans"
to = ["#64001"]
allow = ["plan.make"]
approval = "none"

[[grant]]
name = "commits"
to = ["#64001"]
allow = ["plan.commit", "plan.undo"]
approval = { by = ["#64005"], expires = "10min" }
"##;

pub struct PlanFixture {
    pub dir: PathBuf,
    pub daemon: Daemon,
}

impl Drop for PlanFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl PlanFixture {
    pub fn lay() -> Self {
        install_look();
        let mut daemon = Daemon::start(Options {
            waiting: 20,
            ..Options::default()
        });
        let commands = include_str!("../../packaging/policy.d/60-plans.toml");
        let own = |name: &str| daemon.path().join(name).display().to_string();
        let commits = own("state/commits");
        let private = |path: &str| format!("[\"{path}/remit-look\", \"plan-private\"]");
        let commands = commands
            .replace("/usr/libexec/remit", &own("bin"))
            .replace(&private(&own("bin")), &private("/usr/libexec/remit"))
            .replace(&own("bin/remit-extract"), EXTRACT)
            .replace("/var/lib/remit/commits", &commits);
        daemon.set_file("vendor/policy.d/60-plans.toml", &commands);
        daemon.set_file("config/policy.d/10-test.toml", GRANTS);
        // Other tests have links to the programs, and each new one would be a change of them.
        for name in ["remit-commit", "remit-look"] {
            let program = daemon.program(name);
            fs::remove_file(&program).expect("the directory is foreign");
            fs::copy(built().join(name), &program).expect("it is built");
        }
        daemon.restart_cleanly();
        let dir = nix::unistd::mkdtemp("/srv/remit-plans-XXXXXX").expect("/srv is root's");
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("it is foreign");
        Self { dir, daemon }
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        fs::write(&path, bytes).expect("it is foreign");
        path.display().to_string()
    }

    pub fn at(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(name)).expect("it is there")
    }

    fn remit(&self, words: &[&str]) -> Output {
        self.daemon.remit(&user_a(), words)
    }

    pub fn plan(&self, list: Vec<Edit>) -> (JobReport, Vec<u8>) {
        self.plan_by(edits::PLAN, list)
    }

    /// Sends edits, and returns the job with all of its output.
    fn plan_by(&self, name: &str, list: Vec<Edit>) -> (JobReport, Vec<u8>) {
        let mut caller = Caller::new(&self.daemon, &user_a());
        let run = Run {
            stdin: Some(edits::encode(list).into()),
            ..named(name, &[])
        };
        let report = caller.run(run).expect("it is granted");
        let report = match report.ending {
            Some(_) => report,
            None => caller.end_of(report.job),
        };
        let mut bytes = Vec::new();
        loop {
            let page = caller
                .page(report.job, Stream::Stdout, bytes.len() as u64, 256 << 10)
                .expect("it is kept");
            bytes.extend_from_slice(&page.bytes);
            if page.eof || page.bytes.is_empty() {
                return (report, bytes);
            }
        }
    }

    pub fn bundle(&self, list: Vec<Edit>) -> Bundle {
        let (report, bytes) = self.plan(list);
        Bundle::decode(bytes).unwrap_or_else(|error| panic!("{error}: {report:?}"))
    }

    fn refused(&self, edit: Edit) -> String {
        let (report, bytes) = self.plan(vec![edit]);
        assert_eq!(bytes, b"", "{report:?}");
        let exit = report.ending.as_ref().and_then(|ending| ending.exit);
        assert_eq!(exit, Some(1), "{report:?}");
        String::from_utf8(report.stderr.head.into_vec()).expect("it is text")
    }

    pub fn edit(&self, name: impl AsRef<[u8]>, action: Action) -> Edit {
        let path = [self.dir.as_os_str().as_bytes(), b"/", name.as_ref()].concat();
        Edit {
            action,
            ..keep(PlanPath::new(path).expect("it is a path"))
        }
    }

    /// Asks for the commit of a plan, and returns the request.
    pub fn asks(&self, words: &[&str]) -> JobId {
        let output = self.remit(&[&["--json"], words].concat());
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(answer["state"], "awaiting_approval", "{output:?}");
        let id = answer["job_id"].as_str().expect("an id");
        id.parse().expect("it is an id")
    }

    /// Approves it, and waits for the end of the job.
    pub fn approve(&self, job: JobId) -> Output {
        self.approves(job, &[])
    }

    pub fn approves(&self, job: JobId, options: &[&str]) -> Output {
        let digest = hex(&self.daemon.shows(job).pending.digest);
        let words = &["approve", &job.short(), "--digest", &digest];
        self.daemon.remit(&admin(), &[&words[..], options].concat())
    }
}

pub fn replacement(old: &[u8], new: &[u8], count: u32) -> Action {
    Action::Replace(vec![Replacement {
        old: old.to_vec(),
        new: new.to_vec(),
        count,
    }])
}

/// Texts as configuration files have them, with odd ends of lines and bytes that are not UTF-8.
fn texts() -> Vec<Vec<u8>> {
    let lines = |count: u32, end: &str| -> Vec<u8> {
        let line = |number| format!("key{number} = value {}{end}", number % 7);
        (0..count).map(line).collect::<String>().into_bytes()
    };
    let mut unended = lines(9, "\n");
    unended.pop();
    vec![
        lines(9, "\n"),
        lines(9, "\r\n"),
        unended,
        [&lines(9, "\n")[..], b"caf\xe9 \x00\x01\n"].concat(),
        lines(3000, "\n"),
        [&lines(9, "\n")[..], "\t gr\u{fc}n  \n\n\n".as_bytes()].concat(),
    ]
}

#[test]
fn edits_give_the_bytes_of_sed_and_patch() {
    let mut fixture = PlanFixture::lay();
    without_approval(&mut fixture);
    let mut all: Vec<(Edit, Vec<u8>)> = Vec::new();
    let (script, old, new) = (
        "s/^key3 = value 3/#&/",
        &b"key3 = value 3"[..],
        &b"#key3 = value 3"[..],
    );
    for (number, text) in texts().into_iter().enumerate() {
        let name = format!("sed-{number}");
        let path = fixture.file(&name, &text);
        let edited = Command::new("sed")
            .arg(script)
            .arg(&path)
            .output()
            .expect("sed runs");
        let edit = fixture.edit(&name, replacement(old, new, 1));
        let bundle = fixture.bundle(vec![edit.clone()]);
        let view = bundle.views().next().expect("one entry");
        assert_eq!(
            view.old,
            Some(&text[..]).filter(|old| old.len() <= 256 << 10)
        );
        assert_eq!(view.new, Some(&edited.stdout[..]), "{script} {number}");
        all.push((edit, edited.stdout));
        let path = fixture.file(&format!("patch-{number}"), &text);
        let other = fixture.file("other", [&b"first\n"[..], &text, b"last\n"].concat());
        let diff = Command::new("diff")
            .args(["-au", &path, &other])
            .output()
            .expect("diff runs");
        let patched = Command::new("sh")
            .args(["-c", "patch -s -o - \"$1\" \"$2\"", "sh", &path])
            .arg(fixture.file("diff", &diff.stdout))
            .output()
            .expect("patch runs");
        assert!(patched.status.success(), "{patched:?}");
        let list = edits::split_patch(&diff.stdout).expect("it is a patch");
        let [edit] = &list[..] else {
            panic!("{list:?}")
        };
        let bundle = fixture.bundle(list.clone());
        let view = bundle.views().next().expect("one entry");
        assert_eq!(view.new, Some(&patched.stdout[..]), "{number}");
        all.push((edit.clone(), patched.stdout));
    }
    assert_eq!(all.len(), 12);
    // Committed, these bytes are in the files.
    let bundle = fixture.bundle(all.iter().map(|(edit, _)| edit.clone()).collect());
    let report = commit_as(&fixture, &user_b(), &bundle, 20_000).expect("it is granted");
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!(exit, Some(0), "{report:?}");
    for (edit, bytes) in &all {
        let path = edit.path.to_string();
        assert!(fs::read(&path).expect("it is there") == *bytes, "{path}");
    }
}

#[test]
fn path_that_cannot_be_seen_whole_is_refused() {
    let fixture = PlanFixture::lay();
    fixture.file("file", "x\n");
    fs::create_dir(fixture.dir.join("dir")).expect("it is new");
    fixture.file("dir/file", "x\n");
    symlink("file", fixture.dir.join("link")).expect("it is new");
    symlink("dir", fixture.dir.join("way")).expect("it is new");
    mkfifo(&fixture.dir.join("fifo"), Mode::from_bits_truncate(0o644)).expect("it is new");
    fixture.file("secret", "x\n");
    fs::set_permissions(fixture.dir.join("secret"), Permissions::from_mode(0o600))
        .expect("it is foreign");
    fs::create_dir(fixture.dir.join("closed")).expect("it is new");
    fs::set_permissions(fixture.dir.join("closed"), Permissions::from_mode(0o700))
        .expect("it is foreign");
    fixture.file("twin", "x\n");
    fs::hard_link(fixture.dir.join("twin"), fixture.dir.join("other-twin")).expect("it is foreign");
    let write = || Action::Write(b"y\n".to_vec());
    for (name, action, expect) in [
        (
            &b"link"[..],
            write(),
            "is a symbolic link to 'file'; name the file that it leads to",
        ),
        (
            b"way/file",
            write(),
            "/way' is a symbolic link to 'dir'; name the file",
        ),
        (b"fifo", write(), "a device, a FIFO or a socket"),
        (b"fifo", Action::Remove, "a device, a FIFO or a socket"),
        (b"secret", write(), "you may not read it"),
        (b"secret", Action::Remove, "you may not read it"),
        (b"closed/file", write(), "you may not look into"),
        (
            b"missing/file",
            write(),
            "its directory does not exist; add a 'mkdir' of it",
        ),
        (b"file/file", write(), "/file' is not a directory"),
        (b"missing", replacement(b"x", b"y", 1), "it does not exist"),
        (b"file", replacement(b"z", b"y", 1), "occurs 0 times"),
        (b"file", write_only_new(), "it exists"),
        (b"dir", Action::Remove, "it is not empty; remove '"),
        (b"twin", write(), "it has 2 names"),
        (
            b"new\n\x1b[31mline",
            Action::Remove,
            "new\\n\\x1b[31mline': it does not exist",
        ),
        (
            b"file",
            Action::Write(b"x\n".to_vec()),
            "the plan changes nothing",
        ),
    ] {
        let is_new = action == write_only_new();
        let mut edit = fixture.edit(name, action);
        edit.create_only = is_new;
        let said = fixture.refused(edit);
        assert!(said.contains(expect), "{}: {said}", name.escape_ascii());
        assert_eq!(said.lines().count(), 1, "{said:?}");
        assert!(!said.contains('\x1b'), "{said:?}");
    }
    // A sandbox has its own directories here, and would show them instead of the machine's.
    for path in ["/tmp/remit-plan-of-nobody", "/var/tmp/x", "/dev/shm/x"] {
        let edit = Edit {
            action: write(),
            ..keep(PlanPath::new(path).expect("it is a path"))
        };
        let said = fixture.refused(edit);
        assert!(said.contains("private to the sandbox"), "{said}");
    }
    let device = Edit {
        action: write(),
        ..keep(PlanPath::new("/dev/null").expect("it is a path"))
    };
    assert!(
        fixture
            .refused(device)
            .contains("a device, a FIFO or a socket")
    );
    let bundle = fixture.bundle(vec![
        fixture.edit("link", Action::Remove),
        fixture.edit("dir/file", Action::Remove),
        fixture.edit("dir", Action::Remove),
        fixture.edit("new/deep/file", write()),
        fixture.edit("new/deep", Action::CreateDirectory),
        fixture.edit("new", Action::CreateDirectory),
        fixture.edit(b"odd \xff\nname", write()),
    ]);
    assert_eq!(bundle.plan().entries().len(), 7);
}

fn write_only_new() -> Action {
    Action::Write(b"only new".to_vec())
}

#[test]
fn plan_of_many_paths_is_made_and_more_than_20_000_are_refused() {
    let fixture = PlanFixture::lay();
    let list = |count: u32| -> Vec<Edit> {
        let edit = |number| fixture.edit(format!("{number}"), Action::Write(b"x".to_vec()));
        (0..count).map(edit).collect()
    };
    let bundle = fixture.bundle(list(16_000));
    assert_eq!(bundle.plan().entries().len(), 16_000);
    assert!(bundle.as_bytes().len() > 1 << 20);
    let (report, bytes) = fixture.plan(list(20_001));
    let said = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert!(
        said.contains("cannot read the edits") && bytes.is_empty(),
        "{said}"
    );
}

#[test]
fn base_is_of_one_moment() {
    let fixture = PlanFixture::lay();
    let path = fixture.file("log", "line\n".repeat(40_000));
    // Writes until its standard input ends.
    let mut writer = Command::new("sh")
        .args([
            "-c",
            "while :; do echo l; done >>\"$1\" & read -r _; kill $!",
            "sh",
            &path,
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh starts");
    for _ in 0..4 {
        let (report, bytes) = fixture.plan(vec![fixture.edit("log", Action::Remove)]);
        let said = String::from_utf8_lossy(&report.stderr.head).into_owned();
        // A writer that the kernel lets wait for a moment leaves a file that is whole.
        if bytes.is_empty() {
            assert!(
                said.contains("it changes while it is read; plan again"),
                "{said}"
            );
            continue;
        }
        let bundle = Bundle::decode(bytes).expect("it is a plan");
        let view = bundle.views().next().expect("one entry");
        let base = view.entry.change.base().copied().expect("it was there");
        let now = fs::read(&path).expect("it is foreign");
        let then = &now[..usize::try_from(base.stat.size).expect("it is short")];
        assert_eq!(base.sha256, Some(remit_plan::sha256(then)));
    }
    drop(writer.stdin.take());
    writer.wait().expect("it ends");
    let bundle = fixture.bundle(vec![fixture.edit("log", Action::Remove)]);
    let view = bundle.views().next().expect("one entry");
    let sha256 = view.entry.change.base().and_then(|base| base.sha256);
    let now = fs::read(&path).expect("it is foreign");
    assert_eq!(sha256, Some(remit_plan::sha256(&now)));
}

#[test]
fn what_was_shown_is_committed_and_undone() {
    let fixture = PlanFixture::lay();
    let hosts = fixture.file("hosts", "127.0.0.1 localhost\n10.0.0.7 db\n");
    let new = fixture.at("conf.d");
    let (current, next) = (fixture.at("current"), fixture.at("next"));
    symlink("releases/1", &current).expect("it is new");
    let target = |name: &str| fs::read_link(fixture.at(name)).expect("it is a link");
    let output = fixture.remit(&[
        "plan",
        "--link",
        &current,
        "releases/2",
        "--link",
        &next,
        "releases/3",
        "--replace",
        &hosts,
        "10.0.0.7",
        "10.0.0.8",
        "--mkdir",
        &new,
        "--mode",
        &new,
        "0750",
    ]);
    let text = String::from_utf8(output.stdout.clone()).expect("it is text");
    assert!(text.contains("-10.0.0.7 db\n+10.0.0.8 db\n"), "{output:?}");
    assert!(
        text.contains("new directory, mode 0750, owner 0:0"),
        "{text}"
    );
    assert!(
        text.contains("symbolic link gets another target")
            && text.contains("-releases/1\n+releases/2\n"),
        "{text}"
    );
    let line = text.lines().last().expect("it has lines");
    let (_, next) = line
        .split_once("to ask for exactly this: remit ")
        .expect("it says what is next");
    let words: Vec<&str> = next.split(' ').collect();
    let ["change", "--plan", id, "-m", "WHY"] = words[..] else {
        panic!("{next}")
    };

    let shown = fixture.remit(&["plan", "show", id, &hosts]);
    let shown = String::from_utf8(shown.stdout).expect("it is text");
    assert!(
        shown.contains("+10.0.0.8 db") && !shown.contains("conf.d:"),
        "{shown}"
    );

    let job = fixture.asks(&[
        "change",
        "--plan",
        id,
        "-m",
        "the database has moved",
        "--no-wait",
    ]);
    let page = fixture.daemon.remit(&admin(), &["show", &job.to_string()]);
    let page = String::from_utf8(page.stdout).expect("it is text");
    println!("{page}");
    assert!(
        page.contains("-10.0.0.7 db") && page.contains("+10.0.0.8 db"),
        "{page}"
    );
    let risk = "it is a link: whoever can change 'releases/3' changes what is read or written here";
    let words = page
        .split(['|', ' ', '\n'])
        .filter(|word| !matches!(*word, "" | "+"));
    assert!(words.collect::<Vec<_>>().join(" ").contains(risk), "{page}");
    assert_eq!(fixture.read("hosts"), b"127.0.0.1 localhost\n10.0.0.7 db\n");
    let approved = fixture.approve(job);
    let said = String::from_utf8(approved.stdout).expect("it is text");
    println!("{said}");
    assert_eq!(fixture.read("hosts"), b"127.0.0.1 localhost\n10.0.0.8 db\n");
    assert!(fixture.dir.join("conf.d").is_dir());
    assert_eq!(
        [target("current"), target("next")],
        [Path::new("releases/2"), Path::new("releases/3")]
    );
    let (_, undo) = said
        .split_once("undo: remit undo ")
        .expect("it says how to undo");
    let id = undo.split_whitespace().next().expect("an id");

    let job = fixture.asks(&["undo", id, "-m", "it has not", "--no-wait"]);
    fixture.approve(job);
    assert_eq!(fixture.read("hosts"), b"127.0.0.1 localhost\n10.0.0.7 db\n");
    assert!(!fixture.dir.join("conf.d").exists());
    assert_eq!(target("current"), Path::new("releases/1"));
    assert!(fs::symlink_metadata(fixture.at("next")).is_err());
}

#[test]
fn agent_plans_asks_and_undoes() {
    let fixture = PlanFixture::lay();
    let path = fixture.file("site.conf", "port 80\r\n");
    let mut session = fixture.daemon.session(&user_a());
    let mut call = |tool: &str, arguments: Value| {
        let result = session.tool(tool, &arguments);
        assert_eq!(result["isError"], false, "{result}");
        result["structuredContent"].clone()
    };
    let replace = json!([{ "old": "80", "new": "8080" }]);
    let plan = call(
        "plan",
        json!({ "edits": [{ "path": path, "replace": replace }] }),
    );
    let diff = plan["diff"].as_str().expect("it is text");
    assert!(diff.contains("-… port 80\\r\n+… port 8080\\r\n"), "{diff}");
    assert_eq!(plan["entries"][0]["path"], path.as_str(), "{plan}");
    assert_eq!(plan["digest"].as_str().map(str::len), Some(64), "{plan}");
    // What does not fit is the result of the job that looked.
    let other = json!([{ "old": "443", "new": "8443" }]);
    let failed = call(
        "plan",
        json!({ "edits": [{ "path": path, "replace": other }] }),
    );
    let said = failed["stderr"].as_str().expect("it is text");
    assert!(
        failed["exit"] == 1 && said.contains("occurs 0 times"),
        "{failed}"
    );

    let change = |what: &str, id: &Value| json!({ what: id, "reason": "a new port", "wait_ms": 0 });
    let job = call("change", change("plan_id", &plan["plan_id"]));
    assert_eq!(job["state"], "awaiting_approval", "{job}");
    let id = job["job_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert_eq!(fixture.read("site.conf"), b"port 80\r\n");
    fixture.approve(id);
    assert_eq!(fixture.read("site.conf"), b"port 8080\r\n");
    let ended = call("job", json!({ "job_id": job["job_id"] }));
    let said = ended["stdout"].as_str().expect("it is text").to_owned();
    let (_, commit) = said
        .split_once("undo: remit undo ")
        .expect("it says how to undo");
    let commit = json!(commit.split_whitespace().next().expect("an id"));

    let job = call("change", change("undo", &commit));
    let id = job["job_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    fixture.approve(id);
    assert_eq!(fixture.read("site.conf"), b"port 80\r\n");
    // The output of another job is no plan.
    let refused = session.tool("change", &change("plan_id", &job["job_id"]));
    assert_eq!(refused["isError"], true, "{refused}");
    assert_eq!(session.close(), Some(0));
}

/// Sends a bundle that no `plan.make` has made.
fn commit_as(
    fixture: &PlanFixture,
    planner: &Identity,
    bundle: &Bundle,
    wait_ms: u32,
) -> Result<JobReport, remit_common::refusal::Refusal> {
    let run = Run {
        stdin: Some(bundle.as_bytes().to_vec().into()),
        wait_ms: Some(wait_ms),
        ..change("plan.commit", &[])
    };
    Caller::new(&fixture.daemon, planner).run(run)
}

fn without_approval(fixture: &mut PlanFixture) {
    let dir = fixture.dir.display().to_string();
    let policy = format!(
        "{GRANTS}\n[[grant]]\nname = \"free\"\nto = [\"#64002\"]\nallow = [\"plan.commit\"]\npaths = [\"{dir}\"]\napproval = \"none\"\n"
    );
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
}

fn stat(path: &str) -> Stat {
    crate::approvals::plans::stat(Path::new(path)).expect("it is there")
}

/// Attack: stat(2) is enough for a plan that makes a secret readable, or gives a directory away.
#[test]
fn secret_is_not_opened_and_no_directory_changes_owner_without_a_person() {
    let mut fixture = PlanFixture::lay();
    without_approval(&mut fixture);
    let key = fixture.file("key.pem", "secret\n");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is foreign");
    fs::create_dir(fixture.at("conf.d")).expect("it is new");
    let opened = |path: &str, sha256, meta| {
        let base = Base {
            stat: stat(path),
            sha256,
            capabilities: OldCapabilities::Unread,
        };
        let path = PlanPath::new(path).expect("it is a path");
        let change = Change::SetMetadata { base, meta };
        let plan = Plan::new(vec![Entry { path, change }]).expect("it is a plan");
        Bundle::new(&plan, b"", b"").expect("it is a bundle")
    };
    let bundle = opened(
        &key,
        Some([7; 32]),
        Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
        },
    );
    let first = commit_as(&fixture, &user_b(), &bundle, 20_000);
    let agent = 64_002;
    let dir = fixture.at("conf.d");
    let bundle = opened(
        &dir,
        None,
        Metadata {
            mode: 0o755,
            uid: agent,
            gid: agent,
        },
    );
    let second = commit_as(&fixture, &user_b(), &bundle, 20_000);
    let now = (stat(&key).meta.mode, stat(&dir).meta.uid);
    assert_eq!(now, (0o600, 0), "{first:?} {second:?}");
}

/// Attack: a new mode of a program that one group may execute gives everybody its capabilities.
#[test]
fn plan_of_edits_says_the_capabilities_of_a_program() {
    const RAW: [u8; 20] = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let name = c"security.capability";
    let mut fixture = PlanFixture::lay();
    without_approval(&mut fixture);
    let path = fixture.file("dumpcap", "old\n");
    fs::set_permissions(&path, Permissions::from_mode(0o754)).expect("it is foreign");
    let open = || fs::File::open(&path).expect("it is there");
    sys::set_xattr(open(), name, &RAW).expect("this test is root");
    let own = || sys::xattr(open(), name).ok();
    let commit = |bundle: &Bundle| commit_as(&fixture, &user_b(), bundle, 20_000);
    let what = |bundle: &Bundle| bundle.views().next().expect("one entry").what();

    let chmod = Edit {
        mode: Some(0o755),
        ..fixture.edit("dumpcap", Action::Keep)
    };
    let bundle = fixture.bundle(vec![chmod]);
    let expect = "file: mode 0754 becomes 0755, has capabilities cap_net_raw+ep";
    assert_eq!(what(&bundle), expect);
    let refused = commit(&bundle).expect_err("it needs an approval");
    let risk = "who executes it gets capabilities: cap_net_raw";
    assert!(format!("{refused:?}").contains(risk), "{refused:?}");
    assert_eq!((stat(&path).meta.mode, own()), (0o754, Some(RAW.to_vec())));

    let write = fixture.edit("dumpcap", Action::Write(b"new\n".to_vec()));
    let bundle = fixture.bundle(vec![write]);
    let loses = "4 bytes become 4 bytes, loses capabilities cap_net_raw+ep";
    assert_eq!(what(&bundle), loses);
    let refused = commit(&bundle).expect_err("it needs an approval");
    let risk = "it is a program, and its content changes";
    assert!(format!("{refused:?}").contains(risk), "{refused:?}");

    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is foreign");
    let write = fixture.edit("dumpcap", Action::Write(b"new\n".to_vec()));
    let bundle = fixture.bundle(vec![write]);
    assert_eq!(what(&bundle), loses);
    commit(&bundle).expect("it is granted");
    assert_eq!((fixture.read("dumpcap"), own()), (b"new\n".to_vec(), None));
}

#[test]
fn plan_that_needs_an_approval_names_the_approvers() {
    let mut fixture = PlanFixture::lay();
    let policy = GRANTS.replacen(
        "approval = \"none\"",
        "approval = { by = [\"#64005\"], expires = \"10min\" }",
        1,
    );
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
    let path = fixture.file("hosts", "10.0.0.7 db\n");
    let daemon = &fixture.daemon;
    let mut remit = Command::new(daemon.program("remit"));
    remit.arg("--runtime").arg(daemon.runtime().dir());
    remit.args(["plan", "--replace", &path, "10.0.0.7", "10.0.0.8"]);
    user_a().runs(&mut remit);
    remit.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut remit = remit.spawn().expect("it is built");
    let mut said = BufReader::new(remit.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it says something");
    let (before, by) = line
        .split_once(" waits for the approval of another person")
        .unwrap_or_else(|| panic!("{line}"));
    assert!(by.contains("#64005"), "{line}");
    let id = before.split(' ').next_back().expect("it names the job");
    fixture.approve(id.parse().expect("it is an id"));
    let planned = remit.wait_with_output().expect("it ends");
    let page = String::from_utf8(planned.stdout).expect("it is text");
    assert!(page.contains("-10.0.0.7 db\n+10.0.0.8 db\n"), "{page}");
}

const SECRET: &str = "password = 4711\n";

/// A file that only root may read, in a directory that only root may enter.
fn private_file(fixture: &mut PlanFixture) -> String {
    let policy = GRANTS.replace("[\"plan.make\"]", "[\"plan.make\", \"plan.private\"]");
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
    let dir = fixture.at("private.d");
    fs::create_dir(&dir).expect("it is new");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("it is foreign");
    let path = fixture.file("private.d/key", SECRET);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is foreign");
    path
}

/// Fails if these bytes have the secret, or its hash, which is enough to try all passwords.
#[track_caller]
fn tells_nothing(what: &str, bytes: &[u8]) {
    let sha256 = remit_plan::sha256(SECRET.as_bytes());
    for needle in [b"= 4711".as_slice(), &sha256, hex(&sha256).as_bytes()] {
        let is_in = bytes.windows(needle.len()).any(|part| part == needle);
        assert!(!is_in, "{what}: {}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn private_file_is_changed_and_only_its_readers_see_its_bytes() {
    let mut fixture = PlanFixture::lay();
    let path = private_file(&mut fixture);
    let inode = stat(&path).ino;
    let refused = fixture.refused(fixture.edit("private.d/key", Action::Write(b"x".to_vec())));
    assert!(refused.contains("you may not look into"), "{refused}");
    let new = fixture.file("new", "password = 0815\n");
    let planned = fixture.remit(&["--json", "plan", "--private", "--write", &path, &new]);
    tells_nothing("the plan", &planned.stdout);
    let plan: Value = serde_json::from_slice(&planned.stdout)
        .unwrap_or_else(|error| panic!("{error}: {planned:?}"));
    let said = plan["entries"][0].to_string();
    assert!(said.contains("16 old bytes were not read") && said.contains("+password = 0815"));
    let edit = Edit {
        mode: Some(0o640),
        ..fixture.edit(
            "private.d/key",
            Action::Write(b"password = 0815\n".to_vec()),
        )
    };
    let (report, bundle) = fixture.plan_by(edits::PLAN_PRIVATE, vec![edit]);
    tells_nothing("the bundle", &bundle);
    assert!(Bundle::decode(bundle).is_ok(), "{report:?}");

    let id = plan["plan_id"].as_str().expect("an id");
    let job = fixture.asks(&["change", "--plan", id, "-m", "a leak", "--no-wait"]);
    let show = ["show", &job.to_string()];
    let page = String::from_utf8(fixture.daemon.remit(&admin(), &show).stdout).expect("it is text");
    tells_nothing("the page for another user", page.as_bytes());
    for line in [
        "16 old bytes were not read",
        "read it before you approve",
        "0815",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let root = Identity::new(0, &[]);
    let page = String::from_utf8(fixture.daemon.remit(&root, &show).stdout).expect("it is text");
    assert!(
        page.contains("-password = 4711") && page.contains("+password = 0815"),
        "{page}"
    );
    let approved = fixture.approve(job);
    let said = String::from_utf8(approved.stdout).expect("it is text");
    assert_eq!(
        fixture.read("private.d/key"),
        b"password = 0815\n",
        "{said}"
    );
    assert_eq!(stat(&path).meta.mode, 0o600);

    let (_, undo) = said
        .split_once("undo: remit undo ")
        .expect("it says how to undo");
    let id = undo.split_whitespace().next().expect("an id");
    let job = fixture.asks(&["undo", id, "-m", "it was none", "--no-wait"]);
    let page = fixture.daemon.remit(&admin(), &["show", &job.to_string()]);
    tells_nothing("the undo", &page.stdout);
    fixture.approve(job);
    assert_eq!(fixture.read("private.d/key"), SECRET.as_bytes());
    assert_eq!(stat(&path).ino, inode);
}

/// Attack: an answer that depends on the old bytes reveals them, one question after the other.
#[test]
fn private_plan_answers_no_question_about_bytes() {
    let mut fixture = PlanFixture::lay();
    private_file(&mut fixture);
    let edit = |action| fixture.edit("private.d/key", action);
    let patch = |old: &str| Action::Patch(format!("@@ -1 +1 @@\n-{old}+x\n").into_bytes());
    let write = |text: &str| edit(Action::Write(text.as_bytes().to_vec()));
    let believed = |text: &str| Edit {
        base_sha256: Some(remit_plan::sha256(text.as_bytes())),
        ..write("y")
    };
    let other = "password = 4712\n";
    for (right, wrong) in [
        (
            edit(replacement(b"4711", b"x", 1)),
            edit(replacement(b"4712", b"x", 1)),
        ),
        (edit(patch(SECRET)), edit(patch(other))),
        (believed(SECRET), believed(other)),
    ] {
        let answers = [right, wrong].map(|edit| {
            let (report, bytes) = fixture.plan_by(edits::PLAN_PRIVATE, vec![edit]);
            (report.stderr.head.into_vec(), bytes)
        });
        let [right, wrong] = &answers;
        assert_eq!(right, wrong);
        let said = String::from_utf8_lossy(&right.0);
        assert!(
            said.contains("reads no file") && right.1.is_empty(),
            "{said}"
        );
    }
    // The bytes that are there are a change as all others.
    let planned = [write(SECRET), write(other)].map(|edit| {
        let (report, bytes) = fixture.plan_by(edits::PLAN_PRIVATE, vec![edit]);
        let bundle = Bundle::decode(bytes).unwrap_or_else(|error| panic!("{error}: {report:?}"));
        bundle.views().map(|view| view.what()).collect::<Vec<_>>()
    });
    assert_eq!(planned[0], planned[1]);
    assert_eq!(planned[0], ["16 bytes become 16 bytes"]);
}

#[test]
fn private_file_that_changed_after_the_plan_is_kept() {
    let mut fixture = PlanFixture::lay();
    let path = private_file(&mut fixture);
    let new = fixture.file("new", "password = 0815\n");
    let planned = fixture.remit(&["--json", "plan", "--private", "--write", &path, &new]);
    let plan: Value = serde_json::from_slice(&planned.stdout).expect("it is a plan");
    let id = plan["plan_id"].as_str().expect("an id");
    let job = fixture.asks(&["change", "--plan", id, "-m", "a leak", "--no-wait"]);
    // The same inode, size and mode.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("it is there");
    std::io::Write::write_all(&mut file, b"password = 4713\n").expect("it is foreign");
    drop(file);
    let page = fixture
        .daemon
        .remit(&Identity::new(0, &[]), &["show", &job.to_string()]);
    let page = String::from_utf8(page.stdout).expect("it is text");
    assert!(
        !page.contains("password = 471"),
        "only the bytes of the plan are shown: {page}"
    );
    let said = fixture.approve(job);
    assert_eq!(
        fixture.read("private.d/key"),
        b"password = 4713\n",
        "{said:?}"
    );
}

/// Attack: stat(2) is enough for a plan whose base nobody has read.
#[test]
fn file_that_was_not_read_is_not_changed_without_a_person() {
    let mut fixture = PlanFixture::lay();
    without_approval(&mut fixture);
    let path = fixture.file("texts", "old\n");
    let content = Content {
        size: 4,
        sha256: remit_plan::sha256(b"new\n"),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let base = Base {
        stat: stat(&path),
        sha256: None,
        capabilities: OldCapabilities::Unread,
    };
    let change = Change::Replace {
        base,
        content,
        meta: base.stat.meta,
    };
    let path = PlanPath::new(path).expect("it is a path");
    let plan = Plan::new(vec![Entry { path, change }]).expect("it is a plan");
    let bundle = Bundle::new(&plan, b"new\n", b"").expect("it is a bundle");
    let refusal = commit_as(&fixture, &user_b(), &bundle, 20_000).expect_err("it is refused");
    assert!(refusal.message.contains("was not read"), "{refusal:?}");
    assert_eq!(fixture.read("texts"), b"old\n");
}

/// Attack: the owner of a directory that an approved plan makes has a recovery fail, and then all commits are refused.
#[test]
fn one_user_cannot_stop_the_commits_of_all() {
    let fixture = PlanFixture::lay();
    let own = fixture.at("a-own");
    let last = fixture.file("zz", "x\n");
    let entry = |path: String, change| {
        let path = PlanPath::new(path).expect("it is a path");
        Entry { path, change }
    };
    let meta = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let foreign = Metadata {
        mode: 0o755,
        uid: 64_002,
        gid: 64_002,
    };
    let new = New::Directory;
    let mut entries = vec![entry(own.clone(), Change::Create { new, meta: foreign })];
    for number in 0..1_100 {
        let new = New::File(Content {
            size: 1,
            sha256: remit_plan::sha256(b"x"),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        });
        let path = fixture.at(&format!("b-{number:04}"));
        entries.push(entry(path, Change::Create { new, meta }));
    }
    // Only the last step has a lease that a writer can break.
    let base = Base {
        stat: stat(&last),
        sha256: Some(remit_plan::sha256(b"x\n")),
        capabilities: OldCapabilities::Unread,
    };
    let content = Content {
        size: 1,
        sha256: remit_plan::sha256(b"x"),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let replaced = Change::Replace {
        base,
        content,
        meta,
    };
    entries.push(entry(last.clone(), replaced));
    let plan = Plan::new(entries).expect("it is a plan");
    let bundle = Bundle::new(&plan, &b"x".repeat(1_101), b"x\n").expect("it is a bundle");
    let report = commit_as(&fixture, &user_a(), &bundle, 0).expect("it is granted");
    let mine = format!("{own}/mine");
    let opened = thread::scope(|scope| {
        scope.spawn(|| fixture.approve(report.job));
        let until = std::time::Instant::now() + Duration::from_secs(10);
        let private = fixture.at(&format!(".remit-{}", plan.id()));
        while fs::symlink_metadata(&private).is_err() && std::time::Instant::now() < until {}
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        let opened = options.open(&last);
        // As uid 64002 could: the directory is its own.
        while fs::write(&mine, b"x").is_err() && std::time::Instant::now() < until {}
        opened
    });
    let end = Caller::new(&fixture.daemon, &user_a()).end_of(report.job);
    assert!(opened.is_err(), "it has no lease: {:?}", end.ending);
    if fs::exists(&mine).expect("its directory is readable") {
        let exit = end.ending.as_ref().and_then(|ending| ending.exit);
        assert_eq!(exit, Some(3), "{:?}", end.ending);
    }
    let other = fixture.file("other", "x\n");
    let mut said = String::new();
    for _ in 0..20 {
        let bundle = fixture.bundle(vec![fixture.edit("other", Action::Write(b"y\n".to_vec()))]);
        match commit_as(&fixture, &user_a(), &bundle, 0) {
            Ok(report) if report.state == State::AwaitingApproval => return,
            answer => said = format!("{answer:?}"),
        }
        thread::sleep(Duration::from_secs(1));
    }
    panic!("{other}: {said}\n{:?}", end.ending);
}
