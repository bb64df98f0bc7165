//! What many hosts answered, as one JSON of a bounded size: the largest group with its output, others as the difference
//! from it. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::diff;
use super::group::{Group, Grouped};

/// Names of hosts that are listed for one group, from all to few.
const HOSTS: [usize; 4] = [usize::MAX, 40, 12, 3];
/// So many groups are shown before fewer names are listed.
const GROUPS: usize = 8;
/// A text that is cut shows at least so much, or fewer groups are shown.
const USEFUL: usize = 160;
/// Keys of a group that are not the host's.
const OWN: [&str; 8] = [
    "hosts",
    "more_hosts",
    "is_error",
    "difference",
    "jobs",
    "cut",
    "numbers",
    "ids",
];
const REASON: usize = 600;

/// How much is shown.
#[derive(Clone, Copy, Debug)]
struct Level {
    hosts: usize,
    groups: usize,
    /// Bytes of a text.
    text: usize,
}

/// Texts of a group as the difference from those of the largest one, if that is shorter.
type Differences = BTreeMap<&'static str, String>;

/// Answers, with what is the same for each level.
struct Compared<'a> {
    grouped: &'a Grouped,
    /// Of each group. Empty for the largest.
    differences: Vec<Differences>,
}

impl<'a> Compared<'a> {
    fn new(grouped: &'a Grouped) -> Self {
        let majority = grouped.groups.first();
        let of_group = |(number, group): (usize, &Group)| {
            let majority = majority.filter(|_| number > 0);
            let texts = group.texts.iter().filter_map(|(name, text)| {
                let difference = diff::diff(majority?.texts.get(name)?, text)?;
                let whole = match *name {
                    "data" => size(&group.data),
                    _ => text.len(),
                };
                (difference.len() < whole).then_some((*name, difference))
            });
            texts.collect()
        };
        Self {
            grouped,
            differences: grouped.groups.iter().enumerate().map(of_group).collect(),
        }
    }
}

/// Returns the report in at most `budget` bytes. If not even one group fits, it has counts alone.
pub fn fitted(grouped: &Grouped, budget: usize) -> Map<String, Value> {
    let compared = Compared::new(grouped);
    let fits = |level: Level| size(&report(&compared, level)) <= budget;
    let all = grouped.groups.len().max(grouped.unreachable.len());
    for hosts in HOSTS {
        let with = |groups, text| Level {
            hosts,
            groups,
            text,
        };
        if fits(with(all, usize::MAX)) {
            return report(&compared, with(all, usize::MAX));
        }
        let is_last = HOSTS.last() == Some(&hosts);
        let least = if is_last { 1 } else { all.min(GROUPS) };
        if fits(with(least, USEFUL)) {
            let groups = largest(least, all, |groups| fits(with(groups, USEFUL)));
            let text = largest(USEFUL, budget, |text| fits(with(groups, text)));
            return report(&compared, with(groups, text));
        }
    }
    counts(grouped, "the answers are too long; ask fewer hosts")
}

/// Returns the report with what this program itself says, in at most `budget` bytes. No host has a key in that.
pub fn fitted_with(
    grouped: &Grouped,
    own: Map<String, Value>,
    budget: usize,
) -> Map<String, Value> {
    let mut report = fitted(grouped, budget.saturating_sub(size(&own)));
    report.extend(own);
    report
}

