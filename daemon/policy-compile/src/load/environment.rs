//! Reads the tables `env` of profiles and commands: fixed variables that an administrator writes.

use std::collections::BTreeMap;

use remit_common::caps;

use crate::load::reader::{Fields, Report, mistyped, string};
use remit_policy::quoted;

/// The one variable that no table sets. env(1) finds the interpreter of a script on it: a second value would run
/// another program than the one that the load trusted and an approver saw.
const PATH: &str = "PATH";

/// Reads the table `env`, if it exists. Any name but `PATH` is accepted: only root writes a policy.
pub(crate) fn variables(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in fields.entries("env", report) {
        let Some(text) = string(value) else {
            mistyped(name.value, "a string", value, report);
            continue;
        };
        if !is_variable(name.value) {
            let message = format!("{} is not the name of a variable", quoted(name.value));
            let help = "letters, digits and '_', no digit first";
            report.error_with_help(name.span, message, help);
        } else if name.value == PATH {
            let message = "'PATH' is the same for every job: programs and what interprets them are found, trusted \
                           and approved on it";
            let help = "name programs by their whole path, or set PATH in a script of root's";
            report.error_with_help(name.span, message.into(), help);
        } else if text.value.contains('\0') {
            let message = "a variable cannot have a NUL in it".into();
            report.error_with_help(text.span, message, "delete the NUL");
        } else if name.value.len() + 1 + text.value.len() >= caps::ENV_ELEMENT {
            let message = format!("a variable has at most {} bytes", caps::ENV_ELEMENT);
            report.error_with_help(
                text.span,
                message,
                "write a shorter value, or a file that the program reads",
            );
        } else if found.len() == caps::ENV_COUNT {
            let message = format!("there are more than {} variables", caps::ENV_COUNT);
            report.error_with_help(name.span, message, "delete some of them");
            break;
        } else {
            found.insert(name.value.to_owned(), text.value.to_owned());
        }
    }
    found
}

fn is_variable(name: &str) -> bool {
    name.len() <= caps::NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
