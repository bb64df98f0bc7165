use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::caps;
use remit_common::names::Runtime;
use remit_common::refusal::{Code, Refusal};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Bytes, Purpose, Request, Run, What};

use crate::fake::{
    Answer, Directory, Fake, Said, ended, exited, job, long, paged, remit, reply, running,
};

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes().to_vec())
}

fn plain(what: What) -> Run {
    Run {
        wait_ms: Some(100),
        ..Run::new(what, Purpose::Use)
    }
}

#[test]
fn bytes_and_status_pass_through_unchanged() {
    let fake = Fake::job(exited(7, b"\x1b[31m\xff\n", b"oops\x07"));
    let said = fake.output(&["run", "--", "sh", "-c", "exit 7"]);
    assert_eq!(said.status, Some(7));
    assert_eq!(said.stdout, b"\x1b[31m\xff\n");
    assert_eq!(said.stderr, "oops\x07");
    let argv = ["sh", "-c", "exit 7"].map(bytes).to_vec();
    assert_eq!(
        fake.all_heard(),
        [Request::Run(plain(What::Argv(argv)))],
        "a short command takes one exchange"
    );
}

#[test]
fn every_option_is_asked_for() {
    let fake = Fake::job(exited(0, b"", b""));
    let said = fake.output(&[
        "run",
        "--profile",
        "web",
        "--cwd",
        "/srv",
        "--env",
        "A=1=2",
        "--env",
        "B=",
        "--timeout",
        "9",
        "--request-id",
        "r1",
        "df",
        "-h",
    ]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let asked = Run {
        cwd: Some(bytes("/srv")),
        env: vec![(bytes("A"), bytes("1=2")), (bytes("B"), bytes(""))],
        profile: Some("web".into()),
        max_runtime_s: Some(9),
        request_id: Some("r1".into()),
        ..plain(What::Argv(["df", "-h"].map(bytes).to_vec()))
    };
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
}

#[test]
fn a_named_command_takes_keys_and_values() {
    let fake = Fake::job(exited(3, b"", b""));
    let said = fake.output(&["run", "--name", "logs", "unit=a", "grep=b=c", "boot=-1"]);
    assert_eq!(said.status, Some(3), "{said:?}");
    let pairs = [("unit", "a"), ("grep", "b=c"), ("boot", "-1")];
    let asked = plain(What::Named {
        name: "logs".into(),
        args: pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
    });
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
}

#[test]
fn policy_command_takes_its_defined_arguments() {
    let fake = Fake::job(exited(0, b"", b""));
    let secret = fake.dir().join("token");
    std::fs::write(&secret, "s3cret=\n\n").unwrap();
    let secret = format!("token={}", secret.display());
    let args = [
        "run",
        "--stdin",
        "--secret",
        &secret,
        "--name",
        "nginx.test",
        "host=a",
        "host=b",
        "empty=",
    ];
    let said = with_input(&fake, &args, b"in");
    assert_eq!(said.status, Some(0), "{said:?}");
    let pairs = [
        ("host", "a"),
        ("host", "b"),
        ("empty", ""),
        ("token", "s3cret=\n"),
    ];
    let what = What::Named {
        name: "nginx.test".into(),
        args: pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
    };
    let asked = Run {
        stdin: Some(bytes("in")),
        ..plain(what.clone())
    };
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
}

#[test]
fn a_change_has_a_reason() {
    let fake = Fake::job(exited(3, b"out\n", b""));
    let what = What::Named {
        name: "service.reload".into(),
        args: vec![("unit".into(), "nginx.service".into())],
    };
    let asked = Run {
        purpose: Purpose::Change {
            reason: "new -site".into(),
        },
        ..plain(what)
    };
    for args in [
        &[
            "change",
            "service.reload",
            "unit=nginx.service",
            "-m",
            "new -site",
        ][..],
        &[
            "change",
            "--reason",
            "new -site",
            "--name",
            "service.reload",
            "unit=nginx.service",
        ],
        &[
            "change",
            "--reason=new -site",
            "service.reload",
            "--",
            "unit=nginx.service",
        ],
    ] {
        let said = fake.output(args);
        assert_eq!((said.status, said.text()), (Some(3), "out\n"), "{said:?}");
        assert_eq!(fake.all_heard(), [Request::Run(asked.clone())], "{args:?}");
    }
    let input = [
        "change",
        "a.b",
        "-m",
        "x",
        "--timeout",
        "9",
        "--secret",
        "token=-",
    ];
    let said = with_input(&fake, &input, b"from a pipe\n");
    assert_eq!(said.status, Some(3), "{said:?}");
    let asked = Run {
        max_runtime_s: Some(9),
        purpose: Purpose::Change { reason: "x".into() },
        ..plain(What::Named {
            name: "a.b".into(),
            args: vec![("token".into(), "from a pipe".into())],
        })
    };
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
}

#[test]
fn one_off_change_has_program_or_script() {
    let fake = Fake::job(exited(3, b"out\n", b""));
    let file = fake.dir().join("fix.sh");
    std::fs::write(&file, b"true\n").unwrap();
    let file = file.display().to_string();
    let asked = |what: What| Run {
        purpose: Purpose::Change { reason: "x".into() },
        ..plain(what)
    };
    let argv = ["dpkg", "--configure", "-a", "--profile"];
    let argv = argv.map(|word| word.as_bytes().to_vec().into());
    let script = What::Script {
        text: b"true\n".to_vec().into(),
        interpreter: Some(b"bash".to_vec().into()),
    };
    let program = asked(What::Argv(argv.to_vec()));
    for (args, expect) in [
        (
            &["--", "dpkg", "--configure", "-a", "--profile"][..],
            program.clone(),
        ),
        (
            &[
                "--profile",
                "as-b",
                "--cwd",
                "/srv",
                "--env",
                "TZ=UTC",
                "--",
                "dpkg",
                "--configure",
                "-a",
                "--profile",
            ],
            Run {
                profile: Some("as-b".into()),
                cwd: Some(b"/srv".to_vec().into()),
                env: vec![(b"TZ".to_vec().into(), b"UTC".to_vec().into())],
                ..program
            },
        ),
        (
            &["--script", "true\n", "--interpreter", "bash"],
            asked(script.clone()),
        ),
        (
            &["--script-file", &file, "--interpreter", "bash"],
            asked(script),
        ),
    ] {
        let said = fake.output(&[&["change", "-m", "x"], args].concat());
        assert_eq!((said.status, said.text()), (Some(3), "out\n"), "{said:?}");
        assert_eq!(fake.all_heard(), [Request::Run(expect)], "{args:?}");
    }
}

#[test]
fn meaningless_change_is_not_sent() {
    let fake = Fake::job(exited(0, b"", b""));
    let binary = fake.dir().join("binary");
    std::fs::write(&binary, b"s3cret\xff").unwrap();
    let binary = format!("a={}", binary.display());
    for (args, status, why) in [
        (&["-m", "x"][..], 64, "it names no command"),
        (
            &["-m", "x", "unit=ssh.service"],
            64,
            "the command's name comes first",
        ),
        (&["-m", "x", "a.b", "unit"], 64, "each is KEY=VALUE"),
        (&["a.b"], 64, "--reason"),
        (&["--", "true"], 64, "--reason"),
        (
            &["-m", "x", "--script", "true", "--", "true"],
            64,
            "cannot be used with",
        ),
        (
            &["-m", "x", "--script", "true", "a.b"],
            64,
            "cannot be used with",
        ),
        (
            &["-m", "x", "--profile", "host", "a.b"],
            64,
            "cannot be used with",
        ),
        (
            &["-m", "x", "--interpreter", "sh", "--", "true"],
            64,
            "cannot be used with",
        ),
        (
            &["-m", "x", "--secret", "a=/dev/null", "--", "true"],
            64,
            "an argument of a named command",
        ),
        (
            &["-m", "x", "a.b", "--stdin", "--secret", "a=-"],
            64,
            "standard input cannot be both",
        ),
        (
            &["-m", "x", "a.b", "--secret", "a=-", "--secret", "b=-"],
            64,
            "cannot be both",
        ),
        (
            &["-m", "x", "a.b", "--secret", "a=/nonexistent"],
            125,
            "cannot read 'a' from '/non",
        ),
        (
            &["-m", "x", "a.b", "--secret", "a=/dev/zero"],
            125,
            "has more than",
        ),
        (
            &["-m", "x", "a.b", "--secret", &binary],
            125,
            "the value of 'a' is not UTF-8",
        ),
    ] {
        let said = fake.output(&[&["change"][..], args].concat());
        assert_eq!((said.status, said.text()), (Some(status), ""), "{said:?}");
        assert!(said.stderr.contains(why), "{why}: {said:?}");
        assert!(!said.stderr.contains("s3cret"), "{said:?}");
    }
    let said = fake.output(&["run", "--secret", "a=-", "ls"]);
    assert_eq!(said.status, Some(64), "{said:?}");
    assert_eq!(fake.all_heard(), []);
}

#[test]
fn a_trial_tells_what_confined_it() {
    let fake = Fake::job(exited(7, b"out\n", b"err\n"));
    let said = fake.output(&["try", "--profile", "web", "--cwd", "/srv", "--", "df", "-h"]);
    assert_eq!((said.status, said.text()), (Some(7), "out\n"), "{said:?}");
    assert!(said.stderr.starts_with("err\nremit: profile: "), "{said:?}");
    assert!(said.stderr.contains("\nremit: layers: "), "{said:?}");
    let asked = Run {
        cwd: Some(bytes("/srv")),
        profile: Some("web".into()),
        purpose: Purpose::Try,
        ..plain(What::Argv(["df", "-h"].map(bytes).to_vec()))
    };
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
    let json = fake.output(&["--json", "try", "--script", "df"]).json();
    assert!(json["enforced"]["walls"].is_array(), "{json}");
}

#[test]
fn try_is_for_root_by_each_refusal() {
    let refusal = Refusal::new(Code::DeniedRule, "'read' is not granted to you");
    let fake = Fake::new(move |_| Answer::Refuse(refusal.clone()));
    let socket = Runtime::new(fake.dir()).socket();
    // By the daemon, and by the mode of its socket.
    for mode in [0o666, 0o600] {
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(mode)).unwrap();
        let said = fake.output_unprivileged(&["try", "x"]);
        let expect = "remit: only root may use 'remit try'\n";
        assert_eq!((said.status, said.stderr.as_str()), (Some(77), expect));
    }
    let said = fake.output(&["try", "x"]);
    assert_eq!(said.status, Some(125), "{said:?}");
}

