//! Truncates answers to the size that clients accept, before bytes become text: no escape is split. Counts omissions.

pub mod matches;

use std::borrow::Cow;

use remit_wire::Bytes;
use remit_wire::outcome::{Captured, JobReport, Page};
use serde::Serialize;

use crate::text_fence;

/// Bytes of a result's JSON. Clients truncate, warn or spill beyond 40,000 characters.
pub const MAX_TEXT: usize = 39_000;
/// Bytes that a truncated result may leave unused.
const WASTE: usize = 64;
/// The search for the size uses no finer steps than this part of the maximum.
const STEPS: usize = 4096;

/// Returns the result and JSON of `make` for the largest fitting size up to `max`. `None`: size 0 does not fit.
pub fn largest<T: Serialize>(max: usize, make: impl Fn(usize) -> T) -> Option<(T, String)> {
    // If the JSON is too long, only its length is needed.
    let try_size = |size| {
        let made = make(size);
        let json = text_fence::visible(serde_json::to_string(&made).ok()?);
        match json.len() <= MAX_TEXT {
            true => Some(Ok((made, json))),
            false => Some(Err(json.len())),
        }
    };
    let mut over = match try_size(max)? {
        Ok(whole) => return Some(whole),
        Err(length) => length,
    };
    let mut best = try_size(0)?.ok()?;
    let (mut fits, mut fails) = (0, max);
    let mut halve = false;
    while fails - fits > (max / STEPS).max(1) && best.1.len() + WASTE < MAX_TEXT {
        // Interpolation finds the size of uniform output. Halving, every second time, finds the rest.
        let between = fails - fits;
        let step = match halve {
            true => between / 2,
            false => {
                let (spare, surplus) = (MAX_TEXT - WASTE / 2 - best.1.len(), over - best.1.len());
                between.saturating_mul(spare) / surplus.max(1)
            }
        };
        let middle = fits + step.clamp(1, between - 1);
        match try_size(middle)? {
            Ok(made) => (best, fits) = (made, middle),
            Err(length) => (over, fails) = (length, middle),
        }
        halve = !halve;
    }
    Some(best)
}

pub fn output(report: &JobReport) -> usize {
    held(&report.stdout) + held(&report.stderr)
}

/// Returns the report with at most `budget` bytes of output, shared between its streams.
pub fn report(report: &JobReport, budget: usize) -> Cow<'_, JobReport> {
    if output(report) <= budget {
        return Cow::Borrowed(report);
    }
    let (stdout, stderr) = share(held(&report.stdout), held(&report.stderr), budget);
    Cow::Owned(JobReport {
        stdout: captured(&report.stdout, stdout),
        stderr: captured(&report.stderr, stderr),
        ..report.clone()
    })
}

#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Keeps the end of the page instead of its beginning.
    pub tail: bool,
    /// Never cuts inside a character.
    pub whole_characters: bool,
}

pub fn page(page: &Page, budget: usize, cut: Cut) -> Page {
    let bytes = page.bytes.as_slice();
    let Some(surplus) = bytes.len().checked_sub(budget).filter(|over| *over > 0) else {
        return page.clone();
    };
    let (start, end) = match (cut.tail, cut.whole_characters) {
        (true, true) => (char_end(bytes, surplus), bytes.len()),
        (true, false) => (surplus, bytes.len()),
        (false, true) => (0, char_start(bytes, budget)),
        (false, false) => (0, budget),
    };
    Page {
        offset: page.offset.saturating_add(start as u64),
        bytes: Bytes::from(bytes.get(start..end).unwrap_or_default().to_vec()),
        eof: page.eof && cut.tail,
        ..page.clone()
    }
}

fn held(captured: &Captured) -> usize {
    captured.head.len() + captured.tail.len()
}

/// Splits `budget` in two parts, neither above its need. Each gets what the other does not need.
fn share(first: usize, second: usize, budget: usize) -> (usize, usize) {
    let a = first.min((budget / 2).max(budget.saturating_sub(second)));
    (a, second.min(budget - a))
}

fn captured(captured: &Captured, budget: usize) -> Captured {
    // If nothing is missing between head and tail, they are joined. A character may span both.
    let (head, tail) = match captured.omitted() {
        0 => {
            let whole = [captured.head.as_slice(), &captured.tail].concat();
            if whole.len() <= budget {
                return Captured {
                    total: captured.total,
                    lines: captured.lines,
                    head: Bytes::from(whole),
                    tail: Bytes::new(),
                };
            }
            (whole.clone(), whole)
        }
        _ => (captured.head.to_vec(), captured.tail.to_vec()),
    };
    let (first, last) = share(head.len(), tail.len(), budget);
    let end = char_start(&head, first);
    let start = char_end(&tail, tail.len() - last);
    Captured {
        total: captured.total,
        lines: captured.lines,
        head: Bytes::from(head.get(..end).unwrap_or_default().to_vec()),
        tail: Bytes::from(tail.get(start..).unwrap_or_default().to_vec()),
    }
}

fn char_start(bytes: &[u8], offset: usize) -> usize {
    (offset.saturating_sub(3)..=offset)
        .rev()
        .find(|offset| is_between(bytes, *offset))
        .unwrap_or(offset)
}

fn char_end(bytes: &[u8], offset: usize) -> usize {
    (offset..=bytes.len().min(offset + 3))
        .find(|offset| is_between(bytes, *offset))
        .unwrap_or(offset)
}

