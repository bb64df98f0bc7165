//! Values of callers: every attack on arguments (V05 to V15, V21 to V28, V31) against the types, and accepted values.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::sync::Arc;

use common::{accounts, lines, source};
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{ArgvElement, Command, Invocation, PassAs, PathIs};
use remit_policy_compile::load;

fn defined(argv: &str, rest: &str) -> Arc<Command> {
    let text = format!(
        "[[command]]\nname = 'a.b'\nsummary = 'x'\nargv = ['/bin/x', {argv}]\neffect = 'read'\n\
         profile = 'read'\n{rest}\n"
    );
    match load(&[source("a.toml", &text)], &accounts()) {
        Ok((policy, _)) => Arc::clone(policy.command("a.b").unwrap()),
        Err(found) => panic!("{}", lines(&found)),
    }
}

fn of(kind: &str) -> Arc<Command> {
    defined("'{x}'", &format!("args.x = {{ {kind} }}"))
}

fn pairs(args: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    args.iter().map(owned).collect()
}

fn call(command: &Command, args: &[(&str, &str)]) -> Result<Invocation, Refusal> {
    command.bind(&pairs(args), false)
}

/// Its argv without the program; a path as `<under|beneath>`, a secret as `<secret>`.
fn argv(command: &Command, args: &[(&str, &str)]) -> Vec<String> {
    let bound = call(command, args).unwrap();
    assert_eq!(bound.argv[0], ArgvElement::Text(b"/bin/x".to_vec()));
    let shown = |element: &ArgvElement| match element {
        ArgvElement::Text(text) => String::from_utf8(text.clone()).unwrap(),
        ArgvElement::Path {
            before,
            under,
            beneath,
            ..
        } => format!("{}<{under}|{beneath}>", String::from_utf8_lossy(before)),
        ArgvElement::Secret { before, .. } => {
            format!("{}<secret>", String::from_utf8_lossy(before))
        }
    };
    bound.argv[1..].iter().map(shown).collect()
}

