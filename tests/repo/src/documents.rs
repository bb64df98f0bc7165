//! Documents say what is so: their links lead somewhere, their marked examples work.
//!
//! A code block is marked after its language: ```` ```sh test ```` is run by bash with the built binaries on
//! its PATH; ```` ```toml policy ```` is loaded as a policy file. ```` ```sh server ```` and ```` ```sh ann ```` in README.md
//! are run by `tests/machine/test-readme`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::repo;

fn read(path: &str) -> String {
    std::fs::read_to_string(repo::root().join(path)).expect("the file is text")
}

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

/// The answer of README to whether two people can be required.
#[test]
fn approval_by_two_people_is_loaded_as_marked_examples_are() {
    let readme = read("README.md");
    let answer = readme.split("**Can two people be required?**").nth(1);
    let quoted = answer.and_then(|answer| answer.split('`').nth(1));
    let approval = quoted.expect("an approval of a rule");
    assert!(approval.starts_with("approval = {") && approval.contains("count = 2"));
    let output = check(&format!(
        "[[grant]]\nname = \"two\"\nto = [\"%remit\"]\nallow = [\"run\"]\n{approval}\n"
    ));
    assert!(output.status.success(), "{output:?}");
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
    // The machine may have no account of remit.
    let accounts = "[accounts]\nbroker = 64100\nsocket_group = 64101\nadmin_group = 64102\n";
    std::fs::write(dir.0.join("config/remit.toml"), accounts).expect("a file");
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
        let made = Command::new("mktemp")
            .args(["-d", "/run/remit-tidy-XXXXXX"])
            .output()
            .expect("mktemp starts");
        assert!(made.status.success(), "the tests run as root: {made:?}");
        let dir = String::from_utf8(made.stdout).expect("a path");
        Self(dir.trim_end().into())
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

/// `tests/first-screen` and `tests/machine/test-picture` compare the pictures with what is printed. This compares only the form.
#[test]
fn pictures_are_text_for_light_and_dark_screens() {
    for (name, parts) in [
        (
            "demo",
            ["change {", "denied_rule", "approved; job", "exited, exit 0"],
        ),
        (
            "plan",
            ["remit plan", "RISK", "approved; job", "remit undo"],
        ),
    ] {
        let path = repo::root().join(format!("docs/{name}.svg"));
        let picture = std::fs::read_to_string(path).expect("tests/demo/picture makes it");
        for active in [
            "<script",
            "href",
            "url(",
            "@import",
            "<foreignObject",
            "onload",
        ] {
            assert!(!picture.contains(active), "{name} has '{active}'");
        }
        assert!(picture.contains("prefers-color-scheme: dark"), "{name}");
        let lines: Vec<&str> = picture
            .lines()
            .filter_map(|line| line.strip_prefix("<text ")?.split_once('>'))
            .filter_map(|(_, text)| text.strip_suffix("</text>"))
            .collect();
        assert!((12..=30).contains(&lines.len()), "{} lines", lines.len());
        for line in &lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in parts {
            assert!(lines.iter().any(|line| line.contains(part)), "no '{part}'");
        }
    }
}

/// Words in backticks that name a file or folder of this repository: they have a slash, and begin with a name at its top.
fn paths(text: &str) -> Vec<&str> {
    let is_path = |word: &&str| {
        word.contains('/')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    text.split('`').skip(1).step_by(2).filter(is_path).collect()
}

#[test]
fn paths_are_found() {
    let text = "see `a/b.rs`, `c`, `make x/y z`, `/etc/x` and `d/`";
    assert_eq!(paths(text), ["a/b.rs", "/etc/x", "d/"]);
}

/// A path is relative to the root, or to the folder of its document.
#[test]
fn paths_in_documents_of_developers_exist() {
    let tops: Vec<_> = std::fs::read_dir(repo::root())
        .expect("the checkout exists")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    let mut seen = 0;
    for (file, text) in repo::texts(&["md"]) {
        let dir = file.parent().unwrap_or(Path::new(""));
        if file.ends_with("CHANGELOG.md") {
            continue;
        }
        for path in paths(&text) {
            let first = path.split('/').next().unwrap_or_default();
            let is_top = tops.iter().any(|top| top == first);
            let base = match (is_top, first) {
                (true, _) => Path::new(""),
                (false, "src" | "tests") => dir,
                (false, _) => continue,
            };
            seen += 1;
            let found = repo::root().join(base).join(path);
            assert!(found.exists(), "{}: no '{path}'", file.display());
        }
    }
    assert!(seen > 100, "only {seen} paths were seen");
}

#[test]
fn each_crate_has_a_readme_with_its_invariants() {
    for manifest in repo::files() {
        let is_crate = manifest.ends_with("Cargo.toml") && manifest.parent() != Some(Path::new(""));
        // Tests have documents of their own.
        if !is_crate || manifest.starts_with("tests") {
            continue;
        }
        let readme = repo::root().join(&manifest).with_file_name("README.md");
        let text = std::fs::read_to_string(&readme).unwrap_or_default();
        let invariants = text.matches("**Invariant:**").count();
        assert!(
            invariants >= 2,
            "{}: {invariants} invariants",
            readme.display()
        );
        assert!(text.contains("Start reading at"), "{}", readme.display());
    }
}

/// Rows of the code map: all crates of the workspace that a crate depends on but `common`, and some others.
#[test]
fn code_map_names_dependencies_of_each_crate() {
    let map = read("ARCHITECTURE.md");
    let metadata = repo::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let mut rows = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let dir = manifest.strip_prefix(repo::root()).expect("it is below");
        let dir = dir.parent().expect("a folder").display().to_string();
        let row = map
            .lines()
            .find(|line| line.starts_with(&format!("| [`{dir}/`]")));
        let Some(column) = row.and_then(|row| row.strip_suffix('|')?.rsplit('|').next()) else {
            assert!(dir.starts_with("tests"), "{dir}: no row in the code map");
            continue;
        };
        rows += 1;
        let shown = column
            .split(',')
            .map(|name| name.trim().trim_start_matches("remit-"));
        let shown: BTreeSet<&str> = shown.collect();
        let all = package["dependencies"].as_array().expect("dependencies");
        let normal = all.iter().filter(|one| one["kind"].is_null());
        let names: Vec<&str> = normal.filter_map(|one| one["name"].as_str()).collect();
        let own = names.iter().filter_map(|name| name.strip_prefix("remit-"));
        let missing: Vec<_> = own
            .filter(|own| *own != "common" && !shown.contains(own))
            .collect();
        assert!(missing.is_empty(), "{dir}: missing {missing:?}");
        let is_one = |name: &str| {
            names
                .iter()
                .any(|one| one.trim_start_matches("remit-") == name)
        };
        let other = shown.iter().find(|name| !name.is_empty() && !is_one(name));
        assert!(other.is_none(), "{dir}: {other:?} is no dependency");
    }
    assert!(rows >= 30, "only {rows} rows were seen");
}

/// The broker has no `--help`: the warden starts it.
#[test]
fn page_of_broker_has_the_options_of_its_usage_line() {
    let code = read("daemon/broker/src/startup.rs");
    let (_, usage) = code
        .split_once("usage: remit-broker ")
        .expect("a usage line");
    let (usage, _) = usage.split_once('"').expect("its end");
    let page = read("packaging/man/remit-broker.8").replace("\\-", "-");
    let options: Vec<&str> = usage
        .split(|c: char| !c.is_ascii_lowercase() && c != '-')
        .filter(|word| word.starts_with("--"))
        .collect();
    assert!(options.len() >= 8, "{options:?}");
    for option in options {
        // In SYNOPSIS and in OPTIONS.
        assert!(page.matches(option).count() >= 2, "no '{option}'");
    }
}

/// Its catalogue commands are words of policies, and nobody starts it by hand: it has no `--help`.
#[test]
fn page_of_look_has_each_command_of_the_program() {
    let page = read("packaging/man/remit-look.8").replace("\\-", "-");
    let (_, synopsis) = page.split_once("\n.SH SYNOPSIS\n").expect("a synopsis");
    let (synopsis, _) = synopsis.split_once("\n.SH ").expect("its end");
    let listed: BTreeSet<&str> = synopsis
        .lines()
        .filter_map(|line| line.strip_prefix(".B remit-look "))
        .collect();
    let code = read("daemon/look/src/catalogue/mod.rs");
    let (_, arms) = code.split_once("match words[..] {").expect("its commands");
    let known: BTreeSet<&str> = arms
        .lines()
        .filter_map(|arm| arm.trim_start().strip_prefix("[\""))
        .filter_map(|arm| Some(arm.split_once('"')?.0))
        .collect();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(listed, known);
    let mut seen = 0;
    for (file, text) in repo::texts(&["toml"]) {
        let is_shipped = file.starts_with("packaging");
        for line in text
            .lines()
            .filter(|line| is_shipped && line.starts_with("argv = "))
        {
            let mut words = line.split('"').skip(1).step_by(2);
            if words.next() != Some("/usr/libexec/remit/remit-look") {
                continue;
            }
            seen += 1;
            let word = words.next().unwrap_or_default();
            assert!(listed.contains(word), "{}: {word}", file.display());
        }
    }
    assert!(seen > 20, "only {seen} commands were seen");
}

#[test]
fn architecture_fits_limit_and_decisions_have_status() {
    let architecture = read("ARCHITECTURE.md");
    assert!(architecture.lines().count() <= 250);
    let mut decisions = 0;
    for (file, text) in repo::texts(&["md"]) {
        if file.starts_with("docs/adr") {
            let name = file.display().to_string();
            let titles = text.lines().filter(|line| line.starts_with("# ")).count();
            let statuses = text
                .lines()
                .filter(|line| line.starts_with("Status: "))
                .count();
            assert!(
                titles > 0 && titles == statuses,
                "{name}: a decision has no status"
            );
            decisions += titles;
            assert!(architecture.contains(&name), "ARCHITECTURE.md: no {name}");
        }
    }
    assert!(decisions >= 23, "only {decisions} decisions were seen");
}

/// First bytes of files, texts and hashed parts in a line of code: `remit WORDS NUMBER` or `remit/NUMBER`, as bytes, in a constant or
/// as a whole line. Examples of command lines are none of these.
fn format_of(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("\"remit")?;
    let (text, _) = rest.split_once('"')?;
    let (words, number) = text
        .strip_suffix("\\n")
        .unwrap_or(text)
        .rsplit_once([' ', '/'])?;
    let number = number.strip_prefix('v').unwrap_or(number);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let are_words = words
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b' ');
    let is_begin = before.ends_with('b') || before.contains("const ") || text.ends_with("\\n");
    let end = "remit".len() + text.trim_end_matches("\\n").len();
    let format = line.get(before.len() + 1..before.len() + 1 + end);
    format.filter(|_| is_number && are_words && is_begin)
}

