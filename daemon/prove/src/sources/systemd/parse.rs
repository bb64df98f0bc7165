//! Reads unit files as systemd.syntax(7) describes them, and splits command lines. Total on any bytes.

use crate::lines::{ends_in_single_backslash, joined, lines};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub section: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub line: usize,
}

/// Settings of one file in their order. What is no setting is left out, as systemd does with a warning.
pub fn settings(text: &[u8]) -> Vec<Setting> {
    let mut section = Vec::new();
    let mut found = Vec::new();
    for (line, text) in statements(text) {
        let text = text.trim_ascii();
        if let Some(name) = text
            .strip_prefix(b"[")
            .and_then(|rest| rest.strip_suffix(b"]"))
        {
            section = name.to_vec();
        } else if let Some(at) = text.iter().position(|byte| *byte == b'=') {
            let (key, value) = text.split_at(at);
            found.push(Setting {
                section: section.clone(),
                key: key.trim_ascii().to_vec(),
                value: value.get(1..).unwrap_or_default().trim_ascii().to_vec(),
                line,
            });
        }
    }
    found
}

/// Comment lines are left out, also between lines that a backslash joins.
fn statements(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let is_comment = |line: &[u8]| matches!(line.trim_ascii_start().first(), Some(b'#' | b';'));
    let plain = lines(text).filter(|(_, line)| !is_comment(line));
    joined(plain, |line, _| ends_in_single_backslash(line))
}

/// A command of an `Exec` setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// `+` or `!`: its user is root whatever `User` says. `!!` is that only on kernels without ambient capabilities.
    pub is_full: bool,
    pub argv: Vec<Vec<u8>>,
}

/// systemd.service(5), "Command lines": prefixes, words with quotes, several commands between semicolons.
pub fn command_lines(value: &[u8]) -> Vec<CommandLine> {
    let mut found = Vec::new();
    let words = words(value);
    for part in words.split(|word| word == b";") {
        let Some((first, rest)) = part.split_first() else {
            continue;
        };
        let prefixes = first
            .iter()
            .take_while(|byte| b"@-:+!|".contains(byte))
            .count();
        let (prefix, program) = first.split_at(prefixes);
        let is_named = prefix.contains(&b'@');
        let exclamations = prefix.iter().filter(|byte| **byte == b'!').count();
        let rest = if is_named {
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
        found.push(CommandLine {
            is_full: prefix.contains(&b'+') || exclamations == 1,
            argv: [&[program.to_vec()], rest].concat(),
        });
    }
    found
}

/// Splits at white space; quotes and backslashes as in a shell, without variables.
pub fn words(value: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut word, mut is_word) = (Vec::new(), Vec::new(), false);
    let (mut quote, mut escaped) = (None, false);
    for &byte in value {
        match byte {
            _ if escaped => {
                word.push(byte);
                escaped = false;
            }
            b'\\' => {
                escaped = true;
                is_word = true;
            }
            b'\'' | b'"' if quote == Some(byte) => quote = None,
            b'\'' | b'"' if quote.is_none() => {
                quote = Some(byte);
                is_word = true;
            }
            _ if byte.is_ascii_whitespace() && quote.is_none() => {
                if is_word {
                    found.push(std::mem::take(&mut word));
                    is_word = false;
                }
            }
            _ => {
                word.push(byte);
                is_word = true;
            }
        }
    }
    if is_word {
        found.push(word);
    }
    found
}

