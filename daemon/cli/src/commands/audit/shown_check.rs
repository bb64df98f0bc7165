//! Checks records that are shown, so that a changed one does not pass in silence. Pure.

use remit_audit_verify::{Report, Verifier};

use super::record::AuditRecord;
use crate::render::units;

/// Reads the records that are shown, in their order, and keeps the first finding.
pub struct ShownCheck {
    /// `None`: records between them are not shown, so each is checked alone.
    chain: Option<Verifier>,
    first: Option<String>,
    count: u64,
}

impl ShownCheck {
    /// `is_chain`: no record between the first and the last is left out.
    pub fn new(is_chain: bool) -> Self {
        Self {
            chain: is_chain.then(Verifier::default),
            first: None,
            count: 0,
        }
    }

    pub fn take(&mut self, record: &AuditRecord) {
        // The daemon may be writing it.
        if record.is_half() {
            return;
        }
        if let Some(chain) = &mut self.chain {
            return chain.take(&record.entry);
        }
        // What is unreadable is shown as that.
        if record.why.is_some() || record.seq().is_none() {
            return;
        }
        let mut alone = Verifier::default();
        alone.take(&record.entry);
        self.count(alone.finish(None));
    }

    /// Returns a sentence for standard error. `None` if nothing was found.
    pub fn finish(mut self) -> Option<String> {
        if let Some(chain) = self.chain.take() {
            self.count(chain.finish(None));
        }
        let first = self.first?;
        let more = match self.count - 1 {
            0 => String::new(),
            more => format!(", and {} more", units::count(more, "finding")),
        };
        Some(format!(
            "what is shown is not as it was written: {first}{more}; 'remit audit verify' checks the whole audit log"
        ))
    }

    fn count(&mut self, report: Report) {
        self.count += report.findings.len() as u64 + report.more_findings;
        let mut texts = report.findings.into_iter().map(|finding| finding.text);
        self.first = self.first.take().or_else(|| texts.next());
    }
}