/// An approval hashes only the definition's own words, never a caller's.
#[test]
fn literal_marks_words_of_the_definition() {
    let args = "args.x = { type = 'string', pattern = '[a-z/]*', repeat = 3 }\n\
                args.f = { type = 'bool', flag = '-f', optional = true }";
    let command = defined("'/etc/a', '{f}', '--x={x}', ['-y', '{x}']", args);
    let bound = call(&command, &[("x", "/etc/b"), ("x", "c"), ("f", "true")]).unwrap();
    let of = |literal: bool| {
        let all = bound.argv.iter().zip(&bound.literal);
        all.filter(move |(_, of)| **of == literal)
            .map(|(element, _)| match element {
                ArgvElement::Text(text) => String::from_utf8(text.clone()).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(bound.argv.len(), bound.literal.len());
    assert_eq!(of(true), ["/bin/x", "/etc/a", "-f", "-y", "-y"]);
    assert_eq!(of(false), ["--x=/etc/b", "--x=c", "/etc/b", "c"]);
}

#[track_caller]
fn check_accepted(kind: &str, values: &[&str]) {
    let command = of(kind);
    for value in values {
        let bound =
            call(&command, &[("x", value)]).unwrap_or_else(|why| panic!("{value:?}: {why}"));
        let element = match &bound.argv[..] {
            [_, ArgvElement::Text(text)] => text.clone(),
            [
                _,
                ArgvElement::Path {
                    before,
                    under,
                    beneath,
                    ..
                },
            ] => {
                assert!(before.is_empty());
                let slash = if under == "/" || beneath.is_empty() {
                    ""
                } else {
                    "/"
                };
                format!("{under}{slash}{beneath}").into_bytes()
            }
            other => panic!("{value:?}: {other:?}"),
        };
        assert_eq!(element, value.as_bytes(), "{value:?}");
        assert_eq!(bound.words, ["a.b".to_owned(), format!("x={value}")]);
    }
}

#[track_caller]
fn check_refused(kind: &str, values: &[&str]) {
    let command = of(kind);
    for value in values {
        let Err(refusal) = call(&command, &[("x", value)]) else {
            panic!("{value:?} is accepted by {kind}");
        };
        assert_eq!(refusal.object.as_deref(), Some("x"), "{value:?}");
        assert_eq!(refusal.code, Code::InvalidArgs);
        assert!(
            refusal.message.starts_with("argument 'x' of a.b "),
            "{refusal}"
        );
        assert!(!refusal.message.contains(char::is_control), "{refusal}");
        assert!(refusal.message.len() < 400, "{refusal}");
        assert_eq!(refusal.next.as_deref(), Some("arguments of a.b: x"));
    }
}

const STRING: &str = "type = 'string'";

#[test]
fn options_are_refused_however_they_are_spelt() {
    // V01 to V06: 4 spellings, and the injections that were tried.
    let options = [
        "-oProxyCommand=id",
        "--checkpoint-action=exec=id",
        "--checkpoint-a=exec=id",
        "-I/bin/sh",
        "-I",
        "-exec",
        "-execdir",
        "-ok",
        "-delete",
        "-fprintf",
        "-c",
        "--exec-path=/tmp",
        "--upload-pack=id",
        "-O/bin/sh",
        "--output=/tmp/x",
        "--output",
        "-o/tmp/x",
        "-xzf",
        "-TT",
        "--pre-invoke=id",
        "--eval=id",
        "--to-command=id",
        "-",
        "--",
        "-1",
    ];
    check_refused(STRING, &options);
    check_refused("type = 'string', pattern = '.*'", &options);
    check_refused("type = 'unit'", &options);
    check_refused("type = 'user'", &options);
    check_refused("type = 'package'", &options);
    check_refused("type = 'path', under = '/'", &options);
    check_refused("type = 'int', max = 9", &options);
    check_refused("type = 'enum', values = ['a']", &options);
    check_refused("type = 'bool', flag = '-v'", &options);
    check_accepted(
        "type = 'string', dash = true",
        &["-v", "--", "-oProxyCommand"],
    );
    check_accepted("type = 'enum', values = ['-v', 'a']", &["-v", "a"]);
    check_accepted("type = 'int', min = -5, max = 5", &["-5", "-1", "0", "5"]);
}

#[test]
fn empty_and_hidden_text_is_refused_by_default() {
    let values = [
        // V07, V08, V09
        "",
        " ",
        "a ",
        " a",
        "a\n",
        "a\r",
        "a\t",
        "a\u{b}",
        "a\u{1b}[2J",
        "a\u{2028}b",
        "a\u{202e}b",
        "a\u{200b}b",
        "\u{ff0d}v",
        "\u{2010}v",
        "\u{212a}",
        "e\u{301}",
        "é",
        "\u{0}",
        "a\u{0}b",
        "a\u{0}",
        "a;b",
        "a b",
    ];
    check_refused(STRING, &values);
    check_refused(
        "type = 'path', under = '/'",
        &["", " ", "a", "/a\0", "/a\n", "/a\u{1b}", "/a\u{85}"],
    );
    check_refused(
        "type = 'string', pattern = '(?s).*', max = 9",
        &["a\0b", "\0", "-\0"],
    );
    check_accepted(
        "type = 'string', pattern = '(?s).*', max = 9",
        &["", " ", "a\n", "\u{202e}", "é", "e\u{301}"],
    );
    check_accepted("type = 'string', pattern = 'é'", &["é"]);
    check_refused("type = 'string', pattern = 'é'", &["e\u{301}", "É"]);
    // The kernel reads a path as bytes: only control characters are refused.
    check_accepted(
        "type = 'path', under = '/'",
        &[
            "/a b",
            "/\u{202e}a",
            "/é",
            "/e\u{301}",
            "/-v",
            "/;id",
            "/a\\b",
            "/*",
        ],
    );
}

#[test]
fn a_pattern_holds_for_the_whole_value() {
    check_refused(
        "type = 'string', pattern = 'a|b'", // V11
        &["xb", "ax", "ab", "a\nz", "a\n", "\na"],
    );
    check_accepted("type = 'string', pattern = 'a|b'", &["a", "b"]);
    check_accepted("type = 'string', pattern = 'a|ab|abc'", &["a", "ab", "abc"]);
    check_refused("type = 'string', pattern = '^a$'", &["a\n", "b\na"]);
    check_refused("type = 'string', pattern = '(?m)^a$'", &["a\nb", "b\na"]);
    check_refused(
        "type = 'string', pattern = '[0-9]+'",
        &["٣", "1٣", "1 ", "１"],
    );
}

#[test]
fn a_slow_pattern_takes_linear_time() {
    let command = of("type = 'string', pattern = '(a+)+$', max = 4096"); // V12
    let most = "a".repeat(caps::NAMED_VALUE);
    assert!(call(&command, &[("x", &most)]).is_ok());
    let mut other = "a".repeat(caps::NAMED_VALUE - 1);
    other.push('!');
    assert!(call(&command, &[("x", &other)]).is_err());
}

#[test]
fn sizes_and_counts_are_bounded() {
    let long = |bytes: usize| "a".repeat(bytes); // V13
    let command = of(STRING);
    assert!(call(&command, &[("x", &long(256))]).is_ok());
    assert!(call(&command, &[("x", &long(257))]).is_err());
    let command = of("type = 'string', max = 4096");
    assert!(call(&command, &[("x", &long(caps::NAMED_VALUE))]).is_ok());
    assert!(call(&command, &[("x", &long(caps::NAMED_VALUE + 1))]).is_err());
    assert!(call(&command, &[("x", &long(128 << 10))]).is_err());

    let repeated = of("type = 'string', repeat = 64");
    let many = |count: usize| vec![("x", "a"); count];
    assert_eq!(argv(&repeated, &many(64)).len(), 64);
    let refusal = call(&repeated, &many(65)).unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge);
    assert_eq!(refusal.message, "args has 65 arguments, the most is 64");

    // A small request cannot become a large argv.
    let groups = ["['-a', '{x}']"; 255].join(", ");
    let command = defined(
        &groups,
        "args.x = { type = 'string', max = 4096, repeat = 64 }",
    );
    let value = long(4096);
    assert_eq!(
        call(&command, &[("x", &value)]).unwrap().argv.len(),
        1 + 2 * 255
    );
    let refusal = call(&command, &[("x", value.as_str()); 64]).unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge, "{refusal}");

    // Nor can it need more descriptors than the sandbox opens.
    let twice = defined(
        "['{x}', '{x}']",
        "args.x = { type = 'path', under = '/srv', repeat = 64 }",
    );
    assert!(call(&twice, &[("x", "/srv/a"); 32]).is_ok());
    let refusal = call(&twice, &[("x", "/srv/a"); 33]).unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge, "{refusal}");
}

