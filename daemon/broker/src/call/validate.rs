//! Checks the bounds and the syntax of requests. Pure. Rights are decided by the warden.

use std::collections::HashSet;

use remit_common::builtin::{self, Builtin};
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_wire::host::Section;
use remit_wire::{Access, Bytes, GrepQuery, Purpose, Run, What};

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgs, message)
}

fn within(what: &str, value: usize, cap: usize) -> Result<(), Refusal> {
    if value <= cap {
        return Ok(());
    }
    Err(Refusal::new(
        Code::TooLarge,
        format!("{what}: {value}, at most {cap} are allowed"),
    )
    .object(what))
}

fn no_nul(what: &str, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.contains(&0) {
        return Err(invalid(format!("{what} contains a NUL byte")).object(what));
    }
    Ok(())
}

/// Checks a run and returns its built-in command, if it names one. Only the warden knows the names of the policy.
pub fn run(run: &Run) -> Result<Option<Builtin>, Refusal> {
    let builtin = match &run.what {
        What::Argv(args) => argv(args).map(|()| None)?,
        What::Script { text, interpreter } => {
            within("script bytes", text.len(), caps::SCRIPT)?;
            if let Some(interpreter) = interpreter {
                path("interpreter", interpreter)?;
            }
            None
        }
        What::Named { name, args } => named(run, name, args)?,
    };
    purpose(run)?;
    if let Some(cwd) = &run.cwd {
        path("cwd", cwd)?;
        if !cwd.starts_with(b"/") {
            let cwd = text::line(cwd, 200);
            let message = format!("cwd '{cwd}' is not an absolute path");
            return Err(invalid(message).object(cwd));
        }
    }
    env(&run.env)?;
    if let Some(stdin) = &run.stdin {
        // The warden knows whether a command takes a plan.
        let most = match run.what {
            What::Named { .. } => caps::BUNDLE,
            What::Argv(_) | What::Script { .. } => caps::STDIN,
        };
        within("stdin bytes", stdin.len(), most)?;
    }
    profile(run.profile.as_deref())?;
    if let Some(id) = &run.request_id {
        within("request_id bytes", id.len(), caps::REQUEST_ID)?;
        if id.is_empty() || !id.chars().all(|c| text::is_plain(c) && !c.is_control()) {
            return Err(
                invalid("request_id is empty or has unprintable characters").object("request_id")
            );
        }
    }
    Ok(builtin)
}

/// Messages contain no value, because it can be a secret.
fn named(run: &Run, name: &str, args: &[(String, String)]) -> Result<Option<Builtin>, Refusal> {
    let bounded = |object: &str, what: &str, value, cap| {
        let next = "`remit access --name NAME`, or the tool access with the name, explains it";
        within(what, value, cap).map_err(|refusal| refusal.object(object).next(next))
    };
    bounded("name", "bytes of the name", name.len(), caps::NAME)?;
    bounded("args", "arguments", args.len(), caps::NAMED_ARGS)?;
    for (name, value) in args {
        let what = "bytes of an argument's name";
        bounded("args", what, name.len(), caps::NAME)?;
        let shown = text::line(name.as_bytes(), 64);
        let what = format!("bytes of argument '{shown}'");
        bounded(&shown, &what, value.len(), caps::NAMED_VALUE)?;
    }
    let builtin = match builtin::find(name) {
        Ok(_) => Some(Builtin::parse(name, args)?),
        Err(_) => None,
    };
    alone(run, builtin.is_some())?;
    Ok(builtin)
}

fn purpose(run: &Run) -> Result<(), Refusal> {
    match &run.purpose {
        Purpose::Use | Purpose::Try => Ok(()),
        Purpose::Change { reason } => {
            within("reason bytes", reason.len(), caps::REASON)?;
            match reason.trim().is_empty() {
                true => Err(invalid("reason is empty").object("reason")),
                false => Ok(()),
            }
        }
    }
}

