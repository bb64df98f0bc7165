//! System tests on the real binaries: one module for each promise or part. `cargo nextest run -p remit-tests -E
//! 'test(/^approvals::/)'` runs one module.

// Helpers panic as well. clippy.toml permits that only in functions marked `#[test]`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

/// Changes that another person approves, over the real daemon: what an approval starts, and what never starts.
mod approvals {
    mod acts;
    mod approved;
    mod approvers;
    mod attacks;
    mod claimed;
    mod confirm;
    mod confirm_attacks;
    mod decided;
    mod described;
    mod files;
    mod interrupted;
    mod meanwhile;
    mod notified;
    mod one_off;
    mod opens;
    mod pages;
    pub mod plans;
    mod scene;
    mod several;
    mod signed;
    mod void;
    mod words;
}

/// The audit log: written before the exec, complete, chained, and safe against secrets, forgeries and floods.
mod audit {
    mod corpus;
    mod records;
}

/// The chain of records stays valid whatever happens to the daemon, and becomes invalid by any change of the
/// file.
mod audit_log {
    mod changed;
    mod killed;
}

mod bus;
mod chaos;
mod command_line;
mod controls {
    //! Without a sandbox every attack succeeds and is observed. So the refusals in `sandbox.rs` come from sandbox
    //! layers, and its checks can fail. `without landlock` removes Landlock and nothing else.

    use std::process::{Command, Output};

    use remit_tests::attack::{self, Control, Expect, allowed};
    use remit_tests::control::{Outcome, perform, perform_check};
    use remit_tests::process::Identity;
    use remit_tests::scene::AttackFixture;
    use remit_tests::test_dir::{TestDir, unique_uids};

    fn fixture(test_dir: &TestDir) -> AttackFixture {
        AttackFixture::without_daemon(test_dir, Identity::new(unique_uids(2), &[4]))
    }

