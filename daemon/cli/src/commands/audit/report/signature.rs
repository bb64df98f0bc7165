//! What a record of an approval has of its signature. Pure.

use remit_common::signed::Signed;
use remit_common::text;

use super::super::record::AuditRecord;

/// Maximum bytes of a value.
const VALUE: usize = 160;

/// The fields of an approval that is signed, or should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CitedSignature {
    /// What its rule asks for.
    pub demand: Option<Signed>,
    /// `None`: the record has no signature.
    pub by: Option<SigningKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    pub fingerprint: String,
    /// Number and hash of the request's record, which the signed text names.
    pub record: String,
    /// What a security key reported.
    pub report: String,
    pub risk: String,
}

impl CitedSignature {
    pub fn from_record(record: &AuditRecord) -> Option<Self> {
        if record.own("EVENT") != Some("approved") {
            return None;
        }
        let own = |name| text::line(record.own(name).unwrap_or_default().as_bytes(), VALUE);
        let report = match record.own("SIGNED_FLAGS") {
            Some(_) => format!(
                "flags {}, counter {}",
                own("SIGNED_FLAGS"),
                own("SIGNED_COUNTER")
            ),
            None => String::new(),
        };
        let by = record.own("SIGNATURE").map(|_| SigningKey {
            fingerprint: own("SIGNED_BY"),
            record: own("SIGNED_RECORD"),
            report,
            risk: own("SIGNED_RISK"),
        });
        let demand = record.signed();
        (by.is_some() || demand.is_some()).then_some(Self { demand, by })
    }

    pub fn is_there(&self) -> bool {
        self.by.is_some()
    }
}
