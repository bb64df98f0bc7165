//! Loads each example of remit-policy(5) and of packaging/examples without warnings, and runs its tests. Interpreters of
//! scripts are checked when the policy is loaded, and again when the script runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use remit_policy::{Diagnostic, Ids, MachineTable, Source};
use remit_policy_compile::load;
use remit_tests::caller::{Caller, cause, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_wire::outcome::State;

use super::scene::{FILE, GRANTS, reload, with};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

pub fn machine() -> MachineTable {
    let ids = |id| Ids { uid: id, gid: id };
    let user = |(name, id): (&str, u32)| (name.to_owned(), ids(id));
    let group = |(name, gid): (&str, u32)| (name.to_owned(), gid);
    let protected = [
        "/etc/remit",
        "/run/remit",
        "/usr/lib/remit",
        "/usr/libexec/remit",
        "/var/lib/remit",
    ];
    MachineTable {
        users: [
            ("root", 0),
            ("www-data", 33),
            ("deploy", 1001),
            ("remit-look", 902),
            ("remit-sql", 905),
            ("remit-notify", 906),
        ]
        .map(user)
        .into(),
        groups: [
            ("adm", 4),
            ("ops", 900),
            ("remit", 901),
            ("remit-admin", 902),
            ("remit-auditors", 903),
        ]
        .map(group)
        .into(),
        hosts: [
            "git.example.com",
            "matrix.example.org",
            "ntfy.sh",
            "hooks.slack.com",
            "api.telegram.org",
        ]
        .map(|host| (host.to_owned(), vec![[192, 0, 2, 7].into()]))
        .into(),
        protected: protected.map(str::to_owned).into(),
        ..MachineTable::default()
    }
}

fn complaints(files: &[(String, String)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(name, text)| Source {
            name: name.clone(),
            text: text.clone().into(),
        })
        .collect();
    let found: Vec<Diagnostic> = match load(&sources, &machine()) {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    found.iter().map(ToString::to_string).collect()
}

/// Files of the package whose commands the examples grant.
fn vendor() -> Vec<(String, String)> {
    let files = [
        "28-root.toml",
        "29-services.toml",
        "50-changes.toml",
        "60-plans.toml",
    ];
    let read = |name: &str| {
        let path = root().join("packaging/policy.d").join(name);
        let text = fs::read_to_string(&path).expect("it is text");
        (path.display().to_string(), text)
    };
    files.map(read).into()
}

fn shipped() -> Vec<(String, String)> {
    let dir = root().join("packaging/examples");
    let entries = fs::read_dir(dir).expect("there are examples");
    let paths = entries.flatten().map(|entry| entry.path());
    let is_policy = |path: &PathBuf| path.extension().is_some_and(|end| end == "toml");
    let mut paths: Vec<PathBuf> = paths.filter(is_policy).collect();
    paths.sort();
    let file = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("it is text");
        (path.display().to_string(), text)
    };
    paths.into_iter().map(file).collect()
}

/// Examples of a page: lines between `.EX` and `.EE`, without those marked as shell.
fn of_page(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    let mut shell = false;
    for (number, line) in (1..).zip(page.lines()) {
        match line {
            ".\\\" shell" => shell = true,
            ".EX" => open = Some((format!("remit-policy.5:{number}"), String::new())),
            ".EE" => found.extend(open.take().filter(|_| !std::mem::take(&mut shell))),
            line => {
                if let Some((_, text)) = &mut open {
                    let plain = [("\\-", "-"), ("\\(aq", "'"), ("\\(ti", "~"), ("\\(ha", "^")];
                    let line = plain
                        .iter()
                        .fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
                    text.push_str(&line.replace("\\e", "\\"));
                    text.push('\n');
                }
            }
        }
    }
    found
}

fn page() -> String {
    fs::read_to_string(root().join("packaging/man/remit-policy.5")).expect("there is a page")
}

#[test]
fn examples_of_page_load_without_warning() {
    let examples = of_page(&page());
    assert!(examples.len() >= 6, "{}", examples.len());
    for example in examples {
        assert_eq!(
            complaints(std::slice::from_ref(&example)),
            [""; 0],
            "{}",
            example.1
        );
        // Its profiles are written beside those of the package.
        let found = complaints(&[vendor(), vec![example.clone()]].concat());
        let is_taken = |one: &&String| one.contains("there is already a profile");
        assert_eq!(found.iter().find(is_taken), None, "{}", example.0);
    }
}

/// Returns the warnings that the example does not say itself. A check in a copy is never without its warning, and a
/// notification needs a script, which its example shows whole.
fn unsaid(example: &str, mut found: Vec<String>) -> Vec<String> {
    for (warning, said) in [
        (
            "runs any program in the profile",
            "runs any program in the profile",
        ),
        ("'/bin/sh' is a shell: ", "It warns of /bin/sh"),
    ] {
        let (is_it, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|one| one.contains(warning));
        assert_eq!(is_it.len(), example.matches(said).count(), "{is_it:?}");
        found = others;
    }
    found
}

#[test]
fn shipped_examples_load_without_warning() {
    let examples = shipped();
    assert!(examples.len() >= 5, "{}", examples.len());
    assert_eq!(complaints(&vendor()), [""; 0], "the package's own");
    for example in &examples {
        let found = complaints(&[vendor(), vec![example.clone()]].concat());
        assert_eq!(unsaid(&example.1, found), [""; 0]);
        let has = |text| example.1.contains(text);
        let parts = match (has("[[command]]"), has("\nargs.")) {
            (_, true) => ["[[test]]", "accepts", "rejects"].as_slice(),
            (true, false) => &["[[test]]", "accepts"],
            (false, false) => &["[[test]]"],
        };
        for part in parts {
            assert!(example.1.contains(part), "{}: no {part}", example.0);
        }
    }
    let all = [vendor(), examples].concat();
    let texts: String = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(unsaid(&texts, complaints(&all)), [""; 0], "all together");
}

/// A failing test table refuses the load, so tests of examples can fail.
#[test]
fn an_example_that_says_something_else_is_refused() {
    for (name, text) in shipped() {
        let (allow, deny) = ("verdict = \"allow\"", "verdict = \"deny\"");
        let mut verdicts = [allow, "verdict = \"ask\""].into_iter();
        // An example without a grant tests that there is none.
        let verdict = match text.contains("[[grant]]") {
            true => verdicts.find(|verdict| text.contains(verdict)),
            false => Some(deny),
        };
        let verdict = verdict.expect("it tests what it grants");
        let wrong = text.replacen(verdict, if verdict == deny { allow } else { deny }, 1);
        assert_ne!(
            complaints(&[vendor(), vec![(name.clone(), wrong)]].concat()),
            [""; 0],
            "{name}"
        );
        if !text.contains("rejects = [") {
            continue;
        }
        let wrong = text.replacen("rejects = [", "accepts = [", 1);
        assert_ne!(
            complaints(&[vendor(), vec![(name.clone(), wrong)]].concat()),
            [""; 0],
            "{name}"
        );
    }
}

fn keys(text: &str) -> Vec<String> {
    let said = complaints(&[("a.toml".into(), text.into())]).join("\n");
    let list = said.split("valid keys: ").nth(1);
    let list = list.unwrap_or_else(|| panic!("no list of keys: {said}"));
    let line = list.lines().next().unwrap_or_default();
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_page_tells_every_key() {
    let page = page();
    let words: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(".B"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let command = "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\", \"{x}\"]\n\
                   effect = \"read\"\nprofile = \"read\"\n";
    let mut tables = vec![
        "[[command]]\nbogus = 1".to_owned(),
        "[profile.x]\nbogus = 1".to_owned(),
        "[profile.x]\nbase = \"strict\"\nlimits = { bogus = 1 }".to_owned(),
        "[[grant]]\nbogus = 1".to_owned(),
        "[[grant]]\nto = []\nallow = []\napproval = { bogus = 1 }".to_owned(),
        "[[deny]]\nbogus = 1".to_owned(),
        "[[test]]\nbogus = 1".to_owned(),
    ];
    for kind in [
        "string", "int", "enum", "bool", "unit", "user", "package", "path", "secret",
    ] {
        tables.push(format!(
            "{command}args.x = {{ type = \"{kind}\", bogus = 1 }}\n"
        ));
    }
    for table in tables {
        let keys = keys(&table);
        assert!(keys.len() >= 2, "{table}: {keys:?}");
        for key in keys {
            assert!(words.contains(&key.as_str()), "{table}: '{key}'");
        }
    }
}

const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO \
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON \
    BPF CHECKPOINT_RESTORE";

#[test]
fn page_lists_exactly_refused_capabilities() {
    let page = page();
    let (_, rest) = page
        .split_once(".SS What capabilities are refused")
        .expect("there is a section");
    let (section, _) = rest.split_once(".SS ").expect("another follows");
    for name in CAPABILITIES.split_whitespace() {
        let refused = |base: &str, network: &str| {
            let text = format!(
                "[profile.x]\nbase = \"{base}\"\nnetwork = \"{network}\"\ncapabilities = [\"CAP_{name}\"]\n"
            );
            let found = complaints(&[("a.toml".into(), text)]);
            found.iter().any(|line| line.contains("error"))
        };
        let somewhere =
            refused("read", "none") || refused("strict", "host") || refused("strict", "none");
        let is_listed = section
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == format!("CAP_{name}"));
        assert_eq!(is_listed, somewhere, "CAP_{name}");
    }
}

#[test]
fn examples_of_a_page_are_found() {
    let page = ".EX\na \\- b\n.EE\n.\\\" shell\n.EX\nc\n.EE\n.EX\n\\eq\n.EE\n";
    assert_eq!(
        of_page(page),
        [
            ("remit-policy.5:1".to_owned(), "a - b\n".to_owned()),
            ("remit-policy.5:8".to_owned(), "\\q\n".to_owned()),
        ]
    );
}

struct InterpreterFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl InterpreterFixture {
    fn lay() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-interpreters-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::copy("/usr/bin/dash", dir.join("sh"))
            .or_else(|_| fs::copy("/bin/sh", dir.join("sh")))
            .expect("there is a shell");
        let fixture = Self {
            dir,
            daemon: with(""),
        };
        fixture.script(&format!(
            "#!{}\necho interpreted\n",
            fixture.dir.join("sh").display()
        ));
        fixture
    }

    fn script(&self, text: &str) {
        let script = self.dir.join("script");
        fs::write(&script, text).expect("it is ours");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn load(&self) -> Result<(), String> {
        let dir = self.dir.display();
        let policy = format!(
            "[profile.tools]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{dir}\"]\n\n\
             [[command]]\nname = \"site.script\"\nsummary = \"is a script\"\nargv = [\"{dir}/script\"]\n\
             effect = \"read\"\nprofile = \"tools\"\n{GRANTS}"
        );
        self.daemon.set_file(FILE, &policy);
        reload(&self.daemon)
            .map(|_| ())
            .map_err(|refusal| refusal.message)
    }

    fn owner(&self, path: &Path, uid: u32) {
        chown(path, Some(uid), None).expect("the tests run as root");
    }
}

impl Drop for InterpreterFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn c18_script_with_unsafe_interpreter_is_refused() {
    let fixture = InterpreterFixture::lay();
    fixture.owner(&fixture.dir.join("sh"), 64_001);
    let why = fixture.load().expect_err("its interpreter is user A's");
    assert!(why.contains("its interpreter"), "{why}");
    assert!(why.contains("owned by uid 64001"), "{why}");
    fixture.owner(&fixture.dir.join("sh"), 0);
    fixture.load().expect("it is root's");
}

#[test]
fn c18_interpreter_with_new_owner_runs_nothing() {
    let fixture = InterpreterFixture::lay();
    fixture.load().expect("it is root's");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let run = || named("site.script", &[]);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(stdout(&report), "interpreted\n", "{report:?}");
    fixture.owner(&fixture.dir.join("sh"), 64_001);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, ""),
        "{report:?}"
    );
    assert!(cause(&report).contains("its interpreter"), "{report:?}");
    // Through env(1): a name and options are accepted, a variable assignment is not.
    fixture.owner(&fixture.dir.join("sh"), 0);
    for (text, state) in [
        ("#!/usr/bin/env sh\necho interpreted\n", State::Exited),
        ("#!/usr/bin/env -S sh -e\necho interpreted\n", State::Exited),
        (
            "#!/usr/bin/env A=b sh\necho interpreted\n",
            State::NotStarted,
        ),
    ] {
        fixture.script(text);
        let report = caller.run(run()).expect("it is granted");
        assert_eq!(report.state, state, "{text}: {report:?}");
    }
}

/// env(1) finds an interpreter on the job's PATH. There is only one PATH, and load and approval check it.
#[test]
fn a03_no_profile_or_command_sets_own_path() {
    let fixture = InterpreterFixture::lay();
    let dir = fixture.dir.display();
    let policy = |of_profile: &str, of_command: &str| {
        format!(
            "[profile.tools]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{dir}\"]\n{of_profile}\n\
             [[command]]\nname = \"site.script\"\nsummary = \"is a script\"\nargv = [\"{dir}/script\"]\n\
             effect = \"read\"\nprofile = \"tools\"\n{of_command}\n{GRANTS}"
        )
    };
    let load = |policy: String| {
        fixture.daemon.set_file(FILE, &policy);
        reload(&fixture.daemon).map_err(|refusal| refusal.message)
    };
    let env = format!("env = {{ PATH = \"{dir}/own.d:/usr/bin\" }}");
    for policy in [policy(&env, ""), policy("", &env)] {
        let why = load(policy).expect_err("it has a path of its own");
        assert!(why.contains("'PATH' is the same for every job"), "{why}");
    }
    let env = "env = { PATHS = \"/srv\" }";
    load(policy(env, env)).expect("any other variable may be set");
}
