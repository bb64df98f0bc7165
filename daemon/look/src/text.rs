//! Formats facts and tables. Pure.

pub fn fact(to: &mut String, name: &str, value: impl AsRef<str>) {
    let value = value.as_ref();
    if !value.is_empty() {
        *to += &format!("  {name}: {value}\n");
    }
}

/// Pads each column to its widest cell, except the last column.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |row: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    };
    add(head);
    for row in rows {
        add(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = [["a", "\u{fc}"], ["long", ""]].map(|row| row.map(str::to_owned));
        let expect = "NAME  X\na     \u{fc}\nlong\n";
        assert_eq!(table(["NAME", "X"], &rows), expect);
    }
}
