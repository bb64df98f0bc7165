//! A daemon with its own user database: an agent and approvers.

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant, PendingView};
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;
pub use remit_tests::process::until;
use remit_wire::outcome::{JobReport, State};
use serde_json::Value;

pub use crate::grants::scene::give_as;

pub const BOT: u32 = 64_501;
pub const ANN: u32 = 64_502;
pub const BOB: u32 = 64_503;
pub const AGENTS: u32 = 64_510;
pub const OPS: u32 = 64_511;

pub const POLICY: &str = r##"
[[command]]
name = "site.reload"
summary = "reloads"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[command]]
name = "site.wait"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[grant]]
name = "asks"
to = ["bot", "%agents"]
allow = ["site.*"]
effect = "change"
approval = { by = ["%ops", "bob"], expires = "10min" }
"##;

pub fn accounts() -> Accounts {
    Accounts {
        users: vec![("bot", BOT), ("ann", ANN), ("bob", BOB)],
        groups: vec![
            ("remit", SOCKET_GROUP, vec!["bot", "ann", "bob"]),
            ("remit-admin", ADMIN_GROUP, vec!["ann", "bob"]),
            ("agents", AGENTS, vec!["bot"]),
            ("ops", OPS, vec!["ann"]),
        ],
        directory: Vec::new(),
    }
}

/// After `gpasswd -d ann ops; gpasswd -d ann remit-admin`.
pub fn without_ann_in_ops() -> Accounts {
    let mut accounts = accounts();
    for (name, _, members) in &mut accounts.groups {
        if ["ops", "remit-admin"].contains(name) {
            members.retain(|member| *member != "ann");
        }
    }
    accounts
}

/// After `userdel NAME`, and after account `next` got its uid.
pub fn without(name: &str, next: Option<&'static str>) -> Accounts {
    let mut accounts = accounts();
    let uid = accounts.users.iter().find(|(own, _)| *own == name);
    let uid = uid.expect("there is such a user").1;
    accounts.users.retain(|(own, _)| *own != name);
    for (_, _, members) in &mut accounts.groups {
        members.retain(|member| *member != name);
    }
    if let Some(next) = next {
        accounts.users.push((next, uid));
        let remit = accounts
            .groups
            .iter_mut()
            .find(|(name, _, _)| *name == "remit");
        remit.expect("there is one").2.push(next);
    }
    accounts
}

pub fn options() -> Options {
    Options {
        policy: POLICY.to_owned(),
        waiting: 16,
        accounts: Some(accounts()),
        ..Options::default()
    }
}

pub fn started() -> Daemon {
    Daemon::start(options())
}

/// Identities as at login; the kernel keeps them whatever the user database says later.
pub fn bot() -> Identity {
    Identity::new(BOT, &[SOCKET_GROUP, AGENTS])
}

pub fn ann() -> Identity {
    Identity::new(ANN, &[SOCKET_GROUP, ADMIN_GROUP, OPS])
}

pub fn bob() -> Identity {
    Identity::new(BOB, &[SOCKET_GROUP, ADMIN_GROUP])
}

pub fn to_bot(what: &str) -> NewGrant {
    NewGrant {
        to: Grantee::User {
            name: "bot".into(),
            uid: BOT,
        },
        what: what.into(),
        args: Vec::new(),
        for_s: 600,
        uses: None,
        across_reboot: false,
        paths: Vec::new(),
    }
}

pub fn grants(daemon: &Daemon) -> Vec<ActiveGrant> {
    daemon.grants(&Identity::new(0, &[]))
}

pub fn reload(daemon: &Daemon) {
    daemon
        .administers(&Identity::new(0, &[]), AdminRequest::Reload)
        .expect("the policy is right");
}

pub fn changes(daemon: &Daemon, user: &Identity, name: &str) -> Result<JobReport, Refusal> {
    let mut caller = Caller::new(daemon, user);
    let report = caller.run(at_once(change(name, &[])))?;
    Ok(match report.state {
        State::Running | State::Queued => caller.end_of(report.job),
        _ => report,
    })
}

pub fn runs(daemon: &Daemon) -> bool {
    let report = changes(daemon, &bot(), "site.reload").expect("a rule grants it");
    let is_pending = report.state == State::AwaitingApproval;
    assert!(is_pending || report.state == State::Exited, "{report:?}");
    !is_pending
}

pub fn asked(daemon: &Daemon) -> PendingView {
    let mut caller = Caller::new(daemon, &bot());
    let report = caller.run(at_once(change("site.reload", &[])));
    let job = report.expect("it may be asked for").job;
    pending(daemon, job).expect("it waits")
}

pub fn pending(daemon: &Daemon, job: JobId) -> Option<PendingView> {
    let mut all = daemon.pending(&Identity::new(0, &[])).into_iter();
    all.find(|view| view.job == job)
}

pub fn approve(
    daemon: &Daemon,
    user: &Identity,
    view: &PendingView,
) -> Result<AdminReply, Refusal> {
    daemon.approve(user, view.job, view.digest)
}

pub fn newest(daemon: &Daemon, event: &str) -> Value {
    daemon.records(event).pop().expect("there is a record")
}
