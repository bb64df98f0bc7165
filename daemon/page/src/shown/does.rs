//! Shows what a change would do: lines of the package's own program, as many as fit.

use super::hash_of_all;
use crate::exact::exact;
use crate::hex;
use crate::view::DOES;

const LINE: usize = 2 << 10;
const ALL: usize = 6 << 10;

/// Omitted lines are counted and hashed.
pub fn shown(does: &[String]) -> Vec<String> {
    let mut free_bytes = ALL;
    let mut lines = Vec::new();
    for line in does {
        let text = format!("{DOES}{}", exact(line.as_bytes(), LINE));
        let Some(left) = free_bytes.checked_sub(text.len() + super::OVERHEAD) else {
            let more = does.len() - lines.len();
            let hash = hex(&hash_of_all(does.iter().map(String::as_bytes)));
            lines.push(format!(
                "{DOES}[… {more} lines more, sha256 of all {hash} …]"
            ));
            break;
        };
        free_bytes = left;
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
        assert_eq!(shown(&few), ["does: a b", "does: \\x1b[2J"]);
        let many = vec!["x".repeat(1000); 20];
        let lines = shown(&many);
        assert!(lines.iter().map(String::len).sum::<usize>() < ALL + 200);
        let last = lines.last().unwrap();
        assert!(last.starts_with("does: [… 14 lines more"), "{last}");
    }
}
