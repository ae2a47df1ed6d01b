//! Violations, counted by kind: the rule, the command, the patterns of the keys.

use super::from_argument::FromArgument;
use super::lru::LruTable;
use super::pattern::{self, patterns};
use super::rule::{self, Rule, Weight};
use crate::slot::{Slot, hashed_part};
use std::sync::Arc;

/// Rows of violations that are kept.
pub(crate) const VIOLATIONS_MAX: usize = 1024;
/// Patterns that distinguish rows; further ones are ignored.
pub(crate) const PATTERNS_MAX: usize = 12;
/// Examples that a row keeps: the first ones.
pub(crate) const EXAMPLES_MAX: usize = 3;
/// Keys that an example shows.
pub(crate) const EXAMPLE_KEYS_MAX: usize = 8;
/// Clients that a row names.
pub(crate) const CLIENTS_MAX: usize = 8;
/// Units whose first violation is kept, to fold further ones under it.
pub(crate) const UNITS_MAX: usize = 1024;
/// Bytes of a key of an example that are kept.
pub(crate) const KEY_BYTES_MAX: usize = 4096;
/// Characters of a key, a name or an address that are kept.
pub(crate) const TEXT_CHARS_MAX: usize = 120;

/// The client that sent a request. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The client's name (CLIENT SETNAME).
    pub name: String,
    /// The client's library (CLIENT SETINFO).
    pub library: String,
    /// Its address.
    pub address: String,
    /// The test that was running (SLOTWAY TEST).
    pub test: String,
}

impl Origin {
    /// Returns what is known, the most specific first; empty if nothing is.
    #[must_use]
    pub fn shown(&self) -> String {
        let known = [&self.test, &self.name, &self.library, &self.address];
        let known: Vec<&str> =
            known.into_iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        known.join(" ")
    }
}

/// A position in a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spot {
    /// None: it came over the network.
    #[default]
    Live,
    /// A line, counted from 1.
    Line(u64),
    /// A byte, counted from 0.
    Byte(u64),
}

/// The outcome of a request that breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It ran, as one standalone Redis would have run it.
    #[default]
    Ran,
    /// It was refused, as a cluster would have refused it.
    Refused,
}

/// One violation, as it is entered.
#[derive(Clone, Copy, Debug)]
pub struct Breach<'a> {
    /// The rule that it breaks.
    pub rule: Rule,
    /// The command's name as Redis shows it.
    pub command: &'a str,
    /// The keys concerned, in their order.
    pub keys: &'a [&'a [u8]],
    /// Keys beyond those.
    pub keys_hidden: usize,
    /// The offending command's place in its transaction, counted from 1.
    pub place: Option<usize>,
    /// Of a key that a script was not given: the argument that it was made from.
    pub from: Option<FromArgument>,
    /// The client that sent it.
    pub origin: &'a Origin,
    /// When, in milliseconds since the epoch, if that is known.
    pub at_ms: Option<u64>,
    /// Where it was read.
    pub spot: Spot,
    /// Whether it was refused.
    pub fate: Fate,
    /// The number of the unit that it is part of: a transaction or a script, which counts once
    /// however many rules it breaks. `None` for a unit by itself.
    pub unit: Option<u64>,
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViolationKind {
    /// The rule that is broken.
    pub rule: Rule,
    /// The command that breaks it.
    pub command: Arc<str>,
    /// The patterns of the keys, sorted, each once, at most [`PATTERNS_MAX`].
    pub patterns: Vec<Arc<str>>,
}

/// A key of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleKey {
    /// The key, for display.
    pub key: String,
    /// Its bytes, the first [`KEY_BYTES_MAX`], unless they are `key`.
    pub bytes: Option<Box<[u8]>>,
    /// The part of it that is hashed, for display.
    pub hashed: String,
    /// Its slot.
    pub slot: Slot,
}

impl ExampleKey {
    /// Returns what an example shows of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let shown = pattern::shown(key, TEXT_CHARS_MAX);
        Self {
            bytes: (shown.as_bytes() != key).then(|| key[..key.len().min(KEY_BYTES_MAX)].into()),
            key: shown,
            hashed: pattern::shown(hashed_part(key), TEXT_CHARS_MAX),
            slot: Slot::of(key),
        }
    }
}

/// One violation of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The keys, at most [`EXAMPLE_KEYS_MAX`].
    pub keys: Vec<ExampleKey>,
    /// Keys beyond those.
    pub keys_hidden: usize,
    /// The offending command's place in its transaction, counted from 1.
    pub place: Option<usize>,
    /// The client that sent it.
    pub origin: Origin,
    /// When, in milliseconds since the epoch.
    pub at_ms: Option<u64>,
    /// Where it was read.
    pub spot: Spot,
}

