//! The expressions of workload files: integers, variables, arithmetic, comparisons and logic.
//!
//! ```text
//! or     = and { "||" and }                 true is 1, false is 0; any other number is true
//! and    = test { "&&" test }
//! test   = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
//! sum    = term { ("+" | "-") term }
//! term   = factor { ("*" | "/" | "%") factor }
//! factor = number | name | "(" or ")" | "-" factor | "!" factor
//! ```
//!
//! Numbers have 64 bits. An overflow and a division by zero have no value.

/// Deepest nesting of an expression.
const DEPTH_MAX: usize = 64;

/// An expression over numbered variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Number(i64),
    Variable(usize),
    Negative(Box<Self>),
    Not(Box<Self>),
    Two(Operator, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Different,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Plus,
    Minus,
    Times,
    Divide,
    Remainder,
}

impl Expression {
    /// Reads an expression; `variable` gives the number of a name.
    ///
    /// # Errors
    /// A description of the first mistake.
    pub(super) fn read(
        text: &str,
        variable: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        let mut reader = Reader { rest: text.trim_start(), variable };
        let expression = reader.level(0, 0)?;
        if reader.rest.is_empty() {
            return Ok(expression);
        }
        Err(format!("{:?}: unexpected {:?}", text, reader.rest))
    }

    /// Returns its value, if it has one.
    pub(super) fn value(&self, variables: &[Option<i64>]) -> Option<i64> {
        use Operator as O;
        Some(match self {
            Self::Number(number) => *number,
            Self::Variable(at) => (*variables.get(*at)?)?,
            Self::Negative(of) => of.value(variables)?.checked_neg()?,
            Self::Not(of) => i64::from(of.value(variables)? == 0),
            Self::Two(operator, a, b) => {
                let a = a.value(variables)?;
                match operator {
                    O::Or if a != 0 => return Some(1),
                    O::And if a == 0 => return Some(0),
                    _ => {}
                }
                let b = b.value(variables)?;
                match operator {
                    O::Or | O::And => i64::from(b != 0),
                    O::Equal => i64::from(a == b),
                    O::Different => i64::from(a != b),
                    O::Less => i64::from(a < b),
                    O::LessOrEqual => i64::from(a <= b),
                    O::More => i64::from(a > b),
                    O::MoreOrEqual => i64::from(a >= b),
                    O::Plus => a.checked_add(b)?,
                    O::Minus => a.checked_sub(b)?,
                    O::Times => a.checked_mul(b)?,
                    O::Divide => a.checked_div(b)?,
                    O::Remainder => a.checked_rem(b)?,
                }
            }
        })
    }

    /// Whether it names a variable.
    pub(super) fn names(&self, variable: usize) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Variable(at) => *at == variable,
            Self::Negative(of) | Self::Not(of) => of.names(variable),
            Self::Two(_, a, b) => a.names(variable) || b.names(variable),
        }
    }
}

/// The operators by precedence, lowest first; a longer sign before its prefixes.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::Different),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::MoreOrEqual),
        ("<", Operator::Less),
        (">", Operator::More),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[("*", Operator::Times), ("/", Operator::Divide), ("%", Operator::Remainder)],
];
/// The level of comparisons, which do not chain: `a < b < c` is an error.
const COMPARING: usize = 2;

struct Reader<'t, 'v> {
    rest: &'t str,
    variable: &'v mut dyn FnMut(&str) -> Option<usize>,
}

impl Reader<'_, '_> {
    fn level(&mut self, level: usize, depth: usize) -> Result<Expression, String> {
        let Some(operators) = LEVELS.get(level) else { return self.factor(depth) };
        let mut left = self.level(level + 1, depth)?;
        while let Some((sign, operator)) =
            operators.iter().find(|(sign, _)| self.rest.starts_with(sign))
        {
            self.skip(sign.len());
            let right = self.level(level + 1, depth)?;
            left = Expression::Two(*operator, Box::new(left), Box::new(right));
            if level == COMPARING {
                break;
            }
        }
        Ok(left)
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} nested parentheses or signs"));
        }
        let Some(first) = self.rest.chars().next() else {
            return Err("a number or a name is missing at the end".to_owned());
        };
        match first {
            '(' => {
                self.skip(1);
                let inside = self.level(0, depth + 1)?;
                if !self.rest.starts_with(')') {
                    return Err("( without )".to_owned());
                }
                self.skip(1);
                Ok(inside)
            }
            '-' => {
                self.skip(1);
                Ok(Expression::Negative(Box::new(self.factor(depth + 1)?)))
            }
            '!' => {
                self.skip(1);
                Ok(Expression::Not(Box::new(self.factor(depth + 1)?)))
            }
            _ => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                let word = &self.rest[..len];
                if word.is_empty() {
                    return Err(format!("unexpected {first:?}"));
                }
                let read = if first.is_ascii_digit() {
                    word.parse()
                        .map(Expression::Number)
                        .map_err(|_| format!("{word:?} is not a number"))
                } else {
                    let unknown = || format!("unknown name {word:?}");
                    (self.variable)(word).map(Expression::Variable).ok_or_else(unknown)
                };
                self.skip(len);
                read
            }
        }
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest[len..].trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Option<i64>, String> {
        let names = ["a", "b", "none"];
        let mut variable = |name: &str| names.iter().position(|known| *known == name);
        let expression = Expression::read(text, &mut variable)?;
        Ok(expression.value(&[Some(7), Some(-2), None]))
    }

    #[test]
    fn arithmetic() {
        for (text, expected) in [
            ("1 + 2 * 3", Some(7)),
            ("(1 + 2) * 3", Some(9)),
            ("a - b - 1", Some(8)),
            ("a/2%2", Some(1)),
            ("-a + --b", Some(-9)),
            ("a >= 7 && b < 0", Some(1)),
            ("a == 1 || !b", Some(0)),
            ("1 || none", Some(1)),
            ("0 && none", Some(0)),
            ("none + 1", None),
            ("a / 0", None),
            ("9223372036854775807 + 1", None),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["", "1 +", "(1", "a < b < a", "c", "1 2", "99999999999999999999", "a ? b", "é"]
        {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value(&"(".repeat(100_000)).is_err());
        assert!(value(&"-".repeat(100_000)).is_err());
    }
}
