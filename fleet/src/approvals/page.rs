//! The page of requests on many hosts: what is identical once, what differs for each host, and each host with its own
//! digest. Pure. All that a host says of a request is on it but what `request` takes away.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use remit_words::characters::ordered_piece;
use serde_json::{Map, Value};

use super::request::HostRequest;
use crate::columns::{self, COLUMNS};
use crate::engine::diff;

/// What names the other facts of one entry: a diff behind its path is not read as that of the next one.
const HEADS: [&str; 5] = ["names", "path", "what", "command", "steps"];
/// Of these the first that an entry has is shown above a difference in the entry.
const NAMING: [&str; 3] = ["path", "command", "what"];

/// Facts that come first, in this order. All others follow. Long ones are after those that everyone has to see.
const FIRST: [&str; 14] = [
    "user",
    "uid",
    "command",
    "undoes",
    "reason",
    "risks",
    "opens",
    "argv",
    "more_argv",
    "plan",
    "then",
    "script",
    "stdin",
    "files",
];
/// Begins a sentence among the risks that is none.
const DOES: &str = "does: ";
const NAME: usize = 11;
/// Columns of a value: a SHA-256 fits. Before it are two spaces, the sign of a difference, the name, a mark and a space.
const WIDTH: usize = COLUMNS - NAME - 5;
/// Columns by which the names of inner facts are moved, at most.
const INDENT: usize = 6;

/// Requests with the same content.
#[derive(Debug, PartialEq)]
pub struct Alike<'a> {
    pub requests: Vec<&'a HostRequest>,
    facts: Rows,
}

/// Lines of facts.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    text: String,
    /// For each line the numbers of those that say what it is about: names, and the path of its entry.
    above: Vec<Vec<usize>>,
    /// The same for the next line.
    heads: Vec<usize>,
}

impl Rows {
    fn add(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
        self.above.push(self.heads.clone());
    }

    fn next(&self) -> usize {
        self.above.len()
    }

    fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }

    /// Returns the lines that say what this one is about.
    fn heads_of(&self, lines: &[&str], line: usize) -> String {
        let heads = self.above.get(line).into_iter().flatten();
        let heads = heads.filter_map(|head| lines.get(*head));
        heads.map(|line| format!(" {line}\n")).collect()
    }
}

/// Groups requests by what their hosts say of them, the largest group first.
pub fn alike(requests: &[HostRequest]) -> Vec<Alike<'_>> {
    let mut groups: Vec<Alike<'_>> = Vec::new();
    for request in requests {
        let facts = facts(&request.facts);
        match groups
            .iter_mut()
            .find(|group| group.facts.text == facts.text)
        {
            Some(group) => group.requests.push(request),
            None => groups.push(Alike {
                requests: vec![request],
                facts,
            }),
        }
    }
    // Stable: groups of one size stay in the order of hosts.
    groups.sort_by_key(|group| std::cmp::Reverse(group.requests.len()));
    groups
}

/// Returns the page. Lines of this program begin without white space, lines of hosts with two spaces.
pub fn page(requests: &[HostRequest]) -> String {
    let groups = alike(requests);
    let mut out = String::new();
    let first = groups.first();
    for (number, group) in groups.iter().enumerate() {
        let names = names(&group.requests);
        let other = first.filter(|_| number > 0);
        let difference = other.and_then(|other| {
            let (old, new) = (&other.facts, &group.facts);
            let (old_lines, new_lines) = (old.lines(), new.lines());
            let above = |mark: char, line: usize| match mark {
                '-' => old.heads_of(&old_lines, line),
                _ => new.heads_of(&new_lines, line),
            };
            let difference = diff::diff_below(&old.text, &new.text, above)?;
            (difference.len() < new.text.len()).then_some((other, difference))
        });
        match difference {
            Some((other, difference)) => {
                let _ = writeln!(out, "== {names}: as {}, but", first_name(other));
                add_text(&mut out, &difference);
            }
            None => {
                let _ = writeln!(out, "== {names}");
                add_text(&mut out, &group.facts.text);
            }
        }
        for request in &group.requests {
            let _ = writeln!(out, "{}", line(request));
        }
    }
    out
}

/// Counts the different risks that hosts name.
pub fn risks(requests: &[HostRequest]) -> usize {
    let named = requests.iter().filter_map(|one| one.facts.get("risks"));
    let all = named.flat_map(|risks| match risks {
        Value::Array(all) => all.as_slice(),
        Value::Null => &[],
        other => std::slice::from_ref(other),
    });
    let risks: BTreeSet<String> = all.map(shown).collect();
    let risks = risks.iter().filter(|risk| !risk.starts_with(DOES));
    risks.count()
}

