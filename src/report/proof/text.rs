//! The page in the terminal: the number that matters, what was not read, the violations with their
//! way out, the groups with their hashtags, the tables, and what to do next.

use super::document::{ExampleRow, GroupRow, KeyRow, PriceRow, Report, ViolationRow};
use super::tables::{self, Table};
use crate::text::display::{self, Paint, bytes, count, date, percent, plural, printable, width};

/// Columns of the page where nobody says how many there are.
pub const COLUMNS: usize = 80;
/// Fewer columns than this nobody reads.
pub const COLUMNS_MIN: usize = 48;
/// Kinds of violations, and groups, that are shown; the JSON has all.
const ROWS_MAX: usize = 12;
/// Columns of the numbers that lead.
const LEAD: usize = 12;
/// Patterns of a row, keys of an example, that are shown.
const KEYS_MAX: usize = 4;

/// The page, in so many columns. `written` are the files that hold more.
#[must_use]
pub fn page(report: &Report, written: &[String], columns: usize, paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint, columns: columns.max(COLUMNS_MIN) };
    page.head(report);
    page.lead(report);
    page.violations(report);
    page.groups(report);
    tables::all(report).iter().for_each(|table| page.table(table));
    page.end(report, written);
    page.text
}

struct Page {
    text: String,
    paint: Paint,
    columns: usize,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// A paragraph, its lines below each other behind a mark.
    fn item(&mut self, mark: &str, painted: &str, text: &str) {
        let indent = 2 + width(mark) + 2;
        for (at, line) in display::wrap(text, self.columns - indent).iter().enumerate() {
            let begin = if at == 0 { format!("  {painted}  ") } else { " ".repeat(indent) };
            let line = display::fit(line, self.columns - indent);
            self.line(&format!("{begin}{line}"));
        }
    }

    fn head(&mut self, report: &Report) {
        self.line(&self.paint.bold(report.title));
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
        for line in display::wrap(&read.join(", "), self.columns) {
            self.line(&self.paint.dim(&display::fit(&line, self.columns)));
        }
        self.line("");
    }

    fn lead(&mut self, report: &Report) {
        let totals = &report.totals;
        let kinds =
            |weight: &str| report.violations.iter().filter(|row| row.weight == weight).count();
        if totals.errors > 0 {
            let kinds = plural(kinds("error") as u64, "kind");
            let what = format!("times a cluster would refuse what was seen, of {kinds}");
            self.number(totals.errors, Paint::bad, &what);
        } else if totals.commands + totals.transactions > 0 {
            let whole = if report.is_whole() { "" } else { " until there" };
            let what = format!("violations: a cluster would run what was seen{whole}");
            self.number(0, Paint::good, &what);
        } else if is_run(report) {
            let what = "commands came to the cluster: what runs elsewhere proves nothing";
            self.number(0, Paint::careful, what);
        } else {
            let what = "keys; which of them are used together, only commands tell";
            self.number(totals.stored_keys, Paint::bold, what);
        }
        if totals.warnings > 0 {
            self.number(totals.warnings, Paint::careful, "times it would do something else");
        }
        for source in &report.sources {
            let Some(trouble) = &source.trouble else { continue };
            let what = match trouble.lines {
                Some(lines) => format!("{} could not be read, the first", plural(lines, "line")),
                None => "was read up to".to_owned(),
            };
            let name = printable(&source.name);
            let text = format!("{name}: {what} {}: {}", trouble.at, printable(&trouble.why));
            self.item("Note", &self.paint.careful("Note"), &text);
        }
        if totals.unknown_commands > 0 {
            let were = if totals.unknown_commands == 1 { "was" } else { "were" };
            let commands = plural(totals.unknown_commands, "command");
            let text =
                format!("{commands} {were} not known here: where their keys are nobody can say");
            self.item("Note", &self.paint.careful("Note"), &text);
        }
        if let Some(baseline) = &report.baseline {
            let (known, new) = (baseline.known as u64, baseline.new as u64);
            let file = printable(&baseline.file);
            let text = format!("{} known from {file}, {} new", plural(known, "kind"), count(new));
            self.item("Note", &self.paint.dim("Note"), &text);
            if !baseline.gone.is_empty() {
                let kinds = plural(baseline.gone.len() as u64, "kind");
                let text = format!(
                    "{kinds} of {file} did not occur, and would go with --update-baseline: {}",
                    baseline.gone.join("; ")
                );
                self.item("Note", &self.paint.dim("Note"), &text);
            }
        }
        if totals.dropped > 0 {
            let notes = plural(totals.dropped, "violation or conflict");
            let text = format!("{notes} came too fast to be noted");
            self.item("Note", &self.paint.careful("Note"), &text);
        }
        if totals.forgotten_rows > 0 {
            let text = format!(
                "{} made room for others: there are more kinds of keys than are kept apart",
                plural(totals.forgotten_rows, "row")
            );
            self.item("Note", &self.paint.careful("Note"), &text);
        }
    }

