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
    for attack in attack::all().chain(attack::hidden::ATTACKS) {
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
    print $abi < 0 ? 'errno ' . ($! + 0) : 'abi', ' ', syscall(39) == $$ ? 'pid' : 'no pid'";

fn ask(program: &str, arguments: &[&str]) -> String {
    let Output { stdout, stderr, .. } = Command::new(program)
        .args(arguments)
        .output()
        .expect("the command starts");
    String::from_utf8([stdout, stderr].concat()).expect("perl prints text")
}

#[test]
#[cfg(target_arch = "x86_64")] // getpid has another number on other architectures
fn landlock_is_absent_and_other_calls_work() {
    let launcher = env!("CARGO_BIN_EXE_without");
    let arguments = ["landlock", "perl", "-e", ASK];
    assert_eq!(ask(launcher, &arguments), "errno 38 pid");
    let plain = ask("perl", &["-e", ASK]);
    assert!(plain == "abi pid" || plain == "errno 38 pid", "{plain}");
}
