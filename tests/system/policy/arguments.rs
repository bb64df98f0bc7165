//! Values: a refusal names the argument, and accepted values arrive byte for byte.

use std::io::{Read, Write};

use remit_common::caps;
use remit_common::frame::encode;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, named, stdout};
use remit_tests::daemon::user_a;
use remit_wire::{FromClient, Hello, PROTOCOL, Request};

use super::scene::{exit, prints, with};

const TYPES: &[(&str, &str)] = &[
    ("t.plain", "{ type = \"string\" }"),
    ("t.short", "{ type = \"string\", max = 4 }"),
    (
        "t.free",
        "{ type = \"string\", pattern = '[^\\x00]*', max = 4096 }",
    ),
    (
        "t.dash",
        "{ type = \"string\", pattern = '-[a-z]', dash = true }",
    ),
    ("t.either", "{ type = \"string\", pattern = 'a|b' }"),
    (
        "t.slow",
        "{ type = \"string\", pattern = '(a+)+', max = 4096 }",
    ),
    ("t.int", "{ type = \"int\", min = 1, max = 100 }"),
    ("t.signed", "{ type = \"int\", min = -5, max = 5 }"),
    (
        "t.enum",
        "{ type = \"enum\", values = [\"on\", \"Off\", \"--all\"] }",
    ),
    ("t.unit", "{ type = \"unit\", instances = true }"),
    ("t.user", "{ type = \"user\" }"),
    ("t.package", "{ type = \"package\" }"),
    (
        "t.host",
        "{ type = \"enum\", values = [\"db.example.com\", \"10.0.0.1\"] }",
    ),
];

const TAKEN: &[(&str, &[&str])] = &[
    (
        "t.plain",
        &["x", "a-b", "_x", "user@host:1", "1+1", "a/b", "a.b_c"],
    ),
    ("t.short", &["abcd"]),
    (
        "t.free",
        &[
            "",
            " ",
            "a b",
            "a\tb",
            "a\nb",
            "$(id)",
            "`id`",
            "; id",
            "| id",
            "&& id",
            "> /tmp/x",
            "*",
            "?",
            "~",
            "%s",
            "%n",
            "\\x41",
            "${HOME}",
            "{{x}}",
            "{x}",
            "'",
            "\"",
            "\u{1b}[31m",
            "\r",
            "\u{b}",
            "\u{2028}",
            "\u{202e}",
            "\u{200b}",
            "\u{ff0d}\u{ff0d}x",
            "e\u{301}",
            "\u{e9}",
            "a\n-b",
            "\u{7f}",
            "\u{85}",
        ],
    ),
    ("t.dash", &["-a", "-z"]),
    ("t.either", &["a", "b"]),
    ("t.slow", &["aaaa"]),
    ("t.int", &["1", "10", "100"]),
    ("t.signed", &["-5", "-1", "0", "5"]),
    ("t.enum", &["on", "Off", "--all"]),
    ("t.unit", &["ssh.service", "a@b.timer", "dev-sda1.device"]),
    ("t.user", &["alice", "www-data", "_apt"]),
    ("t.package", &["openssl", "libstdc++6", "linux-image-6.1"]),
    ("t.host", &["db.example.com"]),
];

