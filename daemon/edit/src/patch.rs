//! Applies a unified diff of one file. A hunk may have moved, but all its context must match (no fuzz), and a moved hunk
//! must match at one line only.
//!
//! **Invariant:** it is total: any bytes give new bytes or an error, in time linear in both inputs.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// Lines of the patch are counted from 1.
    NotAHunk {
        line: usize,
    },
    Count {
        hunk: usize,
    },
    SecondFile,
    /// It makes or removes the file.
    NoFile {
        line: usize,
    },
    /// None of its names is that of the file. The line of the last one.
    OtherFile {
        line: usize,
    },
    Unsupported {
        line: usize,
    },
    Empty,
    NotFound {
        hunk: usize,
    },
    Ambiguous {
        hunk: usize,
        matches: usize,
    },
    Order {
        hunk: usize,
    },
    /// More hunks than 256 are not at their line.
    Moved {
        hunk: usize,
    },
}

/// Hunks of a patch that are searched. Each search reads the rest of the file.
const SEARCHES: usize = 256;

struct Hunk<'a> {
    /// Index of its first old line in the old file, if that did not move.
    at: usize,
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
}

pub fn patch(base: &[u8], patch: &[u8]) -> Result<Vec<u8>, PatchError> {
    let lines = split(base);
    let mut out = Vec::with_capacity(base.len());
    let (mut done, mut drift, mut searches) = (0_usize, 0_isize, 0);
    for (number, hunk) in (1..).zip(parse(patch)?) {
        let expected = hunk.at.checked_add_signed(drift).filter(|at| *at >= done);
        let at = match expected.filter(|at| hunk.fits(&lines, *at)) {
            Some(at) => at,
            None if searches == SEARCHES => return Err(PatchError::Moved { hunk: number }),
            None => {
                searches += 1;
                position(&lines, done, &hunk, number)?
            }
        };
        let kept = lines.get(done..at).unwrap_or_default();
        kept.iter()
            .chain(&hunk.new)
            .for_each(|line| out.extend_from_slice(line));
        done = at + hunk.old.len();
        drift = at as isize - hunk.at as isize;
    }
    let rest = lines.get(done..).unwrap_or_default();
    rest.iter().for_each(|line| out.extend_from_slice(line));
    Ok(out)
}

/// Splits into lines with their newline; the last one may have none.
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

impl Hunk<'_> {
    fn fits(&self, lines: &[&[u8]], at: usize) -> bool {
        let there = lines.get(at..at.saturating_add(self.old.len()));
        there.is_some_and(|there| there == self.old.as_slice())
    }
}

