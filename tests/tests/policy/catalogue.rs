//! The commands that the package brings: without a complaint, those granted to everybody only look, and the page about
//! them tells of each.

use std::fmt::Write;
use std::fs;

use remit_common::wire::Effect;
use remit_policy::{Command, Policy, Source, load};

use super::documents::{machine, root};

/// The vendor's files, and the one of the administrator that is installed with them.
fn shipped() -> Vec<Source> {
    let dir = root().join("packaging/policy.d");
    let entries = fs::read_dir(dir).expect("the package brings a policy");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let sources = paths.into_iter().map(|path| Source {
        name: path.display().to_string(),
        text: fs::read(&path).expect("it can be read"),
    });
    sources.collect()
}

fn policy() -> Policy {
    match load(&shipped(), &machine()) {
        Ok((policy, warnings)) => {
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings, Vec::<String>::new());
            policy
        }
        Err(errors) => panic!(
            "{}",
            errors.iter().map(ToString::to_string).collect::<String>()
        ),
    }
}

/// Each file can be masked without the others.
#[test]
fn each_file_of_the_package_stands_alone() {
    for source in shipped() {
        let name = source.name.clone();
        if let Err(errors) = load(&[source], &machine()) {
            panic!(
                "{name}: {}",
                errors.iter().map(ToString::to_string).collect::<String>()
            );
        }
    }
}

/// Roff of a line of text.
fn roff(text: &str) -> String {
    let escaped = [
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("~", "\\(ti"),
        ("^", "\\(ha"),
        ("`", "\\(ga"),
        ("…", "..."),
    ];
    let text = escaped
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// The page, between a head and a foot that are written by hand.
fn page(policy: &Policy) -> String {
    let mut page = String::new();
    for (title, effect) in [
        ("COMMANDS THAT LOOK", Effect::Read),
        ("COMMANDS THAT CHANGE", Effect::Change),
    ] {
        let _ = writeln!(page, ".SH {title}");
        let mut area = "";
        for command in policy.commands().filter(|command| command.effect == effect) {
            let of = command.name.split('.').next().unwrap_or_default();
            if of != area {
                let _ = writeln!(page, ".SS {of}");
                area = of;
            }
            about(&mut page, command);
        }
    }
    page
}

fn about(page: &mut String, command: &Command) {
    let _ = writeln!(page, ".TP\n.B {}", roff(&command.usage()));
    let _ = writeln!(page, "{}.", roff(&command.summary));
    for line in command.describe() {
        let _ = writeln!(page, ".br\n{}", roff(&line));
    }
    if command.profile.name != "read" {
        let _ = writeln!(page, ".br\nprofile: {}", roff(&command.profile.name));
    }
}

/// `REMIT_WRITE_PAGES=1` writes the page anew.
#[test]
fn the_page_tells_of_each_command() {
    let path = root().join("packaging/man/remit-commands.7");
    let old = fs::read_to_string(&path).expect("there is a page");
    let (head, rest) = old
        .split_once(".SH COMMANDS THAT LOOK\n")
        .expect("it has a head");
    let (_, foot) = rest.split_once(".SH SEE ALSO\n").expect("it has a foot");
    let new = format!("{head}{}.SH SEE ALSO\n{foot}", page(&policy()));
    if std::env::var_os("REMIT_WRITE_PAGES").is_some() {
        fs::write(&path, &new).expect("it can be written");
    }
    assert!(
        old == new,
        "make it anew: REMIT_WRITE_PAGES=1 cargo test -p remit-tests --test policy the_page"
    );
}

/// Whoever may use the socket may use those of the grant, present and future: so names with these beginnings look.
#[test]
fn what_everybody_may_use_only_looks() {
    let policy = policy();
    let granted = |command: &&std::sync::Arc<Command>| {
        let area = command.name.split('.').next().unwrap_or_default();
        GRANTED.contains(&area)
    };
    let (granted, others): (Vec<_>, Vec<_>) = policy.commands().partition(granted);
    for command in &granted {
        assert_eq!(command.effect, Effect::Read, "{}", command.name);
    }
    assert!(granted.len() >= 60, "{}", granted.len());
    let reads: Vec<_> = others
        .iter()
        .filter(|command| command.effect == Effect::Read)
        .collect();
    let names: Vec<&str> = reads.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, Vec::<&str>::new());
    let text =
        fs::read_to_string(root().join("packaging/policy.d/10-default.toml")).expect("it is text");
    for area in GRANTED {
        assert!(text.contains(&format!("\"{area}.*\"")), "{area}");
    }
}

const GRANTED: [&str; 17] = [
    "certificates",
    "containers",
    "cpu",
    "directories",
    "disks",
    "files",
    "hardware",
    "host",
    "logs",
    "memory",
    "network",
    "packages",
    "processes",
    "schedule",
    "time",
    "units",
    "users",
];
