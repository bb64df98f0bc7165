//! Rules for source files: length, unsafe code, leftovers, inputs of fuzz targets, and the records of remit-audit(7):
//! it names exactly the kinds and the fields that the code writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::repo;

const LINES: usize = 400;

const LONGER: &[(&str, &str)] = &[];

/// Files and directories with unsafe code, each with its reason.
const UNSAFE: &[(&str, &str)] = &[
    (
        "daemon/sys/src/sys",
        "the system calls of the root processes",
    ),
    (
        "daemon/broker/src/runtime/async_fd.rs",
        "to watch a descriptor of its own; the broker has no privilege",
    ),
    (
        "daemon/link/src/sys.rs",
        "to own a descriptor that recvmsg(2) just installed, and an option of a socket that no crate knows",
    ),
];

/// Test code attacks with raw system calls, but is not part of a shipped binary.
fn is_test(file: &Path) -> bool {
    let named = |name: &str| file.components().any(|part| part.as_os_str() == name);
    named("tests") || named("tests.rs")
}

fn lines_without_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

#[test]
fn files_are_short() {
    let long: Vec<String> = repo::texts(&["rs"])
        .iter()
        .filter(|(file, _)| !is_test(file))
        .filter(|(file, _)| !LONGER.iter().any(|(known, _)| file == Path::new(known)))
        .map(|(file, text)| (file, lines_without_tests(text)))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "over {LINES}: {long:#?}");
}

#[test]
fn lines_of_tests_do_not_count() {
    assert_eq!(
        lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"),
        2
    );
    assert_eq!(lines_without_tests("a\n    #[cfg(test)]\nb\n"), 3);
}

/// The compiler denies unsafe code in the whole workspace, so this checks only where that is lifted.
#[test]
fn unsafe_code_lies_in_few_files() {
    let lifted = ["allow(", "expect(", "warn("].map(|how| format!("{how}unsafe_code"));
    let found: Vec<_> = repo::texts(&["rs"])
        .into_iter()
        .filter(|(file, _)| {
            !is_test(file) && !UNSAFE.iter().any(|(known, _)| file.starts_with(known))
        })
        .filter(|(_, text)| lifted.iter().any(|how| text.contains(how)))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// The owner of a process controls the cost of reading `/proc/PID/status`, which lists up to 65,536 groups.
#[test]
fn k02_the_daemon_reads_no_status_of_processes() {
    let serving = ["warden", "confine", "spawn", "spawner", "sys", "broker"]
        .map(|name| format!("daemon/{name}/src"));
    // A field of a kernel audit record.
    let is_field = |line: &str| line.contains("field(\"status\")");
    let is_read =
        |line: &str| ["/status\"", "\"status\"))", "(\"status\")"].map(|end| line.contains(end));
    let mut found = Vec::new();
    for (file, text) in repo::texts(&["rs"]) {
        if is_test(&file) || !serving.iter().any(|dir| file.starts_with(dir)) {
            continue;
        }
        let code = text.lines().take(lines_without_tests(&text));
        let code = code.filter(|line| !line.trim_start().starts_with("//") && !is_field(line));
        let reads = code.filter(|line| is_read(line).contains(&true));
        found.extend(reads.map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for (file, text) in repo::texts(&["toml"]) {
        if file.ends_with("Cargo.toml")
            && !file.starts_with("tests/fuzz")
            && file.parent() != Some(Path::new(""))
        {
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{}: no '[lints] workspace = true'",
                file.display()
            );
        }
    }
}

#[test]
fn no_file_puts_something_off() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    for (file, text) in repo::texts(&["rs", "toml", "sh", "md"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let found = marks.iter().find(|mark| line.contains(**mark));
            assert!(found.is_none(), "{}:{number}: {line}", file.display());
        }
    }
}

/// A file with the path of its author's checkout or package cache is wrong on every other machine.
#[test]
fn no_file_names_build_machine_paths() {
    let checkout = repo::root().parent().expect("the checkout has a parent");
    let cache = std::env::var("CARGO_HOME").unwrap_or_else(|_| ".cargo/registry".into());
    let mut prefixes = vec![cache];
    // If the checkout is below / or a home directory, its parent is a prefix of too many valid paths.
    if checkout.components().count() > 1
        && !["/root", "/home", "/tmp", "/var/tmp"].contains(&checkout.to_string_lossy().as_ref())
    {
        prefixes.push(format!("{}/", checkout.display()));
    }
    for file in repo::files() {
        let Ok(text) = std::fs::read_to_string(repo::root().join(&file)) else {
            continue; // not text: an image, a fuzz input
        };
        if file == Path::new("tests/repo/src/sources.rs") {
            continue;
        }
        for prefix in &prefixes {
            assert!(
                !text.contains(prefix.as_str()),
                "{}: names '{prefix}'",
                file.display()
            );
        }
    }
}

/// Returns the inputs of the archive as `./TARGET/NAME`, or `None` if xz is not installed.
fn corpus() -> Option<Vec<String>> {
    if Command::new("xz").arg("--version").output().is_err() {
        return None;
    }
    let output = Command::new("tar")
        .args(["-tJf", "tests/fuzz/corpus.tar.xz"])
        .current_dir(repo::root())
        .output()
        .expect("tar starts");
    assert!(output.status.success(), "{output:?}");
    let listing = String::from_utf8(output.stdout).expect("names are text");
    let inputs = listing.lines().filter(|name| !name.ends_with('/'));
    Some(inputs.map(str::to_owned).collect())
}

/// cargo-nextest does not run examples in documentation: they are ordinary tests.
#[test]
fn doc_comments_have_no_code_to_run() {
    for (file, text) in repo::texts(&["rs"]) {
        let comments = text.lines().map(str::trim_start);
        let fences = comments.filter_map(|line| {
            let comment = line.strip_prefix("///").or(line.strip_prefix("//!"))?;
            comment.trim_start().strip_prefix("```")
        });
        for mark in fences.step_by(2) {
            assert_eq!(mark, "text", "{}", file.display());
        }
    }
}

#[test]
fn each_fuzz_target_has_seeds_and_a_corpus() {
    let files = repo::files();
    let corpus = corpus();
    if corpus.is_none() {
        repo::missing("xz");
    }
    let targets: Vec<&str> = files
        .iter()
        .filter(|file| file.starts_with("tests/fuzz/src/bin"))
        .filter_map(|file| file.file_stem()?.to_str())
        .collect();
    assert!(!targets.is_empty());
    let seeds = read("tests/fuzz/seeds.txt");
    for target in targets {
        let has_seed = seeds.lines().any(|line| {
            line.strip_prefix("== ")
                .and_then(|line| line.split_once(' '))
                .is_some_and(|(of, name)| of == target && !name.is_empty())
        });
        assert!(has_seed, "tests/fuzz/seeds.txt has no input for '{target}'");
        let packed = format!("./{target}/");
        assert!(
            corpus
                .as_ref()
                .is_none_or(|all| all.iter().any(|name| name.starts_with(&packed))),
            "corpus.tar.xz has no input for '{target}': 'tests/fuzz/run 60 {target}', then 'tests/fuzz/run merge {target}'"
        );
    }
}

/// Calls in the warden's code that add a field; the name is the first argument.
const ADDING: &[&str] = &[".field(", ".number(", ".maybe("];

fn read(path: &str) -> String {
    std::fs::read_to_string(repo::root().join(path)).expect("the file is text")
}

fn code(text: &str) -> &str {
    let tests = text.find("#[cfg(test)]\nmod tests");
    tests.and_then(|at| text.get(..at)).unwrap_or(text)
}

fn quoted(text: &str) -> Option<&str> {
    let (name, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn added(code: &str) -> BTreeSet<String> {
    let calls = ADDING.iter().flat_map(|call| code.split(call).skip(1));
    calls.filter_map(quoted).map(str::to_owned).collect()
}

/// Fields that the chain adds to each record: `("SEQ", …)`.
fn chained(code: &str) -> BTreeSet<String> {
    let pairs = code.split('(').skip(1);
    pairs.filter_map(quoted).map(str::to_owned).collect()
}

fn written() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (file, text) in repo::texts(&["rs"]) {
        let is_test = file.ends_with("tests.rs") || file.ends_with("fixture.rs");
        if !file.starts_with("daemon/warden/src") || is_test {
            continue;
        }
        all.extend(added(code(&text)));
        if file.starts_with("daemon/warden/src/audit") {
            all.extend(chained(code(&text)));
        }
    }
    // Fields of the sink itself, or no fields.
    all.retain(|name| {
        let own = ["MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER"];
        !own.contains(&name.as_str()) && !name.starts_with("REMIT_")
    });
    all
}

fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("\n.SH {name}\n"))
        .expect("the page has the section");
    rest.split_once("\n.SH ")
        .map_or(rest, |(section, _)| section)
}

