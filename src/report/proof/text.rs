//! The page in the terminal: the number of violations, what was not read, the violations and how to
//! fix them, the groups with their hashtags, the tables, and what to do next.

use super::document::{Report, UNREAD};
use super::next::{divided, division, next};
use super::rows::{BaselineRow, ExampleRow, GroupRow, KeyRow, SourceRow, ViolationRow, options};
use super::tables;
use crate::report::terminal::{self, Terminal, Tone};
use crate::text::display::{Paint, bytes, count, fit, left, plural, plural_end, printable, width};

/// Columns of a page whose terminal's width is not known.
pub(crate) const COLUMNS: usize = terminal::COLUMNS;
/// Narrower pages cannot be read.
pub(crate) const COLUMNS_MIN: usize = 48;
/// Kinds of violations, and groups, on the page; the JSON has all.
const ROWS_MAX: usize = 12;
/// Patterns of a row, keys of an example, on the page.
const KEYS_MAX: usize = 4;

/// The page in so many columns. `written` names the report files.
#[must_use]
pub(crate) fn page(report: &Report, written: &[String], columns: usize, paint: Paint) -> String {
    let mut page = Page { out: Terminal::new(columns.max(COLUMNS_MIN), paint) };
    page.head(report);
    page.lead(report);
    page.way_out(report);
    page.notes(report);
    page.violations(report);
    page.groups(report);
    tables::all(report).iter().for_each(|table| page.out.table(table));
    page.out.gap();
    page.out.written(written);
    page.out.paragraph(&format!("Next: {}", next(report)));
    page.out.end()
}

struct Page {
    out: Terminal,
}

impl Page {
    fn head(&mut self, report: &Report) {
        self.out.title(report.title);
        let mut read = Vec::new();
        for source in &report.sources {
            let size = bytes(source.bytes);
            read.push(format!("{} ({}, {size})", printable(&source.name), source.format));
        }
        let totals = &report.totals;
        let numbers = [
            (totals.commands, "command"),
            (totals.transactions, "transaction"),
            (totals.scripts, "script"),
            (totals.stored_keys, "stored key"),
        ];
        let numbers = numbers.iter().filter(|(number, _)| *number > 0);
        read.extend(numbers.map(|(number, what)| plural(*number, what)));
        read.push(plural(totals.shards as u64, "shard"));
        self.out.remark(&read.join(", "));
        self.forms(report);
        self.out.gap();
    }

    /// Why each file was read as what it was.
    fn forms(&mut self, report: &Report) {
        const SHOWN_MAX: usize = 8;
        let chosen: Vec<_> = report
            .sources
            .iter()
            .filter_map(|source| Some((source, source.why.as_ref()?)))
            .collect();
        for (source, why) in chosen.iter().take(SHOWN_MAX) {
            let (name, why) = (printable(&source.name), printable(why));
            self.out.remark(&format!("{name} is read as {}: {why}", source.format));
        }
        if let Some(more @ 1..) = chosen.len().checked_sub(SHOWN_MAX) {
            self.out.remark(&format!("and {} (--json has all)", plural(more as u64, "more file")));
        }
    }

    fn lead(&mut self, report: &Report) {
        let totals = &report.totals;
        let leading = report.leading();
        let kinds = leading.iter().filter(|(row, _)| row.weight == "error").count();
        let lead: Option<(u64, Tone, String)> = if totals.errors > 0 {
            let (s, kinds) = (plural_end(totals.errors), plural(kinds as u64, "kind"));
            let what = format!("violation{s} of {kinds}: a cluster would refuse what was sent");
            Some((totals.errors, Paint::bad, what))
        } else if !report.gaps.is_empty() {
            None
        } else if totals.commands + totals.transactions > 0 {
            let part = if report.is_whole() { "seen" } else { "read" };
            Some((0, Paint::good, format!("violations: a cluster would run what was {part}")))
        } else if totals.stored_keys == 0 && !report.is_whole() {
            Some((0, Paint::careful, "keys and commands: nothing was checked".to_owned()))
        } else {
            let s = plural_end(totals.stored_keys);
            let what = format!("key{s}; only commands show which keys are used together");
            Some((totals.stored_keys, Paint::bold, what))
        };
        if let Some((number, tone, what)) = lead {
            self.out.lead(&count(number), tone, &what);
        }
        for (at, gap) in report.gaps.iter().enumerate() {
            self.out.lead(if at == 0 { "not proven" } else { "" }, Paint::bad, gap);
        }
        if totals.warnings > 0 {
            let s = plural_end(totals.warnings);
            let what = format!("warning{s}: {}", report.other_results());
            self.out.lead(&count(totals.warnings), Paint::careful, &what);
        }
    }

    /// What has to be done, and its price.
    fn way_out(&mut self, report: &Report) {
        for (at, way) in report.way_out.iter().enumerate() {
            let mark = if at == 0 { "Fix " } else { "or  " };
            let (mut tags, more) = way.named();
            tags.iter_mut().for_each(|tag| *tag = printable(tag).into_owned());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!("{}{more} {}", tags.join(", "), way.shown());
            self.out.item(mark, Paint::good, &text);
        }
        for rule in report.other_rules() {
            let row = rule.row();
            self.out.item("and ", Paint::good, &format!("for {}: {}", row.name, row.way_out));
        }
    }

