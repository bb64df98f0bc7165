//! `users.logins`, `users.failed_logins`: sshd's messages. They are read from the front where the name is that of an account: a client chooses
//! the key and the owner of a certificate its ID, which come last. They are read from the end where a client chooses the name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use remit_common::text;

use crate::logs::{self, entries::Entry};
use crate::text::{SECOND, number, print, table, time};

/// Messages that are read, the newest ones.
const MESSAGES: usize = 50_000;
const USER: usize = 32;
const USERS_SHOWN: usize = 5;

const ACCEPTED: &str = "^accepted ";
const FAILED: &str = "^(failed |invalid user |connection (closed|reset) by (invalid|authenticating) user |disconnected from (invalid|authenticating) user |error: maximum authentication attempts)";

#[derive(Default)]
struct Connections {
    first: u64,
    last: u64,
    /// One process of sshd serves one connection.
    pids: BTreeSet<String>,
    users: BTreeSet<String>,
}

impl Connections {
    fn add(&mut self, entry: Entry, user: &str) {
        // The newest entry comes first.
        self.first = entry.time;
        self.last = self.last.max(entry.time);
        self.pids.extend(entry.pid);
        self.users.insert(user.to_owned());
    }

    fn times(&self) -> [String; 2] {
        [self.first, self.last].map(|at| time(at / SECOND))
    }
}

pub fn accepted(count: &str) -> Result<ExitCode, String> {
    let (entries, left_out) = logs::of_sshd(ACCEPTED, MESSAGES)?;
    let mut found = BTreeMap::<(String, String, String), Connections>::new();
    for entry in entries {
        if let Some(Login {
            user,
            address,
            proof,
        }) = login(&entry.message)
        {
            let key = (user.clone(), address, proof);
            found.entry(key).or_default().add(entry, &user);
        }
    }
    let mut all: Vec<_> = found.into_iter().collect();
    all.sort_by_key(|(_, connections)| Reverse(connections.last));
    let rows = all
        .into_iter()
        .map(|((user, address, proof), connections)| {
            let [first, last] = connections.times();
            let count = connections.pids.len().to_string();
            [last, user, address, count, first, proof]
        });
    let head = ["LAST (UTC)", "USER", "ADDRESS", "LOGINS", "FIRST", "BY"];
    show(head, rows.collect(), number(count)?, left_out, "login")
}

pub fn failed(count: &str) -> Result<ExitCode, String> {
    let (entries, left_out) = logs::of_sshd(FAILED, MESSAGES)?;
    let mut found = BTreeMap::<String, Connections>::new();
    for entry in entries {
        if let Some(Login { user, address, .. }) = login(&entry.message) {
            found.entry(address).or_default().add(entry, &user);
        }
    }
    let mut all: Vec<_> = found.into_iter().collect();
    all.sort_by_key(|(_, connections)| Reverse((connections.pids.len(), connections.last)));
    let rows = all.into_iter().map(|(address, connections)| {
        let [first, last] = connections.times();
        let count = connections.pids.len().to_string();
        [
            count,
            address,
            first,
            last,
            text::first_of(&connections.users, USERS_SHOWN),
        ]
    });
    let head = ["CONNECTIONS", "ADDRESS", "FIRST (UTC)", "LAST", "USERS"];
    show(
        head,
        rows.collect(),
        number(count)?,
        left_out,
        "failed login",
    )
}

fn show<const N: usize>(
    head: [&str; N],
    rows: Vec<[String; N]>,
    most: usize,
    left_out: Option<String>,
    what: &str,
) -> Result<ExitCode, String> {
    print(&shown(head, rows, most, left_out, what))?;
    Ok(ExitCode::SUCCESS)
}

fn shown<const N: usize>(
    head: [&str; N],
    mut rows: Vec<[String; N]>,
    most: usize,
    left_out: Option<String>,
    what: &str,
) -> String {
    let total = rows.len();
    rows.truncate(most);
    let mut shown = match total {
        0 if left_out.is_some() => format!("no {what} over ssh was found\n"),
        0 => format!("no {what} over ssh is in the journal\n"),
        _ => table(head, &rows),
    };
    if rows.len() < total {
        shown += &format!("{} of {total}\n", rows.len());
    }
    shown + &left_out.map_or_else(String::new, |left_out| left_out + "\n")
}

#[derive(Debug, PartialEq, Eq)]
struct Login {
    user: String,
    address: String,
    proof: String,
}

/// Parses `Accepted publickey for ann from 192.0.2.7 port 50404 ssh2: ED25519 SHA256:x`, and failures.
fn login(message: &str) -> Option<Login> {
    let outcomes = ["Accepted ", "Failed "];
    let Some(rest) = outcomes.iter().find_map(|word| message.strip_prefix(word)) else {
        return of_any_name(message);
    };
    let (method, named) = rest.split_once(" for ")?;
    match () {
        // Of another message, as that of a certificate: anything can be in its ID.
        () if method.contains(' ') => None,
        () if named.starts_with("invalid user ") => of_any_name(message),
        () => of_account(method, named),
    }
}

/// The name is that of an account. What a client or the owner of a certificate chooses comes after the address.
fn of_account(method: &str, named: &str) -> Option<Login> {
    let (user, rest) = named.split_once(" from ")?;
    let (address, rest) = rest.split_once(" port ")?;
    let key = rest.split_once(": ").map(|(_, key)| key);
    let proof: Vec<&str> = [method].into_iter().chain(key).collect();
    Some(Login::new(user, address, &proof.join(" ")))
}

