//! The grammar of orders: the words of `SLOTWAY …`, of `slotway ctl …` and of a scenario's `do`.
//!
//! ```text
//! MOVE first[-last] [first[-last] …] TO node
//! HOLD slot TO node [FOR ms] [KEYS key …]        FINISH slot        REVERT slot
//! HOLD MIGRATIONS [FOR ms]
//! FAILOVER node
//! STOP node [HANG] [FOR ms] [PROMOTE AFTER ms | PROMOTE NEVER]      START node
//! DOWN [FOR ms]        UP
//! LATENCY node|SLOT slot ms [FOR ms] [COUNT n]
//! EXEC MOVED|TRYAGAIN|NIL|EXECABORT|CLUSTERDOWN [COUNT n] [FOR ms] [SLOT slot | NODE node]
//! CONFLICT key [COUNT n] [FOR ms]
//! CLEAR [id]
//! ```
//!
//! Parsing uses nothing but the words: a node is a number, an id or an address, and whether it
//! exists is checked by the caller.

use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::text::number::parse_i64;
use std::fmt;

/// How long a fault lasts by default, in milliseconds.
pub(crate) const TIME_MS_DEFAULT: Millis = 5 * 60 * 1000;
/// Longest time that a fault may last, in milliseconds.
pub(crate) const TIME_MS_MAX: Millis = 24 * 60 * 60 * 1000;
/// Longest delay of a reply, in milliseconds.
pub(crate) const LATENCY_MS_MAX: Millis = 60 * 1000;
/// Most times that a fault may fire.
pub(crate) const COUNT_MAX: u32 = 1_000_000;
/// Longest key of a fault, in bytes.
pub(crate) const KEY_LEN_MAX: usize = 64 * 1024;
/// Most runs of slots in one order.
pub(crate) const RUNS_MAX: usize = 1024;

/// A node as an order names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// Counted from 0 in the order of the node ports.
    Number(usize),
    /// `host:port`; only the port is used.
    Port(u16),
    /// 40 hexadecimal digits, or any other text.
    Id(Vec<u8>),
}

impl NodeName {
    fn of(word: &[u8]) -> Self {
        if let Some(number) = parse_i64(word).and_then(|number| usize::try_from(number).ok()) {
            return Self::Number(number);
        }
        let port = word.iter().rposition(|&byte| byte == b':').map(|at| &word[at + 1..]);
        match port.and_then(parse_i64).and_then(|port| u16::try_from(port).ok()) {
            Some(port) => Self::Port(port),
            None => Self::Id(word.to_vec()),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Port(port) => write!(f, ":{port}"),
            Self::Id(id) => write!(f, "{}", id.escape_ascii()),
        }
    }
}

/// Where a fault fires; `N` is how a node is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultScope<N> {
    /// Everywhere.
    Anywhere,
    /// For requests with keys of this slot.
    Slot(Slot),
    /// At this node.
    Node(N),
}

/// The reply of an EXEC that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecAnswer {
    Moved,
    TryAgain,
    Nil,
    ExecAbort,
    ClusterDown,
}

impl ExecAnswer {
    const ALL: [Self; 5] =
        [Self::Moved, Self::TryAgain, Self::Nil, Self::ExecAbort, Self::ClusterDown];

    /// Returns its word in an order.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moved => "MOVED",
            Self::TryAgain => "TRYAGAIN",
            Self::Nil => "NIL",
            Self::ExecAbort => "EXECABORT",
            Self::ClusterDown => "CLUSTERDOWN",
        }
    }
}

/// When a replica of a stopped master is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promote {
    /// After so many milliseconds.
    After(Millis),
    /// Never.
    Never,
}

/// The limits of a fault; `None` leaves the choice to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultLimit {
    /// In milliseconds.
    pub time: Option<Millis>,
    /// In number of times that it fires.
    pub count: Option<u32>,
}

