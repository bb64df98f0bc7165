//! A hostile broker.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, Spec, SpecWhat, ToBroker, ToWarden, Totals};
use remit_wire::outcome::State;
use remit_wire::{Access, Bytes};
use serde_json::Value;

use remit_tests::process::{Process, children, descendants, ends_within, seen};
use remit_tests::test_dir::missing;

use crate::warden::stage::{ALICE, BOB, SOON, Stage, Way, all_of, argv, readable, script, sealed};

#[test]
fn job_of_correct_broker_leaves_nothing() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["echo", "hello"]), &[]);
    let (job, mut pipes) = broker.started(1);
    assert_eq!(all_of(pipes.remove(0)), b"hello\n");
    let ending = broker.finish(job);
    assert_eq!((ending.state, ending.exit), (State::Exited, Some(0)));
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.sleeps();
    stage.records_are_whole();
    stage.stop();
}

/// A broker notices the end of the pipes itself, and then receives layers and end in one message.
#[test]
fn drained_job_end_has_enforced_layers() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["true"]), &[]);
    let (job, pipes) = broker.started(1);
    assert!(pipes.into_iter().all(|pipe| all_of(pipe).is_empty()));
    broker.drained(job);
    let enforced = broker.until(|message, fds| match message {
        ToBroker::Ended { enforced, .. } => Ok(enforced.clone()),
        _ => Err(fds),
    });
    let enforced = enforced.expect("it was executed");
    assert_eq!(enforced.profile, "read");
    assert!(enforced.layers.contains(&"seccomp".to_owned()));
    broker.run(session, 2, argv(&["no-such-program"]), &[]);
    let (job, _pipes) = broker.started(2);
    broker.drained(job);
    let ended = broker.until(|message, fds| match message {
        ToBroker::Ended {
            enforced, ending, ..
        } => Ok((enforced.clone(), ending.state)),
        _ => Err(fds),
    });
    assert_eq!(ended, (None, State::NotStarted));
    stage.stop();
}

/// A broker that reports the end of the output at any time, and again and again, changes nothing about a job's end.
#[test]
fn early_and_repeated_drained_changes_no_end() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let before = stage.records("end").len();
    let (many, mut ticket) = (40, 0);
    let mut run = |spec| {
        ticket += 1;
        broker.run(session, ticket, spec, &[]);
        let (job, _pipes) = broker.started(ticket);
        loop {
            broker.drained(job);
            while readable(broker.link.as_fd(), 0) {
                if let Some((
                    ToBroker::Ended {
                        enforced, ending, ..
                    },
                    _,
                )) = broker.hear_one()
                {
                    return (ending.state, ending.exit, enforced.is_some());
                }
            }
        }
    };
    for _ in 0..many {
        let ended = run(argv(&["no-such-program"]));
        assert_eq!(ended, (State::NotStarted, Some(127), false));
    }
    let later = "exec >&- 2>&-; sleep 0.3; exit 3";
    assert_eq!(
        run(argv(&["sh", "-c", later])),
        (State::Exited, Some(3), true)
    );
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.sleeps();
    assert_eq!(stage.records("end").len(), before + many + 1);
    stage.stop();
}

/// The end of the first process is seen without a word of the broker, and others that hold its output are ended.
#[test]
fn end_is_seen_without_the_broker() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sh", "-c", "sleep 600 & exit 3"]), &[]);
    let (job, pipes) = broker.started(1);
    for pipe in pipes {
        assert!(all_of(pipe).is_empty(), "the other process was ended");
    }
    let ending = broker.finish(job);
    assert_eq!((ending.state, ending.exit), (State::Exited, Some(3)));
    stage.stop();
}

