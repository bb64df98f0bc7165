//! Compares the man pages with the help of the programs, and tests help and usage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fake::{Said, remit};

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man")
}

fn page(name: &str) -> String {
    let text = std::fs::read_to_string(pages().join(name)).unwrap();
    text.replace("\\-", "-")
}

fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || "[]|,\"<>".contains(c))
        .filter(|word| {
            let name = word.trim_start_matches('-');
            let dashes = word.len() - name.len();
            (dashes == 1 && name.len() == 1 || dashes == 2 && name.len() > 1)
                && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn options_are_found() {
    let found = options("x -h, --help [--a-b DIR] -20 -- - --x=1 a-b -rss");
    let expect = ["--a-b", "--help", "-h"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expect));
}

fn help(args: &[&str]) -> String {
    let args = [args, &["--help"]].concat();
    let said = Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap());
    said.text().to_owned()
}

fn verbs(help: &str) -> Vec<&str> {
    let mut heading = "";
    let mut verbs = Vec::new();
    for line in help.lines() {
        match line.strip_prefix("  ") {
            Some(verb) if verb.starts_with(|c: char| c.is_ascii_lowercase()) => {
                let is_list = !["Arguments:", "Options:", "Exit status:", "Example:"]
                    .contains(&heading)
                    && heading.ends_with(':');
                verbs.extend(verb.split_whitespace().next().filter(|_| is_list));
            }
            Some(_) => {}
            None => heading = if line.is_empty() { heading } else { line },
        }
    }
    verbs
}

fn documented(part: &str) -> BTreeSet<String> {
    let tags = part.split("\n.TP\n").skip(1);
    let lines: Vec<&str> = tags.filter_map(|tag| tag.lines().next()).collect();
    options(&lines.join("\n"))
}

fn between<'a>(text: &'a str, begin: &str, ends: &[&str]) -> &'a str {
    let (_, rest) = text
        .split_once(begin)
        .unwrap_or_else(|| panic!("no '{begin}'"));
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    &rest[..end.unwrap_or(rest.len())]
}

#[test]
fn page_documents_exactly_all_verbs_and_options() {
    let page = page("remit.1");
    let top = help(&[]);
    let common = documented(between(&page, "\n.SH OPTIONS\n", &["\n.SH "]));
    let mut shown = options(between(&top, "\nOptions:\n", &["\nExit status:"]));
    // Only tests need it, so it is hidden from help.
    assert!(shown.insert("--runtime".to_owned()));
    assert_eq!(common, shown);

    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SS "))
        .collect();
    assert_eq!(sections, verbs(&top));
    for verb in sections {
        let shown = help(&[verb]);
        assert!(
            !shown.contains("(administrators) (administrators)"),
            "{shown}"
        );
        let below = verbs(&shown).into_iter().map(|below| help(&[verb, below]));
        let listed = below.chain([shown.clone()]).flat_map(|help| {
            let (_, listed) = help.split_once("\nOptions:\n").unwrap_or_default();
            assert!(verb == "help" || !listed.is_empty(), "{verb}: {help}");
            options(listed)
        });
        let listed: BTreeSet<String> = listed.filter(|option| !common.contains(option)).collect();
        let section = between(&page, &format!("\n.SS {verb}\n"), &["\n.SS ", "\n.SH "]);
        assert_eq!(documented(section), listed, "{verb}");
    }
    for verb in verbs(&help(&["policy"])) {
        assert!(page.contains(&format!("remit policy {verb}\n")), "{verb}");
    }
}

/// Returns the verbs that a text names, those of `policy` and `audit` with their second word.
fn named(text: &str, verbs: &BTreeSet<String>) -> BTreeSet<String> {
    let text: String = text
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c } else { ' ' })
        .collect();
    let mut words = text.split_whitespace();
    let mut found = BTreeSet::new();
    while let Some(word) = words.next() {
        let second = ["policy", "audit"].contains(&word).then(|| words.next());
        let verb = [Some(word), second.flatten()].into_iter().flatten();
        let verb = verb.collect::<Vec<_>>().join(" ");
        found.extend(verbs.contains(&verb).then_some(verb));
    }
    found
}

