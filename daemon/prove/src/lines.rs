//! Lines of files.

/// Lines with their numbers from 1, without the final newline.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.map(|(at, line)| (at.saturating_add(1), line))
}
