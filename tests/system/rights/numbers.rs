//! Uids without an account, because subordinate uids give one user thousands of uids.

use remit_common::client::ClientError;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;

use super::scene::{AGENTS, ANN, BOT, OPS, options};

const POLICY: &str = "[[grant]]\nto = [\"%agents\", \"#64601\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                      [[deny]]\nto = [\"bot\"]\ndeny = [\"run\"]\n";

/// State after newuidmap(1) and setresuid(2): the uid changes, the groups stay.
#[test]
fn a01_a_uid_without_an_account_is_refused() {
    let daemon = Daemon::start(Options {
        policy: POLICY.to_owned(),
        ..options()
    });
    let groups = [SOCKET_GROUP, AGENTS];
    let refusal = Caller::new(&daemon, &Identity::new(BOT, &groups)).run(argv(&["true"]));
    assert!(refusal.is_err(), "a rule denies it to bot");
    for uid in [200_000, 200_001, 2_000_000_000] {
        let mut user = Identity::new(uid, &groups);
        // The primary group stays as well.
        user.gid = BOT;
        match daemon.client(&user) {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
                assert!(refusal.message.contains("has no account"), "{refusal:?}");
            }
            other => panic!("{uid}: {other:?}"),
        }
        let record = daemon.records("refusal").pop().expect("it is recorded");
        assert_eq!(record["REMIT_USER"], format!("#{uid}"), "{record}");
    }
    let mut user = Identity::new(200_002, &[SOCKET_GROUP, ADMIN_GROUP, OPS]);
    user.gid = ANN;
    let refusal = daemon.administers(&user, remit_common::admin::AdminRequest::Status);
    let refusal = refusal.expect_err("it has no account");
    assert!(refusal.message.contains("has no account"), "{refusal:?}");
    let named = Identity::new(64_601, &[SOCKET_GROUP]);
    let report = Caller::new(&daemon, &named).run(argv(&["true"]));
    assert!(report.is_ok(), "{report:?}");
    daemon.stop();
}
