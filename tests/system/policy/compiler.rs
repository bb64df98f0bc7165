//! The process that compiles the policy dies, hangs or lies: the old policy stays in force, and the error says why.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_policy::exchange::{FromCompiler, Question, send};
use remit_policy::{Diagnostic, Severity};
use remit_tests::caller::{named, stdout};
use remit_tests::daemon::{Daemon, user_a};

use super::scene::{FILE, GRANTS, asked, prints, reload, status, with};

const COMPILER: &str = "bin/remit-compiler";

fn replace(daemon: &Daemon, script: &str) {
    daemon.set_file(COMPILER, script);
    let path = daemon.path().join(COMPILER);
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

/// Returns a program that sends this message, whatever it is asked, and then does `rest`.
fn script_that_sends(daemon: &Daemon, message: &FromCompiler, rest: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut bytes = Vec::new();
    send(&mut bytes, message).expect("it is short");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = daemon.path().join(format!("bin/answer-{number}"));
    fs::write(&path, bytes).expect("the directory is writable");
    format!("#!/bin/sh\ncat '{}'\n{rest}\n", path.display())
}

#[test]
fn compiler_fails_old_policy_stays_in_force() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let own = daemon.path().join("bin/kept");
    fs::hard_link(daemon.path().join(COMPILER), &own).expect("it is the same directory");
    let digest = status(&daemon).policy;
    daemon.set_file(FILE, &(prints("site.look", "\"new\"", "") + GRANTS));
    let model = |model: Vec<u8>| FromCompiler::Compiled {
        model,
        warnings: Vec::new(),
        changes: Vec::new(),
    };
    let refused = |message: &str| {
        let whole = Diagnostic::whole(Severity::Error, "a.toml", message);
        FromCompiler::Refused(vec![whole])
    };
    let sends = |message| script_that_sends(&daemon, &message, "exec sleep 60");
    for (script, why) in [
        (
            "#!/bin/sh\nexit 3\n".to_owned(),
            "ended without an answer (exit status: 3)",
        ),
        (
            "#!/bin/sh\nkill -9 $$\n".to_owned(),
            "ended without an answer (signal: 9 (SIGKILL))",
        ),
        (
            "#!/bin/sh\nexec sleep 60\n".to_owned(),
            "did not answer in 10 s",
        ),
        (
            "#!/bin/sh\nexec >/dev/null; exec sleep 60\n".to_owned(),
            "closed its output without an answer",
        ),
        (
            "#!/bin/sh\necho and more text\nexec sleep 60\n".to_owned(),
            "sent nonsense: ",
        ),
        (sends(model(b"x".to_vec())), "sent no model: "),
        (sends(FromCompiler::Refused(Vec::new())), "gave no reason"),
        (
            sends(refused("\u{1b}[2J")),
            "sent findings that cannot be shown",
        ),
        (
            sends(refused("line 7 is odd")),
            "a.toml: error: line 7 is odd",
        ),
    ] {
        replace(&daemon, &script);
        let found = reload(&daemon).expect_err("there is no policy").message;
        assert!(found.contains(why), "{script}: {found}");
        assert_eq!(status(&daemon).policy, digest, "{script}");
        let look = asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
        assert_eq!(stdout(&look), "[old]", "{script}");
    }
    // One that asks is answered, but never forever.
    let question = FromCompiler::Asks(Question::Protected);
    replace(&daemon, &script_that_sends(&daemon, &question, ""));
    let found = reload(&daemon).expect_err("there is no policy").message;
    assert!(found.contains("ended without an answer"), "{found}");

    fs::rename(&own, daemon.path().join(COMPILER)).expect("it is the same directory");
    let _ = reload(&daemon).expect("it is right");
    assert_ne!(status(&daemon).policy, digest);
    daemon.stop();
}

#[test]
fn missing_compiler_or_one_of_another_user_is_an_error() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let path = daemon.path().join(COMPILER);
    replace(&daemon, "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("it is ours");
    let found = reload(&daemon).expect_err("all may write it").message;
    assert!(
        found.contains("users other than root can write it"),
        "{found}"
    );
    fs::remove_file(&path).expect("it is ours");
    let found = reload(&daemon).expect_err("it is missing").message;
    assert!(found.contains("cannot find 'remit-compiler'"), "{found}");
    daemon.stop();
}
