//! Custom profiles: the user of their jobs, how jobs end, and which base still works if the other fails.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use remit_common::refusal::Code;
use remit_link::{Spec, SpecWhat, ToBroker, ToWarden};
use remit_tests::process::Identity;
use remit_tests::test_dir::{built, missing};
use remit_wire::Purpose;
use remit_wire::outcome::{Enforced, State};

use crate::warden::stage::{ALICE, Broker, Stage, Way, all_of, argv};

/// A user that jobs run as, who also has other processes.
const SOMEBODY: u32 = 64_077;

const POLICY: &str = r##"
[profile.somebody]
base = "strict"
user = "#64077"

[profile.everything]
base = "host"

[[command]]
name = "sleepers.start"
summary = "Leave processes behind in all ways"
argv = ["/usr/bin/sh", "-c", "sleep 50 & setsid sleep 51 & echo up; sleep 52"]
effect = "read"
profile = "somebody"

[[command]]
name = "host.change"
summary = "Say who one is, and leave a process behind"
argv = ["/usr/bin/sh", "-c", "id -u; setsid sleep 60 & exit 0"]
effect = "change"
profile = "everything"

[[grant]]
name = "all"
to = ["#64001"]
allow = ["*"]
effect = "change"
unconfined = true

[[grant]]
name = "narrow"
to = ["#64001"]
allow = ["run"]
profile = "strict"
"##;

