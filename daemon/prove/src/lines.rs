//! Lines of files.

/// Lines with their numbers from 1, without the final newline.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.map(|(at, line)| (at.saturating_add(1), line))
}

/// Joins lines: a final backslash takes the next line if `goes_on` says so of its line, and of whether that is the first.
/// Returns each with the number of its first, and a space between its parts.
pub fn joined<L: AsRef<[u8]>>(
    lines: impl Iterator<Item = (usize, L)>,
    mut goes_on: impl FnMut(&[u8], bool) -> bool,
) -> Vec<(usize, Vec<u8>)> {
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut open = false;
    for (number, line) in lines {
        let line = line.as_ref();
        let start = line.strip_suffix(b"\\");
        let start = start.filter(|_| goes_on(line, !open));
        let text = start.unwrap_or(line);
        match found.last_mut() {
            Some((_, last)) if open => {
                last.push(b' ');
                last.extend_from_slice(text);
            }
            _ => found.push((number, text.to_vec())),
        }
        open = start.is_some();
    }
    found
}

/// Returns true if the last backslash is not that of a pair, which is a backslash of the text.
pub fn ends_in_single_backslash(line: &[u8]) -> bool {
    let backslashes = line.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_of_backslashes_takes_the_next_line_only_where_it_is_none_of_the_text() {
        let any: fn(&[u8]) -> bool = |_| true;
        for (text, single, all) in [
            ("a\\\nb\nc", &["a b", "c"][..], &["a b", "c"][..]),
            ("a\\\\\nb", &["a\\\\", "b"], &["a\\ b"]),
            ("a\\\\\\\nb", &["a\\\\ b"], &["a\\\\ b"]),
            ("a\\", &["a"], &["a"]),
        ] {
            for (goes_on, expect) in [
                (ends_in_single_backslash as fn(&[u8]) -> bool, single),
                (any, all),
            ] {
                let found = joined(lines(text.as_bytes()), |line, _| goes_on(line));
                let found = found.into_iter();
                let found: Vec<String> = found
                    .map(|(_, line)| String::from_utf8_lossy(&line).into_owned())
                    .collect();
                assert_eq!(found, expect, "{text}");
            }
        }
    }
}
