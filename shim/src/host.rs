//! Facts of the host, short: nothing that is absent, and without a named section no detail that needs no attention.

use remit_wire::host::{HostChanges, HostReport};
use serde_json::Value;

/// Per cent of a file system's bytes or inodes from which on it is shown, whatever its kind.
const FULL: u64 = 80;

/// Returns the report as JSON. A complete list is an array; of a cut one `more` counts the rest. In an overview details are
/// left out that a caller gets by naming the section.
pub fn brief(report: &HostReport, is_overview: bool) -> Option<Value> {
    let mut report = serde_json::to_value(report).ok()?;
    if is_overview {
        overview(&mut report);
    }
    without_absent(&mut report);
    Some(report)
}

/// Returns what changed as JSON. A change without `by` was made outside of remit.
pub fn changes(changes: &HostChanges) -> Option<Value> {
    let mut changes = serde_json::to_value(changes).ok()?;
    without_absent(&mut changes);
    Some(changes)
}

fn overview(report: &mut Value) {
    remove(report.pointer_mut("/users"), &["accounts", "groups"]);
    remove(report.pointer_mut("/boots"), &["last"]);
    for port in items(report, "/ports/tcp/items") {
        owned_by_unit(port);
    }
    for port in items(report, "/ports/udp/items") {
        owned_by_unit(port);
    }
    for interface in items(report, "/network/interfaces/items") {
        let counts = interface.pointer("/counters").and_then(Value::as_object);
        let is_bad = |(name, count): (&String, &Value)| {
            (name.ends_with("_errors") || name.ends_with("_dropped")) && count.as_u64() > Some(0)
        };
        if !counts.is_some_and(|counts| counts.iter().any(is_bad)) {
            remove(Some(interface), &["counters"]);
        }
    }
    let mut hidden = 0;
    if let Some(Value::Array(mounts)) = report.pointer_mut("/mounts/list/items") {
        let count = mounts.len();
        mounts.retain(needs_attention);
        hidden = (count - mounts.len()) as u64;
        for mount in mounts {
            remove(Some(mount), &["options", "root"]);
            if !has_few_inodes(mount) {
                remove(mount.get_mut("room"), &["inodes", "inodes_free"]);
            }
        }
    }
    if let Some(pseudo) = report.pointer_mut("/mounts/pseudo") {
        *pseudo = (pseudo.as_u64().unwrap_or(0) + hidden).into();
    }
}

/// Returns true for file systems that keep data, also if they do not answer, and for others that are nearly full.
fn needs_attention(mount: &Value) -> bool {
    let why = mount.get("why").and_then(Value::as_str);
    let is_unseen = why.is_some_and(|why| why.starts_with("not visible here"));
    let kind = mount.get("fstype").and_then(Value::as_str);
    let is_in_memory = matches!(kind, Some("tmpfs" | "ramfs"));
    let is_used = number(space(mount), "used_percent") >= FULL;
    let inodes = has_few_inodes(mount);
    !is_unseen && (!is_in_memory || is_used || inodes)
}

fn has_few_inodes(mount: &Value) -> bool {
    let all = number(space(mount), "inodes");
    let used = all.saturating_sub(number(space(mount), "inodes_free"));
    used.saturating_mul(100)
        .checked_div(all)
        .is_some_and(|used| used >= FULL)
}

fn space(mount: &Value) -> &Value {
    mount.get("room").unwrap_or(&Value::Null)
}

fn number(from: &Value, key: &str) -> u64 {
    from.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn owned_by_unit(port: &mut Value) {
    if port.pointer("/owner/unit").is_some_and(Value::is_string) {
        remove(port.pointer_mut("/owner"), &["cgroup"]);
    }
}

fn items<'a>(report: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = report.pointer_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

fn remove(from: Option<&mut Value>, names: &[&str]) {
    if let Some(Value::Object(fields)) = from {
        for name in names {
            fields.remove(*name);
        }
    }
}

fn without_absent(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(without_absent),
        Value::Object(fields) => {
            fields.values_mut().for_each(without_absent);
            fields.retain(|_, field| !is_absent(field));
            let is_complete_list = fields.get("more").is_some_and(|more| *more == 0)
                && fields.keys().all(|name| name == "more" || name == "items");
            if is_complete_list {
                *value = fields.remove("items").unwrap_or(Value::Array(Vec::new()));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(mut report: Value) -> Value {
        overview(&mut report);
        without_absent(&mut report);
        report
    }

    #[test]
    fn absent_facts_and_complete_lists_are_short() {
        let list = |items: Value, more: u64| json!({ "items": items, "more": more });
        for (value, expect) in [
            (
                json!({ "a": null, "b": 0, "c": false, "d": "" }),
                json!({ "b": 0, "c": false, "d": "" }),
            ),
            (
                json!({ "a": list(json!([1, 2]), 0) }),
                json!({ "a": [1, 2] }),
            ),
            (
                json!({ "a": list(json!([]), 0), "b": 1 }),
                json!({ "b": 1 }),
            ),
            (
                json!({ "a": list(json!([1]), 3) }),
                json!({ "a": { "items": [1], "more": 3 } }),
            ),
            (json!({ "a": { "b": { "c": null } } }), json!({})),
        ] {
            assert_eq!(shown(value.clone()), expect, "{value}");
        }
    }

    #[test]
    fn overview_keeps_what_needs_attention() {
        let mount = |fstype: &str, percent: u64, inodes_free: u64| {
            json!({ "target": "/x", "fstype": fstype, "options": "rw", "root": "/",
                "room": { "used_percent": percent, "inodes": 100, "inodes_free": inodes_free } })
        };
        let unknown = |why: &str| json!({ "target": "/y", "fstype": "ext4", "options": "rw", "room": null, "why": why });
        let covered = unknown("not visible here: another mount covers it");
        let unseen = unknown("not visible here: cannot look at '/y': Permission denied");
        for (mounts, shown_mounts) in [
            (vec![mount("ext4", 3, 90), covered, unseen], 1),
            (vec![unknown("it did not answer in time")], 1),
            (vec![unknown("cannot ask '/y': I/O error")], 1),
            (vec![mount("tmpfs", 79, 90)], 0),
            (vec![mount("tmpfs", 80, 90), mount("tmpfs", 1, 20)], 2),
        ] {
            let hidden = mounts.len() - shown_mounts;
            let report =
                shown(json!({ "mounts": { "list": { "items": mounts, "more": 0 }, "pseudo": 4 } }));
            let list = report["mounts"]["list"].as_array().map_or(0, Vec::len);
            assert_eq!(
                (list, report["mounts"]["pseudo"].as_u64()),
                (shown_mounts, Some(4 + hidden as u64))
            );
            assert_eq!(report.pointer("/mounts/list/0/options"), None);
        }
        for (errors, expect) in [(0, false), (1, true)] {
            let interface = json!({ "name": "eth0", "counters": { "rx": 5, "rx_errors": errors } });
            let report =
                shown(json!({ "network": { "interfaces": { "items": [interface], "more": 0 } } }));
            let counters = report.pointer("/network/interfaces/0/counters");
            assert_eq!(counters.is_some(), expect);
        }
        for (unit, expect) in [(json!("ssh.service"), false), (Value::Null, true)] {
            let port = json!({ "port": 22, "owner": { "unit": unit, "cgroup": "/x" } });
            let report = shown(json!({ "ports": { "tcp": { "items": [port], "more": 0 } } }));
            assert_eq!(
                report.pointer("/ports/tcp/0/owner/cgroup").is_some(),
                expect
            );
        }
    }
}
