//! A daemon, and what it says of jobs that fail.

use remit_common::denial::Denial;
use remit_common::outcome::JobReport;
use remit_common::wire::{Purpose, Run};
use remit_tests::caller::{Caller, argv, script};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::Identity;

/// A user with a grant, and the daemon that answers them.
pub struct Scene {
    caller: Caller,
    pub daemon: Daemon,
}

impl Scene {
    /// As the tests' daemon is, with further options.
    pub fn new(options: Options) -> Self {
        let daemon = Daemon::start(options);
        Self {
            caller: Caller::new(&daemon, &user_a()),
            daemon,
        }
    }

    /// A job that has ended.
    pub fn ended(&mut self, run: Run) -> JobReport {
        let report = self.caller.run(run).expect("the user has a grant");
        assert!(report.ending.is_some(), "{report:?}");
        report
    }

    /// The same with root, who may try what runs in any profile.
    pub fn of_root(self) -> Self {
        Self {
            caller: Caller::new(&self.daemon, &Identity::new(0, &[])),
            ..self
        }
    }

    /// A job of root's that has ended, tried in a profile.
    pub fn within(&mut self, profile: &str, words: &[&str]) -> JobReport {
        self.ended(Run {
            profile: Some(profile.to_owned()),
            purpose: Purpose::Try,
            ..argv(words)
        })
    }

    /// A script that has ended.
    pub fn script(&mut self, text: &str) -> JobReport {
        self.ended(script(text))
    }
}

/// Standard error of a report, as text.
pub fn stderr(report: &JobReport) -> String {
    String::from_utf8_lossy(&report.stderr.head).into_owned()
}

/// Its one denial.
pub fn only(report: &JobReport) -> &Denial {
    match report.denials.as_slice() {
        [denial] => denial,
        other => panic!("{other:?}: {}", stderr(report)),
    }
}