/// All jobs are ended when the watchdog dies. One that has ended by itself, which nobody has said yet, was not.
#[test]
fn job_that_has_ended_is_not_recorded_as_ended_by_the_daemon() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let mut below = children(stage.pid()).into_iter();
    let watchdog = Pid::from_raw(below.find(Process::is_watchdog).unwrap().pid);
    broker.run(session, 1, argv(&["sleep", "2"]), &[]);
    let (job, _pipes) = broker.started(1);
    let sleeper = seen("the job's process", || {
        let mut below = descendants(stage.pid()).into_iter();
        below.find(|process| process.name == "sleep")
    });
    stage.signal(Signal::SIGSTOP);
    assert!(ends_within(sleeper.pid, SOON), "it ends by itself");
    kill(watchdog, Signal::SIGKILL).unwrap();
    stage.signal(Signal::SIGCONT);
    let ending = broker.finish(job);
    assert_eq!((ending.state, ending.exit), (State::Exited, Some(0)));
    stage.stop();
}

#[test]
fn unknown_session_is_refused() {
    let (stage, broker) = Stage::start();
    let _bob = stage.connect(BOB);
    let bobs = broker.session();
    for session in [0, bobs + 1, u64::MAX] {
        broker.run(session, 1, argv(&["true"]), &[]);
        assert_eq!(broker.answer(1).unwrap_err().code, Code::DaemonUnavailable);
        let access = Access {
            argv: None,
            profile: None,
            name: None,
            query: None,
        };
        broker.say(&ToWarden::Access {
            session,
            ticket: 2,
            access,
        });
        assert!(broker.answer(2).is_err());
        broker.say(&ToWarden::Stop {
            session,
            ticket: 3,
            job: JobId([7; 16]),
            signal: None,
        });
        assert!(broker.answer(3).is_err());
        broker.say(&ToWarden::Closed { session });
    }
    assert!(stage.records("intent").is_empty());
    assert_eq!(stage.status().sessions, 1);
    stage.stop();
}

