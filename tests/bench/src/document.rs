//! Replaces the figures between two marks of a document. Pure.

use crate::Failure;

const BEGIN: &str = "<!-- figures: made by 'make bench MARKDOWN=FILE', not by hand -->\n";
const END: &str = "<!-- end of figures -->\n";

pub fn with_figures(document: &str, figures: &str) -> Result<String, Failure> {
    let marked = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = marked.ok_or("the document has no two marks for figures")?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n\n{END}{after}",
        figures.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        let new = with_figures(&document, "\nnew\n").expect("it has marks");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n\n{END}b\n"));
        assert_eq!(with_figures(&new, "new").expect("it has marks"), new);
        assert!(with_figures("a\nb\n", "new").is_err());
    }
}
