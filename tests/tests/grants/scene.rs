//! A daemon whose changes need an approval, and what its tests say again and again.

use std::path::PathBuf;

use remit_common::admin::{AdminReply, AdminRequest, GivenGrant, NewGrant, Status, Whom};
use remit_common::outcome::{JobReport, State};
use remit_common::refusal::Refusal;
use remit_common::wire::{Access, AccessReport, Reply, Request};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::Identity;

/// A group whose members ask for changes.
pub const GROUP: u32 = 64_300;

/// Three changes that need an approval and take nothing, an argument, or no sandbox.
pub const POLICY: &str = r##"
[[command]]
name = "site.reload"
summary = "reloads"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/printf", "[%s]", "{to}", "{how}"]
effect = "change"
profile = "strict"
args.to = { type = "string", pattern = "[a-z ]+", summary = "to what" }
args.how = { type = "string", pattern = "[a-z]+", default = "fast", summary = "how" }

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

[[grant]]
name = "asks"
to = ["#64001", "%#64300"]
allow = ["site.*", "all.*"]
effect = "change"
approval = { by = ["#64005", "%#64400"], expires = "10min" }

[[grant]]
name = "others"
to = ["#0", "#64002"]
allow = ["run"]
approval = "none"
"##;

pub fn options() -> Options {
    Options {
        policy: POLICY.to_owned(),
        // What waits for a person has a uid.
        waiting: 16,
        ..Options::default()
    }
}

pub fn started() -> Daemon {
    Daemon::start(options())
}

/// One of [`GROUP`].
pub fn member(uid: u32) -> Identity {
    Identity::new(uid, &[SOCKET_GROUP, GROUP])
}

/// User A, the approver and others, with a group of some of them.
pub fn with_group(name: &'static str, gid: u32, members: Vec<&'static str>) -> Accounts {
    let users = vec![
        ("agent", user_a().uid),
        ("boss", admin().uid),
        ("seven", 64_007),
        ("one", 64_011),
        ("two", 64_012),
    ];
    let all = users.iter().map(|(name, _)| *name).collect();
    Accounts {
        users,
        groups: vec![
            ("remit", SOCKET_GROUP, all),
            ("remit-admin", ADMIN_GROUP, vec!["boss", "seven"]),
            (name, gid, members),
        ],
        directory: Vec::new(),
    }
}

/// A grant to user A for a minute.
pub fn to_a(what: &str) -> NewGrant {
    NewGrant {
        to: Whom::User {
            name: "agent".into(),
            uid: user_a().uid,
        },
        what: what.into(),
        args: Vec::new(),
        for_s: 60,
        uses: None,
        across_reboot: false,
    }
}

pub fn give_as(daemon: &Daemon, who: &Identity, new: NewGrant) -> Result<GivenGrant, Refusal> {
    match daemon.administers(who, AdminRequest::Grant(new))? {
        AdminReply::Granted(given) => Ok(given),
        other => panic!("{other:?}"),
    }
}

/// Gives it, as the approver; its number.
pub fn give(daemon: &Daemon, new: NewGrant) -> u64 {
    let given = give_as(daemon, &admin(), new).expect("the approver can approve it");
    given.grant
}

pub fn revoke(daemon: &Daemon, grant: Option<u64>) -> Result<String, Refusal> {
    match daemon.administers(&admin(), AdminRequest::Revoke { grant })? {
        AdminReply::Done(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

pub fn listed(daemon: &Daemon) -> Vec<GivenGrant> {
    match daemon.administers(&admin(), AdminRequest::Grants) {
        Ok(AdminReply::Grants(all)) => all,
        other => panic!("{other:?}"),
    }
}

pub fn status(daemon: &Daemon) -> Status {
    match daemon.administers(&admin(), AdminRequest::Status) {
        Ok(AdminReply::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// A change of somebody's, without waiting for a person.
pub fn changes(
    daemon: &Daemon,
    who: &Identity,
    name: &str,
    args: &[(&str, &str)],
) -> Result<JobReport, Refusal> {
    let mut run = change(name, args);
    run.wait_ms = Some(0);
    let mut caller = Caller::new(daemon, who);
    let report = caller.run(run)?;
    Ok(match report.state {
        State::Running | State::Queued => caller.end_of(report.job),
        _ => report,
    })
}

/// Whether it ran; else it waits for a person.
pub fn runs(daemon: &Daemon, who: &Identity, name: &str, args: &[(&str, &str)]) -> bool {
    let report = changes(daemon, who, name, args).expect("a rule grants it");
    let waits = report.state == State::AwaitingApproval;
    assert!(waits || report.state == State::Exited, "{report:?}");
    !waits
}

/// Whether user A's `site.reload` runs.
pub fn reloads(daemon: &Daemon) -> bool {
    runs(daemon, &user_a(), "site.reload", &[])
}

pub fn accesses(daemon: &Daemon, who: &Identity, name: Option<&str>) -> AccessReport {
    let access = Access {
        argv: None,
        profile: None,
        name: name.map(str::to_owned),
        query: None,
    };
    match Caller::new(daemon, who).ask(Request::Access(access)) {
        Ok(Reply::Access(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// Where the grants are kept.
pub fn file(daemon: &Daemon) -> PathBuf {
    daemon.path().join("state/warden/grants")
}
