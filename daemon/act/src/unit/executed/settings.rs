//! Lists the settings of a unit that decide what its programs are and read (systemd.exec(5)): a path can be another file than
//! the machine's, standard input can be a script, and a variable can name code that every program loads.

use remit_common::text;
use zbus::Variant;

use super::{Act, Properties, RAW};

/// Lists that are shown whole if they have anything.
const LISTS: [&str; 29] = [
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
    "SetCredentialEncrypted",
    "ImportCredential",
    "ImportCredentialEx",
    "OpenFile",
    // The manager gives these with all in them to the user of the unit, and removes the first when it stops.
    "RuntimeDirectory",
    "StateDirectory",
    "CacheDirectory",
    "LogsDirectory",
    // Other names that the manager gives these, as root.
    "RuntimeDirectorySymlink",
    "StateDirectorySymlink",
    "CacheDirectorySymlink",
    "LogsDirectorySymlink",
    "SELinuxContext",
    "AppArmorProfile",
    "BPFProgram",
];
const TEXTS: [&str; 5] = [
    "PAMName",
    "TTYPath",
    "RootVerity",
    "NetworkNamespacePath",
    "USBFunctionDescriptors",
];
/// A program can read all its instructions there. `!` before it: it may be missing.
const DIRECTORY: &str = "WorkingDirectory";
const INPUT: &str = "StandardInput";
const OUTPUTS: [&str; 2] = ["StandardOutput", "StandardError"];
/// Values of standard input that bring nothing from outside the unit.
const NO_INPUT: [&str; 3] = ["", "null", "data"];
/// Values of output that name no file.
const NO_FILE: [&str; 11] = [
    "",
    "null",
    "inherit",
    "socket",
    "tty",
    "journal",
    "journal+console",
    "kmsg",
    "kmsg+console",
    "syslog",
    "syslog+console",
];
const NO_NAME: &str = " (the service manager does not say which file)";

pub fn lines(unit: &str, all: &Properties) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let directory = text(all, DIRECTORY).unwrap_or_default();
    let directory = directory.strip_prefix('!').unwrap_or(&directory);
    if !directory.is_empty() {
        parts.push(setting(DIRECTORY, directory));
    }
    for name in LISTS {
        parts.extend(words(all, name).iter().map(|word| setting(name, word)));
    }
    for name in TEXTS {
        let filled = text(all, name).filter(|text| !text.is_empty());
        parts.extend(filled.map(|one| setting(name, &one)));
    }
    let input = text(all, INPUT).filter(|value| !NO_INPUT.contains(&value.as_str()));
    let outputs = OUTPUTS.map(|name| {
        let value = text(all, name)?;
        (!NO_FILE.contains(&value.as_str())).then_some((name, value))
    });
    let streams = [input.map(|value| (INPUT, value))];
    for (name, value) in streams.into_iter().chain(outputs).flatten() {
        let is_file = matches!(value.as_str(), "file" | "append" | "truncate");
        let note = if is_file { NO_NAME } else { "" };
        parts.push(setting(name, &value) + note);
    }
    lines_of(&format!("{unit} sets for what it executes:"), &parts)
}

/// Returns what the manager makes for a socket: root makes, replaces and removes these paths.
pub fn socket(unit: &str, all: &Properties) -> Vec<String> {
    if !unit.ends_with(".socket") {
        return Vec::new();
    }
    let mut parts = Vec::new();
    for name in ["Listen", "Symlinks", "SocketUser", "SocketGroup"] {
        parts.extend(words(all, name).iter().map(|word| setting(name, word)));
    }
    parts.extend(
        ["SocketMode", "DirectoryMode"]
            .iter()
            .filter_map(|name| mode(all, name)),
    );
    if let Some(Variant::Bool(true)) = all.get("RemoveOnStop").map(|value| &**value) {
        parts.push("RemoveOnStop yes".to_owned());
    }
    lines_of(
        &format!("the service manager makes for {unit}, as root:"),
        &parts,
    )
}

/// Returns what the manager makes when a unit of paths starts: root makes those that are missing.
pub fn path(unit: &str, act: Act, all: &Properties) -> Vec<String> {
    let makes = all.get("MakeDirectory").map(|value| &**value) == Some(&Variant::Bool(true));
    if !unit.ends_with(".path") || !makes || !matches!(act, Act::Start | Act::Restart) {
        return Vec::new();
    }
    // Of a path that is to come into being nothing is made.
    let awaited = ["PathExists:", "PathExistsGlob:"];
    let paths = words(all, "Paths").into_iter();
    let paths = paths.filter(|path| !awaited.iter().any(|kind| path.starts_with(kind)));
    let mut parts: Vec<String> = paths.map(|path| setting("MakeDirectory", &path)).collect();
    if !parts.is_empty() {
        parts.extend(mode(all, "DirectoryMode"));
    }
    lines_of(
        &format!("the service manager makes for {unit}, as root:"),
        &parts,
    )
}

/// Returns what the manager removes when a unit stops, as root, whoever its user is.
pub fn removed(unit: &str, act: Act, all: &Properties) -> Vec<String> {
    let keeps = text(all, "RuntimeDirectoryPreserve").unwrap_or_default();
    let keeps_directory = match act {
        Act::Stop => keeps == "yes",
        Act::Restart => matches!(keeps.as_str(), "yes" | "restart"),
        _ => return Vec::new(),
    };
    let directories = words(all, "RuntimeDirectory").into_iter();
    let mut parts: Vec<String> = directories
        .filter(|_| !keeps_directory)
        .map(|word| setting("RuntimeDirectory", &word))
        .collect();
    let file = text(all, "PIDFile").filter(|path| !path.is_empty());
    parts.extend(file.map(|path| setting("PIDFile", &path)));
    lines_of(
        &format!("the service manager removes when {unit} stops, as root:"),
        &parts,
    )
}

fn mode(all: &Properties, name: &str) -> Option<String> {
    match &**all.get(name)? {
        Variant::U32(mode) => Some(format!("{name} {mode:04o}")),
        _ => None,
    }
}

fn setting(name: &str, word: &str) -> String {
    format!("{name} {}", quoted(word))
}

/// One word, whatever is in it: a name can have spaces, and words after them.
pub fn quoted(word: &str) -> String {
    text::command_line(&[word], usize::MAX)
}

fn lines_of(begin: &str, parts: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines
            .last_mut()
            .filter(|line| line.len() + part.len() < RAW)
        {
            Some(line) => line.push_str(&format!(", {part}")),
            None => lines.extend(folded(begin, part)),
        }
    }
    lines
}

/// Returns the lines of a part that may be longer than one.
fn folded(begin: &str, part: &str) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), part);
    loop {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(RAW));
        let mark = if lines.is_empty() { "" } else { " …" };
        lines.push(format!("{begin}{mark} {piece}"));
        rest = more;
        if rest.is_empty() {
            return lines;
        }
    }
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
