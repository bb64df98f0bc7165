//! Adds the line of an agent or approver to an authorized_keys text and removes it. Pure. Other lines stay the same, byte for byte.

use crate::openssh::keys::{self, AuthorizedKey, KeyLine};

use super::arguments::End;
use super::key::PublicKey;
use super::role::Role;

pub fn line(role: Role, key: &PublicKey, expires: Option<End>) -> String {
    let mut line = role.options();
    if let Some(end) = expires {
        line += &format!(",expiry-time=\"{}\"", end.sshd());
    }
    for word in [&key.kind, &key.base64, &key.comment] {
        if !word.is_empty() {
            line.push(' ');
            line += word;
        }
    }
    line
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Updated,
    Unchanged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign(pub usize);

/// Returns `text` with the line of `key` once. Fails if the key has other options: it would open something else.
pub fn put(
    text: &[u8],
    role: Role,
    key: &PublicKey,
    line: &str,
) -> Result<(Vec<u8>, Change), Foreign> {
    let mut out = Vec::with_capacity(text.len() + line.len() + 2);
    let mut change = Change::Added;
    for (number, old) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        match of_key(old, &key.base64) {
            None => out.extend_from_slice(old),
            Some(found) if !role.has_written(&found.options) => return Err(Foreign(number)),
            Some(_) if change != Change::Added => change = Change::Updated,
            Some(_) => {
                change = match old.strip_suffix(b"\n").unwrap_or(old) == line.as_bytes() {
                    true => Change::Unchanged,
                    false => Change::Updated,
                };
                push(&mut out, line);
            }
        }
    }
    if change == Change::Added {
        push(&mut out, line);
    }
    Ok((out, change))
}

fn push(out: &mut Vec<u8>, line: &str) {
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// Returns `text` without the lines of these keys (base64), whatever their options, and the number of removed lines.
pub fn remove(text: &[u8], keys: &[&str]) -> (Vec<u8>, usize) {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) =
        lines.partition(|line| keys.iter().any(|key| of_key(line, key).is_some()));
    (kept.concat(), gone.len())
}

/// Returns true if `text` has a line for sshd other than those of these keys (base64).
pub fn has_others(text: &[u8], keys: &[&str]) -> bool {
    let (left, _) = remove(text, keys);
    keys::lines(&left).any(|(_, line)| line != KeyLine::Blank)
}

/// Returns the first line with the key.
pub fn find_line(text: &[u8], key: &PublicKey) -> Option<usize> {
    lines_of(text, key).map(|(number, _)| number).next()
}

pub fn find_foreign_line(text: &[u8], role: Role, key: &PublicKey) -> Option<usize> {
    lines_of(text, key)
        .find(|(_, found)| !role.has_written(&found.options))
        .map(|(number, _)| number)
}

fn lines_of<'a>(
    text: &'a [u8],
    key: &PublicKey,
) -> impl Iterator<Item = (usize, AuthorizedKey<'a>)> {
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter_map(|(number, line)| Some((number, of_key(line, &key.base64)?)))
}

