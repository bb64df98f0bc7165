//! The shadow policy: a second policy whose verdicts are recorded beside those of the policy in force, and change
//! nothing. It is the directory `shadow/policy.d` beside `policy.d`, together with the vendor's files.

mod verdict;

use std::cell::Cell;

use remit_policy::{Diagnostic, Policy, Severity};

use crate::job::floor::Floor;
use crate::request::ShadowVerdict;

pub use verdict::Sent;

/// Says in a warning of the load why there is none.
pub fn unusable(why: &str) -> String {
    let text = format!("it is not in use: {why}");
    Diagnostic::whole(Severity::Warning, "shadow policy", text).to_string()
}

#[derive(Debug)]
pub struct Shadow {
    policy: Policy,
    /// Requests since it was loaded, and those on which both policies differ.
    decided: Cell<u64>,
    differ: Cell<u64>,
}

impl Shadow {
    /// Decodes a model. Fails with a sentence.
    pub fn decode(model: &[u8]) -> Result<Self, String> {
        let policy = Policy::decode(model)
            .map_err(|why| format!("the child that reads the shadow policy sent none: {why}"))?;
        Ok(Self {
            policy,
            decided: Cell::new(0),
            differ: Cell::new(0),
        })
    }

    pub fn digest(&self) -> &str {
        self.policy.digest()
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns what this policy says of a request, if the policy in force says something else.
    pub fn judge(&self, live: &Policy, floor: &Floor, sent: Sent<'_>) -> Option<ShadowVerdict> {
        self.decided.update(|count| count + 1);
        let found = verdict::difference([live, &self.policy], floor, sent);
        self.differ
            .update(|count| count + u64::from(found.is_some()));
        found
    }

    /// Returns the number of requests with another verdict, and of all, since it was loaded.
    pub fn counts(&self) -> (u64, u64) {
        (self.differ.get(), self.decided.get())
    }
}
