//! Checks that each enrolled account can use remit: it is in the group of its socket, and sshd reads its recorded keys. A
//! step is recorded before it is done, and may be undone by other means.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use super::agents::{AccountFacts, Found};
use super::file_facts::{self, Named};
use super::report::Check;
use crate::enrollment::{EnrolledAccount, Role};
use crate::openssh::effective::{Answers, Effective};
use crate::openssh::keys::{KeyLine, blob, lines};

/// `sockets`: the groups that may connect to the socket and to the admin socket. Returns checks of accounts and of ssh.
pub fn checks(
    found: &Found,
    records: &[EnrolledAccount],
    sockets: [Option<u32>; 2],
    sshd: &Answers,
) -> (Vec<Check>, Vec<Check>) {
    let approvers = found.approvers.iter().map(|(account, _)| account);
    let accounts: Vec<&AccountFacts> = found.agents.iter().chain(approvers).collect();
    let (mut groups, mut keys) = (Vec::new(), Vec::new());
    for record in records {
        let is_of_record = |account: &&&AccountFacts| {
            account.name == record.name && record.uid.is_none_or(|uid| uid == account.uid)
        };
        let Some(account) = accounts.iter().find(is_of_record) else {
            continue;
        };
        groups.extend(group_check(account, record, sockets));
        let connections = sshd.connections(&account.name);
        let settings = connections.filter_map(|way| sshd.ask(&account.name, &way).ok());
        keys.extend(key_check(account, record, &settings.collect::<Vec<_>>()));
    }
    (groups, keys)
}

fn group_check(
    account: &AccountFacts,
    record: &EnrolledAccount,
    [clients, admins]: [Option<u32>; 2],
) -> Option<Check> {
    let (group, socket) = match record.role {
        Role::Agent => (clients?, "remit.sock"),
        Role::Approver => (admins?, "admin.sock"),
    };
    // Root may connect without the group.
    if account.uid == 0 || account.groups.iter().any(|own| own.id == group) {
        return None;
    }
    let (user, noun) = (&account.name, record.role.noun());
    let group = Named::group(group).name;
    Some(Check::warning(
        format!("{user}: groups"),
        format!(
            "{noun} '{user}' cannot connect to {socket}: it is not in the group of the socket, '{group}'"
        ),
        enroll_again(record),
    ))
}

/// `settings`: those of sshd for each kind of connection that is known. Another check reports a file that cannot be read.
fn key_check(
    account: &AccountFacts,
    record: &EnrolledAccount,
    settings: &[Rc<Effective>],
) -> Option<Check> {
    if settings.is_empty() {
        return None;
    }
    let (user, noun) = (&account.name, record.role.noun());
    let warning = |why| Check::warning(format!("{user}: keys"), why, enroll_again(record));
    let recorded: BTreeSet<Option<Vec<u8>>> =
        record.keys.iter().map(|key| blob(key.as_bytes())).collect();
    if recorded.is_empty() {
        let why = format!("{noun} '{user}' cannot log in: it is enrolled without a key");
        return Some(warning(why));
    }
    let mut files: Vec<PathBuf> = settings
        .iter()
        .flat_map(|sshd| sshd.authorized_keys_files(user, account.uid, &account.home))
        .collect();
    files.sort();
    files.dedup();
    let mut read = BTreeSet::new();
    for file in &files {
        let bytes = file_facts::read_bytes(file).ok()?.unwrap_or_default();
        read.extend(lines(&bytes).filter_map(|(_, line)| match line {
            KeyLine::AuthorizedKey(key) => Some(Some(key.blob)),
            KeyLine::Blank | KeyLine::Unread(_) => None,
        }));
    }
    let lost = recorded.difference(&read).count();
    if lost == 0 {
        return None;
    }
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("'{}'", file.display()))
        .collect();
    let files = match files.as_slice() {
        [] => "none by AuthorizedKeysFile".to_owned(),
        files => files.join(", "),
    };
    Some(warning(format!(
        "enrolled keys of {noun} '{user}' in no file that sshd reads: {lost} of {} ({files})",
        recorded.len()
    )))
}