fn of_key<'a>(line: &'a [u8], base64: &str) -> Option<AuthorizedKey<'a>> {
    match KeyLine::parse(line) {
        KeyLine::AuthorizedKey(key) => {
            (Some(&key.blob) == keys::blob(base64.as_bytes()).as_ref()).then_some(key)
        }
        KeyLine::Blank | KeyLine::Unread(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::{ED25519, OTHER};
    use super::*;

    fn key(text: &str) -> PublicKey {
        PublicKey::parse(text.as_bytes()).unwrap()
    }

    fn own_line(text: &str) -> String {
        line(Role::Agent, &key(text), None)
    }

    #[test]
    fn a_line_is_what_sshd_reads() {
        let end = serde_json::from_str("1798675200").unwrap();
        let key = key(&format!("{ED25519} me"));
        assert_eq!(
            line(Role::Agent, &key, None),
            format!("restrict,command=\"/usr/bin/mcp-shim\" {ED25519} me")
        );
        assert_eq!(
            line(Role::Approver, &key, None),
            format!("restrict,pty,command=\"/usr/bin/remit approver-shell\" {ED25519} me")
        );
        for (role, other, rights) in [
            (Role::Agent, Role::Approver, &[][..]),
            (Role::Approver, Role::Agent, &["pty"]),
        ] {
            let line = line(role, &key, Some(end));
            let KeyLine::AuthorizedKey(read) = KeyLine::parse(line.as_bytes()) else {
                panic!("{line}");
            };
            assert_eq!(read.options.command(), Some(role.command().as_bytes()));
            assert_eq!(read.options.rights(), rights);
            let expiry: Vec<&[u8]> = read.options.values("expiry-time").collect();
            assert_eq!(expiry, [b"20261231000000Z"]);
            assert!(role.has_written(&read.options) && !other.has_written(&read.options));
        }
    }

    #[test]
    fn key_line_is_inserted_once() {
        use Change::*;
        let mine = own_line(ED25519);
        let old = line(
            Role::Agent,
            &key(ED25519),
            Some(serde_json::from_str("1577836800").unwrap()),
        );
        let cases: Vec<(String, String, Change)> = vec![
            (String::new(), format!("{mine}\n"), Added),
            (
                format!("# \u{fc}\r\n\n{OTHER} x"),
                format!("# \u{fc}\r\n\n{OTHER} x\n{mine}\n"),
                Added,
            ),
            (
                format!("junk\x00\n{OTHER}\n"),
                format!("junk\x00\n{OTHER}\n{mine}\n"),
                Added,
            ),
            (format!("{mine}\n"), format!("{mine}\n"), Unchanged),
            (mine.clone(), format!("{mine}\n"), Unchanged),
            (format!("a\n{old}\nb\n"), format!("a\n{mine}\nb\n"), Updated),
            (
                format!("{mine}\nb\n{old}\n"),
                format!("{mine}\nb\n"),
                Updated,
            ),
            (
                format!("#{ED25519}\n"),
                format!("#{ED25519}\n{mine}\n"),
                Added,
            ),
        ];
        for (before, after, change) in cases {
            let put = put(before.as_bytes(), Role::Agent, &key(ED25519), &mine);
            assert_eq!(put, Ok((after.into_bytes(), change)), "{before:?}");
        }
    }

    #[test]
    fn the_key_with_other_rights_is_refused() {
        for options in [
            "",
            "restrict ",
            "command=\"/usr/bin/mcp-shim\" ",
            "restrict,command=\"/bin/sh\" ",
            "restrict,command=\"/usr/bin/mcp-shim\",pty ",
            "restrict,command=\"/usr/bin/mcp-shim\",port-forwarding ",
            "restrict,command=\"/usr/bin/mcp-shim\",from=\"10.0.0.1\" ",
            "restrict,command=\"/usr/bin/mcp-shim\",cert-authority ",
            "restrict,pty,command=\"/usr/bin/remit approver-shell\" ",
        ] {
            let text = format!("# x\n{}\n{options}{ED25519} again\n", own_line(ED25519));
            let (text, agent) = (text.as_bytes(), Role::Agent);
            let refused = put(text, agent, &key(ED25519), &own_line(ED25519));
            assert_eq!(refused, Err(Foreign(3)), "{options}");
            assert_eq!(find_foreign_line(text, agent, &key(ED25519)), Some(3));
            assert_eq!(find_foreign_line(text, agent, &key(OTHER)), None);
        }
    }

    #[test]
    fn the_approvers_key_has_a_terminal_and_nothing_else() {
        let (own, approver) = (line(Role::Approver, &key(ED25519), None), Role::Approver);
        for options in [
            "restrict,command=\"/usr/bin/remit approver-shell\" ",
            "pty,restrict,command=\"/usr/bin/remit approver-shell\" ",
        ] {
            let text = format!("{options}{ED25519}\n");
            let put = put(text.as_bytes(), approver, &key(ED25519), &own);
            let expect = (format!("{own}\n").into_bytes(), Change::Updated);
            assert_eq!(put, Ok(expect), "{options}");
        }
        for options in [
            "pty,command=\"/usr/bin/remit approver-shell\" ",
            "restrict,pty,command=\"/usr/bin/remit\" ",
            "restrict,pty,command=\"/usr/bin/remit approver-shell\",agent-forwarding ",
            "restrict,pty,command=\"/usr/bin/remit approver-shell\",environment=\"A=b\" ",
            "restrict,pty,command=\"/usr/bin/remit approver-shell; sh\" ",
            "restrict,command=\"/usr/bin/mcp-shim\" ",
        ] {
            let text = format!("{options}{ED25519}\n");
            let put = put(text.as_bytes(), approver, &key(ED25519), &own);
            assert_eq!(put, Err(Foreign(1)), "{options}");
        }
    }

    #[test]
    fn a_line_goes_out_whatever_became_of_it() {
        let mine = own_line(ED25519);
        let base64 = key(ED25519).base64;
        for (before, after, count) in [
            (String::new(), "", 0),
            (format!("{mine}\n"), "", 1),
            (format!("a\r\n{mine}\nb"), "a\r\nb", 1),
            (format!("a\n{mine}"), "a\n", 1),
            (format!("a\n{ED25519}\n{mine}\n#b\n"), "a\n#b\n", 2),
            (format!("{OTHER}\n"), &format!("{OTHER}\n"), 0),
        ] {
            let removed = remove(before.as_bytes(), &[&base64]);
            assert_eq!(removed, (after.as_bytes().to_vec(), count), "{before:?}");
        }
    }

    #[test]
    fn other_lines_are_those_that_sshd_may_read() {
        let base64 = key(ED25519).base64;
        let mine = own_line(ED25519);
        for (text, has_others) in [
            (String::new(), false),
            (format!("# {OTHER}\n\n"), false),
            (format!("{mine}\n{ED25519}"), false),
            (format!("{mine}\n{OTHER}\n"), true),
            (own_line(OTHER), true),
            (format!("no-option-yet {mine}"), true),
        ] {
            let found = super::has_others(text.as_bytes(), &[&base64]);
            assert_eq!(found, has_others, "{text:?}");
        }
    }
}
