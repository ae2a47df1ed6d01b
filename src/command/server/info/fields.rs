//! The lines of a section, and numbers for people.

use std::fmt::{Display, Write};

/// A section that is being written.
pub(super) struct Fields<'t> {
    text: &'t mut String,
}

impl<'t> Fields<'t> {
    /// Begins a section.
    pub(super) fn under(heading: &str, text: &'t mut String) -> Self {
        // Writing into memory does not fail, here and below.
        let _ = write!(text, "# {heading}\r\n");
        Self { text }
    }

    /// Adds a line.
    pub(super) fn put(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// Adds a number of bytes, and the same for people.
    pub(super) fn put_bytes(&mut self, name: &str, bytes: u64) {
        self.put(name, bytes);
        let _ = write!(self.text, "{name}_human:{}\r\n", human(bytes));
    }

    /// Adds lines for what there is none of.
    pub(super) fn put_none_of(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.put(name, 0));
    }

    /// Adds lines that are written already.
    pub(super) fn put_lines(&mut self, lines: &str) {
        self.text.push_str(lines);
    }
}

/// Formats a number of bytes for people: `0B`, `7.60M`.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (7_970_816, "7.60M"), (1 << 40, "1.00T")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