    #[test]
    fn every_attack_succeeds_without_a_sandbox() {
        let test_dir = TestDir::new();
        let fixture = fixture(&test_dir);
        let mut wrong = Vec::new();
        for attack in attack::all().chain(attack::hidden::HIDDEN) {
            if matches!(attack.control, Control::Impossible(_)) {
                continue;
            }
            let seen = perform(attack, &fixture);
            // In fresh namespaces root's success changes nothing on this machine.
            let done = match attack.control {
                Control::Root => matches!(seen.outcome, Outcome::Done(_)),
                Control::SameUid | Control::Impossible(_) => seen.meets(Expect::Done),
            };
            match &seen.outcome {
                _ if done => {}
                Outcome::Refused(errno) if attack.absent.contains(errno) => {
                    eprintln!(
                        "left out: this kernel has nothing that '{}' could attack",
                        attack.id
                    );
                }
                _ => wrong.push(format!(
                    "{}: {} touched {:?}",
                    attack.id,
                    seen.outcome.word(),
                    seen.touched
                )),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Properties of a sandbox only: empty directories, and output pipes that belong to the job.
    const SANDBOX_ONLY: &[&str] = &[
        "may-use-tmp",
        "may-use-var-tmp",
        "may-use-shm",
        "may-reopen-stdout",
        "may-reopen-stderr",
        "may-subshell-redirect",
    ];

    #[test]
    fn everything_allowed_works_without_a_sandbox() {
        let test_dir = TestDir::new();
        let fixture = fixture(&test_dir);
        let wrong: Vec<String> = allowed::ALL
            .iter()
            .filter(|check| !SANDBOX_ONLY.contains(&check.id))
            .map(|check| (check.id, perform_check(check, &fixture)))
            .filter(|(_, seen)| !matches!(seen.outcome, Outcome::Done(_)))
            .map(|(id, seen)| format!("{id}: {}", seen.outcome.word()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Prints Landlock's ABI or an errno, then the pid, to show that another system call still works.
    const ASK: &str = "use POSIX; $! = 0; my $abi = syscall(444, 0, 0, 1); \
        print $abi < 0 ? 'errno ' . ($! + 0) : 'abi', ' ', syscall(shift) == $$ ? 'pid' : 'no pid'";

    fn ask(program: &str, arguments: &[&str]) -> String {
        let Output { stdout, stderr, .. } = Command::new(program)
            .args(arguments)
            .arg(libc::SYS_getpid.to_string())
            .output()
            .expect("the command starts");
        String::from_utf8([stdout, stderr].concat()).expect("perl prints text")
    }

    #[test]
    fn landlock_is_absent_and_other_calls_work() {
        let launcher = env!("CARGO_BIN_EXE_without");
        let arguments = ["landlock", "perl", "-e", ASK];
        assert_eq!(ask(launcher, &arguments), "errno 38 pid");
        let plain = ask("perl", &["-e", ASK]);
        assert!(plain == "abi pid" || plain == "errno 38 pid", "{plain}");
    }
}
mod deaths;

/// Jobs refused by the kernel: the answer names the layer, the reason and the next step.
mod explain {
    mod everyday;
    mod profiles;
    mod scene {
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
    }
}

mod floor;

/// Temporary grants, over the real daemon: what they permit, how they end, and what they never permit.
mod grants {
    mod ends;
    mod granted;
    mod opens;
    mod refused;
    pub mod scene;
}

mod history;
mod identity;

/// Arguments that make common tools execute programs or write files. Each works without remit, and has no effect
/// as a value of a named command.
mod injections {
    mod attempts;
    mod fixture;
}

/// Bad input and misbehaving jobs end in a clear refusal or a named outcome. The daemon lives, others are served
/// within a second, and no process is left.
mod input {
    mod connections;
    mod frames;
    mod jobs;
    mod named;
    mod requests;
}

/// Jobs under attack: floods of jobs and output, binary output, slow searches, full disks, and jobs that resist
/// their end.
mod jobs {
    mod disk;
    mod endings;
    mod follow;
    mod grep;
    mod model;
    mod output;
    mod owners;
    mod queue;
    mod queue_ends;
    mod scene;
    mod stop;
}

mod copies;
mod copies_eyes;
mod copies_hidden;
mod copies_network;
mod copies_refused;
mod copies_storm;
mod large_plans;
mod mcp;
mod mcp_clients;
mod metrics;
mod mounts;
mod people;
mod pids;
mod plan_checks;
mod plan_checks_copies;
mod plans;

/// Effects of a policy over the real daemon, and checks of the shipped examples.
mod policy {
    mod arguments;
    mod broken;
    mod catalogue;
    mod commands;
    mod compiler;
    mod documents;
    mod inspect;
    pub mod opened;
    mod paths;
    mod probes;
    mod profiles;
    mod reload;
    mod replay;
    pub mod scene;
    mod shadow;
    mod strangers;
}

/// Kernel resources that exist once a machine or once a user: no job can use them up.
///
/// Each row of the table 'Pools of the machine' in SECURITY.md names its test.
mod pools {
    mod arena;
    mod kernel;
    mod users;
}

mod races;
mod restart;

/// Rights end at once if accounts are removed, renamed or leave a group.
mod rights {
    mod accounts;
    mod administrators;
    mod denials;
    mod grants;
    mod scene;
}

/// Attacks on the sandboxes through the real daemon.
///
/// [`controls`] shows that each attack succeeds without them. Without Landlock (`make
/// sandbox-without-landlock`), exactly the attacks succeed that only Landlock refuses: the table in SECURITY.md.
mod sandbox {
    mod approved;
    mod arena;
    mod read;
    mod strict;
    mod view;
}

mod secrets;
mod soak;
mod spawner;
mod steps;
mod strangers;
mod top;
mod uploads;

/// The warden against hostile peers: a broker played by the test, misbehaving administrators, and a wrong
/// environment.
#[allow(unsafe_code)]
mod warden {
    pub mod admin;
    pub mod anything;
    pub mod approvals;
    pub mod audit_log;
    pub mod flood;
    pub mod ledger;
    pub mod link;
    pub mod profiles;
    pub mod queue;
    pub mod self_test;
    pub mod service;
    pub mod stage;
    pub mod start;
    pub mod strangers;
}

mod zygote;
