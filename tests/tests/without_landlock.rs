//! `without-landlock` really takes Landlock away, and nothing else.

// A test may stop at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used)]

use std::process::{Command, Output};

/// The ABI of Landlock, or why it cannot be told; then the pid, for a call that must still work.
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
#[cfg(target_arch = "x86_64")] // the pid's call has another number elsewhere
fn landlock_is_absent_and_other_calls_work() {
    let launcher = env!("CARGO_BIN_EXE_without-landlock");
    assert_eq!(ask(launcher, &["perl", "-e", ASK]), "errno 38 pid");
    let plain = ask("perl", &["-e", ASK]);
    assert!(plain == "abi pid" || plain == "errno 38 pid", "{plain}");
}
