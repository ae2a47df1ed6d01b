//! A path into its elements: a parser that goes the way of RedisJSON's, so that it accepts the same and
//! fails at the same places.

use super::NESTING_MAX;
use super::attempts::{Attempts, Rule};
use super::filter::{Comparison, Filter, Test, Text};
use crate::command::Refusal;
use crate::command::json::error::error_of;
use std::borrow::Cow;

/// A path as a request has it.
#[derive(Clone, Copy, Debug)]
pub(in crate::command::json) struct PathText<'a> {
    /// What precedes `text` in the path that is meant.
    prefix: &'static str,
    text: &'a str,
    original: &'a str,
    is_legacy: bool,
}

/// A path, compiled: the elements from the document's root on.
#[derive(Debug)]
pub(in crate::command::json) struct Path<'a>(pub(in crate::command::json) Vec<Element<'a>>);

/// A step of a path.
#[derive(Debug)]
pub(in crate::command::json) enum Element<'a> {
    /// Members by name.
    Names(Vec<Cow<'a, str>>),
    /// One member: the most frequent element.
    Name(Cow<'a, str>),
    /// Elements by index; negative ones count from the end.
    Indices(Vec<i64>),
    /// Elements from `start` before `end`, each `step`-th.
    Range { start: i64, end: Option<i64>, step: usize },
    /// All children.
    All,
    /// The value itself and all below it.
    Descend,
    /// The children for which this holds.
    Filter(Filter<'a>),
}

impl<'a> PathText<'a> {
    /// The document itself, in the legacy form.
    pub(in crate::command::json) const ROOT: Self =
        Self { prefix: "$", text: "", original: ".", is_legacy: true };

    /// A path as it was sent. All but `$`, `$.…` and `$[…` are legacy paths, which mean one value.
    pub(in crate::command::json) fn new(original: &'a str) -> Self {
        let (prefix, text) = match original.as_bytes() {
            [b'$'] | [b'$', b'.' | b'[', ..] => ("", original),
            [b'.'] => ("$", ""),
            [b'.', ..] => ("$", original),
            _ => ("$.", original),
        };
        Self { prefix, text, original, is_legacy: !prefix.is_empty() }
    }

    pub(in crate::command::json) fn is_legacy(self) -> bool {
        self.is_legacy
    }

    /// The same path, with all values that it matches.
    pub(in crate::command::json) fn of_all_values(self) -> Self {
        Self { is_legacy: false, ..self }
    }

    /// As it was sent.
    pub(in crate::command::json) fn original(self) -> &'a str {
        self.original
    }

    /// As RedisJSON's errors have it.
    pub(in crate::command::json) fn full(self) -> String {
        format!("{}{}", self.prefix, self.text)
    }

    /// # Errors
    /// The path is malformed.
    pub(in crate::command::json) fn compile(self) -> Result<Path<'a>, Refusal> {
        let mut parser = Parser { path: self, at: 0, attempts: Attempts::default(), nesting: 0 };
        match parser.query() {
            Some(elements) => Ok(Path(elements)),
            None if parser.nesting > NESTING_MAX => {
                Err(Refusal::of("ERR the filters of the path are nested too deep"))
            }
            None => Err(parser.error()),
        }
    }
}

impl<'a> Path<'a> {
    /// Whether it matches one value at most.
    pub(in crate::command::json) fn is_static(&self) -> bool {
        self.0.iter().all(|element| match element {
            Element::Name(_) => true,
            Element::Names(names) => names.len() == 1,
            Element::Indices(indices) => indices.len() == 1,
            _ => false,
        })
    }
}

struct Parser<'a> {
    path: PathText<'a>,
    /// The position in prefix and text.
    at: usize,
    attempts: Attempts,
    /// How many filters are open; more than [`NESTING_MAX`] once that is exceeded.
    nesting: usize,
}

/// What ends a range: `end` and `step`.
type RangeEnd = (Option<i64>, usize);

