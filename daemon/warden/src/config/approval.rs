//! `[approval]` of `remit.toml`.

use serde::Deserialize;

/// `[approval]`: how people learn of what waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// The policy's command that gets each request on its standard input; empty: none.
    pub notify: String,
}
