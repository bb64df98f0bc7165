//! A job that another person has to approve, as its owner sees it.

use remit_common::outcome::{ApprovalView, JobReport};

use crate::human;
use crate::output;

/// Says on stderr whom a job waits for, until when, and what they type; nothing of one that does not.
pub fn tell(report: &JobReport) {
    let Some(approval) = &report.approval else {
        return;
    };
    output::note(&format!(
        "job {} waits for the approval of another person: {}",
        report.job,
        by(approval)
    ));
    output::note(&format!("who approves types: {}", approval.line));
    output::note(&format!(
        "until {}; after that nothing of it runs",
        until(approval)
    ));
}

/// Who can approve it.
pub fn by(approval: &ApprovalView) -> String {
    approval.by.join(", ")
}

/// Until when.
pub fn until(approval: &ApprovalView) -> String {
    human::time(approval.expires_ms / 1000)
}
