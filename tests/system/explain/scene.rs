//! A daemon, and its reports about jobs that fail.

use remit_common::denial::Denial;
use remit_tests::caller::{Caller, argv, script};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::Identity;
use remit_wire::outcome::JobReport;
use remit_wire::{Purpose, Run};

/// What asks the system bus is refused, as on a machine where jobs have none.
pub const NO_BUS: &str = "[bus]\noff = true\n";

pub struct Scene {
    caller: Caller,
    pub daemon: Daemon,
}

impl Scene {
    pub fn new(options: Options) -> Self {
        let daemon = Daemon::start(options);
        Self {
            caller: Caller::new(&daemon, &user_a()),
            daemon,
        }
    }

    pub fn ended(&mut self, run: Run) -> JobReport {
        let report = self.caller.run(run).expect("the user has a grant");
        assert!(report.ending.is_some(), "{report:?}");
        report
    }

    pub fn of_root(self) -> Self {
        Self {
            caller: Caller::new(&self.daemon, &Identity::new(0, &[])),
            ..self
        }
    }

    pub fn within(&mut self, profile: &str, words: &[&str]) -> JobReport {
        self.ended(Run {
            profile: Some(profile.to_owned()),
            purpose: Purpose::Try,
            ..argv(words)
        })
    }

    pub fn script(&mut self, text: &str) -> JobReport {
        self.ended(script(text))
    }
}

pub fn stderr(report: &JobReport) -> String {
    String::from_utf8_lossy(&report.stderr.head).into_owned()
}

pub fn only(report: &JobReport) -> &Denial {
    match report.denials.as_slice() {
        [denial] => denial,
        other => panic!("{other:?}: {}", stderr(report)),
    }
}