#[test]
fn a_script_comes_from_text_file_or_input() {
    let fake = Fake::job(exited(0, b"", b""));
    let file = fake.dir().join("script");
    std::fs::write(&file, "-file").unwrap();
    let file = file.to_str().unwrap();
    for (args, expect) in [
        (&["run", "--script", "-text"][..], "-text"),
        (&["run", "--script-file", file], "-file"),
        (&["run", "--script-file", "-"], "input"),
    ] {
        let said = with_input(&fake, args, b"input");
        assert_eq!(said.status, Some(0), "{args:?} {said:?}");
        let asked = plain(What::Script {
            text: bytes(expect),
            interpreter: None,
        });
        assert_eq!(fake.all_heard(), [Request::Run(asked)], "{args:?}");
    }
    fake.output(&["run", "--interpreter", "python3", "--script", ""]);
    let asked = plain(What::Script {
        text: bytes(""),
        interpreter: Some(bytes("python3")),
    });
    assert_eq!(fake.all_heard(), [Request::Run(asked)]);
}

#[test]
fn input_over_its_limit_is_refused() {
    let fake = Fake::job(exited(0, b"", b""));
    let whole = vec![0xfe; caps::STDIN];
    let said = with_input(&fake, &["run", "--stdin", "cat"], &whole);
    assert_eq!(said.status, Some(0), "{said:?}");
    let asked = Run {
        stdin: Some(Bytes::from(whole)),
        ..plain(What::Argv(vec![bytes("cat")]))
    };
    assert!(fake.all_heard() == [Request::Run(asked)]);

    let over = vec![0xfe; caps::STDIN + 1];
    for args in [
        &["run", "--stdin", "cat"][..],
        &["run", "--script-file", "-"],
    ] {
        let said = with_input(&fake, args, &over);
        assert_eq!(said.status, Some(125));
        assert_eq!(
            said.stderr,
            "remit: standard input has more than 1048576 bytes\n"
        );
        assert_eq!(fake.all_heard(), [], "nothing is asked for");
    }
}

