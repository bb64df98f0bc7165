//! A rule can ask for the approval of two or three different people.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_a};
use remit_tests::process::Identity;
use remit_wire::outcome::State;

use super::scene::{
    APPROVERS, POLICY, about, approve_as, asked, deny, does, events, listed, options,
};

fn policy(count: usize) -> String {
    let by = r##"by = ["#64005", "%#64400", "#64001", "#64008"]"##;
    let others = r##"by = ["#64005", "#64006", "#64001", "#64008"]"##;
    POLICY.replace(by, &format!("{others}, count = {count}"))
}

fn started(count: usize) -> Daemon {
    Daemon::start(Options {
        policy: policy(count),
        ..options()
    })
}

/// 64008 may approve by its uid.
fn third_admin() -> Identity {
    Identity::new(64_008, &[SOCKET_GROUP, ADMIN_GROUP, APPROVERS])
}

/// Approves it as one of several. Returns how many people are missing.
fn counted(daemon: &Daemon, user: &Identity, job: JobId) -> Result<u8, Refusal> {
    let digest = listed(daemon, job).digest;
    match daemon.administers(
        user,
        AdminRequest::Approve {
            job,
            digest,
            signature: None,
        },
    )? {
        AdminReply::Counted { missing, .. } => Ok(missing),
        AdminReply::Done(_) => Ok(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_different_people_approve() {
    let daemon = started(2);
    let (mut caller, job, view) = asked(&daemon);
    assert_eq!(view.by, ["2 of (#64005, #64006, #64001, #64008)"]);
    assert_eq!(listed(&daemon, job).missing, 2);
    assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
    let shown = listed(&daemon, job);
    assert_eq!((shown.missing, shown.approved_by.len()), (1, 1));
    assert!(!shown.yours, "they have approved it");
    let again = counted(&daemon, &admin(), job).unwrap_err();
    assert_eq!(again.code, Code::DeniedRule);
    assert!(
        again.message.contains("1 other person is missing"),
        "{again:?}"
    );
    assert_eq!(events(&daemon, job), ["asked", "approved"], "nothing runs");
    let notes = caller.job(job, 0).unwrap().notes;
    let so_far = "approved by #64005; 1 other person has to approve it, too";
    assert_eq!(notes, [so_far], "its requester knows");
    assert!(daemon.pending(&other_admin())[0].yours);
    assert_eq!(counted(&daemon, &other_admin(), job).unwrap(), 0);
    assert_eq!(caller.end_of(job).state, State::Exited);
    let kinds = events(&daemon, job);
    assert_eq!(kinds, ["asked", "approved", "approved", "intent", "end"]);
    let records = about(&daemon, job);
    let numbers: Vec<_> = records.iter().map(|one| &one["REMIT_APPROVALS"]).collect();
    assert_eq!(
        (numbers[1], numbers[2]),
        (&"1 of 2".into(), &"2 of 2".into())
    );
    let said = records[3]["MESSAGE"].as_str().unwrap();
    assert!(said.contains("approved by #64005 and #64006"), "{said}");
    daemon.stop();
}

/// A slot is needed for the job, so for the last approval alone.
#[test]
fn approval_that_starts_nothing_needs_no_slot() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        queue: "queue = 0".to_owned(),
        policy: policy(2),
        ..options()
    });
    let mut holder = Caller::new(&daemon, &user_a());
    let held = holder.run(at_once(argv(&["sleep", "60"]))).unwrap().job;
    let (mut caller, job, _) = asked(&daemon);
    assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
    let full = counted(&daemon, &other_admin(), job).unwrap_err();
    assert_eq!(full.code, Code::Busy, "{full:?}");
    let said = "not approved, as it cannot start now; #64001 would get: ";
    assert!(full.message.starts_with(said), "{full:?}");
    holder.stop(held).unwrap();
    let _ = holder.end_of(held);
    assert_eq!(counted(&daemon, &other_admin(), job).unwrap(), 0);
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn three_people_approve_and_no_fewer() {
    let daemon = started(3);
    let (mut caller, job, _) = asked(&daemon);
    for (user, missing) in [(admin(), 2), (other_admin(), 1), (third_admin(), 0)] {
        assert_eq!(counted(&daemon, &user, job).unwrap(), missing);
    }
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn denial_of_one_ends_what_another_approved() {
    let daemon = started(2);
    let (mut caller, job, _) = asked(&daemon);
    assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
    deny(&daemon, &other_admin(), job, "not today").unwrap();
    assert_eq!(caller.end_of(job).state, State::Denied);
    assert_eq!(events(&daemon, job), ["asked", "approved", "denied"]);
    daemon.stop();
}

#[test]
fn end_of_a_request_names_those_who_approved_it() {
    let daemon = Daemon::start(Options {
        policy: policy(2).replace("10min", "10s"),
        ..options()
    });
    let (mut caller, job, _) = asked(&daemon);
    assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
    let report = caller.end_of(job);
    assert_eq!(report.state, State::Expired);
    let cause = report.ending.expect("it has ended").cause;
    assert_eq!(
        cause,
        "only 1 of 2 people approved it in time (#64005); it never ran"
    );
    let records = about(&daemon, job);
    let said = records[2]["MESSAGE"].as_str().unwrap();
    assert!(said.starts_with("only 1 of 2 people approved"), "{said}");
    daemon.stop();
}

/// Both are administrators at first. `five` is no longer one before the last approval.
#[test]
fn request_is_void_if_an_earlier_approver_lost_the_right() {
    let accounts = |admins: Vec<&'static str>| Accounts {
        users: vec![("five", 64_005), ("six", 64_006)],
        groups: vec![
            ("remit", SOCKET_GROUP, vec!["five", "six"]),
            ("remit-admin", ADMIN_GROUP, admins),
        ],
        directory: Vec::new(),
    };
    for (admins, state) in [
        (vec!["five", "six"], State::Exited),
        (vec!["six"], State::Denied),
    ] {
        let mut daemon = Daemon::start(Options {
            policy: policy(2),
            accounts: Some(accounts(vec!["five", "six"])),
            ..options()
        });
        let (mut caller, job, _) = asked(&daemon);
        assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
        let digest = listed(&daemon, job).digest;
        daemon.set_accounts(accounts(admins));
        let last = approve_as(&daemon, &other_admin(), job, digest);
        match state {
            State::Exited => drop(last.unwrap()),
            _ => {
                let refused = last.unwrap_err();
                assert_eq!(refused.code, Code::ApprovalVoid, "{refused:?}");
                assert!(
                    refused.message.contains("five is no longer in"),
                    "{refused:?}"
                );
            }
        }
        assert_eq!(caller.end_of(job).state, state);
        daemon.stop();
    }
}

#[test]
fn approval_under_another_policy_does_not_count() {
    let daemon = started(2);
    let (mut caller, job, _) = asked(&daemon);
    assert_eq!(counted(&daemon, &admin(), job).unwrap(), 1);
    let one = policy(2).replace(", count = 2", "");
    daemon.set_file("config/policy.d/10-test.toml", &one);
    does(&daemon, AdminRequest::Reload);
    assert_eq!(caller.end_of(job).state, State::Denied);
    // The same request needs one person now.
    let (mut caller, job, _) = asked(&daemon);
    assert!(approve_as(&daemon, &admin(), job, listed(&daemon, job).digest).is_ok());
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn one_of_several_cannot_create_a_temporary_grant() {
    let daemon = started(2);
    let args = ["grant", "--for", "1h", "#64001", "site.switch"];
    let output = daemon.remit(&admin(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        said.contains("requires the approval of several people"),
        "{said}"
    );
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.run(at_once(change("site.switch", &[("to", "blue")])));
    assert_eq!(report.unwrap().state, State::AwaitingApproval);
    daemon.stop();
}
