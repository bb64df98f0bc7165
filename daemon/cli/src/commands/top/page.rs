//! A page of `remit show` on the screen, whole: lines that are too long for it are folded, never cut. It knows which of
//! its rows were on the screen, because nobody approves what was not shown to them.

use remit_common::names::JobId;
use remit_common::signed::Signed;

use crate::render::units::Colour;
use crate::render::untrusted_columns::{self, Page};

/// What an approval of this page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvable {
    pub job: JobId,
    pub digest: [u8; 32],
    /// What its rule asks for, which is not made here.
    pub signed: Option<Signed>,
    /// The page lacks a plan, or the content of copied files, so it is only denied.
    pub is_withheld: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Number of its line.
    line: usize,
    pub colour: Colour,
    pub text: String,
}

#[derive(Debug)]
pub struct OpenPage {
    pub title: String,
    /// `None` for a page of a job, which nobody can approve.
    pub approvable: Option<Approvable>,
    lines: Vec<(Colour, String)>,
    rows: Vec<PageRow>,
    width: usize,
    height: usize,
    top: usize,
    /// Number of rows, from the first one on without a gap, that were on the screen.
    shown: usize,
}

impl OpenPage {
    pub fn new(title: String, page: Page, approvable: Option<Approvable>) -> Self {
        Self {
            title,
            approvable,
            lines: page.into_lines(),
            rows: Vec::new(),
            width: 0,
            height: 0,
            top: 0,
            shown: 0,
        }
    }

    /// Lays the page out for this size. A line that was not shown whole counts as not shown after a change of the width.
    pub fn fit(&mut self, width: usize, height: usize) {
        if self.width != width {
            let line_of = |row: usize| self.rows.get(row).map(|row| row.line);
            let (top, shown) = (line_of(self.top), line_of(self.shown));
            let was_shown = self.is_shown();
            self.rows = fold(&self.lines, width);
            let first = |line: Option<usize>| {
                let at = self.rows.iter().position(|row| Some(row.line) == line);
                at.unwrap_or(0)
            };
            self.top = first(top);
            self.shown = match was_shown {
                true => self.rows.len(),
                false => first(shown),
            };
            self.width = width;
        }
        self.height = height;
        self.top = self.top.min(self.rows.len().saturating_sub(height));
    }

    /// Returns true if all rows are on the screen at once.
    pub fn is_whole(&self) -> bool {
        self.rows.len() <= self.height
    }

    /// Counts the rows on the screen as shown.
    pub fn was_drawn(&mut self) {
        self.shown = self.shown_if_drawn();
    }

    pub fn is_shown(&self) -> bool {
        !self.rows.is_empty() && self.shown == self.rows.len()
    }

    pub fn scroll(&mut self, rows: isize) {
        let last = self.rows.len().saturating_sub(self.height);
        self.top = self.top.saturating_add_signed(rows).min(last);
    }

    /// Rows of a screenful less one, so that a reader finds the position again.
    pub fn screenful(&self) -> isize {
        isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(isize::MAX)
    }

    /// Moves to the first row that was not on the screen.
    pub fn scroll_to_unshown(&mut self) {
        self.top = self.shown;
        self.scroll(0);
    }

    pub fn visible(&self) -> &[PageRow] {
        let bottom = (self.top + self.height).min(self.rows.len());
        self.rows.get(self.top..bottom).unwrap_or_default()
    }

    /// Rows below the screen.
    pub fn below(&self) -> usize {
        self.rows.len().saturating_sub(self.top + self.height)
    }

    fn shown_if_drawn(&self) -> usize {
        let bottom = (self.top + self.height).min(self.rows.len());
        match self.top <= self.shown {
            true => self.shown.max(bottom),
            false => self.shown,
        }
    }

    /// Rows that are not on the screen and were not.
    pub fn unseen(&self) -> usize {
        self.rows.len() - self.shown_if_drawn()
    }

    /// Rows that were not on the screen.
    pub fn unshown(&self) -> usize {
        self.rows.len() - self.shown
    }
}

fn fold(lines: &[(Colour, String)], width: usize) -> Vec<PageRow> {
    let rows = |(line, (colour, text)): (usize, &(Colour, String))| {
        let colour = *colour;
        let texts = untrusted_columns::fold(text, width).into_iter();
        texts.map(move |text| PageRow { line, colour, text })
    };
    lines.iter().enumerate().flat_map(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::untrusted_columns::columns;

    fn page(lines: usize) -> OpenPage {
        let mut page = Page::default();
        for line in 0..lines {
            page.value(&format!("line {line}"), &"x".repeat(60));
        }
        OpenPage::new(String::new(), page, None)
    }

    #[test]
    fn folded_rows_have_the_mark_and_lose_nothing() {
        for width in [40, 41, 63, 80, 200] {
            let mut page = page(5);
            page.value_of_test("\u{6f22}".repeat(200));
            page.fit(width, 1000);
            let mut text = String::new();
            let mut last = usize::MAX;
            for row in &page.rows {
                assert!(columns(&row.text) <= width, "{width} {row:?}");
                match row.line == last {
                    true => text += row.text.strip_prefix("              + ").unwrap(),
                    false => text += &row.text,
                }
                last = row.line;
            }
            let whole: String = page.lines.iter().map(|(_, line)| line.as_str()).collect();
            assert_eq!(text, whole, "{width}");
        }
    }

    fn draw(page: &mut OpenPage, width: usize, height: usize) {
        page.fit(width, height);
        page.was_drawn();
    }

    #[test]
    fn a_page_is_shown_after_all_its_rows_were() {
        let mut page = page(20);
        draw(&mut page, 80, 8);
        assert!(!page.is_shown() && page.below() == 12);
        page.scroll(isize::MAX);
        draw(&mut page, 80, 8);
        assert!(!page.is_shown(), "the rows in the middle were skipped");
        page.scroll_to_unshown();
        draw(&mut page, 80, 8);
        assert_eq!((page.unshown(), page.is_shown()), (4, false));
        page.scroll(page.screenful());
        draw(&mut page, 80, 8);
        assert!(page.is_shown() && page.unshown() == 0);
    }

    #[test]
    fn another_width_shows_nothing_by_itself() {
        let mut page = page(20);
        draw(&mut page, 80, 8);
        draw(&mut page, 40, 8);
        assert!(!page.is_shown());
        assert_eq!(page.shown, 24, "8 lines in three rows each");
        draw(&mut page, 80, 30);
        assert!(page.is_shown());
        draw(&mut page, 40, 8);
        assert!(page.is_shown(), "it was shown whole");
    }

    impl OpenPage {
        fn value_of_test(&mut self, line: String) {
            self.lines.push((Colour::Plain, line));
        }
    }
}
