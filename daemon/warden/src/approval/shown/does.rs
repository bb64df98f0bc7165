//! What a change would do, for eyes: the lines of [`crate::approval::measure`], as many as there is room for. Pure.

use super::super::escape::exact;
use super::hash_of_all;
use crate::audit::chain::hex;

/// Bytes of one line and of all.
const LINE: usize = 2 << 10;
const ALL: usize = 6 << 10;

/// The lines. Those that are left out are counted and hashed.
pub fn shown(does: &[String]) -> Vec<String> {
    let mut room = ALL;
    let mut lines = Vec::new();
    for line in does {
        let text = exact(line.as_bytes(), LINE);
        let Some(left) = room.checked_sub(text.len() + super::OVERHEAD) else {
            let more = does.len() - lines.len();
            let hash = hex(&hash_of_all(does));
            lines.push(format!(
                "[… {more} lines more of what it does, sha256 of all {hash} …]"
            ));
            break;
        };
        room = left;
        lines.push(text);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_or_counted() {
        let few = ["a b".to_owned(), "\u{1b}[2J".to_owned()];
        assert_eq!(shown(&few), ["a b", "\\x1b[2J"]);
        let many = vec!["x".repeat(1000); 20];
        let lines = shown(&many);
        assert!(lines.iter().map(String::len).sum::<usize>() < ALL + 200);
        let last = lines.last().unwrap();
        assert!(last.starts_with("[… 14 lines more"), "{last}");
    }
}