fn is_between(bytes: &[u8], offset: usize) -> bool {
    bytes.get(offset).is_none_or(|byte| byte & 0xc0 != 0x80)
}

#[cfg(test)]
pub mod tests {
    use remit_common::names::JobId;
    use remit_wire::outcome::{State, Stream};
    use remit_wire::result::{JobResult, PageResult};
    use serde_json::Value;

    use super::*;

    fn stream(total: u64, head: &[u8], tail: &[u8]) -> Captured {
        Captured {
            total,
            lines: 0,
            head: Bytes::from(head.to_vec()),
            tail: Bytes::from(tail.to_vec()),
        }
    }

    pub fn job(stdout: Captured, stderr: Captured) -> JobReport {
        JobReport {
            then: Vec::new(),
            denials: Vec::new(),
            job: JobId([7; 16]),
            command: "x".to_owned(),
            state: State::Running,
            ending: None,
            started_ms: 0,
            waited_ms: 0,
            queue_position: None,
            enforced: None,
            stdout,
            stderr,
            notes: vec![],
            approval: None,
        }
    }

    fn fitted(job: &JobReport) -> Value {
        let (made, text) =
            largest(output(job), |budget| JobResult::from(&*report(job, budget))).unwrap();
        assert!(text.len() <= MAX_TEXT);
        let value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&made).unwrap(), value);
        value
    }

    #[test]
    fn fitting_output_is_whole_with_joined_character() {
        let value = fitted(&job(
            stream(4, b"a\xc3", b"\xbcb"),
            stream(100, b"in", b"out"),
        ));
        assert_eq!(value["stdout"], "a\u{fc}b");
        assert_eq!(value.get("encoding"), None);
        assert_eq!(
            value["stderr"],
            "in[… 95 bytes omitted: read them with job, stream=stderr, offset=2 …]out"
        );
    }

    #[test]
    fn any_output_is_cut_to_fit_and_counted() {
        for unit in ["x", "\u{fc}", "\u{1f600}", "\n", "\"", "\0", "\u{202e}"] {
            for size in [30_000, 48_000, 200_000] {
                let bytes = unit.repeat(size / unit.len());
                let total = bytes.len() as u64;
                let value = fitted(&job(
                    stream(total, bytes.as_bytes(), b""),
                    stream(3, b"err", b""),
                ));
                assert_eq!(value["stderr"], "err", "the short stream stays whole");
                let text = value["stdout"].as_str().unwrap();
                assert!(
                    !text.contains("\\xc3") && !text.contains("\\xf0"),
                    "no cut character"
                );
                if value["truncated"] == true {
                    let (head, rest) = text.split_once("[… ").unwrap();
                    let (omitted, rest) = rest
                        .split_once(" bytes omitted: read them with job, offset=")
                        .unwrap();
                    let (offset, _) = rest.split_once(" …]").unwrap();
                    let _ = head;
                    let (omitted, offset): (u64, u64) =
                        (omitted.parse().unwrap(), offset.parse().unwrap());
                    assert!(omitted > 0 && offset > 0 && omitted + offset < total);
                    assert!(
                        value.to_string().len() > MAX_TEXT - 2000,
                        "no room is wasted"
                    );
                }
            }
        }
    }

    #[test]
    fn cut_page_has_offset_of_next() {
        let bytes = "\u{fc}\u{1}".repeat(20_000);
        let whole = Page {
            stream: Stream::Stdout,
            offset: 1000,
            bytes: Bytes::from(bytes.into_bytes()),
            total: 61_000,
            eof: true,
        };
        let (_, text) = largest(whole.bytes.len(), |budget| {
            let cut = Cut {
                tail: false,
                whole_characters: true,
            };
            PageResult::from(&page(&whole, budget, cut))
        })
        .unwrap();
        assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 200);
        let value: Value = serde_json::from_str(&text).unwrap();
        let next = value["next"].as_u64().unwrap();
        assert!(next > 1000 && next < 61_000);
        assert_eq!(value["eof"], false);
        assert!(!value["data"].as_str().unwrap().contains("\\xc3"));
    }

    #[test]
    fn a_tail_is_cut_at_its_beginning() {
        let whole = Page {
            stream: Stream::Stdout,
            offset: 1000,
            bytes: Bytes::from("ab\u{fc}cd".as_bytes().to_vec()),
            total: 1006,
            eof: true,
        };
        for (budget, whole_characters, offset, rest) in [
            (6, true, 1000, "ab\u{fc}cd".as_bytes()),
            (4, true, 1002, "\u{fc}cd".as_bytes()),
            (3, true, 1004, b"cd"),
            (3, false, 1003, b"\xbccd"),
            (0, true, 1006, b""),
        ] {
            let cut = Cut {
                tail: true,
                whole_characters,
            };
            let made = page(&whole, budget, cut);
            assert_eq!((made.offset, made.bytes.as_slice()), (offset, rest));
            assert!(made.eof);
        }
    }

    #[test]
    fn nothing_fits_when_the_rest_is_too_long() {
        let mut job = job(stream(0, b"", b""), stream(0, b"", b""));
        job.notes = vec!["x".repeat(MAX_TEXT)];
        assert!(largest(0, |budget| JobResult::from(&*report(&job, budget))).is_none());
    }
}
