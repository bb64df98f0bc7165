//! Answers that list what happened on a host: `jobs` of the tool `job`, `entries` of `history`. Pure.

use serde_json::{Map, Value};

/// Lists, and the fields of their entries that each host has of its own.
const LISTS: [(&str, &[&str]); 2] = [
    ("jobs", &["job_id", "started_ms"]),
    ("entries", &["job_id", "seq", "at_ms"]),
];
/// Fields that only an answer about one job or one plan has.
const OF_ONE: [&str; 4] = ["job_id", "plan_id", "diff", "error"];
/// Where the next page begins, in numbers of this host.
const NEXT: &str = "next";

/// Returns what can be the same on several hosts, if it is such a list.
pub fn without_ids(data: &Map<String, Value>) -> Option<Map<String, Value>> {
    let (list, own) = LISTS
        .iter()
        .find(|(list, _)| data.get(*list).is_some_and(Value::is_array))?;
    if OF_ONE.iter().any(|key| data.contains_key(*key)) {
        return None;
    }
    let mut data = data.clone();
    if data.get(NEXT).is_some_and(Value::is_number) {
        // Only that there is more.
        data.insert(NEXT.to_owned(), Value::Bool(true));
    }
    let entries = data.get_mut(*list).and_then(Value::as_array_mut)?;
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        own.iter().for_each(|key| drop(entry.remove(*key)));
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::group::{Fold, group};
    use crate::engine::report;
    use crate::link::answer::ToolResult;

    fn answered(data: Value) -> ToolResult {
        ToolResult {
            is_error: false,
            data: data.as_object().unwrap().clone(),
            text: String::new(),
        }
    }

    fn groups(answers: Vec<(&str, Value)>) -> Value {
        let answers = answers.into_iter();
        let answers = answers.map(|(host, data)| (host.to_owned(), Ok(answered(data))));
        let report = report::fitted(&group(answers, Fold::Exact), 24 << 10);
        report["groups"].clone()
    }

    #[test]
    fn the_same_events_are_one_group_whatever_their_ids() {
        let job = |id: &str, at: u64, exit: i32| json!({"jobs": [{"job_id": id, "command": "df -h", "state": "exited", "exit": exit, "started_ms": at}]});
        let found = groups(vec![
            ("web1", job("a", 1, 0)),
            ("web2", job("b", 2, 1)),
            ("web3", job("c", 3, 0)),
        ]);
        assert_eq!(found[0]["hosts"], json!(["web1", "web3"]), "{found}");
        assert_eq!(found[0]["data"]["jobs"][0]["job_id"], "a", "{found}");
        let note = found[0]["ids"].as_str().unwrap();
        assert!(
            note.starts_with("ids and times are of the first host"),
            "{note}"
        );
        assert_eq!(
            (&found[1]["hosts"], found[1].get("ids")),
            (&json!(["web2"]), None)
        );
        let entry = |seq: u64, next: Value, verdict: &str| json!({"entries": [{"seq": seq, "at_ms": seq * 7, "job_id": "x", "verdict": verdict}], "next": next});
        let found = groups(vec![
            ("web1", entry(1, json!(1), "allow")),
            ("web2", entry(9, json!(9), "allow")),
            ("web3", entry(9, Value::Null, "allow")),
            ("web4", entry(1, json!(1), "denied_rule")),
        ]);
        let hosts: Vec<&Value> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["hosts"])
            .collect();
        assert_eq!(
            hosts,
            [&json!(["web1", "web2"]), &json!(["web3"]), &json!(["web4"])]
        );
    }

    #[test]
    fn other_answers_are_no_list_of_events() {
        for data in [
            json!({"entries": [{"path": "/a"}], "plan_id": "x"}),
            json!({"jobs": [{}], "job_id": "x"}),
            json!({"jobs": {"web1": "x"}}),
            json!({"user": "x"}),
        ] {
            assert_eq!(without_ids(data.as_object().unwrap()), None, "{data}");
        }
    }
}
