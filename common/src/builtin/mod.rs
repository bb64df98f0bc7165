//! Built-in commands. They answer questions that need the service manager's bus, which the `read` sandbox blocks. Only
//! names, argument types and one parser are here. No argument can become an option of a program.

mod table;
mod time;
mod unit;
mod values;

use crate::refusal::Refusal;
use table::CallArgs;

pub use table::{Argument, COMMANDS, Command, find, pair};
pub use time::Time;
pub use unit::{UNIT_KINDS, UnitName, UnitPattern, check_first_name};
pub use values::{BootSelector, Grep, Lines, Priorities, UnitState};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// State of one unit: state, number of processes, last log lines.
    ServiceStatus {
        unit: UnitName,
    },
    ServiceList {
        state: Option<UnitState>,
        /// Only units with such a name; services if absent.
        pattern: Option<UnitPattern>,
    },
    /// Failed units, and units that fail and restart repeatedly.
    ServiceFailed,
    Logs(LogQuery),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub unit: Option<UnitName>,
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub priority: Option<Priorities>,
    pub grep: Option<Grep>,
    pub boot: Option<BootSelector>,
    /// Maximum number of lines; the newest are kept.
    pub lines: Lines,
}

impl Builtin {
    /// Parses a command. Errors: `not_found` for an unknown name; `too_large` above [`crate::caps::NAMED_ARGS`] or
    /// [`crate::caps::NAMED_VALUE`]; `invalid_args` for an unknown, missing, repeated or badly typed argument.
    pub fn parse(name: &str, args: &[(String, String)]) -> Result<Self, Refusal> {
        let command = find(name)?;
        let call_args = CallArgs::new(command, args)?;
        let parsed = match command.name {
            "service.status" => Self::ServiceStatus {
                unit: call_args.required("unit")?,
            },
            "service.list" => Self::ServiceList {
                state: call_args.optional("state")?,
                pattern: call_args.optional("pattern")?,
            },
            "service.failed" => Self::ServiceFailed,
            "logs" => Self::Logs(LogQuery {
                unit: call_args.optional("unit")?,
                since: call_args.optional("since")?,
                until: call_args.optional("until")?,
                priority: call_args.optional("priority")?,
                grep: call_args.optional("grep")?,
                boot: call_args.optional("boot")?,
                lines: call_args.optional("lines")?.unwrap_or_default(),
            }),
            _ => return Err(Refusal::no_such_command(name)),
        };
        Ok(parsed)
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ServiceStatus { .. } => "service.status",
            Self::ServiceList { .. } => "service.list",
            Self::ServiceFailed => "service.failed",
            Self::Logs(_) => "logs",
        }
    }

    #[must_use]
    pub const fn asks_manager(&self) -> bool {
        match self {
            Self::ServiceStatus { .. } | Self::ServiceList { .. } | Self::ServiceFailed => true,
            Self::Logs(_) => false,
        }
    }

    /// Returns the present arguments in table order, in the one form that parses as the same command.
    #[must_use]
    pub fn args(&self) -> Vec<(&'static str, String)> {
        fn one<T: ToString>(
            name: &'static str,
            value: Option<&T>,
        ) -> Option<(&'static str, String)> {
            value.map(|value| (name, value.to_string()))
        }
        let all = match self {
            Self::ServiceStatus { unit } => vec![one("unit", Some(unit))],
            Self::ServiceList { state, pattern } => {
                vec![
                    one("state", state.as_ref()),
                    one("pattern", pattern.as_ref()),
                ]
            }
            Self::ServiceFailed => Vec::new(),
            Self::Logs(query) => {
                let lines = (query.lines != Lines::default()).then_some(&query.lines);
                vec![
                    one("unit", query.unit.as_ref()),
                    one("since", query.since.as_ref()),
                    one("until", query.until.as_ref()),
                    one("priority", query.priority.as_ref()),
                    one("grep", query.grep.as_ref()),
                    one("boot", query.boot.as_ref()),
                    one("lines", lines),
                ]
            }
        };
        all.into_iter().flatten().collect()
    }

    /// Returns the name, then each argument as `key=value`. No element starts with a hyphen.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let args = self.args().into_iter();
        std::iter::once(self.name().to_owned())
            .chain(args.map(|(name, value)| format!("{name}={value}")))
            .collect()
    }

    /// Parses the result of [`Builtin::words`]. Fails as [`Builtin::parse`], and with `invalid_args` without `=`.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let args = words.map(|word| pair(name, word));
        Self::parse(name, &args.collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
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
            for word in
                std::iter::once(command.summary).chain(command.args.iter().map(|arg| arg.what))
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
}
