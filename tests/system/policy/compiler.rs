//! The process that compiles the policy and parses `remit.toml` dies, hangs or lies: the old policy stays in force, and
//! the error says why.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use remit_policy::exchange::{FromCompiler, Question, send};
use remit_policy::{Diagnostic, Severity};
use remit_settings::Config;
use remit_tests::caller::{named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::process::{Identity, Process, descendants, status_field};
use remit_tests::test_dir::built;

use super::scene::{FILE, GRANTS, asked, prints, reload, with};

const COMPILER: &str = "bin/remit-compiler";

/// Replaces the compiler for policies by a script. `remit.toml` gets a right answer: the byte after a frame's five
/// says what is asked.
fn replace_for_policies(daemon: &Daemon, script: &str) {
    let text = fs::read_to_string(daemon.path().join("config/remit.toml")).expect("it is ours");
    let settings = remit_policy_compile::settings("remit.toml", &text).expect("it is right");
    let answer = script_that_sends(daemon, &FromCompiler::Settings(settings.encode()), "exit");
    let right = daemon.path().join("bin/right");
    fs::write(&right, answer).expect("the directory is writable");
    let first = format!(
        "#!/bin/sh\ncase $(head -c 6 | od -An -tu1 -j5) in *2) . '{}'; esac\n",
        right.display()
    );
    replace(daemon, &script.replacen("#!/bin/sh\n", &first, 1));
}

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
    let digest = daemon.status().policy;
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
        replace_for_policies(&daemon, &script);
        let found = reload(&daemon).expect_err("there is no policy").message;
        assert!(found.contains(why), "{script}: {found}");
        assert!(!found.contains("remit.toml"), "{script}: {found}");
        assert_eq!(daemon.status().policy, digest, "{script}");
        let look = asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
        assert_eq!(stdout(&look), "[old]", "{script}");
    }
    // One that asks is answered, but never forever.
    let question = FromCompiler::Asks(Question::Protected);
    replace_for_policies(&daemon, &script_that_sends(&daemon, &question, ""));
    let found = reload(&daemon).expect_err("there is no policy").message;
    assert!(found.contains("ended without an answer"), "{found}");

    fs::rename(&own, daemon.path().join(COMPILER)).expect("it is the same directory");
    let _ = reload(&daemon).expect("it is right");
    assert_ne!(daemon.status().policy, digest);
    daemon.stop();
}

#[test]
fn compiler_fails_for_settings_old_policy_stays_in_force() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let own = daemon.path().join("bin/kept");
    fs::hard_link(daemon.path().join(COMPILER), &own).expect("it is the same directory");
    let digest = daemon.status().policy;
    daemon.set_file(FILE, &(prints("site.look", "\"new\"", "") + GRANTS));
    let sends = |message| script_that_sends(&daemon, &message, "exec sleep 60");
    let refused = |message: &str| {
        let whole = Diagnostic::whole(Severity::Error, "a.toml", message);
        FromCompiler::Refused(vec![whole])
    };
    let mut without_jobs = Config::default();
    without_jobs.jobs.max = 0;
    let model = FromCompiler::Compiled {
        model: Vec::new(),
        warnings: Vec::new(),
        changes: Vec::new(),
    };
    for (script, why) in [
        (
            "#!/bin/sh\nexit 0\n".to_owned(),
            "ended without an answer (exit status: 0)",
        ),
        (
            "#!/bin/sh\necho and more text\nexec sleep 60\n".to_owned(),
            "sent nonsense: ",
        ),
        (
            "#!/bin/sh\nprintf '\\001\\377\\377\\377\\377'\nexec sleep 60\n".to_owned(),
            "its message has 4294967295 bytes, over 67108864",
        ),
        (
            sends(FromCompiler::Settings(b"x".to_vec())),
            "sent no settings: their bytes cannot be decoded",
        ),
        (
            sends(FromCompiler::Settings(vec![0; 2 << 20])),
            "sent no settings: they have 2097152 bytes, over 1048576",
        ),
        (
            sends(FromCompiler::Settings(without_jobs.encode())),
            "remit.toml': jobs.max must be 1 to 1024",
        ),
        (sends(model), "sent something other than settings"),
        (sends(FromCompiler::Refused(Vec::new())), "gave no reason"),
        (
            sends(refused("\u{1b}[2J")),
            "sent findings that cannot be shown",
        ),
    ] {
        replace(&daemon, &script);
        let found = reload(&daemon).expect_err("there are no settings").message;
        assert!(found.contains(why), "{script}: {found}");
        assert!(found.contains("/config/remit.toml'"), "{script}: {found}");
        assert_eq!(daemon.status().policy, digest, "{script}");
    }
    fs::rename(&own, daemon.path().join(COMPILER)).expect("it is the same directory");
    let _ = reload(&daemon).expect("it is right");
    assert_ne!(daemon.status().policy, digest);
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

