//! Arguments of journalctl(1). Each value is part of a word `--name=value`, so it cannot become an option. Pure.

use remit_common::builtin::LogQuery;

const FIELDS: &str = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID";

pub fn build(query: &LogQuery) -> Vec<String> {
    // Without `--all` a long message is null.
    let fixed = ["--no-pager", "--output=json", "--all", "--reverse"];
    let mut options: Vec<String> = fixed.map(str::to_owned).into();
    options.push(format!("--output-fields={FIELDS}"));
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name}={value}")));
    };
    add("unit", query.unit.as_ref().map(ToString::to_string));
    add("since", query.since.as_ref().map(ToString::to_string));
    add("until", query.until.as_ref().map(ToString::to_string));
    add("priority", query.priority.as_ref().map(ToString::to_string));
    add("grep", query.grep.as_ref().map(ToString::to_string));
    add("boot", query.boot.as_ref().map(ToString::to_string));
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::builtin::Builtin;

    #[test]
    fn each_argument_is_one_word_after_its_name() {
        let words = [
            "logs",
            "unit=nginx",
            "since=-2h",
            "until=2026-11-20 10:00",
            "priority=err..warn",
            "grep=--output=verbose -x",
            "boot=-1",
            "lines=7",
        ];
        let Ok(Builtin::Logs(query)) = Builtin::of_words(words) else {
            panic!("these are logs");
        };
        assert_eq!(
            build(&query)[5..],
            [
                "--unit=nginx.service",
                "--since=-7200s",
                "--until=2026-11-20 10:00:00",
                "--priority=err..warning",
                "--grep=--output=verbose -x",
                "--boot=-1",
            ]
        );
        assert_eq!(build(&LogQuery::default()).len(), 5);
    }
}
