//! Named commands with invalid arguments, and `Purpose::Try` by users other than root.

use remit_common::builtin::COMMANDS;
use remit_common::caps;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, run};
use remit_tests::daemon::{Daemon, Options, user_a, user_m};
use remit_tests::process::Identity;
use remit_wire::outcome::State;
use remit_wire::{Access, Bytes, Purpose, Reply, Request, Run, What};

fn named(name: &str, args: &[(&str, &str)]) -> Run {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    run(What::Named {
        name: name.to_owned(),
        args: args.iter().map(owned).collect(),
    })
}

#[test]
fn invalid_arguments_are_refused_by_name() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "x".repeat(caps::NAMED_VALUE + 1);
    let many = vec![("unit", "a"); caps::NAMED_ARGS + 1];
    let endless = vec![("unit", "a"); 100_000];
    let with = |change: &dyn Fn(&mut Run)| {
        let mut run = named("service.failed", &[]);
        change(&mut run);
        run
    };
    for (wanted, code, object) in [
        (named("service.stop", &[]), Code::NotFound, "service.stop"),
        (named("", &[]), Code::NotFound, ""),
        (named("service.status", &[]), Code::InvalidArgs, "unit"),
        (
            named("service.status", &[("unit", "--root=/x")]),
            Code::InvalidArgs,
            "unit",
        ),
        (
            named("service.status", &[("unit", "a/../b")]),
            Code::InvalidArgs,
            "unit",
        ),
        (
            named("logs", &[("since", "; id")]),
            Code::InvalidArgs,
            "since",
        ),
        (
            named("logs", &[("lines", "-1")]),
            Code::InvalidArgs,
            "lines",
        ),
        (
            named("logs", &[("directory", "/x")]),
            Code::InvalidArgs,
            "directory",
        ),
        (named("logs", &[("grep", &long)]), Code::TooLarge, "grep"),
        (named("logs", &many), Code::TooLarge, "args"),
        (named("logs", &endless), Code::TooLarge, "args"),
        (
            with(&|run| run.cwd = Some(Bytes::from(b"/".to_vec()))),
            Code::InvalidArgs,
            "cwd",
        ),
        (
            with(&|run| run.stdin = Some(Bytes::new())),
            Code::InvalidArgs,
            "stdin",
        ),
    ] {
        let refusal = caller.run(wanted).expect_err(object);
        assert_eq!(
            (refusal.code, refusal.object.as_deref()),
            (code, Some(object)),
            "{refusal}"
        );
        assert!(refusal.next.is_some(), "{refusal}");
    }
    assert!(daemon.records("intent").is_empty());
    let ungranted = Caller::new(&daemon, &user_m()).run(named("service.failed", &[]));
    assert_eq!(ungranted.expect_err("no grant").code, Code::NotFound);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn named_command_is_job_with_own_name() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for (wanted, name, line) in [
        (
            named("service.status", &[("unit", "remit-test-none")]),
            "service.status",
            "service.status unit=remit-test-none.service",
        ),
        (
            named("logs", &[("grep", "a b"), ("lines", "3")]),
            "logs",
            "logs 'grep=a b' lines=3",
        ),
    ] {
        let wanted = Run {
            request_id: Some(name.into()),
            ..wanted
        };
        let report = caller.run(wanted.clone()).expect("user A has a grant");
        // The content depends on the machine; only its existence is checked.
        assert_eq!(report.state, State::Exited, "{report:?}");
        assert!(report.stdout.total + report.stderr.total > 0, "{report:?}");
        assert_eq!(report.command, line);
        assert_eq!(
            report.enforced.as_ref().map(|e| e.profile.as_str()),
            Some("read")
        );
        let again = caller.run(wanted).expect("the same request");
        assert_eq!(
            again.job, report.job,
            "asked again, answered again, and the same job"
        );
        for event in ["intent", "end"] {
            let records = daemon.records(event);
            let record = records.last().expect("there is a record");
            assert_eq!(record["REMIT_COMMAND"], name);
            let argv = record["REMIT_ARGV"].as_str().expect("a text");
            assert!(argv.contains("/remit-look "), "{argv}");
            let message = record["MESSAGE"].as_str().expect("a text");
            assert!(message.ends_with(line), "{message}");
        }
    }
    let report = caller.run(argv(&["true"])).expect("user A has a grant");
    let records = daemon.records("intent");
    let record = records.last().expect("there is a record");
    assert_eq!(record["REMIT_JOB"], report.job.to_string());
    assert!(record.get("REMIT_COMMAND").is_none(), "{record}");
    daemon.stop();
}

