//! Stops that race with exits: one true end, and no process left.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::holdings::{Holdings, no_uid_is_lost};
use remit_tests::process::{Identity, ends_within};
use remit_tests::random::Random;
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

const RACES: usize = 200;
/// A job that ends by itself prints `end` last.
const RUNNER: &str = "sleep 0.003; echo end; exit 7";

struct Field {
    daemon: Daemon,
    before: Holdings,
}

impl Field {
    fn new(options: Options) -> Self {
        let daemon = Daemon::start(options);
        let before = Holdings::at_rest(&daemon);
        Self { daemon, before }
    }

    fn caller(&self, user: &Identity) -> Caller {
        Caller::new(&self.daemon, user)
    }

    /// A zombie is dead already and will be reaped.
    fn assert_none_alive(&self, text: &str) {
        let mut left = self.daemon.job_processes();
        left.retain(|process| process.state != 'Z' || !ends_within(process.pid, 20_000));
        assert_eq!(left, [], "{text}");
    }

    fn ends_as_it_began(self) {
        let Self { daemon, before } = self;
        daemon.is_well();
        before.are_again_of(&daemon);
        no_uid_is_lost(&daemon);

        let jobs = |event: &str| {
            let mut jobs = BTreeMap::new();
            for record in daemon.records(event) {
                let job = record["REMIT_JOB"].as_str().expect("an id").to_owned();
                *jobs.entry(job).or_insert(0) += 1;
            }
            jobs
        };
        let (mut started, ends) = (jobs("intent"), jobs("end"));
        started.extend(jobs("queued"));
        let doubled = ends.iter().find(|(_, count)| **count != 1);
        assert_eq!(doubled, None, "two ends");
        assert!(started.keys().all(|job| ends.contains_key(job)), "no end");
        daemon.stop();
    }
}

fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// Varies from 50 to 149 percent of a time, in a hundred steps.
fn swept(around: Duration, at: usize) -> Duration {
    let percent = 50 + u32::try_from(at * 37 % 100).expect("it is small");
    around * percent / 100
}

fn run_time(caller: &mut Caller) -> Duration {
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            let job = caller
                .run(at_once(script(RUNNER)))
                .expect("it is granted")
                .job;
            let start = Instant::now();
            let _ = caller.end_of(job);
            start.elapsed()
        })
        .collect();
    took.sort();
    took[took.len() / 2]
}

fn is_true(report: &JobReport) {
    let ending = report
        .ending
        .as_ref()
        .expect("a stop is answered when the job has ended");
    assert!(ending.kill_verified, "{report:?}");
    let out = stdout(report);
    match (report.state, ending.exit, ending.signal) {
        // Only a job that reached its end has printed that.
        (State::Exited, Some(7), None) => assert_eq!(out, "end\n", "{report:?}"),
        (State::Cancelled, None, Some(libc::SIGTERM)) => {
            assert!(out.is_empty() || out == "end\n", "{report:?}");
        }
        // It was exiting when the signal came.
        (State::Cancelled, Some(7), None) => assert_eq!(out, "end\n", "{report:?}"),
        // Stopped before its exec.
        (State::Cancelled, None, _) => assert_eq!(out, "", "{report:?}"),
        _ => panic!("{report:?}"),
    }
}

#[test]
fn exit_racing_with_stop_has_one_end() {
    let field = Field::new(Options::default());
    let usual = run_time(&mut field.caller(&user_a()));
    let races = |user: Identity| {
        let mut caller = field.caller(&user);
        let (mut won, mut centre) = (BTreeMap::new(), usual);
        for at in 0..RACES / 2 {
            let job = caller
                .run(at_once(script(RUNNER)))
                .expect("it is granted")
                .job;
            until(Instant::now() + swept(centre, at));
            let report = caller.stop(job).expect("it is ours");
            is_true(&report);
            // Follows the load of the machine, so that both outcomes stay possible.
            match report.state {
                State::Exited => centre -= centre / 16,
                _ => centre += centre / 16,
            }
            let again = caller.job(job, 0).expect("it is ours");
            assert_eq!(again, report, "reported differently later");
            let by = report.ending.map(|ending| (ending.exit, ending.signal));
            *won.entry((report.state.as_str(), by)).or_insert(0) += 1;
        }
        won
    };
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| races(user_a()));
        let b = scope.spawn(|| races(user_b()));
        (a.join().expect("races of A"), b.join().expect("races of B"))
    });
    println!("usually {usual:?}; user A: {a:?}; user B: {b:?}");
    let of = |state: &str| -> usize {
        let all = a.iter().chain(&b);
        all.filter(|((name, _), _)| *name == state)
            .map(|(_, count)| count)
            .sum()
    };
    // Otherwise there was no race.
    assert!(of("exited") > RACES / 20 && of("cancelled") > RACES / 20);
    field.ends_as_it_began();
}

