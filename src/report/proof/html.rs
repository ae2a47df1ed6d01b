//! The report as one HTML file: style and map are inside, nothing is fetched, nothing is run. It is
//! well-formed XML, too, so that a test can hold it to account.

use super::Report;
use super::document::{GroupRow, ViolationRow};
use super::tables;
use super::text::{next, priced};
use crate::ledger::rule::ROWS;
use crate::report::html::Page;
use crate::text::display::{count, date, escaped, plural, printable};
use std::fmt::Write;

/// Beyond what all pages have.
const STYLE: &str = include_str!("html.css");
/// Squares of the map, each for as many slots; rows of so many.
const SQUARES: usize = 1024;
const ROW: usize = 64;
/// Width of a square with its gap, in pixels.
const STEP: usize = 12;

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let totals = &report.totals;
    let mut title = report.verdict();
    // A sentence begins with a capital letter.
    title[..1].make_ascii_uppercase();
    let mut page = Page::begin(&format!("{}: {title}", report.title), &title, STYLE);
    let names: Vec<String> =
        report.sources.iter().map(|source| printable(&source.name).into_owned()).collect();
    page.note(&names.join(", "));
    page.push("<div class=\"lead\">");
    for (number, what) in [
        (totals.errors, "times a cluster would refuse it"),
        (totals.warnings, "times it would do something else"),
        (totals.transactions, "transactions"),
        (totals.different_keys, if totals.is_exact { "keys" } else { "keys, about" }),
    ] {
        page.push(&format!("<div><b>{}</b><span>{}</span></div>", count(number), escaped(what)));
    }
    page.push("</div>\n");
    for source in &report.sources {
        if let Some(trouble) = &source.trouble {
            let (name, why) = (printable(&source.name), printable(&trouble.why));
            let text = format!("{name}, {}: {why}", trouble.at);
            page.push(&format!("<p class=\"bad\">{}</p>", escaped(&text)));
        }
    }
    page.map(report);
    page.violations(report);
    page.groups(report);
    page.tables(report);
    page.tag("h2", "Next");
    page.note(&next(report));
    page.end("<code>docs/proof.md</code> says what everything means.")
}

impl Page {
    /// A square for every few slots, the darker the more there is in them; shards change at lines.
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
            // The root, so that one busy slot does not make all others look empty.
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
            "<figure><figcaption>{} for each {each} slots; the two colours take turns with the shards\
             </figcaption>{svg}</figure>\n",
            escaped(of)
        ));
    }

    fn violations(&mut self, report: &Report) {
        if report.violations.is_empty() {
            return;
        }
        self.tag("h2", "Violations");
        for row in &report.violations {
            self.violation(row, report);
        }
    }

    fn violation(&mut self, row: &ViolationRow, report: &Report) {
        let class = if row.weight == "error" { "bad" } else { "careful" };
        self.push(&format!("<div class=\"{class}\"><p><b>{}</b> ", escaped(row.rule)));
        self.code(&row.command);
        self.push(&format!(" {}", escaped(&plural(row.count, "time"))));
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
        if let Some(tag) = row.group.and_then(|at| report.groups.get(at)?.tag.clone()) {
            self.push("<p>Mend: ");
            self.code(&tag);
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
        self.tag("h2", "Keys that are used together");
        for group in &report.groups {
            self.group(group);
        }
    }

    fn group(&mut self, group: &GroupRow) {
        let word = match group.verdict {
            "fits" => "<span class=\"verdict held\">fits</span>",
            "tag" => "<span class=\"verdict open\">needs a hashtag</span>",
            _ => "<span class=\"verdict broken\">nothing in common</span>",
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
            self.push("<div class=\"scroll\"><table><thead><tr><th>now</th><th class=\"text\">with a hashtag</th></tr></thead><tbody>");
            for one in &group.rewritten {
                self.push("<tr><td>");
                self.code(&one.pattern);
                self.push("</td><td class=\"text\">");
                self.code(&one.new_pattern);
                self.push("</td></tr>");
            }
            self.push("</tbody></table></div>");
        }
        for (price, of) in [(&group.key_price, "keys"), (&group.use_price, "uses")] {
            if let Some(price) = price {
                self.note(&priced(price, of));
            }
        }
        for pair in &group.strangers {
            self.note(&format!("{} and {} have nothing in common", pair.keys[0], pair.keys[1]));
        }
    }

    fn tables(&mut self, report: &Report) {
        for table in tables::all(report) {
            self.tag("h2", table.title);
            self.push("<div class=\"scroll\"><table><thead><tr>");
            table.head.iter().for_each(|name| self.tag("th", name));
            self.push("</tr></thead><tbody>");
            for row in &table.rows {
                self.push("<tr>");
                row.iter().for_each(|cell| self.tag("td", cell));
                self.push("</tr>");
            }
            self.push("</tbody></table></div>\n");
            if table.hidden > 0 {
                self.note(&format!("… and {} more", table.hidden));
            }
        }
    }
}