impl<'a> Parser<'a> {
    fn error(&self) -> Refusal {
        let (full, at) = (self.path.full(), self.attempts.at());
        let expected = self.attempts.names();
        let shown = match full.split_at_checked(at) {
            Some((before, behind)) if !behind.is_empty() => format!("{before} ---->>>> {behind}"),
            _ => format!("{full} <<<<----"),
        };
        error_of(&format!(
            "Error occurred on position {at}, \"{shown}\", expected one of the following: {expected}."
        ))
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        let prefix = self.path.prefix.as_bytes();
        match at.checked_sub(prefix.len()) {
            Some(at) => self.path.text.as_bytes().get(at).copied(),
            None => Some(prefix[at]),
        }
    }

    /// The text between two positions, both of which are at characters' ends.
    fn slice(&self, from: usize, to: usize) -> &'a str {
        let len = self.path.prefix.len();
        self.path.text.get(from.saturating_sub(len)..to.saturating_sub(len)).unwrap_or_default()
    }

    fn spaces(&mut self) {
        while self.byte(self.at) == Some(b' ') {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_next =
            word.bytes().enumerate().all(|(n, byte)| self.byte(self.at + n) == Some(byte));
        is_next.then(|| self.at += word.len())
    }

    /// Spaces and then a word.
    fn then(&mut self, word: &str) -> Option<()> {
        self.spaces();
        self.word(word)
    }

    /// Tries something; if it fails, the position stays.
    fn attempt<R>(&mut self, part: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let at = self.at;
        let result = part(self);
        if result.is_none() {
            self.at = at;
        }
        result
    }

    /// The same for a rule that errors name.
    fn rule<R>(&mut self, rule: Rule, part: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let before = self.attempts.before(self.at);
        let result = self.attempt(part);
        if result.is_none() {
            self.attempts.failed(rule, before);
        }
        result
    }

    fn query(&mut self) -> Option<Vec<Element<'a>>> {
        self.word("$")?;
        self.spaces();
        let elements = self.root().unwrap_or_default();
        self.spaces();
        self.rule(Rule::End, |it| it.byte(it.at).is_none().then_some(()))?;
        Some(elements)
    }

    fn root(&mut self) -> Option<Vec<Element<'a>>> {
        self.rule(Rule::Root, |it| {
            let mut elements = Vec::new();
            if it.element(&mut elements).is_none() {
                elements.push(it.name_or_all()?);
            }
            while it
                .attempt(|it| {
                    it.spaces();
                    it.element(&mut elements)
                })
                .is_some()
            {}
            Some(elements)
        })
    }

    fn name_or_all(&mut self) -> Option<Element<'a>> {
        match self.literal() {
            Some(name) => Some(Element::Name(Cow::Borrowed(name))),
            None => self.all(),
        }
    }

    fn element(&mut self, elements: &mut Vec<Element<'a>>) -> Option<()> {
        let name = self.attempt(|it| {
            it.word(".")?;
            it.spaces();
            it.literal()
        });
        if let Some(name) = name {
            elements.push(Element::Name(Cow::Borrowed(name)));
            return Some(());
        }
        let below = self.attempt(|it| {
            it.rule(Rule::FullScan, |it| it.word(".."))?;
            it.spaces();
            it.name_or_all().or_else(|| it.in_brackets())
        });
        if let Some(below) = below {
            elements.extend([Element::Descend, below]);
            return Some(());
        }
        let all = self.attempt(|it| {
            it.word(".")?;
            it.spaces();
            it.all()
        });
        let element = all.or_else(|| {
            self.attempt(|it| {
                let _optional = it.word(".");
                it.spaces();
                it.in_brackets()
            })
        });
        elements.push(element?);
        Some(())
    }

    fn literal(&mut self) -> Option<&'a str> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_`~+#%$^/:".contains(&byte);
        self.rule(Rule::Literal, |it| {
            let from = it.at;
            while it.byte(it.at).is_some_and(is_part) {
                it.at += 1;
            }
            (it.at > from).then(|| it.slice(from, it.at))
        })
    }

    fn all(&mut self) -> Option<Element<'a>> {
        self.rule(Rule::All, |it| it.word("*")).map(|()| Element::All)
    }

    fn in_brackets(&mut self) -> Option<Element<'a>> {
        self.attempt(|it| {
            it.word("[")?;
            it.spaces();
            let inside = it.bracket()?;
            it.then("]")?;
            Some(inside)
        })
    }

    fn bracket(&mut self) -> Option<Element<'a>> {
        if let Some(range) = self.range() {
            return Some(range);
        }
        let numbers = self.rule(Rule::Numbers, |it| it.list(Self::number));
        if let Some(numbers) = numbers {
            return Some(Element::Indices(numbers));
        }
        let names = self.rule(Rule::Strings, |it| it.list(Self::string));
        if let Some(mut names) = names {
            let mut all: Vec<_> = names.drain(..).map(|text| text.value).collect();
            return match all.pop() {
                Some(only) if all.is_empty() => Some(Element::Name(only)),
                Some(last) => {
                    all.push(last);
                    Some(Element::Names(all))
                }
                None => None,
            };
        }
        if let Some(all) = self.all() {
            return Some(all);
        }
        self.attempt(|it| {
            it.word("?")?;
            it.spaces();
            it.filter()
        })
        .map(Element::Filter)
    }

    /// Items with commas between them.
    fn list<R>(&mut self, item: fn(&mut Self) -> Option<R>) -> Option<Vec<R>> {
        let mut all = vec![item(self)?];
        while let Some(next) = self.attempt(|it| {
            it.then(",")?;
            it.spaces();
            item(it)
        }) {
            all.push(next);
        }
        Some(all)
    }

    fn range(&mut self) -> Option<Element<'a>> {
        let (start, (end, step)) = self.rule(Rule::Range, |it| {
            let full = it.rule(Rule::FullRange, |it| {
                let start = it.number()?;
                it.then(":")?;
                it.spaces();
                let end = it.number()?;
                Some((start, (Some(end), it.step())))
            });
            full.or_else(|| {
                it.rule(Rule::RightRange, |it| {
                    it.word(":")?;
                    it.spaces();
                    let end = it.number()?;
                    Some((0, (Some(end), it.step())))
                })
            })
            .or_else(|| {
                it.rule(Rule::AllRange, |it| {
                    it.word(":")?;
                    Some((0, (None, it.step())))
                })
            })
            .or_else(|| {
                it.rule(Rule::LeftRange, |it| {
                    let start = it.number()?;
                    it.then(":")?;
                    Some((start, (None, it.step())))
                })
            })
            .map(|range: (i64, RangeEnd)| range)
        })?;
        Some(Element::Range { start, end, step })
    }

    /// `:` and a step, which may be missing.
    fn step(&mut self) -> usize {
        self.spaces();
        let step = self.attempt(|it| {
            it.word(":")?;
            it.spaces();
            it.rule(Rule::PositiveNumber, |it| {
                let from = it.at;
                (it.byte(it.at)? != b'0').then_some(())?;
                it.digits()?;
                Some(it.slice(from, it.at).parse().unwrap_or(usize::MAX))
            })
        });
        step.unwrap_or_else(|| {
            let _optional = self.word(":");
            1
        })
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.byte(self.at).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    /// An integer without leading zeros; one that is too large is the largest.
    fn number(&mut self) -> Option<i64> {
        self.rule(Rule::Number, |it| {
            let from = it.at;
            it.integer()?;
            let text = it.slice(from, it.at);
            let limit = if text.starts_with('-') { i64::MIN } else { i64::MAX };
            Some(text.parse().unwrap_or(limit))
        })
    }

    fn integer(&mut self) -> Option<()> {
        let _optional = self.word("-");
        match self.byte(self.at)? {
            b'0' => {
                self.at += 1;
                Some(())
            }
            _ => self.digits(),
        }
    }

    /// A string in quotes of either kind. With a backslash or the other quote in it, it is read with
    /// escapes.
    fn string(&mut self) -> Option<Text<'a>> {
        let quote = self.byte(self.at).filter(|byte| matches!(byte, b'"' | b'\''))?;
        let from = self.at + 1;
        let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\'' | b'\\');
        let mut end = from;
        while self.byte(end).as_ref().is_some_and(is_plain) {
            end += 1;
        }
        if self.byte(end) == Some(quote) {
            self.at = end + 1;
            return Some(Text { value: Cow::Borrowed(self.slice(from, end)), has_escapes: false });
        }
        while let Some(byte) = self.byte(end).filter(|&byte| byte != quote) {
            end += 1;
            if byte == b'\\' {
                self.byte(end).filter(|&byte| byte == quote || byte == b'\\')?;
                end += 1;
            }
        }
        self.byte(end)?;
        self.at = end + 1;
        let text = self.slice(from, end);
        let value = if text.contains('\\') {
            let quoted = ['\\', char::from(quote)].iter().collect::<String>();
            let plain = char::from(quote).to_string();
            Cow::Owned(text.replace("\\\\", "\\").replace(&quoted, &plain))
        } else {
            Cow::Borrowed(text)
        };
        Some(Text { value, has_escapes: true })
    }

    fn filter(&mut self) -> Option<Filter<'a>> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return None;
        }
        let filter = self.rule(Rule::Filter, |it| {
            // AND binds closer than OR.
            let mut any = vec![vec![it.test()?]];
            while let Some((is_and, test)) = it.attempt(|it| {
                it.spaces();
                let is_and = match it.rule(Rule::And, |it| it.word("&&")) {
                    Some(()) => true,
                    None => it.rule(Rule::Or, |it| it.word("||")).map(|()| false)?,
                };
                it.spaces();
                Some((is_and, it.test()?))
            }) {
                match any.last_mut() {
                    Some(all) if is_and => all.push(test),
                    _ => any.push(vec![test]),
                }
            }
            Some(Filter { any })
        });
        if self.nesting <= NESTING_MAX {
            self.nesting -= 1;
        }
        filter
    }

    fn test(&mut self) -> Option<Test<'a>> {
        let single = self.rule(Rule::SingleFilter, |it| {
            let left = it.term()?;
            let comparison = it.attempt(|it| {
                it.spaces();
                let comparison = it.comparison()?;
                it.spaces();
                Some((comparison, it.term()?))
            });
            Some(match comparison {
                Some((comparison, right)) => Test::Compare(left, comparison, right),
                None => Test::Exists(left),
            })
        });
        single.or_else(|| {
            self.attempt(|it| {
                it.word("(")?;
                it.spaces();
                let filter = it.filter()?;
                it.then(")")?;
                Some(Test::Nested(Box::new(filter)))
            })
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        const ALL: [(Rule, &str, Comparison); 7] = [
            (Rule::GreaterOrEqual, ">=", Comparison::GreaterOrEqual),
            (Rule::Greater, ">", Comparison::Greater),
            (Rule::LessOrEqual, "<=", Comparison::LessOrEqual),
            (Rule::Less, "<", Comparison::Less),
            (Rule::Equal, "==", Comparison::Equal),
            (Rule::NotEqual, "!=", Comparison::NotEqual),
            (Rule::Matches, "=~", Comparison::Matches),
        ];
        ALL.into_iter().find_map(|(rule, word, comparison)| {
            self.rule(rule, |it| it.word(word)).map(|()| comparison)
        })
    }

    fn term(&mut self) -> Option<super::filter::Term<'a>> {
        use super::filter::Term;
        if let Some(text) = self.rule(Rule::Decimal, |it| {
            let from = it.at;
            it.integer()?;
            let _optional = it.attempt(|it| {
                it.word(".")?;
                it.digits()
            });
            Some(it.slice(from, it.at))
        }) {
            return Some(Term::of_number(text));
        }
        if let Some(text) = self.attempt(Self::string) {
            return Some(Term::text(text));
        }
        for (rule, word, term) in [
            (Rule::True, "true", Term::Bool(true)),
            (Rule::False, "false", Term::Bool(false)),
            (Rule::Null, "null", Term::Null),
        ] {
            if self.rule(rule, |it| it.word(word)).is_some() {
                return Some(term);
            }
        }
        if let Some(elements) = self.rule(Rule::FromCurrent, |it| it.select("@")) {
            return Some(Term::Current(elements));
        }
        self.rule(Rule::FromRoot, |it| it.select("$")).map(Term::Root)
    }

    fn select(&mut self, from: &str) -> Option<Vec<Element<'a>>> {
        self.word(from)?;
        self.spaces();
        Some(self.root().unwrap_or_default())
    }
}
