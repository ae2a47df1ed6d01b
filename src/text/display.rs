//! Numbers and foreign text as a person reads them: three digits and a unit; no character that a
//! terminal or a browser would interpret.

use std::borrow::Cow;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands where there is no number.
pub(crate) const NOTHING: &str = "-";

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits of a number that is not negative: `0.12`, `1.23`, `12.3`, `123`.
fn significant(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// A rate per second: `48,211`, `48.2`.
pub(crate) fn rate(number: f64) -> String {
    match number {
        n if !n.is_finite() => NOTHING.to_owned(),
        0.0 => "0".to_owned(),
        n if n < 99.95 => significant(n),
        n => count(n.round() as u64),
    }
}

/// Nanoseconds with the unit that suits them: `1.84 ms`.
pub(crate) fn time_ns(ns: f64) -> String {
    match ns {
        ns if !ns.is_finite() => NOTHING.to_owned(),
        ns if ns < 999.5 => format!("{ns:.0} ns"),
        ns if ns < 999.5e3 => format!("{} µs", significant(ns / 1e3)),
        ns if ns < 999.5e6 => format!("{} ms", significant(ns / 1e6)),
        ns if ns < 119.5e9 => format!("{} s", significant(ns / 1e9)),
        ns => {
            let seconds = (ns / 1e9).round() as u64;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// A number with its unit as the label of a chart's axis: without trailing zeros.
pub(crate) fn tick(shown: &str) -> String {
    let (number, unit) = shown.split_once(' ').map_or((shown, ""), |(n, unit)| (n, unit));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// Nanoseconds as the label of an axis: `5 ms`, `200 s`.
pub(crate) fn tick_ns(ns: f64) -> String {
    if ns < 119.5e9 {
        tick(&time_ns(ns))
    } else {
        format!("{} s", count((ns / 1e9).round() as u64))
    }
}

/// A duration with the unit that suits it.
pub(crate) fn time(duration: Duration) -> String {
    time_ns(duration.as_nanos() as f64)
}

/// A share of 0 to 1 in percent: `12.4 %`.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        p if !p.is_finite() => NOTHING.to_owned(),
        0.0 => "0 %".to_owned(),
        p if p < 0.01 => "<0.01 %".to_owned(),
        p => format!("{} %", significant(p)),
    }
}

/// Bytes with the unit that suits them: `0 B`, `1.21 GB`.
pub(crate) fn bytes(number: u64) -> String {
    let n = number as f64;
    match n {
        n if n < 1e3 => format!("{number} B"),
        n if n < 999.5e3 => format!("{} kB", significant(n / 1e3)),
        n if n < 999.5e6 => format!("{} MB", significant(n / 1e6)),
        n => format!("{} GB", significant(n / 1e9)),
    }
}

/// `1.31x`.
pub(crate) fn times(ratio: f64) -> String {
    if ratio.is_finite() { format!("{}x", significant(ratio)) } else { NOTHING.to_owned() }
}

/// `1 group`, `2 groups`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), plural_end(number))
}

/// The end of a regular noun behind a number.
pub(crate) const fn plural_end(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A number of a sweep: `16`, `0.99`.
pub(crate) fn plain(number: f64) -> String {
    format!("{number}")
}

/// Milliseconds since the epoch as a date: `2026-01-31 23:59:07 UTC`.
pub(crate) fn date(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // In years counted from March the leap day comes last; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Foreign text in one line, with everything escaped that a terminal would interpret.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // Besides control characters: those that change the direction of writing, and those that XML
    // forbids.
    let is_plain = |c: char| {
        !c.is_control()
            && !matches!(
                c,
                '\u{200e}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}'
                    | '\u{fffe}'..='\u{ffff}'
            )
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| {
        if is_plain(c) { Cow::Owned(c.to_string()) } else { c.escape_default().collect() }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Columns that a text takes in a terminal: two for a wide (CJK, emoji) character, none for a
/// combining one.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The most columns that a character adds to a text. Sequences can be narrower than the sum of
/// their characters, and only the emoji selector widens the character before it.
fn width_max(c: char) -> usize {
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(1) }
}

/// A text and spaces up to so many columns.
pub(crate) fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Spaces and a text, so many columns together.
pub(crate) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// A text in at most so many columns: a longer one loses its middle, since addresses and keys
/// differ at their ends.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let tail = suffix(text, kept / 2);
    format!("{}…{tail}", prefix(text, kept - width(tail)))
}

/// The longest beginning of a text that fits so many columns.
fn prefix(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        taken += width_max(c);
        (taken > columns).then_some(at)
    });
    &text[..end.unwrap_or(text.len())]
}

/// The longest end of a text that fits so many columns and does not begin with a combining mark.
fn suffix(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        taken += width_max(c);
        if taken > columns {
            break;
        }
        start = at;
    }
    text[start..].trim_start_matches(|c| width_max(c) == 0)
}

/// A text in lines of at most so many columns, broken between words. A longer word gets a line of
/// its own.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Escapes what has a meaning in HTML and SVG; replaces characters that XML forbids by U+FFFD.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}'..='\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whether a page has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    Off,
    /// With ANSI escapes.
    On,
}