#[test]
fn paths_stay_beneath_their_directory_by_whole_parts() {
    let kind = "type = 'path', under = '/srv/data'"; // V14, V15
    check_accepted(
        kind,
        &[
            "/srv/data/a",
            "/srv/data/a/b",
            "/srv/data/...",
            "/srv/data/.a",
            "/srv/data/a..b",
        ],
    );
    check_refused(
        kind,
        &[
            "/srv/data",
            "/srv/data/",
            "/srv/data_evil",
            "/srv/data_evil/a",
            "/srv/dat",
            "/srv",
            "/",
            "/etc/shadow",
            "/srv/data/..",
            "/srv/data/../x",
            "/srv/data/a/..",
            "/srv/data/a/../../x",
            "/srv/data//a",
            "//srv/data/a",
            "/srv/data/./a",
            "/srv/data/.",
            "/srv/data/a/",
            "srv/data/a",
            "./a",
            "a",
            "~",
            "/SRV/DATA/a",
            "/proc/self/root/srv/data/a",
            "/dev/fd/3",
            "/proc/self/fd/3",
            "file:///srv/data/a",
            "/srv/data\0/a",
            "/srv/data\\a",
            "%2fsrv%2fdata",
            "/srv/\u{200b}data/a",
        ],
    );
    check_accepted(
        "type = 'path', under = '/srv/data', is = 'directory'",
        &["/srv/data", "/srv/data/a"],
    );
    check_accepted(
        "type = 'path', under = '/srv/data', is = 'either'",
        &["/srv/data", "/srv/data/a"],
    );

    let command = defined(
        "'--file={x}'",
        "args.x = { type = 'path', under = '/etc', pass = 'descriptor' }",
    );
    let bound = call(&command, &[("x", "/etc/a/b")]).unwrap();
    let expected = ArgvElement::Path {
        before: b"--file=".to_vec(),
        under: "/etc".into(),
        beneath: "a/b".into(),
        is: PathIs::File,
        pass: PassAs::Descriptor,
    };
    assert_eq!(bound.argv[1], expected);
}

