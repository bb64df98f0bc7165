//! Commands that a temporary grant covers: those that its pattern matched when it was given. The giver approves
//! what exists. Nobody approves a command that is added or changed later.

use remit_common::admin::NewGrant;
use remit_policy::{Glob, Policy};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const NAMED: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub name: String,
    definition: [u8; 32],
}

impl Covered {
    pub fn by(new: &NewGrant, policy: &Policy) -> Vec<Self> {
        let commits = !new.paths.is_empty();
        let names = Glob::parse(&new.what).map(|glob| policy.covered(&glob, commits));
        let one = |name: String| {
            let definition = digest(policy, &name)?;
            Some(Self { name, definition })
        };
        names.into_iter().flatten().filter_map(one).collect()
    }

    pub fn is_same(&self, policy: &Policy) -> bool {
        digest(policy, &self.name) == Some(self.definition)
    }
}

fn digest(policy: &Policy, name: &str) -> Option<[u8; 32]> {
    let definition = policy.definition(name)?;
    Some(Sha256::digest(definition.as_bytes()).into())
}

/// `site.* (site.reload, site.test)`; a name without a pattern is unchanged.
pub fn in_full(what: &str, covered: &[Covered]) -> String {
    if !what.contains(['*', '?']) {
        return what.to_owned();
    }
    let names: Vec<&str> = covered
        .iter()
        .take(NAMED)
        .map(|one| one.name.as_str())
        .collect();
    let more = match covered.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.is_empty() {
        true => what.to_owned(),
        false => format!("{what} ({}{more})", names.join(", ")),
    }
}