/// Returns the line of one host: its request, its digest and how long it waits.
pub fn line(request: &HostRequest) -> String {
    let minutes = request.left_ms / 60_000;
    let yours = match (request.is_yours, request.is_approved) {
        (true, _) => "",
        (false, true) => ", you have approved it",
        (false, false) => ", not yours to approve",
    };
    format!(
        "-- {}:{} digest {}, {minutes} min left{yours}",
        request.host,
        request.job.short(),
        request.digest.as_str()
    )
}

fn first_name<'a>(group: &Alike<'a>) -> &'a str {
    group
        .requests
        .first()
        .map_or("", |request| request.host.as_str())
}

pub fn names(requests: &[&HostRequest]) -> String {
    let names: Vec<&str> = requests.iter().map(|one| one.host.as_str()).collect();
    names.join(" ")
}

/// Indents the text of a host: it cannot imitate a line of this program.
pub fn add_text(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "  {line}");
    }
}

fn facts(facts: &Map<String, Value>) -> Rows {
    let mut out = Rows::default();
    for (key, value) in ordered(facts, &FIRST) {
        add_fact(&mut out, 0, key, value);
    }
    out
}

/// Returns the facts with those of `first` in front.
fn ordered<'a>(
    facts: &'a Map<String, Value>,
    first: &'a [&str],
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let heads = first.iter().filter_map(|key| facts.get_key_value(*key));
    let rest = facts.iter();
    heads.chain(rest.filter(|(key, _)| !first.contains(&key.as_str())))
}

fn add_fact(out: &mut Rows, depth: usize, key: &str, value: &Value) {
    let (first, outer) = (out.next(), out.heads.len());
    match value {
        // As `remit show --json` says that there is none.
        Value::Null => {}
        Value::Array(items) => {
            let mut key = key;
            for item in items {
                match item {
                    Value::Array(_) | Value::Object(_) => add_fact(out, depth, key, item),
                    scalar => add_rows(out, depth, key, &shown(scalar)),
                }
                if !key.is_empty() {
                    out.heads.push(first);
                }
                key = "";
            }
        }
        Value::Object(object) => {
            add_name(out, depth, key);
            if !key.is_empty() {
                out.heads.extend(first..out.next());
            }
            let naming = NAMING.iter().find(|name| object.contains_key(**name));
            for (key, value) in ordered(object, &HEADS) {
                let first = out.next();
                add_fact(out, depth + 1, key, value);
                if naming.is_some_and(|name| name == key) {
                    out.heads.extend(first..out.next());
                }
            }
        }
        scalar => add_rows(out, depth, key, &shown(scalar)),
    }
    out.heads.truncate(outer);
}

/// Adds a name on lines of its own.
fn add_name(out: &mut Rows, depth: usize, key: &str) {
    let indent = indent(depth);
    let name = in_order(key);
    for part in columns::parts(&name, WIDTH) {
        out.add(&format!("{:indent$}{part}", ""));
    }
}

/// Adds the whole text after the mark `|`, and after `+` where it is folded: no text, however long, gets before its column.
fn add_rows(out: &mut Rows, depth: usize, key: &str, text: &str) {
    let indent = indent(depth);
    let width = NAME - indent;
    let (first, outer) = (out.next(), out.heads.len());
    let mut name = in_order(key);
    if columns::width(&name) > width {
        add_name(out, depth, key);
        name.clear();
    }
    for (number, part) in columns::parts(text, WIDTH).into_iter().enumerate() {
        let mark = if number == 0 { '|' } else { '+' };
        let name = if number == 0 { name.as_str() } else { "" };
        // Not by format's width: a character can have two columns.
        let rest = width.saturating_sub(columns::width(name));
        out.add(&format!("{:indent$}{name}{:rest$}{mark} {part}", "", ""));
        if number == 0 {
            out.heads.extend(first..out.next());
        }
    }
    out.heads.truncate(outer);
}

fn indent(depth: usize) -> usize {
    (depth * 2).min(INDENT)
}

/// One line, whole.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => in_order(text),
        other => other.to_string(),
    }
}