#[test]
fn shell_signs_mean_nothing() {
    let signs = [
        // V21
        ";id", "|id", "&", "$(id)", "`id`", "${HOME}", "a'b", "a\"b", "a\\b", "*", "?", "[a]", "<x",
        ">x", "#", "!", "~",
    ];
    check_refused(STRING, &signs);
    check_accepted("type = 'string', pattern = '(?s).+'", &signs);
}

#[test]
fn values_are_never_read_again_for_placeholders() {
    let values = ["{y}", "{{y}}", "{x}", "%s", "${HOME}", "{", "}", "{}"]; // V23
    let command = defined(
        "'{x}', '--o={y}', '{{{{z}}}}', '%s'",
        "args.x = { type = 'string', pattern = '.*' }\nargs.y = { type = 'string', pattern = '.*' }",
    );
    for value in values {
        let attached = format!("--o={value}");
        let expected = [value, attached.as_str(), "{{z}}", "%s"];
        assert_eq!(argv(&command, &[("x", value), ("y", value)]), expected);
    }
}

#[test]
fn numbers_are_plain_decimals_within_bounds() {
    let kind = "type = 'int', min = 1, max = 500"; // V24
    check_accepted(kind, &["1", "10", "500"]);
    check_refused(
        kind,
        &[
            "0",
            "501",
            "1e2",
            "0x10",
            "010",
            "+5",
            "-1",
            "-0",
            "٥",
            "5 ",
            " 5",
            "5\n",
            "5.0",
            "",
            "5,0",
            "1_0",
            "０",
            "9223372036854775808",
            "99999999999999999999999999",
            "18446744073709551617",
            "NaN",
            "inf",
        ],
    );
    check_accepted(
        "type = 'int', min = -9223372036854775808, max = 9223372036854775807",
        &["-9223372036854775808", "9223372036854775807", "-1", "0"],
    );
    check_refused("type = 'int'", &["2147483648", "-1"]);
}

#[test]
fn enums_and_flags_are_exact() {
    let kind = "type = 'enum', values = ['on', 'Off', 'a b']"; // V25
    check_accepted(kind, &["on", "Off", "a b"]);
    check_refused(
        kind,
        &[
            "On", "ON", "off", " on", "on ", "on\n", "o", "onn", "", "a  b", "on,Off",
        ],
    );
    check_refused(
        "type = 'bool', flag = '-v'",
        &["True", "1", "yes", "on", "", "-v", "true ", "false\n"],
    );
    let flag = of("type = 'bool', flag = '-v'");
    assert_eq!(argv(&flag, &[("x", "true")]), ["-v"]);
    assert_eq!(argv(&flag, &[("x", "false")]), [""; 0]);
    assert_eq!(argv(&flag, &[]), [""; 0]);
}

