//! A self-contained HTML page while it is written: its style is inside, it fetches nothing and runs
//! nothing, and it is well-formed XML, too, so that a test can parse it.

use super::table::Table;
use crate::text::display::{escaped, printable};

/// The style of all pages; each report adds a few lines of its own.
const STYLE: &str = include_str!("html.css");

/// The page.
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// Begins a page: the window's title, the heading, and styles beyond those of all pages.
    pub(crate) fn begin(window: &str, heading: &str, style: &str) -> Self {
        let mut page = Self { text: String::new() };
        page.push("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        page.push("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
        page.tag("title", window);
        page.push(&format!("<style>{STYLE}{style}</style></head>\n<body><main>"));
        page.tag("h1", heading);
        page
    }

    /// Adds HTML.
    pub(crate) fn push(&mut self, html: &str) {
        self.text.push_str(html);
    }

    /// Adds text in an element of its own.
    pub(crate) fn tag(&mut self, name: &str, text: &str) {
        self.push(&format!("<{name}>{}</{name}>\n", escaped(&printable(text))));
    }

    /// Adds a remark.
    pub(crate) fn note(&mut self, text: &str) {
        self.paragraph("dim", text);
    }

    /// Adds a paragraph of a class: `dim`, `note`, `careful` or `bad`.
    pub(crate) fn paragraph(&mut self, class: &str, text: &str) {
        self.push(&format!("<p class=\"{class}\">{}</p>\n", escaped(&printable(text))));
    }

    /// Adds code.
    pub(crate) fn code(&mut self, text: &str) {
        self.push(&format!("<code>{}</code>", escaped(&printable(text))));
    }

    /// Adds the numbers that lead the page, each with what it is.
    pub(crate) fn lead(&mut self, numbers: &[(String, String)]) {
        self.push("<div class=\"lead\">");
        for (number, what) in numbers {
            let (number, what) = (escaped(number), escaped(&printable(what)));
            self.push(&format!("<div><b>{number}</b><span>{what}</span></div>"));
        }
        self.push("</div>\n");
    }

    /// Adds a table under its title, with its notes.
    pub(crate) fn table(&mut self, table: &Table) {
        self.tag("h2", &table.title);
        self.rows(table, "");
        table.notes().for_each(|note| self.paragraph("note", &note));
    }

    /// Adds a table of code without its title.
    pub(crate) fn code_table(&mut self, table: &Table) {
        self.rows(table, "code");
    }

    /// Adds the head and the rows of a table, the text of each cell in an element if one is named.
    fn rows(&mut self, table: &Table, element: &str) {
        let class = |at: usize| if at > 0 && table.is_text(at) { " class=\"text\"" } else { "" };
        let (open, close) = match element {
            "" => (String::new(), String::new()),
            name => (format!("<{name}>"), format!("</{name}>")),
        };
        self.push("<div class=\"scroll\"><table><thead><tr>");
        for (at, name) in table.head.iter().enumerate() {
            self.push(&format!("<th{}>{}</th>", class(at), escaped(name)));
        }
        self.push("</tr></thead>\n<tbody>");
        for row in &table.rows {
            self.push("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let cell = escaped(&printable(cell));
                self.push(&format!("<td{}>{open}{cell}{close}</td>", class(at)));
            }
            self.push("</tr>\n");
        }
        self.push("</tbody></table></div>\n");
    }

    /// Ends the page with a remark at its foot, which is HTML.
    pub(crate) fn end(mut self, remark: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        self.push(&format!("<footer>slotway {version}. {remark}</footer></main></body></html>\n"));
        self.text
    }
}
