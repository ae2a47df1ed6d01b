//! The expressions of `[?…]`.

use super::Element;
use crate::keyspace::Number;
use regex::Regex;
use std::borrow::Cow;
use std::cell::OnceCell;

/// An expression: one of these groups holds, and of it all tests.
#[derive(Debug)]
pub(in crate::command::json) struct Filter<'a> {
    pub(super) any: Vec<Vec<Test<'a>>>,
}

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Test<'a> {
    /// The term is a value, or a path that matches exactly one.
    Exists(Term<'a>),
    /// A comparison of two terms.
    Compare(Term<'a>, Comparison, Term<'a>),
    /// An expression in parentheses.
    Nested(Box<Filter<'a>>),
}

/// How two terms are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
    Equal,
    NotEqual,
    /// `=~`: the left is a string of the document, the right a regular expression.
    Matches,
}

/// A string in quotes.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub(super) value: Cow<'a, str>,
    /// It was read with escapes: no regular expression then.
    pub(super) has_escapes: bool,
}

/// What is compared.
#[derive(Debug)]
pub(super) enum Term<'a> {
    Number(Number),
    Text(Text<'a>, Box<OnceCell<Option<Regex>>>),
    Bool(bool),
    Null,
    /// A path from the child that is tested.
    Current(Vec<Element<'a>>),
    /// A path from the document's root.
    Root(Vec<Element<'a>>),
}

impl<'a> Term<'a> {
    pub(super) fn of_number(text: &str) -> Self {
        Self::Number(match text.parse() {
            Ok(int) => Number::Int(int),
            Err(_) => Number::Float(text.parse().unwrap_or(f64::NAN)),
        })
    }

    pub(super) fn text(text: Text<'a>) -> Self {
        Self::Text(text, Box::default())
    }
}

/// The most memory that a compiled regular expression may take, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Compiles a regular expression; `None` if it is malformed or too large, so that nothing matches.
pub(super) fn regex(pattern: &str) -> Option<Regex> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE_MAX)
        .dfa_size_limit(REGEX_SIZE_MAX)
        .build()
        .ok()
}