#[test]
fn hosts_are_typed_by_an_exact_list() {
    check_refused(
        "type = 'enum', values = ['db1.example.com', '192.0.2.1']", // V26
        &[
            "localhost",
            "127.1",
            "0",
            "[::1]",
            "2130706433",
            "db1.example.com.",
            "DB1.example.com",
            "bücher.example",
        ],
    );
}

fn unit_command(effect: &str, profile: &str, default: &str) -> Result<Arc<Command>, String> {
    let text = format!(
        "[[command]]\nname = 'svc.act'\nsummary = 'x'\nargv = ['/bin/x', '{{unit}}']\neffect = '{effect}'\n\
         profile = '{profile}'\nargs.unit = {{ type = 'unit', instances = true {default} }}\n"
    );
    match load(&[source("a.toml", &text)], &accounts()) {
        Ok((policy, _)) => Ok(Arc::clone(policy.command("svc.act").unwrap())),
        Err(found) => Err(lines(&found)),
    }
}

#[test]
fn protected_unit_is_refused_by_changes() {
    for profile in ["strict", "host"] {
        let changes = unit_command("change", profile, "").unwrap();
        for unit in [
            "ssh.service",
            "sshd@1.service",
            "remitd.service",
            "systemd-journald.service",
            "nginx.mount",
            "multi-user.target",
        ] {
            let refusal = call(&changes, &[("unit", unit)]).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidArgs);
            assert_eq!(refusal.object.as_deref(), Some("unit"));
            assert!(refusal.message.contains("which no command may change: "));
            let lift = refusal.lift.unwrap();
            assert!(lift.contains("by hand") && lift.contains("base host"));
        }
        assert!(call(&changes, &[("unit", "nginx.service")]).is_ok());
    }
    let refusal = unit_command("change", "strict", "")
        .map(|command| call(&command, &[("unit", "ssh.service")]).unwrap_err())
        .unwrap();
    assert_eq!(
        refusal.message,
        "argument 'unit' of svc.act is 'ssh.service', which no command may change: people reach the machine by it"
    );
    let reads = unit_command("read", "strict", "").unwrap();
    assert!(call(&reads, &[("unit", "ssh.service")]).is_ok());
    let broken = unit_command("change", "strict", ", default = 'ssh.service'").unwrap_err();
    assert!(
        broken.contains(
            "the default 'ssh.service' of 'unit' is protected: people reach the machine by it"
        ),
        "{broken}"
    );
}

#[test]
fn impossible_unit_user_and_package_is_refused() {
    check_refused("type = 'unit'", &["getty@tty1.service", "a@b@c.timer"]);
    check_accepted(
        "type = 'unit', instances = true",
        &[
            "ssh.service",
            "getty@tty1.service",
            "a-b_c.timer",
            "dev-sda1.device",
            r"a\x2db.mount",
        ],
    );
    check_refused(
        "type = 'unit'",
        &[
            "ssh",
            "ssh.conf",
            "*.service",
            "../a.service",
            "a/b.service",
            "a b.service",
            "",
            "-.slice",
            "a@.service",
            ".service",
            "ssh.service ",
            "é.service",
        ],
    );
    check_accepted("type = 'user'", &["root", "_apt", "a.b", "host$", "A1"]);
    check_refused(
        "type = 'user'",
        &[
            "",
            "0",
            "1000",
            "a:b",
            "a b",
            "root\n",
            "../x",
            "a/b",
            "$",
            "a$b",
            ".a",
            "é",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "#0",
            "%x",
            "*",
        ],
    );
    check_accepted(
        "type = 'package'",
        &[
            "nginx",
            "libc6:amd64",
            "g++",
            "python3.11",
            "7zip",
            "xserver-xorg-core",
            "NetworkManager",
        ],
    );
    check_refused(
        "type = 'package'",
        &[
            "nginx-",
            "nginx+",
            "nginx=1.0",
            "nginx/stable",
            "./a.deb",
            "/tmp/a.deb",
            "a.deb ",
            "nginx*",
            "^nginx",
            "",
            "a b",
            "libc6:",
            "libc6:a:b",
            "libc6:AMD",
            "https://x/a.rpm",
            "?installed",
            "~nx",
            "a\nb",
        ],
    );
}

