//! The file with the keys of approvers, and warnings about rules that ask for a signature that nobody can make.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::{Uid, User};
use remit_approval::signers::{FILE, Signer, Signers};
use remit_common::calendar::now_ms;
use remit_common::signed::Signed;
use remit_policy::Asking;

use crate::drop_ins::read_file;
use crate::trust::Owners;

/// Reads the file in the directory of `remit.toml`. `None`: there is none. The error has the path.
pub fn approver_keys(config: &Path, owners: Owners) -> Result<Option<Signers>, String> {
    let path = config.join(FILE);
    let Some(bytes) = read_file(&path, owners)? else {
        return Ok(None);
    };
    let cannot = |why| format!("cannot use '{}': {why}", path.display());
    Signers::parse(&bytes).map(Some).map_err(cannot)
}

/// The keys, once for all rules. `path` is for texts.
pub(crate) struct ApproverKeys {
    path: String,
    keys: Result<Option<Signers>, String>,
}

impl ApproverKeys {
    pub(crate) fn read(config: &Path, owners: Owners) -> Self {
        Self {
            path: config.join(FILE).display().to_string(),
            keys: approver_keys(config, owners),
        }
    }

    /// Says why nobody, or too few of these, can sign what a rule asks for.
    pub(crate) fn shortage(&self, asking: &Asking<'_>, able: &BTreeSet<u32>) -> Option<String> {
        let signed = asking.approval.signed()?;
        let (rule, path) = (asking.rule, &self.path);
        let asks = format!("{rule} asks for {}", signed.asked());
        let keys = match &self.keys {
            Ok(Some(keys)) => keys,
            Ok(None) => {
                return Some(format!(
                    "{asks}, and there is no '{path}' with the keys of approvers: each request will expire"
                ));
            }
            Err(why) => return Some(format!("{asks}, and each request will expire: {why}")),
        };
        let user = |uid: &u32| User::from_uid(Uid::from_raw(*uid)).ok().flatten();
        let able: Vec<String> = able.iter().filter_map(user).map(|user| user.name).collect();
        let owners = owners(keys, &able, signed, now_ms());
        let count = asking.approval.count().get();
        match owners.is_empty() {
            true => Some(format!(
                "{asks}, and none of its approvers has such a key in '{path}': each request will expire"
            )),
            false if !has_disjoint(&owners.iter().collect::<Vec<_>>(), count) => Some(format!(
                "{asks} of {count} people, and fewer of its approvers have such a key of their own in '{path}': each \
                 request will expire"
            )),
            false => None,
        }
    }
}

/// Returns the accounts of each key by which one of `able` can sign this. Signatures by two keys of one account are of one person.
fn owners<'a>(
    keys: &'a Signers,
    able: &[String],
    signed: Signed,
    at_ms: u64,
) -> BTreeSet<BTreeSet<&'a str>> {
    let is_good = |key: &&Signer| {
        able.iter().any(|account| key.is_of(account))
            && key.refuses(at_ms).is_none()
            && (signed == Signed::Key || key.is_security_key())
    };
    let good = keys.0.iter().filter(is_good);
    let all = good.map(|good| {
        let lines = keys.0.iter().filter(|line| line.key == good.key);
        lines
            .flat_map(|line| line.names.iter().map(String::as_str))
            .collect()
    });
    all.collect()
}

/// Returns whether so many of these sets have no element in common.
fn has_disjoint(sets: &[&BTreeSet<&str>], count: usize) -> bool {
    let Some(count) = count.checked_sub(1) else {
        return true;
    };
    let mut rest = sets;
    while let [first, others @ ..] = rest {
        let disjoint = others.iter().filter(|set| set.is_disjoint(first));
        if has_disjoint(&disjoint.copied().collect::<Vec<_>>(), count) {
            return true;
        }
        rest = others;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_key_is_no_key_for_a_rule_that_asks_for_a_touch() {
        let text = "ann ssh-ed25519 AAAA\nbob sk-ssh-ed25519@openssh.com AAAA\n\
            eve valid-before=\"20200101Z\" sk-ssh-ed25519@openssh.com AAAA\n";
        let keys = Signers::parse(text.as_bytes()).unwrap();
        for (account, expect) in [
            ("ann", [true, false, false]),
            ("bob", [true, true, true]),
            ("eve", [false, false, false]),
        ] {
            let able = [account.to_owned()];
            let found = Signed::ALL
                .map(|signed| !owners(&keys, &able, signed, 1_800_000_000_000).is_empty());
            assert_eq!(found, expect, "{account}");
        }
    }

    #[test]
    fn key_of_two_accounts_is_of_one_person() {
        let able = ["ann", "bob", "eve"].map(str::to_owned);
        for (lines, people) in [
            (&["ann,bob A"][..], 1),
            (&["ann A", "bob A"], 1),
            (&["ann A", "ann,zoe B", "bob,zoe C"], 2),
            (&["ann,bob A", "ann B", "bob C"], 2),
            (&["ann,bob A", "bob,eve B", "eve,zoe C"], 2),
            (&["ann A", "ann B", "zoe C"], 1),
            (&["ann A", "bob B", "eve C"], 3),
        ] {
            let line = |line: &&str| line.replace(' ', " ssh-ed25519 AAA");
            let text: Vec<String> = lines.iter().map(line).collect();
            let keys = Signers::parse(text.join("\n").as_bytes()).unwrap();
            let owners = owners(&keys, &able, Signed::Key, 1_800_000_000_000);
            let sets: Vec<_> = owners.iter().collect();
            let found = (1..=4).filter(|count| has_disjoint(&sets, *count)).max();
            assert_eq!(found, Some(people), "{lines:?}");
        }
    }
}
