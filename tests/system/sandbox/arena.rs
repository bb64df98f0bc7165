//! Runs attacks: a separate daemon, with a scene that is set up for the uid of each next job.

use std::path::Path;

use remit_tests::attack::allowed::Check;
use remit_tests::attack::strict::StrictIdentity;
use remit_tests::control::{Outcome, Seen};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::{Identity, preforked, start_in};
use remit_tests::scene::{AttackFixture, LISTED, SCRATCH, Scene, arrange};
use remit_tests::test_dir::{TestDir, built};
use remit_wire::client::Client;
use remit_wire::outcome::JobReport;
use remit_wire::{Bytes, Purpose, Reply, Request, Run, What};

const PROFILE: &str = "walled";
/// Group adm, which may read logs.
const ADM: u32 = 4;

pub fn has_landlock() -> bool {
    std::env::var("REMIT_TEST_LANDLOCK").map_or(true, |value| value != "none")
}

/// A daemon with one job at a time, so the next job's uid is known.
pub struct Arena {
    pub daemon: Daemon,
    client: Client,
    fixture: AttackFixture,
    next: u32,
    base: Base,
    test_dir: Option<TestDir>,
}

/// The sandbox that is attacked.
#[derive(Clone, Copy)]
enum Base {
    Read,
    Strict(StrictIdentity),
    /// A copy of the machine. Its root is the machine's root there, and nobody outside.
    View,
}

impl Base {
    /// Returns the uid that owns what a scene has for the job.
    fn owner(self, next: u32) -> u32 {
        match self {
            Self::Read | Self::Strict(StrictIdentity::Own) => next,
            Self::Strict(StrictIdentity::Root) | Self::View => 0,
        }
    }
}

/// Both ways to sandbox a job. With shared mounts, jobs are pre-forked.
pub fn both_ways(options: &Options) -> [Options; 2] {
    [false, true].map(|shared| Options {
        shared,
        ..options.clone()
    })
}

impl Arena {
    /// Runs jobs until one is of a child that was there before the job.
    pub fn gets_preforked(&mut self) -> bool {
        (0..50).any(|_| {
            let (is_preforked, ()) = preforked(|| {
                let report = self.run(vec!["cat".into(), "/proc/self/stat".into()]);
                let stat = String::from_utf8_lossy(&report.stdout.head);
                (start_in(&stat).expect("a number"), ())
            });
            is_preforked
        })
    }

    pub fn new(options: Options) -> Self {
        let daemon = Daemon::start(Options { jobs: 1, ..options });
        let fixture = AttackFixture {
            // A uid used by no other process is what protects a job of `read` from others.
            stranger: Some(Identity::new(0, &[])),
            ..daemon.fixture(Identity::new(daemon.first_job_uid(), &[ADM]))
        };
        Self::over(daemon, fixture, Base::Read, None)
    }

    pub fn strict(identity: StrictIdentity, options: Options) -> Self {
        Self::listed(Base::Strict(identity), options)
    }

    pub fn view(options: Options) -> Self {
        let arena = Self::listed(Base::View, options);
        // The first policy with copies has their layers tested; this waits for it.
        let tested = arena.daemon.remit(&admin(), &["doctor"]);
        let tested = String::from_utf8_lossy(&tested.stdout);
        assert!(tested.contains("sandbox   "), "{tested}");
        arena
    }

    fn listed(base: Base, options: Options) -> Self {
        let test_dir = TestDir::new();
        let program = test_dir.program(&built().join("remit-attack"));
        let dir = test_dir.directory("fixture");
        for name in [LISTED, SCRATCH] {
            let _ = test_dir.directory(name);
        }
        let policy = policy(base, test_dir.path());
        let daemon = Daemon::start(Options {
            jobs: 1,
            policy,
            ..options
        });
        let fixture = AttackFixture {
            dir,
            program,
            ..daemon.fixture(Identity::new(daemon.first_job_uid(), &[ADM]))
        };
        Self::over(daemon, fixture, base, Some(test_dir))
    }

