//! A new daemon knows the jobs of the one before: ended jobs answer as before, others are interrupted, and
//! nothing is run again.

mod stops;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::{Identity, ends_within};
use remit_wire::outcome::{JobReport, JobSummary, State, Stream};
use remit_wire::{Reply, Request, Run};

const LONG: &str = "seq 1 20000; echo problem >&2; exit 3";

/// Two job slots; other jobs wait.
fn two_slots() -> Options {
    Options {
        jobs: 2,
        waiting: 10,
        ..Options::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Killed,
}

impl End {
    fn restart(self, daemon: &mut Daemon) {
        match self {
            Self::InOrder => daemon.restart_cleanly(),
            Self::Killed => {
                daemon.signal(Signal::SIGKILL);
                assert!(ends_within(daemon.pid(), 20_000));
                daemon.restart();
            }
        }
    }

    const fn event(self) -> &'static str {
        match self {
            Self::InOrder => "end",
            Self::Killed => "interrupted",
        }
    }
}

fn asked(id: &str, run: Run) -> Run {
    Run {
        request_id: Some(id.into()),
        ..run
    }
}

fn list(caller: &mut Caller) -> Vec<JobSummary> {
    match caller.ask(Request::Jobs { limit: 1000 }) {
        Ok(Reply::Jobs(jobs)) => jobs,
        other => panic!("{other:?}"),
    }
}

fn whole(caller: &mut Caller, job: JobId) -> String {
    let mut bytes = Vec::new();
    loop {
        let page = caller.page(job, Stream::Stdout, bytes.len() as u64, 65_536);
        let page = page.expect("the job is ours");
        assert!(page.eof || !page.bytes.is_empty(), "{page:?}");
        bytes.extend_from_slice(&page.bytes);
        if page.eof {
            return String::from_utf8(bytes).expect("it wrote text");
        }
    }
}

fn count(daemon: &Daemon, event: &str, job: JobId) -> usize {
    let id = job.to_string();
    let of_it = |record: &serde_json::Value| record["REMIT_JOB"] == id.as_str();
    daemon.records(event).iter().filter(|r| of_it(r)).count()
}

/// Jobs of user A in every state, with their requests.
struct Scene {
    ended: Vec<(Run, JobReport)>,
    running: (Run, JobId),
    queued: Vec<(Run, JobId)>,
}

impl Scene {
    fn set(daemon: &Daemon) -> Self {
        let mut a = Caller::new(daemon, &user_a());
        let ended = [
            asked("well", script("echo well")),
            asked("long", script(LONG)),
            asked("signal", script("echo before; kill -9 $$")),
            asked("missing", argv(&["/no/such/program"])),
            asked("late", limited(script("echo late; sleep 1000"), 1)),
        ];
        let ended = ended.map(|run| {
            let report = a.run(run.clone()).expect("it is accepted");
            (run, report)
        });
        // User B takes the other slot.
        let hold = Caller::new(daemon, &user_b()).run(at_once(script("sleep 1000")));
        assert_eq!(hold.expect("it is accepted").state, State::Running);
        let run = asked("running", at_once(script("echo so far; exec sleep 1000")));
        let report = a.run(run.clone()).expect("it is accepted");
        let running = (run, report.job);
        while a
            .follow(report.job, [0, 0], 10_000)
            .expect("it is ours")
            .stdout
            .bytes
            .is_empty()
        {}
        let queued = ["first", "second"].map(|id| {
            let run = asked(id, at_once(script("echo it ran")));
            let report = a.run(run.clone()).expect("the queue has a free slot");
            assert_eq!(report.state, State::Queued, "{report:?}");
            (run, report.job)
        });
        Self {
            ended: ended.into(),
            running,
            queued: queued.into(),
        }
    }

    fn order(&self) -> Vec<JobId> {
        let ended = self.ended.iter().map(|(_, report)| report.job);
        let others = self.queued.iter().map(|(_, job)| *job);
        let mut order: Vec<_> = ended.chain([self.running.1]).chain(others).collect();
        order.reverse();
        order
    }

    fn requests(&self) -> Vec<(&Run, JobId)> {
        let ended = self.ended.iter().map(|(run, report)| (run, report.job));
        let others = self.queued.iter().chain([&self.running]);
        ended.chain(others.map(|(run, job)| (run, *job))).collect()
    }