/// What is known of a kind of violation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violation {
    /// How often it was seen.
    pub count: u64,
    /// How often it was refused.
    pub refused: u64,
    /// How many units it leads: those of which it was the first violation, or the first error.
    pub units: u64,
    /// Of a key that scripts were not given: the argument that it was made from when first seen.
    pub from: Option<FromArgument>,
    /// What led the first unit that it did not lead.
    pub within: Option<ViolationKind>,
    /// When first and last, in milliseconds since the epoch.
    pub first_ms: Option<u64>,
    /// See `first_ms`.
    pub last_ms: Option<u64>,
    /// The first ones, at most [`EXAMPLES_MAX`].
    pub examples: Vec<Example>,
    /// The clients that sent it and how often, at most [`CLIENTS_MAX`].
    pub clients: Vec<(Origin, u64)>,
    /// How often other clients sent it.
    pub other_clients: u64,
}

/// The violations of an application, or of a file.
#[derive(Clone, Debug)]
pub struct Violations {
    rows: LruTable<ViolationKind, Violation>,
    /// What leads each of the units that were seen last.
    leads: LruTable<u64, ViolationKind>,
    /// Units that broke a rule, in the order of [`Weight`]: an error outweighs warnings.
    units: [u64; 2],
    /// All violations that were entered.
    pub total: u64,
    /// The same by rule, in the order of [`rule::ROWS`]; rows that made room are counted, too.
    by_rule: [u64; rule::ROWS.len()],
}

impl Default for Violations {
    fn default() -> Self {
        Self {
            rows: LruTable::new(VIOLATIONS_MAX),
            leads: LruTable::new(UNITS_MAX),
            units: [0; 2],
            total: 0,
            by_rule: [0; rule::ROWS.len()],
        }
    }
}

impl Violations {
    /// Enters a violation.
    pub fn enter(&mut self, breach: &Breach<'_>) {
        self.enter_of_kind(breach, patterns(breach.keys.iter().copied(), PATTERNS_MAX));
    }

    /// The same, given the patterns of its keys, at most [`PATTERNS_MAX`].
    pub(crate) fn enter_of_kind(&mut self, breach: &Breach<'_>, patterns: Vec<Arc<str>>) {
        self.total += 1;
        self.by_rule[breach.rule as usize] += 1;
        let kind = ViolationKind { rule: breach.rule, command: breach.command.into(), patterns };
        let within = self.lead_of(breach.unit, &kind);
        let row = self.rows.row(&kind, || kind.clone(), Violation::default);
        row.count += 1;
        row.from = row.from.or(breach.from);
        match within {
            None => row.units += 1,
            Some(lead) if lead != kind => {
                row.within.get_or_insert(lead);
            }
            Some(_) => {}
        }
        row.refused += u64::from(breach.fate == Fate::Refused);
        if let Some(at) = breach.at_ms {
            row.first_ms = Some(row.first_ms.map_or(at, |first| first.min(at)));
            row.last_ms = Some(row.last_ms.map_or(at, |last| last.max(at)));
        }
        if row.examples.len() < EXAMPLES_MAX {
            let keys = breach.keys.iter().take(EXAMPLE_KEYS_MAX);
            row.examples.push(Example {
                keys: keys.map(|key| ExampleKey::of(key)).collect(),
                keys_hidden: breach.keys.len().saturating_sub(EXAMPLE_KEYS_MAX)
                    + breach.keys_hidden,
                place: breach.place,
                origin: breach.origin.clone(),
                at_ms: breach.at_ms,
                spot: breach.spot,
            });
        }
        match row.clients.iter().position(|(origin, _)| origin == breach.origin) {
            Some(at) => row.clients[at].1 += 1,
            None if row.clients.len() < CLIENTS_MAX => row.clients.push((breach.origin.clone(), 1)),
            None => row.other_clients += 1,
        }
    }

    /// Returns what leads a unit, `None` if this kind does from now on: it is the first, or the first
    /// error.
    fn lead_of(&mut self, unit: Option<u64>, kind: &ViolationKind) -> Option<ViolationKind> {
        let weight = kind.rule.weight();
        if let Some(lead) = unit.and_then(|unit| self.leads.get(&unit)).cloned() {
            if lead.rule.weight() >= weight {
                return Some(lead);
            }
            self.units[lead.rule.weight() as usize] -= 1;
            if let Some(row) = self.rows.get_mut(&lead) {
                row.units -= 1;
                row.within.get_or_insert_with(|| kind.clone());
            }
        }
        self.units[weight as usize] += 1;
        if let Some(unit) = unit {
            *self.leads.row(&unit, || unit, || kind.clone()) = kind.clone();
        }
        None
    }

    /// Returns how many units broke a rule of this weight, and none of a higher one.
    #[must_use]
    pub fn units(&self, weight: Weight) -> u64 {
        self.units[weight as usize]
    }

