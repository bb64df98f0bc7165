//! A daemon whose changes need an approval, with shared helpers.

use std::path::PathBuf;

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant};
use remit_common::refusal::Refusal;
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::Identity;
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Access, AccessReport, Reply, Request};

pub const GROUP: u32 = 64_300;

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
        // A request that waits for approval occupies a uid.
        waiting: 16,
        ..Options::default()
    }
}

pub fn started() -> Daemon {
    Daemon::start(options())
}

pub fn member(uid: u32) -> Identity {
    Identity::new(uid, &[SOCKET_GROUP, GROUP])
}

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

pub fn to_a(what: &str) -> NewGrant {
    NewGrant {
        to: Grantee::User {
            name: "agent".into(),
            uid: user_a().uid,
        },
        what: what.into(),
        args: Vec::new(),
        for_s: 60,
        uses: None,
        across_reboot: false,
        paths: Vec::new(),
    }
}

pub fn give_as(daemon: &Daemon, user: &Identity, new: NewGrant) -> Result<ActiveGrant, Refusal> {
    match daemon.administers(
        user,
        AdminRequest::Grant {
            new,
            accepts_paths: false,
        },
    )? {
        AdminReply::Granted(granted) => Ok(*granted),
        other => panic!("{other:?}"),
    }
}

pub fn give(daemon: &Daemon, new: NewGrant) -> u64 {
    let granted = give_as(daemon, &admin(), new).expect("the approver can approve it");
    granted.grant
}

pub fn revoke(daemon: &Daemon, grant: Option<u64>) -> Result<String, Refusal> {
    match daemon.administers(&admin(), AdminRequest::Revoke { grant })? {
        AdminReply::Done(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

pub fn listed(daemon: &Daemon) -> Vec<ActiveGrant> {
    daemon.grants(&admin())
}

pub fn changes(
    daemon: &Daemon,
    user: &Identity,
    name: &str,
    args: &[(&str, &str)],
) -> Result<JobReport, Refusal> {
    let mut run = change(name, args);
    run.wait_ms = Some(0);
    let mut caller = Caller::new(daemon, user);
    let report = caller.run(run)?;
    Ok(match report.state {
        State::Running | State::Queued => caller.end_of(report.job),
        _ => report,
    })
}

/// Returns true if it ran. Otherwise it waits for an approval.
pub fn runs(daemon: &Daemon, user: &Identity, name: &str, args: &[(&str, &str)]) -> bool {
    let report = changes(daemon, user, name, args).expect("a rule grants it");
    let is_pending = report.state == State::AwaitingApproval;
    assert!(is_pending || report.state == State::Exited, "{report:?}");
    !is_pending
}

pub fn reloads(daemon: &Daemon) -> bool {
    runs(daemon, &user_a(), "site.reload", &[])
}

pub fn accesses(daemon: &Daemon, user: &Identity, name: Option<&str>) -> AccessReport {
    let access = Access {
        argv: None,
        profile: None,
        name: name.map(str::to_owned),
        query: None,
    };
    match Caller::new(daemon, user).ask(Request::Access(access)) {
        Ok(Reply::Access(report)) => report,
        other => panic!("{other:?}"),
    }
}

pub fn file(daemon: &Daemon) -> PathBuf {
    daemon.path().join("state/warden/grants")
}
