//! What a tool call means: which hosts, and what each of them gets. Pure.

use std::ops::RangeInclusive;

use remit_common::names::SetId;
use serde_json::{Map, Value};

use crate::engine::group::Fold;
use crate::selector;
use crate::set::{self, Order};

/// Tools whose texts have numbers that differ from host to host.
pub const FOLDING: [&str; 2] = ["run", "host"];
/// Arguments that decide here which hosts a call goes to.
const DECIDING: [&str; 4] = ["job_id", "plan_id", "set", "undo"];
/// Hosts of a change that does not say how many it means.
const MAX_HOSTS: usize = 5;
const CONCURRENCY: usize = 16;

/// A call without `on`.
#[derive(Debug, PartialEq)]
pub struct ToolCall {
    /// `None`: the only host.
    pub on: Option<Vec<String>>,
    pub fold: Fold,
    pub arguments: Map<String, Value>,
}

/// How many hosts a call may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Many,
    /// One after another, the first as a canary.
    Set,
    /// One, with the reason.
    One(&'static str),
}

impl ToolCall {
    /// Takes `on` out of the arguments: a text of words, or a list of such. Also `fold`, of tools that have it.
    pub fn new(tool: &str, mut arguments: Map<String, Value>) -> Result<Self, String> {
        // Some models name all arguments. One that is null is none, here as on the host, and one of these that is empty.
        arguments.retain(|name, value| {
            let is_none = value.is_null() || (DECIDING.contains(&name.as_str()) && *value == "");
            !is_none
        });
        let on = match arguments.remove("on") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(words(&text)),
            Some(Value::Array(items)) => {
                let words: Option<Vec<Vec<String>>> =
                    items.iter().map(|item| item.as_str().map(words)).collect();
                let words = words.ok_or("'on' is a list of something else than names")?;
                Some(words.concat())
            }
            Some(_) => return Err("'on' is a text such as \"web* tag:prod !web3\"".to_owned()),
        };
        let fold = match arguments.get("fold") {
            Some(fold) if FOLDING.contains(&tool) => match fold.as_str() {
                Some("numbers") => Fold::Numbers,
                Some("exact") => Fold::Exact,
                _ if fold.is_null() => Fold::Exact,
                _ => return Err("'fold' is \"numbers\"".to_owned()),
            },
            // The host refuses it.
            Some(_) | None => Fold::Exact,
        };
        if FOLDING.contains(&tool) {
            arguments.remove("fold");
        }
        Ok(Self {
            on,
            fold,
            arguments,
        })
    }

    /// Adds a request id to a call that starts something, because it may be sent twice.
    pub fn identify(
        &mut self,
        tool: &str,
        fresh: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), String> {
        let starts = ["run", "change", "plan"].contains(&tool);
        let has_id = self
            .arguments
            .get("request_id")
            .is_some_and(|id| !id.is_null());
        if starts && !has_id {
            self.arguments
                .insert("request_id".to_owned(), fresh()?.into());
        }
        Ok(())
    }
}

fn words(text: &str) -> Vec<String> {
    selector::words(text).map(str::to_owned).collect()
}

pub fn reach(tool: &str, arguments: &Map<String, Value>) -> Reach {
    let of_one = "its job_id belongs to one host";
    match tool {
        "change" if arguments.contains_key("undo") => Reach::One("a commit belongs to one host"),
        "change" => Reach::Set,
        "plan" if arguments.contains_key("job_id") => Reach::One(of_one),
        "job_stop" => Reach::One(of_one),
        "job" if arguments.contains_key("job_id") => Reach::One(of_one),
        _ => Reach::Many,
    }
}

/// How a change goes to many hosts: arguments of the tool that stay here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    pub max_hosts: usize,
    pub order: Order,
}

impl Default for SetLimits {
    fn default() -> Self {
        Self {
            max_hosts: MAX_HOSTS,
            order: Order {
                concurrency: 1,
                max_errors: 0,
            },
        }
    }
}

