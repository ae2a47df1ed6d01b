//! The types of parameters: parsed as Redis parses them, with its errors, and formatted as it
//! formats them.

use crate::keyspace::{EventClass, event};
use crate::text::number::{parse_f64, parse_i64};
use std::borrow::Cow;

/// The type of a parameter. Bounds are inclusive.
#[derive(Clone, Copy)]
pub(super) enum ValueType {
    /// A whole number.
    Int(i128, i128),
    /// A number of bytes, with or without a unit: `64mb`.
    Memory(i128, i128),
    /// `yes` or `no`.
    YesNo,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any bytes.
    Text,
    /// Numbers from 0 to 100.
    Percentiles,
    /// Groups of class, hard limit, soft limit and seconds.
    OutputLimits,
    /// Letters for event classes and ways to publish.
    Events,
    /// A number of bytes, or of percent: `5%`.
    MemoryOrPercent,
    /// Some of these words; the first one stands for none.
    SomeOf(&'static [&'static str]),
    /// Pairs of seconds and a number of changes.
    SavePoints,
    /// Three numbers from -2000 to 2000.
    OomScores,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(i128),
    Bool(bool),
    Word(&'static str),
    Text(Box<[u8]>),
    Percentiles(Vec<f64>),
    /// The limits of some classes, each with its index into [`CLASSES`].
    Limits(Vec<(usize, BufferLimit)>),
    /// Event classes and ways to publish.
    Events(EventClass),
}

/// An output buffer limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferLimit {
    /// The hard limit in bytes; 0 for none.
    pub(super) hard: i64,
    /// The soft limit in bytes, which applies after `soft_s` seconds; 0 for none.
    pub(super) soft: i64,
    pub(super) soft_s: i64,
}

const NO_MEMORY: &str = "argument must be a memory value";
const NO_MEMORY_OR_PERCENT: &str = "argument must be a memory or percent value";

/// The classes of clients with limits, as they are shown.
const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// Redis' default limits. That of replicas is only shown: no client is a replica here.
pub(super) const OUTPUT_LIMITS: [BufferLimit; 3] = [
    BufferLimit { hard: 0, soft: 0, soft_s: 0 },
    BufferLimit { hard: 256 << 20, soft: 64 << 20, soft_s: 60 },
    BufferLimit { hard: 32 << 20, soft: 8 << 20, soft_s: 60 },
];

impl ValueType {
    /// Parses a value, or returns the error. A number of bytes that does not fit 64 bits is the
    /// largest that does.
    pub(super) fn read(self, text: &[u8]) -> Result<Value, Cow<'static, str>> {
        match self {
            Self::Int(min, max) => {
                let number =
                    parse_i64(text).ok_or("argument couldn't be parsed into an integer")?;
                within(number.into(), min, max)
            }
            Self::Memory(min, max) => {
                let bytes = read_memory(text).ok_or(NO_MEMORY)?;
                within(bytes.into(), min, max)
            }
            Self::YesNo if text.eq_ignore_ascii_case(b"yes") => Ok(Value::Bool(true)),
            Self::YesNo if text.eq_ignore_ascii_case(b"no") => Ok(Value::Bool(false)),
            Self::YesNo => Err("argument must be 'yes' or 'no'".into()),
            Self::OneOf(words) => {
                let word = words.iter().find(|word| text.eq_ignore_ascii_case(word.as_bytes()));
                word.map(|word| Value::Word(word)).ok_or_else(|| one_of(words))
            }
            Self::Text => Ok(Value::Text(text.into())),
            Self::Percentiles => read_percentiles(text).map_err(Cow::Borrowed),
            Self::OutputLimits => read_limits(text).map_err(Cow::Borrowed),
            Self::Events => read_events(text).map_err(Cow::Borrowed),
            Self::MemoryOrPercent => read_memory_or_percent(text).map_err(Cow::Borrowed),
            Self::SomeOf(words) => read_some_of(words, text).ok_or_else(|| one_of(words)),
            Self::SavePoints => {
                read_save_points(text).ok_or(Cow::Borrowed("Invalid save parameters"))
            }
            Self::OomScores => read_oom_scores(text).map_err(Cow::Borrowed),
        }
    }

    /// As [`ValueType::read`]; a number of bytes that does not fit 64 bits is no such number.
    pub(super) fn read_strictly(self, text: &[u8]) -> Result<Value, Cow<'static, str>> {
        let is_huge =
            || read_memory(text) == Some(u64::MAX) && text != u64::MAX.to_string().as_bytes();
        match self {
            Self::Memory(..) if is_huge() => Err(NO_MEMORY.into()),
            Self::MemoryOrPercent if is_huge() => Err(NO_MEMORY_OR_PERCENT.into()),
            _ => self.read(text),
        }
    }

    /// Returns the value of a text in the table of parameters, all of which a test reads.
    pub(super) fn constant(self, text: &'static str) -> Value {
        self.read(text.as_bytes()).unwrap_or(Value::Word(text))
    }
}