#[test]
fn the_job_of_another_user_looks_like_none() {
    let (stage, broker) = Stage::start();
    let (_alice, _bob);
    _alice = stage.connect(ALICE);
    let alices = broker.session();
    _bob = stage.connect(BOB);
    let bobs = broker.session();
    broker.run(alices, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    let stop = |session, job| {
        broker.say(&ToWarden::Stop {
            session,
            ticket: 9,
            job,
            signal: Some(9),
        });
        broker.answer(9)
    };
    let foreign = stop(bobs, job).unwrap_err();
    assert_eq!(foreign, stop(bobs, JobId([1; 16])).unwrap_err());
    assert_eq!(stage.status().jobs, 1);
    for signal in [0, -1, 65, 4711, i32::MIN] {
        broker.say(&ToWarden::Stop {
            session: alices,
            ticket: 10,
            job,
            signal: Some(signal),
        });
        assert_eq!(broker.answer(10).unwrap_err().code, Code::InvalidArgs);
    }
    assert_eq!(stop(alices, job), Ok(Answer::Stopping(job)));
    assert_eq!(broker.finish(job).state, State::Cancelled);
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn ticket_is_echoed_without_meaning() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let jobs: Vec<_> = [0, u64::MAX, u64::MAX]
        .into_iter()
        .map(|ticket| {
            broker.run(session, ticket, argv(&["true"]), &[]);
            broker.started(ticket).0
        })
        .collect();
    for job in &jobs {
        broker.drained(*job);
    }
    let mut left = jobs;
    broker.say(&ToWarden::Closed { session });
    while !left.is_empty() {
        let ended = broker.until(|message, fds| match message {
            ToBroker::Ended { job, .. } => Ok(*job),
            _ => Err(fds),
        });
        left.retain(|job| *job != ended);
    }
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn a_request_id_is_one_job_over_brokers() {
    let (stage, broker) = Stage::start();
    let alice = stage.connect(ALICE);
    let session = broker.session();
    let once = || Spec {
        request_id: Some("once".into()),
        ..argv(&["true"])
    };
    broker.run(session, 1, once(), &[]);
    let (job, _) = broker.started(1);
    drop(alice);
    broker.die();
    let (broker, _) = stage.next_broker();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, once(), &[]);
    assert_eq!(broker.answer(1), Ok(Answer::Known(job)));
    let other = Spec {
        request_id: Some("once".into()),
        ..argv(&["false"])
    };
    broker.run(session, 2, other, &[]);
    assert_eq!(broker.answer(2).unwrap_err().code, Code::ConflictRequestId);
    assert_eq!(stage.records("intent").len(), 1);
    stage.stop();
}

fn named(name: &str, args: &[(&str, &str)]) -> Spec {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Spec {
        what: SpecWhat::Named {
            name: name.into(),
            args: args.iter().map(owned).collect(),
        },
        ..argv(&[])
    }
}

#[test]
fn named_command_is_reparsed_from_spec() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let bytes = |text: &str| Bytes::from(text.as_bytes().to_vec());
    let specs = [
        named("service.stop", &[]),
        named("service.status", &[("unit", "-x")]),
        named("logs", &[("grep", "x"), ("grep", "y")]),
        Spec {
            cwd: Some(bytes("/etc")),
            ..named("service.failed", &[])
        },
        Spec {
            env: vec![(bytes("TZ"), bytes("UTC"))],
            ..named("service.failed", &[])
        },
        Spec {
            stdin: true,
            ..named("service.failed", &[])
        },
    ];
    for (ticket, spec) in (1..).zip(specs) {
        broker.run(session, ticket, spec, &[]);
        assert!(broker.answer(ticket).is_err(), "{ticket}");
    }
    assert!(stage.records("intent").is_empty());
    let once = || Spec {
        stdin: true,
        request_id: Some("once".into()),
        ..named("service.failed", &[])
    };
    let (first, second) = (sealed(b"{}"), sealed(b"[]"));
    broker.run(session, 20, once(), &[first.as_fd()]);
    let (job, _) = broker.started(20);
    broker.run(session, 21, once(), &[second.as_fd()]);
    assert_eq!(broker.answer(21), Ok(Answer::Known(job)));
    let other = Spec {
        request_id: Some("once".into()),
        ..named("logs", &[])
    };
    broker.run(session, 22, other, &[]);
    assert_eq!(broker.answer(22).unwrap_err().code, Code::ConflictRequestId);
    // Its input is invalid, and it reports that.
    assert_eq!(broker.finish(job).exit, Some(1));
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn non_reading_broker_is_ended_with_limited_memory() {
    let (stage, broker) = Stage::start();
    let before = resident(&stage);
    for _ in 0..100_000 {
        let message = ToWarden::Access {
            session: 1,
            ticket: 1,
            access: Access {
                argv: Some(vec![Bytes::from(vec![b'x'; 30_000])]),
                profile: Some("y".repeat(20_000)),
                name: None,
                query: None,
            },
        };
        if broker.say_with(&message, &[]).is_err() {
            break;
        }
    }
    broker.is_killed();
    let (_broker, _) = stage.next_broker();
    let grown = resident(&stage).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    stage.idle();
    stage.stop();
}

fn resident(stage: &Stage) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[test]
fn invalid_message_ends_only_broker() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    let mut broker = broker;
    let long = vec![0xff; 60_000];
    let huge_count = [&[0, 1, 1, 1, 0][..], &[0xff; 9], &[1]].concat();
    for bytes in [
        &b""[..],
        b"\x00",
        b"\x03",
        b"\x00\x00\x00",
        b"\x00\xff\xff\xff\xff\xff",
        &huge_count,
        &long,
    ] {
        broker.raw(bytes);
        broker.is_killed();
        let (next, handed_over) = stage.next_broker();
        let adopted = |(message, fds): &(ToBroker, Vec<_>)| {
            matches!(message, ToBroker::Job { ticket: None, meta, .. } if meta.job == job)
                && fds.len() == 2
        };
        assert!(
            handed_over.iter().any(adopted),
            "{bytes:?}: {handed_over:?}"
        );
        broker = next;
    }
    // More contents than any message has, and a message that never ends.
    let part = [&[1][..], &vec![0; caps::LINK_MESSAGE - 1]].concat();
    for raw in [vec![&b"\x02"[..]; 3], vec![&part[..]; 200]] {
        for bytes in raw {
            if !broker.raw_goes_out(bytes) {
                break;
            }
        }
        broker.is_killed();
        broker = stage.next_broker().0;
    }
    stage.alive();
    kill_job(&stage, &broker, job);
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

fn kill_job(stage: &Stage, broker: &crate::warden::stage::Broker, job: JobId) {
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.say(&ToWarden::Stop {
        session,
        ticket: 77,
        job,
        signal: Some(9),
    });
    broker.finish(job);
    broker.say(&ToWarden::Closed { session });
}

#[test]
fn missing_or_oversized_script_is_refused() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let over = sealed(&vec![b'#'; caps::SCRIPT + 1]);
    let with_stdin = Spec {
        stdin: true,
        ..argv(&["cat"])
    };
    for (at, files) in [vec![], vec![over.as_fd()]].into_iter().enumerate() {
        for (ticket, spec) in [(1, script()), (2, with_stdin.clone())] {
            broker.run(session, ticket, spec, &files);
            let refusal = broker.answer(ticket).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidArgs, "{at}: {refusal}");
        }
    }
    let mut text = b"exit 3\n".to_vec();
    text.resize(caps::SCRIPT, b'\n');
    let good = sealed(&text);
    broker.run(session, 3, script(), &[good.as_fd()]);
    let (job, _) = broker.started(3);
    assert_eq!(broker.finish(job).exit, Some(3));
    assert_eq!(stage.records("intent").len(), 1);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn forged_numbers_do_not_end_the_warden() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let totals = Totals {
        stdout_bytes: u64::MAX,
        stderr_bytes: u64::MAX,
        sha256: [0xff; 32],
        is_unread: true,
    };
    broker.run(session, 1, argv(&["sleep", "1"]), &[]);
    let (job, _pipes) = broker.started(1);
    broker.say(&ToWarden::Drained { job, totals });
    broker.say(&ToWarden::Drained {
        job: JobId([3; 16]),
        totals,
    });
    assert_eq!(broker.end(job).state, State::Exited);
    stage.alive();
    stage.records_are_whole();
    stage.stop();
}

