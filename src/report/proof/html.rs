//! The report as one HTML file, with a map of the slots.

use super::Report;
use super::next::{divided, division, next};
use super::rows::{GroupRow, RewrittenRow, ViolationRow, options};
use super::tables;
use crate::ledger::rule::ROWS;
use crate::report::html::Page;
use crate::report::table::Table;
use crate::text::display::{count, date, escaped, plural, printable};
use std::fmt::Write;

/// Beyond the style of all pages: the map.
const STYLE: &str = include_str!("html.css");
/// Squares of the map, each for the same number of slots; squares in a row.
const SQUARES: usize = 1024;
const ROW: usize = 64;
/// Width of a square with its gap, in pixels.
const STEP: usize = 12;

/// The page.
#[must_use]
pub(crate) fn html(report: &Report) -> String {
    let totals = &report.totals;
    let mut title = report.verdict();
    // A sentence begins with a capital letter.
    title[..1].make_ascii_uppercase();
    let mut page = Page::begin(&format!("{}: {title}", report.title), &title, STYLE);
    let names: Vec<String> =
        report.sources.iter().map(|source| printable(&source.name).into_owned()).collect();
    page.way_out(report);
    page.note(&names.join(", "));
    let numbers = [
        (totals.errors, "violations: a cluster would refuse what was sent"),
        (totals.warnings, "warnings: a cluster would run this with another result"),
        (totals.transactions, "transactions"),
        (totals.different_keys, if totals.is_exact { "keys" } else { "keys, about" }),
    ];
    page.lead(&numbers.map(|(number, what)| (count(number), what.to_owned())));
    for source in &report.sources {
        if let Some(trouble) = &source.trouble {
            let (name, why) = (printable(&source.name), printable(&trouble.why));
            page.paragraph("bad", &format!("{name}, {}: {why}", trouble.at));
        }
    }
    for gap in &report.gaps {
        page.paragraph("bad", &format!("Not proven: {}", printable(gap)));
    }
    if totals.warnings > 0 {
        page.paragraph("careful", &printable(&report.other_results()));
    }
    for note in division(report).into_iter().chain(divided(report)) {
        page.note(&note);
    }
    page.map(report);
    page.violations(report);
    page.groups(report);
    tables::all(report).iter().for_each(|table| page.table(table));
    page.tag("h2", "Next");
    page.note(&next(report));
    page.end("See <code>docs/proof.md</code> for the meaning of each field.")
}

impl Page {
    /// What has to be done, and its price.
    fn way_out(&mut self, report: &Report) {
        for (at, way) in report.way_out.iter().enumerate() {
            self.push(if at == 0 { "<p><b>Fix</b> " } else { "<p>or " });
            let (tags, more) = way.named();
            for (at, tag) in tags.iter().enumerate() {
                self.push(if at == 0 { "" } else { ", " });
                self.code(tag);
            }
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.push(&format!("{more} {}</p>\n", escaped(&way.shown())));
        }
    }

