//! Plain text tables and lists of facts.

use remit_common::text;

/// The longest cell, in bytes.
const CELL: usize = 64;

/// Which edge a column keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under a heading.
pub struct Table<const N: usize> {
    align: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings; a heading that begins with `>` aligns its column to the right.
    pub fn new(headings: [&str; N]) -> Self {
        let align = headings.map(|heading| match heading.starts_with('>') {
            true => Align::Right,
            false => Align::Left,
        });
        Self {
            align,
            rows: vec![headings.map(|heading| heading.trim_start_matches('>').to_owned())],
        }
    }

    /// One more row; each cell becomes one short printable line.
    pub fn row(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(cell));
    }

    /// The lines, each indented by two spaces; none without a row.
    pub fn render(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut lines = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(widths).zip(self.align) {
                line += "  ";
                line += &match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                };
            }
            lines += line.trim_end();
            lines.push('\n');
        }
        lines
    }
}

/// One short printable line; `-` for nothing.
pub fn cell(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text::line(text.as_bytes(), CELL),
    }
}

/// `name` and a value, the values under each other; `-` where it is empty.
pub fn fact(name: &str, value: &str) -> String {
    let value = match value {
        "" => "-".to_owned(),
        value => text::line(value.as_bytes(), 1024),
    };
    format!("  {name:<12} {value}\n")
}

/// Each name and its value, the values under each other below the longest name.
pub fn facts<'a>(facts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let facts: Vec<(String, &str)> = facts.map(|(name, value)| (cell(name), value)).collect();
    let widths = facts.iter().map(|(name, _)| name.chars().count());
    let width = widths.max().unwrap_or_default();
    let pad = |(name, value): &(String, &str)| fact(&format!("{name:<width$}"), value);
    facts.iter().map(pad).collect()
}

/// `name` and a text that keeps its lines, all under each other.
pub fn lines(name: &str, value: &str) -> String {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names
        .zip(value.lines())
        .map(|(name, line)| fact(name, line))
        .collect()
}

/// The line that tells of what a list left out.
pub fn more(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!("  … and {count} more\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_headings() {
        let mut table = Table::new(["NAME", ">SIZE", "TYPE"]);
        table.row(["a", "10 B", "x"]);
        table.row(["gr\u{fc}n", "1 B", ""]);
        assert_eq!(
            table.render(),
            "  NAME  SIZE  TYPE\n  a     10 B  x\n  gr\u{fc}n   1 B  -\n"
        );
        assert_eq!(Table::new(["NAME"]).render(), "");
    }

    #[test]
    fn values_stand_beside_the_longest_name() {
        let all = [("network.resolvers", "no"), ("a", "b")];
        assert_eq!(
            facts(all.into_iter()),
            "  network.resolvers no\n  a                 b\n"
        );
    }

    #[test]
    fn a_cell_is_one_safe_short_line() {
        assert_eq!(cell("a\nb\x1b[2J"), "a\\nb\\x1b[2J");
        assert!(cell(&"x".repeat(1000)).len() < 70);
    }
}
