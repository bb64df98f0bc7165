//! Load averages and pressure (proc_loadavg(5), the kernel's accounting/psi).

use remit_common::host::{Hundredths, Load, Pressure};

use crate::read::{self, Gaps};
use crate::sources::Sources;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Load> {
    let path = at.proc.join("loadavg");
    let text = gaps.known("load", read::text(&path, 4096))?;
    let Some((averages, runnable, tasks)) = loadavg(&text) else {
        gaps.note(
            "load",
            format!("'{}' has an unknown format", path.display()),
        );
        return None;
    };
    let mut pressure = |name: &str| {
        let path = at.proc.join("pressure").join(name);
        let parsed = read::text(&path, 4096).and_then(|text| {
            psi(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
        });
        gaps.known(&format!("load.{name}"), parsed)
    };
    let [one, five, fifteen] = averages;
    Some(Load {
        one,
        five,
        fifteen,
        runnable,
        tasks,
        cpu: pressure("cpu"),
        memory: pressure("memory"),
        io: pressure("io"),
    })
}

fn decimal(text: &str) -> Option<Hundredths> {
    Hundredths::try_from(text.parse::<f64>().ok()?).ok()
}

/// Parses `0.52 0.58 0.59 1/977 12345`.
fn loadavg(text: &str) -> Option<([Hundredths; 3], u64, u64)> {
    let mut words = text.split_ascii_whitespace();
    let averages = [
        decimal(words.next()?)?,
        decimal(words.next()?)?,
        decimal(words.next()?)?,
    ];
    let (runnable, tasks) = words.next()?.split_once('/')?;
    Some((averages, runnable.parse().ok()?, tasks.parse().ok()?))
}

/// Parses `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same line with `full`.
fn psi(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let mut words = text
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
        let mut average = |key: &str| decimal(words.next()?.strip_prefix(key)?);
        Some([average("avg10=")?, average("avg60=")?, average("avg300=")?])
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loadavg_is_read_or_refused() {
        let good = ([Hundredths(52), Hundredths(258), Hundredths(5900)], 1, 977);
        for (text, expect) in [
            ("0.52 2.58 59.00 1/977 12345\n", Some(good)),
            ("0.52 2.58 59.00 1/977", Some(good)),
            ("0.52 2.58 59.00 1", None),
            ("0.52 2.58 nan 1/977 1", None),
            ("-1.0 2.58 1.0 1/977 1", None),
            ("", None),
        ] {
            assert_eq!(loadavg(text), expect, "{text}");
        }
    }

    #[test]
    fn psi_without_full_line_is_still_known() {
        let some = "some avg10=0.12 avg60=3.00 avg300=100.00 total=99\n";
        let full = "full avg10=0.01 avg60=0.00 avg300=0.00 total=9\n";
        let hundredths = |numbers: [u32; 3]| numbers.map(Hundredths);
        assert_eq!(
            psi(some),
            Some(Pressure {
                some: hundredths([12, 300, 10000]),
                full: None
            })
        );
        assert_eq!(
            psi(&format!("{some}{full}")).unwrap().full,
            Some(hundredths([1, 0, 0]))
        );
        assert_eq!(psi(full), None);
        assert_eq!(psi("some avg10=0.12"), None);
    }

    proptest! {
        #[test]
        fn odd_text_never_panics(text in "[0-9a-z./= \n-]{0,80}") {
            let _ = (loadavg(&text), psi(&text));
        }
    }
}
