//! A refusal reveals nothing about this machine that the caller did not say.

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_tests::caller::{Caller, argv, at_once, named, run, script};
use remit_tests::daemon::{Daemon, Options, user_m};
use remit_wire::{Bytes, Request, Run, What};

fn words(refusal: &Refusal) -> String {
    let Refusal {
        code,
        message,
        object,
        by,
        lift,
        next,
    } = refusal;
    let parts = [object, by, lift, next].map(|part| part.clone().unwrap_or_default());
    format!("{code} {message} {}", parts.join(" "))
}

#[test]
fn errors_without_grant_name_no_path() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_m());
    let daemon_dir = daemon.path().display().to_string();
    let secret = format!("{daemon_dir}/state");
    let at = |path: &str| Run {
        cwd: Some(Bytes::from(path.as_bytes().to_vec())),
        ..argv(&["true"])
    };
    let job = JobId([9; 16]);
    let runs = [
        argv(&["id"]),
        argv(&["/usr/sbin/visudo"]),
        script("id"),
        named("service.status", &[("unit", "ssh")]),
        named("site.reload", &[]),
        at(&secret),
        at("/root/no-such-directory"),
        run(What::Argv(Vec::new())),
    ];
    let mut refused: Vec<Refusal> = Vec::new();
    for request in runs {
        let outcome = caller.run(at_once(request));
        refused.push(outcome.expect_err("user M has no grant"));
    }
    for request in [
        Request::Stop { job, signal: None },
        Request::Job(remit_wire::JobQuery {
            job,
            wait_ms: 0,
            part: None,
        }),
    ] {
        refused.push(caller.ask(request).expect_err("it is not theirs"));
    }
    for refusal in &refused {
        let text = words(refusal);
        for path in [
            daemon_dir.as_str(),
            "/var/lib",
            "/run/",
            "/proc",
            "/root",
            "/home",
            "/sys",
        ] {
            assert!(!text.contains(path), "{path} in: {text}");
        }
    }
    assert_eq!(refused[5].message, refused[6].message);
    // Records say more, because they are for administrators.
    let records = daemon.records("refusal");
    assert!(
        records
            .iter()
            .any(|record| record["REMIT_CWD"] == secret.as_str())
    );
    daemon.stop();
}