fn with_input(fake: &Fake, args: &[&str], input: &[u8]) -> Said {
    let mut child = fake
        .remit(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

#[test]
fn input_that_cannot_be_is_a_clear_line() {
    let fake = Fake::job(exited(0, b"", b""));
    let said = fake.output(&["run", "--script-file", "/nonexistent/\x1bx"]);
    assert_eq!(said.status, Some(125));
    assert_eq!(
        said.stderr,
        "remit: cannot read script '/nonexistent/\\x1bx': No such file or directory (os error 2)\n"
    );
    let said = fake.output(&["run", "--script-file", "-", "--stdin"]);
    assert_eq!(said.status, Some(64));
    assert!(said.stderr.contains("cannot be both"), "{said:?}");
    assert_eq!(fake.all_heard(), []);
}

#[test]
fn output_beyond_the_inline_part_is_paged_whole() {
    let written: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let report = long(&written, 10_000, 5_000);
    let all = written.clone();
    let fake = Fake::new(move |request| paged(&report, &all, request));
    let said = fake.output(&["run", "x"]);
    assert_eq!(said.status, Some(0));
    assert!(said.stdout == written, "{} bytes", said.stdout.len());
    assert_eq!(said.stderr, "");
    assert_eq!(fake.all_heard().len(), 1 + 3);
}

#[test]
fn head_and_tail_that_meet_are_the_whole() {
    let fake = Fake::job(long(b"0123456789", 6, 4));
    assert_eq!(fake.output(&["run", "x"]).stdout, b"0123456789");
}

#[test]
fn output_that_is_gone_is_no_success() {
    let report = long(&[b'x'; 1000], 100, 100);
    let fake = Fake::new(move |request| paged(&report, &[b'x'; 300], request));
    let said = fake.output(&["run", "x"]);
    assert_eq!(said.status, Some(74));
    assert_eq!(said.stdout, [b'x'; 300]);
    assert_eq!(
        said.stderr,
        "remit: only 300 of the 1000 bytes of standard output are kept\n"
    );
    let said = fake.output(&["job", &job(), "--follow", "--stdout", "--tail", "5"]);
    assert_eq!((said.status, said.text()), (Some(74), ""));
    assert_eq!(
        said.stderr,
        "remit: the last 5 bytes of standard output are not kept\n"
    );
    let all = "remit: only 300 of the 1000 bytes of standard output are kept\n";
    let parts: [(&[&str], usize, i32, &str); 6] = [
        (&["--stdout"], 300, 74, all),
        (&["--tail", "5"], 5, 74, all),
        (&["--offset", "290", "--limit", "20"], 10, 74, all),
        (
            &["--offset", "990"],
            0,
            74,
            "remit: the last 10 bytes of standard output are not kept\n",
        ),
        (&["--offset", "290", "--limit", "10"], 10, 0, ""),
        (&["--offset", "1000"], 0, 0, ""),
    ];
    for (part, length, status, message) in parts {
        let said = fake.output(&[&["job", &job()][..], part].concat());
        assert_eq!(
            (said.stdout.len(), said.status, said.stderr.as_str()),
            (length, Some(status), message),
            "{part:?}"
        );
    }
}

#[test]
fn job_over_output_limit_keeps_status() {
    let report = JobReport {
        state: State::OutputLimit,
        ..long(&[b'x'; 1000], 100, 100)
    };
    let fake = Fake::new(move |request| paged(&report, &[b'x'; 300], request));
    let said = fake.output(&["run", "x"]);
    assert_eq!(said.status, Some(137));
    assert_eq!(said.stdout, [b'x'; 300]);
    assert_eq!(
        said.stderr,
        "remit: only 300 of the 1000 bytes of standard output are kept\n\
         remit: the job wrote more than is kept\n"
    );
}

#[test]
fn request_is_resent_with_same_id() {
    let losses: [fn() -> Answer; 2] = [
        || Answer::HangUp,
        || match reply(exited(1, b"lost", b"")) {
            Answer::Reply(reply) => Answer::Torn(reply),
            other => other,
        },
    ];
    for lose in losses {
        for args in [&["run", "--request-id", "r1", "x"][..], &["run", "x"]] {
            let asked = AtomicU32::new(0);
            let fake = Fake::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
                0 => lose(),
                _ => reply(exited(0, b"", b"")),
            });
            let said = fake.output(args);
            assert_eq!((said.status, said.text()), (Some(0), ""), "{said:?}");
            let names: Vec<_> = fake.heard_as_sent().into_iter().map(name_of).collect();
            assert_eq!(names.len(), 2);
            assert!(names[0].is_some() && names[0] == names[1], "{names:?}");
        }
    }
}

