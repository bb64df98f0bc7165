//! Helpers of these tests.

use remit_common::names::JobId;
use remit_tests::caller::{Caller, argv, at_once};
use remit_tests::daemon::{Daemon, Options};
use remit_tests::holdings::Held;
use remit_tests::process::Identity;
use remit_tests::random::Random;
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

pub fn one_slot() -> Options {
    Options {
        jobs: 1,
        waiting: 60,
        ..Options::default()
    }
}

/// Limits of kept output in bytes: per job, per user, total.
pub fn kept(per_job: u64, per_user: u64, total: u64) -> Options {
    let config = format!("[output]\nper_job = {per_job}\nper_user = {per_user}\ntotal = {total}\n");
    Options {
        config,
        ..Options::default()
    }
}

pub struct Holder {
    caller: Caller,
    pub job: JobId,
}

impl Holder {
    pub fn of(daemon: &Daemon, user: &Identity) -> Self {
        let mut caller = Caller::new(daemon, user);
        let run = at_once(argv(&["sleep", "1000"]));
        let report = caller.run(run).expect("there is a free slot");
        assert_eq!(report.state, State::Running, "{report:?}");
        Self {
            caller,
            job: report.job,
        }
    }

    pub fn leave(mut self) {
        let report = self.caller.stop(self.job).expect("the job is ours");
        assert_eq!(report.state, State::Cancelled, "{report:?}");
    }
}

pub fn queued(caller: &mut Caller, run: Run) -> JobReport {
    let report = caller
        .run(at_once(run))
        .unwrap_or_else(|refusal| panic!("the queue has a free slot: {refusal}"));
    assert_eq!(report.state, State::Queued, "{report:?}");
    assert_eq!((&report.ending, &report.enforced), (&None, &None));
    report
}

pub fn ids(daemon: &Daemon, event: &str) -> Vec<String> {
    daemon
        .records(event)
        .iter()
        .map(|record| {
            let id = record["REMIT_JOB"].as_str();
            id.expect("it is the record of a job").to_owned()
        })
        .collect()
}

pub fn end_of(daemon: &Daemon, job: JobId) -> String {
    let job = job.to_string();
    let mut ends = daemon.records("end");
    ends.retain(|end| end["REMIT_JOB"] == job.as_str());
    assert_eq!(ends.len(), 1, "{ends:?}");
    let state = ends[0]["REMIT_STATE"].as_str();
    state.expect("an end has a state").to_owned()
}

/// In KiB.
pub fn resident(pid: i32) -> u64 {
    Held::by(pid).rss
}

pub fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut random = Random::new(seed);
    std::iter::from_fn(move || u8::try_from(random.below(256)).ok())
}
