//! Keys of authorized_keys(5) that open more than one account.

use std::collections::BTreeMap;

use super::shell::base_name;
use crate::facts::{SameKey, Source};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;

/// Accounts of one key that are compared with one another.
const ACCOUNTS: usize = 50;

/// Each listed key, with the accounts that it opens.
#[derive(Debug, Default)]
pub struct Keys {
    listed: BTreeMap<Vec<u8>, Vec<(u32, Source, bool)>>,
}

impl Keys {
    pub fn add(&mut self, look: &Look<'_>, uid: u32, file: &FilePath) {
        let content = look.machine.read(file).unwrap_or_default();
        for (number, line) in lines(&content) {
            if let Some(found) = key(line) {
                let source = Source::line(file, number, b"");
                let listed = self.listed.entry(found.key.to_vec()).or_default();
                listed.push((uid, source, found.has_command));
            }
        }
    }

    pub fn compare(self, look: &mut Look<'_>) {
        for accounts in self.listed.into_values() {
            if let Some((_, source, _)) = accounts.get(ACCOUNTS) {
                let why = "a key opens too many accounts to compare them all";
                look.machine.unknown(&source.file, why);
            }
            let accounts = accounts.into_iter().take(ACCOUNTS);
            let accounts: Vec<(u32, Source, bool)> = accounts.collect();
            for (of, listed, _) in &accounts {
                let others = accounts.iter().filter(|(opens, ..)| opens != of);
                let (with_command, others): (Vec<_>, Vec<_>) =
                    others.partition(|(.., command)| *command);
                for (_, also, _) in with_command {
                    let why = format!(
                        "what the command of its line {} does for the key of {}:{} is not judged",
                        also.line, listed.file, listed.line
                    );
                    look.machine.unknown(&also.file, why);
                }
                let found = others.into_iter().map(|(opens, also, _)| SameKey {
                    of: *of,
                    opens: *opens,
                    listed: listed.clone(),
                    also: also.clone(),
                });
                look.facts.same_keys.extend(found);
            }
        }
    }
}

/// A line of authorized_keys(5).
#[derive(Debug, PartialEq, Eq)]
struct Listed<'l> {
    /// The base64 of the key, which all types begin in the same way: the length of their name.
    key: &'l [u8],
    /// It only starts a command, which is neither remit's nor a shell.
    has_command: bool,
}

/// `None`: no key. Options are before the type of the key, a comment is behind it.
fn key(line: &[u8]) -> Option<Listed<'_>> {
    let line = line.trim_ascii();
    if line.first() == Some(&b'#') {
        return None;
    }
    let (mut is_quoted, mut before) = (false, b' ');
    let begin = line.iter().enumerate().position(|(at, byte)| {
        is_quoted ^= *byte == b'"' && before != b'\\';
        let is_word = !is_quoted && before.is_ascii_whitespace();
        before = *byte;
        is_word && line.get(at..).is_some_and(|rest| rest.starts_with(b"AAAA"))
    })?;
    let (options, rest) = line.split_at(begin);
    let key = rest.split(u8::is_ascii_whitespace).next()?;
    let options = options.to_ascii_lowercase();
    let named = b"command=\"";
    let at = options.windows(named.len()).position(|part| part == named);
    let command = at.and_then(|at| options.get(at.saturating_add(named.len())..));
    let command = command.map(|rest| rest.split(|byte| *byte == b'"').next().unwrap_or_default());
    let has_command = command.is_some_and(|command| {
        let mut words = command.split(u8::is_ascii_whitespace);
        let program = base_name(words.next().unwrap_or_default());
        let is_shell = std::str::from_utf8(program).is_ok_and(remit_programs::is_shell);
        // `bash -c` has another text.
        let is_shell =
            is_shell && words.all(|word| word.starts_with(b"-") && !word.contains(&b'c'));
        !is_shell && !command.windows(8).any(|part| part == b"mcp-shim")
    });
    Some(Listed { key, has_command })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_found_behind_options() {
        for (line, has_command) in [
            ("ssh-ed25519 AAAAx me@here", false),
            (" restrict,from=\"a b\" ssh-rsa AAAAx", false),
            ("command=\"/usr/bin/mcp-shim\" ssh-rsa AAAAx", false),
            ("ssh-rsa AAAAx command=\"/x\"", false),
            ("command=\"/bin/bash -l\" ssh-rsa AAAAx", false),
            ("command=\"/bin/bash -lc x\" ssh-rsa AAAAx", true),
            ("Command=\"/x AAAAy\" ssh-rsa AAAAx", true),
            ("environment=\"A=\\\" AAAAy\" ssh-rsa AAAAx", false),
        ] {
            let expect = Listed {
                key: b"AAAAx",
                has_command,
            };
            assert_eq!(key(line.as_bytes()), Some(expect), "{line}");
        }
        for none in ["#ssh-rsa AAAAx", "", "ssh-rsa"] {
            assert_eq!(key(none.as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(bytes: Vec<u8>) {
            let _ = key(&bytes);
        }
    }
}
