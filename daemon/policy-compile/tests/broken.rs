#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::fmt::Write;

use common::{accounts, lines, source};
use remit_common::caps;
use remit_policy::model::bounds::ELEMENTS;
use remit_policy::{Diagnostic, Policy, Severity, Source};
use remit_policy_compile::load;

fn refused(sources: &[Source]) -> Vec<Diagnostic> {
    match load(sources, &accounts()) {
        Err(found) => found,
        Ok(_) => panic!("it loads"),
    }
}

fn cases(golden: &str) -> impl Iterator<Item = (&str, &str)> {
    golden.split("\n=== ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("\n---").unwrap();
        (name, text)
    })
}

fn rewritten(golden: &str) -> (String, usize) {
    let mut out = golden.split("\n=== ").next().unwrap().to_owned();
    let mut count = 0;
    for (name, text) in cases(golden) {
        let Err(found) = load(&[source("a.toml", text)], &accounts()) else {
            panic!("'{name}' loads");
        };
        assert!(
            found.iter().any(|one| one.severity() == Severity::Error),
            "{name}"
        );
        write!(
            out,
            "\n=== {name}\n{text}\n---\n{}",
            lines(&found).trim_end()
        )
        .unwrap();
        count += 1;
    }
    out.push('\n');
    (out, count)
}

#[track_caller]
fn assert_refused_in_these_words(golden: &str, least: usize) {
    let (today, count) = rewritten(golden);
    assert!(count >= least, "{count}");
    for (was, is) in golden.lines().zip(today.lines()) {
        assert_eq!(was, is, "the whole file would be:\n{today}");
    }
    assert_eq!(
        golden.len(),
        today.len(),
        "the whole file would be:\n{today}"
    );
}

#[test]
fn every_broken_text_is_refused_in_these_words() {
    assert_refused_in_these_words(include_str!("broken_rules.txt"), 30);
    assert_refused_in_these_words(include_str!("broken_commands.txt"), 20);
    assert_refused_in_these_words(include_str!("broken_profiles.txt"), 20);
}

const EVERYDAY: &str = include_str!("broken_everyday.txt");

#[test]
fn everyday_mistakes_are_reported_in_these_words() {
    assert_refused_in_these_words(EVERYDAY, 41);
}

#[test]
fn everyday_mistakes_end_with_what_to_write() {
    for (name, text) in cases(EVERYDAY) {
        for one in refused(&[source("a.toml", text)]) {
            let shown = one.to_string();
            let last = shown.lines().last().unwrap().trim_start();
            let helps = last.starts_with("= ") && one.severity() == Severity::Error;
            assert!(
                helps || one.severity() == Severity::Warning,
                "{name}:\n{shown}"
            );
        }
    }
}

#[track_caller]
fn check(text: &[u8], expect: &str) {
    assert_eq!(
        lines(&refused(&[source("a.toml", text)])),
        format!("{expect}\n")
    );
}

#[test]
fn what_is_no_text_is_refused() {
    check(
        b"# \xff",
        "a.toml: error: the file is not UTF-8 at byte 2 (line 1)",
    );
    check(
        b"#\n\xc3",
        "a.toml: error: the file is not UTF-8 at byte 2 (line 2)",
    );
    check(
        b"\xef\xbb\xbf",
        "a.toml: error: the file begins with a byte order mark; save it as plain UTF-8",
    );
    check(
        b"# \0",
        "a.toml: error: the file has a NUL at byte 2, so it is not text",
    );
    check(
        b"\xff\xfe[\0",
        "a.toml: error: the file has a NUL at byte 3, so it is not text",
    );
}

#[test]
fn amounts_are_bounded() {
    let comment = |bytes: usize| "#".repeat(bytes);
    assert!(load(&[source("a", comment(caps::POLICY_FILE))], &accounts()).is_ok());
    check(
        comment(caps::POLICY_FILE + 1).as_bytes(),
        "a.toml: error: the file has 1048577 bytes, over 1048576",
    );

    let many = |count: usize, bytes: usize| -> Vec<Source> {
        (0..count)
            .map(|at| source(&format!("{at:03}"), comment(bytes)))
            .collect()
    };
    assert!(load(&many(caps::POLICY_FILES, 1), &accounts()).is_ok());
    let over = lines(&refused(&many(caps::POLICY_FILES + 1, 1)));
    assert_eq!(over, "policy: error: 257 policy files are more than 256\n");
    let whole = caps::POLICY / caps::POLICY_FILE;
    assert!(load(&many(whole, caps::POLICY_FILE), &accounts()).is_ok());
    let over = [many(whole, caps::POLICY_FILE), vec![source("x", "#")]].concat();
    let over = lines(&refused(&over));
    assert_eq!(
        over,
        "policy: error: all policy files together have 4194305 bytes, over 4194304\n"
    );
}

