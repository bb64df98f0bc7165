//! Shows untrusted values on a screen of 80 columns. Pure. One column of each line holds a mark: `|` for the start of
//! a value, `+` for its continuation, `:` before remit's own words. No untrusted text reaches that column or the
//! columns before it, on a narrower screen either. No value, however long, can therefore imitate a line of remit.

use std::iter;

use remit_words::characters::ordered_piece as piece;

use crate::render::units;
use crate::render::units::{Colour, Width};

const COLUMNS: usize = 80;
const NAME: usize = 11;
/// Columns of a value: two spaces come before the name, one space on each side of the mark. A SHA-256 fits.
const WIDTH: usize = COLUMNS - NAME - 5;
/// A run of one character longer than a line shows only this many.
const SAME: usize = 16;
/// Begins each further row of a line that is wider than the screen.
const CONTINUED: &str = "              + ";

#[derive(Debug, Default)]
pub struct Page(Vec<(Colour, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Begin,
    On,
    OwnText,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    mark: Mark,
    text: String,
}

impl Page {
    /// Adds exactly this text, folded at full lines and after each newline.
    pub fn value(&mut self, name: &str, text: &str) {
        self.rows(Colour::Plain, name, value(text));
    }

    /// Adds the text in one line, with the number of characters that are left out. Returns true if some are.
    pub fn brief(&mut self, colour: Colour, name: &str, text: &str) -> bool {
        let rows = value(text);
        let is_cut = rows.len() > 1;
        let rows = match is_cut {
            false => rows,
            true => {
                let mark = Mark::Begin;
                let text = start(text, WIDTH);
                vec![Row { mark, text }]
            }
        };
        self.rows(colour, name, rows);
        is_cut
    }

    /// Adds the sentence on up to two lines, otherwise as [`Self::brief`]: a path before the risk must not hide it.
    pub fn brief_warning(&mut self, name: &str, text: &str) {
        let rows = sentence(text, Mark::Begin);
        match rows.len() {
            ..=2 => self.rows(Colour::Yellow, name, rows),
            _ => {
                self.brief(Colour::Yellow, name, text);
            }
        }
    }

    /// Adds a line of a diff, in its color. Its first character is a sign, and no blank is at its end.
    pub fn diff(&mut self, colour: Colour, name: &str, line: &str) {
        // No line of a file begins so: these are remit's words.
        let rows = match line.starts_with("[…") {
            true => sentence(line, Mark::Begin),
            false => folded(line).finish(),
        };
        self.rows(colour, name, rows);
    }

    pub fn sentence(&mut self, name: &str, text: &str) {
        self.rows(Colour::Plain, name, sentence(text, Mark::Begin));
    }

    pub fn warning(&mut self, name: &str, text: &str) {
        self.rows(Colour::Yellow, name, sentence(text, Mark::Begin));
    }

    pub fn own_text(&mut self, name: &str, text: &str) {
        self.rows(Colour::Plain, name, sentence(text, Mark::OwnText));
    }

    pub fn line(&mut self, text: &str) {
        self.0.push((Colour::Plain, text.to_owned()));
    }

    /// Adds a whole line of text that is escaped already.
    pub fn coloured(&mut self, colour: Colour, text: &str) {
        self.0.push((colour, text.to_owned()));
    }

    /// Returns the lines, which are escaped already.
    pub fn into_lines(self) -> Vec<(Colour, String)> {
        self.0
    }

    pub fn lines(&self) -> usize {
        self.0.len()
    }

    /// Returns the lines, which are escaped already, as rows of this width; with colors only for a terminal.
    pub fn text(&self, coloured: bool, width: Width) -> String {
        let width = width.limit().unwrap_or(usize::MAX);
        let mut text = String::new();
        for (colour, line) in &self.0 {
            for row in fold(line, width) {
                match coloured {
                    true => text += &colour.paint(&row),
                    false => text += &row,
                }
                text.push('\n');
            }
        }
        text
    }

    fn rows(&mut self, colour: Colour, name: &str, rows: Vec<Row>) {
        for (name, row) in iter::once(name).chain(iter::repeat("")).zip(rows) {
            let mark = match row.mark {
                Mark::Begin => '|',
                Mark::On => '+',
                Mark::OwnText => ':',
            };
            let line = format!("  {name:<NAME$} {mark} {}", row.text);
            self.0.push((colour, line.trim_end().to_owned()));
        }
    }
}

/// Folds a line that is escaped already. No further row can imitate a line, because each has the mark of a continuation.
pub fn fold(line: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut used = 0;
    for c in line.chars() {
        let wide = columns(c.encode_utf8(&mut [0; 4]));
        if used + wide > width {
            rows.push(std::mem::replace(&mut row, CONTINUED.to_owned()));
            used = CONTINUED.len();
        }
        row.push(c);
        used += wide;
    }
    rows.push(row);
    rows
}

/// Escapes the text and cuts it to this many columns. The width alone bounds the work: each character has a column.
pub fn cut(text: &str, width: usize) -> String {
    let start = text.chars().take(width.saturating_add(1));
    let pieces: Vec<String> = start.map(piece).collect();
    let whole = pieces.concat();
    if columns(&whole) <= width {
        return whole;
    }
    let mut left = width.saturating_sub(columns("…"));
    let fits = |piece: &&String| {
        let rest = left.checked_sub(columns(piece));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut cut: String = pieces.iter().take_while(fits).map(String::as_str).collect();
    cut.push('…');
    cut
}

/// Returns the beginning of a text that is too long, up to the end of a word if one is near, and how much is left out.
fn start(text: &str, width: usize) -> String {
    const WORD: usize = 12;
    let all: Vec<char> = text.chars().collect();
    let mark = |more: usize| format!(" [… {more} more …]");
    let mut left = width.saturating_sub(columns(&mark(all.len())));
    let fits = |c: &&char| {
        let rest = left.checked_sub(columns(&piece(**c)));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let count = all.iter().take_while(fits).count();
    let is_blank = |at: &usize| all.get(*at) == Some(&' ');
    let end = (count.saturating_sub(WORD)..=count).rev().find(is_blank);
    let shown = all.get(..end.unwrap_or(count)).unwrap_or_default();
    let text: String = shown.iter().copied().map(piece).collect();
    text + &mark(all.len() - shown.len())
}

pub fn cell(text: &str, width: usize) -> String {
    let mut cell = cut(text, width);
    let missing = width.saturating_sub(columns(&cell));
    cell.extend(iter::repeat_n(' ', missing));
    cell
}

fn value(text: &str) -> Vec<Row> {
    if text.is_empty() {
        return sentence("empty", Mark::OwnText);
    }
    let mut rows = folded(text);
    let spaces = |count: usize, align: &str| {
        (count > 0).then(|| format!("{} at its {align}", units::count(count, "space")))
    };
    let begin = spaces(text.len() - text.trim_start_matches(' ').len(), "begin");
    let end = spaces(text.len() - text.trim_end_matches(' ').len(), "end");
    for words in begin.into_iter().chain(end) {
        rows.own_text(&words);
    }
    rows.finish()
}

fn folded(text: &str) -> Rows {
    let mut rows = Rows::default();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let more = rest.clone().take_while(|other| *other == c).count();
        let piece = piece(c);
        // The omitted part must be more than one line.
        let shown = match more {
            0..=WIDTH => 0,
            _ => SAME - 1,
        };
        for _ in 0..=shown {
            rows.push(&piece);
        }
        if c == '\n' {
            rows.end();
        }
        if shown > 0 {
            let left_out = more - shown;
            rows.own_text(&format!(
                "and {left_out} more of the same, {}",
                c.escape_unicode()
            ));
            rest.by_ref().take(more).for_each(drop);
        }
    }
    rows
}

fn sentence(text: &str, first: Mark) -> Vec<Row> {
    let mut rows = Rows {
        next: Some(first),
        ..Rows::default()
    };
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let pieces: Vec<String> = word.chars().map(piece).collect();
        let width: usize = pieces.iter().map(|piece| columns(piece)).sum();
        if !rows.row.is_empty() {
            match rows.width + 1 + width > WIDTH {
                true => rows.end(),
                false => rows.push(" "),
            }
        }
        pieces.iter().for_each(|piece| rows.push(piece));
    }
    rows.end();
    rows.done
}

#[derive(Default)]
struct Rows {
    done: Vec<Row>,
    row: String,
    width: usize,
    /// Mark of the next line; `None` means the start of a value.
    next: Option<Mark>,
}

impl Rows {
    fn push(&mut self, piece: &str) {
        let width = columns(piece);
        if self.width + width > WIDTH {
            self.end();
        }
        self.row += piece;
        self.width += width;
    }

    fn end(&mut self) {
        if self.row.is_empty() {
            return;
        }
        let mark = self.next.unwrap_or(Mark::Begin);
        // remit's own words keep their mark on continuation lines.
        self.next = Some(match mark {
            Mark::OwnText => Mark::OwnText,
            Mark::Begin | Mark::On => Mark::On,
        });
        let text = std::mem::take(&mut self.row);
        self.width = 0;
        self.done.push(Row { mark, text });
    }

    fn finish(mut self) -> Vec<Row> {
        self.end();
        self.done
    }

    fn own_text(&mut self, words: &str) {
        self.end();
        self.done.extend(sentence(words, Mark::OwnText));
    }
}

/// Returns an upper bound of the columns: no character takes more than two.
pub fn columns(text: &str) -> usize {
    let width = |c: char| if c.is_ascii() { 1 } else { 2 };
    text.chars().map(width).sum()
}

#[cfg(test)]
mod tests {
    use remit_common::marks::is_mark;
    use remit_common::text;
    use remit_words::characters::is_right_to_left;

    use super::*;

    impl Page {
        pub fn into_text(self) -> String {
            self.text(false, Width::UNLIMITED)
        }
    }

    fn shown(fill: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        fill(&mut page);
        page.into_text()
    }

    fn is_sound(page: &str) -> bool {
        page.lines().all(|line| {
            let mark = line.chars().nth(NAME + 3);
            let name = line.chars().take(NAME + 3).all(|c| c.is_ascii());
            name && mark.is_some_and(|mark| "|+:".contains(mark)) && columns(line) <= COLUMNS
        })
    }

    #[test]
    fn a_short_value_is_a_line() {
        let page = shown(|page| {
            page.value("cwd", "/var/www");
            page.value("", "a  b");
            page.value("empty", "");
        });
        assert_eq!(
            page,
            "  cwd         | /var/www\n              | a  b\n  empty       : empty\n"
        );
    }

    #[test]
    fn only_warnings_have_a_color() {
        let mut page = Page::default();
        page.value("x", "a\x1b[31m");
        page.warning("RISK", "b\x1b[0m");
        let plain = "  x           | a\\x1b[31m\n  RISK        | b\\x1b[0m\n";
        assert_eq!(page.text(false, Width::UNLIMITED), plain);
        let painted = plain.replace("  RISK", "\x1b[33m  RISK");
        assert_eq!(
            page.text(true, Width::UNLIMITED),
            painted.trim_end().to_owned() + "\x1b[0m\n"
        );
    }

    #[test]
    fn brief_value_ends_with_a_word_and_counts_the_rest() {
        let brief = |text: &str| {
            let page = shown(|page| assert!(page.brief(Colour::Plain, "x", text)));
            assert!(is_sound(&page), "{page}");
            page.trim_start_matches("  x           | ").to_owned()
        };
        let undone =
            "unless confirmed within 5 min from a new login, because it can lock people out";
        let expect = "unless confirmed within 5 min from a new login, [… 31 more …]\n";
        assert_eq!(brief(undone), expect);
        let path = "x".repeat(100);
        assert_eq!(brief(&path), format!("{} [… 53 more …]\n", "x".repeat(47)));
        for text in [
            " ".repeat(200),
            "\u{6f22}\n".repeat(99),
            "\u{202e}".repeat(99),
        ] {
            brief(&text);
        }
    }

    #[test]
    fn brief_risk_is_whole_on_two_lines() {
        let risk = "/home/carl/.ssh/authorized_keys: it decides who may log in with a key";
        let page = shown(|page| page.brief_warning("RISK", risk));
        assert!(
            page.ends_with("who may log in with\n              + a key\n"),
            "{page}"
        );
        let page = shown(|page| page.brief_warning("RISK", &"word ".repeat(40)));
        assert!(
            page.lines().count() == 1 && page.ends_with(" more …]\n"),
            "{page}"
        );
    }

    #[test]
    fn remits_words_in_a_diff_are_broken_at_words() {
        let line = format!(
            "[… {} words of remit that are long …]",
            "some more ".repeat(6)
        );
        let page = shown(|page| page.diff(Colour::Plain, "diff", &line));
        assert!(
            page.lines()
                .all(|line| line.ends_with(char::is_alphabetic) || line.ends_with(']')),
            "{page}"
        );
    }

    #[test]
    fn a_long_value_is_folded_with_a_mark() {
        let text: String = ('a'..='z').cycle().take(WIDTH + 3).collect();
        let page = shown(|page| page.value("argv[0]", &text));
        let (head, tail) = text.split_at(WIDTH);
        assert_eq!(
            page,
            format!("  argv[0]     | {head}\n              + {tail}\n")
        );
        let wide = "\u{6f22}\u{5b57}".repeat(20);
        let page = shown(|page| page.value("x", &wide));
        assert!(page.lines().count() == 2 && is_sound(&page), "{page}");
    }

    #[test]
    fn each_line_of_a_script_has_its_own() {
        let page = shown(|page| page.value("stdin", "set -e\n\tls\n"));
        assert_eq!(
            page,
            "  stdin       | set -e\\n\n              + \\tls\\n\n"
        );
    }

    #[test]
    fn many_of_the_same_are_counted() {
        let spaces = format!("a{}b", " ".repeat(4096));
        let page = shown(|page| page.value("x", &spaces));
        assert_eq!(
            page,
            "  x           | a\n              : and 4080 more of the same, \\u{20}\n              + b\n"
        );
        let lines = "\n".repeat(1000);
        let page = shown(|page| page.value("x", &lines));
        assert!(page.lines().count() < 20 && is_sound(&page), "{page}");
        assert!(page.contains("and 984 more of the same, \\u{a}"), "{page}");
    }

    #[test]
    fn invisible_spaces_are_reported() {
        let page = shown(|page| page.value("x", " rm  "));
        assert_eq!(
            page,
            "  x           |  rm\n              : 1 space at its begin\n              : 2 spaces at its end\n"
        );
    }

    #[test]
    fn a_sentence_is_folded_between_words() {
        let text = "word ".repeat(20);
        let page = shown(|page| page.sentence("risk", &text));
        assert_eq!(page.lines().count(), 2, "{page}");
        assert!(page.lines().all(|line| line.ends_with("word")), "{page}");
        let page = shown(|page| page.own_text("x", &"y".repeat(WIDTH * 2)));
        assert!(
            is_sound(&page) && page.matches(" : ").count() == 2,
            "{page}"
        );
    }

    #[test]
    fn cell_width_holds_for_any_text() {
        for (text, width, expect) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "a…"),
            ("a\nb", 4, "a\\nb"),
            ("\u{6f22}\u{5b57}", 4, "\u{6f22}\u{5b57}"),
            ("\u{6f22}\u{5b57}", 3, "…"),
            ("\x1b[2J", 6, "\\x1b…"),
            ("", 2, ""),
        ] {
            assert_eq!(cut(text, width), expect, "{text:?}");
        }
        assert_eq!(cell("a", 3), "a  ");
        assert_eq!(columns(&cell("\u{6f22}\u{202e}x", 7)), 7);
    }

    #[test]
    fn untrusted_text_cannot_forge_own_lines() {
        let wrap = "\u{6f22}".repeat(WIDTH);
        let spaced = format!("{}  digest      : 00000000", " ".repeat(WIDTH));
        for text in [
            "a\n  digest      : 00000000",
            "a\r\x1b[2K  digest      : 0\x1b[1A\u{9b}2J",
            "\u{202e}abc\u{2066}\u{200b}",
            "a\u{a0}\u{2003}b\u{300}\u{20dd}",
            "\u{2028}\u{85}\u{b}\u{c}",
            "\u{5d0}\u{5b0}1/2 \u{627} \u{e01}\u{e49} \u{304b}\u{3099}",
            &wrap,
            &spaced,
        ] {
            let page = shown(|page| {
                page.value("x", text);
                page.sentence("y", text);
                page.own_text("z", text);
            });
            assert!(is_sound(&page), "{page}");
            assert!(
                page.chars().all(|c| text::is_plain(c) && c != '\t'),
                "{page:?}"
            );
            assert!(!page.contains(['\u{a0}', '\u{300}']), "{page}");
            assert!(
                !page.contains(is_mark) && !page.contains(is_right_to_left),
                "{page}"
            );
        }
    }

    /// Texts of hard pieces in pseudo-random order. xorshift makes the test deterministic.
    #[test]
    fn narrow_screen_has_the_mark_in_each_row() {
        let forged = format!("{}  approved by | carol, erin", "A".repeat(24));
        for width in 20..80 {
            let mut page = Page::default();
            page.value("argv[0]", &forged);
            page.value("argv[1]", &"\u{6f22}".repeat(200));
            page.warning("RISK", &forged);
            page.own_text("by", &forged);
            let rows = page.text(false, Width::columns(width));
            assert!(is_sound(&rows), "{width}: {rows}");
            assert!(
                rows.lines().all(|row| columns(row) <= width),
                "{width}: {rows}"
            );
            assert_eq!(rows.matches('A').count(), 3 * 24, "{width}: {rows}");
        }
    }

    #[test]
    fn any_value_is_shown_in_its_column() {
        const PIECES: [&str; 16] = [
            "a",
            " ",
            "  ",
            "\n",
            "\t",
            "\x1b[1A",
            "\r",
            "\u{202e}",
            "\u{6f22}",
            "\u{301}",
            "\u{a0}",
            "\u{1f600}",
            "  digest      : 00",
            "\\x1b",
            "|",
            "word word word",
        ];
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for _ in 0..2000 {
            let length = next(120);
            let text: String = (0..length).map(|_| PIECES[next(PIECES.len())]).collect();
            let page = shown(|page| {
                page.value("value", &text);
                page.sentence("sentence", &text);
                page.own_text("ours", &text);
            });
            assert!(is_sound(&page), "{page}");
            assert!(
                page.chars().all(|c| text::is_plain(c) && c != '\t'),
                "{page:?}"
            );
            let of_value = |row: &Row| row.mark != Mark::OwnText;
            let rows = value(&text).into_iter().filter(of_value);
            let all: String = rows.map(|row| row.text).collect();
            assert_eq!(all, text.chars().map(piece).collect::<String>());
        }
    }
}