/// What a broker says of its clients can pause them, and the record says whose word it is.
#[test]
fn broker_pauses_no_user_of_an_ended_session() {
    let way = Way::default();
    let mut stage = Stage::set(&way);
    let config = std::fs::read_to_string(stage.test_dir.path().join("config/remit.toml")).unwrap();
    stage.write(
        "config/remit.toml",
        &config.replace("pause_refusals = 0", "pause_refusals = 3"),
    );
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    let refuses = |session| {
        for _ in 0..5 {
            let refusal = Refusal::new(Code::InvalidArgs, "so it says");
            broker.say(&ToWarden::Refused { session, refusal });
        }
        broker.handled(session);
    };
    let alice = stage.connect(ALICE);
    let left = broker.session();
    drop(alice);
    broker.say(&ToWarden::Closed { session: left });
    refuses(left);
    assert!(stage.records("paused").is_empty());
    let _alice = stage.connect(ALICE);
    let (code, count) = (Code::InvalidArgs, 2);
    let session = broker.session();
    broker.say(&ToWarden::MoreRefused {
        session,
        code,
        count,
    });
    broker.handled(session);
    assert!(stage.records("paused").is_empty());
    broker.say(&ToWarden::MoreRefused {
        session,
        code,
        count,
    });
    broker.handled(session);
    let [record] = &stage.records("paused")[..] else {
        panic!("she is paused once");
    };
    assert_eq!(record["REMIT_SOURCE"], "broker");
    stage.stop();
}

#[test]
fn exited_job_keeps_its_ending() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sh", "-c", "exit 7"]), &[]);
    let (job, _pipes) = broker.started(1);
    broker.exited(job);
    broker.say(&ToWarden::Stop {
        session,
        ticket: 2,
        job,
        signal: None,
    });
    assert_eq!(broker.answer(2), Ok(Answer::Stopping(job)));
    broker.drained(job);
    let ending = broker.end(job);
    assert_eq!((ending.state, ending.exit), (State::Exited, Some(7)));
    broker.run(session, 3, argv(&["true"]), &[]);
    let (job, _pipes) = broker.started(3);
    broker.exited(job);
    stage.signal(Signal::SIGTERM);
    stage.alive();
    broker.drained(job);
    assert_eq!(broker.end(job).state, State::Exited);
    let mut stage = stage;
    assert_eq!(stage.ended(), Some(0));
    stage.records_are_whole();
}

