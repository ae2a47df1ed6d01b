//! A page in the terminal while it is written: paragraphs, marked items and tables that keep to its
//! columns.

use super::table::Table;
use crate::text::display::{Paint, fit, width, wrap};

/// Columns of a page whose terminal's width is not known.
pub(crate) const COLUMNS: usize = 80;
/// Columns of the numbers at the head of a page.
const LEAD_COLUMNS: usize = 12;

/// A way to paint a text: [`Paint::bold`] and its like.
pub(crate) type Tone = fn(Paint, &str) -> String;

/// The page.
pub(crate) struct Terminal {
    text: String,
    /// Whether it has colours.
    pub paint: Paint,
    /// Its width.
    pub columns: usize,
}

impl Terminal {
    /// An empty page.
    pub(crate) fn new(columns: usize, paint: Paint) -> Self {
        Self { text: String::new(), paint, columns }
    }

    /// The text of the page.
    pub(crate) fn end(self) -> String {
        self.text
    }

    /// Adds a line as it is.
    pub(crate) fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line.
    pub(crate) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Adds a bold line; one that is too long loses its middle.
    pub(crate) fn title(&mut self, text: &str) {
        self.line(&self.paint.bold(&fit(text, self.columns)));
    }

    /// Adds a title below a gap.
    pub(crate) fn heading(&mut self, text: &str) {
        self.gap();
        self.title(text);
    }

    /// Adds a paragraph. A word that is longer than a line stands whole, so that it can be copied.
    pub(crate) fn paragraph(&mut self, text: &str) {
        wrap(text, self.columns).iter().for_each(|line| self.line(line));
    }

    /// Adds a paragraph in a lighter colour; words that are longer than a line lose their middle.
    pub(crate) fn remark(&mut self, text: &str) {
        for line in wrap(text, self.columns) {
            self.line(&self.paint.dim(&fit(&line, self.columns)));
        }
    }

    /// Adds a paragraph behind a mark, its lines below each other.
    pub(crate) fn item(&mut self, mark: &str, tone: Tone, text: &str) {
        let indent = width(mark) + 4;
        let room = self.columns.saturating_sub(indent);
        for (at, line) in wrap(text, room).iter().enumerate() {
            let begin = if at == 0 {
                format!("  {}  ", tone(self.paint, mark))
            } else {
                " ".repeat(indent)
            };
            self.line(&format!("{begin}{}", fit(line, room)));
        }
    }

    /// Adds a number that leads the page, and what it is.
    pub(crate) fn lead(&mut self, number: &str, tone: Tone, what: &str) {
        let shown = tone(self.paint, &format!("{number:>LEAD_COLUMNS$}"));
        let room = self.columns.saturating_sub(LEAD_COLUMNS + 2);
        for (at, line) in wrap(what, room).iter().enumerate() {
            let begin = if at == 0 { shown.clone() } else { " ".repeat(LEAD_COLUMNS) };
            self.line(&format!("{begin}  {line}"));
        }
    }

    /// Adds a table below a gap.
    pub(crate) fn table(&mut self, table: &Table) {
        self.gap();
        table.lines(self.columns, self.paint).iter().for_each(|line| self.line(line));
    }

    /// Adds the names of the files that were written with the page.
    pub(crate) fn written(&mut self, files: &[String]) {
        if !files.is_empty() {
            self.paragraph(&format!("Written: {}", files.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_to_the_columns_and_below_each_other() {
        let mut page = Terminal::new(24, Paint::Off);
        page.item("Note", Paint::careful, "a few words about 用户:一二三四五六七八九十 here");
        page.lead("1,234", Paint::bold, "violations of 3 kinds");
        page.remark("/a/path/that/is/longer/than/a/line");
        assert_eq!(
            page.end(),
            "  Note  a few words\n        about\n        用户:一二…八九十\n        here\n       1,234  violations\n              of 3 kinds\n/a/path/that…than/a/line\n"
        );
    }
}
