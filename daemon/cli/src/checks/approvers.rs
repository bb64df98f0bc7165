//! Checks that the key of an enrolled approver starts the approver's command and nothing else. A person's account has
//! other keys, which are the person's own, so only the enrolled ones count; in an account that remit made, all do.

use std::collections::BTreeSet;

use super::agents::AccountFacts;
use super::file_facts;
use super::keys::{self, KeyLocation, Now};
use super::report::{Check, or_ok};
use super::ssh::{self, SshdSettings};
use crate::enrollment::{EnrolledAccount, Role};
use crate::openssh::effective::Effective;
use crate::openssh::keys::{AuthorizedKey, KeyLine, blob, lines};

/// Restricts every key to approving, including keys without options.
const APPROVING_ALONE: &str =
    "ForceCommand /usr/bin/remit approver-shell, DisableForwarding yes, PermitUserRC no";

/// The keys that an approver has for remit, as blobs.
#[derive(Clone, Debug)]
pub enum EnrolledKeys {
    /// All keys of an account that remit made.
    All,
    Only(BTreeSet<Vec<u8>>),
}

impl From<&EnrolledAccount> for EnrolledKeys {
    fn from(record: &EnrolledAccount) -> Self {
        let keys = || record.keys.iter().filter_map(|key| blob(key.as_bytes()));
        match record.is_made {
            true => Self::All,
            false => Self::Only(keys().collect()),
        }
    }
}

impl EnrolledKeys {
    fn has(&self, key: &AuthorizedKey<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Only(blobs) => blobs.contains(&key.blob),
        }
    }
}

/// Returns the blobs of the account's keys that start the approver's command. A file that cannot be read has none.
pub fn own_keys(account: &AccountFacts, settings: &SshdSettings) -> BTreeSet<Vec<u8>> {
    let sshd = &settings.effective;
    let mut found = BTreeSet::new();
    for file in sshd.authorized_keys_files(&account.name, account.uid, &account.home) {
        let bytes = file_facts::read_bytes(&file).ok().flatten();
        for (_, line) in lines(&bytes.unwrap_or_default()) {
            if let KeyLine::AuthorizedKey(key) = line {
                let command = key.options.command().unwrap_or_default();
                if String::from_utf8_lossy(command).contains("approver-shell") {
                    found.insert(key.blob);
                }
            }
        }
    }
    found
}

/// Checks settings and keys, and returns the blobs of the keys.
pub fn checks(
    account: &AccountFacts,
    sshd: &Effective,
    enrolled: &EnrolledKeys,
    now: &Now,
) -> (Vec<Check>, BTreeSet<Vec<u8>>) {
    let name = format!("{}: keys", account.name);
    let mut found = ssh::steering_faults(&account.name, sshd, "the approver", "remit");
    if let EnrolledKeys::All = enrolled {
        found.extend(unseen(&account.name, sshd));
    }
    let mut blobs = BTreeSet::new();
    for file in sshd.authorized_keys_files(&account.name, account.uid, &account.home) {
        found.extend(ssh::file_faults(account, &file));
        let unread = |why, fix| found.push(Check::failure(&name, why, fix));
        let Some(bytes) = file_facts::read_keys(&file, unread) else {
            continue;
        };
        for (line, of_line) in lines(&bytes) {
            let KeyLine::AuthorizedKey(key) = of_line else {
                continue;
            };
            if enrolled.has(&key) {
                let location = KeyLocation {
                    user: &account.name,
                    file: &file,
                    line,
                };
                found.extend(keys::judge(Role::Approver, location, &key, sshd, now));
                blobs.insert(key.blob);
            }
        }
    }
    if !blobs.is_empty() {
        found.extend(ssh::shell_fault(account, "remit", "the approver"));
    }
    let text = match blobs.len() {
        0 => "none".to_owned(),
        count => format!("{count}, only for approving"),
    };
    (or_ok(found, &name, text), blobs)
}

