//! Reads limits of jobs as policy files write them: `"30s"`, `"256M"`, `"50%"`, `32`.

use std::fmt::Display;
use std::ops::RangeInclusive;

use remit_common::span;
use toml::de::DeValue;

use crate::load::reader::{Fields, Report, Value, mistyped};
use remit_policy::model::profile::ProfileLimits;
use remit_policy::quoted;

const RUNTIME: RangeInclusive<u64> = 1..=24 * 3600;
/// Bytes of a job: a program needs a few, and no host has an exbibyte.
const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 60;
const TASKS: RangeInclusive<u64> = 1..=1 << 22;
const CPU: RangeInclusive<u64> = 1..=102_400;
/// Descriptors of a process: from those that every program opens to the kernel's fs.nr_open.
const OPEN_FILES: RangeInclusive<u64> = 32..=1 << 20;
/// Bytes that a job can write to its copy of the machine.
const SPACE: RangeInclusive<u64> = 1 << 20..=1 << 40;
/// Bytes of each private directory.
const TMP: RangeInclusive<u64> = 64 << 10..=1 << 50;

pub(crate) fn limits(fields: &mut Fields<'_>, report: &mut Report<'_>) -> ProfileLimits {
    let Some(mut table) = fields.table("limits", "limits", report) else {
        return ProfileLimits::default();
    };
    let mut read = |key, unit: &Unit, within: &RangeInclusive<u64>| {
        let value = table.get(key)?;
        unit.read(key, value, within, report)
    };
    let found = ProfileLimits {
        runtime_s: read("runtime", &SECONDS, &RUNTIME).and_then(|s| s.try_into().ok()),
        memory: read("memory", &BYTES, &MEMORY),
        tasks: read("tasks", &COUNT, &TASKS),
        cpu_percent: read("cpu", &PERCENT, &CPU).and_then(|percent| percent.try_into().ok()),
        open_files: read("open_files", &COUNT, &OPEN_FILES),
        tmp: read("tmp", &BYTES, &TMP),
    };
    table.finish(report);
    found
}

pub(crate) fn space(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<u64> {
    let value = fields.get("space")?;
    BYTES.read("space", value, &SPACE, report)
}

pub(crate) fn seconds(
    key: &'static str,
    within: &RangeInclusive<u64>,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<u32> {
    let value = fields.get(key)?;
    let seconds = SECONDS.read(key, value, within, report)?;
    seconds.try_into().ok()
}

struct Unit {
    what: &'static str,
    example: &'static str,
    plain: bool,
    /// Suffixes with their values, the greatest first.
    suffixes: &'static [(&'static str, u64)],
    /// Read by the one parser of durations. `suffixes` are only for printing.
    is_duration: bool,
}