    fn is_known(&self, daemon: &Daemon, end: End) {
        let mut a = Caller::new(daemon, &user_a());
        for (_, before) in &self.ended {
            let now = a.job(before.job, 0).expect("it is known");
            assert_eq!(now.ending, before.ending);
            assert_eq!(now.enforced, before.enforced);
            assert_eq!(
                (now.state, &now.command, now.started_ms, now.waited_ms),
                (
                    before.state,
                    &before.command,
                    before.started_ms,
                    before.waited_ms
                )
            );
            assert_eq!((&now.stdout, &now.stderr), (&before.stdout, &before.stderr));
        }
        let long = &self.ended[1].1;
        let numbers = whole(&mut a, long.job);
        assert_eq!(numbers.lines().count(), 20_000);
        assert_eq!((long.stdout.lines, long.stderr.lines), (20_000, 1));
        assert!(numbers.ends_with("19999\n20000\n"));

        let running = a.job(self.running.1, 0).expect("it is known");
        let ending = running.ending.as_ref().expect("it has ended");
        let died = "remitd died while it ran; all its processes are gone";
        let why = match end {
            End::InOrder => "remitd was stopped",
            End::Killed => died,
        };
        assert_eq!((running.state, cause(&running)), (State::Interrupted, why));
        assert!(ending.kill_verified, "{running:?}");
        assert_eq!(stdout(&running), "so far\n");
        assert_eq!((running.stdout.total, running.stdout.lines), (7, 1));

        for (_, job) in &self.queued {
            let never = a.job(*job, 0).expect("it is known");
            let ending = never.ending.as_ref().expect("it has ended");
            assert_eq!((never.state, never.stdout.total), (State::Interrupted, 0));
            assert!(
                cause(&never).ends_with("before the job got a slot; it never ran"),
                "{never:?}"
            );
            assert_eq!((ending.kill_verified, ending.runtime_ms), (true, 0));
            assert!(
                never.queue_position.is_none() && never.enforced.is_none(),
                "{never:?}"
            );
        }
        let jobs: Vec<_> = list(&mut a).iter().map(|job| job.job_id).collect();
        assert_eq!(jobs, self.order());
    }

    fn is_not_run_again(&self, daemon: &Daemon) {
        let intents = daemon.records("intent").len();
        let mut a = Caller::new(daemon, &user_a());
        for (run, job) in self.requests() {
            let again = a.run(at_once(run.clone())).expect("it is known");
            assert_eq!(again.job, job, "{run:?}");
            let other = Run {
                max_runtime_s: Some(29),
                ..at_once(run.clone())
            };
            let refusal = a.run(other).expect_err("it is another request");
            assert_eq!(refusal.code, Code::ConflictRequestId);
            assert!(Caller::new(daemon, &user_b()).job(job, 0).is_err());
        }
        assert_eq!(
            daemon.records("intent").len(),
            intents,
            "something ran again"
        );
    }

    /// Each job has one intent if it ran, and one end, whichever daemon recorded it.
    fn is_recorded_once(&self, daemon: &Daemon, end: End) {
        for (_, report) in &self.ended {
            let records =
                ["intent", "end", "interrupted"].map(|event| count(daemon, event, report.job));
            assert_eq!(records, [1, 1, 0], "{report:?}");
        }
        let (_, running) = self.running;
        assert_eq!(
            (
                count(daemon, "intent", running),
                count(daemon, end.event(), running)
            ),
            (1, 1)
        );
        for (_, job) in &self.queued {
            let records = ["queued", "intent", end.event()].map(|event| count(daemon, event, *job));
            assert_eq!(records, [1, 0, 1]);
            let entries = daemon.records(end.event());
            let entries = entries
                .iter()
                .find(|record| record["REMIT_JOB"] == job.to_string().as_str());
            let message = entries.expect("it is there")["MESSAGE"]
                .as_str()
                .unwrap_or_default();
            assert!(message.contains("never ran"), "{message}");
        }
    }
}

fn limited(run: Run, seconds: u32) -> Run {
    Run {
        max_runtime_s: Some(seconds),
        ..run
    }
}

fn all_is_known_after(end: End) {
    let mut daemon = Daemon::start(two_slots());
    let scene = Scene::set(&daemon);
    end.restart(&mut daemon);
    scene.is_known(&daemon, end);
    scene.is_not_run_again(&daemon);
    scene.is_recorded_once(&daemon, end);
    daemon.is_well();
    // A third daemon, also after a kill, still has what the second one learned.
    for next in [End::Killed, End::InOrder] {
        next.restart(&mut daemon);
        scene.is_known(&daemon, end);
        scene.is_not_run_again(&daemon);
        scene.is_recorded_once(&daemon, end);
    }
    daemon.is_well();
    assert_eq!(daemon.records("ledger").len(), 0, "nothing was damaged");
    daemon.stop();
}

