//! Keys of authorized_keys(5) that open more than one account.

use std::collections::BTreeMap;

use crate::facts::{SameKey, Source};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;

/// Accounts of one key that are compared with one another.
const ACCOUNTS: usize = 50;

/// Each listed key, with the accounts that it opens.
#[derive(Debug, Default)]
pub struct Keys {
    listed: BTreeMap<Vec<u8>, Vec<(u32, Source)>>,
}

impl Keys {
    pub fn add(&mut self, look: &Look<'_>, uid: u32, file: &FilePath) {
        let content = look.machine.read(file).unwrap_or_default();
        for (number, line) in lines(&content) {
            if let Some(key) = key(line) {
                let source = Source::line(file, number, b"");
                self.listed
                    .entry(key.to_vec())
                    .or_default()
                    .push((uid, source));
            }
        }
    }

    pub fn compare(self, look: &mut Look<'_>) {
        for accounts in self.listed.into_values() {
            if let Some((_, source)) = accounts.get(ACCOUNTS) {
                let why = "a key opens too many accounts to compare them all";
                look.machine.unknown(&source.file, why);
            }
            let accounts = accounts.into_iter().take(ACCOUNTS);
            let accounts: Vec<(u32, Source)> = accounts.collect();
            for (of, listed) in &accounts {
                let others = accounts.iter().filter(|(opens, _)| opens != of);
                let found = others.map(|(opens, also)| SameKey {
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

/// The base64 of a key, which all types begin in the same way: the length of their name. `None`: no key, or one that
/// only starts a command which is not remit's.
fn key(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let has = |part: &[u8]| line.windows(part.len()).any(|found| found == part);
    if line.first() == Some(&b'#') || (has(b"command=") && !has(b"mcp-shim")) {
        return None;
    }
    let mut words = line.split(u8::is_ascii_whitespace);
    words.find(|word| word.starts_with(b"AAAA"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_found_behind_options() {
        let found: Option<&[u8]> = Some(b"AAAAx");
        assert_eq!(key(b"ssh-ed25519 AAAAx me@here"), found);
        assert_eq!(key(b" restrict,from=\"a b\" ssh-rsa AAAAx"), found);
        assert_eq!(key(b"command=\"/usr/bin/mcp-shim\" ssh-rsa AAAAx"), found);
        for none in [&b"#ssh-rsa AAAAx"[..], b"command=\"/x\" ssh-rsa AAAAx", b""] {
            assert_eq!(key(none), None);
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(bytes: Vec<u8>) {
            let _ = key(&bytes);
        }
    }
}
