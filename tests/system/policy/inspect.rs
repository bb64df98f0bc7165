//! Commands that inspect, by the shipped program: what they show of hostile files and processes, and what they refuse.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use remit_common::inspect::LOOK;
use remit_tests::caller::{Caller, named, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::test_dir::install_look;
use remit_wire::outcome::{JobReport, Stream};
use serde_json::Value;

use super::scene::{FILE, asked, exit, reload, with};

fn command(name: &str, profile: &str, words: &str, args: &str) -> String {
    format!(
        "[[command]]\nname = \"{name}\"\nsummary = \"looks\"\nargv = [\"{LOOK}\", {words}]\neffect = \"read\"\n\
         profile = \"{profile}\"\n{args}\n\n"
    )
}

const DIRECTORY: &str = "args.directory = { type = \"path\", under = \"/\", is = \"directory\", pass = \"descriptor\" }";
const PROFILES: &str = "[profile.p]\nbase = \"read\"\ninspect = \"processes\"\n\n\
                        [profile.n]\nbase = \"read\"\ninspect = \"names\"\n\n";
const BY_NAME: &str = "\n[[grant]]\nname = \"inspect\"\nto = [\"#64001\"]\n\
                       allow = [\"a.deleted\", \"a.plain\", \"a.open\", \"a.list\", \"a.explain\", \"a.io\"]\n";

fn has_landlock() -> bool {
    std::env::var("REMIT_TEST_LANDLOCK").map_or(true, |value| value != "none")
}

fn daemon() -> Daemon {
    install_look();
    let daemon = with("");
    let all = [
        command("a.deleted", "p", "\"deleted-files\", \"1000\"", ""),
        command("a.plain", "read", "\"deleted-files\", \"1000\"", ""),
        command(
            "a.open",
            "p",
            "\"open-files\", \"process\", \"{pid}\", \"100\"",
            "args.pid = { type = \"int\", min = 1, max = 4194304 }",
        ),
        command("a.io", "p", "\"unit-io\", \"1\", \"10\"", ""),
        command(
            "a.list",
            "n",
            "\"list-directory\", \"{directory}\", \"10\"",
            DIRECTORY,
        ),
        command(
            "a.explain",
            "n",
            "\"explain-disk\", \"{directory}\", \"10\"",
            DIRECTORY,
        ),
    ];
    let others =
        "\n[[grant]]\nname = \"others\"\nto = [\"#0\", \"#64002\"]\nallow = [\"run\", \"a.*\"]\n";
    daemon.set_file(FILE, &(all.concat() + PROFILES + BY_NAME + others));
    let _ = reload(&daemon).expect("it loads");
    daemon
}

fn looks(daemon: &Daemon, name: &str, args: &[(&str, &str)]) -> JobReport {
    asked(daemon, &user_a(), named(name, args)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn lines(report: &JobReport) -> Vec<Value> {
    objects(&stdout(report))
}

fn objects(out: &str) -> Vec<Value> {
    let json = out.lines().filter(|line| line.starts_with('{'));
    json.map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

/// A private directory of root with hostile names, and a process of root that holds a deleted file of it.
fn private(dir: &Path) -> Child {
    fs::create_dir(dir).expect("the directory is writable");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let hostile = dir.join("two\nlines \u{1b}[31m");
    fs::write(&hostile, "x").expect("it is ours");
    let deleted = dir.join("deleted\n{\"bytes\":1}");
    let mut file = File::create(&deleted).expect("it is ours");
    file.write_all(&[b'x'; 300_000]).expect("it is ours");
    let holder = Command::new("/bin/sleep")
        .arg("1000")
        .stdin(file)
        .stdout(Stdio::null())
        .spawn()
        .expect("sleep starts");
    fs::remove_file(&deleted).expect("it is ours");
    holder
}

#[test]
fn processes_and_private_names_are_shown_escaped() {
    let daemon = daemon();
    let dir = daemon.path().join("private");
    let mut holder = private(&dir);
    let pid = holder.id().to_string();

    let deleted = looks(&daemon, "a.deleted", &[]);
    assert_eq!(exit(&deleted), Some(0), "{deleted:?}");
    // Among those of the whole machine.
    let mut caller = Caller::new(&daemon, &user_a());
    let all = caller.whole(deleted.job, Stream::Stdout, 1 << 18);
    let found = objects(&String::from_utf8_lossy(&all));
    let held_by = holder.id();
    let is_held = |one: &&Value| one["holders"][0]["pid"] == held_by;
    let held = found.iter().find(is_held).expect("it is found");
    assert_eq!(held["length"], 300_000, "{held}");
    assert_eq!(held["holders"][0]["program"], "sleep", "{held}");
    let name = held["file"].as_str().expect("a text");
    assert!(name.ends_with("deleted\\n{\"bytes\":1}"), "{name}");
    let layers = &deleted.enforced.as_ref().expect("it ran").layers;
    assert!(!layers.contains(&"landlock".to_owned()), "{layers:?}");
    assert!(layers.contains(&"seccomp".to_owned()), "{layers:?}");

    let open = lines(&looks(&daemon, "a.open", &[("pid", &pid)]));
    let exe = open
        .iter()
        .find(|one| one["descriptor"] == "exe")
        .expect("it has a program");
    assert!(
        exe["file"].as_str().expect("a text").ends_with("/sleep"),
        "{exe}"
    );

    let at = dir.display().to_string();
    if !has_landlock() {
        let named = named("a.list", &[("directory", at.as_str())]);
        let refused = asked(&daemon, &user_a(), named).expect_err("it is refused");
        assert!(refused.message.contains("no Landlock"), "{refused}");
        let _ = (holder.kill(), holder.wait());
        return daemon.stop();
    }
    let listed = looks(&daemon, "a.list", &[("directory", &at)]);
    let names = lines(&listed);
    assert_eq!(names.len(), 1, "{listed:?}");
    assert_eq!(names[0]["name"], "two\\nlines \\x1b[31m", "{names:?}");
    assert!(!stdout(&listed).contains('\u{1b}'));
    let layers = &listed.enforced.as_ref().expect("it ran").layers;
    assert!(layers.contains(&"landlock".to_owned()), "{layers:?}");

    for number in 0..3000 {
        fs::write(dir.join(format!("{number:05}")), "").expect("it is ours");
    }
    let listed = looks(&daemon, "a.list", &[("directory", &at)]);
    assert_eq!(lines(&listed).len(), 10, "{listed:?}");
    let said = String::from_utf8_lossy(&listed.stderr.head).into_owned();
    assert!(said.contains("10 of 3001 names"), "{said}");

    let explained = looks(&daemon, "a.explain", &[("directory", &at)]);
    assert!(stdout(&explained).contains("in use (df)"), "{explained:?}");
    assert_eq!(exit(&explained), Some(0), "{explained:?}");
    let _ = (holder.kill(), holder.wait());
    daemon.stop();
}

/// Whoever has more names open than the command has memory must not hide by that.
#[test]
fn many_long_names_of_one_process_are_looked_at_one_by_one() {
    install_look();
    let daemon = with("");
    let words = "\"open-files\", \"file\", \"/no/such/file\", \"100\"";
    let small = PROFILES.replacen(
        "processes\"\n",
        "processes\"\nlimits = { memory = \"24M\" }\n",
        1,
    );
    let grant = "\n[[grant]]\nto = [\"#64001\"]\nallow = [\"a.open\"]\n";
    daemon.set_file(FILE, &(command("a.open", "p", words, "") + &small + grant));
    let _ = reload(&daemon).expect("it loads");
    let mut long = daemon.path().to_path_buf();
    while long.as_os_str().len() < 3700 {
        long.push("n".repeat(250));
    }
    fs::create_dir_all(&long).expect("it is ours");
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it has a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a soft limit may be raised");
    let open: Vec<File> = (0..10_000)
        .map(|_| File::open(&long).expect("it is ours"))
        .collect();
    let looked = looks(&daemon, "a.open", &[]);
    assert_eq!(exit(&looked), Some(0), "{looked:?}");
    assert!(stdout(&looked).contains("none of"), "{looked:?}");
    drop(open);
    daemon.stop();
}

/// What may inspect is the policy's to hold. The program holds it too: its words would otherwise read files by the right.
#[test]
fn other_words_and_programs_get_no_right() {
    let daemon = daemon();
    let text = "args.path = { type = \"string\", pattern = '/.+', max = 1024 }";
    let private_file = "\"private-file\", \"{path}\", \"100\"";
    let copied = daemon.program("remit-look").display().to_string();
    for (policy, why) in [
        (
            command("a.deleted", "p", private_file, text),
            "with deleted-files or open-files or unit-io",
        ),
        (
            command("a.deleted", "p", "\"deleted-files\", \"9\"", "").replace(LOOK, &copied),
            "is for '/usr/libexec",
        ),
        (
            command(
                "a.list",
                "n",
                "\"list-directory\", \"{directory}\", \"9\"",
                &format!("{DIRECTORY}\nstdin = \"caller\""),
            ),
            "gives no standard input",
        ),
        (
            command("a.deleted", "n", "\"deleted-files\", \"9\"", ""),
            "with explain-disk or list-directory",
        ),
    ] {
        daemon.set_file(FILE, &(policy + PROFILES));
        let refused = reload(&daemon).expect_err("it does not load");
        assert!(refused.message.contains(why), "{refused}");
    }
    daemon.stop();

    let with_right = |capability: &str, words: &[&str]| {
        let right = format!("+{capability}");
        let mut setpriv = Command::new("setpriv");
        setpriv.args([
            "--reuid",
            "65534",
            "--clear-groups",
            "--inh-caps",
            &right,
            "--ambient-caps",
            &right,
            LOOK,
        ]);
        let output = setpriv.args(words).output().expect("setpriv runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (capability, why) in [
        ("sys_ptrace", "inspect = \"processes\" is for"),
        ("dac_read_search", "inspect = \"names\" is for"),
    ] {
        for words in [
            &["private-file", "/etc/hosts", "9"][..],
            &["cron"],
            &["logs"],
            &[],
        ] {
            let (did, said) = with_right(capability, words);
            assert!(!did && said.contains(why), "{capability} {words:?}: {said}");
        }
    }
    assert!(with_right("chown", &["private-file", "/etc/hosts", "9"]).0);
}

/// In `read` a filter of a job's own is answered and not installed. The program tries its own, and then does not look.
#[test]
fn program_looks_only_behind_its_own_filter() {
    let daemon = daemon();
    let plain = looks(&daemon, "a.plain", &[]);
    assert_eq!(exit(&plain), Some(1), "{plain:?}");
    let said = String::from_utf8_lossy(&plain.stderr.head).into_owned();
    assert!(
        said.contains("inspect = \"processes\"") && stdout(&plain).is_empty(),
        "{plain:?}"
    );
    // User B has a pattern, which never includes it.
    let refused =
        asked(&daemon, &user_b(), named("a.deleted", &[])).expect_err("it is not granted");
    assert_eq!(
        refused.code,
        remit_common::refusal::Code::NotFound,
        "{refused}"
    );
    daemon.stop();
}

#[test]
fn processes_that_end_meanwhile_do_no_harm() {
    let daemon = daemon();
    let mut forks = Command::new("/bin/sh")
        .args(["-c", "while :; do /bin/true; done"])
        .spawn()
        .expect("sh starts");
    for name in ["a.deleted", "a.io", "a.deleted", "a.io"] {
        let report = looks(&daemon, name, &[]);
        assert_eq!(exit(&report), Some(0), "{name}: {report:?}");
    }
    let _ = (forks.kill(), forks.wait());
    daemon.stop();
}

#[test]
fn required_landlock_refuses_processes() {
    if !has_landlock() {
        return;
    }
    install_look();
    let daemon = Daemon::start(Options {
        config: "[sandbox]\nrequire = [\"landlock\"]\n".into(),
        ..Options::default()
    });
    let policy = command("a.deleted", "p", "\"deleted-files\", \"10\"", "");
    let grant = "\n[[grant]]\nto = [\"#64001\"]\nallow = [\"a.deleted\"]\n";
    daemon.set_file(FILE, &(policy + PROFILES + grant));
    let _ = reload(&daemon).expect("it loads");
    let refused = asked(&daemon, &user_a(), named("a.deleted", &[])).expect_err("it is refused");
    assert!(refused.message.contains("sandbox.require"), "{refused}");
    daemon.stop();
}
