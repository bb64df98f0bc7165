//! `containers.*`: facts from a container engine. Access to its socket is equivalent to root: it gets these fixed reads.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use remit_engine::{Engine, parsed};
use serde_json::Value;

use crate::text::{cannot_write, lines, number};

const HIDDEN: &str = "…";
/// Prefixes of labels and options whose values have a meaning defined by engine or image vendors.
const SHOWN_PREFIXES: [&str; 3] = ["com.docker.", "io.podman.", "org.opencontainers."];

/// Answers a command about containers. Fails if it is unknown, there is no engine, or the engine refuses.
pub fn show(words: &[&str]) -> Result<ExitCode, String> {
    match *words {
        ["list"] => each(&ask("/containers/json?all=1&size=0")?),
        ["images"] => each(&ask("/images/json")?),
        ["volumes"] => each(ask("/volumes")?.pointer("/Volumes").unwrap_or(&Value::Null)),
        ["networks"] => each(&ask("/networks")?),
        ["usage"] => whole(&ask("/system/df")?),
        ["engine"] => whole(&ask("/info")?),
        ["inspect", name] => {
            let mut all = Engine::for_looks()?.by_name(name)?.description;
            without_values(&mut all);
            whole(&all)
        }
        ["stats", name] => stats(name),
        ["changes", name] => {
            let engine = Engine::for_looks()?;
            let id = engine.by_name(name)?.id;
            let all = engine.get_json(&format!("/containers/{id}/changes"))?;
            lines(changed(&all)?)
        }
        ["logs", name, tail] => logs(name, number(tail)?),
        _ => Err("unknown query about containers".into()),
    }
}

fn ask(path: &str) -> Result<Value, String> {
    let (mut all, note) = Engine::for_looks()?.get_list(path)?;
    if let Some(note) = note {
        eprintln!("remit-look: {note}");
    }
    without_values(&mut all);
    Ok(all)
}

/// Removes values whose names users choose, often secrets: variables, options of volumes and log drivers, labels.
fn without_values(all: &mut Value) {
    match all {
        Value::Array(parts) => parts.iter_mut().for_each(without_values),
        Value::Object(parts) => {
            for (name, part) in parts {
                match name.as_str() {
                    "Env" => variables(part),
                    "Labels" | "Options" | "DriverOpts" | "Annotations" => values(part),
                    "LogConfig" => part.get_mut("Config").into_iter().for_each(values),
                    "Cmd" | "Args" => hide_words(part, false),
                    "Entrypoint" | "Command" | "CreateCommand" | "Path" | "Shell" => {
                        hide_words(part, true);
                    }
                    // The first word is the kind of check.
                    "Test" if part.is_array() => health(part),
                    "OnBuild" if part.is_array() => {
                        let all = part.as_array_mut().into_iter().flatten();
                        all.for_each(|one| hide_words(one, true));
                    }
                    // Output of a health check, and the command that made a layer of the build cache.
                    "Output" | "Description" | "CreatedBy" if part.is_string() => hide(part),
                    "HttpProxy" | "HttpsProxy" if part.as_str() != Some("") => hide(part),
                    _ => without_values(part),
                }
            }
        }
        _ => {}
    }
}

/// Hides the arguments in `["CMD-SHELL", "mysqladmin ping -psecret"]`.
fn health(test: &mut Value) {
    for (at, word) in test.as_array_mut().into_iter().flatten().enumerate() {
        hide_words(word, at < 2);
    }
}

fn variables(all: &mut Value) {
    for variable in all.as_array_mut().into_iter().flatten() {
        if let Some((name, _)) = variable.as_str().and_then(|text| text.split_once('=')) {
            *variable = Value::String(format!("{name}=…"));
        }
    }
}

/// Hides the values of a map. Docker's own labels are a list of `name=value` texts, like variables.
fn values(all: &mut Value) {
    variables(all);
    for (name, value) in all.as_object_mut().into_iter().flatten() {
        if !SHOWN_PREFIXES
            .iter()
            .any(|description| name.starts_with(description))
        {
            hide(value);
        }
    }
}

fn hide(value: &mut Value) {
    *value = Value::String(HIDDEN.into());
}

fn each(all: &Value) -> Result<ExitCode, String> {
    lines(list(all)?)
}