#[test]
fn exit_statuses_of_the_help_are_those_of_the_page() {
    let top = help(&[]);
    let mut all: BTreeSet<String> = verbs(&top).into_iter().map(str::to_owned).collect();
    for group in ["policy", "audit"] {
        let below = help(&[group]);
        all.extend(verbs(&below).iter().map(|verb| format!("{group} {verb}")));
    }
    let page = page("remit.1");
    let section = between(&page, "\n.SH \"EXIT STATUS\"\n", &["\n.SH "]);
    let mut of_page: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (at, block) in section.split("\n.TP\n.B ").enumerate() {
        let status = block.lines().next().filter(|_| at > 0).unwrap_or_default();
        let bold = block.lines().filter(|line| line.starts_with(".B"));
        let bold = bold
            .collect::<Vec<_>>()
            .join("\n")
            .replace("\\fIJOB\\fP", "");
        of_page.insert(status, named(&bold, &all));
    }
    let listed = between(&top, "\nExit status:\n", &["\n\n"]).replace("\n    ", " ");
    let mut of_help: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in listed.lines().map(str::trim) {
        let (first, rest) = line.split_once(' ').unwrap();
        let (status, rest) = match first.parse::<u8>() {
            Ok(_) => (first, rest),
            Err(_) => ("", line),
        };
        let heads = rest.split(';').filter_map(|part| part.split_once(':'));
        let heads: Vec<&str> = heads.map(|(head, _)| head).collect();
        of_help
            .entry(status)
            .or_default()
            .extend(named(&heads.join(" "), &all));
    }
    for all in [&mut of_page, &mut of_help] {
        all.retain(|_, verbs| !verbs.is_empty());
    }
    assert_eq!(of_help, of_page);
    assert_eq!(of_page.len(), 4, "{of_page:?}");
}

#[test]
fn json_keys_are_in_the_page() {
    let page = page("remit.1");
    let json = between(&page, "\n.SH JSON\n", &["\n.SH "]);
    let report = crate::fake::exited(0, b"", b"");
    let result = serde_json::to_value(remit_wire::result::JobResult::from(&report)).unwrap();
    for key in result.as_object().unwrap().keys() {
        assert!(json.contains(key.as_str()), "{key}");
    }
}

/// Fails for a key of an answer that the page has for none of these verbs.
pub fn check_keys(verbs: &[&str], answer: &serde_json::Value) {
    let page = page("remit.1");
    let json = between(&page, "\n.SH JSON\n", &["\n.SH "]);
    let mut found = BTreeSet::new();
    crate::policy::keys(answer, &mut found);
    assert!(!found.is_empty(), "{answer}");
    for key in found {
        let has_key = |verb: &&str| {
            let part = between(json, &format!("\n.B {verb}\n"), &["\n.TP\n"]);
            part.split([' ', '\n', '"']).any(|word| word == key)
        };
        assert!(verbs.iter().any(has_key), "{verbs:?}: {key}");
    }
}

#[test]
fn page_documents_every_named_command() {
    let page = page("remit.1");
    let section = between(&page, "\n.SH NAMED COMMANDS\n", &["\n.SH "]);
    let tags = section.split("\n.TP\n").skip(1);
    let lines = tags.filter_map(|tag| tag.lines().next());
    let listed: Vec<String> = lines
        .filter_map(|line| line.split_once(' '))
        .map(|(_, words)| words.replace(['"', ' '], ""))
        .collect();
    let expect: Vec<String> = remit_common::builtin::COMMANDS
        .iter()
        .map(|command| command.usage().replace(' ', ""))
        .collect();
    assert_eq!(listed, expect);
}

#[test]
fn pages_are_written_without_a_warning() {
    let mut seen = 0;
    for entry in std::fs::read_dir(pages()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(".TH "), "{}", path.display());
        let lint = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(&path)
            .output();
        match lint {
            Ok(lint) => {
                assert_eq!(
                    String::from_utf8_lossy(&lint.stderr),
                    "",
                    "{}",
                    path.display()
                );
            }
            Err(error) => assert!(
                std::env::var_os("REMIT_TESTS_MUST_RUN").is_none(),
                "groff: {error}"
            ),
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} pages");
}

fn said(args: &[&str]) -> Said {
    remit(Path::new("/nonexistent"), args)
        .output()
        .unwrap()
        .into()
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["policy", "--help"],
    ] {
        let said = said(args);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
        assert!(said.text().contains("remit"), "{args:?}");
    }
}

#[test]
fn usage_is_64_on_stderr() {
    for (args, usage) in [
        (&[][..], "[OPTIONS] <COMMAND>"),
        (&["rnu"], "[OPTIONS] <COMMAND>"),
        (&["run"], "run "),
        (&["run", "--nope", "x"], "run "),
        (&["policy"], "policy "),
        // These are found after clap.
        (&["run", "--name", "service.status", "ssh"], "run "),
        (
            &["--json", "plan", "--remove", "/a", "--remove", "/a"],
            "plan ",
        ),
    ] {
        let said = said(args);
        assert_eq!((said.status, said.text()), (Some(64), ""), "{args:?}");
        let usage = format!("Usage: remit {usage}");
        assert!(said.stderr.contains(&usage), "{args:?} {said:?}");
    }
}

#[test]
fn a_closed_reader_is_no_panic() {
    for args in [&["--help"][..], &["completions", "zsh"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = remit(Path::new("/nonexistent"), args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let said = Said::from(child.unwrap().wait_with_output().unwrap());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}
