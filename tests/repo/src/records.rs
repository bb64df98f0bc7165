//! remit-audit(7) names exactly the kinds of records and the fields that the code writes.

use std::collections::{BTreeMap, BTreeSet};

use super::repo;

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
    let events = read("daemon/trail/src/event.rs");
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