#[test]
fn over_limit_ends_that_job_and_no_other() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (one, _p) = broker.started(1);
    broker.run(session, 2, argv(&["sleep", "50"]), &[]);
    let (other, _q) = broker.started(2);
    broker.say(&ToWarden::OverLimit {
        job: JobId([1; 16]),
    });
    broker.say(&ToWarden::OverLimit { job: one });
    assert_eq!(broker.finish(one).state, State::OutputLimit);
    assert_eq!(stage.status().jobs, 1);
    kill_job(&stage, &broker, other);
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn ready_may_be_said_late() {
    let mut stage = Stage::set(&Way::default());
    let broker = stage.raise(&Way::default());
    broker.adopted();
    stage.alive();
    // The broker is not ready: clients wait in the backlog, and the warden sleeps.
    let waiting: Vec<_> = (0..40).map(|_| stage.connect(ALICE)).collect();
    stage.sleeps();
    broker.say(&ToWarden::Ready);
    let _ = broker.session();
    stage.alive();
    drop(waiting);
    stage.stop();
}

#[test]
fn a_broker_that_never_gets_ready_is_replaced() {
    let mut stage = Stage::set(&Way::default());
    let broker = stage.raise(&Way::default());
    broker.adopted();
    broker.is_killed();
    let (broker, _) = stage.next_broker();
    let _alice = stage.connect(ALICE);
    let _ = broker.session();
    stage.stop();
}

#[test]
fn undrained_job_is_recorded_without_counts() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["true"]), &[]);
    let (job, _pipes) = broker.started(1);
    assert_eq!(broker.end(job).state, State::Exited);
    let end = stage.records("end").remove(0);
    assert_eq!(end["REMIT_OUTPUT_BYTES"], Value::Null);
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn broker_with_closed_link_is_replaced() {
    let (stage, broker) = Stage::start();
    let (pid, fd) = (broker.pid, broker.link);
    // The process keeps its control connection, so it lives on.
    nix::sys::socket::shutdown(
        std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()),
        nix::sys::socket::Shutdown::Both,
    )
    .unwrap();
    assert!(ends_within(pid, SOON), "it lives on");
    drop(fd);
    let (_broker, _) = stage.next_broker();
    stage.sleeps();
    stage.idle();
    stage.stop();
}