fn one_of(words: &[&str]) -> Cow<'static, str> {
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

fn within(number: i128, min: i128, max: i128) -> Result<Value, Cow<'static, str>> {
    if (min..=max).contains(&number) {
        Ok(Value::Number(number))
    } else {
        Err(format!("argument must be between {min} and {max} inclusive").into())
    }
}

/// Parses digits and a unit; without digits the number is 0, and too large numbers saturate.
fn read_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits);
    let factor: u64 = match &*unit.to_ascii_lowercase() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add((digit - b'0').into());
    Some(digits.iter().fold(0, add).saturating_mul(factor))
}

fn read_memory_or_percent(text: &[u8]) -> Result<Value, &'static str> {
    const WRONG: &str = NO_MEMORY_OR_PERCENT;
    if let Some(percent) = text.strip_suffix(b"%") {
        return match parse_i64(percent).filter(|&percent| percent >= 0).ok_or(WRONG)? {
            0 => Ok(Value::Text((*b"0").into())),
            1..=100 => Ok(Value::Text(text.into())),
            _ => Err("percentage argument must be less or equal to 100"),
        };
    }
    let bytes = read_memory(text).ok_or(WRONG)?;
    Ok(Value::Text(bytes.to_string().into_bytes().into()))
}

/// Parses words separated by spaces, and puts them in the order of `words`.
fn read_some_of(words: &[&str], text: &[u8]) -> Option<Value> {
    let is = |word: &str, named: &[u8]| named.eq_ignore_ascii_case(word.as_bytes());
    let named = || text.split(|&byte| byte == b' ');
    if !named().all(|one| words.iter().any(|word| is(word, one))) {
        return None;
    }
    let (none, some) = words.split_first()?;
    let chosen: Vec<&str> =
        some.iter().copied().filter(|word| named().any(|one| is(word, one))).collect();
    let shown = if chosen.is_empty() { (*none).to_owned() } else { chosen.join(" ") };
    Some(Value::Text(shown.into_bytes().into()))
}

fn read_save_points(text: &[u8]) -> Option<Value> {
    if text.is_empty() {
        return Some(Value::Text(Box::default()));
    }
    let numbers: Option<Vec<i64>> = text.split(|&byte| byte == b' ').map(parse_i64).collect();
    let numbers = numbers?;
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    if !pairs.iter().all(|&[seconds, changes]| seconds >= 1 && changes >= 0) {
        return None;
    }
    let shown = pairs.iter().map(|[seconds, changes]| format!("{seconds} {changes}"));
    Some(Value::Text(shown.collect::<Vec<_>>().join(" ").into_bytes().into()))
}

fn read_oom_scores(text: &[u8]) -> Result<Value, &'static str> {
    let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
    if words.len() != 3 {
        return Err("wrong number of arguments");
    }
    let fits = |word: &&[u8]| parse_i64(word).is_some_and(|score| (-2000..=2000).contains(&score));
    match words.iter().all(fits) {
        true => Ok(Value::Text(text.into())),
        false => Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000."),
    }
}

fn read_percentiles(text: &[u8]) -> Result<Value, &'static str> {
    let words =
        if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == b' ').collect() };
    let number = |word: &[u8]| {
        let number =
            parse_f64(word).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        let range = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
        (0.0..=100.0).contains(&number).then_some(number).ok_or(range)
    };
    Ok(Value::Percentiles(words.into_iter().map(number).collect::<Result<_, _>>()?))
}

fn read_limits(text: &[u8]) -> Result<Value, &'static str> {
    const WRONG_LIMIT: &str =
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let words: Vec<&[u8]> =
        if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == b' ').collect() };
    let (groups, []) = words.as_chunks::<4>() else {
        return Err("Wrong number of arguments in buffer limit configuration.");
    };
    let mut limits = Vec::with_capacity(groups.len());
    for [class, hard, soft, soft_s] in groups {
        let class = class.to_ascii_lowercase();
        let shown: &[u8] = if class == b"replica" { b"slave" } else { &class };
        let place = CLASSES.iter().position(|class| class.as_bytes() == shown);
        let place = place.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let bytes = |text| read_memory(text).and_then(|bytes| i64::try_from(bytes).ok());
        let seconds = parse_i64(soft_s).filter(|&seconds| seconds >= 0);
        let limit = BufferLimit {
            hard: bytes(hard).ok_or(WRONG_LIMIT)?,
            soft: bytes(soft).ok_or(WRONG_LIMIT)?,
            soft_s: seconds.ok_or(WRONG_LIMIT)?,
        };
        limits.push((place, limit));
    }
    Ok(Value::Limits(limits))
}

