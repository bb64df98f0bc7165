//! Parses `remit.toml`. Its bounds are checked by root, in [`Config::check`].

use remit_common::text::line;
use remit_policy::{Diagnostic, Severity};
use remit_settings::Config;

/// Bytes of a finding: a key in it may be as long as the file.
const LONGEST: usize = 4096;

/// Parses the text of `remit.toml`; the finding calls it `file`. Fails if it is not TOML, and for an unknown key.
pub fn settings(file: &str, text: &str) -> Result<Config, Diagnostic> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let at = before.map_or_else(
            || file.to_owned(),
            |before| {
                let last = before.rsplit('\n').next().unwrap_or_default();
                let (line, column) = (before.matches('\n').count() + 1, last.chars().count() + 1);
                format!("{file}:{line}:{column}")
            },
        );
        let what = error.message().replace('`', "'").replace('\n', ", ");
        Diagnostic::whole(Severity::Error, &at, line(what.as_bytes(), LONGEST))
    })
}

#[cfg(test)]
mod tests {
    use remit_settings::AccountRef;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let settings = settings("/e/remit.toml", text).map_err(|found| found.to_string())?;
        settings.check().map(|()| settings)
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let shipped = include_str!("../../../packaging/remit.toml");
        assert_eq!(parse(shipped).unwrap(), Config::default());
    }

    #[test]
    fn the_man_page_shows_the_defaults() {
        let page = include_str!("../../../packaging/man/remit.toml.5");
        let (_, block) = page.split_once(".\\\" defaults").unwrap();
        let lines = block
            .lines()
            .skip(1)
            .skip_while(|line| line.starts_with('.'));
        let text: Vec<_> = lines.take_while(|line| !line.starts_with('.')).collect();
        let text = text.join("\n").replace("\\-", "-");
        assert_eq!(parse(&text).unwrap(), Config::default(), "{text}");
    }

    #[test]
    fn every_key_that_changes_is_named() {
        use toml::Value;
        let shipped = include_str!("../../../packaging/remit.toml");
        let table: toml::Table = toml::from_str(shipped).unwrap();
        let mut keys = Vec::new();
        // Each load reads the section about loads.
        for (section, values) in table.iter().filter(|(section, _)| *section != "policy") {
            for (key, value) in values.as_table().unwrap() {
                let other = match (key.as_str(), value) {
                    ("sink", _) => Value::from("file"),
                    ("sync", _) => Value::from("never"),
                    ("require", _) if section == "floor" => {
                        toml::from_str::<Value>("x = [{ command = \"a\", within_s = 1 }]").unwrap()
                            ["x"]
                            .clone()
                    }
                    ("require", _) => Value::from(vec!["landlock"]),
                    (_, Value::Boolean(on)) => Value::from(!on),
                    (_, Value::Integer(number)) => Value::from(number - 1),
                    ("numbers", _) => Value::from(vec![64_001]),
                    (_, Value::Array(_)) => Value::from(vec!["adm"]),
                    (_, _) => Value::from("other"),
                };
                let mut changed = table.clone();
                changed[section][key] = other;
                let new: Config = changed.try_into().unwrap();
                let name = format!("{section}.{key}");
                assert_eq!(Config::default().changed(&new), [name.as_str()]);
                keys.push(name);
            }
        }
        assert_eq!(keys.len(), 42, "{keys:?}");
        assert!(Config::default().changed(&Config::default()).is_empty());
    }

    #[test]
    fn accounts_are_names_or_numbers() {
        let config = parse("[accounts]\nbroker = 64100\nsocket_group = \"ops\"").unwrap();
        assert_eq!(config.accounts.broker, AccountRef::Id(64100));
        assert_eq!(config.accounts.socket_group, AccountRef::Name("ops".into()));
        assert_eq!(
            config.accounts.admin_group,
            AccountRef::Name("remit-admin".into())
        );
    }

    #[test]
    fn error_has_position_and_reason() {
        let text = |text: &str| parse(text).unwrap_err();
        let unknown = text("[jobs]\nmax = 4\n  mex = 5\n");
        assert!(
            unknown.starts_with("/e/remit.toml:3:3: error: unknown field 'mex', expected"),
            "{unknown}"
        );
        for account in ["-1", "true", "4294967296", "[1]"] {
            let wrong = text(&format!("[accounts]\nsocket_group = {account}"));
            let expect = "expected a name, or a number from 0 to 4294967295";
            assert_eq!(wrong, format!("/e/remit.toml:2:16: error: {expect}"));
        }
        let broken = text("[jobs");
        assert!(broken.starts_with("/e/remit.toml:1:6: error: "), "{broken}");
        assert_eq!(text("[jobs]\nmax = 0"), "jobs.max must be 1 to 1024");
        let long = text(&format!("{} = 1", "x".repeat(90_000)));
        assert!(
            long.len() < 5000 && long.contains("unknown field 'xxx"),
            "{long}"
        );
        for wrong in [unknown, broken] {
            assert!(!wrong.contains('\n') && !wrong.contains('`'), "{wrong}");
        }
    }

    #[test]
    fn output_limits_nest_and_empty_queue_is_allowed() {
        let parsed = |text: &str| parse(text);
        let small = "[output]\nper_job = 65536\nper_user = 65536\ntotal = 65536";
        assert_eq!(parsed(small).unwrap().output.total, 1 << 16);
        let none = "[jobs]\nqueue = 0\nqueue_per_user = 1024";
        assert_eq!(parsed(none).unwrap().jobs.queue, 0);
        for (text, why) in [
            (
                "[output]\nper_user = 67108863",
                "output.per_job must not be more than output.per_user",
            ),
            (
                "[output]\nper_user = 1073741825",
                "output.per_user must not be more than output.total",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), why);
        }
    }

    #[test]
    fn unknown_or_out_of_range_value_is_refused() {
        for text in [
            "x = 1",
            "[audit]\nsinc = \"file\"",
            "[audit]\nsink = \"syslog\"",
            "[jobs]\nuid_first = 0",
            "[jobs]\nuid_first = 60000",
            "[jobs]\nuid_count = 3",
            "[jobs]\nuid_first = 4294967000",
            "[jobs]\nmax = 0",
            "[jobs]\nmax_per_user = 65",
            "[jobs]\nqueue = 1025",
            "[jobs]\nqueue_per_user = 1025",
            "[jobs]\nqueue = -1",
            "[jobs]\nstop_wait_s = 3601",
            "[limits]\nruntime_s = 0",
            "[limits]\nmax_runtime_s = 86401",
            "[limits]\nmemory = 1",
            "[limits]\ntasks = 0",
            "[limits]\ntasks = 4194305",
            "[limits]\nfiles = 1",
            "[limits]\nfile = 1",
            "[audit]\nper_user = 1",
            "[output]\nper_job = 65535",
            "[output]\nper_user = 65536",
            "[output]\ntotal = 65536",
            "[output]\nper_jobs = 65536",
            "[accounts]\nbroker = -1",
            "[sandbox]\nrequire = [\"selinux\"]",
            "[floor]\nrequire = [{ command = \"a\", within_s = 0 }]",
            "[floor]\nrequire = [{ command = \"a\" }]",
            "[breaker]\nslow_refusals = 10001",
            "[breaker]\npause_within_s = 0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
