//! A granted command: the policy defines what runs, and limits what its caller may set.

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change, named, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::test_dir::holder;
use remit_wire::outcome::State;
use remit_wire::{Bytes, Purpose, Run};

use super::scene::{FILE, GRANTS, asked, exit, prints, reload, started, with};

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes().to_vec())
}

#[test]
fn read_needs_run_change_needs_change_with_reason() {
    let changes =
        prints("site.switch", "\"x\"", "").replace("\"read\"\nprofile", "\"change\"\nprofile");
    let daemon = with(&(prints("site.look", "\"x\"", "") + &changes));
    let a = |run| asked(&daemon, &user_a(), run);
    let look = a(named("site.look", &[])).expect("it is granted");
    assert_eq!((exit(&look), stdout(&look).as_str()), (Some(0), "[x]"));
    assert_eq!(look.command, "site.look");
    let change_of = |name, reason: &str| Run {
        purpose: Purpose::Change {
            reason: reason.into(),
        },
        ..named(name, &[])
    };
    let done = a(change_of("site.switch", "the ticket says so")).expect("it is granted");
    assert_eq!((exit(&done), stdout(&done).as_str()), (Some(0), "[x]"));
    let record = daemon.records("intent").pop().expect("there is a record");
    assert!(
        record.to_string().contains("the ticket says so"),
        "{record}"
    );
    assert_eq!(record["REMIT_COMMAND"], "site.switch");

    let before = daemon.records("intent").len();
    let too_long = "x".repeat(remit_common::caps::REASON + 1);
    for refused in [
        a(change("site.look", &[])),
        a(named("site.switch", &[])),
        a(change_of("site.switch", "")),
        a(change_of("site.switch", &too_long)),
        a(change("service.failed", &[])),
        a(Run {
            purpose: Purpose::Change { reason: "x".into() },
            ..argv(&["true"])
        }),
    ] {
        let refusal = refused.expect_err("it is the other tool's, or says nothing");
        let codes = [Code::InvalidArgs, Code::TooLarge, Code::DeniedRule];
        assert!(codes.contains(&refusal.code), "{refusal:?}");
    }
    assert_eq!(daemon.records("intent").len(), before, "nothing ran");
    let fits = "x".repeat(remit_common::caps::REASON);
    assert!(a(change_of("site.switch", &fits)).is_ok());
    daemon.is_well();
    daemon.stop();
}

