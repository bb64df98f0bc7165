//! Jobs that wait for a slot: position, order, bounds, times.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::outcome::{JobReport, QueuePosition, State};
use remit_wire::{Bytes, Reply, Request, Run, What};

use super::scene::{Holder, ids, one_slot, queued};

fn root() -> Identity {
    Identity::new(0, &[])
}

fn queue_position(report: &JobReport) -> Option<(u32, u32)> {
    report
        .queue_position
        .map(|QueuePosition { position, of }| (position, of))
}

fn queue_position_of(caller: &mut Caller, job: JobId) -> Option<(u32, u32)> {
    queue_position(&caller.job(job, 0).expect("the job is ours"))
}

#[test]
fn queue_position_is_per_user_and_advances() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let jobs: Vec<JobId> = (1..=3)
        .map(|number| {
            let report = queued(&mut a, argv(&["true"]));
            assert_eq!(queue_position(&report), Some((number, number)));
            assert_eq!(report.stdout.total, 0);
            report.job
        })
        .collect();
    let foreign = queued(&mut b, argv(&["true"]));
    assert_eq!(queue_position(&foreign), Some((1, 1)));
    for (job, expected) in jobs.iter().zip([(1, 3), (2, 3), (3, 3)]) {
        assert_eq!(queue_position_of(&mut a, *job), Some(expected));
    }
    let stopped = a.stop(jobs[1]).expect("the job is ours");
    assert_eq!(
        (stopped.state, queue_position(&stopped)),
        (State::Cancelled, None)
    );
    assert_eq!(queue_position_of(&mut a, jobs[0]), Some((1, 2)));
    assert_eq!(queue_position_of(&mut a, jobs[2]), Some((2, 2)));

    let Ok(Reply::Jobs(list)) = a.ask(Request::Jobs { limit: 10 }) else {
        panic!("no list");
    };
    let list: Vec<_> = list.iter().map(|job| (job.job_id, job.state)).collect();
    assert_eq!(
        list,
        [
            (jobs[2], State::Queued),
            (jobs[1], State::Cancelled),
            (jobs[0], State::Queued)
        ]
    );
    holder.leave();
    for job in [jobs[0], jobs[2]] {
        let report = a.end_of(job);
        assert_eq!(
            (report.state, queue_position(&report)),
            (State::Exited, None)
        );
    }
    assert_eq!(b.end_of(foreign.job).state, State::Exited);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn users_alternate_and_jobs_keep_order() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_a());
    let mut asked: Vec<(u32, Vec<String>)> = Vec::new();
    // The first user fills the queue before the others come.
    for (user, count) in [(user_a(), 6), (user_b(), 3), (root(), 2)] {
        let mut caller = Caller::new(&daemon, &user);
        let jobs = (0..count).map(|_| queued(&mut caller, argv(&["true"])).job.to_string());
        asked.push((user.uid, jobs.collect()));
    }
    let last: Vec<(Identity, JobId)> = [user_a(), user_b(), root()]
        .into_iter()
        .zip(&asked)
        .map(|(user, (_, jobs))| (user, jobs[jobs.len() - 1].parse().expect("it is an id")))
        .collect();
    holder.leave();
    for (user, job) in last {
        let report = Caller::new(&daemon, &user).end_of(job);
        assert_eq!(report.state, State::Exited, "{report:?}");
    }
    let started = ids(&daemon, "intent").split_off(1);
    assert_eq!(started.len(), 11);
    let owner = |job: &String| asked.iter().position(|(_, jobs)| jobs.contains(job));
    let owners: Vec<usize> = started
        .iter()
        .map(|job| owner(job).expect("it was asked for"))
        .collect();
    for (number, (uid, jobs)) in asked.iter().enumerate() {
        let own: Vec<&String> = started
            .iter()
            .filter(|job| owner(job) == Some(number))
            .collect();
        assert_eq!(
            own,
            jobs.iter().collect::<Vec<_>>(),
            "uid {uid}: not in their order"
        );
    }
    // While all three users wait, each gets one of three starts. Then two users alternate, then the rest.
    for turn in owners[..6].chunks(3).chain(owners[6..8].chunks(2)) {
        let mut turn = turn.to_vec();
        turn.sort_unstable();
        turn.dedup();
        let fair = if turn.len() == 3 {
            vec![0, 1, 2]
        } else {
            vec![0, 1]
        };
        assert_eq!(turn, fair, "{owners:?}");
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn user_at_own_limit_does_not_block_others() {
    let daemon = Daemon::start(Options {
        jobs: 3,
        jobs_of_one: Some(1),
        waiting: 10,
        ..Options::default()
    });
    let holder = Holder::of(&daemon, &user_a());
    let mut a = Caller::new(&daemon, &user_a());
    let waiting = queued(&mut a, script("echo late"));
    for _ in 0..5 {
        let report = Caller::new(&daemon, &user_b())
            .run(script("echo at once"))
            .expect("there is a free slot");
        assert_eq!(
            (stdout(&report).as_str(), report.waited_ms),
            ("at once\n", 0)
        );
    }
    assert_eq!(queue_position_of(&mut a, waiting.job), Some((1, 1)));
    holder.leave();
    assert_eq!(stdout(&a.end_of(waiting.job)), "late\n");
    daemon.is_well();
    daemon.stop();
}

fn is_busy(answer: Result<JobReport, Refusal>, limit: &str) {
    let refusal = answer.expect_err("there is no room");
    assert_eq!(refusal.code, Code::Busy, "{refusal}");
    assert!(refusal.message.contains(limit), "{limit}: {refusal}");
    assert!(refusal.next.is_some(), "{refusal:?}");
}

#[test]
fn a_full_queue_says_which_limit_it_is() {
    let daemon = Daemon::start(Options {
        queue: "queue = 5\nqueue_per_user = 3".into(),
        ..one_slot()
    });
    let holder = Holder::of(&daemon, &root());
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let named = Run {
        request_id: Some("named".into()),
        ..at_once(argv(&["true"]))
    };
    let mut of_a: Vec<JobId> = [named.clone(), argv(&["true"]), argv(&["true"])]
        .map(|run| queued(&mut a, run).job)
        .to_vec();
    is_busy(a.run(argv(&["true"])), "3");
    let known = a.run(named.clone()).expect("it is the same");
    assert_eq!(known.job, of_a[0]);
    let of_b: Vec<JobId> = (0..2)
        .map(|_| queued(&mut b, argv(&["true"])).job)
        .collect();
    is_busy(b.run(argv(&["true"])), "5");
    let _ = a.stop(of_a.remove(0)).expect("the job is ours");
    of_a.push(queued(&mut a, argv(&["true"])).job);
    is_busy(a.run(argv(&["true"])), "");
    is_busy(b.run(argv(&["true"])), "");
    // A user without a waiting job is let in, so nobody can fill the queue for others.
    let mut other = Caller::new(&daemon, &root());
    let let_in = queued(&mut other, argv(&["true"])).job;
    is_busy(other.run(argv(&["true"])), "");
    holder.leave();
    for job in of_a {
        assert_eq!(a.end_of(job).state, State::Exited);
    }
    for job in of_b {
        assert_eq!(b.end_of(job).state, State::Exited);
    }
    let busy = daemon.records("refusal");
    assert_eq!(other.end_of(let_in).state, State::Exited);
    assert_eq!(busy.len(), 5, "{busy:?}");
    assert!(
        busy.iter()
            .all(|refusal| refusal["REMIT_VERDICT"] == "busy")
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn without_a_queue_there_is_no_waiting() {
    for queue in ["queue = 0", "queue_per_user = 0"] {
        let daemon = Daemon::start(Options {
            queue: queue.into(),
            ..one_slot()
        });
        let holder = Holder::of(&daemon, &user_a());
        is_busy(Caller::new(&daemon, &user_a()).run(argv(&["true"])), "");
        is_busy(Caller::new(&daemon, &user_b()).run(argv(&["true"])), "");
        assert_eq!(ids(&daemon, "queued"), [""; 0]);
        holder.leave();
        daemon.is_well();
        daemon.stop();
    }
}

fn heavy(bytes: usize) -> Run {
    Run {
        stdin: Some(Bytes::from(vec![b'x'; bytes])),
        what: What::Script {
            text: Bytes::from(vec![b'#'; bytes]),
            interpreter: None,
        },
        ..at_once(script(""))
    }
}

/// Scripts and stdin of waiting jobs are held in memory. Their size has a limit, and one user cannot use all of
/// it.
#[test]
fn queued_jobs_take_bounded_memory() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let before = open_descriptors(daemon.pid());
    // Fills it completely, with smaller requests if larger ones do not fit.
    let (mut jobs, mut bytes, mut held) = (Vec::new(), caps::STDIN, 0);
    while bytes > 0 && jobs.len() < caps::QUEUED_PER_UID {
        match a.run_patiently(&heavy(bytes)) {
            Ok(report) => {
                jobs.push(report.job);
                held += 2 * bytes;
            }
            Err(refusal) => {
                assert_eq!(refusal.code, Code::Busy, "{refusal}");
                bytes /= 2;
            }
        }
    }
    assert!(held <= caps::QUEUED_BYTES, "{held} bytes wait");
    let full = a.run_patiently(&heavy(caps::STDIN));
    assert!(full.is_err(), "{full:?}");
    let mut b = Caller::new(&daemon, &user_b());
    let others = b
        .run_patiently(&heavy(caps::STDIN))
        .expect("user B waits with little");
    assert_eq!(others.state, State::Queued, "{others:?}");
    for job in jobs {
        let report = a.stop(job).expect("the job is ours");
        assert_eq!(report.state, State::Cancelled);
    }
    let after = descriptors_left(daemon.pid(), before + 4);
    assert!(after <= before + 4, "from {before} to {after} descriptors");
    let again = a
        .run_patiently(&heavy(caps::STDIN))
        .expect("it is accepted again");
    assert_eq!(again.state, State::Queued, "{again:?}");
    holder.leave();
    assert_eq!(b.end_of(others.job).state, State::Exited);
    assert_eq!(a.end_of(again.job).state, State::Exited);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn call_timeout_includes_queue_time() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let start = Instant::now();
    let mut seen = Vec::new();
    let run = Run {
        wait_ms: Some(3500),
        ..script("echo ran")
    };
    let reply = a.0.call(Request::Run(run), |progress| seen.push(progress));
    let Ok(Reply::Job { report, .. }) = reply else {
        panic!("{reply:?}");
    };
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(3400), "{took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(
        (report.state, queue_position(&report)),
        (State::Queued, Some((1, 1)))
    );
    let progress = seen.first().expect("a sign of life");
    assert_eq!(
        (progress.queue_position, progress.output_bytes),
        (Some(QueuePosition { position: 1, of: 1 }), 0)
    );
    holder.leave();
    let report = a.end_of(report.job);
    assert_eq!(stdout(&report), "ran\n", "{report:?}");
    assert!(report.waited_ms >= 3400, "{report:?}");
    daemon.stop();
}

#[test]
fn time_in_the_queue_is_no_runtime() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let limited = |seconds, text: &str| Run {
        max_runtime_s: Some(seconds),
        ..script(text)
    };
    let fits = queued(&mut a, limited(5, "echo ran"));
    let late = queued(&mut a, limited(1, "sleep 1000"));
    // Longer than either may run.
    std::thread::sleep(Duration::from_millis(5500));
    holder.leave();
    let report = a.end_of(fits.job);
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::Exited, "ran\n")
    );
    let ending = report.ending.as_ref().expect("it has ended");
    assert!(report.waited_ms >= 5000, "{report:?}");
    assert!(ending.runtime_ms < report.waited_ms, "{report:?}");
    let queue_time_ms = report.started_ms.abs_diff(fits.started_ms);
    assert!(
        queue_time_ms.abs_diff(report.waited_ms) < 2000,
        "{report:?}"
    );
    // The runtime counts from then on.
    let report = a.end_of(late.job);
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(ending.state, State::TimedOut, "{report:?}");
    assert!((900..20_000).contains(&ending.runtime_ms), "{report:?}");
    daemon.stop();
}