impl SetLimits {
    /// Takes them out of the arguments.
    pub fn take(arguments: &mut Map<String, Value>) -> Result<Self, String> {
        let mut number = |name: &str, usual: usize, range: RangeInclusive<usize>| {
            let value = match arguments.remove(name) {
                None | Some(Value::Null) => return Ok(usual),
                Some(value) => value.as_u64().and_then(|it| usize::try_from(it).ok()),
            };
            let value = value.filter(|value| range.contains(value));
            value.ok_or_else(|| {
                format!(
                    "'{name}' is a number from {} to {}",
                    range.start(),
                    range.end()
                )
            })
        };
        let usual = Self::default();
        let Order {
            concurrency,
            max_errors,
        } = usual.order;
        Ok(Self {
            max_hosts: number("max_hosts", usual.max_hosts, 1..=set::HOSTS)?,
            order: Order {
                concurrency: number("concurrency", concurrency, 1..=CONCURRENCY)?,
                max_errors: number("max_errors", max_errors, 0..=set::HOSTS)?,
            },
        })
    }

    /// Refuses more hosts than the call says that it means.
    pub fn check(self, hosts: usize) -> Result<(), String> {
        let max = self.max_hosts;
        if hosts <= max {
            return Ok(());
        }
        let way_out = match hosts <= set::HOSTS {
            true => format!("name fewer, or give max_hosts {hosts} if your user means all of them"),
            false => format!("name at most {} in one call", set::HOSTS),
        };
        Err(format!(
            "'on' names {hosts} hosts, and a change goes to at most max_hosts ({max}): {way_out}"
        ))
    }
}

