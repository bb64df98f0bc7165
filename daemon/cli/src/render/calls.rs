//! Rewrites MCP tool calls in a sentence as command lines, because people type verbs and do not call tools. Pure.

use serde_json::{Deserializer, Value};

use crate::error;

const TOOLS: [&str; 3] = ["run ", "change ", "host "];

/// Returns the sentence with each tool call, such as `run {"argv": ["id"]}`, replaced by a line that can be typed.
pub fn typed(sentence: &str) -> String {
    let (mut typed, mut rest) = (String::new(), sentence);
    while let Some((before, tool, call, after)) = first_call(rest) {
        typed += before;
        match line(tool, &call) {
            Some(line) => typed += &format!("'{line}'"),
            None => typed += &format!("{tool}{call}"),
        }
        rest = after;
    }
    error::typed(&(typed + rest))
}

/// Returns the first call in a text: text before it, tool, arguments, text after it.
fn first_call(text: &str) -> Option<(&str, &'static str, Value, &str)> {
    let calls = TOOLS.iter().filter_map(|tool| {
        let at = text.find(&format!("{tool}{{"))?;
        Some((at, *tool))
    });
    let (at, tool) = calls.min()?;
    let (before, from) = text.split_at_checked(at)?;
    let json = from.get(tool.len()..)?;
    let mut values = Deserializer::from_str(json).into_iter::<Value>();
    let call = values.next()?.ok()?;
    let after = json.get(values.byte_offset()..)?;
    Some((before, tool, call, after))
}

fn line(tool: &str, call: &Value) -> Option<String> {
    let words = |name: &str| -> Option<String> {
        let all = call.get(name)?.as_array()?.iter().map(word);
        Some(all.collect::<Option<Vec<_>>>()?.join(" "))
    };
    match (tool, call.get("name").and_then(Value::as_str)) {
        ("host ", _) => Some(format!("remit host {}", words("sections")?)),
        ("run ", None) => Some(format!("remit run -- {}", words("argv")?)),
        ("run ", Some(name)) => Some(format!("remit run --name {name}{}", arguments(call)?)),
        ("change ", Some(name)) => Some(format!(
            "remit change {name}{} --reason TEXT",
            arguments(call)?
        )),
        _ => None,
    }
}

fn arguments(call: &Value) -> Option<String> {
    let mut words = String::new();
    for (key, value) in call
        .get("args")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let one = std::slice::from_ref(value);
        for value in value.as_array().map_or(one, Vec::as_slice) {
            words += &format!(" {key}={}", word(value)?);
        }
    }
    Some(words)
}

/// Quotes a word for a shell. Returns `None` for a word with `'`, `$`, a backquote or a backslash.
fn word(value: &Value) -> Option<String> {
    let word = match value {
        Value::String(word) => word.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.,:/@+=%".contains(sign);
    match word.chars().all(plain) && !word.is_empty() {
        true => Some(word),
        false if !word.contains('\'') => {
            Some(format!("\"{word}\"")).filter(|word| !word.contains(['$', '`', '\\']))
        }
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_become_verbs() {
        for (sentence, expect) in [
            (
                "look: run {\"argv\": [\"ip\", \"-s\", \"addr\"]}, or not",
                "look: 'remit run -- ip -s addr', or not",
            ),
            (
                "run {\"name\": \"service.failed\"}",
                "'remit run --name service.failed'",
            ),
            (
                "call access; if it lists service.restart: change {\"name\": \"service.restart\", \"args\": {\"unit\": \"nginx.service\"}}, with a reason",
                "run 'remit access'; if it lists service.restart: 'remit change service.restart unit=nginx.service --reason TEXT', with a reason",
            ),
            (
                "change {\"name\": \"package.install\", \"args\": {\"packages\": [\"a\", \"b\"]}}",
                "'remit change package.install packages=a packages=b --reason TEXT'",
            ),
            (
                "host {\"sections\": [\"ports\", \"units\"]} tells",
                "'remit host ports units' tells",
            ),
            (
                "run {\"name\": \"x\", \"args\": {\"a\": \"*.timer\"}}",
                "'remit run --name x a=\"*.timer\"'",
            ),
            (
                "run {broken and host {\"sections\": [\"ports\"]}",
                "run {broken and host {\"sections\": [\"ports\"]}",
            ),
            ("run {\"argv\": [\"$(x)\"]}", "run {\"argv\":[\"$(x)\"]}"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(typed(sentence), expect, "{sentence}");
        }
    }
}
