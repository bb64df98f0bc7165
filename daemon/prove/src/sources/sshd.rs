//! Settings of sshd_config(5) that say which keys log in. All values count, in whatever `Match` block they are.

use super::execution::Execution;
use super::included::Includes;
use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

#[derive(Debug)]
pub struct KeySettings {
    /// Files of keys as they are written: `%u`, `%h`, relative to the home.
    pub files: Vec<String>,
    /// sshd refuses files and directories that others can write, `StrictModes`.
    pub is_strict: bool,
}

pub fn look(look: &mut Look<'_>) -> KeySettings {
    let mut keys = KeySettings {
        files: Vec::new(),
        is_strict: true,
    };
    // Each with whether a `Match` block includes it.
    let mut left = Includes::new([(FilePath::fixed("/etc/ssh/sshd_config"), false)]);
    let mut is_default = true;
    while let Some((path, is_included)) = left.take(look) {
        let Some(content) = look.machine.read(&path) else {
            continue;
        };
        look.obeys(
            0,
            path.clone(),
            RuleId::SystemTable,
            &When::ByItself,
            &Source::whole(&path),
        );
        // A block ends with its file.
        let mut is_of_some = is_included;
        for (number, line) in lines(&content) {
            let source = Source::line(&path, number, line);
            let text = String::from_utf8_lossy(line);
            let Some((key, value)) = setting(&text) else {
                continue;
            };
            match key.to_ascii_lowercase().as_str() {
                "match" => {
                    let is_of_all =
                        matches!(&value[..], [word] if word.eq_ignore_ascii_case("all"));
                    is_of_some = is_included || !is_of_all;
                }
                "include" => {
                    let above = FilePath::fixed("/etc/ssh");
                    for word in value {
                        left.add(look, &path, &above, word.as_bytes(), &is_of_some);
                    }
                }
                "authorizedkeysfile" => {
                    is_default &= is_of_some;
                    keys.files
                        .extend(value.iter().map(|word| (*word).to_owned()));
                }
                "strictmodes" => keys.is_strict &= !value.contains(&"no"),
                "authorizedkeyscommand" | "authorizedprincipalscommand" => {
                    let by = Execution::new(0, RuleId::KeysCommand, When::ByItself, source);
                    let argv: Vec<Vec<u8>> =
                        value.iter().map(|word| word.as_bytes().to_vec()).collect();
                    look.executes(&by, &argv);
                }
                "trustedusercakeys" => {
                    if let Some(path) = value.first().and_then(FilePath::new) {
                        look.obeys(0, path, RuleId::KeysCommand, &When::ByItself, &source);
                    }
                }
                _ => {}
            }
        }
    }
    if is_default {
        let files = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
        keys.files.extend(files.map(str::to_owned));
    }
    keys
}

fn setting(line: &str) -> Option<(&str, Vec<&str>)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (key, rest) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let words = rest
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '=']));
    Some((
        key,
        words
            .filter(|word| !word.is_empty() && *word != "none")
            .collect(),
    ))
}

/// Returns a file of keys of this account. `None`: a path with parts that are not known.
pub fn file(pattern: &str, name: &str, home: &FilePath) -> Option<FilePath> {
    let text = pattern
        .replace("%%", "\0")
        .replace("%u", name)
        .replace("%h", &home.to_string());
    let is_known = !text.contains('%');
    home.resolve(text.replace('\0', "%")).filter(|_| is_known)
}