/// Warns of logins that open a shell with the approver's groups. A person's own account has them of old.
fn unseen(user: &str, sshd: &Effective) -> Vec<Check> {
    if sshd.get("forcecommand") == Some(Role::Approver.command()) {
        return Vec::new();
    }
    let found = ssh::unseen_logins(sshd, APPROVING_ALONE).into_iter();
    let check = |(why, lift): (String, &str)| {
        let fix = format!("set '{lift}' in a 'Match User {user}' block of sshd_config");
        Check::warning(format!("{user}: sshd"), why, fix)
    };
    found.map(check).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checks::report::whys;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn judged(options: &str, sshd: &str) -> Vec<String> {
        let line = format!("{options} {KEY}");
        let KeyLine::AuthorizedKey(key) = KeyLine::parse(line.as_bytes()) else {
            panic!("{line}");
        };
        let location = KeyLocation {
            user: "ann",
            file: Path::new("/k"),
            line: 3,
        };
        let now = Now {
            utc: "20261120100000".into(),
            local: "20261120100000".into(),
        };
        let sshd = Effective::parse(sshd);
        let checks = keys::judge(Role::Approver, location, &key, &sshd, &now);
        whys(&checks)
    }

    #[test]
    fn the_enrolled_line_is_good() {
        let own = Role::Approver.options();
        for (options, sshd) in [
            (own.as_str(), ""),
            (
                "restrict,command=\"/usr/bin/remit approver-shell\"",
                "permittty no",
            ),
            ("restrict,pty", "forcecommand /usr/bin/remit approver-shell"),
            (
                "command=\"/usr/bin/remit approver-shell\"",
                "disableforwarding yes\npermituserrc no",
            ),
        ] {
            assert_eq!(judged(options, sshd), [""; 0], "{options}");
        }
    }

    #[test]
    fn logins_without_a_key_file_are_named_in_an_account_of_remit() {
        let account = super::super::agents::tests::agent(&[]);
        let now = Now {
            utc: "20261120100000".into(),
            local: "20261120100000".into(),
        };
        let found = |sshd: &str, enrolled: &EnrolledKeys| {
            let sshd = format!("authorizedkeysfile none\n{sshd}");
            whys(&checks(&account, &Effective::parse(&sshd), enrolled, &now).0)
        };
        let (made, person) = (EnrolledKeys::All, EnrolledKeys::Only(BTreeSet::new()));
        for (sshd, why) in [
            (
                "trustedusercakeys /etc/ca",
                "warning: keys that this check cannot see",
            ),
            (
                "authorizedkeyscommand /x",
                "warning: keys that this check cannot see",
            ),
            (
                "hostbasedauthentication yes",
                "warning: HostbasedAuthentication",
            ),
        ] {
            let whys = found(sshd, &made);
            assert!(
                whys.len() == 1 && whys[0].starts_with(why),
                "{sshd}: {whys:?}"
            );
            assert_eq!(found(sshd, &person), [""; 0], "{sshd}");
        }
        let forced = "trustedusercakeys /etc/ca\nforcecommand /usr/bin/remit approver-shell";
        assert_eq!(found(forced, &made), [""; 0]);
    }

    #[test]
    fn keys_of_the_approvers_command_are_found_without_a_record() {
        let home = std::env::temp_dir().join(format!("remit-approver-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let other = KEY.replace("AAAAIAAB", "AAAAIBBB");
        let text = format!("{} {KEY}\n{other}\n", Role::Approver.options());
        std::fs::write(home.join("keys"), text).unwrap();
        let account = AccountFacts {
            home: home.clone(),
            ..super::super::agents::tests::agent(&[])
        };
        let settings = |file: &str| SshdSettings {
            answered: true,
            effective: Effective::parse(&format!("authorizedkeysfile {file}")),
            problem: None,
        };
        let own = own_keys(&account, &settings("keys"));
        let none = own_keys(&account, &settings("missing"));
        std::fs::remove_dir_all(&home).unwrap();
        let blob = blob(KEY.split(' ').nth(1).unwrap().as_bytes());
        assert_eq!(own, BTreeSet::from([blob.unwrap()]));
        assert!(none.is_empty());
    }

    #[test]
    fn a_line_that_opens_more_is_named() {
        for (options, sshd, why) in [
            ("restrict", "", "has no command="),
            (
                "restrict,pty,command=\"/usr/bin/remit\"",
                "",
                "is not the approver's: /usr/bin/remit",
            ),
            (
                "restrict,command=\"/usr/bin/remit approver-shell; sh\"",
                "",
                "is not the approver's",
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim\"",
                "",
                "is not the approver's: /usr/bin/mcp-shim",
            ),
            (
                "command=\"/usr/bin/remit approver-shell\"",
                "",
                "it allows agent-forwarding, port-forwarding, x11-forwarding, user-rc",
            ),
            (
                "restrict,pty,command=\"/usr/bin/remit approver-shell\"",
                "forcecommand /bin/bash",
                "is not the approver's: /bin/bash",
            ),
            (
                "restrict,pty,command=\"/usr/bin/remit approver-shell\",expiry-time=\"20200101\"",
                "",
                "has expired",
            ),
        ] {
            let whys = judged(options, sshd);
            assert!(
                whys.len() == 1 && whys[0].contains(why),
                "{options}: {whys:?}"
            );
        }
    }
}
