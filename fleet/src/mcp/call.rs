//! What a tool call means: which hosts, and what each of them gets. Pure.

use serde_json::{Map, Value};

use crate::engine::group::Fold;
use crate::selector;

/// Tools whose texts have numbers that differ from host to host.
pub const FOLDING: [&str; 2] = ["run", "host"];

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
    /// One, with the reason.
    One(&'static str),
}

impl ToolCall {
    /// Takes `on` out of the arguments: a text of words, or a list of such. Also `fold`, of tools that have it.
    pub fn new(tool: &str, mut arguments: Map<String, Value>) -> Result<Self, String> {
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

/// Changes go to one host until a set of requests has a canary and a person sees it as one.
pub fn reach(tool: &str, arguments: &Map<String, Value>) -> Reach {
    let of_one = "its job_id belongs to one host";
    match tool {
        "change" => Reach::One("change goes to one host"),
        "plan" => Reach::One("plan goes to one host, as its change does"),
        "job_stop" => Reach::One(of_one),
        "job" if arguments.contains_key("job_id") => Reach::One(of_one),
        _ => Reach::Many,
    }
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
    fn calls_that_belong_to_one_host_are_known() {
        for (tool, arguments, is_one) in [
            ("run", json!({"argv": ["df"]}), false),
            ("access", json!({}), false),
            ("history", json!({}), false),
            ("job", json!({}), false),
            ("job", json!({"job_id": "x"}), true),
            ("job_stop", json!({"job_id": "x"}), true),
            ("change", json!({}), true),
            ("plan", json!({}), true),
            ("host", json!({"since": "boot"}), false),
        ] {
            let reach = reach(tool, &object(arguments));
            assert_eq!(matches!(reach, Reach::One(_)), is_one, "{tool}");
        }
    }
}
