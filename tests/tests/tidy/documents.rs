//! Documents say what is so: their links lead somewhere, their marked examples work.
//!
//! A code block is marked after its language: ```` ```sh test ```` is run by bash with the built binaries on
//! its PATH; ```` ```toml policy ```` is loaded as a policy file.

use std::path::Path;
use std::process::{Command, Output};

use super::repo;

/// A marked code block of a document.
#[derive(Debug, PartialEq)]
struct Example {
    /// The words after the fence.
    mark: String,
    /// Line of the fence, from 1.
    line: usize,
    text: String,
}

fn examples(document: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut open: Option<Example> = None;
    for (line, text) in (1..).zip(document.lines()) {
        match (text.strip_prefix("```"), &mut open) {
            (Some(mark), None) => {
                open = Some(Example {
                    mark: mark.trim().to_owned(),
                    line,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(example)) => {
                example.text.push_str(text);
                example.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn blocks_are_found() {
    let found = examples("a\n```sh test\nb\nc\n```\n```\nd\n```\n");
    let mark = |mark: &str, line, text: &str| Example {
        mark: mark.into(),
        line,
        text: text.into(),
    };
    assert_eq!(found, [mark("sh test", 2, "b\nc\n"), mark("", 6, "d\n")]);
}

#[test]
fn marked_examples_work() {
    for (file, document) in repo::texts(&["md"]) {
        for example in examples(&document) {
            let output = match example.mark.as_str() {
                "sh test" => run(&example.text),
                "toml policy" => check(&example.text),
                _ => continue,
            };
            assert!(
                output.status.success(),
                "{}:{}: {}",
                file.display(),
                example.line,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

fn run(script: &str) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("bash")
        .args(["-euc", script])
        .current_dir(repo::root())
        .env("PATH", format!("{}:{path}", repo::binaries().display()))
        .output()
        .expect("bash starts")
}

/// Loads one policy file by the daemon itself, from a configuration that has nothing else in it.
fn check(policy: &str) -> Output {
    let dir = Directory::new();
    let config = dir.0.join("config/policy.d");
    let vendor = dir.0.join("vendor");
    std::fs::create_dir_all(&config).expect("a directory of ours");
    std::fs::create_dir_all(&vendor).expect("a directory of ours");
    std::fs::write(config.join("10-example.toml"), policy).expect("a file of ours");
    Command::new(repo::binaries().join("remitd"))
        .arg("--check")
        .args([Path::new("--config"), &dir.0.join("config")])
        .args([Path::new("--vendor"), &vendor])
        .output()
        .expect("remitd starts")
}

/// A directory that goes with its value. Not in /tmp: a policy must not lie where others can write.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = Path::new("/run").join(format!("remit-tidy-{}-{next}", std::process::id()));
        std::fs::create_dir(&dir).expect("the tests run as root");
        Self(dir)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the relative links of a Markdown text lead, without their anchors.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        })
        .collect()
}

#[test]
fn links_are_found() {
    let text = "[a](b.md) [c](https://example.org/) [d](e/f.md#g) [h](#i)";
    assert_eq!(links(text), ["b.md", "e/f.md"]);
}

#[test]
fn links_lead_to_files_of_this_repository() {
    let root = repo::root().canonicalize().expect("the checkout exists");
    for (file, text) in repo::texts(&["md"]) {
        let dir = root.join(file.parent().unwrap_or(Path::new("")));
        for target in links(&text) {
            let found = dir.join(target).canonicalize();
            assert!(
                found.is_ok_and(|found| found.starts_with(&root)),
                "{}: link to '{target}'",
                file.display()
            );
        }
    }
}