/// The client chooses the name. sshd looks at no key for it, so nothing of the client comes after the address.
fn of_any_name(message: &str) -> Option<Login> {
    let (before, _) = message.rsplit_once(" port ")?;
    let (before, address) = before.rsplit_once(' ')?;
    let before = before.strip_suffix(" from").unwrap_or(before);
    let has_method = ["Failed ", "error: "]
        .iter()
        .any(|word| message.starts_with(word));
    let (method, user) = match before.split_once(" for ").filter(|_| has_method) {
        Some((method, user)) => (method.split_once(' ').map(|(_, method)| method), user),
        None => (None, before),
    };
    let lower = ["Invalid user ", "invalid user ", "authenticating user "];
    let user = lower
        .iter()
        .find_map(|word| Some(user.split_once(word)?.1))
        .unwrap_or(user);
    Some(Login::new(user, address, method.unwrap_or_default()))
}

impl Login {
    fn new(user: &str, address: &str, proof: &str) -> Self {
        let short = |text: &str, most| text::line(text.as_bytes(), most);
        Self {
            user: short(user, USER),
            address: short(address, 64),
            proof: short(proof, 128),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_said() {
        for (count, left_out, expect) in [
            (0, None, "no login over ssh is in the journal\n"),
            (0, Some("cut"), "no login over ssh was found\ncut\n"),
            (1, Some("cut"), "HEAD\nrow\ncut\n"),
            (2, Some("cut"), "HEAD\nrow\n1 of 2\ncut\n"),
        ] {
            let rows = vec![["row".to_owned()]; count];
            let found = shown(["HEAD"], rows, 1, left_out.map(str::to_owned), "login");
            assert_eq!(found, expect, "{count} {left_out:?}");
        }
    }

    #[test]
    fn messages_of_sshd_name_user_and_address() {
        for (message, user, address, proof) in [
            (
                "Accepted publickey for ann from 192.0.2.7 port 50404 ssh2: ED25519 SHA256:x",
                "ann",
                "192.0.2.7",
                "publickey ED25519 SHA256:x",
            ),
            (
                "Accepted keyboard-interactive/pam for ann from ::1 port 1 ssh2",
                "ann",
                "::1",
                "keyboard-interactive/pam",
            ),
            (
                "Invalid user oracle from 192.0.2.8 port 5",
                "oracle",
                "192.0.2.8",
                "",
            ),
            (
                "Failed password for invalid user test from 192.0.2.8 port 5 ssh2",
                "test",
                "192.0.2.8",
                "password",
            ),
            (
                "Failed password for root from 192.0.2.8 port 5 ssh2",
                "root",
                "192.0.2.8",
                "password",
            ),
            (
                "Connection closed by authenticating user root 192.0.2.8 port 5 [preauth]",
                "root",
                "192.0.2.8",
                "",
            ),
            (
                "error: maximum authentication attempts exceeded for root from 192.0.2.8 port 5 ssh2 [preauth]",
                "root",
                "192.0.2.8",
                "maximum authentication attempts exceeded",
            ),
            // The name is the attacker's.
            (
                "Invalid user a from 198.51.100.1 port 9 from 192.0.2.8 port 5",
                "a from 198.51.100.1 port 9",
                "192.0.2.8",
                "",
            ),
            ("Invalid user  from 192.0.2.8 port 5", "", "192.0.2.8", ""),
            (
                "Invalid user a for root from 192.0.2.8 port 5",
                "a for root",
                "192.0.2.8",
                "",
            ),
            (
                "Failed none for invalid user a from 198.51.100.1 port 9 ssh2: b from 192.0.2.8 port 5 ssh2",
                "a from 198.51.100.1 port 9 ssh2:…",
                "192.0.2.8",
                "none",
            ),
            // The key ID of the certificate is of the client, or of its issuer.
            (
                "Failed publickey for root from 192.0.2.8 port 5 ssh2: ED25519-CERT SHA256:x ID y from 198.51.100.1 port 1 (serial 0) CA ED25519 SHA256:z",
                "root",
                "192.0.2.8",
                "publickey ED25519-CERT SHA256:x ID y from 198.51.100.1 port 1 (serial 0) CA ED25519 SHA256:z",
            ),
            (
                "Accepted publickey for ann from 192.0.2.7 port 5 ssh2: RSA-CERT SHA256:x ID for bob from ::1 port 1 ssh2 (serial 0) CA RSA SHA256:z",
                "ann",
                "192.0.2.7",
                "publickey RSA-CERT SHA256:x ID for bob from ::1 port 1 ssh2 (serial 0) CA RSA SHA256:z",
            ),
        ] {
            let found = login(message).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(
                (
                    found.user.as_str(),
                    found.address.as_str(),
                    found.proof.as_str()
                ),
                (user, address, proof),
                "{message}"
            );
        }
        for other in [
            "",
            " port ",
            "Server listening on 0.0.0.0",
            "Accepted certificate ID \"a for ann from 192.0.2.7 port 1 ssh2\" (serial 0) signed by RSA CA SHA256:z via /etc/ssh/ca",
            "Accepted key RSA SHA256:x found at /home/a from 192.0.2.7 port 1",
        ] {
            assert_eq!(login(other), None, "{other}");
        }
        let hostile = format!(
            "Invalid user {}\x1b[2J from 192.0.2.8 port 5",
            "x".repeat(9000)
        );
        let found = login(&hostile).expect("a login");
        assert!(found.user.len() < 64 && !found.user.contains('\x1b'));
    }
}