const REFUSED: &[(&str, &[&str])] = &[
    (
        "t.plain",
        &[
            "",
            "/etc/x",
            "..",
            "@/etc/x",
            "+x",
            " ",
            "a ",
            " a",
            "a\n",
            "a b",
            "-",
            "--",
            "-x",
            "--help",
            "a;b",
            "a|b",
            "$x",
            "`",
            "a\tb",
            "a\u{0}b",
            "\u{0}",
            "a\r",
            "\u{1b}",
            "\u{2028}",
            "\u{202e}",
            "\u{200b}",
            "\u{ff0d}x",
            "e\u{301}",
            "\u{e9}",
            "a*",
            "a?",
            "~",
            "%s",
            "{x}",
            "a=b",
            "a,b",
            "\u{663}",
        ],
    ),
    ("t.short", &["abcde"]),
    ("t.free", &["a\u{0}b", "-x", "--", "-", "\u{0}"]),
    ("t.dash", &["a", "-ab", "--a", "-a\n", "-A", "- a"]),
    (
        "t.either",
        &["xb", "a\nz", "ab", "", "a\n", "\na", "b ", "A", "a|b"],
    ),
    ("t.slow", &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", ""]),
    (
        "t.int",
        &[
            "0",
            "101",
            "1e2",
            "0x10",
            "010",
            "+5",
            "-1",
            "5.0",
            " 5",
            "5 ",
            "5\n",
            "\u{665}",
            "",
            "1_0",
            "--5",
            "99999999999999999999",
            "18446744073709551617",
            "1\u{0}",
        ],
    ),
    (
        "t.signed",
        &["-6", "6", "-0", "--1", "- 1", "-", "-05", "-x"],
    ),
    (
        "t.enum",
        &[
            "ON", "off", "on ", " on", "o", "onn", "--ALL", "--al", "--all=x", "on\n", "\u{43e}n",
            "",
        ],
    ),
    (
        "t.unit",
        &[
            "--root=/x",
            "a/../b.service",
            "-x.service",
            "a b.service",
            ".service",
            "x.service\n",
            "*.service",
            "",
        ],
    ),
    (
        "t.user",
        &[
            "-x",
            "a:b",
            "a b",
            "a/b",
            "root\n",
            "",
            "a,b",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
    ),
    (
        "t.package",
        &[
            "-oDPkg::Pre-Invoke::=id",
            "./x.deb",
            "/x.deb",
            "a b",
            "openssl-",
            "openssl+",
            "a=1 b",
            "*",
            "a\n",
            "",
            "^x",
        ],
    ),
    (
        "t.host",
        &[
            "localhost",
            "127.1",
            "0",
            "[::1]",
            "2130706433",
            "DB.example.com",
            "db.example.com.",
            "db\u{3002}example.com",
        ],
    ),
];

fn commands() -> String {
    TYPES
        .iter()
        .map(|(name, kind)| prints(name, "\"--\", \"{x}\"", &format!("args.x = {kind}")))
        .collect()
}

#[test]
fn accepted_value_arrives_exactly_refused_value_runs_nothing() {
    // printf(1) takes the first `--` as the end of options.
    let daemon = with(&commands().replace("\"[%s]\", \"--\"", "\"--\", \"[%s]\""));
    let mut caller = Caller::new(&daemon, &user_a());
    for (name, values) in TAKEN {
        for value in *values {
            let report = caller
                .run_patiently(&named(name, &[("x", value)]))
                .unwrap_or_else(|why| panic!("{name} {value:?}: {why}"));
            assert_eq!(stdout(&report), format!("[{value}]"), "{name} {report:?}");
        }
    }
    let ran = daemon.records("intent").len();
    for (name, values) in REFUSED {
        for value in *values {
            let refused = caller.run_patiently(&named(name, &[("x", value)]));
            let Err(refusal) = refused else {
                panic!("{name} takes {value:?}");
            };
            assert_eq!(
                (refusal.code, refusal.object.as_deref()),
                (Code::InvalidArgs, Some("x")),
                "{name} {value:?}: {refusal:?}"
            );
            assert!(
                !refusal.message.contains(['\n', '\u{1b}', '\u{202e}']),
                "{refusal:?}"
            );
        }
    }
    assert_eq!(daemon.records("intent").len(), ran, "a refused value ran");
    daemon.is_well();
    daemon.stop();
}

fn x(value: &str) -> (&'static str, &str) {
    ("x", value)
}

#[test]
fn oversized_input_is_refused_before_fork() {
    let daemon = with(
        &(commands()
            + &prints(
                "t.many",
                "\"{x}\"",
                "args.x = { type = \"string\", repeat = 3 }",
            )),
    );
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "a".repeat(caps::NAMED_VALUE);
    let longer = "a".repeat(caps::NAMED_VALUE + 1);
    for (run, code) in [
        (named("t.slow", &[x(&longer)]), Code::TooLarge),
        (named("t.plain", &[x("a"), x("b")]), Code::InvalidArgs),
        (named("t.plain", &[x("a"), ("y", "b")]), Code::InvalidArgs),
        (named("t.plain", &[("X", "a")]), Code::InvalidArgs),
        (named("t.plain", &[("", "a"), x("a")]), Code::InvalidArgs),
        (named("t.plain", &[]), Code::InvalidArgs),
        (
            named("t.many", &[x("a"), x("b"), x("c"), x("d")]),
            Code::InvalidArgs,
        ),
        (
            named("t.many", &vec![x("a"); caps::NAMED_ARGS + 1]),
            Code::TooLarge,
        ),
        (named("t.many", &vec![x("a"); 100_000]), Code::TooLarge),
    ] {
        let refusal = caller.run_patiently(&run).expect_err("it is too much");
        assert_eq!(refusal.code, code, "{refusal:?}");
    }
    assert!(daemon.records("intent").is_empty(), "nothing ran");
    // A value at the limit is accepted, and a pattern that is slow in other engines is fast.
    let start = std::time::Instant::now();
    let report = caller
        .run_patiently(&named("t.slow", &[x(&long)]))
        .expect("it fits");
    assert_eq!(exit(&report), Some(0), "{report:?}");
    let worst = "a".repeat(caps::NAMED_VALUE - 1) + "!";
    assert!(
        caller
            .run_patiently(&named("t.slow", &[x(&worst)]))
            .is_err()
    );
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    let three = caller
        .run_patiently(&named("t.many", &[x("a"), x("b"), x("c")]))
        .expect("it fits");
    assert_eq!(stdout(&three), "[a][b][c]");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn template_inserts_values_only() {
    let command = |name: &str, words: &str, args: &str| prints(name, words, args);
    let daemon = with(
        &(command(
            "t.attached",
            "\"--user={x}\", \"{{x}}\", \"{x}\"",
            "args.x = { type = \"string\", pattern = '[ -~]+' }",
        ) + &command(
            "t.group",
            "\"a\", [\"-e\", \"{x}\"], \"z\"",
            "args.x = { type = \"string\", repeat = 3, optional = true }",
        ) + &command(
            "t.default",
            "\"{n}\", \"{flag}\", \"{x}\"",
            "args.n = { type = \"int\", max = 9, default = 5 }\nargs.flag = { type = \"bool\", flag = \"--yes\" }\n\
             args.x = { type = \"string\", optional = true }",
        )),
    );
    let mut caller = Caller::new(&daemon, &user_a());
    for (name, args, expected) in [
        ("t.attached", &[("x", "{x}")][..], "[--user={x}][{x}][{x}]"),
        (
            "t.attached",
            &[("x", "{{x}} {0}")],
            "[--user={{x}} {0}][{x}][{{x}} {0}]",
        ),
        ("t.group", &[], "[a][z]"),
        ("t.group", &[("x", "1")], "[a][-e][1][z]"),
        ("t.group", &[("x", "1"), ("x", "2")], "[a][-e][1][-e][2][z]"),
        ("t.default", &[], "[5]"),
        ("t.default", &[("flag", "true")], "[5][--yes]"),
        (
            "t.default",
            &[("flag", "false"), ("n", "7"), ("x", "w")],
            "[7][w]",
        ),
    ] {
        let report = caller
            .run_patiently(&named(name, args))
            .unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(stdout(&report), expected, "{name} {args:?}");
    }
    for flag in ["--yes", "1", "yes", "True", "", "--no"] {
        let refusal = caller
            .run_patiently(&named("t.default", &[("flag", flag)]))
            .expect_err(flag);
        assert_eq!(refusal.code, Code::InvalidArgs, "{flag}: {refusal:?}");
    }
    daemon.stop();
}

/// JSON cannot hold a value that is not UTF-8. A client that sends one anyway is disconnected.
#[test]
fn a_value_that_is_no_text_runs_nothing() {
    let daemon = with(&commands());
    let value = "canary-of-nine";
    let request = Request::Run(named("t.free", &[x(value)]));
    let mut stream = daemon.connect(&user_a()).expect("they may connect");
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "somebody".into(),
    });
    let call = FromClient::Call { id: 1, request };
    let [hello, mut call] =
        [hello, call].map(|message| encode(&message, caps::FRAME).expect("it is short"));
    let at = call
        .windows(value.len())
        .position(|part| part == value.as_bytes())
        .expect("it is in there");
    call[at + 3] = 0xff;
    stream.write_all(&hello).expect("the daemon reads");
    stream.write_all(&call).expect("the daemon reads");
    let mut answers = Vec::new();
    stream
        .read_to_end(&mut answers)
        .expect("the daemon ends the connection");
    assert!(daemon.records("intent").is_empty(), "nothing ran");
    daemon.is_well();
    daemon.stop();
}
