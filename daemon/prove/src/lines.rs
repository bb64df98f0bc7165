//! Lines of files.

/// Lines with their numbers from 1, without the final newline.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.map(|(at, line)| (at.saturating_add(1), line))
}

/// Joins lines of which a final backslash takes the next one, with the number of the first and a space between them.
pub fn joined<L: AsRef<[u8]>>(lines: impl Iterator<Item = (usize, L)>) -> Vec<(usize, Vec<u8>)> {
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut open = false;
    for (number, line) in lines {
        let line = line.as_ref();
        let (line, goes_on) = match line.strip_suffix(b"\\") {
            Some(line) => (line, true),
            None => (line, false),
        };
        match found.last_mut() {
            Some((_, last)) if open => {
                last.push(b' ');
                last.extend_from_slice(line);
            }
            _ => found.push((number, line.to_vec())),
        }
        open = goes_on;
    }
    found
}