fn stops(field: &Field, job: JobId, signals: &[Option<i32>]) -> Vec<JobReport> {
    let start = Barrier::new(signals.len());
    std::thread::scope(|scope| {
        let stop = |signal: Option<i32>| {
            let mut caller = field.caller(&user_a());
            start.wait();
            caller.stop_by(job, signal).expect("it is ours")
        };
        let threads: Vec<_> = signals
            .iter()
            .map(|signal| scope.spawn(move || stop(*signal)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a stop is answered"))
            .collect()
    })
}

#[test]
fn stopped_queued_job_never_ran() {
    let field = Field::new(Options {
        jobs_of_one: Some(1),
        waiting: 16,
        ..Options::default()
    });
    let mut caller = field.caller(&user_a());
    let first = started(&field, "sleep 1000");
    let waiting: Vec<JobId> = (0..5)
        .map(|_| {
            let report = caller
                .run(at_once(script("echo ran; exit 7")))
                .expect("the queue has a free slot");
            assert_eq!(report.state, State::Queued, "{report:?}");
            report.job
        })
        .collect();
    for report in stops(&field, waiting[2], &[None, Some(libc::SIGKILL), None]) {
        let ending = report.ending.as_ref().expect("it has ended");
        assert_eq!(
            (
                report.state,
                ending.exit,
                ending.signal,
                ending.kill_verified
            ),
            (State::Cancelled, None, None, true),
            "{report:?}"
        );
        assert_eq!(stdout(&report), "", "{report:?}");
    }
    let _ = caller.stop(first).expect("it is ours");
    for (at, job) in waiting.iter().enumerate().filter(|(at, _)| *at != 2) {
        let report = caller.end_of(*job);
        assert_eq!(report.state, State::Exited, "{at}: {report:?}");
        assert_eq!(stdout(&report), "ran\n", "{at}: {report:?}");
    }
    assert_eq!(field.daemon.records("intent").len(), 5);
    drop(caller);
    field.ends_as_it_began();
}

#[test]
fn stop_racing_with_start_has_one_end() {
    let field = Field::new(Options {
        jobs_of_one: Some(1),
        waiting: 16,
        ..Options::default()
    });
    let mut caller = field.caller(&user_a());
    let usual = run_time(&mut caller);
    let mut won = BTreeMap::new();
    for at in 0..RACES / 4 {
        let mut run = || {
            let report = caller.run(at_once(script(RUNNER)));
            report.expect("the queue has a free slot")
        };
        let (first, second) = (run().job, run());
        let turns = 1 + u32::from(at % 2 == 0);
        until(Instant::now() + swept(usual * turns, at));
        let report = caller.stop(second.job).expect("it is ours");
        is_true(&report);
        let by = report
            .ending
            .as_ref()
            .map(|ending| (ending.exit, ending.signal));
        *won.entry((report.state.as_str(), by)).or_insert(0) += 1;
        let first = caller.end_of(first);
        assert_eq!(
            (first.state, stdout(&first).as_str()),
            (State::Exited, "end\n")
        );
    }
    println!("usually {usual:?}; {won:?}");
    assert!(won.len() > 1);
    drop(caller);
    field.ends_as_it_began();
}

/// Starts a job and gives it a moment. An earlier stop must work as well.
fn started(field: &Field, text: &str) -> JobId {
    let run = Run {
        wait_ms: Some(200),
        ..script(text)
    };
    field.caller(&user_a()).run(run).expect("it is granted").job
}

#[test]
fn stops_from_all_sides_are_one_stop() {
    let field = Field::new(Options::default());
    let (term, kill) = (None, Some(libc::SIGKILL));
    for (text, signals) in [
        ("sleep 1000", vec![term, term]),
        ("sleep 1000", vec![kill]),
        ("sleep 1000", vec![term, kill, Some(libc::SIGINT), term]),
        (
            "trap '' TERM INT; while :; do sleep 0.05; done",
            vec![term, kill],
        ),
        (
            "trap 'exit 9' TERM; while :; do sleep 0.01; done",
            vec![term, term, term],
        ),
    ] {
        let job = started(&field, text);
        let reports = stops(&field, job, &signals);
        for report in &reports {
            assert_eq!(report, &reports[0], "{text}: reported differently");
            let ending = report.ending.as_ref().expect("it has ended");
            assert_eq!(
                (report.state, ending.kill_verified),
                (State::Cancelled, true),
                "{report:?}"
            );
            // Of itself: nothing ends it after its grace.
            let is_killed = ending.signal == Some(libc::SIGKILL);
            assert!(signals.contains(&kill) || !is_killed, "{report:?}");
        }
        let again = field.caller(&user_a()).stop(job).expect("it is ours");
        assert_eq!(again, reports[0], "{text}");
    }
    field.ends_as_it_began();
}

#[test]
fn nothing_of_a_job_outlives_its_stop() {
    let field = Field::new(Options {
        limits: "tasks = 48".into(),
        ..Options::default()
    });
    for (text, signal) in [
        // Separate sessions that hold the pipes and ignore signals.
        (
            "for i in 1 2 3 4; do setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' & done; wait",
            None,
        ),
        // The first process ends at once, the others do not.
        (
            "setsid sh -c 'trap \"\" TERM; sleep 1000' & (setsid sleep 1000 &); sleep 0.02",
            None,
        ),
        // Pipes closed, orphaned twice.
        (
            "(setsid sh -c '(setsid sleep 1000 &) >/dev/null 2>&1 &' >/dev/null 2>&1 &); sleep 1000",
            None,
        ),
        // Stopped, so that TERM stays pending.
        ("setsid sleep 1000 & kill -STOP $$", Some(libc::SIGKILL)),
        // A stopped grandchild that holds the pipes.
        ("setsid sh -c 'kill -STOP $$' & sleep 1000", None),
        // All processes write continuously.
        (
            "for i in 1 2 3; do setsid yes $i | head -c 100000000 >&2 & done; yes",
            None,
        ),
    ] {
        let job = started(&field, text);
        let report = field
            .caller(&user_a())
            .stop_by(job, signal)
            .expect("it is ours");
        let ending = report.ending.as_ref().expect("it has ended");
        assert!(ending.kill_verified, "{text}: {report:?}");
        field.assert_none_alive(text);
    }
    field.ends_as_it_began();
}

#[test]
fn fast_forking_job_is_ended_completely() {
    let field = Field::new(Options {
        limits: "tasks = 48".into(),
        waiting: 32,
        ..Options::default()
    });
    let bomb = "exec perl -e 'fork while 1'";
    // Children continue after a failed fork, and leave the process group.
    let sessions = "exec perl -e 'use POSIX; while (1) { fork or POSIX::setsid() }'";
    // Each process forks and exits, so one was always just born.
    let hare = "exec perl -e '$SIG{CHLD} = \"IGNORE\"; unless (fork) { while (1) { fork and exit } } sleep 1000'";
    let mut random = Random::seeded_by("REMIT_RACES_SEED");
    for text in [bomb, sessions, hare] {
        // A new uid for each round, because processes of earlier rounds count until the machine's PID 1 has
        // reaped them.
        for round in 0..10 {
            let job = field
                .caller(&user_a())
                .run(at_once(script(text)))
                .expect("it is granted")
                .job;
            std::thread::sleep(Duration::from_millis(random.below(80).into()));
            let signal = (round % 2 == 0).then_some(libc::SIGKILL);
            let report = field
                .caller(&user_a())
                .stop_by(job, signal)
                .expect("it is ours");
            let ending = report.ending.as_ref().expect("it has ended");
            assert!(ending.kill_verified, "{text}: {report:?}");
            assert_eq!(report.state, State::Cancelled, "{text}: {report:?}");
            field.assert_none_alive(text);
        }
    }
    field.ends_as_it_began();
}