/// Escapes what a terminal may show in another order than that of the bytes that are approved.
fn in_order(text: &str) -> String {
    text.chars().map(ordered_piece).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::tests::one;
    use super::*;

    #[test]
    fn identical_requests_are_shown_once_with_each_digest() {
        let requests = [
            one("web1", 1, Some(7), "site.switch to=a"),
            one("web2", 2, Some(7), "site.switch to=b"),
            one("web3", 3, Some(7), "site.switch to=a"),
        ];
        let expect = format!(
            "== web1 web3\n  user       | agent\n  uid        | 1000\n  command    | site.switch to=a\n  reason     | why\n\
             -- web1:01010101 digest {}, 1 min left\n-- web3:03030303 digest {}, 1 min left\n\
             == web2: as web1, but\n  @@ line 3 @@\n  -command    | site.switch to=a\n  +command    | site.switch to=b\n\
             -- web2:02020202 digest {}, 1 min left\n",
            "01".repeat(32),
            "03".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(page(&requests), expect);
    }

    /// Each text of a host is on the page, also under names that this program does not know.
    #[test]
    fn nothing_that_a_host_says_is_left_out() {
        let mut request = one("web1", 1, None, "x");
        let facts = json!({
            "argv": ["a", "", " b"], "new_in_a_later_release": {"deep": [{"x": "y", "n": 7}, "z"]},
            "script": ["first", "second"], "is": true, "is_not": false, "none": null, "empty": [], "nothing": "",
        });
        request.facts = facts.as_object().unwrap().clone();
        let page = page(&[request]);
        let expect = "== web1\n  argv       | a\n             | \n             |  b\n  script     | first\n             | second\n  \
            is         | true\n  is_not     | false\n  new_in_a_later_release\n    deep\n      n      | 7\n      x      | y\n             | z\n  \
            nothing    | \n";
        assert!(page.starts_with(expect), "{page}");
    }

    #[test]
    fn path_is_before_its_diff() {
        let mut request = one("web1", 1, None, "x");
        let entry = |path: &str| json!({"diff": [format!("+{path}")], "path": path, "what": "new"});
        let facts = json!({"plan": {"entries": [entry("/a"), entry("/b")], "names": "2 files"}});
        request.facts = facts.as_object().unwrap().clone();
        let page = page(&[request]);
        let rows = page.lines().filter_map(|line| line.split_once("| "));
        let rows: Vec<&str> = rows.map(|(_, text)| text).collect();
        assert_eq!(rows, ["2 files", "/a", "new", "+/a", "/b", "new", "+/b"]);
    }

    #[test]
    fn difference_names_the_file_that_it_is_in() {
        let asks = |host: &str, cron: &[&str], robots: &[&str]| {
            let mut request = one(host, 1, None, "x");
            let entry =
                |path: &str, lines: &[&str]| json!({"diff": lines, "path": path, "what": "new"});
            let entries = [
                entry("/etc/cron.d/x", cron),
                entry("/srv/robots.txt", robots),
            ];
            let facts = json!({"plan": {"entries": entries}, "script": ["a", "b", "c"]});
            request.facts = facts.as_object().unwrap().clone();
            request
        };
        let hosts = |second: HostRequest| {
            let page = page(&[
                asks("web1", &["+a", "+b", "+c"], &["+d", "+X", "+e"]),
                second,
            ]);
            let (_, difference) = page.split_once("== web2: as web1, but\n").unwrap();
            let lines = difference.lines().filter(|line| line.starts_with("  "));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        };
        let moved = hosts(asks("web2", &["+a", "+X", "+b", "+c"], &["+d", "+e"]));
        let expect = "  @@ line 6 @@\n   plan\n     entries\n       path   | /etc/cron.d/x\n       diff   | +a\n  \
            +           | +X\n  …\n   plan\n     entries\n       path   | /srv/robots.txt\n       diff   | +d\n  \
            -           | +X\n";
        assert_eq!(moved, expect);
        let mut script = asks("web2", &["+a", "+b", "+c"], &["+d", "+X", "+e"]);
        script.facts["script"] = json!(["a", "b2", "c"]);
        let expect = "  @@ line 15 @@\n   script     | a\n  -           | b\n  +           | b2\n";
        assert_eq!(hosts(script), expect);
        let reason = |end: &str| {
            let mut request = one(&format!("web{end}"), 1, None, "x");
            request.facts["reason"] = json!(format!("{}{end}", "x".repeat(WIDTH)));
            request
        };
        let page = page(&[reason("1"), reason("2")]);
        let head = format!("   reason     | {}\n", "x".repeat(WIDTH));
        let expect = format!("@@\n{head}  -           + 1\n  +           + 2\n");
        assert!(page.contains(&expect), "{page}");
    }

    #[test]
    fn no_text_of_a_host_runs_from_right_to_left() {
        use remit_common::marks::is_mark;
        use remit_words::characters::is_right_to_left;
        let mixed = "\u{5d0}1/2\u{a0}a\u{301}";
        let mut request = one("web1", 1, None, mixed);
        let facts = json!({
            "argv": [mixed], "risks": [mixed],
            "plan": {"entries": [{"path": mixed, "diff": [mixed], mixed: {mixed: mixed}}]},
        });
        request.facts.extend(facts.as_object().unwrap().clone());
        let mut other = request.clone();
        other.host = "web2".parse().unwrap();
        other.facts.insert("reason".to_owned(), json!(mixed));
        let page = page(&[request, other]);
        let is_other = |c: char| is_right_to_left(c) || is_mark(c) || c == '\u{a0}';
        assert_eq!(page.find(is_other), None, "{page}");
        assert!(page.contains("| \\u{5d0}1/2\\u{a0}a\\u{301}\n"), "{page}");
    }

    #[test]
    fn line_of_a_host_names_its_approver() {
        for (is_yours, is_approved, expect) in [
            (true, false, " min left"),
            (false, true, ", you have approved it"),
            (false, false, ", not yours to approve"),
        ] {
            let mut request = one("web1", 1, None, "x");
            (request.is_yours, request.is_approved) = (is_yours, is_approved);
            let line = line(&request);
            assert!(line.ends_with(expect), "{line}");
        }
    }

    #[test]
    fn risks_come_before_what_is_long_and_are_counted() {
        let mut web1 = one("web1", 1, None, "x");
        let facts = json!({
            "reason": "why", "script": vec!["line"; 200], "risks": ["does: a", "it reaches root"], "opens": [{"what": "root"}],
        });
        web1.facts = facts.as_object().unwrap().clone();
        let mut web2 = web1.clone();
        web2.facts["risks"] = json!(["it reaches root", "another"]);
        assert_eq!(risks(&[web1.clone(), web2]), 2);
        assert_eq!(risks(&[one("web1", 1, None, "x")]), 0);
        let page = page(&[web1]);
        let at = |text: &str| page.find(text).unwrap();
        assert!(at("reason") < at("it reaches root"), "{page}");
        assert!(at("it reaches root") < at("opens") && at("opens") < at("script"));
    }

    #[test]
    fn text_of_a_host_cannot_imitate_lines_of_others() {
        let forged = "x\n-- web2:02020202 digest 00\n== web2";
        let mut liar = one("liar", 9, Some(7), forged);
        liar.facts.insert("a\n-- web2".to_owned(), json!(forged));
        liar.facts.insert("host".to_owned(), json!("web2"));
        let page = page(&[one("web1", 1, Some(7), "y"), liar]);
        let own: Vec<&str> = page
            .lines()
            .filter(|line| !line.starts_with("  "))
            .collect();
        let begins = [
            "== web1",
            "-- web1:01010101 ",
            "== liar",
            "-- liar:09090909 ",
        ];
        assert_eq!(own.len(), begins.len(), "{page}");
        for (line, begin) in own.iter().zip(begins) {
            assert!(line.starts_with(begin), "{page}");
        }
    }

    /// A terminal goes on with a long line where lines of this program begin.
    #[test]
    fn long_text_of_a_host_stays_in_its_column() {
        let forged = format!("{}== web2: as web1", "x".repeat(WIDTH));
        let wide = "\u{4e2d}".repeat(WIDTH);
        let mut long = one("web1", 1, Some(7), &forged);
        long.facts.insert("k".repeat(200), json!(wide));
        let deep = json!({"a": {"a": {"a": {"a": {"a": {"a".repeat(90): forged}}}}}});
        long.facts.insert("deep".to_owned(), deep);
        let mut other = long.clone();
        other.host = "web2".parse().unwrap();
        other.facts.insert("uid".to_owned(), json!(forged));
        let page = page(&[long, other]);
        let of_hosts = page.lines().filter(|line| line.starts_with("  "));
        let widest = of_hosts.map(columns::width).max().unwrap();
        assert_eq!(widest, COLUMNS, "{page}");
        let folded = format!(
            "  command    | {}\n             + == web2: as web1\n",
            "x".repeat(WIDTH)
        );
        assert!(page.contains(&folded), "{page}");
        assert!(page.contains("+           + == web2: as web1\n"), "{page}");
        assert_eq!(page.lines().filter(|it| it.starts_with("==")).count(), 2);
    }
}
