//! Kills the daemon at each step of a request. Nothing runs twice, and no request waits afterwards.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client;
use remit_common::outcome::State;
use remit_common::wire::{JobQuery, Reply, Request};
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::ends_within;

use super::scene::{approve_as, code, events, options, pending, status, until};

fn started(fault: &str) -> Option<Daemon> {
    let mutated = Options::mutated("REMIT_FAULT", fault)?;
    Some(Daemon::start(Options {
        binaries: mutated.binaries,
        env: mutated.env,
        ..options()
    }))
}

#[test]
fn daemon_killed_at_any_step_never_runs_request() {
    for (point, kinds) in [
        ("after-ask", &["asked", "interrupted"][..]),
        ("after-approval", &["asked", "approved", "interrupted"]),
        ("before-begin", &["asked", "approved", "interrupted"]),
        (
            "after-record",
            &["asked", "approved", "intent", "interrupted"],
        ),
        (
            "before-end",
            &["asked", "approved", "intent", "interrupted"],
        ),
    ] {
        let Some(mut daemon) = started(&format!("warden@{point}")) else {
            return;
        };
        let mut caller = Caller::new(&daemon, &user_a());
        let run = at_once(change("site.switch", &[("to", "blue")]));
        // It may die before it answers.
        let _ = caller.0.call(Request::Run(run), |_| {});
        let digest = match ends_within(daemon.pid(), 0) {
            true => None,
            false => {
                let socket = daemon.runtime().admin_socket();
                let ask = move || {
                    admin().adopt().expect("the tests run as root");
                    let seen = None;
                    let Ok(AdminReply::Pending { requests, .. }) =
                        client::admin(&socket, AdminRequest::Pending { seen })
                    else {
                        return None;
                    };
                    let (job, digest) = requests.first().map(|view| (view.job, view.digest))?;
                    let _ = client::admin(&socket, AdminRequest::Approve { job, digest });
                    Some((job, digest))
                };
                std::thread::spawn(ask).join().expect("no panic")
            }
        };
        assert!(ends_within(daemon.pid(), 20_000), "{point}: it lives");
        daemon.forget_faults();
        daemon.restart_insistently();
        assert_eq!(
            (status(&daemon).pending, pending(&daemon, &admin()).len()),
            (0, 0)
        );
        if let Some((job, digest)) = digest {
            let again = approve_as(&daemon, &admin(), job, digest);
            assert!(again.is_err(), "{point}: {again:?}");
            assert_eq!(events(&daemon, job), kinds, "{point}");
            let report = Caller::new(&daemon, &user_a()).end_of(job);
            if !kinds.contains(&"intent") {
                assert_eq!(code(&report), "approval_void", "{point}: {report:?}");
            }
        }
        assert_eq!(daemon.records("end").len(), 0, "{point}");
        daemon.stop();
    }
}

#[test]
fn broker_killed_at_any_step_loses_no_request() {
    for point in [
        "after-ask",
        "after-approval",
        "before-begin",
        "after-fork",
        "after-end",
    ] {
        let Some(daemon) = started(&format!("broker@{point}")) else {
            return;
        };
        let mut caller = Caller::new(&daemon, &user_a());
        let run = at_once(change("site.switch", &[("to", "blue")]));
        let _ = caller.0.call(Request::Run(run), |_| {});
        until("nobody is asked", || status(&daemon).pending == 1);
        let view = pending(&daemon, &admin()).remove(0);
        approve_as(&daemon, &admin(), view.job, view.digest).expect("the approver can");
        // The daemon dies at this point, so one connection may be lost.
        until("it does not end", || {
            let Ok(mut client) = daemon.client(&user_a()) else {
                return false;
            };
            let (job, wait_ms, part) = (view.job, 100, None);
            let query = Request::Job(JobQuery { job, wait_ms, part });
            match client.call(query, |_| {}) {
                Ok(Reply::Job { report, .. }) => report.state == State::Exited,
                _ => false,
            }
        });
        let kinds = events(&daemon, view.job);
        let kinds: Vec<_> = kinds.iter().filter(|kind| *kind != "refusal").collect();
        assert_eq!(kinds, ["asked", "approved", "intent", "end"], "{point}");
        daemon.stop();
    }
}
