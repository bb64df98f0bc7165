//! Removes secrets from command lines of containers. Compose files and users put passwords into commands and health
//! checks. Nobody else sees them if the container does not run. Pure.

use serde_json::Value;

const HIDDEN: &str = "…";

/// Hides the arguments of a command. If `program` is true, the first word of a list is kept.
pub fn hide(command: &mut Value, program: bool) {
    match command {
        Value::String(text) => *text = line(text, program),
        Value::Array(words) => {
            for (at, word) in words.iter_mut().enumerate() {
                match word {
                    Value::String(text) if at == 0 && program => *text = line(text, true),
                    Value::String(text) => *text = line(text, false),
                    other => *other = Value::String(HIDDEN.to_owned()),
                }
            }
        }
        Value::Null => {}
        other => *other = Value::String(HIDDEN.to_owned()),
    }
}

/// Hides the words of a text. The first one may be a program.
fn line(text: &str, program: bool) -> String {
    let mut words = text.split_whitespace();
    let first = words.next().map(|word| match program && is_program(word) {
        true => word.to_owned(),
        false => shown(word),
    });
    let all: Vec<String> = first.into_iter().chain(words.map(shown)).collect();
    all.join(" ")
}

fn is_program(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

/// Keeps the name of an option, and hides everything else.
fn shown(word: &str) -> String {
    if word.starts_with("--") {
        return match word.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => word.to_owned(),
        };
    }
    let mut chars = word.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('-'), Some(letter), None) => format!("-{letter}"),
        (Some('-'), Some(letter), Some(_)) => format!("-{letter}{HIDDEN}"),
        _ => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn c11_command_is_shown_without_arguments() {
        for (command, program, expect) in [
            (
                json!([
                    "run",
                    "--token=secret",
                    "-psecret",
                    "-p",
                    "secret",
                    "--pass",
                    "secret"
                ]),
                false,
                json!(["…", "--token=…", "-p…", "-p", "…", "--pass", "…"]),
            ),
            (
                json!(["/bin/sh", "-c", "TOKEN=secret serve --key=secret"]),
                true,
                json!(["/bin/sh", "-c", "… … --key=…"]),
            ),
            (
                json!("redis-server --requirepass secret"),
                true,
                json!("redis-server --requirepass …"),
            ),
            (json!("TOKEN=secret x"), true, json!("… …")),
            (json!(null), true, json!(null)),
            (json!({ "a": "secret" }), true, json!("…")),
            (json!([["secret"]]), false, json!(["…"])),
        ] {
            let mut all = command;
            hide(&mut all, program);
            assert_eq!(all, expect);
        }
    }
}
