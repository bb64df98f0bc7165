//! What the shadow policy says of a request, for its records. Pure.

use crate::audit::Record;

/// What the shadow policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowVerdict {
    /// `allow`, `ask`, `deny` or `unknown`.
    pub verdict: &'static str,
    pub rule: Option<String>,
    pub cause: String,
    pub policy: String,
}

impl ShadowVerdict {
    pub fn add_to(&self, record: Record) -> Record {
        record
            .field("SHADOW", self.verdict)
            .maybe("SHADOW_RULE", self.rule.as_ref())
            .field("SHADOW_CAUSE", &self.cause)
            .field("SHADOW_POLICY", &self.policy)
    }
}