/// Replaces specifiers of systemd.unit(5) that the unit's name decides. `%i` of a template stays, and is reported.
pub fn expand(value: &[u8], unit: &str) -> (Vec<u8>, bool) {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let is_template = stem.ends_with('@');
    let last = prefix.rsplit('-').next().unwrap_or_default();
    let is_named = stem.contains('@');
    let (mut expanded, mut takes_instance) = (Vec::with_capacity(value.len()), false);
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            expanded.push(byte);
            continue;
        }
        let specifier = bytes.next().copied();
        takes_instance |= match specifier {
            Some(b'i' | b'I') => true,
            Some(b'f') => is_named,
            _ => false,
        };
        let text = match specifier {
            Some(b'%') => "%",
            Some(b'n') => unit,
            Some(b'N') => stem,
            Some(b'p') => prefix,
            Some(b'i') => instance,
            Some(b'j') => last,
            Some(b'P') => &unescaped(prefix),
            Some(b'I') => &unescaped(instance),
            Some(b'J') => &unescaped(last),
            Some(b'f') => &format!("/{}", unescaped(if is_named { instance } else { prefix })),
            Some(b't') => "/run",
            Some(b'S') => "/var/lib",
            Some(b'C') => "/var/cache",
            Some(b'L') => "/var/log",
            Some(b'E') => "/etc",
            Some(b'T') => "/tmp",
            Some(b'V') => "/var/tmp",
            Some(b'h') => "/root",
            Some(b'u') => "root",
            Some(b'U') => "0",
            _ => "",
        };
        expanded.extend_from_slice(text.as_bytes());
    }
    (expanded, takes_instance && is_template)
}

/// Takes the escapes of systemd-escape(1) back: a hyphen is a slash, and `\xNN` a byte.
fn unescaped(name: &str) -> String {
    let (mut found, mut rest) = (String::new(), name);
    while let Some(next) = rest.chars().next() {
        let digits = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (char, length) = match (byte.filter(u8::is_ascii), next) {
            (Some(byte), _) => (char::from(byte), 4),
            (None, '-') => ('/', 1),
            (None, char) => (char, char.len_utf8()),
        };
        found.push(char);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_have_sections_lines_and_continuations() {
        let found =
            settings(b"# x\n[Service]\nExecStart=/a \\\n# not\n  -b\nbad\nEnvironment=A=\\\\\nUser = web\n[Unit");
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.line, one.value.as_slice()))
            .collect();
        assert_eq!(shown, [(3, &b"/a    -b"[..]), (7, br"A=\\"), (8, b"web")]);
        assert!(found.iter().all(|one| one.section == b"Service"));
    }

    #[test]
    fn command_lines_have_prefixes_and_quotes() {
        let found = command_lines(b"-+/bin/a 'b c' ; @/bin/d name \"e\"");
        assert_eq!(found.len(), 2);
        assert!(found.first().unwrap().is_full);
        assert_eq!(
            found.first().unwrap().argv,
            [b"/bin/a".to_vec(), b"b c".to_vec()]
        );
        assert_eq!(
            found.last().unwrap().argv,
            [b"/bin/d".to_vec(), b"e".to_vec()]
        );
        for (line, is_full) in [(&b"!/a"[..], true), (b"!!/a", false), (b"!!+/a", true)] {
            assert_eq!(command_lines(line).first().unwrap().is_full, is_full);
        }
    }

    #[test]
    fn specifiers_are_of_the_unit() {
        assert_eq!(
            expand(b"/x/%p/%i/%%", "a@b.service"),
            (b"/x/a/b/%".to_vec(), false)
        );
        assert_eq!(expand(b"%I", "a@.service"), (Vec::new(), true));
        assert_eq!(expand(b"100%", "a.service"), (b"100".to_vec(), false));
        for (value, unit, expect) in [
            ("%f", "a@srv-app.service", "/srv/app"),
            ("%f", "srv-app.mount", "/srv/app"),
            ("%I", "a@srv-a\\x2db.service", "srv/a-b"),
            ("%i", "a@srv-app.service", "srv-app"),
            ("%J %j %P", "a-b\\x2dc.service", "b-c b\\x2dc a/b-c"),
            ("%V %T", "a.service", "/var/tmp /tmp"),
        ] {
            let expect = (expect.as_bytes().to_vec(), false);
            assert_eq!(expand(value.as_bytes(), unit), expect, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, unit: String) {
            for setting in settings(&bytes) {
                command_lines(&expand(&setting.value, &unit).0);
            }
            command_lines(&bytes);
        }
    }
}