#[test]
fn after_an_orderly_restart_all_jobs_are_known() {
    all_is_known_after(End::InOrder);
}

#[test]
fn after_a_kill_all_jobs_are_known() {
    all_is_known_after(End::Killed);
}

#[test]
fn job_that_was_queued_is_reported_as_run() {
    let mut daemon = Daemon::start(Options {
        jobs: 1,
        waiting: 4,
        ..Options::default()
    });
    let mut a = Caller::new(&daemon, &user_a());
    let hold = a
        .run(at_once(script("exec sleep 1000")))
        .expect("it is accepted");
    let waiting_job = a
        .run(at_once(script("echo begun; exec sleep 1000")))
        .expect("it may wait");
    assert_eq!(waiting_job.state, State::Queued, "{waiting_job:?}");
    let stopped = a.stop(hold.job).expect("it is ours");
    assert_eq!(stopped.state, State::Cancelled);
    while a
        .follow(waiting_job.job, [0, 0], 10_000)
        .expect("it is ours")
        .stdout
        .bytes
        .is_empty()
    {}
    let before = a.job(waiting_job.job, 0).expect("it is ours");
    End::Killed.restart(&mut daemon);
    let mut a = Caller::new(&daemon, &user_a());
    let now = a.job(waiting_job.job, 0).expect("it is known");
    assert_eq!(
        (now.state, cause(&now), stdout(&now).as_str()),
        (
            State::Interrupted,
            "remitd died while it ran; all its processes are gone",
            "begun\n"
        )
    );
    // Both times are taken separately, one after the other.
    assert!(
        now.started_ms.abs_diff(before.started_ms) < 1000,
        "{now:?} {before:?}"
    );
    assert_eq!(
        a.job(hold.job, 0).expect("it is known").ending,
        stopped.ending
    );
    daemon.stop();
}

#[test]
fn jobs_after_restart_precede_older_jobs_in_list() {
    let mut daemon = Daemon::start(Options::default());
    let mut expected: Vec<JobId> = Vec::new();
    for round in 0..4 {
        let mut a = Caller::new(&daemon, &user_a());
        for number in 0..3 {
            let text = format!("echo {round} {number}");
            let report = a.run(script(&text)).expect("it is accepted");
            expected.insert(0, report.job);
        }
        let jobs: Vec<_> = list(&mut a).iter().map(|job| job.job_id).collect();
        assert_eq!(jobs, expected, "round {round}");
        let end = if round % 2 == 0 {
            End::Killed
        } else {
            End::InOrder
        };
        end.restart(&mut daemon);
    }
    let mut a = Caller::new(&daemon, &user_a());
    for (at, job) in expected.iter().rev().enumerate() {
        let report = a.job(*job, 0).expect("it is known");
        assert_eq!(stdout(&report), format!("{} {}\n", at / 3, at % 3));
    }
    daemon.stop();
}

#[test]
fn ended_jobs_are_kept_to_limit() {
    let mut daemon = Daemon::start(Options::default());
    let mut expected: Vec<JobId> = Vec::new();
    let mut sizes = Vec::new();
    for count in [caps::ENDED_PER_UID + 3, 20, 20] {
        let mut a = Caller::new(&daemon, &user_a());
        for _ in 0..count {
            let report = a.run(argv(&["true"])).expect("it is accepted");
            expected.insert(0, report.job);
        }
        End::Killed.restart(&mut daemon);
        let forgotten = expected.split_off(caps::ENDED_PER_UID);
        let mut a = Caller::new(&daemon, &user_a());
        let jobs: Vec<_> = list(&mut a).iter().map(|job| job.job_id).collect();
        assert!(jobs == expected, "{} are known", jobs.len());
        for job in forgotten {
            let unknown = a.job(job, 0).expect_err("it is forgotten");
            assert_eq!(unknown.code, Code::NotFound);
        }
        let open = fs::metadata(ledger(&daemon, "open"));
        sizes.push(open.expect("the directory is writable").len());
    }
    // Entries are prepared in advance. A killed daemon may not have written one, or not have freed one.
    let slots = u64::try_from(caps::ENDED_PER_UID + 3).expect("it is small");
    assert!(sizes[2] <= sizes[0] + 4 * sizes[0] / slots, "{sizes:?}");
    daemon.stop();
}