    fn over(daemon: Daemon, fixture: AttackFixture, base: Base, test_dir: Option<TestDir>) -> Self {
        let client = daemon.client(&user_a()).expect("user A may connect");
        let next = daemon.first_job_uid();
        Self {
            daemon,
            client,
            fixture,
            next,
            base,
            test_dir,
        }
    }

    /// Returns Landlock's ABI version for jobs; 0 without Landlock.
    pub fn landlock(&self) -> u32 {
        self.daemon.status().landlock
    }

    pub fn run(&mut self, argv: Vec<String>) -> JobReport {
        let run = Run {
            profile: self.test_dir.as_ref().map(|_| PROFILE.to_owned()),
            wait_ms: Some(20_000),
            max_runtime_s: Some(15),
            ..Run::new(
                What::Argv(
                    argv.into_iter()
                        .map(|one| Bytes::from(one.into_bytes()))
                        .collect(),
                ),
                Purpose::Use,
            )
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

    pub fn perform(&mut self, id: &str) -> Seen {
        // The daemon alternates between two uids, so the next one is known unless a start was undone.
        for _ in 0..20 {
            let uid = self.base.owner(self.next);
            self.fixture.job = Identity::new(uid, &[ADM]);
            let scene = arrange(id, &self.fixture);
            let report = self.run(scene.argv(id));
            if report.enforced.as_ref().is_none_or(|it| it.uid == uid) {
                return Self::seen(&report, scene);
            }
        }
        panic!("the scenes of {id} were set for another uid each time");
    }

    /// Performs attacks one after another in one job: to make a copy of the machine takes longer than an attack.
    pub fn perform_each(&mut self, ids: &[&str]) -> Vec<Seen> {
        self.fixture.job = Identity::new(self.base.owner(self.next), &[ADM]);
        let scenes: Vec<Scene> = ids.iter().map(|id| arrange(id, &self.fixture)).collect();
        let quoted = |word: &String| format!("'{word}'");
        let lines = ids.iter().zip(&scenes).map(|(id, scene)| {
            let words: Vec<String> = scene.argv(id).iter().map(quoted).collect();
            format!("{} </dev/null; echo \"$?\"", words.join(" "))
        });
        let script = lines.collect::<Vec<_>>().join("\n");
        let report = self.run(["sh", "-c", &script].map(str::to_owned).into());
        let stdout = String::from_utf8_lossy(&report.stdout.head).into_owned();
        // Of an attack that was killed there is only a status.
        let mut lines = stdout.lines();
        let mut said = || match lines.next().unwrap_or_default() {
            line if line.starts_with('{') => (line, lines.next().unwrap_or_default()),
            status => ("", status),
        };
        let seen = scenes.into_iter().map(|scene| {
            let (line, status) = said();
            let signal = status.parse().ok().filter(|status: &i32| *status > 128);
            let outcome = Outcome::read(line, signal.map(|status| status - 128));
            let touched = scene.touched();
            Seen { outcome, touched }
        });
        seen.collect()
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

    pub fn failing<'a>(&mut self, checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
        checks
            .map(|check| (check.id, self.perform(check.id)))
            .filter(|(_, seen)| !matches!(seen.outcome, Outcome::Done(_)))
            .map(|(id, seen)| format!("{id}: {}", seen.outcome.word()))
            .collect()
    }
}

fn policy(base: Base, test_dir: &Path) -> String {
    let user = match base {
        Base::Strict(StrictIdentity::Root) => "user = \"root\"\n",
        Base::View => return format!("[profile.{PROFILE}]\nbase = \"plan\"\n\n{}", grant()),
        Base::Read | Base::Strict(StrictIdentity::Own) => "",
    };
    let test_dir = test_dir.display();
    format!(
        "[profile.{PROFILE}]\nbase = \"strict\"\n{user}groups = [\"#{ADM}\"]\n\
         exec = [\"{test_dir}/bin\", \"{test_dir}/fixture\"]\nread = [\"{test_dir}/{LISTED}\"]\n\
         scratch = [\"{test_dir}/{SCRATCH}\"]\nnetwork = \"loopback\"\n\n{}",
        grant()
    )
}

fn grant() -> String {
    format!(
        "[[grant]]\nname = \"test\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"{PROFILE}\"\n"
    )
}