#[test]
fn arguments_are_known_complete_and_unique() {
    let command = defined(
        "['-q', '{quiet}'], '--user={user}', '{config}'",
        "args.quiet = { type = 'int', optional = true, repeat = 2 }\n\
         args.user = { type = 'user', optional = true }\n\
         args.config = { type = 'path', under = '/etc', default = '/etc/a' }",
    );
    assert_eq!(argv(&command, &[]), ["</etc|a>"]);
    assert_eq!(
        argv(&command, &[("quiet", "1"), ("quiet", "2")]),
        ["-q", "1", "-q", "2", "</etc|a>"]
    );
    let all = [("config", "/etc/b"), ("user", "root"), ("quiet", "1")];
    assert_eq!(argv(&command, &all), ["-q", "1", "--user=root", "</etc|b>"]);
    assert_eq!(
        call(&command, &[("user", "root")]).unwrap().words,
        ["a.b", "config=/etc/a", "user=root"]
    );
    let message = |args: &[(&str, &str)]| call(&command, args).unwrap_err().message;
    assert_eq!(
        message(&[("user", "a"), ("user", "a")]),
        "argument 'user' of a.b is given twice"
    );
    assert_eq!(
        message(&[("quiet", "1"); 3]),
        "argument 'quiet' of a.b is given over 2 times"
    );
    assert_eq!(message(&[("User", "a")]), "a.b has no argument 'User'");
    assert_eq!(
        message(&[("argv[0]\n", "a")]),
        "a.b has no argument 'argv[0]\\n'"
    );
    let needed = of(STRING);
    assert_eq!(
        call(&needed, &[]).unwrap_err().message,
        "a.b needs the argument 'x'"
    );
    assert_eq!(
        command.usage(),
        "a.b [config=CONFIG] [quiet=QUIET…] [user=USER]"
    );
    assert_eq!(
        command.describe(),
        [
            "config: the absolute path of a file beneath /etc, without symbolic links; '/etc/a' when absent",
            "quiet: a number from 0 to 2147483647; up to 2 times; may be absent",
            "user: the name of a user; may be absent",
        ]
    );
}

#[test]
fn standard_input_is_only_what_the_command_says() {
    let none = defined("", ""); // V28
    let refusal = none.bind(&[], true).unwrap_err();
    assert_eq!(refusal.message, "a.b takes no standard input");
    let caller = defined("", "stdin = 'caller'");
    assert!(caller.bind(&[], true).is_ok() && caller.bind(&[], false).is_ok());
    let secret = defined("", "stdin = '{x}'\nargs.x = { type = 'secret', max = 8 }");
    assert!(secret.bind(&pairs(&[("x", "hunter2")]), true).is_err());
    assert_eq!(
        call(&secret, &[("x", "hunter2")]).unwrap().stdin,
        Some(b"hunter2".to_vec())
    );
}

#[test]
fn secrets_are_in_no_words_argv_or_message() {
    let command = defined(
        "'--password-file={x}'",
        "args.x = { type = 'secret', max = 8 }",
    );
    let bound = call(&command, &[("x", "-hunter2")]).unwrap();
    let expected = ArgvElement::Secret {
        before: b"--password-file=".to_vec(),
        value: b"-hunter2".to_vec(),
    };
    assert_eq!(bound.argv[1], expected);
    assert_eq!(bound.words, ["a.b"]);
    for value in ["hunter2hunter2", "hunter2\0", ""] {
        let refusal = call(&command, &[("x", value)]).unwrap_err();
        assert!(!format!("{refusal:?}").contains("hunter"), "{refusal:?}");
    }
    let twice = call(&command, &[("x", "hunter2"), ("x", "hunter2")]).unwrap_err();
    assert!(!format!("{twice:?}").contains("hunter"), "{twice:?}");
}