/// The letters of `notify-keyspace-events`, in the order in which they are shown.
const EVENT_LETTERS: &[(EventClass, char)] = &[
    (event::GENERIC, 'g'),
    (event::STRING, '$'),
    (event::LIST, 'l'),
    (event::SET, 's'),
    (event::HASH, 'h'),
    (event::ZSET, 'z'),
    (event::EXPIRED, 'x'),
    (event::EVICTED, 'e'),
    (event::STREAM, 't'),
    (event::MODULE, 'd'),
    (event::NEW, 'n'),
    (event::BY_KEY, 'K'),
    (event::BY_NAME, 'E'),
    (event::MISS, 'm'),
];

/// The classes of the letter `A`.
const ALL_EVENTS: EventClass = event::GENERIC
    | event::STRING
    | event::LIST
    | event::SET
    | event::HASH
    | event::ZSET
    | event::EXPIRED
    | event::EVICTED
    | event::STREAM
    | event::MODULE;

fn read_events(text: &[u8]) -> Result<Value, &'static str> {
    let class = |letter: &u8| match letter {
        b'A' => Some(ALL_EVENTS),
        _ => EVENT_LETTERS.iter().find(|(_, its)| *its == char::from(*letter)).map(|row| row.0),
    };
    let classes = text.iter().try_fold(0, |all, letter| Some(all | class(letter)?));
    classes.map(Value::Events).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
}

/// Formats event classes as Redis does: next to `A`, neither its classes nor `n` are shown.
fn show_events(classes: EventClass) -> String {
    let has_all = classes & ALL_EVENTS == ALL_EVENTS;
    let hidden = if has_all { ALL_EVENTS | event::NEW } else { 0 };
    let shown = EVENT_LETTERS.iter().filter(|(class, _)| classes & !hidden & class != 0);
    has_all.then_some('A').into_iter().chain(shown.map(|(_, letter)| *letter)).collect()
}

/// Formats a number with at most six decimals and no trailing zeros.
fn plain(number: f64) -> String {
    format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Value {
    /// Makes the value of a complete set of limits.
    pub(super) fn limits(limits: &[BufferLimit; 3]) -> Self {
        Self::Limits(limits.iter().copied().enumerate().collect())
    }

    /// Stores the limits of this value into `limits`.
    pub(super) fn put_limits(&self, limits: &mut [BufferLimit; 3]) {
        if let Self::Limits(named) = self {
            for &(place, limit) in named {
                limits[place] = limit;
            }
        }
    }

    /// Returns the number, clamped to an `i64`; 0 for another type.
    pub(super) fn number(&self) -> i64 {
        match *self {
            Self::Number(number) => i64::try_from(number).unwrap_or(i64::MAX),
            _ => 0,
        }
    }

    /// Returns whether it is `yes`.
    pub(super) fn is_yes(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// Returns the event classes; 0 for another type.
    pub(super) fn events(&self) -> EventClass {
        if let Self::Events(classes) = *self { classes } else { 0 }
    }

    /// Returns the percentiles; none for another type.
    pub(super) fn into_percentiles(self) -> Vec<f64> {
        match self {
            Self::Percentiles(percentiles) => percentiles,
            _ => Vec::new(),
        }
    }

    /// Returns the text; empty for another type.
    pub(super) fn into_text(self) -> Box<[u8]> {
        match self {
            Self::Text(text) => text,
            _ => Box::default(),
        }
    }

    /// Formats it as CONFIG GET shows it.
    pub(super) fn text(&self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
            Self::Word(word) => (*word).into(),
            Self::Text(text) => text.to_vec(),
            Self::Percentiles(percentiles) => {
                percentiles.iter().map(|&p| plain(p)).collect::<Vec<_>>().join(" ").into()
            }
            Self::Limits(limits) => {
                let show = |(place, limit): &(usize, BufferLimit)| {
                    format!("{} {} {} {}", CLASSES[*place], limit.hard, limit.soft, limit.soft_s)
                };
                limits.iter().map(show).collect::<Vec<_>>().join(" ").into()
            }
            Self::Events(classes) => show_events(*classes).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_events() {
        for (text, shown) in [
            ("", Some("")),
            ("KEA", Some("AKE")),
            ("KE$", Some("$KE")),
            ("Kg$lshzxetd", Some("AK")),
            ("Eg$lshzxetdmn", Some("AEm")),
            ("ndmK", Some("dnKm")),
            ("etxzhsl$g", Some("g$lshzxet")),
            ("KEq", None),
            ("K ", None),
            ("k", None),
        ] {
            let value = ValueType::Events.read(text.as_bytes()).ok();
            let found = value.map(|value| String::from_utf8(value.text()).expect("letters"));
            assert_eq!(found.as_deref(), shown, "{text:?}");
        }
    }

    #[test]
    fn memory_values() {
        for (text, bytes) in [
            ("", Some(0)),
            ("mb", Some(0)),
            ("1", Some(1)),
            ("01b", Some(1)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2Mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3gb", Some(3 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999999g", Some(u64::MAX)),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("1 mb", None),
            ("1.5mb", None),
            ("1tb", None),
            ("1mb\0", None),
        ] {
            assert_eq!(read_memory(text.as_bytes()), bytes, "{text:?}");
        }
    }
}
