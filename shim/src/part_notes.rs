//! What may mislead in a part of a job's output.

use remit_wire::outcome::{Matches, Page};

/// Pages end where output over its limit begins. Its last bytes are kept for the answer with the whole output.
pub fn page(page: &Page) -> Option<String> {
    let (end, total) = (page.offset + page.bytes.len() as u64, page.total);
    (page.eof && !page.bytes.is_empty() && end < total).then(|| {
        format!(
            "pages end at byte {end} of {total}, the rest is not kept whole: job with job_id alone has the last bytes"
        )
    })
}

/// A search that ran out of time looks like one without a match.
pub fn search(matches: &Matches) -> Option<String> {
    let Matches { next, total, .. } = matches;
    (!matches.eof && next < total)
        .then(|| format!("searched up to byte {next} of {total}: go on with offset={next}"))
}

#[cfg(test)]
mod tests {
    use remit_wire::Bytes;
    use remit_wire::outcome::Stream;

    use super::*;

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
}