/// An order to change the cluster or to inject a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Move { runs: Vec<(Slot, Slot)>, to: NodeName },
    Hold { slot: Slot, to: NodeName, time: Option<Millis>, keys: Vec<Vec<u8>> },
    HoldMigrations { time: Option<Millis> },
    Finish(Slot),
    Revert(Slot),
    FailOver(NodeName),
    Stop { node: NodeName, hangs: bool, time: Option<Millis>, promote: Promote },
    Start(NodeName),
    Down { time: Option<Millis> },
    Up,
    Latency { scope: FaultScope<NodeName>, ms: Millis, limit: FaultLimit },
    Exec { answer: ExecAnswer, scope: FaultScope<NodeName>, limit: FaultLimit },
    Conflict { key: Vec<u8>, limit: FaultLimit },
    Clear(Option<u64>),
}

/// An invalid order. Displayed it is an error reply, without the `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderError(String);

impl OrderError {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERR {}", self.0)
    }
}

impl std::error::Error for OrderError {}

impl Order {
    /// Parses an order from its words, the first of them its name; case does not matter.
    ///
    /// # Errors
    /// What is wrong with the first invalid word, with the expected form.
    pub fn of(words: &[&[u8]]) -> Result<Self, OrderError> {
        let Some((name, rest)) = words.split_first() else {
            return Err(OrderError::new("an order is missing"));
        };
        let name = name.to_ascii_lowercase();
        let Some((form, read)) = FORMS.iter().find(|(form, _)| {
            form.split(' ').next().is_some_and(|word| word.as_bytes().eq_ignore_ascii_case(&name))
        }) else {
            return Err(OrderError::new(format!("there is no order '{}'", name.escape_ascii())));
        };
        let mut words = Words { rest };
        let order = read(&mut words)
            .and_then(|order| match words.rest.first() {
                None => Ok(order),
                Some(word) => Err(format!("unexpected '{}'", word.escape_ascii())),
            })
            .map_err(|why| OrderError::new(format!("{why}: {form}")))?;
        Ok(order)
    }

    /// Parses an order from a line: words separated by blanks, `"…"` around one that contains
    /// blanks.
    ///
    /// # Errors
    /// As [`Order::of`], or an unterminated quote.
    pub fn of_line(line: &str) -> Result<Self, OrderError> {
        let words = split(line)?;
        Self::of(&words.iter().map(String::as_bytes).collect::<Vec<_>>())
    }
}