    /// What limits the result.
    fn notes(&mut self, report: &Report) {
        let totals = &report.totals;
        report.sources.iter().for_each(|source| self.trouble(source));
        if let Some(baseline) = &report.baseline {
            self.baseline(baseline);
        }
        if totals.forgotten_rows > 0 {
            let rows = plural(totals.forgotten_rows, "row");
            self.careful(&format!(
                "{rows} evicted: there are more kinds of keys than the tables hold"
            ));
        }
        for text in division(report).into_iter().chain(divided(report)) {
            self.careful(&text);
        }
    }

    fn careful(&mut self, text: &str) {
        self.out.item("Note", Paint::careful, text);
    }

    /// Why a source was not read, or not to its end.
    fn trouble(&mut self, source: &SourceRow) {
        let Some(trouble) = &source.trouble else { return };
        if source.format == UNREAD {
            let (name, why) = (printable(&source.name), printable(&trouble.why));
            return self.careful(&format!("{name} was not read: {why}"));
        }
        let what = match trouble.lines {
            Some(lines) => format!("{} could not be read, the first", plural(lines, "line")),
            None => "was read up to".to_owned(),
        };
        let name = printable(&source.name);
        self.careful(&format!("{name}: {what} {}: {}", trouble.at, printable(&trouble.why)));
    }

    fn baseline(&mut self, baseline: &BaselineRow) {
        let (known, new) = (baseline.known as u64, baseline.new as u64);
        let file = printable(&baseline.file);
        let text = format!("{} known from {file}, {} new", plural(known, "kind"), count(new));
        self.out.item("Note", Paint::dim, &text);
        if !baseline.gone.is_empty() {
            let kinds = plural(baseline.gone.len() as u64, "kind");
            let gone = baseline.gone.join("; ");
            let text =
                format!("{kinds} of {file} did not occur and can go (--update-baseline): {gone}");
            self.out.item("Note", Paint::dim, &text);
        }
    }

    fn violations(&mut self, report: &Report) {
        if report.violations.is_empty() {
            return;
        }
        self.out.heading("Violations");
        let leading = report.leading();
        for (row, with) in leading.iter().take(ROWS_MAX) {
            self.violation(row, with, report);
        }
        self.more(leading.len(), "kind");
    }

    fn more(&mut self, all: usize, what: &str) {
        if all > ROWS_MAX {
            let more = plural((all - ROWS_MAX) as u64, what);
            self.out.line(&self.out.paint.dim(&format!("  … and {more} more in the JSON report")));
        }
    }

    fn violation(&mut self, row: &ViolationRow, with: &[&ViolationRow], report: &Report) {
        let rule = match row.weight {
            "error" => self.out.paint.bad(row.rule),
            _ => self.out.paint.careful(row.rule),
        };
        let what =
            if row.command.is_empty() { String::new() } else { format!("  {}", row.command) };
        let rest = self.out.columns.saturating_sub(2 + width(row.rule));
        let known = if row.is_known { ", known" } else { "" };
        let what = fit(&format!("{what}  {}{known}", row.often()), rest);
        self.out.line(&format!("  {rule}{what}"));
        if !row.patterns.is_empty() {
            let mut patterns: Vec<String> =
                row.patterns.iter().take(KEYS_MAX).map(|p| printable(p).into_owned()).collect();
            let hidden = row.patterns.len().saturating_sub(KEYS_MAX);
            if hidden > 0 {
                patterns.push(format!("… and {hidden} more"));
            }
            self.out.item(" ", Paint::dim, &patterns.join(", "));
        }
        if let Some(example) = row.examples.first() {
            self.example(example, report.has_one_client());
        }
        for row in with.iter().take(KEYS_MAX) {
            let colon = if row.patterns.is_empty() { "" } else { ": " };
            let patterns = format!("{colon}{}", row.patterns.join(", "));
            let text = format!("{} {}, {}{patterns}", row.rule, row.command, row.often());
            self.out.item("with", Paint::dim, &printable(&text));
        }
        if with.len() > KEYS_MAX {
            let more = plural((with.len() - KEYS_MAX) as u64, "kind");
            self.out.item("    ", Paint::dim, &format!("… and {more} more"));
        }
        if let Some(advice) = &row.advice {
            self.out.item("fix ", Paint::good, advice);
        }
        // One for all stands in the first lines.
        if let Some(tag) = report.tag_for(row).filter(|_| !report.has_one_tag()) {
            let text = format!("with the hashtag {} (see below)", printable(tag));
            self.out.item("fix ", Paint::good, &text);
        }
    }

