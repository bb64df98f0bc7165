use proptest::prelude::*;

use super::*;
use crate::output::spool::tests::Scratch;
use remit_common::names::JobId;
use remit_common::outcome::Stream;

fn of(secrets: &[&str]) -> Redactor {
    let secrets: Vec<Bytes> = secrets
        .iter()
        .map(|secret| Bytes::from(secret.as_bytes()))
        .collect();
    Redactor::new(&secrets)
}

const CLOSED: Open = Open {
    before: false,
    after: false,
};

fn masked(redactor: &Redactor, text: &str, open: Open) -> (String, usize) {
    let all = 0..text.len();
    let masked = redactor.masked(text.as_bytes().to_vec(), all, open);
    (String::from_utf8(masked.bytes).unwrap(), masked.redactions)
}

#[test]
fn only_secret_bytes_become_stars() {
    for (secrets, text, shown, redactions) in [
        (&["hunter2"][..], "x hunter2 y", "x ******* y", 1),
        (&["hunter2"], "hunter2hunter2", "**************", 1),
        (&["hunter2"], "hunter hunter", "hunter hunter", 0),
        (&["hunter2\n"], "hunter2 hunter2\n", "******* *******\n", 2),
        (&["abab", "babc"], "xababcx", "x*****x", 1),
        (&["abcdef", "cdef", "bcde"], "abcdexcdef", "a****x****", 2),
        (&["one\ntwo three"], "one\ntwo three", "***\n*********", 1),
        (&["one\ntwo three"], "> two three", "> *********", 1),
        (&["p\u{fc}ss"], "p\u{fc}ss", "*****", 1),
        (&["hunter2"], "a=aHVudGVyMg==;", "a=**********==;", 1),
        (&["hunter2"], "68756e74657232", "**************", 1),
        (&["a b/c"], "?q=a%20b%2Fc&", "?q=*********&", 1),
        (&["a\"b\\c"], r#"{"k":"a\"b\\c"}"#, r#"{"k":"*******"}"#, 1),
        (&[], "hunter2", "hunter2", 0),
    ] {
        let expect = (shown.to_owned(), redactions);
        assert_eq!(masked(&of(secrets), text, CLOSED), expect, "{text:?}");
    }
}

#[test]
fn partial_secret_at_open_edge_is_redacted() {
    let redactor = of(&["hunter2"]);
    let before = Open {
        before: true,
        after: false,
    };
    let after = Open {
        before: false,
        after: true,
    };
    for (text, open, shown) in [
        ("er2 x hun", CLOSED, "er2 x hun"),
        ("er2 x hun", before, "*** x hun"),
        ("er2 x hun", after, "er2 x ***"),
        ("hunter", after, "******"),
        ("unter2", before, "******"),
        ("hunter2", before, "*******"),
        ("", after, ""),
    ] {
        assert_eq!(masked(&redactor, text, open).0, shown, "{text:?} {open:?}");
    }
    assert_eq!(redactor.held(b"x hunte"), 5);
    assert_eq!(
        redactor.held(b"x hunter2"),
        0,
        "whole, it is held no longer"
    );
}

/// The time must not depend on secrets or text.
#[test]
fn the_worst_text_takes_linear_time() {
    let secrets: Vec<String> = (0..64).map(|n| "a".repeat(4000 + n)).collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let redactor = of(&secrets);
    let text = "a".repeat(3999);
    let open = Open {
        before: true,
        after: true,
    };
    assert_eq!(masked(&redactor, &text, open).0, "*".repeat(3999));
    assert_eq!(masked(&redactor, &text, CLOSED).0, text);
}

/// The requester chooses the secret and often the output: here many lines that are parts of each other match at each
/// byte of a block.
#[test]
fn nested_secrets_take_linear_time_and_memory() {
    let lines: Vec<String> = (8..83).map(|n| "a".repeat(n)).collect();
    let redactor = of(&[&lines.join("\n")]);
    let text = "a".repeat(1 << 20);
    let start = std::time::Instant::now();
    let ranges = redactor.ranges(text.as_bytes(), CLOSED);
    assert!(ranges.iter().eq([&(0..text.len())]), "{ranges:?}");
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

proptest! {
    /// The longest form at each end must cover all shorter ones.
    #[test]
    fn finder_covers_each_form(
        text in "[ab+]{0,60}", secrets in prop::collection::vec("[ab]{1,6}", 1..6),
    ) {
        let redactor = of(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let mut covered = vec![false; text.len()];
        for form in &redactor.forms {
            for (at, part) in text.as_bytes().windows(form.bytes.len()).enumerate() {
                if part != form.bytes { continue; }
                let mut range = at..at + part.len();
                if form.spills {
                    range = at.saturating_sub(1)..(range.end + 1).min(text.len());
                }
                covered[range].fill(true);
            }
        }
        let shown = masked(&redactor, &text, CLOSED).0;
        for (at, byte) in shown.bytes().enumerate() {
            prop_assert_eq!(byte == b'*', covered[at], "{} of {:?} in {}", at, secrets, text);
        }
    }

    /// An excerpt must show the same bytes as the whole file.
    #[test]
    fn pages_together_are_the_whole(text in "[ab\n]{0,120}", secret in "[ab]{4,9}", size in 1..20_usize) {
        let scratch = Scratch::new();
        let file = scratch.spool.create(JobId([1; 16]), Stream::Stdout).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
        let redactor = of(&[&secret]);
        let whole = masked(&redactor, &text, CLOSED).0;
        prop_assert!(!whole.contains(&secret));
        let there = text.len() as u64;
        let mut joined = Vec::new();
        for start in (0..text.len()).step_by(size) {
            let part = start as u64..((start + size) as u64).min(there);
            let page = redactor.read(Some(&file), part, there, false);
            joined.extend(page.bytes);
        }
        prop_assert_eq!(String::from_utf8(joined).unwrap(), whole);
        prop_assert_eq!(text.matches('\n').count(), masked(&redactor, &text, CLOSED).0.matches('\n').count());
    }

    /// Shown bytes of a growing text never change later, and never reveal the start of a secret.
    #[test]
    fn possible_secret_start_is_held_back(text in "[abc]{0,60}", secret in "[abc]{4,9}") {
        let redactor = of(&[&secret]);
        let whole = masked(&redactor, &text, CLOSED).0;
        for end in 0..=text.len() {
            let now = &text[..end];
            let shown = end - redactor.held(now.as_bytes());
            let seen = masked(&redactor, now, CLOSED).0;
            prop_assert_eq!(&seen[..shown], &whole[..shown]);
        }
    }
}