fn awaited<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(8), "no {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Many services run as nobody. One of them could stop the compiler, or trace it and send a policy of its own.
#[test]
fn compiler_is_out_of_reach_of_other_processes() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    replace(&daemon, "#!/bin/sh\nexec sleep 60\n");
    let sleeps = |process: &Process| status_field(process.pid, "Name").as_deref() == Some("sleep");
    let (compiler, sent) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| reload(&daemon));
        let found = awaited("compiler", || {
            descendants(daemon.pid()).into_iter().find(sleeps)
        });
        let pid = found.pid;
        let compiler = Process::of(pid).expect("it sleeps");
        let stops = move || {
            Identity::new(65_534, &[])
                .adopt()
                .expect("the tests run as root");
            kill(Pid::from_raw(pid), Signal::SIGSTOP)
        };
        let sent = scope.spawn(stops).join().expect("it does not panic");
        assert!(loading.join().expect("it does not panic").is_err());
        (compiler, sent)
    });
    assert_eq!(sent, Err(Errno::EPERM));
    assert_eq!(
        compiler.uid,
        daemon.first_job_uid() - 1,
        "the watchdog's, no job's"
    );
    daemon.stop();

    // A debugger of the same uid: the kernel gives root the files of a process that cannot be traced (proc(5)).
    let mut command = Command::new(built().join("remit-compiler"));
    Identity::new(64_001, &[]).runs(&mut command);
    let mut compiler = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let files = format!("/proc/{}/fd", compiler.id());
    let is_roots = || (fs::metadata(&files).ok()?.uid() == 0).then_some(());
    awaited("undumpable compiler", is_roots);
    drop(compiler.stdin.take());
    assert!(!compiler.wait().expect("it ends").success());
}

/// A message may take much more memory than it has bytes, and a question is a work of root's.
#[test]
fn lies_of_the_compiler_cost_bounded_memory() {
    let mut daemon = with(&prints("site.look", "\"old\"", ""));
    let digest = daemon.status().policy;
    let question = |length| FromCompiler::Asks(Question::Program("x".repeat(length)));
    let too_much = "its questions are too many or too long";
    replace_for_policies(
        &daemon,
        &script_that_sends(&daemon, &question(4097), "exec sleep 60"),
    );
    let found = reload(&daemon).expect_err("there is no policy").message;
    assert!(found.contains(too_much), "{found}");
    assert_eq!(daemon.status().policy, digest);

    // The compiler has a minute to answer at a start, and ten seconds at a reload.
    assert!(daemon.end_alone());
    let mut questions = Vec::new();
    send(&mut questions, &question(4096)).expect("it is short");
    let path = daemon.path().join("bin/questions");
    fs::write(&path, questions.repeat((64 << 20) / 4096)).expect("the directory is writable");
    let reads = "exec 3<&0\ncat <&3 >/dev/null &";
    replace_for_policies(
        &daemon,
        &format!(
            "#!/bin/sh\n{reads}\ncat '{}'\nexec sleep 60\n",
            path.display()
        ),
    );
    let found = daemon.refuses_to_start();
    assert!(found.contains(too_much), "{found}");

    // A model, no warning, and 25 million changes, each of a byte here and of 24 in memory, which doubles with each growth.
    let changes: u32 = 24 << 20;
    let mut head = vec![1, 0, 0];
    let mut left = changes;
    while left >= 0x80 {
        head.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    head.push(u8::try_from(left).expect("seven bits"));
    let length = u32::try_from(head.len()).expect("it is short") + changes;
    let frame = [&[1][..], &length.to_le_bytes(), &head].concat();
    let path = daemon.path().join("bin/frame");
    fs::write(&path, frame).expect("the directory is writable");
    let send = format!(
        "cat '{}'\nhead -c {changes} /dev/zero\nexec sleep 60",
        path.display()
    );
    replace_for_policies(&daemon, &format!("#!/bin/sh\n{send}\n"));
    let found = daemon.refuses_to_start();
    assert!(
        found.contains("the child that reads the policy died"),
        "{found}"
    );
}