    /// A number that leads, and what it is.
    fn number(&mut self, number: u64, paint: fn(Paint, &str) -> String, what: &str) {
        let shown = paint(self.paint, &format!("{:>LEAD$}", count(number)));
        for (at, line) in display::wrap(what, self.columns - LEAD - 2).iter().enumerate() {
            let begin = if at == 0 { shown.clone() } else { " ".repeat(LEAD) };
            self.line(&format!("{begin}  {line}"));
        }
    }

    fn violations(&mut self, report: &Report) {
        if report.violations.is_empty() {
            return;
        }
        self.line("");
        self.line(&self.paint.bold("Violations"));
        for row in report.violations.iter().take(ROWS_MAX) {
            self.violation(row, report);
        }
        self.more(report.violations.len(), "kind");
    }

    fn more(&mut self, all: usize, what: &str) {
        if all > ROWS_MAX {
            let more = plural((all - ROWS_MAX) as u64, what);
            self.line(&self.paint.dim(&format!("  … and {more} more: a report in JSON has them")));
        }
    }

    fn violation(&mut self, row: &ViolationRow, report: &Report) {
        let rule = match row.weight {
            "error" => self.paint.bad(row.rule),
            _ => self.paint.careful(row.rule),
        };
        let what =
            if row.command.is_empty() { String::new() } else { format!("  {}", row.command) };
        let rest = self.columns.saturating_sub(2 + width(row.rule));
        let known = if row.is_known { ", known" } else { "" };
        let what = display::fit(&format!("{what}  {}{known}", plural(row.count, "time")), rest);
        self.line(&format!("  {rule}{what}"));
        if !row.patterns.is_empty() {
            let mut patterns: Vec<String> =
                row.patterns.iter().take(KEYS_MAX).map(|p| printable(p).into_owned()).collect();
            let hidden = row.patterns.len().saturating_sub(KEYS_MAX);
            if hidden > 0 {
                patterns.push(format!("… and {hidden} more"));
            }
            self.item(" ", " ", &patterns.join(", "));
        }
        if let Some(example) = row.examples.first() {
            self.example(example);
        }
        if let Some(tag) = row.group.and_then(|at| report.groups.get(at)?.tag.as_ref()) {
            self.item("mend", &self.paint.good("mend"), &format!("{} (see below)", printable(tag)));
        }
    }

    fn example(&mut self, example: &ExampleRow) {
        let mut parts = Vec::new();
        parts.extend(example.spot.clone());
        parts.extend(example.at_ms.map(date));
        parts.extend(example.place.map(|at| format!("command {at} of the transaction")));
        if !example.client.is_empty() {
            parts.push(format!("by {}", printable(&example.client)));
        }
        if !parts.is_empty() {
            self.item("e.g.", &self.paint.dim("e.g."), &parts.join(", "));
        }
        let keys: Vec<&KeyRow> = telling(&example.keys);
        let columns = keys.iter().map(|key| width(&key.key)).max().unwrap_or(0);
        let columns = columns.min(self.columns.saturating_sub(8 + 24));
        for key in &keys {
            let name = display::fit(&printable(&key.key), columns);
            let space = " ".repeat(columns - width(&name));
            self.line(&format!("        {name}{space}  slot {:>5}  shard {}", key.slot, key.shard));
        }
        let hidden = example.keys.len() - keys.len() + example.keys_hidden;
        if hidden > 0 {
            self.line(&format!("        … and {}", plural(hidden as u64, "key")));
        }
    }

    fn groups(&mut self, report: &Report) {
        let crossing: Vec<&GroupRow> =
            report.groups.iter().filter(|row| row.crossing > 0).collect();
        let fitting = report.groups.len() - crossing.len();
        if report.groups.is_empty() {
            return;
        }
        self.line("");
        self.line(&self.paint.bold("Keys that are used together"));
        for row in crossing.iter().take(ROWS_MAX) {
            self.group(row);
        }
        self.more(crossing.len(), "group");
        if fitting > 0 {
            let mark = self.paint.good("fits");
            let text = match fitting {
                1 => "one group: its keys share a slot wherever they are used together".to_owned(),
                n => format!("{n} groups: their keys share a slot wherever they are used together"),
            };
            self.item("fits", &mark, &text);
        }
    }

