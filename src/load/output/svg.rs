//! Charts as inline SVG: lines over time, bars, shares, ranges. Colours and fonts come from the
//! page's classes; tooltips are `<title>` elements and need no script.
//!
//! ```text
//! numbers ─► Axis (0..1, with its ticks) ─► Frame (pixels) ─► text
//! ```

pub(super) use crate::text::display::escaped;

use std::fmt::Write;

/// With more points than this a chart has no tooltips, to keep the page small.
const HINTS_MAX: usize = 400;

/// Maps numbers to positions between the two ends of a chart, and names some of them.
#[derive(Debug)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round number not below `max`, in about `wanted` steps.
    pub(super) fn linear(max: f64, wanted: u32, show: impl Fn(f64) -> String) -> Self {
        let step = round_step(max.max(f64::MIN_POSITIVE) / f64::from(wanted));
        let steps = (max / step).ceil().clamp(1.0, 20.0);
        let ticks = (0..=steps as u32).map(|at| f64::from(at) * step);
        let ticks = ticks.map(|value| (value, show(value))).collect();
        Self { from: 0.0, to: steps * step, is_log: false, ticks }
    }

    /// From `from` to `to` exactly, with ticks at round numbers: time.
    pub(super) fn exact(from: f64, to: f64, wanted: u32, show: impl Fn(f64) -> String) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let step = round_step((to - from) / f64::from(wanted));
        let first = (from / step).ceil();
        let ticks = (0..=2 * wanted).map(|at| (first + f64::from(at)) * step);
        let ticks = ticks.take_while(|value| *value <= to + step * 1e-6);
        let ticks = ticks.map(|value| (value, show(value))).collect();
        Self { from, to, is_log: false, ticks }
    }

    /// Logarithmic, from 1, 2 or 5 times a power of ten to another, around the numbers.
    pub(super) fn log(min: f64, max: f64, show: impl Fn(f64) -> String) -> Self {
        let min = if min > 0.0 { min } else { 1.0 };
        let max = max.max(min);
        let all: Vec<f64> = (-3..19)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
            .collect();
        let from = all.iter().copied().rfind(|mark| *mark <= min).unwrap_or(min);
        let to = all.iter().copied().find(|mark| *mark >= max && *mark > from).unwrap_or(max * 2.0);
        let inside = |mark: &f64| *mark >= from && *mark <= to;
        let mut ticks: Vec<f64> = all.iter().copied().filter(inside).collect();
        if ticks.len() > 8 {
            // The powers of ten only: every third of the marks.
            ticks = all.iter().copied().step_by(3).filter(inside).collect();
        }
        Self { from, to, is_log: true, ticks: ticks.into_iter().map(|t| (t, show(t))).collect() }
    }

    /// Names at 0, 1, 2 …, with half a step before and after.
    pub(super) fn names(names: Vec<String>) -> Self {
        let to = names.len() as f64 - 0.5;
        let ticks = names.into_iter().zip(0_u32..).map(|(name, at)| (f64::from(at), name));
        Self { from: -0.5, to: to.max(0.5), is_log: false, ticks: ticks.collect() }
    }

    /// The same axis with these ticks.
    pub(super) fn with_ticks(mut self, ticks: Vec<(f64, String)>) -> Self {
        self.ticks = ticks;
        self
    }

    /// The position of a value: 0 at one end, 1 at the other.
    fn place(&self, value: f64) -> f64 {
        let (from, to, value) = if self.is_log {
            (self.from.ln(), self.to.ln(), value.max(self.from).ln())
        } else {
            (self.from, self.to, value)
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// The smallest 1, 2 or 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|s| *s >= least * 0.999)
        .unwrap_or(least)
}

/// A line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    pub name: &'static str,
    /// `c1`, `c2`, `c3`: the page's colours.
    pub class: &'static str,
    /// From left to right; `None` leaves a gap.
    pub points: Vec<(f64, Option<f64>)>,
    /// Whether points have dots.
    pub has_dots: bool,
}

/// A bar of a histogram.
#[derive(Debug)]
pub(super) struct Bar {
    pub from: f64,
    pub to: f64,
    pub height: f64,
    pub hint: String,
}

/// The size of a chart in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub width: f64,
    pub height: f64,
}

const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// The full width of the page.
pub(super) const WIDE: Frame = Frame { width: 760.0, height: 220.0 };
/// Half of it.
pub(super) const HALF: Frame = Frame { width: 372.0, height: 220.0 };

/// A chart while it is drawn. Writing to its string cannot fail.
pub(super) struct Chart<'a> {
    frame: Frame,
    x: &'a Axis,
    y: &'a Axis,
    text: String,
}