/// Splits a line into words.
fn split(line: &str) -> Result<Vec<String>, OrderError> {
    let (mut words, mut letters) = (Vec::new(), line.chars().peekable());
    loop {
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        if letters.peek().is_none() {
            return Ok(words);
        }
        let mut word = String::new();
        if letters.next_if_eq(&'"').is_some() {
            loop {
                match letters.next() {
                    Some('"') => break,
                    Some(c) => word.push(c),
                    None => return Err(OrderError::new("unterminated quote")),
                }
            }
        } else {
            while let Some(c) = letters.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
}

type Parse = fn(&mut Words<'_>) -> Result<Order, String>;

/// Every order: its form, which begins with its name, and the parser of the words after that.
const FORMS: &[(&str, Parse)] = &[
    ("MOVE first[-last] [first[-last] ...] TO node", |words| {
        let mut runs = Vec::new();
        while !words.take("to") {
            if runs.len() == RUNS_MAX {
                return Err(format!("at most {RUNS_MAX} runs of slots at once"));
            }
            runs.push(words.run()?);
        }
        if runs.is_empty() {
            return Err("the slots are missing".to_owned());
        }
        Ok(Order::Move { runs, to: words.node()? })
    }),
    ("HOLD slot TO node [FOR ms] [KEYS key ...] | HOLD MIGRATIONS [FOR ms]", |words| {
        if words.take("migrations") {
            let time = if words.take("for") { Some(words.time()?) } else { None };
            return Ok(Order::HoldMigrations { time });
        }
        let slot = words.slot()?;
        words.expect("to")?;
        let (to, mut time, mut keys) = (words.node()?, None, Vec::new());
        if words.take("for") {
            time = Some(words.time()?);
        }
        if words.take("keys") {
            keys = words.rest.iter().map(|key| key.to_vec()).collect();
            words.rest = &[];
            if keys.is_empty() {
                return Err("the keys are missing".to_owned());
            }
        }
        Ok(Order::Hold { slot, to, time, keys })
    }),
    ("FINISH slot", |words| Ok(Order::Finish(words.slot()?))),
    ("REVERT slot", |words| Ok(Order::Revert(words.slot()?))),
    ("FAILOVER node", |words| Ok(Order::FailOver(words.node()?))),
    ("STOP node [HANG] [FOR ms] [PROMOTE AFTER ms|PROMOTE NEVER]", |words| {
        let node = words.node()?;
        let (mut hangs, mut time, mut promote) = (false, None, Promote::After(0));
        loop {
            if words.take("hang") {
                hangs = true;
            } else if words.take("for") {
                time = Some(words.time()?);
            } else if words.take("promote") {
                promote = match words.take("never") {
                    true => Promote::Never,
                    false => {
                        words.expect("after")?;
                        Promote::After(words.number(0, TIME_MS_MAX)?)
                    }
                };
            } else {
                return Ok(Order::Stop { node, hangs, time, promote });
            }
        }
    }),
    ("START node", |words| Ok(Order::Start(words.node()?))),
    ("DOWN [FOR ms]", |words| {
        let time = if words.take("for") { Some(words.time()?) } else { None };
        Ok(Order::Down { time })
    }),
    ("UP", |_| Ok(Order::Up)),
    ("LATENCY node|SLOT slot ms [FOR ms] [COUNT n]", |words| {
        let scope = match words.take("slot") {
            true => FaultScope::Slot(words.slot()?),
            false => FaultScope::Node(words.node()?),
        };
        let ms = words.number(1, LATENCY_MS_MAX)?;
        let mut limit = FaultLimit::default();
        while words.limit(&mut limit)? {}
        Ok(Order::Latency { scope, ms, limit })
    }),
    (
        "EXEC MOVED|TRYAGAIN|NIL|EXECABORT|CLUSTERDOWN [COUNT n] [FOR ms] [SLOT slot|NODE node]",
        |words| {
            let mut all = ExecAnswer::ALL.into_iter();
            let answer = all.find(|answer| words.take(answer.name()));
            let answer = answer.ok_or("the answer of EXEC is missing")?;
            let (mut scope, mut limit) = (FaultScope::Anywhere, FaultLimit::default());
            loop {
                if words.take("slot") {
                    scope = FaultScope::Slot(words.slot()?);
                } else if words.take("node") {
                    scope = FaultScope::Node(words.node()?);
                } else if !words.limit(&mut limit)? {
                    return Ok(Order::Exec { answer, scope, limit });
                }
            }
        },
    ),
    ("CONFLICT key [COUNT n] [FOR ms]", |words| {
        let key = words.next("the key")?.to_vec();
        if key.len() > KEY_LEN_MAX {
            return Err(format!("the key is longer than {KEY_LEN_MAX} bytes"));
        }
        let mut limit = FaultLimit::default();
        while words.limit(&mut limit)? {}
        Ok(Order::Conflict { key, limit })
    }),
    ("CLEAR [id]", |words| {
        if words.rest.is_empty() {
            return Ok(Order::Clear(None));
        }
        Ok(Order::Clear(Some(words.number(1, i64::MAX)?.unsigned_abs())))
    }),
];

/// The words not parsed yet.
struct Words<'w> {
    rest: &'w [&'w [u8]],
}

impl<'w> Words<'w> {
    /// Takes the next word if it is `word`.
    fn take(&mut self, word: &str) -> bool {
        let is_it = self.rest.first().is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        if is_it {
            self.rest = &self.rest[1..];
        }
        is_it
    }

    fn next(&mut self, what: &str) -> Result<&'w [u8], String> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| format!("{what} is missing"))?;
        self.rest = rest;
        Ok(first)
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) { Ok(()) } else { Err(format!("{} is missing", word.to_uppercase())) }
    }

    fn node(&mut self) -> Result<NodeName, String> {
        self.next("the node").map(NodeName::of)
    }

    fn slot(&mut self) -> Result<Slot, String> {
        slot(self.next("the slot")?)
    }

    fn run(&mut self) -> Result<(Slot, Slot), String> {
        let word = self.next("TO")?;
        let Some(dash) = word.iter().position(|&byte| byte == b'-') else {
            return slot(word).map(|slot| (slot, slot));
        };
        let (first, last) = (slot(&word[..dash])?, slot(&word[dash + 1..])?);
        if first > last {
            return Err(format!(
                "start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            ));
        }
        Ok((first, last))
    }

    fn time(&mut self) -> Result<Millis, String> {
        self.number(1, TIME_MS_MAX)
    }

    fn number(&mut self, min: i64, max: i64) -> Result<i64, String> {
        let word = self.next("a number")?;
        let number = parse_i64(word).filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| match max {
            i64::MAX => format!("'{}' is not a number from {min} on", word.escape_ascii()),
            _ => format!("'{}' is not a number from {min} to {max}", word.escape_ascii()),
        })
    }

    /// Takes `FOR ms` or `COUNT n`, if one of them comes next.
    fn limit(&mut self, limit: &mut FaultLimit) -> Result<bool, String> {
        if self.take("for") {
            limit.time = Some(self.time()?);
        } else if self.take("count") {
            limit.count = u32::try_from(self.number(1, COUNT_MAX.into())?).ok();
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Parses a slot number; an invalid one is refused with Redis' error.
fn slot(word: &[u8]) -> Result<Slot, String> {
    let number = parse_i64(word).and_then(|number| u16::try_from(number).ok());
    number.and_then(Slot::new).ok_or_else(|| "Invalid or out of range slot".to_owned())
}

/// Returns the form of each order, its name first.
pub(crate) fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|(form, _)| *form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Order {
        Order::of_line(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn orders_are_parsed() {
        assert_eq!(
            order("move 1-5 9 to 2"),
            Order::Move {
                runs: vec![(slot(1), slot(5)), (slot(9), slot(9))],
                to: NodeName::Number(2)
            }
        );
        assert_eq!(
            order(r#"HOLD 12182 TO 127.0.0.1:7002 FOR 100 KEYS foo "a b""#),
            Order::Hold {
                slot: slot(12182),
                to: NodeName::Port(7002),
                time: Some(100),
                keys: vec![b"foo".to_vec(), b"a b".to_vec()]
            }
        );
        let stop =
            |hangs, time, promote| Order::Stop { node: NodeName::Number(0), hangs, time, promote };
        assert_eq!(order("STOP 0"), stop(false, None, Promote::After(0)));
        assert_eq!(order("stop 0 PROMOTE never hang"), stop(true, None, Promote::Never));
        assert_eq!(order("STOP 0 FOR 5 PROMOTE AFTER 7"), stop(false, Some(5), Promote::After(7)));
        let limit = FaultLimit { time: Some(9), count: Some(3) };
        assert_eq!(
            order("EXEC moved COUNT 3 SLOT 7 FOR 9"),
            Order::Exec { answer: ExecAnswer::Moved, scope: FaultScope::Slot(slot(7)), limit }
        );
        assert_eq!(
            order("latency abc 20 COUNT 3 FOR 9"),
            Order::Latency {
                scope: FaultScope::Node(NodeName::Id(b"abc".to_vec())),
                ms: 20,
                limit
            }
        );
        assert_eq!(order("CLEAR 4"), Order::Clear(Some(4)));
        assert_eq!(order("  up "), Order::Up);
    }

    #[test]
    fn an_error_names_the_expected_form() {
        for (line, error) in [
            ("", "ERR an order is missing"),
            ("JUMP 1", "ERR there is no order 'jump'"),
            (
                "MOVE 1-16384 TO 1",
                "ERR Invalid or out of range slot: MOVE first[-last] [first[-last] ...] TO node",
            ),
            (
                "MOVE 5-1 TO 1",
                "ERR start slot number 5 is greater than end slot number 1: \
                 MOVE first[-last] [first[-last] ...] TO node",
            ),
            (
                "MOVE TO 1",
                "ERR the slots are missing: MOVE first[-last] [first[-last] ...] TO node",
            ),
            ("MOVE 1", "ERR TO is missing: MOVE first[-last] [first[-last] ...] TO node"),
            (
                "HOLD 1 2",
                "ERR TO is missing: HOLD slot TO node [FOR ms] [KEYS key ...] | HOLD MIGRATIONS [FOR ms]",
            ),
            ("DOWN FOR 0", "ERR '0' is not a number from 1 to 86400000: DOWN [FOR ms]"),
            ("UP now", "ERR unexpected 'now': UP"),
            ("UP \"now", "ERR unterminated quote"),
            ("CLEAR x", "ERR 'x' is not a number from 1 on: CLEAR [id]"),
        ] {
            assert_eq!(Order::of_line(line).expect_err(line).to_string(), error);
        }
    }
}
