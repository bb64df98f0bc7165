//! Notes for the owner of a job that waits for another person's approval.

use remit_common::outcome::{ApprovalView, JobReport};

use crate::render::output;
use crate::render::units;

/// Prints on stderr who may approve the job, until when, and with which command. Prints nothing if no approval is
/// pending.
pub fn tell(report: &JobReport) {
    let Some(approval) = &report.approval else {
        return;
    };
    output::note(&format!(
        "job {} waits for the approval of another person: {}",
        report.job,
        by(approval)
    ));
    output::note(&format!(
        "to approve it, one of them runs: {}",
        approval.line
    ));
    output::note(&format!("it expires at {}", until(approval)));
}

pub fn by(approval: &ApprovalView) -> String {
    approval.by.join(", ")
}

pub fn until(approval: &ApprovalView) -> String {
    units::time(approval.expires_ms / 1000)
}