#[test]
fn what_files_define_is_bounded() {
    let many = |count: usize, one: &dyn Fn(usize) -> String| -> Vec<Source> {
        let text: String = (0..count).map(one).collect();
        vec![source("a.toml", text)]
    };
    let check = |most: usize, one: &dyn Fn(usize) -> String, part: &str| {
        assert!(load(&many(most, one), &accounts()).is_ok(), "{part}");
        let found = lines(&refused(&many(most + 1, one)));
        assert!(found.contains(part), "{part}: {found}");
    };
    let rule = |_: usize| "[[grant]]\nto=['deploy']\nallow=['run']\n".to_owned();
    check(
        caps::POLICY_RULES,
        &rule,
        "there are too many rules: over 4096",
    );
    let profile = |at: usize| format!("[profile.p{at}]\nbase='read'\n");
    check(
        caps::POLICY_PROFILES,
        &profile,
        "there are too many profiles: over 64",
    );
    let command = |at: usize| {
        format!(
            "[[command]]\nname='a.b{at}'\nsummary='x'\nargv=['/bin/x']\neffect='read'\nprofile='read'\n"
        )
    };
    check(
        caps::POLICY_COMMANDS,
        &command,
        "there are too many commands: over 1024",
    );

    let large = |at: usize| {
        format!(
            "[[command]]\nname='a.b{at}'\nsummary='x'\nargv=['/bin/x','{{a}}','{{b}}']\neffect='read'\nprofile='read'\n\
             args.a={{type='string',pattern='.{{1,400}}'}}\n\
             args.b={{type='string',pattern='.{{1,400}}'}}\n"
        )
    };
    let found = lines(&refused(&many(caps::POLICY_COMMANDS, &large)));
    assert!(found.contains("over 32 MiB once compiled"), "{found}");

    let one = |text: String| vec![source("a.toml", text)];
    let paths = |count: usize| {
        let half: Vec<String> = (0..count).map(|at| format!("/srv/{at}")).collect();
        let (read, exec) = half.split_at(count / 2);
        one(format!(
            "[profile.p]\nbase='strict'\nread={read:?}\nexec={exec:?}\n"
        ))
    };
    assert!(load(&paths(caps::PROFILE_PATHS), &accounts()).is_ok());
    let found = lines(&refused(&paths(caps::PROFILE_PATHS + 1)));
    assert!(
        found.contains("a profile lists at most 64 paths"),
        "{found}"
    );
    let paths = |count: usize| {
        let paths: Vec<String> = (0..count).map(|at| format!("/srv/{at}")).collect();
        let commit = "[[command]]\nname='p.c'\nsummary='x'\nargv=['/usr/libexec/remit/remit-commit','commit','/var/lib/remit/commits']\n\
                      effect='change'\nprofile='host'\nstdin='plan'\n";
        one(format!(
            "{commit}[[grant]]\nto=['#7']\nallow=['p.c']\napproval={{by=['#8']}}\npaths={paths:?}\n"
        ))
    };
    let (policy, _) = load(&paths(caps::PROFILE_PATHS), &accounts()).unwrap();
    assert!(Policy::decode(&policy.encode()).is_ok());
    let found = lines(&refused(&paths(caps::PROFILE_PATHS + 1)));
    assert!(found.contains("a rule lists at most 64 paths"), "{found}");
    let group = |count: usize| {
        let words = [vec!["w".to_owned(); count - 1], vec!["{a}".to_owned()]].concat();
        one(format!(
            "[[command]]\nname='a.b'\nsummary='x'\nargv=['/bin/x',{words:?}]\neffect='read'\nprofile='read'\n\
             args.a={{type='unit'}}\n"
        ))
    };
    assert!(load(&group(ELEMENTS), &accounts()).is_ok());
    let found = lines(&refused(&group(ELEMENTS + 1)));
    assert!(found.contains("has at most 256 elements"), "{found}");
    let args = |count: usize| {
        let words: Vec<String> = (0..count).map(|at| format!("{{a{at}}}")).collect();
        let args: String = (0..count)
            .map(|at| format!("args.a{at}={{type='unit'}}\n"))
            .collect();
        let argv = [vec!["/bin/x".to_owned()], words].concat();
        one(format!(
            "[[command]]\nname='a.b'\nsummary='x'\nargv={argv:?}\neffect='read'\nprofile='read'\n{args}"
        ))
    };
    assert!(load(&args(caps::NAMED_ARGS), &accounts()).is_ok());
    let found = lines(&refused(&args(caps::NAMED_ARGS + 1)));
    assert!(
        found.contains("a command has at most 64 arguments"),
        "{found}"
    );
}