const SECONDS: Unit = Unit {
    what: "a duration",
    example: "\"90s\", \"30m\", \"2h\", \"1d\", \"1w\"",
    plain: false,
    suffixes: &[("h", 3600), ("min", 60), ("s", 1)],
    is_duration: true,
};
const BYTES: Unit = Unit {
    what: "a number of bytes",
    example: "\"64K\", \"256M\" or \"2G\"",
    plain: true,
    suffixes: &[("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)],
    is_duration: false,
};
const PERCENT: Unit = Unit {
    what: "a share of one CPU",
    example: "\"50%\"",
    plain: false,
    suffixes: &[("%", 1)],
    is_duration: false,
};
const COUNT: Unit = Unit {
    what: "a number",
    example: "32",
    plain: true,
    suffixes: &[],
    is_duration: false,
};

impl Unit {
    fn read(
        &self,
        key: &str,
        value: &Value<'_>,
        within: &RangeInclusive<u64>,
        report: &mut Report<'_>,
    ) -> Option<u64> {
        let (found, text) = match value.get_ref() {
            DeValue::Integer(number) if self.plain => (
                u64::from_str_radix(number.as_str(), number.radix()).ok(),
                number.as_str(),
            ),
            DeValue::String(text) if !self.suffixes.is_empty() => (self.parse(text), text.as_ref()),
            _ => {
                mistyped(
                    key,
                    &format!("{}, as {}", self.what, self.example),
                    value,
                    report,
                );
                return None;
            }
        };
        let Some(amount) = found else {
            let message = format!("{} is not {}", quoted(text), self.what);
            let help = match self.is_duration {
                true => "examples:",
                false => "write it as",
            };
            report.error_with_help(value.span(), message, &format!("{help} {}", self.example));
            return None;
        };
        if !within.contains(&amount) {
            let (least, most) = (self.show(*within.start()), self.show(*within.end()));
            report.error(
                value.span(),
                format!("'{key}' can be from {least} to {most}"),
            );
            return None;
        }
        Some(amount)
    }

    /// Parses a duration, or a whole decimal number without leading zeros and a suffix.
    fn parse(&self, text: &str) -> Option<u64> {
        if self.is_duration {
            return span::seconds(text).ok();
        }
        let split = text.find(|char: char| !char.is_ascii_digit())?;
        let (digits, suffix) = text.split_at(split);
        let (_, worth) = self.suffixes.iter().find(|(known, _)| *known == suffix)?;
        let number = digits.parse::<u64>().ok()?;
        (number.to_string() == digits)
            .then_some(number)?
            .checked_mul(*worth)
    }

    /// Returns the value as a file has it: a number has no quotes.
    fn print(&self, amount: u64) -> String {
        match self.show(amount) {
            plain if plain.bytes().all(|byte| byte.is_ascii_digit()) => plain,
            text => format!("\"{text}\""),
        }
    }

    fn show(&self, amount: u64) -> String {
        let whole = |(_, worth): &&(&str, u64)| amount.is_multiple_of(*worth) && amount > 0;
        match self.suffixes.iter().find(whole) {
            Some((suffix, worth)) => format!("{}{suffix}", amount / worth),
            None => amount.to_string(),
        }
    }
}

pub(crate) fn print(limits: &ProfileLimits) -> Option<String> {
    fn item<T: Display>(key: &str, value: Option<T>) -> Option<String> {
        value.map(|value| format!("{key} = {value}"))
    }
    let bytes = |amount: Option<u64>| amount.map(print_bytes);
    let items: Vec<String> = [
        item("runtime", limits.runtime_s.map(|s| SECONDS.print(s.into()))),
        item("memory", bytes(limits.memory)),
        item("tasks", limits.tasks),
        item("cpu", limits.cpu_percent.map(|cpu| format!("\"{cpu}%\""))),
        item("open_files", limits.open_files),
        item("tmp", bytes(limits.tmp)),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!items.is_empty()).then(|| format!("limits = {{ {} }}", items.join(", ")))
}

pub(crate) fn print_bytes(bytes: u64) -> String {
    BYTES.print(bytes)
}

pub(crate) fn print_seconds(seconds: u32) -> String {
    SECONDS.show(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_numbers_with_a_unit() {
        let check =
            |unit: &Unit, text: &str, expect| assert_eq!(unit.parse(text), expect, "{text:?}");
        check(&SECONDS, "30s", Some(30));
        check(&SECONDS, "10min", Some(600));
        check(&SECONDS, "1h", Some(3600));
        check(&SECONDS, "10m", Some(600));
        check(&SECONDS, "1d", Some(86_400));
        check(&SECONDS, "1w", Some(604_800));
        check(&SECONDS, "1h30m", Some(5400));
        check(&BYTES, "256M", Some(256 << 20));
        check(&BYTES, "64K", Some(64 << 10));
        check(&PERCENT, "250%", Some(250));
        for text in [
            "", "30", "s", "1.5h", "-1s", "+1s", " 1s", "1 s", "1M", "1y", "٣s", "1S",
        ] {
            check(&SECONDS, text, None);
        }
        check(&BYTES, "18446744073709551615G", None);
        check(&BYTES, "99999999999999999999K", None);
        check(&BYTES, "1MB", None);
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for amount in [1, 59, 60, 90, 600, 3600, 5400, 86_400] {
            assert_eq!(SECONDS.parse(&SECONDS.show(amount)), Some(amount));
        }
        assert_eq!(BYTES.show(256 << 20), "256M");
        assert_eq!(BYTES.show((1 << 20) + 1), "1048577");
    }
}