/// A named command has its own directory, and a built-in one takes only arguments. A definition decides about the rest.
fn alone(run: &Run, builtin: bool) -> Result<(), Refusal> {
    let present = [
        ("cwd", run.cwd.is_some()),
        ("env", builtin && !run.env.is_empty()),
        ("stdin", builtin && run.stdin.is_some()),
    ];
    match present.into_iter().find(|(_, present)| *present) {
        None => Ok(()),
        Some((object, _)) => {
            let text = format!("'{object}' cannot be combined with a named command");
            Err(invalid(text)
                .object(object)
                .next("leave it out, or give argv instead of name"))
        }
    }
}

pub fn grep(query: &GrepQuery) -> Result<(), Refusal> {
    let bounds = [
        ("limit", query.limit, caps::GREP_MATCHES),
        ("context", query.context, caps::GREP_CONTEXT),
    ];
    within("pattern bytes", query.pattern.len(), caps::PATTERN)?;
    for (what, value, cap) in bounds {
        let [value, cap] = [value, cap].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        within(what, value, cap)?;
    }
    if query.limit == 0 {
        return Err(invalid("limit is zero").object("limit"));
    }
    Ok(())
}

pub fn access(access: &Access) -> Result<(), Refusal> {
    profile(access.profile.as_deref())?;
    let present = [
        access.argv.is_some(),
        access.name.is_some(),
        access.query.is_some(),
    ];
    if present.into_iter().filter(|present| *present).count() > 1 {
        return Err(invalid("'argv', 'name' and 'query' exclude each other").object("name"));
    }
    for (what, text) in [
        ("command name bytes", &access.name),
        ("query bytes", &access.query),
    ] {
        within(what, text.as_ref().map_or(0, String::len), caps::NAME)?;
    }
    access.argv.as_deref().map_or(Ok(()), argv)
}

/// Allows duplicates, up to four times the number of sections.
pub fn sections(sections: &[Section]) -> Result<(), Refusal> {
    within("sections", sections.len(), 4 * Section::ALL.len())
}

pub fn signal(signal: Option<i32>) -> Result<(), Refusal> {
    match signal {
        None | Some(1..=64) => Ok(()),
        Some(other) => {
            Err(invalid("there is no signal with this number").object(other.to_string()))
        }
    }
}

/// Counts a final NUL with each element, as the kernel does (execve(2)).
fn argv(argv: &[Bytes]) -> Result<(), Refusal> {
    match argv.first() {
        None => return Err(invalid("argv is empty").object("argv")),
        Some(program) if program.is_empty() => {
            return Err(invalid("argv[0] is empty").object("argv[0]"));
        }
        Some(_) => {}
    }
    within("argv elements", argv.len(), caps::ARGV_COUNT)?;
    let mut all = 0;
    for (number, element) in argv.iter().enumerate() {
        no_nul(&format!("argv[{number}]"), element)?;
        within(
            &format!("argv[{number}] bytes"),
            element.len() + 1,
            caps::ARGV_ELEMENT,
        )?;
        all += element.len() + 1;
    }
    within("argv bytes", all, caps::ARGV)
}

fn path(what: &str, path: &[u8]) -> Result<(), Refusal> {
    if path.is_empty() {
        return Err(invalid(format!("{what} is empty")).object(what));
    }
    no_nul(what, path)?;
    within(&format!("{what} bytes"), path.len() + 1, caps::PATH)
}

fn env(env: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
    within("variables", env.len(), caps::ENV_COUNT)?;
    let mut seen = HashSet::new();
    for (name, value) in env {
        let shown = text::line(name, 64);
        if name.is_empty() || name.contains(&b'=') {
            return Err(invalid(format!("'{shown}' is not a variable name")).object(shown));
        }
        no_nul("env", name)?;
        no_nul(&format!("variable '{shown}'"), value)?;
        within(
            &format!("bytes of variable '{shown}'"),
            name.len() + 1 + value.len() + 1,
            caps::ENV_ELEMENT,
        )?;
        if !seen.insert(name) {
            return Err(invalid(format!("variable '{shown}' appears twice")).object(shown));
        }
    }
    Ok(())
}

