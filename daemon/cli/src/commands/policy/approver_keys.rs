//! Errors in the file with the keys of approvers, by line. One bad line is enough for the daemon to accept no signature.

use std::path::Path;

use remit_approval::signers::{FILE, Signers};
use remit_policy::{Diagnostic, Severity};
use remit_policy_files::{Owners, read_file};

use crate::enrollment::{KeyError, PublicKey};

/// No file is no error.
pub fn faults(config: &Path, owners: Owners) -> Vec<Diagnostic> {
    let path = config.join(FILE);
    let file = path.to_string_lossy();
    let error = |why: String| Diagnostic::whole(Severity::Error, &file, why);
    let bytes = match read_file(&path, owners) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Vec::new(),
        Err(why) => return vec![error(why)],
    };
    let signers = match Signers::parse(&bytes) {
        Ok(Signers(signers)) => signers,
        Err(why) => return vec![error(why.to_string())],
    };
    let keys = signers
        .iter()
        .map(|signer| (signer.line, PublicKey::parse(signer.key.as_bytes())));
    keys.filter_map(|(line, key)| {
        let why = match key.err()? {
            KeyError::Unread(..) => "it has no valid public key of its kind".to_owned(),
            why => why.to_string(),
        };
        let next = "after the account, write what 'ssh-keygen -y -f KEY' prints, or the .pub file";
        Some(error(format!("line {line}: {why}")).help(next))
    })
    .collect()
}