    /// A square for every few slots, darker with more uses; neighbouring shards have two colours.
    fn map(&mut self, report: &Report) {
        let each = (report.map.len() / SQUARES).max(1);
        let squares: Vec<u64> = report.map.chunks(each).map(|slots| slots.iter().sum()).collect();
        let Some(&most) = squares.iter().max().filter(|&&most| most > 0) else { return };
        let of = if report.totals.key_uses > 0 { "uses of keys" } else { "keys" };
        self.tag("h2", "Slots");
        let (width, height) = (ROW * STEP, squares.len().div_ceil(ROW) * STEP);
        let mut svg = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\">");
        for (at, number) in squares.iter().enumerate() {
            let (x, y) = (at % ROW * STEP, at / ROW * STEP);
            let first = (at * each) as u16;
            let shard = report.shards.iter().rfind(|row| row.first_slot <= first);
            let shard = shard.map_or(0, |row| row.shard);
            // The square root: else one busy slot makes all others look empty.
            let share = (*number as f64 / most as f64).sqrt();
            let class = if shard % 2 == 0 { "even" } else { "odd" };
            let _infallible = write!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" class=\"{class}\" width=\"{0}\" height=\"{0}\" \
                 fill-opacity=\"{1:.2}\"><title>slots {first}-{2}, shard {shard}: {3} {of}</title></rect>",
                STEP - 2,
                0.06 + 0.94 * share,
                usize::from(first) + each - 1,
                count(*number),
            );
        }
        svg.push_str("</svg>");
        self.push(&format!(
            "<figure><figcaption>{} for every {each} slots; the two colours alternate by shard\
             </figcaption>{svg}</figure>\n",
            escaped(of)
        ));
    }

    fn violations(&mut self, report: &Report) {
        if report.violations.is_empty() {
            return;
        }
        self.tag("h2", "Violations");
        for (row, with) in report.leading() {
            self.violation(row, report);
            for row in with {
                self.note("With it, in the same transactions:");
                self.violation(row, report);
            }
        }
    }

    fn violation(&mut self, row: &ViolationRow, report: &Report) {
        let class = if row.weight == "error" { "bad" } else { "careful" };
        self.push(&format!("<div class=\"{class}\"><p><b>{}</b> ", escaped(row.rule)));
        self.code(&row.command);
        self.push(&format!(" {}", escaped(&row.often())));
        let span = row.first_ms.zip(row.last_ms);
        if let Some((first, last)) = span {
            self.push(&format!(", {} to {}", escaped(&date(first)), escaped(&date(last))));
        }
        self.push("</p><p>");
        for pattern in &row.patterns {
            self.code(pattern);
            self.push(" ");
        }
        self.push("</p>");
        if let Some(advice) = &row.advice {
            self.tag("p", &format!("Fix: {advice}"));
        }
        if let Some(tag) = report.tag_for(row) {
            self.push("<p>Fix: the hashtag ");
            self.code(tag);
            self.push("</p>");
        }
        self.push("<details><summary>examples and clients</summary><ul>");
        for example in &row.examples {
            let keys = example.keys.iter().map(|key| format!("{} (slot {})", key.key, key.slot));
            let keys = keys.collect::<Vec<_>>().join(", ");
            let spot = example.spot.clone().unwrap_or_default();
            self.tag("li", format!("{spot} {} {keys}", example.client).trim());
        }
        for client in &row.clients {
            let name = [&client.test, &client.name, &client.library, &client.address];
            let name: Vec<&str> =
                name.into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
            if !name.is_empty() {
                let times = plural(client.count, "time");
                self.tag("li", &format!("{}: {times}", name.join(" ")));
            }
        }
        self.push("</ul>");
        if let Some(rule) = ROWS.iter().find(|rule| rule.name == row.rule) {
            self.note(rule.why);
            self.note(rule.way_out);
        }
        self.push("</details></div>\n");
    }

    fn groups(&mut self, report: &Report) {
        if report.groups.is_empty() {
            return;
        }
        self.tag("h2", "Keys used together");
        for group in &report.groups {
            self.group(group);
        }
    }

    fn group(&mut self, group: &GroupRow) {
        let word = match group.verdict {
            "fits" => "<span class=\"verdict held\">fits</span>",
            "tag" => "<span class=\"verdict open\">needs a hashtag</span>",
            _ => "<span class=\"verdict broken\">no common part</span>",
        };
        let often = plural(group.count, "time");
        let across = count(group.crossing);
        self.push(&format!("<p>{word} {}, {across} across slots</p>", escaped(&often)));
        if group.rewritten.is_empty() {
            self.push("<p>");
            for pattern in &group.patterns {
                self.code(pattern);
                self.push(" ");
            }
            self.push("</p>");
        } else {
            let pair = |one: &RewrittenRow| vec![one.pattern.clone(), one.new_pattern.clone()];
            let rows = group.rewritten.iter().map(pair).collect();
            self.code_table(&Table::new("", &["now", "with a hashtag"], rows).with_text_at(1));
        }
        for (price, of) in [(&group.key_price, "keys"), (&group.use_price, "uses")] {
            if let Some(price) = price {
                self.note(&price.shown(of));
            }
        }
        if let Some(options) = options(&group.options) {
            self.note(&format!("set it by {options}"));
        }
        for other in &group.other_tags {
            self.push("<p>or ");
            self.code(&other.tag);
            self.push(&format!(" {}</p>\n", escaped(&other.shown())));
        }
        for note in group.notes() {
            self.paragraph("careful", &format!("Note: {note}"));
        }
        for pair in &group.strangers {
            self.note(&format!("{} and {} have no common part", pair.keys[0], pair.keys[1]));
        }
    }
}
