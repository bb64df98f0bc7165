//! Checks the examples of a command, `accepts` and `rejects`, when it is loaded.

use std::ops::Range;

use crate::load::parameters::scalar;
use crate::load::reader::{Fields, Report, entries, mistyped};
use remit_policy::model::command::Command;
use remit_policy::quoted;

pub(crate) struct Examples {
    accepts: Vec<Example>,
    rejects: Vec<Example>,
}

struct Example {
    args: Vec<(String, String)>,
    span: Range<usize>,
}

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
    pub(crate) fn check(&self, command: &Command, report: &mut Report<'_>) {
        for example in &self.accepts {
            if let Err(refusal) = command.bind(&example.args, false) {
                let message = format!("this should be accepted, but {}", refusal.message);
                let help = "widen the type of the argument, or delete this example";
                report.error_with_help(example.span.clone(), message, help);
            }
        }
        for example in &self.rejects {
            let (message, help) = if let Some(why) = proves_nothing(command, &example.args) {
                let message = format!("this is refused whatever the types are: {why}");
                (
                    message,
                    "write every required argument and no other; only one value is wrong",
                )
            } else if command.bind(&example.args, false).is_ok() {
                let message = "this should be refused, but it is accepted".to_owned();
                let help = "narrow the type of an argument (pattern, values, min, max), or delete this example";
                (message, help)
            } else {
                continue;
            };
            report.error_with_help(example.span.clone(), message, help);
        }
    }
}

/// Finds an example that is refused for a mistake of its own: it says nothing about the types.
fn proves_nothing(command: &Command, args: &[(String, String)]) -> Option<String> {
    let known = |name: &str| command.params.iter().any(|param| param.name == name);
    if let Some((name, _)) = args.iter().find(|(name, _)| !known(name)) {
        return Some(format!("there is no argument {}", quoted(name)));
    }
    let passed = |name: &str| args.iter().any(|(passed, _)| passed == name);
    let missing = |name: &str| format!("'{name}' is missing");
    let mut required = command.params.iter().filter(|param| param.required());
    let lacking = required.find(|param| !passed(&param.name));
    lacking.map(|param| missing(&param.name))
}