    /// Returns the rows: errors before warnings, the more frequent first.
    #[must_use]
    pub fn rows(&self) -> Vec<(&ViolationKind, &Violation)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(a, x), (b, y)| {
            (b.rule.weight(), y.count).cmp(&(a.rule.weight(), x.count)).then_with(|| a.cmp(b))
        });
        rows
    }

    /// Returns how often a rule was broken; rows that made room are counted, too.
    #[must_use]
    pub fn count(&self, rule: Rule) -> u64 {
        self.by_rule[rule as usize]
    }

    /// Returns how many rows made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.rows.forgotten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(violations: &mut Violations, rule: Rule, keys: &[&str], client: &str, at_ms: u64) {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let origin = Origin { name: client.to_owned(), ..Origin::default() };
        violations.enter(&Breach {
            rule,
            command: "mget",
            keys: &keys,
            keys_hidden: 0,
            place: None,
            from: None,
            origin: &origin,
            at_ms: Some(at_ms),
            spot: Spot::Live,
            fate: if at_ms.is_multiple_of(2) { Fate::Refused } else { Fate::Ran },
            unit: None,
        });
    }

    #[test]
    fn a_unit_counts_once_and_an_error_leads_it() {
        let mut violations = Violations::default();
        let origin = Origin::default();
        let mut enter = |rule, command, unit| {
            violations.enter(&Breach {
                rule,
                command,
                keys: &[b"x", b"y"],
                keys_hidden: 0,
                place: None,
                from: None,
                origin: &origin,
                at_ms: None,
                spot: Spot::Live,
                fate: Fate::Ran,
                unit,
            });
        };
        for (rule, command, unit) in [
            (Rule::NodeLocal, "dbsize", Some(1)),
            (Rule::CrossSlotCommand, "mget", Some(1)),
            (Rule::CrossSlotCommand, "mset", Some(1)),
            (Rule::CrossSlotCommand, "mset", Some(1)),
            (Rule::NodeLocal, "dbsize", Some(2)),
            (Rule::CrossSlotCommand, "mset", None),
        ] {
            enter(rule, command, unit);
        }
        assert_eq!((violations.units(Weight::Error), violations.units(Weight::Warning)), (2, 1));
        let rows = violations.rows();
        let shown = rows.iter().map(|(kind, row)| {
            let within = row.within.as_ref().map_or("", |lead| &*lead.command);
            format!("{} {} {} {within}", kind.command, row.count, row.units)
        });
        assert_eq!(shown.collect::<Vec<_>>(), ["mset 3 1 mget", "mget 1 1 ", "dbsize 2 1 mget"]);
    }

    #[test]
    fn ten_thousand_of_a_kind_are_one_row() {
        let mut violations = Violations::default();
        for n in 0..10_000_u64 {
            let keys = [format!("cart:{n}:items"), format!("cart:{n}:total")];
            let client = format!("worker-{}", n % 10);
            enter(&mut violations, Rule::CrossSlotCommand, &[&keys[1], &keys[0]], &client, 100 + n);
        }
        enter(&mut violations, Rule::NodeLocal, &[], "", 7);
        let rows = violations.rows();
        assert_eq!((rows.len(), violations.total, violations.forgotten()), (2, 10_001, 0));
        let (kind, row) = rows[0];
        assert_eq!(kind.patterns, ["cart:<int>:items", "cart:<int>:total"].map(Arc::from));
        assert_eq!((row.count, row.first_ms, row.last_ms), (10_000, Some(100), Some(10_099)));
        assert_eq!(row.refused, 5000);
        assert_eq!((row.examples.len(), row.clients.len()), (EXAMPLES_MAX, CLIENTS_MAX));
        assert_eq!((row.clients[0].1, row.other_clients), (1000, 2000));
        assert_eq!(row.examples[0].keys[0].key, "cart:0:total");
        assert_eq!(rows[1].0.rule, Rule::NodeLocal);
    }

    #[test]
    fn what_grows_from_outside_is_bounded() {
        let mut violations = Violations::default();
        for n in 0..VIOLATIONS_MAX + 10 {
            // Words that no pattern can join.
            let word: String =
                format!("{n:05}").bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            enter(&mut violations, Rule::CrossSlotCommand, &[&word, "x"], "", 0);
        }
        assert!(violations.rows().len() <= VIOLATIONS_MAX && violations.forgotten() > 0);
        assert_eq!(violations.count(Rule::CrossSlotCommand), VIOLATIONS_MAX as u64 + 10);
        let many: Vec<String> = (0..100).map(|n| "k".repeat(n + 1)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        enter(&mut violations, Rule::CrossSlotTransaction, &many, "", 0);
        let (kind, row) = violations
            .rows()
            .into_iter()
            .find(|(t, _)| t.rule == Rule::CrossSlotTransaction)
            .expect("a row");
        assert_eq!(kind.patterns.len(), PATTERNS_MAX);
        assert_eq!((row.examples[0].keys.len(), row.examples[0].keys_hidden), (8, 92));
    }
}