/// Returns the largest number of a range that fits. The first one does.
pub fn largest(first: usize, last: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (first, last + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match fits(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Returns the bytes of the JSON.
pub fn size(report: &Map<String, Value>) -> usize {
    serde_json::to_string(report).map_or(usize::MAX, |json| json.len())
}

fn counts(grouped: &Grouped, note: &str) -> Map<String, Value> {
    let unreachable: usize = grouped
        .unreachable
        .iter()
        .map(|(_, hosts)| hosts.len())
        .sum();
    Map::from_iter([
        ("hosts_asked".to_owned(), json!(grouped.asked)),
        ("different".to_owned(), json!(grouped.groups.len())),
        ("unreachable".to_owned(), json!(unreachable)),
        ("note".to_owned(), json!(note)),
    ])
}

fn report(compared: &Compared<'_>, level: Level) -> Map<String, Value> {
    let grouped = compared.grouped;
    let majority = grouped.groups.first().and_then(|group| group.hosts.first());
    let mut report = Map::from_iter([("hosts_asked".to_owned(), json!(grouped.asked))]);
    let groups = grouped.groups.iter().zip(&compared.differences);
    let groups: Vec<Value> = groups
        .take(level.groups)
        .map(|(group, differences)| Value::Object(shown(group, (majority, differences), level)))
        .collect();
    report.insert("groups".to_owned(), groups.into());
    let more = grouped.groups.len().saturating_sub(level.groups);
    if more > 0 {
        report.insert("more_groups".to_owned(), json!(more));
    }
    let unreachable = grouped.unreachable.iter().take(level.groups);
    let unreachable: Vec<Value> = unreachable
        .map(|(why, hosts)| {
            let mut entry = names(hosts, level);
            let end = why.floor_char_boundary(REASON);
            entry.insert("why".to_owned(), json!(why.get(..end).unwrap_or(why)));
            Value::Object(entry)
        })
        .collect();
    if !unreachable.is_empty() {
        report.insert("unreachable".to_owned(), unreachable.into());
    }
    let more = grouped.unreachable.len().saturating_sub(level.groups);
    if more > 0 {
        report.insert("more_reasons".to_owned(), json!(more));
    }
    report
}

fn names(hosts: &[String], level: Level) -> Map<String, Value> {
    let listed: Vec<&String> = hosts.iter().take(level.hosts).collect();
    let more = hosts.len().saturating_sub(listed.len());
    let mut entry = Map::from_iter([("hosts".to_owned(), json!(listed))]);
    if more > 0 {
        entry.insert("more_hosts".to_owned(), json!(more));
    }
    entry
}

fn shown(
    group: &Group,
    (majority, known): (Option<&String>, &Differences),
    level: Level,
) -> Map<String, Value> {
    let mut entry = group.facts.clone();
    // What a host sends under these names would be about other hosts.
    OWN.iter().for_each(|name| drop(entry.remove(*name)));
    entry.extend(names(&group.hosts, level));
    if group.is_error {
        entry.insert("is_error".to_owned(), json!(true));
    }
    let mut left_out = false;
    let mut differences = Map::new();
    for (name, text) in &group.texts {
        match known.get(name) {
            Some(difference) => {
                let (text, is_cut) = cut(difference, level.text);
                left_out |= is_cut;
                differences.insert((*name).to_owned(), text.into());
            }
            // As a text it would be twice as long.
            None if *name == "data" && size(&group.data) <= level.text => {
                entry.insert((*name).to_owned(), Value::Object(group.data.clone()));
            }
            None => {
                let (text, is_cut) = cut(text, level.text);
                left_out |= is_cut;
                entry.insert((*name).to_owned(), text.into());
            }
        }
    }
    if let Some(first) = majority
        && !differences.is_empty()
    {
        differences.insert("from".to_owned(), json!(first));
        entry.insert("difference".to_owned(), differences.into());
    }
    if group.has_other_numbers {
        let note = "other hosts of this group have other numbers; these are of the first one";
        entry.insert("numbers".to_owned(), json!(note));
    }
    if group.has_other_ids {
        let note = "ids and times are of the first host; ask one of the others for its own";
        entry.insert("ids".to_owned(), json!(note));
    }
    let jobs: BTreeMap<&String, &Value> = group
        .jobs
        .iter()
        .take(level.hosts)
        .map(|(host, job)| (host, job))
        .collect();
    if !jobs.is_empty() {
        entry.insert("jobs".to_owned(), json!(jobs));
    }
    if left_out {
        entry.insert(
            "cut".to_owned(),
            json!("texts are shortened; ask one host for all of it"),
        );
    }
    entry
}

/// Keeps the beginning and the end of a text.
fn cut(text: &str, cap: usize) -> (String, bool) {
    if text.len() <= cap {
        return (text.to_owned(), false);
    }
    let start = text.floor_char_boundary(cap / 3 * 2);
    let end = text.ceil_char_boundary(text.len() - cap / 3);
    let (first, last) = (text.get(..start), text.get(end..));
    let first = first.unwrap_or_default();
    let last = last.unwrap_or_default();
    let bytes = text.len() - first.len() - last.len();
    (format!("{first}\n[{bytes} bytes left out]\n{last}"), true)
}

#[cfg(test)]
mod tests {
    use remit_common::text;

    use super::*;
    use crate::engine::group::{self, Fold};
    use crate::link::Unreachable;
    use crate::link::answer::ToolResult;

    fn ran(host: usize, stdout: &str) -> (String, group::Outcome) {
        let data =
            json!({"job_id": format!("j{host}"), "state": "exited", "exit": 0, "stdout": stdout});
        let result = ToolResult {
            is_error: false,
            data: data.as_object().unwrap().clone(),
            text: String::new(),
        };
        (format!("web{host}"), Ok(result))
    }

    fn lines(from: usize, count: usize) -> String {
        (from..from + count)
            .map(|n| format!("line {n}\n"))
            .collect()
    }

    #[test]
    fn majority_has_its_output_and_others_the_difference() {
        let usual = lines(0, 20);
        let grouped = group::group(
            (0..5).map(|host| match host {
                3 => ran(host, &usual.replace("line 7\n", "line VII\n")),
                _ => ran(host, &usual),
            }),
            Fold::Exact,
        );
        let report = fitted(&grouped, 24 << 10);
        let [first, second] = [&report["groups"][0], &report["groups"][1]];
        assert_eq!(first["hosts"], json!(["web0", "web1", "web2", "web4"]));
        assert_eq!(
            (&first["stdout"], &first["exit"]),
            (&json!(usual), &json!(0))
        );
        assert_eq!(second["hosts"], json!(["web3"]));
        let expect = json!({"from": "web0", "stdout": "@@ line 8 @@\n-line 7\n+line VII\n"});
        assert_eq!(second["difference"], expect);
        assert_eq!((second.get("stdout"), second.get("cut")), (None, None));
    }

    #[test]
    fn facts_are_an_object_unless_they_are_cut() {
        let facts = |load: usize| {
            let mounts: Vec<Value> = (0..50)
                .map(|n| json!({"path": format!("/mnt/{n}"), "free": n}))
                .collect();
            let data = json!({"load": {"1m": load}, "mounts": mounts});
            let result = ToolResult {
                is_error: false,
                data: data.as_object().unwrap().clone(),
                text: String::new(),
            };
            (format!("web{load}"), Ok(result))
        };
        let grouped = group::group([facts(1), facts(2)], Fold::Exact);
        let report = fitted(&grouped, 24 << 10);
        let [first, second] = [&report["groups"][0], &report["groups"][1]];
        assert_eq!(first["data"]["mounts"][7]["path"], "/mnt/7");
        let expect = "@@ line 3 @@\n-    \"1m\": 1\n+    \"1m\": 2\n";
        assert_eq!(
            second["difference"],
            json!({"from": "web1", "data": expect})
        );
        let one = size(&grouped.groups[0].data);
        assert!(size(&report) < one + 300, "{} {one}", size(&report));
        // Short of bytes, it is a text again.
        let report = fitted(&grouped, one);
        let text = report["groups"][0]["data"].as_str().unwrap();
        assert!(text.contains("bytes left out"), "{text}");
        assert!(report["groups"][0]["cut"].is_string());
        assert!(size(&report) <= one);
    }

    #[test]
    fn report_never_exceeds_its_budget() {
        let down = |n: usize| {
            (
                format!("db{n}"),
                Err(Unreachable(format!("reason {n}: {}", "x".repeat(5000)))),
            )
        };
        // More hosts than a report has names or groups for.
        let long = lines(0, 5000);
        let many: [(&str, Vec<(String, group::Outcome)>); 5] = [
            ("same", (0..200).map(|n| ran(n, &long)).collect()),
            (
                "different",
                (0..300).map(|n| ran(n, &lines(n * 7, 500))).collect(),
            ),
            (
                "short",
                (0..1000).map(|n| ran(n, &format!("{n}\n"))).collect(),
            ),
            ("unreachable", (0..300).map(down).collect()),
            (
                "escapes",
                (0..30)
                    .map(|n| ran(n, &"\"\\\n".repeat(n + 9000)))
                    .collect(),
            ),
        ];
        for (name, outcomes) in many {
            let count = outcomes.len();
            let grouped = group::group(outcomes, Fold::Exact);
            for budget in [4096, 24 << 10, 40_000] {
                let report = fitted(&grouped, budget);
                assert!(
                    size(&report) <= budget,
                    "{name} {budget}: {}",
                    size(&report)
                );
                assert_eq!(report["hosts_asked"], json!(count), "{name}");
                assert!(
                    size(&report) > budget / 4,
                    "{name} {budget}: {} is little",
                    size(&report)
                );
            }
        }
        let nothing = fitted(&group::group([ran(0, "a")], Fold::Exact), 10);
        assert_eq!(nothing["hosts_asked"], 1);
    }

    #[test]
    fn host_cannot_speak_for_others_or_crowd_them_out() {
        let lie = |data: Value| {
            let result = ToolResult {
                is_error: false,
                data: data.as_object().unwrap().clone(),
                text: String::new(),
            };
            ("liar".to_owned(), Ok(result))
        };
        let false_names = json!({
            "job_id": "j", "state": "exited", "exit": 0, "hosts": ["web0", "web1"], "more_hosts": 9,
            "jobs": {"web0": "j"}, "cut": 1, "numbers": 1, "difference": {"from": "web0"}, "is_error": true,
        });
        let long_facts = json!({"job_id": "j", "state": "exited", "x": "y".repeat(60_000)});
        let long_id = json!({"job_id": "j".repeat(60_000), "state": "running"});
        for data in [false_names, long_facts, long_id] {
            let grouped = group::group([ran(0, "a\n"), ran(1, "a\n"), lie(data)], Fold::Exact);
            let report = fitted(&grouped, 4096);
            assert_eq!(report["groups"][0]["hosts"], json!(["web0", "web1"]));
            assert_eq!(report["groups"][0]["stdout"], "a\n");
            let mut other = report["groups"][1].as_object().unwrap().clone();
            assert_eq!(other.remove("hosts"), Some(json!(["liar"])));
            let cut = other.remove("cut");
            assert!(cut.is_none_or(|cut| cut.is_string()));
            for name in ["more_hosts", "is_error", "difference", "jobs", "numbers"] {
                assert_eq!(other.get(name), None, "{name}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let grouped = group::group((0..900).map(|n| ran(n, "same\n")), Fold::Exact);
        let report = fitted(&grouped, 4096);
        let group = &report["groups"][0];
        let listed = group["hosts"].as_array().unwrap().len();
        assert_eq!(
            listed + usize::try_from(group["more_hosts"].as_u64().unwrap()).unwrap(),
            900
        );
        let (text, is_cut) = cut(&"ä".repeat(1000), 100);
        assert!(is_cut && text.contains("bytes left out]") && text.len() < 150);
        assert!(text.chars().all(text::is_plain));
        assert_eq!(cut("abc", 3), ("abc".into(), false));
    }
}
