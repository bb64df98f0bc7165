//! Programs that run on a copy of the machine, and plans of what they changed there.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_sys::sys;
use remit_tests::caller::Caller;
use remit_tests::daemon::{admin, user_a, user_b};
use remit_tests::process::{Identity, descendants, until};
use remit_wire::outcome::State;
use serde_json::Value;

use super::plans::PlanFixture;

const GRANTS: &str = r##"
[[grant]]
name = "copies"
to = ["#64001", "#64002"]
allow = ["run", "plan.extract"]
run_profile = "plan"
approval = "none"
"##;

pub fn lay() -> PlanFixture {
    let fixture = PlanFixture::lay();
    fixture.loads("20-copies.toml", GRANTS);
    tested(&fixture);
    fixture
}

/// The first policy with copies has their layers tested; this waits for it.
pub fn tested(fixture: &PlanFixture) {
    let tested = fixture.daemon.remit(&admin(), &["doctor"]);
    let tested = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.contains("sandbox   ok"), "{tested}");
}

pub struct Ran {
    pub job: JobId,
    pub out: Output,
    pub answer: Value,
}

impl PlanFixture {
    pub fn loads(&self, name: &str, text: &str) {
        let path = format!("config/policy.d/{name}");
        self.daemon.set_file(&path, text);
        let reloaded = self.daemon.remit(&admin(), &["policy", "reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
    }

    /// Waits until what the test has written is as old as a base must be: two clock ticks. A fast machine starts a job sooner.
    pub fn ages(&self) {
        thread::sleep(Duration::from_millis(25));
    }

    pub fn asks_for(&self, user: &Identity, words: &[&str]) -> Ran {
        self.ages();
        let out = self.daemon.remit(user, &[&["--json"], words].concat());
        let answer: Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        let job = answer["job_id"].as_str().unwrap_or_default();
        let job = job.parse().unwrap_or(JobId([0; 16]));
        Ran { job, out, answer }
    }

    pub fn on_copy(&self, user: &Identity, script: &str) -> Ran {
        self.asks_for(
            user,
            &["run", "--profile", "plan", "--", "sh", "-c", script],
        )
    }

    pub fn extract(&self, user: &Identity, job: JobId) -> Ran {
        let job = format!("job={job}");
        self.asks_for(user, &["run", "--name", "plan.extract", &job])
    }
}

#[test]
fn what_a_job_changed_in_its_copy_is_approved_committed_and_undone() {
    let fixture = lay();
    let old = fixture.file("conf", "old\n");
    let at = fixture.dir.display();
    // A file and a link that replace each other.
    fixture.file("file", "text\n");
    symlink("conf", fixture.dir.join("link")).unwrap();
    let script = format!(
        "id -u && echo new >{old} && mkdir {at}/made && echo x >{at}/made/x && ln -sf conf {at}/file && \
         rm {at}/link && echo own >{at}/link"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{:?}", ran.answer);
    assert_eq!(fs::read_to_string(&old).unwrap(), "old\n");
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let paths: Vec<&str> = shown.answer["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["path"].as_str())
        .collect();
    let expect = ["conf", "file", "link", "made", "made/x"].map(|name| fixture.at(name));
    assert_eq!(paths, expect);
    let kinds: Vec<&str> = ["/entries/1", "/entries/2"]
        .iter()
        .filter_map(|at| shown.answer.pointer(at)?["what"].as_str())
        .collect();
    assert!(
        kinds.len() == 2
            && kinds[0].starts_with("file of 5 bytes, mode ")
            && kinds[0].contains(", becomes a symbolic link")
            && kinds[1].contains(", becomes a file of 4 bytes, mode 0644"),
        "{kinds:?}"
    );
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    let page = fixture
        .daemon
        .remit(&admin(), &["show", &request.to_string()]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for words in ["becomes a symbolic link", "-text", "+conf", "-conf", "+own"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let approved = fixture.approve(request);
    assert!(approved.status.success(), "{approved:?}");
    let ended = fixture
        .daemon
        .remit(&user_a(), &["job", "--wait", &request.to_string()]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(fs::read_to_string(&old).unwrap(), "new\n");
    assert_eq!(
        fs::read_to_string(fixture.dir.join("made/x")).unwrap(),
        "x\n"
    );
    let target = |name: &str| fs::read_link(fixture.dir.join(name)).ok();
    assert_eq!(target("file"), Some("conf".into()));
    assert_eq!(
        (target("link"), fixture.read("link")),
        (None, b"own\n".into())
    );
    let commit = shown.answer["commit_id"].as_str().unwrap_or_default();
    let request = fixture.asks(&["undo", commit, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(fs::read_to_string(&old).unwrap(), "old\n");
    assert!(!fixture.dir.join("made").exists());
    assert_eq!(target("link"), Some("conf".into()));
    assert_eq!(
        (target("file"), fixture.read("file")),
        (None, b"text\n".into())
    );
}

/// As the script of a package sets them. The attribute of a copied file is of the copy's root, and that of the commit of the machine's.
#[test]
fn capabilities_of_a_copy_are_approved_committed_and_undone() {
    const RAW: [u8; 20] = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let name = c"security.capability";
    let fixture = lay();
    let own = |name_of_file: &str| {
        let file = fs::File::open(fixture.dir.join(name_of_file)).unwrap();
        sys::xattr(&file, name).ok()
    };
    for file in ["ping", "written", "touched"] {
        let path = fixture.file(file, "old\n");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let file = fs::File::open(&path).unwrap();
        sys::set_xattr(&file, name, &RAW).unwrap();
    }
    let at = fixture.dir.display();
    let script = format!(
        "cd {at} && cp --preserve=mode,xattr ping new && echo new >>written && chmod 700 touched && chmod 755 touched"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{:?}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let entries = shown.answer["entries"].as_array().unwrap();
    let what: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["what"].as_str())
        .collect();
    assert_eq!(what.len(), 2, "{what:?}");
    assert!(
        what[0].ends_with(", gets capabilities cap_net_raw+ep"),
        "{what:?}"
    );
    assert!(
        what[1].ends_with(", loses capabilities cap_net_raw+ep"),
        "{what:?}"
    );
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    let page = fixture
        .daemon
        .remit(&admin(), &["show", &request.to_string()]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(
        page.contains("who executes it gets capabilities:") && page.contains("+ cap_net_raw"),
        "{page}"
    );
    assert!(fixture.approve(request).status.success());
    let ended = fixture
        .daemon
        .remit(&user_a(), &["job", "--wait", &request.to_string()]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!((own("new"), own("written")), (Some(RAW.to_vec()), None));
    let commit = shown.answer["commit_id"].as_str().unwrap_or_default();
    let request = fixture.asks(&["undo", commit, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let ended = fixture
        .daemon
        .remit(&user_a(), &["job", "--wait", &request.to_string()]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(own("written"), Some(RAW.to_vec()));
    assert!(!fixture.dir.join("new").exists());
}

#[test]
fn large_contents_are_sent_with_the_commit() {
    let fixture = lay();
    let old = fixture.file("large", vec![b'o'; 3 << 20]);
    let at = fixture.dir.display();
    let script = format!(
        "set -e; for n in 1 2 3 4 5 6 7 8; do yes \"$n\" | head -c 700000 >{at}/new-$n; done; \
         yes x | head -c 5000000 >{old}; echo small >{at}/small; ln -s new-1 {at}/link"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(fixture.read("small"), b"small\n");
    let lines = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    assert!(fixture.read("large") == lines("x\n", 5_000_000).into_bytes());
    for n in 1..=8 {
        let expect = lines(&format!("{n}\n"), 700_000).into_bytes();
        assert!(fixture.read(&format!("new-{n}")) == expect, "{n}");
    }
}

#[test]
fn copy_that_its_user_drops_is_gone_and_recorded() {
    let fixture = lay();
    let at = fixture.dir.display();
    let ran = fixture.on_copy(&user_a(), &format!("head -c 3000000 /dev/zero >{at}/new"));
    assert!(ran.out.status.success(), "{}", ran.answer);
    let id = ran.job.to_string();
    // For anybody else there is none.
    let other = fixture.daemon.remit(&user_b(), &["plan", "drop", &id]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(
        !other.status.success() && said.contains("no copy of job"),
        "{said}"
    );
    let dropped = fixture.asks_for(&user_a(), &["plan", "drop", &id]);
    assert!(dropped.out.status.success(), "{}", dropped.answer);
    let bytes = dropped.answer["bytes"].as_u64();
    assert!(bytes.is_some_and(|bytes| bytes > 3_000_000), "{bytes:?}");
    let again = fixture.daemon.remit(&user_a(), &["plan", "drop", &id]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(
        !again.status.success() && said.contains("no copy of job"),
        "{said}"
    );
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(!extracted.out.status.success(), "{}", extracted.answer);
    let drops = fixture.daemon.records("drop");
    assert_eq!(drops.len(), 1, "{drops:?}");
    assert_eq!(drops[0]["REMIT_JOB"], id.as_str());
    assert_eq!(
        drops[0]["REMIT_COPY_BYTES"],
        bytes.unwrap_or_default().to_string().as_str()
    );
}

/// The copy has no hash of a password, so the plan has the new lines.
#[test]
fn an_account_is_planned_by_its_lines() {
    let fixture = lay();
    let ran = fixture.on_copy(&user_a(), "echo remit-test-new:!:2:::::: >>/etc/shadow");
    assert!(ran.out.status.success(), "{:?}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let entries = shown.answer["entries"].as_array();
    let of = |path: &str| {
        let mut entries = entries.into_iter().flatten();
        let found = entries.find(|entry| entry["path"] == path);
        found.map(|entry| entry["diff"].as_str().unwrap_or_default().to_owned())
    };
    let table = of("/etc/shadow").unwrap_or_else(|| panic!("{}", shown.answer));
    let lines: Vec<&str> = table.lines().skip(1).collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with("+remit-test-new:!:")),
        "{table}"
    );
    let ran = fixture.on_copy(&user_a(), "sed -i s/^root:[^:]*/root:secret/ /etc/shadow");
    assert!(ran.out.status.success(), "{:?}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    let stderr = extracted.answer["stderr"].to_string();
    assert!(
        stderr.contains("the password of 'root' was set"),
        "{stderr}"
    );
}

/// A copy has no services: what was asked for is named, and can follow the change.
#[test]
fn acts_that_a_copy_cannot_do_are_named() {
    let fixture = lay();
    let new = fixture.at("new");
    let script = format!(
        "set -e; echo x >{new}; systemctl daemon-reload; systemctl --quiet restart shop a@b.timer; \
         /usr/sbin/policy-rc.d sold start; systemctl start sold
         shown() {{ systemctl show --value -p LoadState,ActiveState \"$@\" | xargs; }}
         test \"$(systemctl is-active shop other)\" = \"$(printf 'active\\ninactive')\"
         ! systemctl is-active -q other.service
         test \"$(shown a@b.timer)\" = 'loaded active'; test \"$(shown other)\" = 'not-found inactive'
         test \"$(systemctl show -P Id shop)\" = shop.service; systemctl show shop | grep -qx SubState=running"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{:?}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let stderr = extracted.answer["stderr"].as_str().unwrap_or_default();
    let then: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.split_once("'then': "))
        .map(|(_, act)| act)
        .collect();
    let expect = [
        "service.daemon_reload",
        "service.restart unit=shop.service",
        "service.restart unit=a@b.timer",
        "service.start unit=sold.service",
    ];
    assert_eq!(then, expect, "{stderr}");
}

/// Root of a copy reads what appears in a directory of the machine's root while its job runs, but nothing of a commit: its
/// directories are nobody's.
#[test]
fn what_a_commit_prepares_is_closed_to_a_job_that_runs_meanwhile() {
    let fixture = lay();
    let conf = fixture.file("conf", "old\n");
    let at = fixture.dir.display();
    let script = format!(
        "cd {at}; echo ready; until ls | grep -qx go; do sleep 0.05; done
         for dir in roots nobodys; do cat $dir/file || echo closed; ls $dir >/dev/null || echo closed; done; cat conf"
    );
    let daemon = &fixture.daemon;
    let mut remit = Command::new(daemon.program("remit"));
    remit.arg("--runtime").arg(daemon.runtime().dir());
    remit.args(["run", "--profile", "plan", "--", "sh", "-c", &script]);
    user_a().runs(&mut remit);
    remit.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut remit = remit.spawn().expect("it is built");
    let mut said = BufReader::new(remit.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    for (name, owner) in [("roots", 0), ("nobodys", 0xffff_0000)] {
        let dir = fixture.dir.join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        fs::write(dir.join("file"), "read\n").unwrap();
        chown(&dir, Some(owner), Some(owner)).unwrap();
    }
    fs::write(fixture.dir.join("go"), "").unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    remit.wait().unwrap();
    assert_eq!(rest, "read\nclosed\nclosed\nold\n", "{conf}");
}

#[test]
fn a_plan_needs_a_job_that_ended_well_its_requester_and_is_made_once() {
    let fixture = lay();
    let touch = format!("echo x >{}/new", fixture.dir.display());
    let failed = fixture.on_copy(&user_a(), &format!("{touch}; exit 3"));
    assert_eq!(failed.out.status.code(), Some(3));
    let why = |ran: &Ran| {
        ran.answer["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let of_failed = fixture.extract(&user_a(), failed.job);
    assert!(
        why(&of_failed).contains("no copy of job"),
        "{}",
        of_failed.answer
    );
    let ran = fixture.on_copy(&user_a(), &touch);
    let of_other = fixture.extract(&user_b(), ran.job);
    assert!(
        why(&of_other).contains("no copy of job"),
        "{}",
        of_other.answer
    );
    let first = fixture.extract(&user_a(), ran.job);
    assert!(first.out.status.success(), "{}", first.answer);
    let second = fixture.extract(&user_a(), ran.job);
    assert!(why(&second).contains("no copy of job"), "{}", second.answer);
    let nothing = fixture.on_copy(&user_a(), "true");
    let of_nothing = fixture.extract(&user_a(), nothing.job);
    assert_eq!(of_nothing.answer["exit"], 1, "{}", of_nothing.answer);
    let stderr = of_nothing.answer["stderr"].as_str().unwrap_or_default();
    assert!(
        stderr.contains("the plan changes nothing"),
        "{}",
        of_nothing.answer
    );
    assert!(!fixture.dir.join("new").exists());
}

#[test]
fn older_copies_of_a_user_go_for_newer_ones() {
    let fixture = lay();
    let touch = format!("echo x >{}/new", fixture.dir.display());
    let jobs: Vec<JobId> = (0..5)
        .map(|_| fixture.on_copy(&user_a(), &touch).job)
        .collect();
    let other = fixture.on_copy(&user_b(), &touch);
    let is_kept = |user: &Identity, job| fixture.extract(user, job).out.status.success();
    assert!(!is_kept(&user_a(), jobs[0]));
    assert!(is_kept(&user_a(), jobs[1]));
    assert!(is_kept(&user_a(), jobs[4]));
    assert!(is_kept(&user_b(), other.job));
}

#[test]
fn verb_runs_shows_and_plans() {
    let fixture = lay();
    let old = fixture.file("conf", "old\n");
    let script = format!("echo said; sed -i s/old/new/ {old}");
    fixture.ages();
    let out = fixture
        .daemon
        .remit(&user_a(), &["plan", "--", "sh", "-c", &script]);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{out:?}");
    assert!(stderr.contains("said\n"), "{stderr}");
    assert!(
        stdout.contains("-old") && stdout.contains("+new"),
        "{stdout}"
    );
    assert!(stdout.contains("remit change --plan"), "{stdout}");
    let failed = fixture
        .daemon
        .remit(&user_a(), &["plan", "--script", "exit 4"]);
    assert_eq!(failed.status.code(), Some(4), "{failed:?}");
    assert!(failed.stdout.is_empty(), "{failed:?}");
    assert_eq!(fs::read_to_string(&old).unwrap(), "old\n");
}

#[test]
fn copies_run_two_at_a_time_for_each_user() {
    let fixture = lay();
    let sleep = [
        "run",
        "--profile",
        "plan",
        "--no-wait",
        "--",
        "sleep",
        "300",
    ];
    let jobs: Vec<Ran> = (0..2)
        .map(|_| fixture.asks_for(&user_a(), &sleep))
        .collect();
    let third = fixture.asks_for(&user_a(), &sleep);
    assert_eq!(third.answer["error"]["code"], "busy", "{}", third.answer);
    let of_other = fixture.on_copy(&user_b(), "true");
    assert!(of_other.out.status.success(), "{}", of_other.answer);
    for ran in jobs {
        let stopped = fixture
            .daemon
            .remit(&user_a(), &["stop", &ran.job.to_string()]);
        assert!(stopped.status.success(), "{stopped:?}");
    }
    let again = fixture.on_copy(&user_a(), "true");
    assert!(again.out.status.success(), "{}", again.answer);
}

const ASKED: &str = r##"
[profile.asked]
base = "plan"
limits = { runtime = "10min", tasks = 64 }

[[grant]]
name = "asked"
to = ["#64001"]
allow = ["run"]
run_profile = "asked"
approval = { by = ["#64005"] }
"##;

#[test]
fn approved_jobs_wait_until_a_copy_is_free() {
    let fixture = lay();
    fixture.loads("30-asked.toml", ASKED);
    // The shell ends well after its child was killed.
    let script = "sleep 300; true";
    let words = ["run", "--profile", "asked", "--no-wait", "--"];
    let words = [&words[..], &["sh", "-c", script]].concat();
    let jobs: Vec<JobId> = (0..3).map(|_| fixture.asks(&words)).collect();
    for job in &jobs {
        let approved = fixture.approves(*job, &["--no-wait"]);
        assert!(approved.status.success(), "{approved:?}");
    }
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut states = || -> Vec<State> {
        let state = |job: &JobId| caller.job(*job, 0).expect("it is known").state;
        jobs.iter().map(state).collect()
    };
    let (running, queued) = (State::Running, State::Queued);
    until("two run", || states() == [running, running, queued]);
    let sleeps = || -> Vec<Pid> {
        let all = descendants(fixture.daemon.pid()).into_iter();
        let all = all.filter(|process| process.name == "sleep");
        all.map(|process| Pid::from_raw(process.pid)).collect()
    };
    until("two jobs sleep", || sleeps().len() == 2);
    // Those that wait take no copy from other users.
    let of_other = fixture.on_copy(&user_b(), "true");
    assert!(of_other.out.status.success(), "{}", of_other.answer);
    assert_eq!(states(), [running, running, queued]);
    kill(sleeps()[0], Signal::SIGKILL).expect("it sleeps");
    until("the third runs", || states()[2] == running);
    until("all have ended", || {
        for sleep in sleeps() {
            let _ = kill(sleep, Signal::SIGKILL);
        }
        !states().contains(&running)
    });
    for job in &jobs {
        let ending = caller.end_of(*job).ending.expect("it has ended");
        assert_eq!((ending.state, ending.exit), (State::Exited, Some(0)));
    }
    let ids: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    let mut at_once = 0;
    for record in fixture.daemon.audit() {
        let is_one = ids.iter().any(|id| record["REMIT_JOB"] == id.as_str());
        match record["REMIT_EVENT"].as_str() {
            Some("intent") if is_one => at_once += 1,
            Some("end") if is_one => at_once -= 1,
            _ => {}
        }
        assert!(at_once <= 2, "{record}");
    }
}

#[test]
fn no_other_program_reads_a_copy() {
    let fixture = lay();
    for words in [
        &["try", "--profile", "plan-extract", "--", "true"][..],
        &[
            "change",
            "--profile",
            "plan-extract",
            "-m",
            "x",
            "--no-wait",
            "--",
            "true",
        ],
    ] {
        let asked = fixture.asks_for(&admin(), words);
        assert!(
            asked.answer["error"].is_object(),
            "{words:?}: {}",
            asked.answer
        );
    }
    let secret = fixture.file("secret", "hidden\n");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let ran = fixture.on_copy(&user_a(), &format!("id -u; cat {secret}"));
    let said = ran.answer["stdout"].as_str().unwrap_or_default();
    assert_eq!(
        (said, ran.out.status.code()),
        ("0\n", Some(1)),
        "{}",
        ran.answer
    );
}

#[test]
fn restart_forgets_copies_and_tests_their_layers_again() {
    let mut fixture = lay();
    let ran = fixture.on_copy(&user_a(), &format!("echo x >{}/new", fixture.dir.display()));
    assert!(ran.out.status.success(), "{}", ran.answer);
    fixture.daemon.restart_cleanly();
    tested(&fixture);
    let extracted = fixture.extract(&user_a(), ran.job);
    let why = extracted.answer["error"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(why.contains("no copy of job"), "{}", extracted.answer);
    assert!(fixture.on_copy(&user_a(), "true").out.status.success());
}