#[test]
fn caller_cannot_choose_cwd_env_profile_or_stdin() {
    let reads = "[[command]]\nname = \"site.read\"\nsummary = \"reads\"\nargv = [\"/usr/bin/cat\"]\n\
                 effect = \"read\"\nprofile = \"read\"\nstdin = \"caller\"\n";
    let sees = "[[command]]\nname = \"site.see\"\nsummary = \"sees\"\n\
                argv = [\"/usr/bin/sh\", \"-c\", \"pwd; echo $COLOUR; cat; env\"]\neffect = \"read\"\n\
                profile = \"read\"\ncwd = \"/usr\"\nenv = { COLOUR = \"blue\" }\n";
    let daemon = with(&format!("{reads}{sees}"));
    let a = |run| asked(&daemon, &user_a(), run);
    let seen = a(named("site.see", &[])).expect("it is granted");
    let text = stdout(&seen);
    assert!(text.starts_with("/usr\nblue\n"), "{text}");
    assert!(!text.contains("LD_PRELOAD"), "{text}");
    for (what, run) in [
        (
            "cwd",
            Run {
                cwd: Some(bytes("/")),
                ..named("site.see", &[])
            },
        ),
        (
            "stdin",
            Run {
                stdin: Some(bytes("id")),
                ..named("site.see", &[])
            },
        ),
        (
            "stdin",
            Run {
                stdin: Some(Bytes::new()),
                ..named("site.see", &[])
            },
        ),
        (
            "env",
            Run {
                env: vec![(bytes("TZ"), bytes("UTC"))],
                ..named("site.see", &[])
            },
        ),
        (
            "env",
            Run {
                env: vec![(bytes("LD_PRELOAD"), bytes("/x"))],
                ..named("site.see", &[])
            },
        ),
        (
            "env",
            Run {
                env: vec![(bytes("BASH_ENV"), bytes("/x"))],
                ..named("site.see", &[])
            },
        ),
        (
            "env",
            Run {
                env: vec![(bytes("COLOUR"), bytes("red"))],
                ..named("site.see", &[])
            },
        ),
        (
            "profile",
            Run {
                profile: Some("strict".into()),
                ..named("site.see", &[])
            },
        ),
        (
            "profile",
            Run {
                profile: Some("host".into()),
                ..named("site.see", &[])
            },
        ),
    ] {
        let refusal = a(run).expect_err(what);
        let codes = [Code::InvalidArgs, Code::DeniedRule];
        assert!(codes.contains(&refusal.code), "{what}: {refusal:?}");
        assert!(format!("{refusal:?}").contains(what), "{what}: {refusal:?}");
    }
    let fed = Run {
        stdin: Some(bytes("given")),
        ..named("site.read", &[])
    };
    assert_eq!(stdout(&a(fed).expect("it takes one")), "given");
    let unfed = a(named("site.read", &[])).expect("it may be empty");
    assert_eq!((exit(&unfed), stdout(&unfed).as_str()), (Some(0), ""));
    let empty =
        "it printed nothing: a search has found nothing, and a check with exit status 0 no fault";
    assert_eq!((unfed.notes, seen.notes), (vec![empty.into()], Vec::new()));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn its_limits_and_its_profile_hold() {
    let sleeps = "[[command]]\nname = \"site.sleep\"\nsummary = \"sleeps\"\nargv = [\"/usr/bin/sleep\", \"60\"]\n\
                  effect = \"read\"\nprofile = \"read\"\nlimits = { runtime = \"1s\" }\n";
    let looks = "[[command]]\nname = \"site.strict\"\nsummary = \"looks\"\n\
                 argv = [\"/usr/bin/ls\", \"/etc/machine-id\", \"/var/lib\"]\neffect = \"read\"\nprofile = \"strict\"\n";
    let daemon = with(&format!("{sleeps}{looks}"));
    let slept = asked(&daemon, &user_a(), named("site.sleep", &[])).expect("it is granted");
    assert_eq!(slept.state, State::TimedOut, "{slept:?}");
    let end = daemon.records("end").pop().expect("there is a record");
    let message = end["MESSAGE"].as_str().expect("it is text");
    assert!(
        message.contains("ended after 1 s (limit of command 'site.sleep')"),
        "{message}"
    );
    let looked = asked(&daemon, &user_a(), named("site.strict", &[])).expect("it is granted");
    let enforced = looked.enforced.as_ref().expect("it ran");
    assert_eq!(enforced.profile, "strict");
    assert_eq!(
        (looked.state, stdout(&looked).as_str()),
        (State::Exited, ""),
        "{looked:?}"
    );
    assert_ne!(exit(&looked), Some(0), "it sees nothing of the machine");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_secret_reaches_the_program_and_nothing_else() {
    const CANARY: &str = "hunter2-canary-8f3a";
    let common =
        "effect = \"read\"\nprofile = \"read\"\nargs.password = { type = \"secret\", max = 64 }\n";
    let as_file = format!(
        "[[command]]\nname = \"site.file\"\nsummary = \"file\"\nargv = [\"/usr/bin/wc\", \"--bytes\", \"{{password}}\"]\n{common}"
    );
    let as_stdin = format!(
        "[[command]]\nname = \"site.stdin\"\nsummary = \"stdin\"\nargv = [\"/usr/bin/wc\", \"--bytes\"]\n\
         stdin = \"{{password}}\"\n{common}"
    );
    let daemon = with(&format!("{as_file}{as_stdin}"));
    let args = [("password", CANARY)];
    let expected = CANARY.len().to_string();
    for name in ["site.file", "site.stdin"] {
        let report = asked(&daemon, &user_a(), named(name, &args)).expect("it is granted");
        assert_eq!(exit(&report), Some(0), "{name}: {report:?}");
        let text = stdout(&report);
        assert_eq!(
            text.split_whitespace().next(),
            Some(expected.as_str()),
            "{name}: {text}"
        );
        assert!(!format!("{report:?}").contains(CANARY), "{report:?}");
    }
    let too_long = "x".repeat(65);
    for value in ["", "\0", too_long.as_str()] {
        let refused = asked(
            &daemon,
            &user_a(),
            named("site.file", &[("password", value)]),
        );
        if let Err(refusal) = refused {
            assert!(!format!("{refusal:?}").contains("xxxxx"), "{refusal:?}");
        } else {
            assert_ne!(value.len(), 65, "it is too long");
        }
    }
    let listed = daemon.remit(&user_a(), &["--json", "jobs"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(CANARY));
    let log = std::fs::read_to_string(daemon.path().join("state/audit.jsonl")).unwrap();
    let ends = log
        .lines()
        .filter(|line| line.contains(r#""REMIT_OUTPUT_BYTES""#));
    let ends: Vec<&str> = ends.collect();
    assert!(
        ends.len() >= 2 && ends.iter().all(|end| !end.contains("REMIT_OUTPUT_SHA256")),
        "{ends:?}"
    );
    assert!(!daemon.stderr().contains(CANARY));
    assert_eq!(
        holder(daemon.path(), CANARY.as_bytes(), &[]),
        None,
        "a file holds it"
    );
    let fits = "x".repeat(64);
    assert!(
        asked(
            &daemon,
            &user_a(),
            named("site.file", &[("password", &fits)])
        )
        .is_ok()
    );
    daemon.stop();
}

fn one_slot() -> Daemon {
    let options = Options {
        jobs: 1,
        waiting: 2,
        ..Options::default()
    };
    started(options, &prints("site.look", "\"old\"", ""))
}

fn queue_command(
    daemon: &Daemon,
) -> (
    Caller,
    remit_common::names::JobId,
    Caller,
    remit_common::names::JobId,
) {
    let mut b = Caller::new(daemon, &user_b());
    let holder = b
        .run(at_once(argv(&["sleep", "60"])))
        .expect("it is granted")
        .job;
    let mut a = Caller::new(daemon, &user_a());
    let report = a
        .run(at_once(named("site.look", &[])))
        .expect("it is granted");
    assert_eq!(report.state, State::Queued, "{report:?}");
    (b, holder, a, report.job)
}

#[test]
fn queued_command_without_grant_never_runs() {
    let daemon = one_slot();
    let (mut b, holder, mut a, job) = queue_command(&daemon);
    let others = "[[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n";
    daemon.set_file(FILE, &(prints("site.look", "\"old\"", "") + others));
    let _ = reload(&daemon).expect("it is right");
    let _ = b.stop(holder).expect("it is theirs");
    let ended = a.end_of(job);
    assert_eq!(
        (ended.state, stdout(&ended).as_str()),
        (State::Denied, ""),
        "{ended:?}"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn queued_command_never_runs_old_definition() {
    let daemon = one_slot();
    let (mut b, holder, mut a, job) = queue_command(&daemon);
    daemon.set_file(FILE, &(prints("site.look", "\"new\"", "") + GRANTS));
    let _ = reload(&daemon).expect("it is right");
    let _ = b.stop(holder).expect("it is theirs");
    let ended = a.end_of(job);
    // The command changed while the job waited. It is refused, or the new one runs; never the old one.
    assert_ne!(stdout(&ended), "[old]", "{ended:?}");
    assert!(
        [State::Denied, State::Exited].contains(&ended.state),
        "{ended:?}"
    );
    let fresh = asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
    assert_eq!(stdout(&fresh), "[new]");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn repeated_request_is_same_job_other_value_conflicts() {
    let args = "args.word = { type = \"string\" }";
    let daemon = with(&prints("site.look", "\"{word}\"", args));
    let run = |word| Run {
        request_id: Some("one".into()),
        ..named("site.look", &[("word", word)])
    };
    let first = asked(&daemon, &user_a(), run("x")).expect("it is granted");
    let again = asked(&daemon, &user_a(), run("x")).expect("it is the same");
    assert_eq!(again.job, first.job);
    let refusal = asked(&daemon, &user_a(), run("y")).expect_err("it is another");
    assert_eq!(refusal.code, Code::ConflictRequestId, "{refusal}");
    daemon.stop();
}

#[test]
fn unit_without_its_kind_is_a_service() {
    let rules = "[[grant]]\nto = [\"#64001\"]\nallow = [\"unit.say\"]\nargs = { unit = [\"nginx.service\"] }\n\
                 [[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n\
                 [[test]]\nwho = \"#64001\"\nwhat = \"run unit.say unit=nginx\"\nverdict = \"allow\"\n\
                 [[test]]\nwho = \"#64001\"\nwhat = \"run unit.say unit=ssh\"\nverdict = \"deny\"\n";
    let say = prints("unit.say", "\"{unit}\"", "args.unit = { type = \"unit\" }");
    let daemon = Daemon::start(Options {
        policy: say + rules,
        ..Options::default()
    });
    let say = |unit| asked(&daemon, &user_a(), named("unit.say", &[("unit", unit)]));
    for unit in ["nginx", "nginx.service"] {
        let said = say(unit).expect("it is granted");
        assert_eq!(stdout(&said), "[nginx.service]");
        let record = daemon.records("intent").pop().expect("there is a record");
        let record = record.to_string();
        assert!(record.contains("unit=nginx.service"), "{record}");
    }
    for unit in ["ssh", "nginx.socket", "nginx.conf", "ngin"] {
        let refusal = say(unit).expect_err("the grant is of one unit");
        assert_eq!(refusal.code, Code::DeniedRule, "{unit}: {refusal:?}");
    }
    assert_eq!(daemon.records("intent").len(), 2, "a refused unit ran");
    daemon.is_well();
    daemon.stop();
}