#[test]
fn formats_are_found_in_code() {
    for (line, format) in [
        (
            r#"const MAGIC: &[u8] = b"remit edits 1\n";"#,
            Some("remit edits 1"),
        ),
        (
            r#"let mut hash = new(b"remit set 1\n");"#,
            Some("remit set 1"),
        ),
        (
            r#"const FIRST: &str = "remit snapshot 1";"#,
            Some("remit snapshot 1"),
        ),
        (r#"const FORMAT: &str = "remit/1";"#, Some("remit/1")),
        (r#"    b"remit ledger v4\n";"#, Some("remit ledger v4")),
        (r#"("revoke", "remit revoke 1"),"#, None),
        (r#"const A: &str = "remit plan show";"#, None),
        (r#"const A: &str = "remit-look";"#, None),
    ] {
        assert_eq!(format_of(line), format, "{line}");
    }
}

#[test]
fn each_format_is_in_the_document_of_formats() {
    let formats = read("docs/formats.md");
    let mut seen = 0;
    for (file, text) in repo::texts(&["rs"]) {
        if file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let lines = text.lines();
        let code = lines.take_while(|line| !line.starts_with("#[cfg(test)]"));
        for format in code.filter_map(format_of) {
            seen += 1;
            let format = format!("`{format}`");
            let listed = formats.contains(&format);
            assert!(listed, "{}: {format}", file.display());
        }
    }
    assert!(seen >= 20, "only {seen} formats were seen");
}

/// Rows such as "`PROTOCOL` 8 in the hello | `wire/src/protocol.rs`".
#[test]
fn versions_in_the_document_of_formats_are_those_of_the_code() {
    let formats = read("docs/formats.md");
    let mut seen = 0;
    for row in formats.lines().filter(|row| row.starts_with('|')) {
        let quoted: Vec<&str> = row.split('`').collect();
        let constants = quoted.windows(2).filter_map(|pair| {
            let &[name, after] = pair else { return None };
            let is_constant =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            let number = after
                .trim_start()
                .split([' ', ';'])
                .next()?
                .parse::<u32>()
                .ok()?;
            is_constant.then_some((name, number))
        });
        for (name, number) in constants {
            seen += 1;
            let files = quoted.iter().filter(|word| word.ends_with(".rs"));
            let has = files.map(|file| {
                std::fs::read_to_string(repo::root().join(file)).expect("the file exists")
            });
            let is_in_code = has.into_iter().any(|text| {
                text.lines().any(|line| {
                    line.contains(&format!("const {name}: "))
                        && line.ends_with(&format!("= {number};"))
                })
            });
            assert!(is_in_code, "{name} is not {number}: {row}");
        }
    }
    assert!(seen >= 4, "only {seen} versions were seen");
}