#[test]
fn access_lists_and_explains_them() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let mut ask = |name: Option<&str>, argv: Option<Vec<Bytes>>| {
        caller.ask(Request::Access(Access {
            argv,
            profile: None,
            name: name.map(str::to_owned),
            query: None,
        }))
    };
    let Ok(Reply::Access(all)) = ask(None, None) else {
        panic!("a list");
    };
    assert_eq!(all.commands.len(), COMMANDS.len());
    let Ok(Reply::Access(one)) = ask(Some("logs"), None) else {
        panic!("an answer");
    };
    assert_eq!(one.commands.len(), 1);
    assert!(
        one.commands[0]
            .args
            .iter()
            .any(|arg| arg.starts_with("since: "))
    );
    assert!(one.asked.is_some_and(|asked| asked.allowed));
    let refusal = ask(Some("log"), None).expect_err("there is none");
    assert_eq!(refusal.code, Code::NotFound);
    let argv = Some(vec![Bytes::from(b"df".to_vec())]);
    let refusal = ask(Some("logs"), argv).expect_err("one or the other");
    assert_eq!(refusal.code, Code::InvalidArgs);
    let Ok(Reply::Access(none)) = Caller::new(&daemon, &user_m()).ask(Request::Access(Access {
        argv: None,
        profile: None,
        name: None,
        query: None,
    })) else {
        panic!("a list");
    };
    assert!(none.commands.is_empty());
    daemon.stop();
}

#[test]
fn only_root_tries_a_profile() {
    let tried = |run: Run| Run {
        purpose: Purpose::Try,
        ..run
    };
    let denies = "[[deny]]\nto = [\"#0\"]\ndeny = [\"run\"]\n\
                  [[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]\n";
    let daemon = Daemon::start(Options {
        policy: denies.into(),
        ..Options::default()
    });
    let root = Identity::new(0, &[0]);
    let mut root = Caller::new(&daemon, &root);
    let refusal = root.run(argv(&["true"])).expect_err("root is denied");
    assert_eq!(refusal.code, Code::DeniedRule);
    let report = root.run(tried(argv(&["id", "-u"]))).expect("root may try");
    assert_eq!(report.state, State::Exited);
    let enforced = report.enforced.expect("it ran");
    assert!(
        enforced.uid > 0 && !enforced.layers.is_empty(),
        "{enforced:?}"
    );
    let records = daemon.records("intent");
    assert_eq!(records[0]["REMIT_RULE"], "try by root");
    assert_eq!(records[0]["REMIT_VERDICT"], "try by root");
    for (profile, why) in [("none", "no profile 'none'"), ("host", "is no sandbox")] {
        let other = Run {
            profile: Some(profile.into()),
            ..tried(argv(&["true"]))
        };
        let refusal = root.run(other).expect_err("it is not to be tried");
        assert!(refusal.message.contains(why), "{refusal}");
    }
    let refusal = Caller::new(&daemon, &user_a())
        .run(tried(argv(&["true"])))
        .expect_err("user A has a grant, and is not root");
    assert_eq!(refusal.code, Code::DeniedRule);
    assert!(refusal.message.contains("only root"), "{refusal}");
    daemon.stop();
}
