//! Fixed variables of profiles and commands: the tables `env` that an administrator writes.

use std::collections::BTreeMap;

use remit_common::caps;

use crate::load::diagnostic::quoted;
use crate::load::reader::{Fields, Report, mistyped, string};

/// Reads the table `env`, if it is there. Any name is taken: who writes a policy is root.
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
        } else if text.value.contains('\0') {
            report.error(text.span, "a variable cannot have a NUL in it".into());
        } else if name.value.len() + 1 + text.value.len() >= caps::ENV_ELEMENT {
            let message = format!("a variable has at most {} bytes", caps::ENV_ELEMENT);
            report.error(text.span, message);
        } else if found.len() == caps::ENV_COUNT {
            let message = format!("there are more than {} variables", caps::ENV_COUNT);
            report.error(name.span, message);
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