fn ledger(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.path().join("state/warden").join(name)
}

fn spoil(daemon: &Daemon, at: u64) {
    let file = File::options().write(true).open(ledger(daemon, "open"));
    let file = file.expect("the directory is writable");
    file.write_all_at(b"\xff\xff", at)
        .expect("the directory is writable");
}

#[test]
fn damaged_ledger_is_quarantined_and_rest_is_known() {
    let mut daemon = Daemon::start(Options::default());
    let user: Identity = user_a();
    let mut a = Caller::new(&daemon, &user);
    let reports: Vec<_> = ["lost", "end lost", "kept"]
        .iter()
        .map(|text| {
            a.run(asked(text, argv(&["echo", text])))
                .expect("it is accepted")
        })
        .collect();
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    // A header slot and then slots of 8 KiB. Ends are written at byte 64, entries at 3 KiB.
    const SLOT: u64 = 8 << 10;
    spoil(&daemon, SLOT + (3 << 10) + 20);
    spoil(&daemon, 2 * SLOT + 64 + 20);
    let damaged = fs::read(ledger(&daemon, "open")).expect("the directory is writable");
    daemon.restart();

    let quarantined = ledger(&daemon, "open.damaged-1");
    assert_eq!(fs::read(&quarantined).expect("it is moved away"), damaged);
    let records = daemon.records("ledger");
    assert_eq!(records.len(), 1);
    let message = records[0]["MESSAGE"].as_str().unwrap_or_default();
    let expected = format!(
        "the ledger of jobs is damaged: 2 entries are damaged; it is kept as '{}'",
        quarantined.display()
    );
    assert_eq!(message, expected);
    assert!(daemon.stderr().contains(&expected), "{}", daemon.stderr());

    let mut a = Caller::new(&daemon, &user);
    let lost = a.job(reports[0].job, 0).expect_err("nobody knows it");
    assert_eq!(lost.code, Code::NotFound);
    let end_lost = a.job(reports[1].job, 0).expect("it is known");
    assert_eq!(
        (end_lost.state, cause(&end_lost), stdout(&end_lost).as_str()),
        (
            State::Interrupted,
            "its end is only in the journal, because the ledger's entry about it is damaged; all its processes are gone",
            "end lost\n"
        )
    );
    let kept = a.job(reports[2].job, 0).expect("it is known");
    assert_eq!(
        (kept.ending.as_ref(), stdout(&kept).as_str()),
        (reports[2].ending.as_ref(), "kept\n")
    );
    let again = a
        .run(asked("end lost", argv(&["echo", "end lost"])))
        .expect("it is known");
    assert_eq!(again.job, reports[1].job);
    // Its end is in the audit log already.
    assert_eq!(daemon.records("interrupted").len(), 0);
    daemon.is_well();

    daemon.restart_cleanly();
    assert_eq!(daemon.records("ledger").len(), 1, "said again");
    assert!(!ledger(&daemon, "open.damaged-2").exists());
    daemon.stop();
}

#[test]
fn ledger_of_other_version_is_quarantined() {
    let mut daemon = Daemon::start(Options::default());
    let mut a = Caller::new(&daemon, &user_a());
    let report = a.run(argv(&["echo", "old"])).expect("it is accepted");
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
    // Slots without a header, as in the first version.
    let mut old = vec![0; 8 << 10];
    old[0] = 100;
    fs::write(ledger(&daemon, "open"), &old).expect("the directory is writable");
    daemon.restart();
    let quarantined = fs::read(ledger(&daemon, "open.damaged-1")).expect("it is moved away");
    assert_eq!(quarantined, old);
    let records = daemon.records("ledger");
    assert_eq!(records.len(), 1);
    let message = records[0]["MESSAGE"].as_str().unwrap_or_default();
    assert!(
        message.contains("not a ledger of this version of remit"),
        "{message}"
    );
    let unknown = Caller::new(&daemon, &user_a()).job(report.job, 0);
    assert_eq!(unknown.expect_err("nobody knows it").code, Code::NotFound);
    assert_eq!(
        daemon.records("interrupted").len(),
        0,
        "the old file was misread"
    );
    daemon.is_well();
    daemon.stop();
}