#[test]
fn queued_job_is_followed_to_its_end() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let job = queued(
        &mut a,
        script("echo one; echo two >&2; sleep 0.1; echo three"),
    )
    .job;
    let waiting = a.follow(job, [0, 0], 200).expect("the job is ours");
    assert_eq!(
        (
            waiting.state,
            waiting.queue_position.is_some(),
            waiting.report.is_none()
        ),
        (State::Queued, true, true),
        "{waiting:?}"
    );
    let follower = std::thread::spawn(move || {
        let mut known = [Vec::new(), Vec::new()];
        loop {
            let at = [known[0].len() as u64, known[1].len() as u64];
            let followed = a.follow(job, at, 50_000).expect("the job is ours");
            known[0].extend_from_slice(&followed.stdout.bytes);
            known[1].extend_from_slice(&followed.stderr.bytes);
            if followed.report.is_some() && followed.stdout.eof && followed.stderr.eof {
                return (followed.state, known);
            }
        }
    });
    holder.leave();
    let (state, [out, err]) = follower.join().expect("it is followed to its end");
    assert_eq!(
        (state, out.as_slice(), err.as_slice()),
        (State::Exited, &b"one\nthree\n"[..], &b"two\n"[..])
    );
    daemon.stop();
}

#[test]
fn request_id_finds_queued_and_running_job() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let request = |text: &str| Run {
        request_id: Some("only one".into()),
        ..at_once(script(text))
    };
    let first = queued(&mut a, request("echo once"));
    for _ in 0..3 {
        let again = Caller::new(&daemon, &user_a())
            .run(request("echo once"))
            .expect("it is the same");
        assert_eq!((again.job, again.state), (first.job, State::Queued));
    }
    let other = a.run(request("echo twice")).expect_err("another content");
    assert_eq!(other.code, Code::ConflictRequestId, "{other}");
    holder.leave();
    assert_eq!(stdout(&a.end_of(first.job)), "once\n");
    let again = a.run(request("echo once")).expect("it is the same");
    assert_eq!((again.job, again.state), (first.job, State::Exited));
    assert_eq!(ids(&daemon, "queued"), [first.job.to_string()]);
    assert_eq!(daemon.records("intent").len(), 2);
    let holder = Holder::of(&daemon, &user_b());
    let second = queued(
        &mut a,
        Run {
            request_id: Some("never".into()),
            ..script("echo never")
        },
    );
    let _ = a.stop(second.job).expect("the job is ours");
    let again = a
        .run(Run {
            request_id: Some("never".into()),
            ..script("echo never")
        })
        .expect("it is the same");
    assert_eq!((again.job, again.state), (second.job, State::Cancelled));
    holder.leave();
    daemon.is_well();
    daemon.stop();
}