    fn group(&mut self, row: &GroupRow) {
        let patterns: Vec<String> =
            row.patterns.iter().take(KEYS_MAX).map(|p| printable(p).into_owned()).collect();
        let more = row.patterns.len().saturating_sub(KEYS_MAX);
        let more = if more > 0 { format!(", … and {more} more") } else { String::new() };
        let often = format!("{}, {} across slots", plural(row.count, "time"), count(row.crossing));
        self.item("-", "-", &format!("{}{more}: {often}", patterns.join(", ")));
        if row.verdict == "tag" {
            let columns = row.rewritten.iter().take(KEYS_MAX).map(|one| width(&one.pattern)).max();
            let columns = columns.unwrap_or(0).min((self.columns - 17) / 2);
            for (at, one) in row.rewritten.iter().take(KEYS_MAX).enumerate() {
                let mark = if at == 0 { self.paint.good("write") } else { " ".repeat(5) };
                let old = display::fit(&printable(&one.pattern), columns);
                let space = " ".repeat(columns - width(&old));
                let rest = self.columns.saturating_sub(17 + columns);
                let new = self.paint.bold(&display::fit(&printable(&one.new_pattern), rest));
                self.line(&format!("     {mark}  {old}{space}  as {new}"));
            }
            let prices = [(&row.key_price, "keys"), (&row.use_price, "uses")];
            for (price, of) in prices {
                let Some(price) = price else { continue };
                self.item("   price", &self.paint.dim("   price"), &priced(price, of));
            }
        } else if row.strangers.is_empty() {
            let text = "each pair of these has something in common, but all together have nothing \
                        that could be the hashtag";
            self.item("   apart", &self.paint.careful("   apart"), text);
        }
        for pair in &row.strangers {
            let keys = pair.keys.each_ref().map(|key| printable(key));
            let text = format!("{} and {} have nothing in common", keys[0], keys[1]);
            self.item("   apart", &self.paint.careful("   apart"), &text);
        }
    }

    fn table(&mut self, table: &Table) {
        self.line("");
        let mut widths: Vec<usize> = (0..table.head.len())
            .map(|at| {
                let cells = table.rows.iter().map(|row| width(&printable(&row[at])));
                let head = if at == 0 { table.title } else { table.head[at] };
                cells.chain([width(head)]).max().unwrap_or(0)
            })
            .collect();
        // Names give way to numbers.
        let total: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
        widths[0] = widths[0].saturating_sub(total.saturating_sub(self.columns)).max(12);
        let cell = |at: usize, text: &str| {
            let text = display::fit(&printable(text), widths[at]);
            let space = " ".repeat(widths[at] - width(&text));
            if at == 0 { format!("{text}{space}") } else { format!("{space}{text}") }
        };
        let names: Vec<String> =
            (1..table.head.len()).map(|at| self.paint.dim(&cell(at, table.head[at]))).collect();
        let title = self.paint.bold(&cell(0, table.title));
        self.line(&format!("{title}  {}", names.join("  ")));
        for row in &table.rows {
            let cells: Vec<String> =
                row.iter().enumerate().map(|(at, text)| cell(at, text)).collect();
            self.line(&cells.join("  "));
        }
        if table.hidden > 0 {
            self.line(
                &self.paint.dim(&format!("… and {} more: a report in JSON has them", table.hidden)),
            );
        }
    }

    fn end(&mut self, report: &Report, written: &[String]) {
        self.line("");
        if !written.is_empty() {
            for line in display::wrap(&format!("Written: {}", written.join(", ")), self.columns) {
                self.line(&line);
            }
        }
        for line in display::wrap(&format!("Next: {}", next(report)), self.columns) {
            self.line(&line);
        }
    }
}

/// Two keys of different slots say it all, so the first one and the first that lives elsewhere lead.
fn telling(keys: &[KeyRow]) -> Vec<&KeyRow> {
    let Some(first) = keys.first() else { return Vec::new() };
    let elsewhere = keys.iter().find(|key| key.slot != first.slot);
    let rest = keys[1..].iter().filter(|key| elsewhere.is_none_or(|e| !std::ptr::eq(*key, e)));
    std::iter::once(first).chain(elsewhere).chain(rest).take(KEYS_MAX).collect()
}

/// `12 % of the keys in one slot; the busiest shard has 45 % (now 35 %)`.
pub(super) fn priced(price: &PriceRow, of: &str) -> String {
    format!(
        "{} of the {of} in one slot; the busiest shard has {} (now {})",
        percent(price.one_slot),
        percent(price.busiest_shard),
        percent(price.busiest_shard_now)
    )
}

/// Whether it is of a command that ran with a cluster of its own.
fn is_run(report: &Report) -> bool {
    report.sources.iter().any(|source| source.format == "run")
}

/// What to do next, in a sentence that ends with a command.
pub(super) fn next(report: &Report) -> String {
    if !report.is_whole() {
        return "mend or replace what could not be read (redis-check-aof, redis-check-rdb), and check \
                again"
            .to_owned();
    }
    let is_new = |row: &&ViolationRow| !row.is_known;
    if let Some(row) = report.violations.iter().find(is_new).or(report.violations.first()) {
        return format!("slotway explain {}", row.rule);
    }
    let is_silent = report.totals.commands == 0 && report.totals.transactions == 0;
    if is_run(report) {
        return match is_silent {
            true => "have the command use REDIS_URL or REDIS_CLUSTER_NODES, or set what it reads: \
                     slotway run --env NAME=TEMPLATE"
                .to_owned(),
            false => "keep it so, in CI: slotway run --report proof.xml -- COMMAND".to_owned(),
        };
    }
    if is_silent {
        return "which keys are used together, commands tell: redis-cli monitor | slotway check -"
            .to_owned();
    }
    "run the application against it: slotway serve".to_owned()
}