/// For an empty result an engine may answer null.
fn list(all: &Value) -> Result<&[Value], String> {
    match all {
        Value::Array(all) => Ok(all),
        Value::Null => Ok(&[]),
        _ => Err("the container engine's answer is no list".into()),
    }
}

/// Keeps the path and the kind of each change. A path is shown as it is, unlike that of a container's program.
fn changed(all: &Value) -> Result<impl Iterator<Item = BTreeMap<&str, &Value>>, String> {
    Ok(list(all)?.iter().map(|one| {
        ["Kind", "Path"]
            .into_iter()
            .filter_map(|name| Some((name, one.get(name)?)))
            .collect()
    }))
}

fn whole(all: &Value) -> Result<ExitCode, String> {
    lines([all])
}

/// For a stopped container Docker reports zeros, as if it used nothing, and Podman reports nothing.
fn stats(name: &str) -> Result<ExitCode, String> {
    let engine = Engine::for_looks()?;
    let id = engine.by_name(name)?.id;
    let body = engine.get(&format!("/containers/{id}/stats?stream=false"))?;
    if body.trim_ascii().is_empty() {
        return Err(idle(name));
    }
    let mut all = parsed(&body)?;
    if !measured(&all) {
        return Err(idle(name));
    }
    without_values(&mut all);
    whole(&all)
}

fn idle(name: &str) -> String {
    format!("container '{name}' does not run: there is nothing to measure")
}

/// Returns false if the time of the measurement is in the year one.
fn measured(all: &Value) -> bool {
    let read = all.get("read").and_then(Value::as_str);
    !read.is_some_and(|time| time.starts_with("0001-"))
}

/// Prints a container's output. Without a terminal each part has an 8-byte header: stream and length.
fn logs(name: &str, tail: u32) -> Result<ExitCode, String> {
    let engine = Engine::for_looks()?;
    let container = engine.by_name(name)?;
    let terminal = container
        .description
        .pointer("/Config/Tty")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let request = format!(
        "/containers/{}/logs?stdout=1&stderr=1&timestamps=1&tail={tail}",
        container.id
    );
    let body = engine.get(&request)?;
    let (text, rest) = if terminal {
        (body, &[][..])
    } else {
        parts(&body)
    };
    let mut out = io::stdout().lock();
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(cannot_write)?;
    match rest {
        [] => Ok(ExitCode::SUCCESS),
        _ => {
            Err("the container engine's answer ends within a part: there may be more lines".into())
        }
    }
}

fn parts(mut body: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::with_capacity(body.len());
    while let [0..=2, 0, 0, 0, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let Some((part, rest)) = usize::try_from(length)
            .ok()
            .and_then(|at| rest.split_at_checked(at))
        else {
            break;
        };
        text.extend_from_slice(part);
        body = rest;
    }
    (text, body)
}

