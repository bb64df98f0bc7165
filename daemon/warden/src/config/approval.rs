//! `[approval]` of `remit.toml`: how users learn that a request waits for them.

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// The policy's command that gets each request on its standard input. Empty: none.
    pub notify: String,
}
