//! A part of the result as a table, for a terminal and as Markdown. Pure.

use std::fmt::Write as _;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Section {
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn row(&mut self, words: impl Into<String>, cells: impl IntoIterator<Item = String>) {
        let words = std::iter::once(words.into());
        self.rows.push(words.chain(cells).collect());
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        if !self.rows.is_empty() {
            let lines = std::iter::once(&self.columns).chain(&self.rows);
            let width = |at: usize| {
                let cells = lines.clone().filter_map(|line| line.get(at));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            };
            let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
            for line in lines.clone() {
                text.push(' ');
                for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                    let _ = match at {
                        0 => write!(text, " {cell:<width$}"),
                        _ => write!(text, "  {cell:>width$}"),
                    };
                }
                text.truncate(text.trim_end().len());
                text.push('\n');
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", self.title);
        if !self.rows.is_empty() {
            let mut line = |cells: &[String]| {
                for cell in cells {
                    let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
                }
                text.push_str("|\n");
            };
            line(&self.columns);
            let rule = |at| if at == 0 { "---" } else { "---:" }.to_owned();
            line(&(0..self.columns.len()).map(rule).collect::<Vec<_>>());
            self.rows.iter().for_each(|row| line(row));
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}\n");
        }
        text
    }
}

pub fn ms(micros: f64) -> String {
    format!("{:.3}", micros / 1e3)
}

pub fn ratio(ratio: f64) -> String {
    if ratio.is_finite() {
        format!("{ratio:.2}")
    } else {
        "-".into()
    }
}

pub fn mib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_notes_below() {
        let mut section = Section::new("calls", &["by", "ms"]);
        section.row("a", ["1.000".to_owned()]);
        section.row("b|c", [ms(12_345.0)]);
        section.note("of one run");
        assert_eq!(
            section.text(),
            "calls\n  by       ms\n  a     1.000\n  b|c  12.345\n  of one run\n"
        );
        assert_eq!(
            section.markdown(),
            "### calls\n\n| by | ms |\n| --- | ---: |\n| a | 1.000 |\n| b\\|c | 12.345 |\n\nof one run\n\n"
        );
    }

    #[test]
    fn what_could_not_be_compared_is_a_dash() {
        assert_eq!(
            (ratio(f64::NAN), ratio(1.234)),
            ("-".into(), "1.23".to_owned())
        );
    }
}
