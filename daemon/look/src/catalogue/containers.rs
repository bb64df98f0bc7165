//! `containers.*`: what a container engine tells of its containers. It lets whoever reaches its socket do as root, so
//! it is asked by these fixed requests alone, and each of them only reads.

use std::io::{self, Write};
use std::process::ExitCode;

use remit_engine::{get, get_json as ask, named};
use serde_json::Value;

use super::{cannot_write, lines, number};

/// Answers a command about containers.
///
/// # Errors
/// A sentence: the words are none, there is no engine, or it refuses.
pub fn show(words: &[&str]) -> Result<ExitCode, String> {
    match *words {
        ["list"] => each(&ask("/containers/json?all=1&size=0")?),
        ["images"] => each(&ask("/images/json")?),
        ["volumes"] => each(ask("/volumes")?.pointer("/Volumes").unwrap_or(&Value::Null)),
        ["networks"] => each(&ask("/networks")?),
        ["usage"] => whole(&ask("/system/df")?),
        ["engine"] => whole(&ask("/info")?),
        ["inspect", name] => {
            let mut all = ask(&format!("/containers/{}/json", named(name)?))?;
            all.pointer_mut("/Config/Env").map(without_values);
            whole(&all)
        }
        ["stats", name] => whole(&ask(&format!(
            "/containers/{}/stats?stream=false",
            named(name)?
        ))?),
        ["changes", name] => each(&ask(&format!("/containers/{}/changes", named(name)?))?),
        ["logs", name, tail] => logs(named(name)?, number(tail)?),
        _ => Err("these words are no question about containers".into()),
    }
}

/// Of variables, the names: values are often secrets.
fn without_values(variables: &mut Value) {
    for variable in variables.as_array_mut().into_iter().flatten() {
        if let Some((name, _)) = variable.as_str().and_then(|text| text.split_once('=')) {
            *variable = Value::String(format!("{name}=…"));
        }
    }
}

fn each(all: &Value) -> Result<ExitCode, String> {
    lines(all.as_array().into_iter().flatten())
}

fn whole(all: &Value) -> Result<ExitCode, String> {
    lines([all])
}

/// What it has written. Without a terminal, each part comes behind eight bytes: which stream, and the part's length.
fn logs(name: &str, tail: u32) -> Result<ExitCode, String> {
    let all = ask(&format!("/containers/{name}/json"))?;
    let terminal = all
        .pointer("/Config/Tty")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let request = format!("/containers/{name}/logs?stdout=1&stderr=1&timestamps=1&tail={tail}");
    let body = get(&request)?;
    let text = if terminal { body } else { parts(&body) };
    let mut out = io::stdout().lock();
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(cannot_write)?;
    Ok(ExitCode::SUCCESS)
}

/// The parts of both streams, in their order; one that is cut off, as far as it goes.
fn parts(mut body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    while let [_, _, _, _, a, b, c, d, rest @ ..] = body {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(length.min(rest.len()));
        text.extend_from_slice(part);
        body = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_of_both_streams_are_put_together() {
        let body = [
            &[1, 0, 0, 0, 0, 0, 0, 4][..],
            b"out\n",
            &[2, 0, 0, 0, 0, 0, 0, 9],
            b"err\n",
        ]
        .concat();
        assert_eq!(parts(&body), b"out\nerr\n");
        assert_eq!(parts(b"short"), b"");
    }

    #[test]
    fn variables_are_shown_without_values() {
        let mut shown = json!(["PASSWORD=secret", "EMPTY=", "odd"]);
        without_values(&mut shown);
        assert_eq!(shown, json!(["PASSWORD=…", "EMPTY=…", "odd"]));
    }
}
