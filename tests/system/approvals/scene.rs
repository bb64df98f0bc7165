//! A daemon whose changes need an approval, with shared helpers.

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::Identity;
pub use remit_tests::process::until;
use remit_wire::outcome::{ApprovalView, JobReport, State};
use serde_json::Value;

pub const APPROVERS: u32 = 64_400;

/// Changes that need an approval. `#64001` and `#64002` ask. `#64005` and members of `#64400` can approve, and so
/// can requesters, by the rule.
pub const POLICY: &str = r##"
[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/printf", "[%s]", "{to}"]
effect = "change"
profile = "strict"
args.to = { type = "string", pattern = "[a-z ]+", summary = "to what" }

[[command]]
name = "site.wait"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[command]]
name = "all.change"
summary = "changes all"
argv = ["/usr/bin/true"]
effect = "change"
profile = "host"

[[command]]
name = "all.missing"
summary = "is not there"
argv = ["/usr/bin/no-such-program-of-remit"]
effect = "change"
profile = "host"

[[grant]]
name = "asks"
to = ["#0", "#64001", "#64002"]
allow = ["site.*", "all.*"]
effect = "change"
approval = { by = ["#64005", "%#64400", "#64001", "#64008"], expires = "10min" }

[[grant]]
name = "looks"
to = ["#64001", "#64002"]
allow = ["run"]
approval = "none"
"##;

pub fn options() -> Options {
    Options {
        // A waiting request already has its uid.
        waiting: 200,
        policy: POLICY.to_owned(),
        ..Options::default()
    }
}

pub fn started() -> Daemon {
    Daemon::start(options())
}

fn done(reply: Result<AdminReply, Refusal>) -> Result<String, Refusal> {
    match reply? {
        AdminReply::Done(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

pub fn approve_as(
    daemon: &Daemon,
    user: &Identity,
    job: JobId,
    digest: [u8; 32],
) -> Result<String, Refusal> {
    done(daemon.approve(user, job, digest))
}

pub fn approve(daemon: &Daemon, job: JobId) -> Result<String, Refusal> {
    let digest = listed(daemon, job).digest;
    approve_as(daemon, &admin(), job, digest)
}

pub fn deny(daemon: &Daemon, user: &Identity, job: JobId, why: &str) -> Result<String, Refusal> {
    let why = why.to_owned();
    done(daemon.administers(user, AdminRequest::Deny { job, why }))
}

pub fn listed(daemon: &Daemon, job: JobId) -> PendingView {
    daemon.pending_request(job)
}

pub fn does(daemon: &Daemon, request: AdminRequest) -> AdminReply {
    daemon.administers(&admin(), request).expect("it is done")
}

pub fn asks(caller: &mut Caller, name: &str, args: &[(&str, &str)]) -> (JobId, ApprovalView) {
    let report = caller
        .run(at_once(change(name, args)))
        .expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    (
        report.job,
        report.approval.expect("it waits for an approval"),
    )
}

pub fn asked(daemon: &Daemon) -> (Caller, JobId, ApprovalView) {
    let mut caller = Caller::new(daemon, &user_a());
    let (job, view) = asks(&mut caller, "site.switch", &[("to", "blue")]);
    (caller, job, view)
}

pub fn code(report: &JobReport) -> &str {
    let ending = report.ending.as_ref();
    ending
        .and_then(|ending| ending.code)
        .map_or("", |code| code.as_str())
}

/// Returns the records of a request, without refused decisions about it.
pub fn about(daemon: &Daemon, job: JobId) -> Vec<Value> {
    let id = job.to_string();
    let is_decision =
        |record: &Value| record["REMIT_EVENT"] == "refusal" && !record["REMIT_PEER"].is_null();
    let all = daemon.audit().into_iter();
    all.filter(|record| record["REMIT_JOB"] == id && !is_decision(record))
        .collect()
}

pub fn events(daemon: &Daemon, job: JobId) -> Vec<String> {
    let records = about(daemon, job);
    let events = records
        .iter()
        .map(|record| record["REMIT_EVENT"].as_str().unwrap_or("?"));
    events.map(str::to_owned).collect()
}