#[test]
fn broker_death_at_any_message_loses_no_job() {
    let (stage, mut broker) = Stage::start();
    let mut seen = 0;
    for stop_at in [
        "ready", "session", "run", "job", "running", "exited", "drained",
    ] {
        let _alice = stage.connect(ALICE);
        let session = match stop_at {
            "ready" => 0,
            _ => broker.session(),
        };
        if !["ready", "session"].contains(&stop_at) {
            let sleep = if ["job", "running"].contains(&stop_at) {
                "1"
            } else {
                "0"
            };
            broker.run(session, 1, argv(&["sleep", sleep]), &[]);
        }
        if !["ready", "session", "run"].contains(&stop_at) {
            let (job, _pipes) = broker.started(1);
            if stop_at != "job" {
                broker.until(|message, fds| match message {
                    ToBroker::Running { .. } => Ok(()),
                    _ => Err(fds),
                });
            }
            if ["exited", "drained"].contains(&stop_at) {
                broker.exited(job);
            }
            if stop_at == "drained" {
                broker.drained(job);
            }
        }
        broker.die();
        let (next, handed_over) = stage.next_broker();
        broker = next;
        // Every recorded job is handed over, and ends.
        let intents = stage.records("intent");
        for record in intents.iter().skip(seen) {
            let id: JobId = record["REMIT_JOB"].as_str().unwrap().parse().unwrap();
            let meta = handed_over.iter().find_map(|(message, _)| match message {
                ToBroker::Job { meta, .. } if meta.job == id => Some(meta),
                _ => None,
            });
            let meta = meta.unwrap_or_else(|| panic!("{stop_at}: lost: {handed_over:?}"));
            if meta.ending.is_none() {
                broker.drained(id);
                assert_eq!(broker.end(id).exit, Some(0), "{stop_at}");
            }
        }
        seen = intents.len();
        stage.alive();
    }
    assert!(seen >= 4, "{seen} jobs ran");
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn invalid_specs_are_refused_individually() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let bytes = |n: usize| Bytes::from(vec![b'a'; n]);
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = argv(&["true"]);
        change(&mut spec);
        spec
    };
    let specs = [
        with(&|s| s.what = SpecWhat::Argv(vec![])),
        with(&|s| s.what = SpecWhat::Argv(vec![bytes(0)])),
        with(&|s| s.what = SpecWhat::Argv(vec![bytes(caps::ARGV_ELEMENT)])),
        with(&|s| s.what = SpecWhat::Argv(vec![bytes(0); 1_000_000])),
        with(&|s| s.what = SpecWhat::Argv(vec![Bytes::from(b"a\0b".to_vec())])),
        with(&|s| s.env = vec![(bytes(1), bytes(1)); 500_000]),
        with(&|s| s.env = vec![(Bytes::from(b"LD_PRELOAD".to_vec()), bytes(1))]),
        with(&|s| s.cwd = Some(bytes(1))),
        with(&|s| s.cwd = Some(Bytes::from(vec![b'/'; 5000]))),
        with(&|s| s.profile = Some("host".into())),
        with(&|s| s.profile = Some("x".repeat(3 << 20))),
        with(&|s| s.max_runtime_s = Some(0)),
        with(&|s| s.max_runtime_s = Some(u32::MAX)),
        with(&|s| s.request_id = Some(String::new())),
        with(&|s| s.request_id = Some("r".repeat(caps::REQUEST_ID + 1))),
    ];
    for (ticket, spec) in (1..).zip(specs) {
        broker.run(session, ticket, spec, &[]);
        assert!(broker.answer(ticket).is_err(), "{ticket}");
        stage.alive();
    }
    assert!(stage.records("intent").is_empty());
    let name = Spec {
        client: "c\n\u{1b}".repeat(1000),
        request_id: Some("r".repeat(caps::REQUEST_ID)),
        ..argv(&["true"])
    };
    broker.run(session, 99, name, &[]);
    let (job, _) = broker.started(99);
    broker.finish(job);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn script_flood_does_not_delay_administrator() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let text = sealed(&vec![b'\n'; caps::SCRIPT]);
    let why = String::new();
    let locked = stage.ask(AdminRequest::Lock { why, kill: false });
    assert!(matches!(locked, AdminReply::Done(_)), "{locked:?}");
    let spec = Spec {
        stdin: true,
        ..script()
    };
    std::thread::scope(|scope| {
        let alive = scope.spawn(|| stage.alive());
        for ticket in 0..60 {
            broker.run(session, ticket, spec.clone(), &[text.as_fd(), text.as_fd()]);
        }
        alive.join().unwrap();
    });
    for ticket in 0..60 {
        assert_eq!(broker.answer(ticket).unwrap_err().code, Code::Locked);
    }
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.stop();
}

#[test]
fn watchdog_death_records_jobs_and_next_run() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let jobs: Vec<_> = (1..=3)
        .map(|ticket| {
            broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
            let (job, _) = broker.started(ticket);
            broker.until(|message, fds| match message {
                ToBroker::Running { .. } => Ok(()),
                _ => Err(fds),
            });
            job
        })
        .collect();
    let below = descendants(stage.pid());
    let watchdog = below.iter().find(|p| p.is_watchdog()).unwrap().pid;
    kill(Pid::from_raw(watchdog), Signal::SIGKILL).unwrap();
    for job in &jobs {
        broker.drained(*job);
    }
    let mut left = jobs.clone();
    while !left.is_empty() {
        let (job, ending) = broker.until(|message, fds| match message {
            ToBroker::Ended { job, ending, .. } => Ok((*job, (**ending).clone())),
            _ => Err(fds),
        });
        assert!(
            matches!(ending.state, State::Interrupted | State::Signalled),
            "{ending:?}"
        );
        left.retain(|other| *other != job);
    }
    assert!(ends_within(watchdog, SOON));
    stage.alive();
    // The self-test runs by itself; the reply comes when it is done.
    let tried = stage.ask(AdminRequest::Doctor);
    assert!(matches!(tried, AdminReply::Doctor(_)), "{tried:?}");
    broker.run(session, 9, argv(&["true"]), &[]);
    let (job, _) = broker.started(9);
    assert_eq!(broker.finish(job).exit, Some(0));
    let layers = stage.records("walls");
    assert_eq!(layers[0]["REMIT_VERDICT"], "untried");
    assert_eq!(layers[1]["REMIT_VERDICT"], "held");
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    let dead: Vec<_> = descendants(stage.pid())
        .into_iter()
        .filter(|p| p.state == 'Z')
        .collect();
    assert!(dead.is_empty(), "{dead:?}");
    stage.records_are_whole();
    stage.stop();
}