impl Paint {
    pub(crate) fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Off => text.to_owned(),
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn careful(self, text: &str) -> String {
        self.with("1;33", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (ns, shown) in [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (9_996.0, "10.0 µs"),
            (999_499.0, "999 µs"),
            (999_600.0, "1.00 ms"),
            (1.84e6, "1.84 ms"),
            (59.96e9, "60.0 s"),
            (125e9, "2 min 5 s"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(time_ns(ns), shown);
        }
        for (share, shown) in
            [(0.0, "0 %"), (0.000_05, "<0.01 %"), (0.1239, "12.4 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(share), shown);
        }
        assert_eq!([5e6, 1.5e3, 2e11].map(tick_ns), ["5 ms", "1.5 µs", "200 s"]);
        assert_eq!(["20.0 %", "0 %", "100", "1.20"].map(tick), ["20 %", "0 %", "100", "1.2"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.5, 99.94, 99.96, 48_211.4].map(rate),
            ["0.50", "99.9", "100", "48,211"].map(str::to_owned)
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0_u64, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_767_225_600, "2026-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds * 1000), shown);
        }
    }

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        assert_eq!(printable("\x1b[2J\r\nplain\u{202e}"), "\\u{1b}[2J\\r\\nplain\\u{202e}");
        assert!(matches!(printable("größer"), Cow::Borrowed(_)));
        // XML forbids it, escaped or not.
        assert_eq!(
            (printable("\u{fffe}").as_ref(), escaped("\u{fffe}")),
            ("\\u{fffe}", "\u{fffd}".into())
        );
    }

    #[test]
    fn texts_are_cut_and_broken_at_their_columns() {
        assert_eq!(fit("127.0.0.1:7000", 9), "127.…7000");
        assert_eq!(fit("größe", 5), "größe");
        assert_eq!(wrap("a few words here", 9), ["a few", "words", "here"]);
        assert_eq!(wrap("", 9), Vec::<String>::new());
    }

    #[test]
    fn wide_and_combining_characters_take_their_columns() {
        for (text, columns) in [
            ("用户:一", 7),
            ("ｆｕｌｌ", 8),
            ("e\u{301}", 1),
            ("한글", 4),
            ("🦀", 2),
            ("☺\u{fe0f}", 2),
            ("…", 1),
        ] {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(left("鍵", 4), "鍵  ");
        assert_eq!(right("鍵", 4), "  鍵");
        assert_eq!(fit("用户:一二三", 11), "用户:一二三");
        assert_eq!(fit("用户:一二三", 10), "用户:…二三");
        assert_eq!(fit("用户:一二三", 9), "用户…二三");
        assert_eq!(fit("用户:一二三", 8), "用户:…三");
        // The mark goes with the letter that it belongs to.
        assert_eq!(fit("aaaae\u{301}bbb", 7), "aaa…bbb");
        assert_eq!(wrap("一二 三四 五", 9), ["一二 三四", "五"]);
        for columns in 1..40 {
            for text in
                ["购物车:{用户:一二三四五六}:总价", "👩‍👩‍👧‍👦☺\u{fe0f}☺\u{fe0f}🇩🇪🇩🇪🇩🇪", "مرحبا بالعالم"]
            {
                let fitted = fit(text, columns);
                assert!(width(&fitted) <= columns, "{columns}: {} {fitted}", width(&fitted));
            }
        }
    }
}