/// Hides the arguments of a command: some are passwords. If `program`, the first word of a list is kept.
fn hide_words(command: &mut Value, program: bool) {
    match command {
        Value::String(text) => *text = line(text, program),
        Value::Array(words) => {
            for (at, word) in words.iter_mut().enumerate() {
                match word {
                    Value::String(text) if at == 0 && program => *text = line(text, true),
                    Value::String(text) => *text = line(text, false),
                    other => hide(other),
                }
            }
        }
        Value::Null => {}
        other => hide(other),
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
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_both_streams_are_put_together() {
        let whole = [
            &[1, 0, 0, 0, 0, 0, 0, 4][..],
            b"out\n",
            &[2, 0, 0, 0, 0, 0, 0, 9],
            b"err\n more",
        ]
        .concat();
        for rest in [
            &b""[..],
            &[1, 0, 0, 0, 0, 0, 0, 4, b'c', b'u', b't'],
            &[1, 0, 0, 0, 255, 255, 255, 255],
            b"text without parts",
        ] {
            let body = [&whole, rest].concat();
            assert_eq!(parts(&body), (b"out\nerr\n more".to_vec(), rest));
        }
    }

    #[test]
    fn one_that_does_not_run_has_no_figures() {
        for (all, is) in [
            (json!({ "read": "0001-01-01T00:00:00Z" }), false),
            (json!({ "read": "2026-11-21T18:18:57.5Z" }), true),
            (json!({}), true),
        ] {
            assert_eq!(measured(&all), is);
        }
    }

    #[test]
    fn changed_paths_are_shown_whole() {
        let all = json!([
            { "Path": "/var/lib/dpkg/info/libc6:amd64.list", "Kind": 1 },
            { "Path": "/srv/node_modules/@babel/core/index.js", "Kind": 1 },
            { "Path": "/usr/lib/libstdc++.so.6", "Kind": 0 },
            { "Path": "/data/my file.txt", "Kind": 2 },
        ]);
        let found: Vec<_> = changed(&all).unwrap().collect();
        assert_eq!(json!(found), all);
        assert_eq!(changed(&json!(null)).unwrap().count(), 0);
        assert!(changed(&json!({})).is_err());
    }

    #[test]
    fn other_value_than_list_is_an_error() {
        for (all, length) in [
            (json!(null), Some(0)),
            (json!([1]), Some(1)),
            (json!({}), None),
            (json!("x"), None),
        ] {
            assert_eq!(list(&all).ok().map(<[Value]>::len), length);
        }
    }

    #[test]
    fn c11_names_are_shown_without_values() {
        for (description, shown) in [
            (
                json!({ "Config": { "Env": ["PASSWORD=secret", "EMPTY=", "odd"] } }),
                json!({ "Config": { "Env": ["PASSWORD=…", "EMPTY=…", "odd"] } }),
            ),
            (
                json!([{ "Labels": { "com.docker.compose.project": "x", "proxy.users": "a:$apr1$secret" } }]),
                json!([{ "Labels": { "com.docker.compose.project": "x", "proxy.users": "…" } }]),
            ),
            (
                json!({ "Volumes": [{ "Name": "v", "Options": { "o": "username=a,password=secret" } }] }),
                json!({ "Volumes": [{ "Name": "v", "Options": { "o": "…" } }] }),
            ),
            (
                json!({ "HostConfig": { "LogConfig": { "Type": "splunk", "Config": { "splunk-token": "secret" } } } }),
                json!({ "HostConfig": { "LogConfig": { "Type": "splunk", "Config": { "splunk-token": "…" } } } }),
            ),
            (
                json!({ "HttpProxy": "http://a:secret@p:3128", "HttpsProxy": "" }),
                json!({ "HttpProxy": "…", "HttpsProxy": "" }),
            ),
            (
                json!({ "Labels": ["site=secret", "odd"] }),
                json!({ "Labels": ["site=…", "odd"] }),
            ),
            (
                json!({ "Config": { "Cmd": ["run", "--token=secret"], "Entrypoint": ["/bin/x", "secret"],
                    "CreateCommand": ["podman", "create", "-psecret"],
                    "Healthcheck": { "Test": ["CMD-SHELL", "mysqladmin ping -psecret"] }, "OnBuild": ["RUN secret"] },
                    "Path": "/bin/x", "Args": ["secret"],
                    "State": { "Health": { "Log": [{ "ExitCode": 1, "Output": "secret" }] } } }),
                json!({ "Config": { "Cmd": ["…", "--token=…"], "Entrypoint": ["/bin/x", "…"],
                    "CreateCommand": ["podman", "…", "-p…"],
                    "Healthcheck": { "Test": ["CMD-SHELL", "mysqladmin … -p…"] }, "OnBuild": ["RUN …"] },
                    "Path": "/bin/x", "Args": ["…"],
                    "State": { "Health": { "Log": [{ "ExitCode": 1, "Output": "…" }] } } }),
            ),
            (
                json!([{ "Command": "/serve --key=secret more" }, { "BuildCache": [{ "Description": "RUN secret" }] }]),
                json!([{ "Command": "/serve --key=… …" }, { "BuildCache": [{ "Description": "…" }] }]),
            ),
            (
                json!({ "Labels": null, "Options": [], "Env": null, "LogConfig": "x" }),
                json!({ "Labels": null, "Options": [], "Env": null, "LogConfig": "x" }),
            ),
        ] {
            let mut all = description;
            without_values(&mut all);
            assert_eq!(all, shown);
        }
    }

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
            hide_words(&mut all, program);
            assert_eq!(all, expect);
        }
    }
}