#[test]
fn all_mistakes_of_all_files_are_found() {
    let found = refused(&[
        source("b", "[[deny]]\n"),
        source("a", "x = 1\ny = 2\n[[grant]]\nto = ['ghost']\nallow = []"),
        source("c", "x 1"),
        source("d", b"\xff"),
        source("d", ""),
    ]);
    let positions: Vec<_> = found
        .iter()
        .map(|one| (one.file(), one.line(), one.severity()))
        .collect();
    let (error, warning) = (Severity::Error, Severity::Warning);
    assert_eq!(
        positions,
        [
            ("a", Some(1), error),
            ("a", Some(2), error),
            ("a", Some(4), warning),
            ("b", Some(1), error),
            ("b", Some(1), error),
            ("c", Some(1), error),
            ("d", None, error),
            ("d", None, error),
        ]
    );
}

/// Texts made to exhaust a parser. Each load ends within the test runner's timeout and a thread's small stack.
#[test]
fn bombs_are_refused_without_harm() {
    let most = |part: &str| part.repeat(caps::POLICY_FILE / part.len());
    let nested =
        |open: &str, close: &str| format!("a = {}{}", open.repeat(300_000), close.repeat(300_000));
    let texts = [
        nested("[", "]"),
        nested("{a=", "}"),
        format!("a = {}", most("[")),
        format!("{}b = 1", "a.".repeat(500_000)),
        format!("[{}b]", "a.".repeat(500_000)),
        format!("[[{}b]]", "a.".repeat(500_000)),
        (0..60_000).map(|at| format!("[a{at}.b]\n")).collect(),
        most("[[grant]]\n"),
        most("[[a]]\n"),
        most("=\n"),
        most("a = 1\n"),
        most("\""),
        most("x"),
        most("[[grant]]\nto=[1,1,1,1]\n"),
        format!("[[grant]]\nallow=[]\nto=[{}]", "1,".repeat(500_000)),
        format!("[[grant]]\nallow=[]\nto=[{}]", "'*',".repeat(200_000)),
        format!("x = \"\"\"\n{}\"\"\"", most("\n").get(..1_000_000).unwrap()),
        (0..60_000).map(|at| format!("[profile.a{at}]\n")).collect(),
        (0..20_000)
            .map(|at| format!("[[command]]\nname='a.b{at}'\n"))
            .collect(),
        most("[[command]]\n"),
        most("[[test]]\nwho='root'\nwhat='run'\nverdict='allow'\n"),
        format!(
            "[profile.a]\nbase='strict'\nread=[{}]",
            (0..90_000)
                .map(|at| format!("'/{at}',"))
                .collect::<String>()
        ),
        format!(
            "[[command]]\nargs.x={{type='enum',values=[{}]}}",
            (0..90_000).map(|at| format!("'{at}',")).collect::<String>()
        ),
        format!("[[command]]\nargv=[{}]", "'{x}',".repeat(100_000)),
        format!("[[command]]\nargv=['/x',[{}]]", "'{x}',".repeat(100_000)),
        format!(
            "[[command]]\nargs={{{}}}",
            (0..30_000)
                .map(|at| format!("a{at}={{type='unit'}},"))
                .collect::<String>()
        ),
        format!(
            "[[deny]]\nto=[]\ndeny=[{}]",
            (0..90_000)
                .map(|at| format!("'*{at}*',"))
                .collect::<String>()
        ),
    ];
    for text in texts {
        let start: String = text.chars().take(20).collect();
        let found = refused(&[source("a.toml", &text)]);
        assert!(found.len() <= 202, "{start}: {}", found.len());
        assert!(lines(&found).len() < 100_000, "{start}");
    }
}

/// A start is tried again only after those: a directory service may know the account later.
#[test]
fn what_may_only_miss_an_account_says_so() {
    let test = |user: &str| format!("[[test]]\nwho = '{user}'\nwhat = 'run'\nverdict = 'allow'\n");
    let granted = |to: &str| {
        format!(
            "[[grant]]\nto = ['{to}']\nallow = ['run']\n{}",
            test("deploy")
        )
    };
    for (text, is_about_accounts) in [
        (
            "[profile.x]\nbase = 'strict'\nuser = 'ghost'\n".to_owned(),
            true,
        ),
        (
            "[profile.x]\nbase = 'strict'\ngroups = ['ghost']\n".to_owned(),
            true,
        ),
        (
            "[profile.x]\nbase = 'strict'\nuser = '#x'\n".to_owned(),
            false,
        ),
        (
            "[[deny]]\nto = ['%ghost']\ndeny = ['run']\n".to_owned(),
            true,
        ),
        ("[[deny]]\nto = ['a*']\ndeny = ['run']\n".to_owned(), false),
        (test("#x"), false),
        (granted("%ghost"), true),
        (granted("mallory"), false),
    ] {
        let found = load(&[source("a.toml", &text)], &accounts()).unwrap_err();
        let errors = found.iter().filter(|one| one.severity() == Severity::Error);
        for one in errors {
            assert_eq!(
                one.is_about_missing_account(),
                is_about_accounts,
                "{text}: {one}"
            );
        }
    }
}
