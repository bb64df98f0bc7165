//! Finds an enrolled account's keys in other accounts, because there they may open a shell: in the files in which sshd looks for
//! keys of each local account (passwd(5)), for each kind of connection. Expired keys are reported too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::agents::AccountFacts;
use super::file_facts;
use super::report::{Check, or_ok};
use crate::checks::file_facts::word;
use crate::enrollment::Role;
use crate::openssh::effective::Effective;
use crate::openssh::keys::{AuthorizedKey, KeyLine, lines};

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

/// A line with one of the keys, in another account.
#[derive(Clone, Copy, Debug)]
pub struct OtherAccountsKey<'a> {
    pub user: &'a str,
    pub file: &'a Path,
    pub line: usize,
    pub key: &'a AuthorizedKey<'a>,
}

/// Checks if a key of `user` opens another account, in a way that `is_more` says counts. `settings`: sshd's, one for each connection.
pub fn checks(
    (user, role): (&str, Role),
    keys: &BTreeSet<Vec<u8>>,
    others: &[Other],
    settings: impl Fn(&str) -> Vec<Rc<Effective>>,
    is_more: impl Fn(OtherAccountsKey<'_>, &Effective) -> bool,
) -> Vec<Check> {
    let name = format!("{user}: keys elsewhere");
    let mut found = Vec::new();
    let others = others.iter().filter(|other| other.name != user);
    let by_way = others.flat_map(|other| {
        settings(&other.name)
            .into_iter()
            .map(move |way| (other, way))
    });
    for (other, sshd) in by_way {
        for file in sshd.authorized_keys_files(&other.name, other.uid, &other.home) {
            let unread = |why, fix| found.push(Check::warning(&name, why, fix));
            let Some(text) = file_facts::read_keys(&file, unread) else {
                continue;
            };
            for (line, of_line) in lines(&text) {
                let KeyLine::AuthorizedKey(key) = of_line else {
                    continue;
                };
                if !keys.contains(&key.blob) {
                    continue;
                }
                let other_key = OtherAccountsKey {
                    user: &other.name,
                    file: &file,
                    line,
                    key: &key,
                };
                if is_more(other_key, &sshd) {
                    found.push(Check::failure(
                        &name,
                        format!(
                            "the key of '{user}' also opens the account of '{}': '{}':{line}",
                            other.name,
                            file.display()
                        ),
                        format!(
                            "remove line {line} of {}, or give the {} another key",
                            word(&file),
                            role.noun()
                        ),
                    ));
                }
            }
        }
    }
    let mut once: Vec<Check> = Vec::new();
    for check in found {
        if !once.contains(&check) {
            once.push(check);
        }
    }
    or_ok(once, &name, "none")
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
    use super::super::keys::{self, KeyLocation, Now};
    use super::*;
    use crate::checks::report::Verdict;

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
    fn a_key_in_two_accounts_is_named() {
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
        let all = ["agent", "bob", "carol", "dave"].map(other);
        let write = |name: &str, text: String| {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("keys"), text).unwrap();
        };
        write("agent", format!("{} {KEY}\n", Role::Agent.options()));
        write("bob", format!("# mine\n{KEY}\n"));
        write("carol", format!("{} {KEY}\n", Role::Agent.options()));
        let sshd = Effective::parse("authorizedkeysfile keys");
        let now = Now {
            utc: "20261120100000".into(),
            local: "20261120100000".into(),
        };
        let keys = keys_of(&account, &sshd);
        let look = |others: &[Other]| {
            let same = |_: &str| vec![Rc::new(sshd.clone())];
            let is_more = |one: OtherAccountsKey<'_>, sshd: &Effective| {
                let location = KeyLocation {
                    user: one.user,
                    file: one.file,
                    line: one.line,
                };
                keys::is_more(location, one.key, sshd, &now)
            };
            checks((&account.name, Role::Agent), &keys, others, same, is_more)
        };
        let found = look(&all);
        let without_bob = look(
            &all.iter()
                .filter(|o| o.name != "bob")
                .cloned()
                .collect::<Vec<_>>(),
        );
        fs::remove_dir_all(&dir).unwrap();
        let [check] = found.as_slice() else {
            panic!("{found:?}");
        };
        let Verdict::Failure(finding) = &check.verdict else {
            panic!("{check:?}");
        };
        assert!(
            finding.why.contains("also opens the account of 'bob'"),
            "{finding:?}"
        );
        assert!(finding.why.ends_with("bob/keys':2"), "{finding:?}");
        assert!(
            matches!(without_bob[0].verdict, Verdict::Ok(_)),
            "{without_bob:?}"
        );
    }
}