fn entries(section: &str) -> BTreeMap<String, String> {
    let entries = section.split(".TP\n.BR ").skip(1);
    let entries: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let (term, rest) = entry.lines().next()?.split_once(' ')?;
            let text = rest.trim_matches(['"', ' ']);
            Some((term.to_owned(), text.trim_matches(['(', ')']).to_owned()))
        })
        .collect();
    let count = entries.len();
    let entries: BTreeMap<_, _> = entries.into_iter().collect();
    assert_eq!(entries.len(), count, "an entry twice");
    entries
}

#[test]
fn page_lists_exactly_recorded_fields() {
    let page = read("packaging/man/remit-audit.7");
    let listed: BTreeSet<String> = entries(section(&page, "FIELDS")).into_keys().collect();
    let written = written();
    let missing: Vec<_> = written.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&written).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "packaging/man/remit-audit.7, FIELDS: missing {missing:?}, of no record any more {gone:?}"
    );
}

#[test]
fn page_lists_every_record_kind_with_id() {
    let page = read("packaging/man/remit-audit.7");
    let events = read("daemon/trail/src/lib.rs");
    // `Self::Start => "start",` and `Self::Start => "c0cc…",`.
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in events.lines() {
        if let Some((event, value)) = line.trim().split_once(" => ")
            && let Some((value, _)) = value.trim_start_matches('"').split_once('"')
        {
            of.entry(event).or_default().push(value);
        }
    }
    let events: BTreeMap<String, String> = of
        .into_values()
        .map(|values| match values.as_slice() {
            [name, id] => ((*name).to_owned(), (*id).to_owned()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(events.len() > 20, "{events:?}");
    assert_eq!(entries(section(&page, "RECORDS")), events);
}

#[test]
fn names_of_fields_are_found_in_code() {
    let text = "record\n .field(\"A\", x)\n .maybe(\n   \"B_2\", y).number(name, z).field(\"low\", 1);\n#[cfg(test)]\nmod tests { r.field(\"T\", 1) }";
    assert_eq!(added(code(text)), ["A", "B_2"].map(str::to_owned).into());
    let pushed = "fields.push((\"SEQ\", seq)); let head = [(\"PREV\", 1)];";
    assert_eq!(chained(pushed), ["PREV", "SEQ"].map(str::to_owned).into());
}
