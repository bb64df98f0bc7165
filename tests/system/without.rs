//! `without landlock` removes Landlock and nothing else.

use std::process::{Command, Output};

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