#[test]
fn lost_answer_tells_how_to_find_job() {
    let fake = Fake::new(|_| Answer::HangUp);
    let said = fake.output(&["run", "--request-id", "r1", "x"]);
    assert_eq!(said.status, Some(69));
    let message = "remit: the command may have started: 'remit jobs' lists it; to get that same job and start no \
                other: the same line with --request-id r1\n";
    assert!(said.stderr.starts_with(message), "{said:?}");
    let refused = Fake::new(|_| Answer::Refuse(Refusal::new(Code::Busy, "no room")));
    assert_eq!(refused.output(&["run", "x"]).stderr.lines().count(), 1);
}

fn name_of(request: Request) -> Option<String> {
    match request {
        Request::Run(run) => run.request_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rate_limit_delays_and_loses_nothing() {
    let written = vec![b'y'; 900_000];
    let report = long(&written, 10, 10);
    let asked = AtomicU32::new(0);
    let fake = Fake::new(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
        2 | 4 => Answer::Refuse(Refusal::new(Code::RateLimited, "too often")),
        _ => paged(&report, &written, request),
    });
    let said = fake.output(&["run", "x"]);
    assert_eq!(
        (said.status, said.stdout.len()),
        (Some(0), 900_000),
        "{}",
        said.stderr
    );
    assert_eq!(said.stderr, "");
}

#[test]
fn unresponsive_daemon_is_abandoned() {
    let fake = Fake::new(|request| match request {
        Request::Run(_) => reply(running()),
        _ => Answer::HangUp,
    });
    for args in [&["run", "x"][..], &["run", "--json", "x"]] {
        let said = fake.output(args);
        assert_eq!(said.status, Some(69));
        assert_eq!(
            said.stderr,
            format!(
                "remit: job {id} belongs to the daemon; to see what becomes of it: remit job {id} --follow\n\
                 remit: lost the connection to remitd: connection closed\n\
                 remit: to go on: journalctl -u remitd -n 20 shows why\n",
                id = job()
            )
        );
        assert_eq!(fake.all_heard().len(), 4);
    }
}

#[test]
fn each_ending_has_its_status_and_one_line() {
    let cases = [
        (
            ended(
                State::Signalled,
                None,
                Some(9),
                "ended by signal 9 (SIGKILL)",
            ),
            137,
            "the job was killed: ended by signal 9 (SIGKILL)",
        ),
        (
            ended(State::Signalled, None, Some(40), ""),
            168,
            "the job was killed: signal 40",
        ),
        (
            ended(State::TimedOut, None, Some(9), "after 5 s"),
            124,
            "the job timed out: after 5 s",
        ),
        (
            ended(State::OomKilled, None, Some(9), "memory.max"),
            137,
            "the job ran out of memory: memory.max",
        ),
        (
            ended(State::OutputLimit, None, Some(9), ""),
            137,
            "the job wrote more than is kept",
        ),
        (
            ended(State::Cancelled, None, Some(15), "by its owner"),
            143,
            "the job was cancelled: by its owner",
        ),
        (
            ended(State::Interrupted, None, None, ""),
            137,
            "the job was interrupted: the daemon ended before it had",
        ),
        (
            ended(State::Denied, None, None, "no rule allows it now"),
            125,
            "the job was refused while it waited: no rule allows it now",
        ),
        (
            ended(State::NotStarted, None, None, "step 'mounts': EPERM"),
            125,
            "the job was not started: step 'mounts': EPERM",
        ),
        (
            ended(
                State::NotStarted,
                Some(126),
                None,
                "'/etc/passwd' is not executable",
            ),
            126,
            "the job was not started: '/etc/passwd' is not executable",
        ),
        (
            ended(State::NotStarted, Some(127), None, "no program\n'x'"),
            127,
            "the job was not started: no program\\n'x'",
        ),
    ];
    for (report, status, line) in cases {
        let said = Fake::job(report).output(&["run", "x"]);
        assert_eq!(said.status, Some(status), "{line}");
        assert_eq!(said.stderr, format!("remit: {line}\n"));
    }
}

#[test]
fn notes_and_doubts_are_printed() {
    let mut report = exited(0, b"", b"");
    report.notes = vec!["'/tmp' is private\x1b[2J".into()];
    report.ending.as_mut().unwrap().kill_verified = false;
    let said = Fake::job(report).output(&["run", "x"]);
    assert_eq!(
        said.stderr,
        "remit: note: '/tmp' is private\\x1b[2J\n\
         remit: a process of the job is stuck in the kernel: its end could not be verified, and the job \
         keeps its job slot until it is gone\n"
    );
    assert_eq!(said.status, Some(0));
}

#[test]
fn refusal_is_two_lines_and_rule_or_json_object() {
    let fake = Fake::new(|_| {
        let refusal = Refusal::new(Code::DeniedRule, "no grant lets\nyou run this")
            .lift("add this rule\n[[grant]]\n");
        Answer::Refuse(refusal)
    });
    let said = fake.output(&["run", "x"]);
    assert_eq!((said.status, said.text()), (Some(125), ""));
    let lines = "remit: no grant lets\\nyou run this (denied_rule)\n\
                 remit: to lift it: add this rule\n[[grant]]\n";
    assert_eq!(said.stderr, lines);
    let said = fake.output(&["run", "--json", "x"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(125), lines));
    assert_eq!(said.json()["error"]["code"], "denied_rule");
}

#[test]
fn json_is_one_object_that_steers_no_terminal() {
    let fake = Fake::job(exited(5, b"a\x1b[2J\xc2\x9b\xff\n", b""));
    let said = fake.output(&["--json", "run", "x"]);
    assert_eq!(said.status, Some(5));
    let line = said.text().strip_suffix('\n').unwrap();
    assert!(!line.chars().any(char::is_control), "{line}");
    let json = said.json();
    assert_eq!(json["job_id"], job());
    assert_eq!(json["state"], "exited");
    assert_eq!(json["exit"], 5);
    assert_eq!(json["stdout"], "a\\x1b[2J\\u{9b}\\xff\n");
    assert_eq!(json["encoding"], "escaped");
}

#[test]
fn without_a_daemon_it_says_so() {
    let dir = Directory::new();
    let said = Said::from(remit(dir.path(), &["run", "x"]).output().unwrap());
    assert_eq!(said.status, Some(69));
    let socket = Runtime::new(dir.path()).socket();
    assert_eq!(
        said.stderr,
        format!(
            "remit: remitd is not running: cannot connect to '{}': No such file or directory (os error 2)\n\
             remit: to go on: systemctl start remitd; journalctl -u remitd -n 20 shows why it ended\n",
            socket.display()
        )
    );
}

#[test]
fn user_without_access_gets_clear_error() {
    let fake = Fake::job(exited(0, b"", b""));
    let socket = Runtime::new(fake.dir()).socket();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    let said = fake.output_unprivileged(&["run", "x"]);
    assert_eq!(said.status, Some(77), "{said:?}");
    assert!(
        said.stderr.starts_with("remit: you may not connect to '"),
        "{said:?}"
    );
}

#[test]
fn a_reader_that_left_ends_it_quietly() {
    let fake = Fake::job(exited(7, &[b'x'; 100_000], b"err"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = fake
        .remit(&["run", "x"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = Said::from(output);
    assert_eq!((said.status, said.stderr.as_str()), (Some(7), "err"));
}

#[track_caller]
fn cannot_write(fake: &Fake, args: &[&str]) {
    let full = std::fs::File::create("/dev/full").unwrap();
    let child = fake.remit(args).stdout(full).stderr(Stdio::piped()).spawn();
    let said = Said::from(child.unwrap().wait_with_output().unwrap());
    assert_eq!(said.status, Some(74), "{args:?}");
    assert_eq!(
        said.stderr,
        "remit: cannot write output: No space left on device (os error 28)\n"
    );
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for args in [
        &["run", "x"][..],
        &["--json", "run", "x"],
        &["job", &job(), "--stdout"],
    ] {
        let report = exited(0, b"some", b"");
        let fake = Fake::new(move |request| paged(&report, b"some", request));
        cannot_write(&fake, args);
    }
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let fake = Fake::job(exited(0, b"", b""));
        cannot_write(&fake, args);
    }
}

#[test]
fn word_without_key_is_usage_error() {
    let fake = Fake::job(exited(0, b"", b""));
    for (args, meant) in [
        (
            &["service.status", "ssh"][..],
            "each is KEY=VALUE; 'unit=ssh' is likely meant",
        ),
        (&["service.list", "ssh*"], "pattern=ssh*"),
        (&["logs", "nginx"], "unit=nginx"),
        (
            &["service.failed", "x"],
            "service.failed takes no arguments",
        ),
        (
            &["nginx.test", "a\x1bb"],
            "'a\\x1bb' is no argument: each is KEY=VALUE; 'remit access --name nginx.test' lists",
        ),
        (
            &["nginx.test", "a=b", "--stdin"],
            "'--stdin' is no argument",
        ),
    ] {
        let said = fake.output(&[&["run", "--name"][..], args].concat());
        assert_eq!((said.status, said.text()), (Some(64), ""), "{said:?}");
        assert!(said.stderr.contains(meant), "{said:?}");
    }
    assert_eq!(fake.all_heard(), []);
}
