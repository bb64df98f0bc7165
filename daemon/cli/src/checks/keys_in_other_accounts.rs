//! Finds an enrolled account's keys in other accounts, where they would be another person's: in the files in which sshd looks for
//! keys of each local account (passwd(5)), for each kind of connection. Expired keys are reported too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use remit_common::text;

use super::agents::AccountFacts;
use super::file_facts;
use super::report::{Check, or_ok};
use crate::checks::file_facts::word;
use crate::enrollment::Role;
use crate::openssh::effective::Effective;
use crate::openssh::keys::{KeyLine, lines};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub name: String,
    pub uid: u32,
    pub home: PathBuf,
}

pub fn others(passwd: &str) -> Vec<Other> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, ..] = fields.as_slice() else {
            return None;
        };
        Some(Other {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            home: home.into(),
        })
    };
    passwd.lines().filter_map(of_line).collect()
}

pub fn keys_of(account: &AccountFacts, sshd: &Effective) -> BTreeSet<Vec<u8>> {
    let own = sshd.authorized_keys_files(&account.name, account.uid, &account.home);
    own.iter().flat_map(|file| blobs(file)).collect()
}

/// Accounts that a finding names.
const NAMED: usize = 3;

/// Checks if a key of `user` opens another account, for whatever program: a right of that account is none of `user`.
/// `settings`: sshd's, one for each connection.
pub fn checks(
    (user, role): (&str, Role),
    keys: &BTreeSet<Vec<u8>>,
    others: &[Other],
    settings: impl Fn(&str) -> Vec<Rc<Effective>>,
) -> Vec<Check> {
    let name = format!("{user}: keys elsewhere");
    let mut found: Vec<Check> = Vec::new();
    // A file may be of several accounts.
    let mut opened: BTreeMap<(PathBuf, usize), Vec<&str>> = BTreeMap::new();
    for (other, file) in files(user, others, settings) {
        let unread = |why, fix| {
            let check = Check::warning(&name, why, fix);
            if !found.contains(&check) {
                found.push(check);
            }
        };
        let Some(text) = file_facts::read_keys(&file, unread) else {
            continue;
        };
        for (line, of_line) in lines(&text) {
            let is_own =
                matches!(&of_line, KeyLine::AuthorizedKey(key) if keys.contains(&key.blob));
            if is_own {
                let names = opened.entry((file.clone(), line)).or_default();
                names.push(&other.name);
            }
        }
    }
    found.extend(opened.iter().map(|((file, line), names)| {
        Check::failure(
            &name,
            format!(
                "the key of '{user}' also opens the {}: '{}':{line}",
                in_words(names),
                file.display()
            ),
            format!(
                "remove line {line} of {}, or give the {} another key",
                word(file),
                role.noun()
            ),
        )
    }));
    or_ok(found, &name, "none")
}

/// Returns another account for which sshd reads keys in `file`, which is of `user`.
pub fn sharing(
    (user, file): (&str, &Path),
    others: &[Other],
    settings: impl Fn(&str) -> Vec<Rc<Effective>>,
) -> Option<String> {
    let mut all = files(user, others, settings);
    let (other, _) = all.find(|(_, of_other)| of_other == file)?;
    Some(other.name.clone())
}

/// Returns each file of keys of each account but `user`, once.
fn files<'a>(
    user: &str,
    others: &'a [Other],
    settings: impl Fn(&str) -> Vec<Rc<Effective>>,
) -> impl Iterator<Item = (&'a Other, PathBuf)> {
    let others = others.iter().filter(move |other| other.name != user);
    others.flat_map(move |other| {
        let files: BTreeSet<PathBuf> = settings(&other.name)
            .iter()
            .flat_map(|sshd| sshd.authorized_keys_files(&other.name, other.uid, &other.home))
            .collect();
        files.into_iter().map(move |file| (other, file))
    })
}

fn in_words(names: &[&str]) -> String {
    let many = if names.len() == 1 { "" } else { "s" };
    let names = names.iter().map(|name| format!("'{name}'"));
    format!("account{many} of {}", text::first_of(names, NAMED))
}

fn blobs(file: &Path) -> Vec<Vec<u8>> {
    let text = file_facts::read_bytes(file)
        .ok()
        .flatten()
        .unwrap_or_default();
    let keys = lines(&text).filter_map(|(_, line)| match line {
        KeyLine::AuthorizedKey(key) => Some(key.blob),
        KeyLine::Blank | KeyLine::Unread(_) => None,
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::whys;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn passwd_lines_become_accounts() {
        let found = others("root:x:0:0::/root:/bin/sh\nbad\nx:y:z:0::/:\nbob:x:7:7::/b:/bin/sh\n");
        let names: Vec<&str> = found.iter().map(|other| other.name.as_str()).collect();
        assert_eq!(names, ["root", "bob"]);
        assert_eq!((found[1].uid, found[1].home.to_str()), (7, Some("/b")));
    }

    #[test]
    fn key_in_another_account_is_named() {
        let dir = std::env::temp_dir().join(format!("remit-elsewhere-{}", std::process::id()));
        let other = |name: &str| {
            let home = dir.join(name);
            let name = name.to_owned();
            Other { name, uid: 7, home }
        };
        let account = AccountFacts {
            home: dir.join("agent"),
            ..agent(&[])
        };
        let write = |name: &str, text: String| {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("keys"), text).unwrap();
        };
        let line = format!("{} {KEY}\n", Role::Agent.options());
        write("agent", line.clone());
        write("bob", format!("# mine\n{KEY}\n"));
        write("carol", line.clone());
        write("all", line);
        let own = Effective::parse("authorizedkeysfile keys");
        let all = format!("authorizedkeysfile {}/all/keys", dir.display());
        let all = Effective::parse(&all);
        let keys = keys_of(&account, &own);
        let mut seen = Vec::new();
        for (others, sshd) in [
            (&["agent", "dave"][..], &own),
            (&["agent", "bob", "carol", "dave"], &own),
            (&["root", "agent", "bob"], &all),
            (&["root", "bob", "carol", "dave", "eve"], &all),
        ] {
            let others: Vec<Other> = others.iter().map(|name| other(name)).collect();
            // Each kind of connection may have the same file.
            let same = |_: &str| vec![Rc::new(sshd.clone()), Rc::new(sshd.clone())];
            let found = checks((&account.name, Role::Agent), &keys, &others, same);
            let of_all = sharing((&account.name, &dir.join("all/keys")), &others, same);
            seen.push((whys(&found), of_all));
        }
        fs::remove_dir_all(&dir).unwrap();
        let failure = |accounts: &str, file: &str| {
            let dir = dir.display();
            format!("failure: the key of 'agent' also opens the {accounts}: '{dir}/{file}")
        };
        assert_eq!(
            seen,
            [
                (vec![], None),
                (
                    vec![
                        failure("account of 'bob'", "bob/keys':2"),
                        failure("account of 'carol'", "carol/keys':1"),
                    ],
                    None,
                ),
                (
                    vec![failure("accounts of 'root', 'bob'", "all/keys':1")],
                    Some("root".to_owned()),
                ),
                (
                    vec![failure(
                        "accounts of 'root', 'bob', 'carol' and 2 more",
                        "all/keys':1",
                    )],
                    Some("root".to_owned()),
                ),
            ]
        );
    }
}
