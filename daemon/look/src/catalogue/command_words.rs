//! Command lines of containers without their secrets. Compose and people put passwords into commands and health checks; of
//! a container that does not run, nobody else sees them. Pure.

use serde_json::Value;

const HIDDEN: &str = "…";

/// Hides what a command is given. A list's first word stays where `program` says that it is one.
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

/// A text of several words, the first of which may be a program.
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

/// Of an option its name, of anything else nothing.
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
    fn c11_a_command_is_shown_without_what_it_is_given() {
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
