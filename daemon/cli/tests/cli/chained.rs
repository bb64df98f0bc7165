//! Records of an audit log whose chain holds.

use remit_trail::{Hash, hash, hex};
use serde_json::{Map, Value, json};

/// Adds the hash of a record, and keeps it for the next one. The fields have the hash of the one before already.
pub fn chain_on(fields: &mut Vec<(&str, String)>, prev: &mut Hash) {
    *prev = hash(fields.iter().map(|(name, value)| (*name, value.as_str())));
    fields.push(("REMIT_HASH", hex(prev)));
}

/// Returns the line of a record, with its hash, which is kept for the next one.
pub fn chained_line(mut fields: Vec<(&str, String)>, prev: &mut Hash) -> String {
    chain_on(&mut fields, prev);
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)));
    Value::Object(fields.collect::<Map<_, _>>()).to_string()
}