pub struct Frozen {
    group: PathBuf,
    pid: i32,
}

impl Frozen {
    pub fn hold(hierarchy: String, pid: i32) -> Self {
        let group = PathBuf::from(hierarchy).join(format!("remit-test-{pid}"));
        std::fs::create_dir(&group).unwrap();
        std::fs::write(group.join("tasks"), pid.to_string()).unwrap();
        std::fs::write(group.join("freezer.state"), "FROZEN").unwrap();
        Self { group, pid }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = std::fs::write(self.group.join("freezer.state"), "THAWED");
        let _ = ends_within(self.pid, SOON);
        let _ = std::fs::remove_dir(&self.group);
    }
}

#[test]
fn unkillable_job_is_recorded_and_keeps_slot() {
    let mut way = Way {
        jobs: "max = 1\nmax_per_user = 1\nqueue = 1\n".into(),
        ..Way::default()
    };
    let mut stage = Stage::set(&way);
    let dir = stage.test_dir.directory("freezer");
    // A frozen process does not even react to SIGKILL.
    let shell = format!(
        "mount -t cgroup -o freezer none {} && exec \"$@\"",
        dir.display()
    );
    let probe = ["-m", "sh", "-c", &shell, "sh", "true"];
    if !Command::new("unshare")
        .args(probe)
        .status()
        .unwrap()
        .success()
    {
        return missing("the freezer of cgroup v1");
    }
    way.shell = Some(shell);
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    broker.until(|message, fds| match message {
        ToBroker::Running { .. } => Ok(()),
        _ => Err(fds),
    });
    let below = descendants(stage.pid());
    let sleep = below.iter().find(|p| p.name == "sleep").unwrap().pid;
    let frozen = Frozen::hold(
        format!("/proc/{}/root{}", stage.pid(), dir.display()),
        sleep,
    );
    broker.say(&ToWarden::Stop {
        session,
        ticket: 2,
        job,
        signal: Some(9),
    });
    broker.exited(job);
    broker.drained(job);
    let ending = broker.end(job);
    assert_eq!(
        (ending.state, ending.kill_verified),
        (State::Cancelled, false)
    );
    assert!(ending.cause.contains("stuck in the kernel"), "{ending:?}");
    stage.alive();
    assert_eq!(stage.status().stuck, 1);
    broker.run(session, 3, argv(&["true"]), &[]);
    let waiting = broker.until(|message, fds| match message {
        ToBroker::Job {
            ticket: Some(3),
            meta,
            ..
        } => Ok(meta.clone()),
        _ => Err(fds),
    });
    assert!(waiting.waiting.is_some(), "{waiting:?}");
    broker.run(session, 4, argv(&["true"]), &[]);
    assert_eq!(broker.answer(4).unwrap_err().code, Code::Busy);
    drop(frozen);
    assert!(ends_within(sleep, SOON));
    let next_start = broker.until(|message, fds| match message {
        ToBroker::Started { job, .. } => Ok((*job, fds.len())),
        _ => Err(fds),
    });
    assert_eq!(next_start, (waiting.job, 2));
    assert_eq!(stage.status().stuck, 0);
    broker.finish(waiting.job);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}