/// Returns the set that `job` or `job_stop` names.
pub fn named_set(tool: &str, arguments: &Map<String, Value>) -> Result<Option<SetId>, String> {
    let set = match arguments.get("set") {
        Some(set) if ["job", "job_stop"].contains(&tool) && !set.is_null() => set,
        _ => return Ok(None),
    };
    if arguments.contains_key("job_id") {
        return Err("'set' and 'job_id' exclude each other".to_owned());
    }
    let set = set.as_str().unwrap_or_default().parse();
    set.map(Some).map_err(|why| format!("'set': {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn hosts_are_a_text_or_a_list() {
        let on = |on: Value| ToolCall::new("run", object(json!({"on": on, "a": 1})));
        for (value, expect) in [
            (json!("web1"), vec!["web1"]),
            (
                json!("web* tag:prod, !web3"),
                vec!["web*", "tag:prod", "!web3"],
            ),
            (
                json!(["web*", "tag:prod !web3"]),
                vec!["web*", "tag:prod", "!web3"],
            ),
            (json!(""), vec![]),
            (json!([]), vec![]),
        ] {
            let call = on(value).unwrap();
            assert_eq!(call.on.unwrap(), expect);
            assert_eq!(call.arguments, object(json!({"a": 1})));
        }
        assert_eq!(on(Value::Null).unwrap().on, None);
        assert_eq!(ToolCall::new("run", Map::new()).unwrap().on, None);
        for wrong in [json!(7), json!({}), json!(["web1", 7])] {
            assert!(on(wrong).is_err());
        }
    }

    #[test]
    fn argument_that_is_null_or_empty_is_none() {
        for none in [Value::Null, json!("")] {
            let all = json!({"name": "a.b", "plan_id": none, "undo": none, "job_id": none, "set": none, "stdin": ""});
            let call = ToolCall::new("change", object(all)).unwrap();
            let expect = json!({"name": "a.b", "stdin": ""});
            assert_eq!(call.arguments, object(expect));
            assert_eq!(reach("change", &call.arguments), Reach::Set);
        }
    }

    #[test]
    fn fold_stays_here() {
        let call = |tool, fold: Value| ToolCall::new(tool, object(json!({"fold": fold})));
        for (fold, expect) in [
            (json!("numbers"), Fold::Numbers),
            (json!("exact"), Fold::Exact),
            (Value::Null, Fold::Exact),
        ] {
            let call = call("run", fold).unwrap();
            assert_eq!((call.fold, call.arguments.len()), (expect, 0));
        }
        assert!(call("run", json!("words")).is_err());
        let other = call("access", json!("numbers")).unwrap();
        assert_eq!((other.fold, other.arguments.len()), (Fold::Exact, 1));
    }

    #[test]
    fn what_starts_something_has_a_request_id() {
        for (tool, arguments, expect) in [
            ("run", json!({}), Some("new")),
            ("change", json!({"request_id": "mine"}), Some("mine")),
            ("plan", json!({"request_id": null}), Some("new")),
            ("job", json!({}), None),
            ("job_stop", json!({}), None),
        ] {
            let mut call = ToolCall::new(tool, object(arguments)).unwrap();
            call.identify(tool, || Ok("new".into())).unwrap();
            assert_eq!(
                call.arguments.get("request_id").and_then(Value::as_str),
                expect,
                "{tool}"
            );
        }
    }

    #[test]
    fn limits_of_a_set_stay_here_and_are_bounded() {
        let take = |arguments: Value| {
            let mut arguments = object(arguments);
            SetLimits::take(&mut arguments).map(|limits| (limits, arguments.len()))
        };
        let (usual, left) = take(json!({"name": "a", "max_errors": null})).unwrap();
        assert_eq!((usual.max_hosts, usual.order.concurrency, left), (5, 1, 1));
        assert_eq!(usual.order.max_errors, 0);
        let (limits, left) =
            take(json!({"max_hosts": 64, "concurrency": 16, "max_errors": 3})).unwrap();
        assert_eq!(
            (limits.max_hosts, limits.order.concurrency, left),
            (64, 16, 0)
        );
        for (wrong, expect) in [
            (
                json!({"max_hosts": 0}),
                "'max_hosts' is a number from 1 to 64",
            ),
            (
                json!({"max_hosts": 65}),
                "'max_hosts' is a number from 1 to 64",
            ),
            (json!({"concurrency": 17}), "'concurrency' is a number"),
            (json!({"concurrency": "2"}), "'concurrency' is a number"),
            (json!({"max_errors": -1}), "'max_errors' is a number from 0"),
        ] {
            assert!(take(wrong).unwrap_err().starts_with(expect));
        }
        assert_eq!(usual.check(5), Ok(()));
        let why = usual.check(12).unwrap_err();
        assert!(
            why.contains("12 hosts") && why.contains("give max_hosts 12"),
            "{why}"
        );
        assert!(usual.check(65).unwrap_err().contains("at most 64"));
    }

    #[test]
    fn set_is_named_alone() {
        let named = |tool, arguments| named_set(tool, &object(arguments));
        let id = "0123456789abcdef".repeat(2);
        assert_eq!(named("job", json!({"set": id})).unwrap(), id.parse().ok());
        assert_eq!(named("change", json!({"set": id})), Ok(None));
        assert_eq!(named("job", json!({"set": null})), Ok(None));
        for wrong in [
            json!({"set": id, "job_id": "x"}),
            json!({"set": 7}),
            json!({"set": id.to_uppercase()}),
        ] {
            assert!(named("job_stop", wrong).is_err());
        }
    }

    #[test]
    fn calls_that_belong_to_one_host_are_known() {
        for (tool, arguments, is_one) in [
            ("run", json!({"argv": ["df"]}), false),
            ("access", json!({}), false),
            ("history", json!({}), false),
            ("job", json!({}), false),
            ("job", json!({"job_id": "x"}), true),
            ("job_stop", json!({"job_id": "x"}), true),
            ("change", json!({"undo": "x"}), true),
            ("change", json!({}), false),
            ("plan", json!({"job_id": "x"}), true),
            ("plan", json!({}), false),
            ("host", json!({"since": "boot"}), false),
        ] {
            let reach = reach(tool, &object(arguments));
            assert_eq!(matches!(reach, Reach::One(_)), is_one, "{tool}");
        }
    }
}
