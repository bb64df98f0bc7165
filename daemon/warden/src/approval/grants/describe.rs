//! Temporary grants in sentences and records.

use remit_common::admin::{Grantee, NewGrant};

use super::TemporaryGrant;
use super::table;
use crate::audit::{Event, Record};

pub(super) fn ended(granted: &TemporaryGrant, why: &str) -> Record {
    let message = format!(
        "grant {} of {}: {why}",
        granted.number,
        in_words(&granted.new)
    );
    described(Record::new(Event::Expired, message), granted).field("CAUSE", why)
}

pub fn described(record: Record, granted: &TemporaryGrant) -> Record {
    with_grant(record, granted.number, &granted.new)
        .field("APPROVER", &granted.giver.name)
        .number("APPROVER_UID", granted.giver.uid)
        .maybe("USES", granted.uses_left.map(|uses| uses.to_string()))
}

pub fn with_grant(record: Record, number: u64, new: &NewGrant) -> Record {
    record
        .number("GRANT", number)
        .field("TO", to(&new.to))
        .field("WHAT", table::what(new))
}

/// `service.* unit=nginx to agent (uid 1002)`.
pub fn in_words(new: &NewGrant) -> String {
    format!("{} to {}", table::what(new), to(&new.to))
}

fn to(grantee: &Grantee) -> String {
    match grantee {
        Grantee::User { name, uid } => format!("{name} (uid {uid})"),
        Grantee::Group { name, gid } => format!("%{name} (gid {gid})"),
    }
}
