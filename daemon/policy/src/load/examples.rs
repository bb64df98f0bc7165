//! The examples of a command, `accepts` and `rejects`: checked when it is loaded.

use std::ops::Range;

use crate::load::diagnostic::quoted;
use crate::load::kinds::scalar;
use crate::load::reader::{Fields, Report, entries, mistyped};
use crate::model::command::Command;

/// Calls that a command must take, and calls that it must refuse.
pub(crate) struct Examples {
    accepts: Vec<Example>,
    rejects: Vec<Example>,
}

struct Example {
    args: Vec<(String, String)>,
    span: Range<usize>,
}

/// Reads both lists.
pub(crate) fn read(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Examples {
    Examples {
        accepts: list(fields, "accepts", report),
        rejects: list(fields, "rejects", report),
    }
}

fn list(fields: &mut Fields<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<Example> {
    const WHAT: &str = "a list of tables, as [{ argument = \"value\" }]";
    let Some(value) = fields.get(key) else {
        return Vec::new();
    };
    if !report.proves() {
        return Vec::new();
    }
    let Some(items) = value.get_ref().as_array() else {
        mistyped(key, WHAT, value, report);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items.iter() {
        let Some(table) = item.get_ref().as_table() else {
            mistyped(key, WHAT, item, report);
            continue;
        };
        let mut args = Vec::new();
        for (name, value) in entries(table) {
            let one = std::slice::from_ref(value);
            let values = value.get_ref().as_array().map_or(one, |list| list);
            for value in values {
                match scalar(value) {
                    Some(text) => args.push((name.value.to_owned(), text)),
                    None => {
                        let expected = "a string, an integer, a boolean or a list of them";
                        mistyped(name.value, expected, value, report);
                    }
                }
            }
        }
        let span = item.span();
        found.push(Example { args, span });
    }
    found
}

impl Examples {
    /// Reports each example that is not as it should be.
    pub(crate) fn check(&self, command: &Command, report: &mut Report<'_>) {
        for example in &self.accepts {
            if let Err(refusal) = command.bind(&example.args, false) {
                let message = format!("this should be accepted, but {}", refusal.message);
                report.error(example.span.clone(), message);
            }
        }
        for example in &self.rejects {
            let message = if let Some(why) = proves_nothing(command, &example.args) {
                format!("this is refused whatever the types are: {why}")
            } else if command.bind(&example.args, false).is_ok() {
                "this should be refused, but it is accepted".into()
            } else {
                continue;
            };
            report.error(example.span.clone(), message);
        }
    }
}

/// An example that is refused for a slip of its own says nothing about the types.
fn proves_nothing(command: &Command, args: &[(String, String)]) -> Option<String> {
    let known = |name: &str| command.params.iter().any(|param| param.name == name);
    if let Some((name, _)) = args.iter().find(|(name, _)| !known(name)) {
        return Some(format!("there is no argument {}", quoted(name)));
    }
    let given = |name: &str| args.iter().any(|(given, _)| given == name);
    let missing = |name: &str| format!("'{name}' is missing");
    let mut required = command.params.iter().filter(|param| param.required());
    let lacking = required.find(|param| !given(&param.name));
    lacking.map(|param| missing(&param.name))
}
