//! Formats plain text tables and lists of facts. A table fits the terminal; text in a pipe is never cut.

use remit_common::text;

use crate::render::units::{self, Colour, Width};

const CELL_BYTES: usize = 64;
/// Of a column that may be cut, in bytes.
const LONG_CELL: usize = 1024;
/// First digits of an id, which are enough to name it.
const ID: usize = 8;
/// Columns of a cell that was cut once, before columns are left out, and at last.
const SHORT: usize = 16;
const SHORTEST: usize = 8;
/// Between columns, and before the first.
const GAP: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Column {
    is_right: bool,
    is_elastic: bool,
    is_id: bool,
    is_optional: bool,
}

pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<([String; N], Colour)>,
}

impl<const N: usize> Table<N> {
    /// Marks before a heading. `>`: aligned to the right. If the table does not fit, `~`: cells may be cut; `#`: ids,
    /// of which the first digits are enough; `?`: the column may be left out, the rightmost first.
    pub fn new(headings: [&str; N]) -> Self {
        let columns = headings.map(|heading| {
            let marks = heading.chars().take_while(|c| MARKS.contains(c));
            marks.fold(Column::default(), |column, mark| match mark {
                '>' => Column {
                    is_right: true,
                    ..column
                },
                '~' => Column {
                    is_elastic: true,
                    ..column
                },
                '#' => Column {
                    is_id: true,
                    ..column
                },
                _ => Column {
                    is_optional: true,
                    ..column
                },
            })
        });
        let headings = headings.map(|heading| heading.trim_start_matches(MARKS).to_owned());
        Self {
            columns,
            rows: vec![(headings, Colour::Plain)],
        }
    }

    pub fn row(&mut self, cells: [&str; N]) {
        self.painted_row(Colour::Plain, cells);
    }

    pub fn painted_row(&mut self, colour: Colour, cells: [&str; N]) {
        let mut elastic = self.columns.iter().map(|column| column.is_elastic);
        let cells = cells.map(|text| match elastic.next() {
            Some(true) => bounded(text, LONG_CELL),
            Some(false) | None => cell(text),
        });
        self.rows.push((cells, colour));
    }

    /// Returns the lines, indented by two spaces; empty without a row.
    pub fn render(&self, width: Width) -> String {
        self.lines(width, false)
    }

    pub fn painted(&self, width: Width) -> String {
        self.lines(width, true)
    }

    fn lines(&self, width: Width, with_colours: bool) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let widths = self.widths(width);
        let mut lines = String::new();
        for (cells, colour) in &self.rows {
            let mut line = String::new();
            for ((cell, available), column) in cells.iter().zip(&widths).zip(&self.columns) {
                let Some(available) = *available else {
                    continue;
                };
                let cell = match column.is_id {
                    true => cell.chars().take(available).collect(),
                    false => units::cut(cell, available),
                };
                let missing = " ".repeat(available.saturating_sub(units::columns(&cell)));
                line += "  ";
                line += &match column.is_right {
                    false => cell + &missing,
                    true => missing + &cell,
                };
            }
            let line = units::cut(line.trim_end(), width.limit().unwrap_or(usize::MAX));
            match with_colours {
                true => lines += &colour.paint(&line),
                false => lines += &line,
            }
            lines.push('\n');
        }
        lines
    }

    fn widths(&self, width: Width) -> [Option<usize>; N] {
        let mut widths = [Some(0); N];
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(Some(units::columns(cell)));
            }
        }
        let Some(limit) = width.limit() else {
            return widths;
        };
        let missing = |widths: &[Option<usize>; N]| {
            let used: usize = widths.iter().flatten().map(|width| width + GAP).sum();
            used.saturating_sub(limit)
        };
        if missing(&widths) > 0 {
            for (width, column) in widths.iter_mut().zip(&self.columns) {
                *width = width.map(|width| if column.is_id { width.min(ID) } else { width });
            }
        }
        let natural = widths;
        self.cut(&mut widths, missing(&natural), SHORT);
        for column in (0..N).rev() {
            if missing(&widths) == 0 {
                return widths;
            }
            if self
                .columns
                .get(column)
                .is_some_and(|column| column.is_optional)
            {
                let dropped: Vec<bool> = widths.iter().map(Option::is_none).collect();
                widths = natural;
                for (index, width) in widths.iter_mut().enumerate() {
                    if index == column || dropped.get(index) == Some(&true) {
                        *width = None;
                    }
                }
                let over = missing(&widths);
                self.cut(&mut widths, over, SHORT);
            }
        }
        let over = missing(&widths);
        self.cut(&mut widths, over, SHORTEST);
        widths
    }

    /// Takes `over` columns from the elastic columns, always from the widest, down to `least` each.
    fn cut(&self, widths: &mut [Option<usize>; N], over: usize, least: usize) {
        for _ in 0..over {
            let elastic = widths.iter_mut().zip(&self.columns);
            let elastic = elastic.filter(|(_, column)| column.is_elastic);
            let widest = elastic.filter_map(|(width, _)| width.as_mut()).max();
            match widest {
                Some(width) if *width > least => *width -= 1,
                Some(_) | None => return,
            }
        }
    }
}

