use proptest::prelude::*;

use super::*;
use crate::caps;
use crate::refusal::Code;

fn args(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn parse(name: &str, pairs: &[(&str, &str)]) -> Result<Builtin, Refusal> {
    Builtin::parse(name, &args(pairs))
}

fn right(argument: &str) -> &'static str {
    match argument {
        "unit" => "nginx",
        "state" => "failed",
        "pattern" => "*.timer",
        "since" => "-2h",
        "until" => "2026-11-20 10:00",
        "priority" => "warn",
        "grep" => "--no-pager",
        "boot" => "-1",
        "lines" => "50",
        other => panic!("no value for {other}"),
    }
}

#[test]
fn only_commands_and_arguments_of_table_are_parsed() {
    for command in &COMMANDS {
        let all: Vec<_> = command
            .args
            .iter()
            .map(|arg| (arg.name, right(arg.name)))
            .collect();
        let built = parse(command.name, &all).unwrap();
        assert_eq!(built.name(), command.name);
        let names: Vec<_> = built.args().iter().map(|(name, _)| *name).collect();
        let listed: Vec<_> = command.args.iter().map(|arg| arg.name).collect();
        assert_eq!(names, listed);
        for arg in command.args {
            let without: Vec<_> = all.iter().copied().filter(|a| a.0 != arg.name).collect();
            let missing = parse(command.name, &without).err().map(|r| r.code);
            let expect = arg.required.then_some(Code::InvalidArgs);
            assert_eq!(missing, expect, "{} {}", command.name, arg.name);
        }
        for word in std::iter::once(command.summary).chain(command.args.iter().map(|arg| arg.what))
        {
            assert!(word.len() <= 160 && !word.contains('\n'), "{word}");
        }
    }
}

#[test]
fn listed_states_are_valid() {
    let states = COMMANDS.iter().flat_map(|command| command.args);
    let listed = states.filter(|arg| arg.name == "state").map(|arg| arg.what);
    for word in listed.flat_map(|what| what.split([',', ' '])) {
        if !["", "or"].contains(&word) {
            assert!(word.parse::<UnitState>().is_ok(), "{word}");
        }
    }
}

#[test]
fn wrong_argument_is_named_with_valid_values() {
    for (name, pairs, code, object, says) in [
        (
            "service.stop",
            &[][..],
            Code::NotFound,
            "service.stop",
            "no command",
        ),
        ("service.status", &[], Code::InvalidArgs, "unit", "missing"),
        (
            "service.status",
            &[("unit", "--all")],
            Code::InvalidArgs,
            "unit",
            "right is: name of a unit",
        ),
        (
            "service.failed",
            &[("unit", "a")],
            Code::InvalidArgs,
            "unit",
            "does not exist",
        ),
        (
            "logs",
            &[("unit", "a"), ("unit", "b")],
            Code::InvalidArgs,
            "unit",
            "twice",
        ),
        (
            "logs",
            &[("since", "x")],
            Code::InvalidArgs,
            "since",
            "is no time",
        ),
        (
            "logs",
            &[("f\x1b", "x")],
            Code::InvalidArgs,
            "f\\x1b",
            "does not exist",
        ),
    ] {
        let refusal = parse(name, pairs).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.object.as_deref()),
            (code, Some(object))
        );
        assert!(refusal.message.contains(says), "{refusal}");
        assert!(refusal.next.is_some(), "{refusal}");
        assert!(refusal.message.chars().all(crate::text::is_plain));
    }
    let refusal = parse("logs", &[("sinse", "-2h")]).unwrap_err();
    let next = refusal.next.unwrap();
    assert_eq!(
        next,
        "arguments of logs: unit, since, until, priority, grep, boot, lines"
    );
}

#[test]
fn number_and_size_of_arguments_are_bounded() {
    let many = |count| vec![("x".to_owned(), String::new()); count];
    let code = |args: &[(String, String)]| Builtin::parse("logs", args).unwrap_err().code;
    assert_eq!(code(&many(caps::NAMED_ARGS)), Code::InvalidArgs);
    assert_eq!(code(&many(caps::NAMED_ARGS + 1)), Code::TooLarge);
    let long = |length| vec![("grep".to_owned(), "x".repeat(length))];
    assert_eq!(code(&long(caps::NAMED_VALUE)), Code::InvalidArgs);
    assert_eq!(code(&long(caps::NAMED_VALUE + 1)), Code::TooLarge);
}

#[test]
fn words_read_back() {
    let status = Builtin::of_words(["service.status", "unit=nginx"]).unwrap();
    assert_eq!(status.words(), ["service.status", "unit=nginx.service"]);
    let logs = Builtin::of_words(["logs", "grep=a=b", "lines=100"]).unwrap();
    assert_eq!(logs.words(), ["logs", "grep=a=b"]);
    for words in [&["logs", "grep"][..], &["logs", "-f"], &[], &[""]] {
        assert!(
            Builtin::of_words(words.iter().copied()).is_err(),
            "{words:?}"
        );
    }
    assert_eq!(
        COMMANDS[1].usage(),
        "service.list [state=STATE] [pattern=PATTERN]"
    );
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{1,6} ?(s|min|h|d|w|x)( ago)?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?)?",
        "[a-z.@:*?-]{0,20}",
        "(emerg|err|warn|info|[0-9])(\\.\\.(err|debug|[0-9]))?",
        "-?[0-9]{0,5}",
        "[0-9a-fA-F]{31,33}",
    ]
}

fn names() -> impl Strategy<Value = String> {
    let known = COMMANDS.iter().flat_map(|command| command.args);
    let known: Vec<_> = known.map(|arg| arg.name.to_owned()).collect();
    prop_oneof![9 => proptest::sample::select(known), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every accepted command parses again to the same value. No element is an option or has control characters.
    #[test]
    fn what_is_accepted_reads_back_and_is_harmless(
        command in 0..COMMANDS.len(),
        pairs in proptest::collection::vec((names(), values()), 0..4),
    ) {
        let Ok(built) = Builtin::parse(COMMANDS[command].name, &pairs) else {
            return Ok(());
        };
        let words = built.words();
        for word in &words {
            prop_assert!(!word.starts_with('-') && word.len() < caps::NAMED_VALUE + 64);
            prop_assert!(!word.chars().any(char::is_control), "{:?}", word);
        }
        prop_assert_eq!(Builtin::of_words(words.iter().map(String::as_str)), Ok(built));
    }
}
