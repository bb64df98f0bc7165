//! A rule can ask for a signature of each approval: by a key, by a security key that was touched, or that verified its
//! user. Each cell of the table is tried with plain keys of ssh-keygen and with a security key in software.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{NAMESPACE, body};
use remit_tests::accounts::Accounts;
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin};
use remit_tests::process::Identity;
use remit_tests::security_key::SecurityKey;
use remit_wire::outcome::State;

use super::scene::{POLICY, about, asked, events, listed, options};

fn policy(more: &str) -> String {
    let by = r##"by = ["#64005", "%#64400", "#64001", "#64008"]"##;
    let others = r##"by = ["#64005", "#64006", "#64001"]"##;
    POLICY.replace(by, &format!("{others}, {more}"))
}

fn accounts() -> Accounts {
    Accounts {
        users: vec![("ann", 64_005), ("bob", 64_006), ("robot", 64_001)],
        groups: vec![
            ("remit", SOCKET_GROUP, vec!["ann", "bob", "robot"]),
            ("remit-admin", ADMIN_GROUP, vec!["ann", "bob"]),
        ],
        directory: Vec::new(),
    }
}

fn started(more: &str, approvers: &str) -> Daemon {
    let daemon = Daemon::start(Options {
        policy: policy(more),
        accounts: Some(accounts()),
        ..options()
    });
    daemon.set_file("config/approvers", approvers);
    daemon
}

fn approve(
    daemon: &Daemon,
    user: &Identity,
    job: JobId,
    signature: Option<String>,
) -> Result<AdminReply, Refusal> {
    let digest = listed(daemon, job).digest;
    let request = AdminRequest::Approve {
        job,
        digest,
        signature,
    };
    daemon.administers(user, request)
}

#[test]
fn touched_key_approves_and_stands_in_the_record() {
    let key = SecurityKey::new(1);
    let daemon = started("signed = \"touch\"", &key.line("ann"));
    let (mut caller, job, _) = asked(&daemon);
    let unsigned = approve(&daemon, &admin(), job, None).unwrap_err();
    assert_eq!(unsigned.code, Code::NeedsApproval, "{unsigned:?}");
    let text = daemon.verified(job).statement();
    let untouched = key.sign(NAMESPACE, &text, 0, 7);
    let refused = approve(&daemon, &admin(), job, Some(untouched)).unwrap_err();
    assert!(refused.message.contains("nobody touched"), "{refused:?}");
    assert_eq!(events(&daemon, job), ["asked"]);
    let touched = key.sign(NAMESPACE, &text, 1, 8);
    approve(&daemon, &admin(), job, Some(touched.clone())).unwrap();
    assert_eq!(caller.end_of(job).state, State::Exited);
    assert_eq!(events(&daemon, job), ["asked", "approved", "intent", "end"]);
    let record = &about(&daemon, job)[1];
    assert_eq!(record["REMIT_SIGNATURE"], body(&touched));
    assert_eq!(record["REMIT_SIGNED_FLAGS"], "1");
    assert_eq!(record["REMIT_SIGNED_COUNTER"], "8");
    let message = record["MESSAGE"].as_str().unwrap();
    assert!(message.contains("signed by SHA256:"), "{message}");
    daemon.stop();
}