    fn example(&mut self, example: &ExampleRow, has_one_client: bool) {
        let mut parts = Vec::new();
        parts.extend(example.spot.clone());
        parts.extend(example.place.map(|at| format!("command {at} of the transaction")));
        // The address says nothing where there is but one.
        let client = if has_one_client { &example.label } else { &example.client };
        if !client.is_empty() {
            parts.push(format!("by {}", printable(client)));
        }
        if !parts.is_empty() {
            self.out.item("e.g.", Paint::dim, &parts.join(", "));
        }
        let keys: Vec<&KeyRow> = distinctive(&example.keys);
        let columns = keys.iter().map(|key| width(&printable(&key.key))).max().unwrap_or(0);
        let columns = columns.min(self.out.columns.saturating_sub(8 + 24));
        for key in &keys {
            let name = left(&fit(&printable(&key.key), columns), columns);
            self.out.line(&format!("        {name}  slot {:>5}  shard {}", key.slot, key.shard));
        }
        let hidden = example.keys.len() - keys.len() + example.keys_hidden;
        if hidden > 0 {
            self.out.line(&format!("        … and {}", plural(hidden as u64, "key")));
        }
    }

    fn groups(&mut self, report: &Report) {
        let crossing: Vec<&GroupRow> =
            report.groups.iter().filter(|row| row.crossing > 0).collect();
        let fitting = report.groups.len() - crossing.len();
        if report.groups.is_empty() {
            return;
        }
        self.out.heading("Keys used together");
        for row in crossing.iter().take(ROWS_MAX) {
            self.group(row);
        }
        self.more(crossing.len(), "group");
        if fitting > 0 {
            let text = match fitting {
                1 => "one group: its keys share a slot wherever they are used together".to_owned(),
                n => format!("{n} groups: their keys share a slot wherever they are used together"),
            };
            self.out.item("fits", Paint::good, &text);
        }
    }

    fn group(&mut self, row: &GroupRow) {
        let patterns: Vec<String> =
            row.patterns.iter().take(KEYS_MAX).map(|p| printable(p).into_owned()).collect();
        let more = row.patterns.len().saturating_sub(KEYS_MAX);
        let more = if more > 0 { format!(", … and {more} more") } else { String::new() };
        let often = format!("{}, {} across slots", plural(row.count, "time"), count(row.crossing));
        self.out.item("-", Paint::dim, &format!("{}{more}: {often}", patterns.join(", ")));
        self.renamed(row);
        for other in &row.other_tags {
            let text = format!("{} {}", printable(&other.tag), other.shown());
            self.out.item("   or   ", Paint::dim, &text);
        }
        for note in row.notes() {
            self.out.item("   note ", Paint::careful, &printable(&note));
        }
        if row.verdict == "apart" && row.strangers.is_empty() {
            let text = "each pair of these keys has a common part, but no part common to all of them \
                        could be the hashtag";
            self.out.item("   apart", Paint::careful, text);
        }
        for pair in &row.strangers {
            let keys = pair.keys.each_ref().map(|key| printable(key));
            let text = format!("{} and {} have no common part", keys[0], keys[1]);
            self.out.item("   apart", Paint::careful, &text);
        }
    }

    /// The patterns of a group with and without its hashtag, and what that costs.
    fn renamed(&mut self, row: &GroupRow) {
        /// Of the line: the mark and the words around the patterns.
        const USED: usize = 18;
        let shown = || row.rewritten.iter().take(ROWS_MAX);
        let columns = shown().map(|one| width(&printable(&one.pattern))).max();
        let columns = columns.unwrap_or(0).min((self.out.columns - USED) / 2);
        let rest = self.out.columns.saturating_sub(USED + columns);
        for (at, one) in shown().enumerate() {
            let mark = if at == 0 { self.out.paint.good("rename") } else { " ".repeat(6) };
            let old = left(&fit(&printable(&one.pattern), columns), columns);
            let new = self.out.paint.bold(&fit(&printable(&one.new_pattern), rest));
            self.out.line(&format!("     {mark}  {old}  to {new}"));
        }
        let hidden = row.rewritten.len().saturating_sub(ROWS_MAX);
        if hidden > 0 {
            let text = format!("… and {} more in the JSON report", count(hidden as u64));
            self.out.line(&format!("     {}  {}", " ".repeat(6), self.out.paint.dim(&text)));
        }
        if let Some(options) = options(&row.options) {
            self.out.item("   set  ", Paint::dim, &format!("by {options}"));
        }
        for (price, of) in [(&row.key_price, "keys"), (&row.use_price, "uses")] {
            if let Some(price) = price {
                self.out.item("   price", Paint::dim, &price.shown(of));
            }
        }
    }
}

/// The keys of an example, led by the first one and the first one in another slot: those two show
/// why the command was refused.
fn distinctive(keys: &[KeyRow]) -> Vec<&KeyRow> {
    let Some(first) = keys.first() else { return Vec::new() };
    let other = keys.iter().find(|key| key.slot != first.slot);
    let rest = keys[1..].iter().filter(|key| other.is_none_or(|o| !std::ptr::eq(*key, o)));
    std::iter::once(first).chain(other).chain(rest).take(KEYS_MAX).collect()
}
