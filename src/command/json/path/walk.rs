//! The values that a path matches, in order, with their places.

use super::filter::{Comparison, Filter, Term, Test, regex};
use super::{Element, MATCHES_MAX, Path, STEPS_MAX};
use crate::command::{Pace, Refusal};
use crate::keyspace::{Kind, Number, Ref, Scalar};
use std::cmp::Ordering;

/// A value that a path matches.
#[derive(Clone, Debug)]
pub(in crate::command::json) struct Found<'d> {
    pub(in crate::command::json) value: Ref<'d>,
    /// The positions from the root down, some of them marked [`BY_NAME`]; empty if they were not asked
    /// for.
    pub(in crate::command::json) place: Box<[u32]>,
}

/// Marks a position in a place that RedisJSON takes for the name of a member: that of a member that a
/// filter has found. What it writes there goes to the member of that name, mostly to none.
pub(in crate::command::json) const BY_NAME: u32 = 1 << 31;

/// A walk through a document along a path.
pub(in crate::command::json) struct Walk<'d, 'p> {
    root: Ref<'d>,
    pace: &'p dyn Pace,
    /// How many values may be visited from here on.
    steps_left: u64,
}

/// How many steps are counted before the pace is called.
const STRIDE: u64 = 1000;

/// Compiling a regular expression counts as so many steps.
const REGEX_STEPS: u64 = 1000;
/// A walk goes as deep as the document, and that again for each filter that begins at its root.
const STACK_LEFT_MIN: usize = 64 * 1024;
const STACK_GROWTH: usize = 1024 * 1024;

/// What a walk collects.
struct Matches<'d> {
    found: Vec<Found<'d>>,
    has_places: bool,
    here: Vec<u32>,
}

