//! Lists the settings of a unit that decide what its programs are and read (systemd.exec(5)): a path can be another file than
//! the machine's, standard input can be a script, and a variable can name code that every program loads.

use remit_common::text;
use zbus::Variant;

use super::{Properties, RAW};
use crate::args::Fault;

/// Lists that are shown whole if they have anything.
const LISTS: [&str; 17] = [
    "Environment",
    "EnvironmentFiles",
    "PassEnvironment",
    "StandardInputData",
    "BindPaths",
    "BindReadOnlyPaths",
    "MountImages",
    "ExtensionImages",
    "ExtensionDirectories",
    "TemporaryFileSystem",
    "ExecSearchPath",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "ImportCredential",
    "ImportCredentialEx",
    "OpenFile",
];
const TEXTS: [&str; 4] = [
    "PAMName",
    "RootVerity",
    "NetworkNamespacePath",
    "USBFunctionDescriptors",
];
const STREAMS: [&str; 3] = ["StandardInput", "StandardOutput", "StandardError"];
/// Values of streams that name no file.
const PLAIN: [&str; 14] = [
    "",
    "null",
    "inherit",
    "socket",
    "tty",
    "tty-force",
    "tty-fail",
    "journal",
    "journal+console",
    "kmsg",
    "kmsg+console",
    "syslog",
    "syslog+console",
    "data",
];
const NO_NAME: &str = "(the service manager does not say which file)";

pub fn lines(unit: &str, all: &Properties) -> Result<Vec<String>, Fault> {
    let mut parts: Vec<String> = Vec::new();
    for name in LISTS {
        for word in words(all, name) {
            parts.push(format!("{name} {}", text::command_line(&[word], RAW)));
        }
    }
    for name in TEXTS {
        let filled = text(all, name).filter(|text| !text.is_empty());
        parts.extend(filled.map(|one| format!("{name} {}", text::command_line(&[one], RAW))));
    }
    for name in STREAMS {
        let value = text(all, name).filter(|value| !PLAIN.contains(&value.as_str()));
        parts.extend(value.map(|value| match value.contains(':') {
            true => format!("{name} {}", text::command_line(&[value], RAW)),
            false => format!("{name} {} {NO_NAME}", text::command_line(&[value], RAW)),
        }));
    }
    let begin = format!("{unit} sets for what it executes:");
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        if begin.len() + part.len() > RAW {
            return Err(Fault::Refused(format!(
                "a setting of '{unit}' with more than {RAW} bytes cannot be shown"
            )));
        }
        match lines
            .last_mut()
            .filter(|line| line.len() + part.len() < RAW)
        {
            Some(line) => line.push_str(&format!(", {part}")),
            None => lines.push(format!("{begin} {part}")),
        }
    }
    Ok(lines)
}

/// Returns a property that is a text.
pub fn text(all: &Properties, name: &str) -> Option<String> {
    match &**all.get(name)? {
        Variant::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// Returns the entries of a list, or the text of a property that is no list.
pub fn words(all: &Properties, name: &str) -> Vec<String> {
    let Some(value) = all.get(name) else {
        return Vec::new();
    };
    let words = match &**value {
        Variant::Array(list) if list.iter().all(|one| matches!(one, Variant::U8(_))) => {
            vec![word(value)]
        }
        Variant::Array(list) => list.iter().map(word).collect(),
        other => vec![word(other)],
    };
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// Returns texts and bytes of a value, with colons between them. Numbers are options, which name nothing.
fn word(value: &Variant<'_>) -> String {
    match value {
        Variant::Str(text) => text.as_str().to_owned(),
        Variant::Array(list) => {
            let bytes: Vec<u8> = list
                .iter()
                .filter_map(|one| match one {
                    Variant::U8(byte) => Some(*byte),
                    _ => None,
                })
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Variant::Structure(fields) => {
            let fields = fields.fields().iter().map(word);
            let fields: Vec<String> = fields.filter(|field| !field.is_empty()).collect();
            fields.join(":")
        }
        _ => String::new(),
    }
}
