//! Where attacks are performed: a daemon of their own, and a scene for the uid of each next job.

use std::path::Path;

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client::Client;
use remit_common::outcome::JobReport;
use remit_common::wire::{Bytes, Purpose, Reply, Request, Run, What};
use remit_tests::attack::allowed::Check;
use remit_tests::attack::strict::Who;
use remit_tests::control::{Outcome, Seen};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::place::{Place, built};
use remit_tests::process::{Identity, status_field};
use remit_tests::scene::{Ground, LISTED, SCRATCH, Scene, arrange};

/// The profile on top of `strict`.
const PROFILE: &str = "walled";
/// Group adm, which may read logs.
const ADM: u32 = 4;

pub fn has_landlock() -> bool {
    std::env::var("REMIT_TEST_LANDLOCK").map_or(true, |value| value != "none")
}

/// A daemon with one job at a time, so that the next job's uid is known.
pub struct Arena {
    pub daemon: Daemon,
    client: Client,
    ground: Ground,
    next: u32,
    who: Who,
    /// Of profiles that list its directories.
    yard: Option<Place>,
}

/// Both ways that jobs come behind their walls: where mounts are shared, they are forked ahead.
pub fn both_ways(options: &Options) -> [Options; 2] {
    [false, true].map(|shared| Options {
        shared,
        ..options.clone()
    })
}

impl Arena {
    /// Runs jobs until one was forked by a zygote: behind two filters more than this process. False where none is.
    pub fn gets_ahead(&mut self) -> bool {
        let own = i32::try_from(std::process::id()).expect("pids are small");
        let own = status_field(own, "Seccomp_filters").and_then(|count| count.parse::<u32>().ok());
        let wanted = format!("Seccomp_filters:\t{}\n", own.unwrap_or_default() + 2);
        (0..50).any(|_| {
            let report = self.run(vec!["cat".into(), "/proc/self/status".into()]);
            String::from_utf8_lossy(&report.stdout.head).contains(&wanted)
        })
    }

    /// The profile `read`.
    pub fn new(options: Options) -> Self {
        let daemon = Daemon::start(Options { jobs: 1, ..options });
        let ground = Ground {
            // A uid that no other process has is what keeps a job of `read` from others.
            stranger: Some(Identity::new(0, &[])),
            ..daemon.ground(Identity::new(daemon.first_job_uid(), &[ADM]))
        };
        Self::over(daemon, ground, Who::Own, None)
    }

    /// A profile on top of `strict`, which lists this arena's directories.
    pub fn strict(who: Who, options: Options) -> Self {
        let yard = Place::new();
        let program = yard.program(&built().join("remit-attack"));
        let dir = yard.directory("ground");
        for name in [LISTED, SCRATCH] {
            let _ = yard.directory(name);
        }
        let policy = policy(who, yard.path());
        let daemon = Daemon::start(Options {
            jobs: 1,
            policy,
            ..options
        });
        let ground = Ground {
            dir,
            program,
            ..daemon.ground(Identity::new(daemon.first_job_uid(), &[ADM]))
        };
        Self::over(daemon, ground, who, Some(yard))
    }

    fn over(daemon: Daemon, ground: Ground, who: Who, yard: Option<Place>) -> Self {
        let client = daemon.client(&user_a()).expect("user A may connect");
        let next = daemon.first_job_uid();
        Self {
            daemon,
            client,
            ground,
            next,
            who,
            yard,
        }
    }

    /// The version of Landlock's interface that jobs have; 0 without.
    pub fn landlock(&self) -> u32 {
        match self.daemon.administer(AdminRequest::Status) {
            Ok(AdminReply::Status(status)) => status.landlock,
            other => panic!("{other:?}"),
        }
    }

    pub fn run(&mut self, argv: Vec<String>) -> JobReport {
        let run = Run {
            traceparent: None,
            what: What::Argv(
                argv.into_iter()
                    .map(|one| Bytes::from(one.into_bytes()))
                    .collect(),
            ),
            cwd: None,
            env: Vec::new(),
            stdin: None,
            profile: self.yard.as_ref().map(|_| PROFILE.to_owned()),
            wait_ms: Some(20_000),
            max_runtime_s: Some(15),
            request_id: None,
            purpose: Purpose::Use,
        };
        match self.client.call(Request::Run(run), |_| {}) {
            Ok(Reply::Job { report, .. }) => {
                let first = self.daemon.first_job_uid();
                let last = report.enforced.as_ref().map_or(self.next, |it| it.uid);
                self.next = if last == first { first + 1 } else { first };
                *report
            }
            other => panic!("{other:?}"),
        }
    }

    /// Performs an attack or a check in a scene that was set for the uid of the next job.
    pub fn perform(&mut self, id: &str) -> Seen {
        // Which of its two uids the daemon has for the next job is known but where it undid something.
        for _ in 0..5 {
            let uid = match self.who {
                Who::Own => self.next,
                Who::Root => 0,
            };
            self.ground.job = Identity::new(uid, &[ADM]);
            let scene = arrange(id, &self.ground);
            let report = self.run(scene.argv(id));
            if report.enforced.as_ref().is_none_or(|it| it.uid == uid) {
                return Self::seen(&report, scene);
            }
        }
        panic!("the scenes of {id} were set for another uid each time");
    }

    fn seen(report: &JobReport, scene: Scene) -> Seen {
        let signal = report.ending.as_ref().and_then(|ending| ending.signal);
        let stdout = String::from_utf8_lossy(&report.stdout.head).into_owned();
        let outcome = match Outcome::read(&stdout, signal) {
            Outcome::Broken(why) => Outcome::Broken(format!("{why} {report:?}")),
            outcome => outcome,
        };
        Seen {
            outcome,
            touched: scene.touched(),
        }
    }

    /// Which of these checks fail.
    pub fn failing<'a>(&mut self, checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
        checks
            .map(|check| (check.id, self.perform(check.id)))
            .filter(|(_, seen)| !matches!(seen.outcome, Outcome::Done(_)))
            .map(|(id, seen)| format!("{id}: {}", seen.outcome.word()))
            .collect()
    }
}

/// The widest profile that `run` may be granted in, over the directories in `yard`.
fn policy(who: Who, yard: &Path) -> String {
    let user = match who {
        Who::Own => "",
        Who::Root => "user = \"root\"\n",
    };
    let yard = yard.display();
    format!(
        "[profile.{PROFILE}]\nbase = \"strict\"\n{user}groups = [\"#{ADM}\"]\n\
         exec = [\"{yard}/bin\", \"{yard}/ground\"]\nread = [\"{yard}/{LISTED}\"]\n\
         scratch = [\"{yard}/{SCRATCH}\"]\nnetwork = \"loopback\"\n\n\
         [[grant]]\nname = \"test\"\nto = [\"#64001\"]\nallow = [\"run\"]\nprofile = \"{PROFILE}\"\n"
    )
}