/// A term, evaluated.
enum Operand<'d, 'q> {
    Number(Number),
    /// A string of the path, which may be a regular expression.
    Text(&'q str, &'q Term<'q>),
    /// A string of the document.
    String(&'d [u8]),
    Bool(bool),
    Null,
    Container(Ref<'d>),
    Invalid,
}

impl<'d, 'p> Walk<'d, 'p> {
    pub(in crate::command::json) fn new(root: Ref<'d>, pace: &'p dyn Pace) -> Self {
        Self { root, pace, steps_left: STEPS_MAX }
    }

    /// Returns the values that a path matches.
    ///
    /// # Errors
    /// There are too many, or the path visits too many.
    pub(in crate::command::json) fn values(
        &mut self,
        path: &Path<'_>,
    ) -> Result<Vec<Found<'d>>, Refusal> {
        self.collect(&path.0, false)
    }

    /// Returns the values that a path matches, with their places.
    ///
    /// # Errors
    /// There are too many, or the path visits too many.
    pub(in crate::command::json) fn places(
        &mut self,
        path: &Path<'_>,
    ) -> Result<Vec<Found<'d>>, Refusal> {
        self.collect(&path.0, true)
    }

    fn collect(
        &mut self,
        elements: &[Element<'_>],
        has_places: bool,
    ) -> Result<Vec<Found<'d>>, Refusal> {
        let mut matches = Matches { found: Vec::new(), has_places, here: Vec::new() };
        self.walk(elements, self.root, &mut matches)?;
        Ok(matches.found)
    }

    fn step(&mut self) -> Result<(), Refusal> {
        self.steps_left = self
            .steps_left
            .checked_sub(1)
            .ok_or(Refusal::of("ERR the path visits too many values"))?;
        if self.steps_left.is_multiple_of(STRIDE) {
            self.pace.step(STRIDE as usize);
        }
        Ok(())
    }

    fn walk(
        &mut self,
        elements: &[Element<'_>],
        value: Ref<'d>,
        matches: &mut Matches<'d>,
    ) -> Result<(), Refusal> {
        self.step()?;
        stacker::maybe_grow(STACK_LEFT_MIN, STACK_GROWTH, || self.walk_on(elements, value, matches))
    }

    fn walk_on(
        &mut self,
        elements: &[Element<'_>],
        value: Ref<'d>,
        matches: &mut Matches<'d>,
    ) -> Result<(), Refusal> {
        let Some((first, rest)) = elements.split_first() else { return matches.add(value) };
        match first {
            Element::Name(name) => self.member(name, rest, value, matches)?,
            Element::Names(names) => {
                for name in names {
                    self.member(name, rest, value, matches)?;
                }
            }
            Element::Indices(indices) => {
                let Kind::Array(len) = value.kind() else { return Ok(()) };
                for &index in indices {
                    let at = absolute(index, len);
                    if let Some(element) = value.child(at) {
                        self.below(at, rest, element, matches)?;
                    }
                }
            }
            Element::Range { start, end, step } => {
                let Kind::Array(len) = value.kind() else { return Ok(()) };
                let start = absolute(*start, len);
                let end = end.map_or(len, |end| absolute(end, len));
                let range = value.children().enumerate().take(end).skip(start);
                for (at, (_, element)) in range.step_by(*step) {
                    self.below(at, rest, element, matches)?;
                }
            }
            Element::All => {
                for (at, (_, child)) in value.children().enumerate() {
                    self.below(at, rest, child, matches)?;
                }
            }
            Element::Descend => {
                self.walk(rest, value, matches)?;
                self.descend(rest, value, matches)?;
            }
            Element::Filter(filter) => {
                if matches!(value.kind(), Kind::Scalar(_)) {
                    // It is tested itself.
                    return match self.holds(filter, value)? {
                        true => self.walk(rest, value, matches),
                        false => Ok(()),
                    };
                }
                let is_object = matches!(value.kind(), Kind::Object(_));
                let mark = if is_object { BY_NAME as usize } else { 0 };
                for (at, (_, child)) in value.children().enumerate() {
                    if self.holds(filter, child)? {
                        self.below(at | mark, rest, child, matches)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        rest: &[Element<'_>],
        value: Ref<'d>,
        matches: &mut Matches<'d>,
    ) -> Result<(), Refusal> {
        match value.member(name.as_bytes()) {
            Some((at, member)) => self.below(at, rest, member, matches),
            None => Ok(()),
        }
    }

    /// Walks on at a child.
    fn below(
        &mut self,
        at: usize,
        rest: &[Element<'_>],
        child: Ref<'d>,
        matches: &mut Matches<'d>,
    ) -> Result<(), Refusal> {
        matches.here.push(at as u32);
        let walked = self.walk(rest, child, matches);
        matches.here.pop();
        walked
    }

    /// Walks on at all children of all values below this one, each before its own children.
    fn descend(
        &mut self,
        rest: &[Element<'_>],
        value: Ref<'d>,
        matches: &mut Matches<'d>,
    ) -> Result<(), Refusal> {
        for (at, (_, child)) in value.children().enumerate() {
            matches.here.push(at as u32);
            let walked = match self.walk(rest, child, matches) {
                Ok(()) => self.descend(rest, child, matches),
                failed => failed,
            };
            matches.here.pop();
            walked?;
        }
        Ok(())
    }

    fn holds(&mut self, filter: &Filter<'_>, child: Ref<'d>) -> Result<bool, Refusal> {
        for all in &filter.any {
            let mut holds = true;
            for test in all {
                holds = self.passes(test, child)?;
                if !holds {
                    break;
                }
            }
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn passes(&mut self, test: &Test<'_>, child: Ref<'d>) -> Result<bool, Refusal> {
        match test {
            Test::Nested(filter) => self.holds(filter, child),
            Test::Exists(term) => Ok(!matches!(self.operand(term, child)?, Operand::Invalid)),
            Test::Compare(left, comparison, right) => {
                let left = self.operand(left, child)?;
                let right = self.operand(right, child)?;
                if let (Comparison::Matches, Operand::String(_)) = (comparison, &right) {
                    // It is compiled each time.
                    self.steps_left = self.steps_left.saturating_sub(REGEX_STEPS);
                }
                Ok(compare(&left, *comparison, &right))
            }
        }
    }

    fn operand<'q>(
        &mut self,
        term: &'q Term<'q>,
        child: Ref<'d>,
    ) -> Result<Operand<'d, 'q>, Refusal> {
        let (elements, from) = match term {
            Term::Number(number) => return Ok(Operand::Number(*number)),
            Term::Text(text, _) => return Ok(Operand::Text(&text.value, term)),
            Term::Bool(value) => return Ok(Operand::Bool(*value)),
            Term::Null => return Ok(Operand::Null),
            Term::Current(elements) => (elements, child),
            Term::Root(elements) => (elements, self.root),
        };
        let mut matches = Matches { found: Vec::new(), has_places: false, here: Vec::new() };
        // In a path from the child, `$` is the child.
        let root = std::mem::replace(&mut self.root, from);
        let walked = self.walk(elements, from, &mut matches);
        self.root = root;
        walked?;
        Ok(match matches.found[..] {
            [Found { value, .. }] => match value.kind() {
                Kind::Scalar(Scalar::Null) => Operand::Null,
                Kind::Scalar(Scalar::Bool(value)) => Operand::Bool(value),
                Kind::Scalar(Scalar::Number(number)) => Operand::Number(number),
                Kind::Scalar(Scalar::String(text)) => Operand::String(text),
                Kind::Array(_) | Kind::Object(_) => Operand::Container(value),
            },
            _ => Operand::Invalid,
        })
    }
}

impl<'d> Matches<'d> {
    fn add(&mut self, value: Ref<'d>) -> Result<(), Refusal> {
        if self.found.len() >= MATCHES_MAX {
            return Err(Refusal::of("ERR the path matches too many values"));
        }
        let place = if self.has_places { self.here[..].into() } else { Box::default() };
        self.found.push(Found { value, place });
        Ok(())
    }
}

/// Returns the position that an index means: before the first element it is the first, behind the last
/// none.
fn absolute(index: i64, len: usize) -> usize {
    match usize::try_from(index) {
        Ok(at) => at.min(len),
        Err(_) => len.saturating_sub(index.unsigned_abs() as usize),
    }
}

fn compare(left: &Operand<'_, '_>, comparison: Comparison, right: &Operand<'_, '_>) -> bool {
    let order = || order_of(left, right);
    match comparison {
        Comparison::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
        Comparison::Greater => order().is_some_and(Ordering::is_gt),
        Comparison::LessOrEqual => order().is_some_and(Ordering::is_le),
        Comparison::Less => order().is_some_and(Ordering::is_lt),
        Comparison::Equal => is_equal(left, right),
        Comparison::NotEqual => !is_equal(left, right),
        Comparison::Matches => matches_regex(left, right),
    }
}

fn is_equal(left: &Operand<'_, '_>, right: &Operand<'_, '_>) -> bool {
    match (left, right) {
        (Operand::Container(left), Operand::Container(right)) => left == right,
        _ => order_of(left, right) == Some(Ordering::Equal),
    }
}

/// Compares what can be compared: two values of one type, but no containers.
fn order_of(left: &Operand<'_, '_>, right: &Operand<'_, '_>) -> Option<Ordering> {
    match (left, right) {
        (Operand::Number(left), Operand::Number(right)) => Some(order_of_numbers(*left, *right)),
        (Operand::Bool(left), Operand::Bool(right)) => Some(left.cmp(right)),
        (Operand::Null, Operand::Null) => Some(Ordering::Equal),
        _ => Some(bytes_of(left)?.cmp(bytes_of(right)?)),
    }
}

fn bytes_of<'o>(operand: &'o Operand<'_, '_>) -> Option<&'o [u8]> {
    match operand {
        Operand::Text(text, _) => Some(text.as_bytes()),
        Operand::String(text) => Some(text),
        _ => None,
    }
}

/// Integers beyond 63 bits count as floats; what has no order counts as equal.
fn order_of_numbers(left: Number, right: Number) -> Ordering {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => left.cmp(&right),
        _ => left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal),
    }
}

fn matches_regex(left: &Operand<'_, '_>, right: &Operand<'_, '_>) -> bool {
    let Operand::String(text) = left else { return false };
    let Ok(text) = std::str::from_utf8(text) else { return false };
    match right {
        Operand::Text(pattern, Term::Text(its, compiled)) if !its.has_escapes => {
            compiled.get_or_init(|| regex(pattern)).as_ref().is_some_and(|it| it.is_match(text))
        }
        Operand::String(pattern) => {
            let pattern = std::str::from_utf8(pattern).ok().and_then(regex);
            pattern.is_some_and(|pattern| pattern.is_match(text))
        }
        _ => false,
    }
}
