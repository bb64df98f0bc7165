//! Whom a call is said to act for: its `_meta`, or else a variable of the server. It is no argument: a model would invent it.

use std::os::unix::ffi::OsStrExt;

use remit_common::behalf::Behalf;
use rmcp::model::RequestMetaObject;
use serde_json::Value;

/// Key in the `_meta` of a call.
pub const BEHALF_META: &str = "remit/behalf";
const VARIABLE: &str = "REMIT_BEHALF";

/// Returns what the `_meta` claims, if it is there. The error is a sentence.
pub fn claimed_behalf(meta: &RequestMetaObject) -> Result<Option<Behalf>, String> {
    match meta.0.0.get(BEHALF_META) {
        None => Ok(None),
        Some(Value::String(words)) => Ok(Behalf::new(words.as_bytes())),
        Some(_) => Err(format!("'{BEHALF_META}' in _meta: it is no text")),
    }
}

pub fn behalf_of_environment() -> Option<Behalf> {
    Behalf::new(std::env::var_os(VARIABLE)?.as_bytes())
}
