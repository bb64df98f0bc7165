//! The file with the keys of approvers, and warnings about rules that ask for a signature that nobody can make.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::{Uid, User};
use remit_approval::signers::{FILE, Signers};
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
        let has_key = |uid: &&u32| {
            let user = User::from_uid(Uid::from_raw(**uid)).ok().flatten();
            user.is_some_and(|user| has_key(keys, &user.name, signed, now_ms()))
        };
        let count = asking.approval.count().get();
        match able.iter().filter(has_key).count() {
            0 => Some(format!(
                "{asks}, and none of its approvers has such a key in '{path}': each request will expire"
            )),
            some if some < count => Some(format!(
                "{asks} of {count} people, and {some} of its approvers has such a key in '{path}': each request will \
                 expire"
            )),
            _ => None,
        }
    }
}

fn has_key(keys: &Signers, account: &str, signed: Signed, at_ms: u64) -> bool {
    let own = keys.0.iter().filter(|key| key.is_of(account));
    let mut valid = own.filter(|key| key.refuses(at_ms).is_none());
    valid.any(|key| signed == Signed::Key || key.is_security_key())
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
            let found =
                Signed::ALL.map(|signed| has_key(&keys, account, signed, 1_800_000_000_000));
            assert_eq!(found, expect, "{account}");
        }
    }
}
