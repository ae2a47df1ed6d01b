//! A table: rows under a head, laid out for a terminal here, as HTML in [`super::html`] and as
//! Markdown in `proof::markdown`.
//!
//! The layout is our own, not `comfy-table`'s. That library breaks a cell that is too wide into
//! lines or cuts its end, and keys of one kind differ at their ends; it also needs crossterm and
//! two crates more to measure cells that have colours.

use crate::text::display::{Paint, fit, left, printable, right, width, wrap};

/// The first column is never narrower than this many columns.
const FIRST_COLUMNS_MIN: usize = 12;

/// Rows under a head. The first column holds names and is aligned left; the others hold numbers and
/// are aligned right, except `text_at`.
#[derive(Debug)]
pub(crate) struct Table {
    /// Stands above the table; in a terminal, above its first column.
    pub title: String,
    /// The names of the columns. A terminal does not show the first one.
    pub head: Vec<&'static str>,
    /// As many cells in each as there are names.
    pub rows: Vec<Vec<String>>,
    /// A further column that holds text.
    pub text_at: Option<usize>,
    /// Rows left out; the JSON report has them.
    pub hidden: usize,
    /// A remark below the rows.
    pub note: Option<String>,
}

impl Table {
    /// A table without a note.
    pub(crate) fn new(
        title: impl Into<String>,
        head: &[&'static str],
        rows: Vec<Vec<String>>,
    ) -> Self {
        let (title, head) = (title.into(), head.to_vec());
        Self { title, head, rows, text_at: None, hidden: 0, note: None }
    }

    /// The same with at most so many rows.
    pub(crate) fn limited(mut self, rows_max: usize) -> Self {
        self.hidden += self.rows.len().saturating_sub(rows_max);
        self.rows.truncate(rows_max);
        self
    }

    /// The same with text in a further column.
    pub(crate) fn with_text_at(mut self, column: usize) -> Self {
        self.text_at = Some(column);
        self
    }

    /// The same with a remark below the rows.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Whether the column holds text.
    pub(crate) fn is_text(&self, column: usize) -> bool {
        column == 0 || self.text_at == Some(column)
    }

    /// The remarks below the rows.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let hidden =
            (self.hidden > 0).then(|| format!("… and {} more in the JSON report", self.hidden));
        hidden.into_iter().chain(self.note.clone())
    }

    /// The lines of the table in a terminal of so many columns. If it is too wide, its first column
    /// becomes narrower: names can lose their middle, numbers cannot lose a digit.
    pub(crate) fn lines(&self, columns: usize, paint: Paint) -> Vec<String> {
        let mut head: Vec<&str> = self.head.clone();
        if let Some(first) = head.first_mut() {
            *first = &self.title;
        }
        let rows: Vec<Vec<_>> =
            self.rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        let mut widths: Vec<usize> = head.iter().map(|name| width(name)).collect();
        for row in &rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = width(cell).max(*most);
            }
        }
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        if let Some(first) = widths.first_mut() {
            *first = first.saturating_sub(total.saturating_sub(columns)).max(FIRST_COLUMNS_MIN);
        }
        let cell = |at: usize, text: &str| {
            let text = fit(text, widths[at]);
            if self.is_text(at) { left(&text, widths[at]) } else { right(&text, widths[at]) }
        };
        let names = head.iter().enumerate().map(|(at, name)| match at {
            0 => paint.bold(&cell(at, name)),
            _ => paint.dim(&cell(at, name)),
        });
        let mut lines = vec![names.collect::<Vec<_>>().join("  ")];
        for row in &rows {
            let cells = row.iter().enumerate().map(|(at, text)| cell(at, text));
            lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
        }
        for note in self.notes() {
            lines.extend(wrap(&note, columns).iter().map(|line| paint.dim(line)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[[&str; 3]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect()
    }

    #[test]
    fn numbers_stand_below_each_other_whatever_the_keys_are_written_in() {
        let cells = rows(&[["user:1", "7", "1.20 kB"], ["用户:一", "1,234", "6 B"]]);
        let table = Table::new("Keys", &["pattern", "uses", "bytes"], cells);
        assert_eq!(
            table.lines(80, Paint::Off),
            [
                "Keys           uses    bytes",
                "user:1            7  1.20 kB",
                "用户:一       1,234      6 B",
            ]
        );
    }

    #[test]
    fn names_lose_their_middle_before_a_number_loses_a_digit() {
        let key = "购物车:{用户:一二三四五六七八九十}:总价";
        let cells = rows(&[[key, "1,234,567", "on purpose"], ["a\x1b[31m", "1", ""]]);
        let table = Table::new("Keys", &["", "uses", "what"], cells).with_text_at(2);
        for columns in [35, 48, 80] {
            let lines = table.lines(columns, Paint::Off);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:#?}");
            assert!(lines[1].ends_with("  1,234,567  on purpose"), "{}", lines[1]);
            assert!(lines[1].starts_with("购物"), "{}", lines[1]);
            assert!(lines[2].starts_with("a\\u{1b}[31m "), "{}", lines[2]);
        }
        // The first column does not vanish.
        assert!(table.lines(10, Paint::Off)[1].starts_with("购物"));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let table = Table::new("Keys", &["", "uses", ""], rows(&[["a", "1", ""]; 5]));
        let table = table.limited(2).with_note("Uses: by commands.");
        let lines = table.lines(80, Paint::Off);
        assert_eq!(lines[3..], ["… and 3 more in the JSON report", "Uses: by commands."]);
        assert_eq!(lines.len(), 5);
    }
}