const MARKS: [char; 4] = ['>', '~', '#', '?'];

pub fn cell(text: &str) -> String {
    bounded(text, CELL_BYTES)
}

pub fn line(text: &str) -> String {
    bounded(text, LONG_CELL)
}

fn bounded(text: &str, most: usize) -> String {
    match text {
        "" => "-".to_owned(),
        text => text::line(text.as_bytes(), most),
    }
}

pub fn fact(name: &str, value: &str) -> String {
    let value = match value {
        "" => "-".to_owned(),
        value => text::line(value.as_bytes(), 1024),
    };
    format!("  {name:<12} {value}\n")
}

pub fn facts<'a>(facts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let facts: Vec<(String, &str)> = facts.map(|(name, value)| (cell(name), value)).collect();
    let widths = facts.iter().map(|(name, _)| name.chars().count());
    let width = widths.max().unwrap_or_default();
    let pad = |(name, value): &(String, &str)| fact(&format!("{name:<width$}"), value);
    facts.iter().map(pad).collect()
}

pub fn lines(name: &str, value: &str) -> String {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names
        .zip(value.lines())
        .map(|(name, line)| fact(name, line))
        .collect()
}

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
    fn columns_align_with_headings() {
        let mut table = Table::new(["NAME", ">SIZE", "TYPE"]);
        table.row(["a", "10 B", "x"]);
        table.row(["gr\u{fc}n", "1 B", ""]);
        let expect = "  NAME  SIZE  TYPE\n  a     10 B  x\n  gr\u{fc}n   1 B  -\n";
        assert_eq!(table.render(Width::UNLIMITED), expect);
        assert_eq!(table.render(Width::columns(40)), expect);
        assert_eq!(Table::new(["NAME"]).render(Width::UNLIMITED), "");
    }

    fn narrow<const N: usize>(headings: [&str; N], cells: [&str; N]) -> (String, String) {
        let mut table = Table::new(headings);
        table.row(cells);
        let lines = table.render(Width::columns(40));
        assert!(
            lines.lines().all(|line| units::columns(line) <= 40),
            "{lines}"
        );
        let (heading, row) = lines.split_once('\n').unwrap();
        (heading.to_owned(), row.trim_end().to_owned())
    }

    #[test]
    fn widest_elastic_column_is_cut() {
        let (heading, row) = narrow(
            ["~A", "B", "~C"],
            [&"a".repeat(60), "fixed", &"c".repeat(9)],
        );
        assert_eq!(heading, format!("  A{}  B      C", " ".repeat(19)));
        assert_eq!(row, format!("  {}…  fixed  ccccccccc", "a".repeat(19)));
    }

    #[test]
    fn id_is_cut_without_a_mark_and_first() {
        let id = "0123456789abcdef".repeat(2);
        let (_, row) = narrow(["#JOB", "~COMMAND"], [&id, "df -h /srv"]);
        assert_eq!(row, "  01234567  df -h /srv");
        let mut table = Table::new(["#JOB", "~COMMAND"]);
        table.row([&id, "df"]);
        assert!(table.render(Width::columns(80)).contains(&id));
    }

    #[test]
    fn optional_columns_are_left_out_from_the_right() {
        let ten = "0123456789";
        let (heading, row) = narrow(["?A", "?B", "C", "~D"], [ten, ten, ten, &ten.repeat(9)]);
        assert_eq!(heading, "  C           D");
        assert_eq!(row, format!("  {ten}  {}…", &ten.repeat(3)[..25]));
        let (heading, row) = narrow(["?A", "?B", "C"], [ten, ten, &ten.repeat(2)]);
        assert_eq!(heading, "  A           C");
        assert_eq!(row, format!("  {ten}  {ten}{ten}"));
    }

    #[test]
    fn wide_characters_fit_too() {
        let (_, row) = narrow(["~A"], [&"\u{6f22}".repeat(60)]);
        assert_eq!(row, format!("  {}…", "\u{6f22}".repeat(18)));
    }

    #[test]
    fn only_asked_for_colours_are_painted() {
        let mut table = Table::new(["A"]);
        table.painted_row(Colour::Red, ["x\x1b[2J"]);
        assert_eq!(table.render(Width::UNLIMITED), "  A\n  x\\x1b[2J\n");
        let painted = "  A\n\x1b[31m  x\\x1b[2J\x1b[0m\n";
        assert_eq!(table.painted(Width::UNLIMITED), painted);
    }

    #[test]
    fn values_align_after_longest_name() {
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
