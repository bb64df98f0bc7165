//! A daemon whose user A may run programs in `read`, and the attack program in profiles on top of `strict`. In the table in
//! SECURITY.md each pool has a layer, a limit or a sentence, and a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use remit_tests::attack;
use remit_tests::caller::{Caller, change, run};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::test_dir::{TestDir, built};
use remit_wire::outcome::JobReport;
use remit_wire::{Bytes, Run, What};

/// Has no account.
pub const NAMED: u32 = 64_078;

pub struct Arena {
    pub daemon: Daemon,
    pub test_dir: TestDir,
    caller: Caller,
}

impl Arena {
    pub fn new(options: Options) -> Self {
        let test_dir = TestDir::new();
        let _ = test_dir.program(&built().join("remit-attack"));
        let _ = test_dir.directory("given");
        fs::set_permissions(
            test_dir.path().join("given"),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .expect("the directory is ours");
        let policy = policy(test_dir.path());
        let daemon = Daemon::start(Options { policy, ..options });
        let caller = Caller::new(&daemon, &user_a());
        Self {
            daemon,
            test_dir,
            caller,
        }
    }

    pub fn granted_path(&self, name: &str) -> String {
        let path = self.test_dir.path().join("given").join(name);
        path.display().to_string()
    }

    pub fn attack(&self, profile: &str, words: &[&str]) -> Run {
        let program = self.test_dir.path().join("bin/remit-attack");
        let program = program.display().to_string();
        let all = std::iter::once(program.as_str()).chain(words.iter().copied());
        let argv = all.map(|word| Bytes::from(word.as_bytes().to_vec()));
        Run {
            profile: (profile != "read").then(|| profile.to_owned()),
            ..run(What::Argv(argv.collect()))
        }
    }

    pub fn report(&mut self, run: Run) -> JobReport {
        self.caller.run(run).expect("it is granted")
    }

    pub fn tries(&mut self, profile: &str, words: &[&str]) -> Outcome {
        let run = self.attack(profile, words);
        self.outcome(run)
    }

    pub fn changes(&mut self, name: &str) -> Outcome {
        self.outcome(change(name, &[]))
    }

    fn outcome(&mut self, run: Run) -> Outcome {
        let report = self.report(run);
        let signal = report.ending.as_ref().and_then(|ending| ending.signal);
        let outcome = Outcome::read(&String::from_utf8_lossy(&report.stdout.head), signal);
        match outcome {
            Outcome::Broken(why) => Outcome::Broken(format!("{why} {report:?}")),
            outcome => outcome,
        }
    }

    pub fn number(&mut self, profile: &str, words: &[&str]) -> u64 {
        match self.tries(profile, words) {
            Outcome::Done(said) => said.parse().expect("a number"),
            other => panic!("{profile} {words:?}: {other:?}"),
        }
    }

    pub fn is_refused(&mut self, profiles: &[&str], words: &[&str], errno: i32) {
        for profile in profiles {
            let seen = self.tries(profile, words);
            let refused = matches!(seen, Outcome::Refused(seen) if seen == errno);
            assert!(refused, "{words:?} in {profile}: {seen:?}");
        }
    }
}

fn policy(test_dir: &Path) -> String {
    let test_dir = test_dir.display();
    let program = format!("{test_dir}/bin/remit-attack");
    let mut text = String::new();
    for (name, more) in [
        ("walled", "network = \"loopback\"".to_owned()),
        (
            "named",
            format!("user = \"#{NAMED}\"\nlimits = {{ tasks = 20 }}"),
        ),
        ("root", "user = \"root\"".to_owned()),
    ] {
        text += &format!(
            "[profile.{name}]\nbase = \"strict\"\nexec = [\"{test_dir}/bin\"]\n{more}\n\n\
             [[grant]]\nname = \"{name}\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"{name}\"\n\n"
        );
    }
    // Profiles that may change the host cannot be granted for `run`.
    for (profile, more, commands) in [
        (
            "changes",
            "capabilities = [\"CAP_SETUID\"]".to_owned(),
            &[("inotify", "\"inotify-as\", \"64079\"")][..],
        ),
        (
            "writes",
            format!("write = [\"{test_dir}/given\"]\nleads_to_root = true"),
            &[
                ("memory", "\"grow-memory\", \"3221225472\""),
                ("small", "\"grow-memory\", \"1073741824\""),
                (
                    "file",
                    "\"grow-file\", \"TEST_DIR/given/large\", \"3221225472\"",
                ),
                (
                    "whiteout",
                    "\"whiteout\", \"TEST_DIR/given/from\", \"TEST_DIR/given/to\"",
                ),
                ("filter", "\"socket-filter\""),
            ],
        ),
    ] {
        text += &format!(
            "[profile.{profile}]\nbase = \"strict\"\nexec = [\"{test_dir}/bin\"]\n{more}\n\n"
        );
        for (name, words) in commands {
            let words = words.replace("TEST_DIR", &test_dir.to_string());
            text += &format!(
                "[[command]]\nname = \"{profile}.{name}\"\nsummary = \"Try it\"\neffect = \"change\"\n\
                 profile = \"{profile}\"\nargv = [\"{program}\", {words}]\n\n"
            );
        }
    }
    text + "[[grant]]\nname = \"test\"\nto = [\"#0\", \"#64001\", \"#64002\"]\nallow = [\"run\"]\n\
            profile = \"read\"\napproval = \"none\"\n\n\
            [[grant]]\nname = \"commands\"\nto = [\"#64001\"]\nallow = [\"changes.*\", \"writes.*\"]\neffect = \"change\"\n"
}

pub fn security() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md");
    fs::read_to_string(path).expect("the repository has it")
}

/// Columns: pool, counted for, protection, test.
fn rows(document: &str) -> Vec<[String; 4]> {
    let begin = document
        .find("\n## Pools of the machine\n")
        .expect("there is the table");
    let section = &document[begin + 4..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        <[String; 4]>::try_from(cells).unwrap_or_else(|_| panic!("four columns: {line}"))
    };
    lines.skip(2).map(cells).collect()
}

fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for part in [
        "tests/system",
        "daemon/confine",
        "daemon/spawner",
        "daemon/warden/src",
    ] {
        for file in sources(&root.join(part)) {
            let text = fs::read_to_string(&file).expect("it can be read");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                match line
                    .strip_prefix("fn ")
                    .and_then(|rest| rest.split('(').next())
                {
                    Some(name) if marked => {
                        found.insert(name.to_owned());
                        marked = false;
                    }
                    _ => marked = line == "#[test]" || marked && line.starts_with("#["),
                }
            }
        }
    }
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_pool_has_defense_and_test() {
    let (document, tests) = (security(), tests());
    let rows = rows(&document);
    assert!(rows.len() > 40, "{}", rows.len());
    let mut pools = BTreeSet::new();
    for [pool, counted, mechanism, shown] in &rows {
        assert!(pools.insert(pool), "'{pool}' is there twice");
        assert!(!counted.is_empty(), "{pool}");
        let kind = mechanism.split(':').next().unwrap_or_default();
        assert!(
            ["wall", "limit", "sentence"].contains(&kind),
            "{pool}: {kind}"
        );
        let names: Vec<&str> = shown
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .collect();
        assert!(!names.is_empty(), "{pool}");
        for name in names {
            let is_known = tests.contains(name)
                || attack::named(name).is_some()
                || attack::allowed::named(name).is_some();
            assert!(
                is_known,
                "{pool}: there is no test, attack or check '{name}'"
            );
        }
    }
}