impl<'a> Chart<'a> {
    /// An empty chart with its axes. `what` is its label for screen readers.
    pub(super) fn new(frame: Frame, x: &'a Axis, y: &'a Axis, what: &str) -> Self {
        let Frame { width, height } = frame;
        let mut chart = Self { frame, x, y, text: String::new() };
        let _ = write!(
            chart.text,
            r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
            escaped(what)
        );
        let (right, bottom) = (width - RIGHT, height - BOTTOM);
        for (value, name) in &y.ticks {
            let at = chart.down(*value);
            let _ = write!(
                chart.text,
                r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                at + 4.0,
                escaped(name)
            );
        }
        for (value, name) in &x.ticks {
            let at = chart.across(*value);
            let _ = write!(
                chart.text,
                r#"<line class="tick" x1="{at:.1}" y1="{bottom}" x2="{at:.1}" y2="{:.1}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 4.0,
                bottom + 17.0,
                escaped(name)
            );
        }
        chart
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.frame.width - LEFT - RIGHT)
    }

    fn down(&self, value: f64) -> f64 {
        let room = self.frame.height - TOP - BOTTOM;
        TOP + (1.0 - self.y.place(value)) * room
    }

    /// Shades part of the width, with a name at the top.
    pub(super) fn shade(&mut self, from: f64, to: f64, name: &str) {
        let (from, to) = (self.across(from), self.across(to));
        let _ = write!(
            self.text,
            r#"<rect class="shade" x="{from:.1}" y="{TOP}" width="{:.1}" height="{:.1}"/>"#,
            to - from,
            self.frame.height - TOP - BOTTOM
        );
        let _ = write!(
            self.text,
            r#"<text class="inside" x="{:.1}" y="{:.1}">{}</text>"#,
            from + 4.0,
            TOP + 12.0,
            escaped(name)
        );
    }

    pub(super) fn line(&mut self, line: &Line) {
        let mut path = String::new();
        let mut is_drawing = false;
        for (x, y) in &line.points {
            let Some(y) = y else {
                is_drawing = false;
                continue;
            };
            let step = if is_drawing { 'L' } else { 'M' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.across(*x), self.down(*y));
            is_drawing = true;
        }
        let _ = write!(self.text, r#"<path class="line {}" d="{path}"/>"#, line.class);
        let alone = |at: usize| {
            let before = at.checked_sub(1).is_some_and(|at| line.points[at].1.is_some());
            let after = line.points.get(at + 1).is_some_and(|point| point.1.is_some());
            !before && !after
        };
        for (at, (x, y)) in line.points.iter().enumerate() {
            // A point without neighbours has no line.
            if let Some(y) = y.filter(|_| line.has_dots || alone(at)) {
                let (x, y) = (self.across(*x), self.down(y));
                let _ = write!(
                    self.text,
                    r#"<circle class="dot {}" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#,
                    line.class
                );
            }
        }
    }

    /// Draws bars from the bottom up.
    pub(super) fn bars(&mut self, bars: &[Bar]) {
        let bottom = self.frame.height - BOTTOM;
        for bar in bars.iter().filter(|bar| bar.height > 0.0) {
            let (from, to, top) =
                (self.across(bar.from), self.across(bar.to), self.down(bar.height));
            // High enough to be visible.
            let top = top.min(bottom - 1.0);
            let _ = write!(
                self.text,
                r#"<rect class="bar" x="{from:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"><title>{}</title></rect>"#,
                (to - from - 1.0).max(0.5),
                bottom - top,
                escaped(&bar.hint)
            );
        }
    }

    /// Draws a vertical line at a value, named at its upper end; `row` keeps names from
    /// overlapping.
    pub(super) fn mark(&mut self, value: f64, name: &str, row: u32) {
        let at = self.across(value);
        let is_right = at > self.frame.width - RIGHT - 60.0;
        let (shift, anchor) = if is_right { (-4.0, "end") } else { (4.0, "start") };
        let _ = write!(
            self.text,
            r#"<line class="mark" x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{:.1}"/><text class="inside" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            self.frame.height - BOTTOM,
            at + shift,
            TOP + 11.0 + f64::from(row) * 14.0,
            escaped(name)
        );
    }

    /// Adds tooltips: a text for each range of values.
    pub(super) fn hints(&mut self, hints: &[(f64, f64, String)]) {
        if hints.len() > HINTS_MAX {
            return;
        }
        let height = self.frame.height - TOP - BOTTOM;
        for (from, to, hint) in hints {
            let (from, to) = (self.across(*from), self.across(*to));
            let _ = write!(
                self.text,
                r#"<rect class="hint" x="{from:.1}" y="{TOP}" width="{:.1}" height="{height:.1}"><title>{}</title></rect>"#,
                to - from,
                escaped(hint)
            );
        }
    }

    pub(super) fn end(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

/// A row of [`shares`].
#[derive(Debug)]
pub(super) struct Share {
    pub name: String,
    /// The bar's length.
    pub share: f64,
    /// The position of the mark: the fair share.
    pub fair: f64,
    /// The text after the bar.
    pub shown: String,
}

/// Rows of bars, each with a mark: the share and the fair share.
pub(super) fn shares(rows: &[Share], what: &str) -> String {
    const ROW: f64 = 26.0;
    const NAMES: f64 = 190.0;
    const NUMBERS: f64 = 130.0;
    let (width, height) = (WIDE.width, rows.len() as f64 * ROW + 6.0);
    let longest = rows.iter().map(|row| row.share.max(row.fair)).fold(f64::MIN_POSITIVE, f64::max);
    let room = width - NAMES - NUMBERS;
    let mut text = format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
        escaped(what)
    );
    for (at, row) in rows.iter().enumerate() {
        let top = at as f64 * ROW + 5.0;
        let (length, fair) = (row.share / longest * room, NAMES + row.fair / longest * room);
        let _ = write!(
            text,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar" x="{NAMES}" y="{top:.1}" width="{length:.1}" height="16"><title>{}</title></rect><line class="fair" x1="{fair:.1}" y1="{:.1}" x2="{fair:.1}" y2="{:.1}"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            NAMES - 8.0,
            top + 12.5,
            escaped(&row.name),
            escaped(&row.shown),
            top - 3.0,
            top + 19.0,
            (NAMES + length).max(fair) + 8.0,
            top + 12.5,
            escaped(&row.shown)
        );
    }
    text.push_str("</svg>");
    text
}

/// A row of [`ranges`].
#[derive(Debug)]
pub(super) struct Range {
    pub name: String,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    pub shown: String,
}

/// Rows of ranges around 1, on a logarithmic axis: which side is ahead, and how consistently.
pub(super) fn ranges(rows: &[Range], what: &str) -> String {
    const ROW: f64 = 34.0;
    const NAMES: f64 = 140.0;
    const NUMBERS: f64 = 190.0;
    let (width, height) = (WIDE.width, rows.len() as f64 * ROW + 24.0);
    let farthest = rows
        .iter()
        .flat_map(|row| [row.min, row.max])
        .map(|ratio| ratio.ln().abs())
        .filter(|far| far.is_finite())
        .fold(1.1_f64.ln(), f64::max);
    let middle = NAMES + (width - NAMES - NUMBERS) / 2.0;
    let across = |ratio: f64| {
        let far = (ratio.ln() / farthest).clamp(-1.0, 1.0);
        middle + far * (middle - NAMES - 10.0)
    };
    let mut text = format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
        escaped(what)
    );
    let _ = write!(
        text,
        r#"<line class="fair" x1="{middle:.1}" y1="16" x2="{middle:.1}" y2="{height}"/><text x="{middle:.1}" y="11" text-anchor="middle">equal</text>"#
    );
    for (at, row) in rows.iter().enumerate() {
        let y = at as f64 * ROW + 36.0;
        let _ = write!(
            text,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><line class="span" x1="{:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/><circle class="dot c1" cx="{:.1}" cy="{y:.1}" r="5"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            NAMES - 8.0,
            y + 4.0,
            escaped(&row.name),
            across(row.min),
            across(row.max),
            across(row.median),
            width - NUMBERS + 8.0,
            y + 4.0,
            escaped(&row.shown)
        );
    }
    text.push_str("</svg>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn axes_have_round_ticks_around_their_numbers() {
        let show = |value: f64| {
            format!("{value:.10}").trim_end_matches(['0']).trim_end_matches('.').to_owned()
        };
        assert_eq!(
            names(&Axis::linear(48_211.0, 5, show)),
            ["0", "10000", "20000", "30000", "40000", "50000"]
        );
        assert_eq!(names(&Axis::linear(0.0, 4, show)).first(), Some(&"0"));
        assert_eq!(names(&Axis::exact(0.0, 12.0, 6, show)), ["0", "2", "4", "6", "8", "10", "12"]);
        assert_eq!(names(&Axis::log(0.8e6, 9e6, |v| show(v / 1e6))), ["0.5", "1", "2", "5", "10"]);
        assert_eq!(names(&Axis::log(1.0, 1e9, |v| format!("{v:e}"))).len(), 10);
        assert_eq!(names(&Axis::names(vec!["1".into(), "4".into()])), ["1", "4"]);
    }

    #[test]
    fn every_number_has_a_position_in_the_chart() {
        for axis in [
            Axis::linear(7.0, 4, |v| v.to_string()),
            Axis::log(3.0, 3.0, |v| v.to_string()),
            Axis::log(0.0, 0.0, |v| v.to_string()),
            Axis::exact(5.0, 5.0, 4, |v| v.to_string()),
            Axis::names(Vec::new()),
        ] {
            for value in [0.0, 1e-9, 3.0, 7.0, 1e30, f64::INFINITY] {
                let place = axis.place(value);
                assert!((0.0..=1.0).contains(&place), "{value} lies at {place} of {axis:?}");
            }
        }
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escaped("<a href='x'>&\"\x1b"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}");
    }
}
