//! What may mislead in a part of a job's output.

use remit_wire::outcome::{JobReport, Matches, Page, State, Stream};

/// Pages end where output over its limit begins. Its last bytes are kept for the answer with the whole output.
pub fn page(page: &Page) -> Option<String> {
    let (end, total) = (page.offset + page.bytes.len() as u64, page.total);
    (page.eof && !page.bytes.is_empty() && end < total).then(|| {
        format!(
            "pages end at byte {end} of {total}, the rest is not kept whole: job with job_id alone has the last bytes"
        )
    })
}

/// A search that ran out of time looks like one without a match, and so does one that cannot reach the last bytes.
pub fn search(report: &JobReport, matches: &Matches) -> Option<String> {
    let Matches { next, total, .. } = matches;
    let is_over = !report.state.is_waiting() && report.state != State::Running;
    let captured = match matches.stream {
        Stream::Stdout => &report.stdout,
        Stream::Stderr => &report.stderr,
    };
    let is_withheld = captured.head.is_empty() && captured.tail.is_empty();
    (next < total).then_some(())?;
    match (matches.eof, is_over) {
        (true, _) => (!is_withheld).then(|| {
            format!("bytes after {next} of {total} are not searched: job with job_id alone has the last bytes")
        }),
        (false, true) => Some(format!(
            "searched up to byte {next} of {total}: go on with offset={next}"
        )),
        // The rest can be a line that is not complete, or context of the next match.
        (false, false) => Some(format!(
            "searched up to byte {next} of {total} so far: go on with offset={next} and wait_ms"
        )),
    }
}

#[cfg(test)]
mod tests {
    use remit_wire::Bytes;
    use remit_wire::outcome::Captured;

    use super::*;
    use crate::truncate::tests::job;

    #[test]
    fn only_last_page_of_output_over_its_limit_has_a_note() {
        for (bytes, total, eof, has_note) in [
            ("end", 90, true, true),
            ("end", 13, true, false),
            // There is a next page.
            ("end", 90, false, false),
            // It is withheld, also without a page.
            ("", 90, true, false),
        ] {
            let one = Page {
                stream: Stream::Stdout,
                offset: 10,
                bytes: Bytes::from(bytes),
                total,
                eof,
            };
            let note = page(&one);
            assert_eq!(note.is_some(), has_note, "{bytes} {total} {eof}");
            assert!(note.is_none_or(|note| note.contains("byte 13 of 90")));
        }
    }
    #[test]
    fn search_of_less_than_all_output_has_a_note() {
        const REST: &str = "searched up to byte 8 of 9: go on with offset=8";
        const MORE: &str = "searched up to byte 8 of 9 so far: go on with offset=8 and wait_ms";
        const LAST: &str =
            "bytes after 8 of 9 are not searched: job with job_id alone has the last bytes";
        for (state, text, next, eof, expect) in [
            (State::Exited, "text", 9, true, None),
            (State::Exited, "text", 8, false, Some(REST)),
            // Its output is over the limit.
            (State::OutputLimit, "text", 8, true, Some(LAST)),
            (State::Running, "text", 8, false, Some(MORE)),
            (State::Running, "text", 9, false, None),
            // It is withheld, which another note says.
            (State::Exited, "", 8, true, None),
        ] {
            let captured = Captured {
                head: Bytes::from(text),
                ..Captured::default()
            };
            let report = JobReport {
                state,
                ..job(Captured::default(), captured)
            };
            let matches = Matches {
                stream: Stream::Stderr,
                lines: Vec::new(),
                matching: 0,
                offset: 0,
                next,
                total: 9,
                eof,
            };
            let note = search(&report, &matches);
            assert_eq!(note.as_deref(), expect, "{state:?} {text} {next} {eof}");
        }
    }
}
