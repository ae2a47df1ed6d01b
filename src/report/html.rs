//! The frame of a self-contained page: a report that opens without a network. Whoever has something to show
//! adds to it.

use crate::text::display::{escaped, printable};

/// What all pages look like; each report has a few lines of its own behind it.
const STYLE: &str = include_str!("html.css");

/// A page in the making.
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// Begins a page: the window's title, the heading, and styles beyond those that all pages have.
    pub(crate) fn begin(window: &str, heading: &str, style: &str) -> Self {
        let mut page = Self { text: String::new() };
        page.push("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        page.push("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
        page.tag("title", window);
        page.push(&format!("<style>{STYLE}{style}</style></head>\n<body><main>"));
        page.tag("h1", heading);
        page
    }

    /// Adds what is HTML already.
    pub(crate) fn push(&mut self, html: &str) {
        self.text.push_str(html);
    }

    /// Adds text, in an element of its own.
    pub(crate) fn tag(&mut self, name: &str, text: &str) {
        self.push(&format!("<{name}>{}</{name}>\n", escaped(&printable(text))));
    }

    /// Adds a remark.
    pub(crate) fn note(&mut self, text: &str) {
        self.push(&format!("<p class=\"dim\">{}</p>\n", escaped(&printable(text))));
    }

    /// Adds what a machine would read.
    pub(crate) fn code(&mut self, text: &str) {
        self.push(&format!("<code>{}</code>", escaped(&printable(text))));
    }

    /// The whole page, with a remark at its foot that is HTML.
    pub(crate) fn end(mut self, remark: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        self.push(&format!("<footer>slotway {version}. {remark}</footer></main></body></html>\n"));
        self.text
    }
}