fn position(
    lines: &[&[u8]],
    done: usize,
    hunk: &Hunk<'_>,
    number: usize,
) -> Result<usize, PatchError> {
    // Nothing says where a hunk without old lines has moved to.
    if hunk.old.is_empty() {
        return Err(PatchError::Order { hunk: number });
    }
    let rest = lines.get(done..).unwrap_or_default();
    let found = occurrences(rest, &hunk.old, Overlaps::Counted);
    match found.as_slice() {
        [first] => Ok(done + first),
        [] => Err(PatchError::NotFound { hunk: number }),
        [_, _, ..] => Err(PatchError::Ambiguous {
            hunk: number,
            matches: found.len(),
        }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlaps {
    Counted,
    Skipped,
}

/// Returns where `wanted` begins, by the algorithm of Knuth, Morris and Pratt.
pub fn occurrences<T: PartialEq>(list: &[T], wanted: &[T], overlaps: Overlaps) -> Vec<usize> {
    let same = |a: Option<&T>, b: &T| a.is_some_and(|a| a == b);
    let mut borders = vec![0_usize];
    let shorter = |borders: &[usize], length: usize| {
        length
            .checked_sub(1)
            .and_then(|last| borders.get(last))
            .copied()
            .unwrap_or(0)
    };
    let mut length = 0;
    for one in wanted.iter().skip(1) {
        while length > 0 && !same(wanted.get(length), one) {
            length = shorter(&borders, length);
        }
        length += usize::from(same(wanted.get(length), one));
        borders.push(length);
    }
    let (mut found, mut length) = (Vec::new(), 0);
    for (at, one) in list.iter().enumerate() {
        while length > 0 && !same(wanted.get(length), one) {
            length = shorter(&borders, length);
        }
        length += usize::from(same(wanted.get(length), one));
        if length == wanted.len() {
            found.push(at + 1 - length);
            length = match overlaps {
                Overlaps::Counted => shorter(&borders, length),
                Overlaps::Skipped => 0,
            };
        }
    }
    found
}

fn parse(patch: &[u8]) -> Result<Vec<Hunk<'_>>, PatchError> {
    let mut lines = (1..).zip(split(patch)).peekable();
    let mut hunks = Vec::new();
    while let Some((line, text)) = lines.next() {
        let begins = |head: &str| text.starts_with(head.as_bytes());
        let Some((at, old, new)) = header(text) else {
            match () {
                () if hunks.is_empty()
                    && ["--- ", "+++ ", "diff ", "index "]
                        .map(begins)
                        .contains(&true) =>
                {
                    continue;
                }
                () if begins("--- ") || begins("diff ") => return Err(PatchError::SecondFile),
                () if [
                    "old mode",
                    "new ",
                    "deleted ",
                    "rename ",
                    "copy ",
                    "similarity ",
                    "GIT ",
                    "Binary ",
                ]
                .map(begins)
                .contains(&true) =>
                {
                    return Err(PatchError::Unsupported { line });
                }
                () if text.trim_ascii().is_empty() => continue,
                () => return Err(PatchError::NotAHunk { line }),
            }
        };
        let mut hunk = Hunk {
            at,
            old: Vec::new(),
            new: Vec::new(),
        };
        let number = hunks.len() + 1;
        while hunk.old.len() < old || hunk.new.len() < new {
            let (_, text) = lines.next().ok_or(PatchError::Count { hunk: number })?;
            let last = lines.next_if(|(_, next)| next.starts_with(b"\\")).is_some();
            let (sign, line) = match text.split_first() {
                // Some programs remove the blank that a context line without text is.
                None | Some((b'\n', _)) => (b' ', text),
                Some((sign, line)) => (*sign, line),
            };
            let line = if last {
                line.strip_suffix(b"\n").unwrap_or(line)
            } else {
                line
            };
            match sign {
                b' ' => {
                    hunk.old.push(line);
                    hunk.new.push(line);
                }
                b'-' => hunk.old.push(line),
                b'+' => hunk.new.push(line),
                _ => return Err(PatchError::Count { hunk: number }),
            }
        }
        if hunk.old.len() > old || hunk.new.len() > new {
            return Err(PatchError::Count { hunk: number });
        }
        if lines
            .peek()
            .is_some_and(|(_, next)| matches!(next.first(), Some(b' ' | b'+')) || is_removal(next))
        {
            return Err(PatchError::Count { hunk: number });
        }
        hunks.push(hunk);
    }
    if hunks.is_empty() {
        return Err(PatchError::Empty);
    }
    Ok(hunks)
}

fn is_removal(line: &[u8]) -> bool {
    line.starts_with(b"-") && !line.starts_with(b"--- ")
}

/// Returns how many old and new lines the hunk that begins with this line has.
#[must_use]
pub fn hunk_lines(line: &[u8]) -> Option<(usize, usize)> {
    header(line).map(|(_, old, new)| (old, new))
}

/// `@@ -START[,COUNT] +START[,COUNT] @@`: index of the first old line, count of old and of new lines.
pub fn header(line: &[u8]) -> Option<(usize, usize, usize)> {
    let line = line.strip_prefix(b"@@ -")?;
    let (start, old, line) = range(line)?;
    let (_, new, line) = range(line.strip_prefix(b" +")?)?;
    line.strip_prefix(b" @@")?;
    // Without old lines START is the line before.
    let at = if old == 0 {
        start
    } else {
        start.checked_sub(1)?
    };
    Some((at, old, new))
}

fn range(line: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (start, line) = number(line)?;
    match line.strip_prefix(b",") {
        None => Some((start, 1, line)),
        Some(line) => number(line).map(|(count, line)| (start, count, line)),
    }
}

fn number(line: &[u8]) -> Option<(usize, &[u8])> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = line
        .split_at_checked(digits)
        .filter(|(digits, _)| digits.len() <= 9)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAHunk { line } => {
                write!(f, "line {line} of the patch is not part of a unified diff")
            }
            Self::Count { hunk } => write!(
                f,
                "hunk {hunk} does not have as many lines as its '@@' line says"
            ),
            Self::SecondFile => {
                f.write_str("the patch is for more than one file; use one entry for each")
            }
            Self::NoFile { line } => write!(
                f,
                "line {line} of the patch makes or removes the file (/dev/null, or the time 1970-01-01); use 'write' or \
                 'remove'"
            ),
            Self::OtherFile { line } => write!(
                f,
                "line {line} of the patch names another file than the path; correct it, or leave the '---' and '+++' \
                 lines out"
            ),
            Self::Unsupported { line } => write!(
                f,
                "line {line} of the patch changes a mode or a name; use 'mode', 'write' or 'remove'"
            ),
            Self::Empty => f.write_str("the patch has no hunk ('@@ -1,3 +1,3 @@')"),
            Self::NotFound { hunk } => write!(
                f,
                "the old lines of hunk {hunk} are not in the file; read the file again (no fuzz is allowed)"
            ),
            Self::Ambiguous { hunk, matches } => write!(
                f,
                "the old lines of hunk {hunk} are not at its line, and {matches} times in the file; correct its line \
                 number or add context"
            ),
            Self::Moved { hunk } => write!(
                f,
                "hunk {hunk} is not at its line, nor are {SEARCHES} before it; read the file again"
            ),
            Self::Order { hunk } => write!(
                f,
                "hunk {hunk} lies outside of the file, or before the hunk above it"
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(base: &str, text: &str) -> Result<String, PatchError> {
        patch(base.as_bytes(), text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn hunk_that_moved_is_found_if_it_matches_once() {
        let hunk = "@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
        assert_eq!(of("a\nb\n", hunk).unwrap(), "a\nc\n");
        assert_eq!(of("x\ny\na\nb\nz\n", hunk).unwrap(), "x\ny\na\nc\nz\n");
        assert_eq!(of("a\nx\n", hunk), Err(PatchError::NotFound { hunk: 1 }));
        let twice = PatchError::Ambiguous {
            hunk: 1,
            matches: 2,
        };
        assert_eq!(of("x\na\nb\na\nb\n", hunk), Err(twice));
        assert_eq!(of("a\nb\na\nb\n", hunk).unwrap(), "a\nc\na\nb\n");
    }

    #[test]
    fn later_hunk_follows_the_drift_of_the_one_before() {
        let hunks = "@@ -1 +1 @@\n-a\n+A\n@@ -3 +3 @@\n-b\n+B\n";
        assert_eq!(
            of("0\n0\na\nx\nb\nb\n", hunks).unwrap(),
            "0\n0\nA\nx\nB\nb\n"
        );
        let backwards = "@@ -3 +3 @@\n-b\n+B\n@@ -1 +1 @@\n-a\n+A\n";
        assert_eq!(
            of("a\nx\nb\n", backwards),
            Err(PatchError::NotFound { hunk: 2 })
        );
    }

    #[test]
    fn ends_of_lines_are_kept() {
        assert_eq!(
            of("a\r\nb", "@@ -1,2 +1,2 @@\n-a\r\n+c\r\n b\n\\ No newline\n").unwrap(),
            "c\r\nb"
        );
        assert_eq!(
            of("a\n", "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file").unwrap(),
            "a"
        );
        assert_eq!(
            of("a", "@@ -1 +1 @@\n-a\n\\ No newline\n+a\n").unwrap(),
            "a\n"
        );
        assert_eq!(
            of("a", "@@ -1 +1 @@\n-a\n+b\n"),
            Err(PatchError::NotFound { hunk: 1 })
        );
        assert_eq!(of("", "@@ -0,0 +1 @@\n+a\n").unwrap(), "a\n");
        assert_eq!(of("a\nb\n", "@@ -1,0 +2 @@\n+x\n").unwrap(), "a\nx\nb\n");
    }

    #[test]
    fn damaged_patch_is_refused_with_its_line() {
        for (text, expect) in [
            ("", PatchError::Empty),
            ("--- a\n+++ b\n", PatchError::Empty),
            ("please\n", PatchError::NotAHunk { line: 1 }),
            ("@@ -1,2 +1 @@\n-a\n", PatchError::Count { hunk: 1 }),
            ("@@ -1 +1 @@\n-a\n+b\n+c\n", PatchError::Count { hunk: 1 }),
            ("@@ -1 +1 @@\n-a\n+b\n-c\n", PatchError::Count { hunk: 1 }),
            ("@@ -1 +1 @@\n-a\n*b\n", PatchError::Count { hunk: 1 }),
            (
                "@@ -1 +1 @@\n-a\n+b\n--- c\n+++ d\n",
                PatchError::SecondFile,
            ),
            (
                "diff --git a b\nold mode 100644\n",
                PatchError::Unsupported { line: 2 },
            ),
            ("@@ -0 +1 @@\n-a\n+b\n", PatchError::NotAHunk { line: 1 }),
            (
                "@@ -9999999999 +1 @@\n-a\n+b\n",
                PatchError::NotAHunk { line: 1 },
            ),
            ("@@ -7,0 +8 @@\n+b\n", PatchError::Order { hunk: 1 }),
        ] {
            assert_eq!(of("a\n", text), Err(expect), "{text}");
        }
    }

    #[test]
    fn search_of_a_hostile_hunk_is_linear() {
        let base = "a\n".repeat(400_000);
        let text = format!("@@ -1,200001 +1,200000 @@\n{}-b\n", " a\n".repeat(200_000));
        assert_eq!(of(&base, &text), Err(PatchError::NotFound { hunk: 1 }));
    }

    /// Each hunk is one line farther away than the one before it has been.
    #[test]
    fn hunks_that_are_searched_are_counted() {
        use std::fmt::Write;
        let count = |hunks: usize| {
            let (mut base, mut text) = (String::new(), String::new());
            for at in 0..hunks {
                let _ = writeln!(base, "{}{at}", "x\n".repeat(at + 1));
                let _ = write!(text, "@@ -{0} +{0} @@\n-{at}\n+y\n", at + 1);
            }
            of(&base, &text)
        };
        assert!(count(SEARCHES).is_ok());
        let hunk = SEARCHES + 1;
        assert_eq!(count(hunk), Err(PatchError::Moved { hunk }));
    }
}
