//! Loads each example of remit-policy(5) and of packaging/examples without warnings, and runs its tests.

use std::fs;
use std::path::{Path, PathBuf};

use remit_policy::{Diagnostic, Ids, MachineTable, Source};
use remit_policy_compile::load;

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
        hosts: [(
            "git.example.com".to_owned(),
            vec!["192.0.2.7".parse().expect("an address")],
        )]
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

fn vendor() -> (String, String) {
    let path = root().join("packaging/policy.d/50-changes.toml");
    let text = fs::read_to_string(&path).expect("it is text");
    (path.display().to_string(), text)
}

fn shipped() -> Vec<(String, String)> {
    let dir = root().join("packaging/examples");
    let entries = fs::read_dir(dir).expect("there are examples");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
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
    }
}

#[test]
fn shipped_examples_load_without_warning() {
    let examples = shipped();
    assert!(examples.len() >= 5, "{}", examples.len());
    assert_eq!(complaints(&[vendor()]), [""; 0], "the package's own");
    for example in &examples {
        assert_eq!(complaints(&[vendor(), example.clone()]), [""; 0]);
        let parts = match example.1.contains("[[command]]") {
            true => ["[[test]]", "accepts", "rejects"].as_slice(),
            false => &["[[test]]"],
        };
        for part in parts {
            assert!(example.1.contains(part), "{}: no {part}", example.0);
        }
    }
    let all = [vec![vendor()], examples].concat();
    assert_eq!(complaints(&all), [""; 0], "all together");
}

/// A failing test table refuses the load, so tests of examples can fail.
#[test]
fn an_example_that_says_something_else_is_refused() {
    for (name, text) in shipped() {
        let wrong = text.replacen("verdict = \"allow\"", "verdict = \"deny\"", 1);
        assert_ne!(wrong, text, "{name}");
        assert_ne!(
            complaints(&[vendor(), (name.clone(), wrong)]),
            [""; 0],
            "{name}"
        );
        if !text.contains("rejects = [") {
            continue;
        }
        let wrong = text.replacen("rejects = [", "accepts = [", 1);
        assert_ne!(
            complaints(&[vendor(), (name.clone(), wrong)]),
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