fn stage(way: &Way) -> (Stage, Broker) {
    let mut stage = Stage::set(way);
    stage.write("config/policy.d/10-test.toml", POLICY);
    let broker = stage.raise(way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    (stage, broker)
}

fn named(name: &str, purpose: Purpose) -> Spec {
    Spec {
        what: SpecWhat::Named {
            name: name.into(),
            args: Vec::new(),
        },
        purpose,
        ..argv(&[])
    }
}

fn running(broker: &Broker) -> Enforced {
    broker.until(|message, fds| match message {
        ToBroker::Running { enforced, .. } => Ok((**enforced).clone()),
        _ => Err(fds),
    })
}

/// Reads standard output only, because a process may hold standard error.
fn output(mut pipes: Vec<OwnedFd>) -> String {
    String::from_utf8(all_of(pipes.remove(0))).unwrap()
}

fn bystander() -> Child {
    let mut command = Command::new("sleep");
    command.arg("100").stdin(Stdio::null());
    Identity::new(SOMEBODY, &[]).runs(&mut command);
    command.spawn().unwrap()
}

#[test]
fn named_user_job_ends_without_touching_user_processes() {
    let (stage, broker) = stage(&Way::default());
    let mut bystander = bystander();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, named("sleepers.start", Purpose::Use), &[]);
    let (job, pipes) = broker.started(1);
    let enforced = running(&broker);
    assert_eq!(
        (enforced.uid, enforced.profile.as_str()),
        (SOMEBODY, "somebody")
    );
    assert!(
        enforced.layers.iter().any(|layer| layer == "root"),
        "{enforced:?}"
    );
    broker.say(&ToWarden::Stop {
        session,
        ticket: 2,
        job,
        signal: Some(libc::SIGKILL),
    });
    let ending = broker.finish(job);
    assert_eq!(ending.state, State::Cancelled, "{ending:?}");
    assert!(ending.kill_verified, "{ending:?}");
    assert!(["", "up\n"].contains(&output(pipes).as_str()));
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "it was not of the job"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let intent = &stage.records("intent")[0];
    assert_eq!(intent["REMIT_JOB_UID"], SOMEBODY.to_string());
    assert_eq!(intent["REMIT_PROFILE"], "somebody");
    assert_eq!(intent["REMIT_EFFECT"], "read");
    assert_eq!(intent["REMIT_COMMAND"], "sleepers.start");
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn unsandboxed_job_is_reported_and_leaves_nothing() {
    let (stage, broker) = stage(&Way::default());
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let reason = "because\nit must".to_owned();
    let change = named("host.change", Purpose::Change { reason });
    broker.run(session, 1, change, &[]);
    let (job, pipes) = broker.started(1);
    let enforced = running(&broker);
    assert_eq!(
        (enforced.uid, enforced.layers),
        (0, vec!["none (host)".to_owned()])
    );
    assert_eq!(enforced.profile, "everything");
    assert_eq!(enforced.limits[1], "memory not limited");
    let ending = broker.finish(job);
    assert_eq!(
        (ending.exit, ending.kill_verified),
        (Some(0), true),
        "{ending:?}"
    );
    assert_eq!(output(pipes), "0\n");
    for event in ["intent", "end"] {
        let record = &stage.records(event)[0];
        assert_eq!(record["REMIT_EFFECT"], "change", "{record}");
        assert_eq!(record["REMIT_PROFILE"], "everything");
    }
    let intent = &stage.records("intent")[0];
    assert_eq!(intent["REMIT_REASON"], "because\\nit must");
    assert_eq!(intent["REMIT_JOB_UID"], "0");
    let rule = intent["REMIT_RULE"].as_str().unwrap();
    assert!(rule.starts_with("all ("), "{rule}");
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

/// A job ends by its cgroup, so nothing runs without one.
#[test]
fn s12_without_cgroup_runs_are_refused_with_reason() {
    let way = Way {
        shell: Some("mount -t tmpfs tmpfs /sys/fs/cgroup && exec \"$@\"".into()),
        ..Way::default()
    };
    let (stage, broker) = stage(&way);
    assert_eq!(stage.status().cgroup, None);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let reason = "x".to_owned();
    for (ticket, spec) in [
        (1, named("sleepers.start", Purpose::Use)),
        (2, named("host.change", Purpose::Change { reason })),
        (3, argv(&["true"])),
    ] {
        broker.run(session, ticket, spec, &[]);
        let refusal = broker.answer(ticket).unwrap_err();
        assert_eq!(refusal.code, Code::UnsupportedKernel, "{refusal}");
        assert!(
            refusal.message.contains("cannot make cgroups for jobs"),
            "{refusal}"
        );
    }
    assert!(stage.status().refused[0].contains("cannot make cgroups for jobs"));
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn where_one_base_is_refused_the_other_runs() {
    let program = built().parent().unwrap().join("mutate/debug/remitd");
    if !program.exists() {
        return missing("a remitd built with the feature mutate (make mutate)");
    }
    for (layer, fallen, working) in [
        ("NoSuid", "read", "strict"),
        ("strict.NoSuid", "strict", "read"),
    ] {
        let (stage, broker) = stage(&Way {
            program: program.clone(),
            env: vec![
                ("REMIT_MUTATE".into(), layer.into()),
                ("REMIT_MUTATE_PROVE".into(), "start".into()),
            ],
            ..Way::default()
        });
        let status = stage.status();
        assert_eq!(status.refused.len(), 1, "{status:?}");
        assert!(
            status.refused[0].starts_with(&format!("{fallen}: sandbox layer 'nosuid'")),
            "{status:?}"
        );
        let _alice = stage.connect(ALICE);
        let session = broker.session();
        let within = |profile: &str| Spec {
            profile: Some(profile.into()),
            ..argv(&["true"])
        };
        broker.run(session, 1, within(fallen), &[]);
        let refusal = broker.answer(1).unwrap_err();
        assert_eq!(refusal.code, Code::UnsupportedKernel, "{refusal}");
        assert!(
            refusal.message.contains(&format!("'{fallen}'")),
            "{refusal}"
        );
        broker.run(session, 2, within(working), &[]);
        let (job, _pipes) = broker.started(2);
        assert_eq!(running(&broker).profile, working);
        assert_eq!(broker.finish(job).exit, Some(0));
        broker.say(&ToWarden::Closed { session });
        stage.signal(Signal::SIGHUP);
        stage.alive();
        stage.stop();
    }
}