fn profile(profile: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = profile else { return Ok(()) };
    within("profile name bytes", name.len(), caps::NAME)?;
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        let shown = text::line(name.as_bytes(), 64);
        return Err(invalid(format!("'{shown}' is not a profile name")).object(shown));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn bytes(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    /// Runs a short argv.
    pub(crate) fn plain() -> Run {
        Run::new(What::Argv(vec![bytes(1)]), Purpose::Use)
    }

    fn check(change: impl FnOnce(&mut Run)) -> Option<Code> {
        let mut changed = plain();
        change(&mut changed);
        run(&changed).err().map(|refusal| refusal.code)
    }

    const LARGE: Option<Code> = Some(Code::TooLarge);
    const WRONG: Option<Code> = Some(Code::InvalidArgs);

    #[test]
    fn each_cap_is_inclusive() {
        let argv = |argv: Vec<Bytes>| check(|run| run.what = What::Argv(argv));
        let script = |length, interpreter| {
            let text = bytes(length);
            check(|run| run.what = What::Script { text, interpreter })
        };
        // Seven elements fill all but one element of the total bound.
        let whole = |last| {
            let mut all = vec![bytes(caps::ARGV_ELEMENT - 1); 7];
            all.push(bytes(last));
            argv(all)
        };
        let variable = |length| check(|run| run.env = vec![(bytes(1), bytes(length))]);
        let variables = |count: usize| {
            let name = |n: usize| Bytes::from(format!("V{n}").into_bytes());
            check(|run| run.env = (0..count).map(|n| (name(n), bytes(0))).collect())
        };
        let cwd = |length: usize| {
            let path = [b"/".to_vec(), vec![b'x'; length - 1]].concat();
            check(|run| run.cwd = Some(path.into()))
        };
        let none = None::<Code>;
        let cases = [
            ("element", argv(vec![bytes(caps::ARGV_ELEMENT - 1)]), none),
            ("element + 1", argv(vec![bytes(caps::ARGV_ELEMENT)]), LARGE),
            ("elements", argv(vec![bytes(1); caps::ARGV_COUNT]), none),
            (
                "elements + 1",
                argv(vec![bytes(1); caps::ARGV_COUNT + 1]),
                LARGE,
            ),
            ("argv", whole(caps::ARGV_ELEMENT - 1), none),
            ("script", script(caps::SCRIPT, None), none),
            ("script + 1", script(caps::SCRIPT + 1, None), LARGE),
            ("interpreter", script(0, Some(bytes(caps::PATH - 1))), none),
            ("interpreter + 1", script(0, Some(bytes(caps::PATH))), LARGE),
            (
                "stdin",
                check(|run| run.stdin = Some(bytes(caps::STDIN))),
                none,
            ),
            (
                "stdin + 1",
                check(|run| run.stdin = Some(bytes(caps::STDIN + 1))),
                LARGE,
            ),
            ("variable", variable(caps::ENV_ELEMENT - 3), none),
            ("variable + 1", variable(caps::ENV_ELEMENT - 2), LARGE),
            ("variables", variables(caps::ENV_COUNT), none),
            ("variables + 1", variables(caps::ENV_COUNT + 1), LARGE),
            ("cwd", cwd(caps::PATH - 1), none),
            ("cwd + 1", cwd(caps::PATH), LARGE),
            (
                "profile",
                check(|run| run.profile = Some("x".repeat(caps::NAME))),
                none,
            ),
            (
                "profile + 1",
                check(|run| run.profile = Some("x".repeat(caps::NAME + 1))),
                LARGE,
            ),
            // The warden knows the limit.
            (
                "runtime",
                check(|run| run.max_runtime_s = Some(u32::MAX)),
                none,
            ),
            (
                "id",
                check(|run| run.request_id = Some("x".repeat(caps::REQUEST_ID))),
                none,
            ),
            (
                "id + 1",
                check(|run| run.request_id = Some("x".repeat(caps::REQUEST_ID + 1))),
                LARGE,
            ),
        ];
        for (what, got, expect) in cases {
            assert_eq!(got, expect, "{what}");
        }
        let mut all = vec![bytes(caps::ARGV_ELEMENT - 1); 8];
        all.push(bytes(0));
        assert_eq!(argv(all), LARGE);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = |text: &str| Bytes::from(text.as_bytes().to_vec());
        let argv = |words: &[&str]| {
            let words = words.iter().map(|word| text(word)).collect();
            check(|run| run.what = What::Argv(words))
        };
        let interpreter = |path: &str| {
            let (script, path) = (bytes(1), text(path));
            check(|run| {
                run.what = What::Script {
                    text: script,
                    interpreter: Some(path),
                }
            })
        };
        let env = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            check(|run| run.env = pairs)
        };
        let cases = [
            argv(&[]),
            argv(&[""]),
            argv(&["a\0"]),
            argv(&["a", "b\0c"]),
            interpreter(""),
            interpreter("sh\0"),
            check(|run| run.cwd = Some(text(""))),
            check(|run| run.cwd = Some(text("tmp"))),
            check(|run| run.cwd = Some(text("/tmp\0"))),
            env(&[("", "x")]),
            env(&[("A=B", "x")]),
            env(&[("A\0", "x")]),
            env(&[("A", "x\0")]),
            env(&[("A", "1"), ("A", "2")]),
            check(|run| run.profile = Some(String::new())),
            check(|run| run.profile = Some("../x".into())),
            check(|run| run.request_id = Some(String::new())),
            check(|run| run.request_id = Some("a\nb".into())),
            check(|run| run.request_id = Some("a\u{202e}b".into())),
        ];
        for (number, got) in cases.into_iter().enumerate() {
            assert_eq!(got, WRONG, "case {number}");
        }
        assert_eq!(argv(&["a", "", "\u{1b}"]), None);
        assert_eq!(env(&[("A", ""), ("a", "=")]), None);
        assert_eq!(interpreter("python3"), None);
    }

    fn named(
        name: &str,
        args: &[(&str, &str)],
        change: impl FnOnce(&mut Run),
    ) -> Result<Option<Builtin>, Refusal> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut changed = plain();
        changed.what = What::Named {
            name: name.to_owned(),
            args: args.iter().map(owned).collect(),
        };
        change(&mut changed);
        run(&changed)
    }

    fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
        result.err().map(|refusal| refusal.code)
    }

    #[test]
    fn builtin_with_other_fields_is_refused() {
        let logs = |change: &dyn Fn(&mut Run)| named("logs", &[("unit", "nginx")], change);
        assert_eq!(logs(&|_| {}).unwrap().unwrap().name(), "logs");
        for changed in [
            logs(&|run| run.cwd = Some(b"/".to_vec().into())),
            logs(&|run| run.stdin = Some(bytes(0))),
            logs(&|run| run.env = vec![(bytes(1), bytes(1))]),
            named("logs", &[("unit", "-x")], |_| {}),
            named("logs", &[("unit", "a"), ("unit", "b")], |_| {}),
        ] {
            assert_eq!(code(changed), WRONG);
        }
    }

    #[test]
    fn unknown_command_name_is_left_to_warden() {
        for name in ["nginx.test", "df", "", "log", "logs ", "\u{202e}\n"] {
            let passed = named(name, &[("-x", "a\0"), ("-x", "")], |run| {
                run.stdin = Some(bytes(0));
                run.env = vec![(bytes(1), bytes(1))];
            });
            assert_eq!(passed, Ok(None), "{name}");
        }
        let inside = named("nginx.test", &[], |run| run.cwd = Some(bytes(1)));
        assert_eq!(code(inside), WRONG);
    }

    #[test]
    fn named_command_is_bounded_and_values_hidden() {
        let check = |name: usize, args: usize, key: usize, value: usize| {
            let (name, key, value) = ("n".repeat(name), "k".repeat(key), "s".repeat(value));
            let args = vec![(key.as_str(), value.as_str()); args];
            named(&name, &args, |_| {})
        };
        let (name, args, value) = (caps::NAME, caps::NAMED_ARGS, caps::NAMED_VALUE);
        assert_eq!(check(name, args, name, value), Ok(None));
        for over in [
            check(name + 1, 1, 1, 1),
            check(1, args + 1, 1, 1),
            check(1, 2, name + 1, 1),
            check(1, 2, 1, value + 1),
        ] {
            let refusal = over.unwrap_err();
            assert_eq!(refusal.code, Code::TooLarge);
            assert!(refusal.next.is_some());
            assert!(!format!("{refusal:?}").contains("sss"), "{refusal:?}");
        }
    }

    #[test]
    fn a_change_has_a_reason() {
        let because = |reason: String| Purpose::Change { reason };
        let check = |reason: String| code(named("a.b", &[], |run| run.purpose = because(reason)));
        for (reason, expect) in [
            ("x".repeat(caps::REASON), None),
            ("x".repeat(caps::REASON + 1), LARGE),
            (String::new(), WRONG),
            (" \n\t".to_owned(), WRONG),
            ("new site\nfor \u{fc}".to_owned(), None),
        ] {
            assert_eq!(check(reason.clone()), expect, "{reason}");
        }
        let script = What::Script {
            text: bytes(1),
            interpreter: None,
        };
        for what in [plain().what, script] {
            for (reason, expect) in [("why", None), (" ", WRONG)] {
                let one_off = self::check(|run| {
                    run.what = what.clone();
                    run.purpose = because(reason.to_owned());
                });
                assert_eq!(one_off, expect, "{reason}");
            }
        }
        let tried = self::check(|run| run.purpose = Purpose::Try);
        assert_eq!(tried, None);
    }

    #[test]
    fn access_query_is_single_and_bounded() {
        let ask = |argv: Option<usize>, name: Option<usize>, query: Option<usize>| {
            let text = |length: usize| "x".repeat(length);
            code(access(&Access {
                argv: argv.map(|length| vec![bytes(length)]),
                profile: None,
                name: name.map(text),
                query: query.map(text),
            }))
        };
        let cap = caps::NAME;
        for ((argv, name, query), expect) in [
            ((None, None, None), None),
            ((Some(1), None, None), None),
            ((None, Some(cap), None), None),
            ((None, None, Some(cap)), None),
            ((None, None, Some(0)), None),
            ((None, Some(cap + 1), None), LARGE),
            ((None, None, Some(cap + 1)), LARGE),
            ((Some(1), Some(1), None), WRONG),
            ((Some(1), None, Some(1)), WRONG),
            ((None, Some(1), Some(1)), WRONG),
        ] {
            assert_eq!(
                ask(argv, name, query),
                expect,
                "{argv:?} {name:?} {query:?}"
            );
        }
    }

    #[test]
    fn searches_are_bounded() {
        let check = |pattern, limit, context| {
            let query = GrepQuery {
                stream: remit_wire::outcome::Stream::Stdout,
                pattern: "x".repeat(pattern),
                offset: u64::MAX,
                limit,
                context,
            };
            grep(&query).err().map(|refusal| refusal.code)
        };
        let (most, around) = (caps::GREP_MATCHES, caps::GREP_CONTEXT);
        for ((pattern, limit, context), expect) in [
            ((caps::PATTERN, most, around), None),
            ((0, 1, 0), None),
            ((caps::PATTERN + 1, 1, 0), LARGE),
            ((1, most + 1, 0), LARGE),
            ((1, 1, around + 1), LARGE),
            ((1, 0, 0), WRONG),
        ] {
            assert_eq!(check(pattern, limit, context), expect);
        }
    }

    #[test]
    fn signals_and_sections_are_bounded() {
        for (number, fine) in [
            (None, true),
            (Some(1), true),
            (Some(64), true),
            (Some(0), false),
            (Some(65), false),
        ] {
            assert_eq!(signal(number).is_ok(), fine, "{number:?}");
        }
        assert!(sections(&[Section::Os; 56]).is_ok() && sections(&[Section::Os; 57]).is_err());
    }
}