fn enroll_again(record: &EnrolledAccount) -> String {
    let (name, verb) = (&record.name, record.role.verb());
    format!("remit {verb} {name} KEYFILE, or: remit unenroll {name}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::whys;

    const BASE64: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    fn record(role: Role, keys: &[&str]) -> EnrolledAccount {
        EnrolledAccount {
            name: "agent".into(),
            uid: Some(1001),
            role,
            is_made: true,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    #[test]
    fn enrolled_account_out_of_the_group_of_its_socket_is_named() {
        let sockets = [Some(990), Some(991)];
        let both: &[(u32, &str)] = &[(990, "remit"), (991, "remit-admin")];
        for (role, groups, uid, expect) in [
            (Role::Agent, both, 1001, None),
            (Role::Agent, &both[1..], 1001, Some("remit.sock")),
            (Role::Agent, &[], 1001, Some("remit.sock")),
            (Role::Agent, &[], 0, None),
            (Role::Approver, &both[1..], 1001, None),
            (Role::Approver, &both[..1], 1001, Some("admin.sock")),
        ] {
            let mut account = agent(groups);
            account.uid = uid;
            let check = group_check(&account, &record(role, &[BASE64]), sockets);
            let found = whys(&check.into_iter().collect::<Vec<_>>());
            let expect: Vec<String> = expect
                .into_iter()
                .map(|socket| {
                    format!(
                        "warning: {} 'agent' cannot connect to {socket}: ",
                        role.noun()
                    )
                })
                .collect();
            assert_eq!(found.len(), expect.len(), "{role:?} {groups:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(found.starts_with(&expect), "{found}");
            }
        }
        let account = agent(&[]);
        let record = record(Role::Agent, &[BASE64]);
        assert_eq!(group_check(&account, &record, [None, None]), None);
    }

    #[test]
    fn recorded_key_that_sshd_does_not_read_is_counted() {
        let dir =
            nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-enrolled-XXXXXX")).unwrap();
        let shown = dir.display();
        let written = format!("# agent\nrestrict ssh-ed25519 {BASE64} comment\nnonsense\n");
        fs::write(dir.join("keys"), written).unwrap();
        fs::create_dir(dir.join("unread")).unwrap();
        let of_role = "enrolled keys of agent 'agent' in no file that sshd reads: ";
        let cases: [(&[&str], &[&str], Option<String>); 9] = [
            (&[BASE64], &["keys"], None),
            (&[BASE64, BASE64], &["missing keys"], None),
            (&[BASE64], &["missing", "keys"], None),
            (
                &[BASE64],
                &["missing"],
                Some(format!("{of_role}1 of 1 ('{shown}/missing')")),
            ),
            (
                &[BASE64, OTHER],
                &["keys"],
                Some(format!("{of_role}1 of 2 ('{shown}/keys')")),
            ),
            (
                &[BASE64],
                &["none"],
                Some(format!("{of_role}1 of 1 (none by AuthorizedKeysFile)")),
            ),
            (&[OTHER], &["unread", "keys"], None),
            (&[OTHER], &[], None),
            (
                &[],
                &["keys"],
                Some("agent 'agent' cannot log in: it is enrolled without a key".into()),
            ),
        ];
        let account = AccountFacts {
            home: dir.clone(),
            ..agent(&[])
        };
        for (keys, files, expect) in cases {
            let settings: Vec<Rc<Effective>> = files
                .iter()
                .map(|files| Rc::new(Effective::parse(&format!("authorizedkeysfile {files}"))))
                .collect();
            let check = key_check(&account, &record(Role::Agent, keys), &settings);
            let found = whys(&check.into_iter().collect::<Vec<_>>());
            let expect: Vec<String> = expect.iter().map(|why| format!("warning: {why}")).collect();
            assert_eq!(found, expect, "{keys:?} {files:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
