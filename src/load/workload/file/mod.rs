//! A workload from a TOML file. All keys of a transaction are of one group: they begin with `$tag`.
//!
//! ```toml
//! name = "transfer"
//!
//! [[setup]]                          # run for each key of each group (or: each = "group")
//! each = "key"
//! command = "SET $tag:account:$key 100"
//!
//! [[transaction]]
//! name = "move"
//! weight = 9                         # among the transactions of the file; 1 if not given
//! pick = { from = "key", to = "other key", amount = "1..10" }
//! watch = ["$tag:account:$from", "$tag:account:$to"]
//! read = { a = "GET $tag:account:$from", b = "GET $tag:account:$to" }
//! when = "a >= amount"               # else it is declined
//! write = ["SET $tag:account:$from $(a - amount)", "SET $tag:account:$to $(b + amount)"]
//! adds = "1"                         # what a commit adds to `added` of its group
//!
//! [[invariant]]
//! name = "the sum stays the same"
//! each = "key"                       # read once for each key of a group (or: each = "group")
//! read = "GET $tag:account:$key"
//! expect = "sum == 100 * keys && min >= 0"
//! ```
//!
//! Variables everywhere: `$tag`, `$group`, `$groups`, `$keys` (of a group), `$user`, `$n` (the
//! number of the transaction on its connection); with `each = "key"` also `$key`; then the picks,
//! and in `when`, `write` and `adds` the values read (a missing key reads as 0). A pick is `key`,
//! `other key` (none of those picked before it) or `FIRST..LAST`. In `expect`: `sum`, `min`, `max`,
//! `count` of the values read, `commits` and `added` of the group. An invariant that names
//! `commits` or `added` is not checked for a group with a transaction of unknown outcome. One whose
//! read does not reply with a number, or whose `expect` has no value, is undecided.
//!
//! `write` is sent as MULTI … EXEC, or plain with `multi = false`. An invariant that names neither
//! `commits` nor `added` is checked during the run too, if its group has at most 256 keys.
//!
//! Every key that a command names must be of the group, so that all keys of a run can be found.

mod expression;
mod script;
mod template;

use super::{Context, Workload, number_or_nil};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::Plan;
use crate::load::removal::remove_found;
use crate::load::script::{Moment, Script};
use crate::load::setup_client::{SetupClient, expect_no_error};
use crate::load::verifier::KeyNames;
use crate::resp::Reply;
use crate::slot::Slot;
use expression::Expression;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use template::{Command, Template};

/// Longest workload file, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;
/// Most transactions, setups or invariants of a file, and most commands of one of them.
const ITEMS_MAX: usize = 256;
/// Most keys of a group whose invariants are checked during the run.
const AUDITED_MAX: u64 = 256;

/// The variables known everywhere, by number.
const EVERYWHERE: [&str; 5] = ["group", "groups", "keys", "user", "n"];
/// The variables known in `expect` besides.
const EXPECTED: [&str; 6] = ["sum", "min", "max", "count", "commits", "added"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: Option<String>,
    #[serde(default)]
    setup: Vec<SetupForm>,
    transaction: Vec<TransactionForm>,
    #[serde(default)]
    invariant: Vec<InvariantForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupForm {
    #[serde(default)]
    each: Each,
    command: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Each {
    #[default]
    Key,
    Group,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransactionForm {
    name: Option<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    pick: BTreeMap<String, String>,
    #[serde(default)]
    watch: Vec<String>,
    #[serde(default)]
    read: BTreeMap<String, String>,
    when: Option<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default = "yes")]
    multi: bool,
    adds: Option<String>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvariantForm {
    name: Option<String>,
    #[serde(default)]
    each: Each,
    read: String,
    expect: String,
}

struct Setup {
    each: Each,
    command: Command,
}

/// How a number is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Key,
    OtherKey,
    Between(i64, i64),
}

struct Transaction {
    name: String,
    weight: u32,
    /// The variables picked, and how; other keys come after keys.
    picks: Vec<(usize, Pick)>,
    watch: Vec<Template>,
    /// The variables read, and the command for each.
    reads: Vec<(usize, Command)>,
    when: Option<Expression>,
    write: Vec<Command>,
    multi: bool,
    adds: Option<Expression>,
    /// The names of all its variables, by number.
    names: Vec<String>,
}

struct Rule {
    each: Each,
    read: Command,
    expect: Expression,
    text: String,
    /// Whether it names `commits` or `added`.
    counts: bool,
}

struct Parsed {
    setups: Vec<Setup>,
    transactions: Vec<Transaction>,
    rules: Vec<Rule>,
    rule_names: Vec<String>,
}

/// The workload of a file.
pub(super) struct FileWorkload {
    context: Context,
    parsed: Parsed,
    /// By group.
    commits: Box<[AtomicU64]>,
    added: Box<[AtomicI64]>,
    unknown: Box<[AtomicU64]>,
}

/// Names for evidence: its numbers are variables, named as in the transaction with most of them.
struct FileNames {
    kinds: Vec<String>,
    variables: Vec<String>,
}

impl KeyNames for FileNames {
    fn key(&self, group: u64, key: u32) -> String {
        match self.variables.get(key as usize) {
            Some(name) => name.clone(),
            None => format!("group {group}"),
        }
    }

    fn kind(&self, kind: usize) -> String {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }
}

pub(super) fn make(plan: &Plan) -> Result<(Arc<dyn Workload>, Context), Failure> {
    let path = plan.workload.file.as_deref().unwrap_or(Path::new(""));
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("workload file {}: {why}", path.display()))
    };
    let len = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if len > FILE_LEN_MAX {
        return Err(wrong(&format!("more than {FILE_LEN_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let parsed = parse(&text).map_err(|error| wrong(&error))?;
    let names = FileNames {
        kinds: parsed.transactions.iter().map(|t| t.name.clone()).collect(),
        variables: parsed
            .transactions
            .iter()
            .map(|t| t.names.clone())
            .max_by_key(Vec::len)
            .unwrap_or_default(),
    };
    let rules: Vec<&str> = parsed.rule_names.iter().map(String::as_str).collect();
    let context = Context::new(plan, &rules, Box::new(names));
    let keys_min = |t: &Transaction| {
        t.picks.iter().filter(|(_, pick)| !matches!(pick, Pick::Between(..))).count()
    };
    let keys_min = parsed.transactions.iter().map(keys_min).max().unwrap_or(0);
    if context.keys_per_group < keys_min as u64 {
        return Err(wrong(&format!(
            "a transaction picks {keys_min} different keys, and a group has only --keys-per-group {}",
            context.keys_per_group
        )));
    }
    let workload = FileWorkload {
        commits: (0..context.groups).map(|_| AtomicU64::new(0)).collect(),
        added: (0..context.groups).map(|_| AtomicI64::new(0)).collect(),
        unknown: (0..context.groups).map(|_| AtomicU64::new(0)).collect(),
        context: context.clone(),
        parsed,
    };
    Ok((Arc::new(workload), context))
}

/// Reads a workload file's text.
fn parse(text: &str) -> Result<Parsed, String> {
    let form: FileForm = toml::from_str(text).map_err(|error| error.to_string())?;
    let counts = [form.setup.len(), form.transaction.len(), form.invariant.len()];
    if counts.into_iter().any(|count| count > ITEMS_MAX) {
        return Err(format!("more than {ITEMS_MAX} setups, transactions or invariants"));
    }
    if form.transaction.iter().all(|transaction| transaction.weight == 0) {
        return Err("no [[transaction]] has a weight above 0".to_owned());
    }
    let place = |what: &str, at: usize| format!("[[{what}]] number {}", at + 1);
    let mut setups = Vec::new();
    for (at, setup) in form.setup.iter().enumerate() {
        let command = Command::read(&setup.command, &mut |name| number_with_key(name, setup.each))
            .map_err(|error| format!("{}: {error}", place("setup", at)))?;
        setups.push(Setup { each: setup.each, command });
    }
    let mut transactions = Vec::new();
    for (at, transaction) in form.transaction.into_iter().enumerate() {
        let name = transaction.name.clone().or_else(|| form.name.clone());
        let name = name.unwrap_or_else(|| format!("transaction {}", at + 1));
        let wrong = |error| format!("{} ({name}): {error}", place("transaction", at));
        transactions.push(parse_transaction(transaction, name.clone()).map_err(wrong)?);
    }
    let (mut rules, mut rule_names) = (Vec::new(), Vec::new());
    for (at, rule) in form.invariant.into_iter().enumerate() {
        let wrong = |error| format!("{}: {error}", place("invariant", at));
        let read = Command::read(&rule.read, &mut |name| number_with_key(name, rule.each));
        let expect = Expression::read(&rule.expect, &mut |name| {
            let of = |names: &[&str]| names.iter().position(|known| *known == name);
            of(&EVERYWHERE[..3]).or_else(|| of(&EXPECTED).map(|at| at + EVERYWHERE.len()))
        })
        .map_err(wrong)?;
        let counts = expect.names(EVERYWHERE.len() + 4) || expect.names(EVERYWHERE.len() + 5);
        rule_names.push(rule.name.unwrap_or_else(|| rule.expect.clone()));
        let read = read.map_err(wrong)?;
        rules.push(Rule { each: rule.each, read, expect, text: rule.expect, counts });
    }
    Ok(Parsed { setups, transactions, rules, rule_names })
}

/// The number of a variable in a setup or an invariant.
fn number_with_key(name: &str, each: Each) -> Option<usize> {
    if name == "key" && each == Each::Key {
        return Some(EVERYWHERE.len());
    }
    EVERYWHERE[..3].iter().position(|known| *known == name)
}

fn parse_transaction(form: TransactionForm, name: String) -> Result<Transaction, String> {
    let items = form.pick.len() + form.watch.len() + form.read.len() + form.write.len();
    if items > ITEMS_MAX {
        return Err(format!("more than {ITEMS_MAX} picks, keys and commands"));
    }
    if form.write.is_empty() && form.read.is_empty() {
        return Err("it neither reads nor writes".to_owned());
    }
    let mut names: Vec<String> = EVERYWHERE.iter().map(|&name| name.to_owned()).collect();
    let mut new = |name: &str| {
        let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_word || name == "tag" || names.iter().any(|known| known == name) {
            return Err(format!("{name:?} is already in use or not a valid name"));
        }
        names.push(name.to_owned());
        Ok(names.len() - 1)
    };
    let mut picks = Vec::new();
    for (name, how) in &form.pick {
        picks.push((
            new(name)?,
            read_pick(how).ok_or_else(|| {
                format!("pick {name} = {how:?}: must be \"key\", \"other key\" or \"FIRST..LAST\"")
            })?,
        ));
    }
    picks.sort_by_key(|(at, pick)| (*pick == Pick::OtherKey, *at));
    let picked = EVERYWHERE.len() + form.pick.len();
    let places = form.read.keys().map(|name| new(name)).collect::<Result<Vec<_>, _>>()?;
    let mut early = |name: &str| names[..picked].iter().position(|known| known == name);
    let watch: Result<Vec<_>, _> =
        form.watch.iter().map(|key| Command::read_key(key, &mut early)).collect();
    let reads: Result<Vec<_>, String> = places
        .into_iter()
        .zip(form.read.values())
        .map(|(at, text)| Ok((at, Command::read(text, &mut early)?)))
        .collect();
    let mut late = |name: &str| names.iter().position(|known| known == name);
    let write: Result<Vec<_>, _> =
        form.write.iter().map(|text| Command::read(text, &mut late)).collect();
    let when = form.when.map(|text| Expression::read(&text, &mut late)).transpose()?;
    let adds = form.adds.map(|text| Expression::read(&text, &mut late)).transpose()?;
    let (watch, reads, write) = (watch?, reads?, write?);
    let (weight, multi) = (form.weight, form.multi);
    Ok(Transaction { name, weight, picks, watch, reads, when, write, multi, adds, names })
}

fn read_pick(how: &str) -> Option<Pick> {
    match how.trim() {
        "key" => Some(Pick::Key),
        "other key" => Some(Pick::OtherKey),
        range => {
            let (first, last) = range.split_once("..")?;
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(Pick::Between(first, last))
        }
    }
}

impl FileWorkload {
    /// The values of the variables of setups and invariants.
    fn variables(&self, group: u64, key: u64) -> [Option<i64>; 6] {
        let Context { groups, keys_per_group, .. } = self.context;
        [group, groups, keys_per_group, 0, 0, key].map(|number| Some(number as i64))
    }

    /// How often a setup or read is done for each group.
    fn times(&self, each: Each) -> u64 {
        if each == Each::Key { self.context.keys_per_group } else { 1 }
    }

    /// Fills a command for a group and a key; returns its words.
    fn fill_command(&self, command: &Command, group: u64, key: u64) -> Vec<Vec<u8>> {
        let mut tag = Vec::new();
        self.context.keys.tag(group, &mut tag);
        let variables = self.variables(group, key);
        let fill = |word: &Template| {
            let mut out = Vec::new();
            // A word whose expression has no value is sent empty.
            let _value = word.fill(&tag, &variables, &mut out);
            out
        };
        command.words.iter().map(fill).collect()
    }

    /// Checks one invariant of a group against the values read. Returns whether that was possible.
    fn verify_rule(
        &self,
        rule: usize,
        group: u64,
        values: &[Option<i64>],
        at: Option<&Moment>,
    ) -> bool {
        let Rule { expect, text, counts, .. } = &self.parsed.rules[rule];
        let place = group as usize;
        if *counts && self.unknown[place].load(Relaxed) > 0 {
            return false;
        }
        let numbers = || values.iter().map(|value| value.unwrap_or(0));
        let sum = numbers().try_fold(0_i64, i64::checked_add);
        let commits = self.commits[place].load(Relaxed) as i64;
        let mut variables = self.variables(group, 0)[..EVERYWHERE.len()].to_vec();
        variables.extend([
            sum,
            numbers().min(),
            numbers().max(),
            Some(values.len() as i64),
            Some(commits),
            Some(self.added[place].load(Relaxed)),
        ]);
        let seen = || {
            let show = |number: &Option<i64>| number.map_or("none".to_owned(), |n| n.to_string());
            let values = EXPECTED.iter().zip(&variables[EVERYWHERE.len()..]);
            let values: Vec<String> =
                values.map(|(name, value)| format!("{name} {}", show(value))).collect();
            values.join(", ")
        };
        let verifier = &self.context.verifier;
        let Some(value) = expect.value(&variables) else {
            verifier.mark_undecided_in(rule, || {
                let why = "has no value (overflow or division by zero)";
                format!("group {group}: {text} {why}: {}", seen())
            });
            return false;
        };
        if value != 0 {
            return true;
        }
        let what = || format!("group {group}: {text} does not hold: {}", seen());
        let Rule { each, read, .. } = &self.parsed.rules[rule];
        let keys = (0..self.times(*each)).zip(values).take(crate::load::verifier::VALUES_SHOWN_MAX);
        let values = keys.map(|(key, value)| {
            let words = self.fill_command(read, group, key);
            (shown(&words.join(&b' ')), number_or_nil(*value))
        });
        let at = at.map(|moment| moment.at);
        verifier.record_violation_in(rule, at, what, &[group], values.collect());
        true
    }

    /// Marks an invariant as undecided because the reply to one of its reads is not a number.
    fn mark_no_number(&self, rule: usize, group: u64, key: u64) {
        self.context.verifier.mark_undecided_in(rule, || {
            let words = self.fill_command(&self.parsed.rules[rule].read, group, key);
            format!("the reply to {} is not a number", shown(&words.join(&b' ')))
        });
    }
}

/// A reply as the value of an invariant's read: `Some(None)` is a missing key, `None` one that is
/// not a number.
fn number(reply: Reply<'_>) -> Option<Option<i64>> {
    if reply == Reply::Null { Some(None) } else { reply.integer().map(Some) }
}

impl Workload for FileWorkload {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        for setup in &self.parsed.setups {
            let times = self.times(setup.each);
            client.pipeline(
                self.context.groups * times,
                &mut |i, request| {
                    let words = self.fill_command(&setup.command, i / times, i % times);
                    request.begin(words.len());
                    words.iter().for_each(|word| request.argument(word));
                    Slot::of(&words[1])
                },
                &mut |_, reply| expect_no_error(reply),
            )?;
        }
        Ok(())
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        Box::new(script::Run::new(self, user))
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        let is_audited = |rule: &Rule| !rule.counts && self.times(rule.each) <= AUDITED_MAX;
        let rules: Vec<usize> = (0..self.parsed.rules.len())
            .filter(|&rule| is_audited(&self.parsed.rules[rule]))
            .collect();
        if rules.is_empty() { None } else { Some(Box::new(script::Audit::new(self, rules))) }
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        for (index, rule) in self.parsed.rules.iter().enumerate() {
            let times = self.times(rule.each);
            let mut checked = 0;
            // The replies of a group come in order: all its keys are in one slot.
            let mut read: BTreeMap<u64, Vec<Option<Option<i64>>>> = BTreeMap::new();
            client.pipeline(
                self.context.groups * times,
                &mut |i, request| {
                    let words = self.fill_command(&rule.read, i / times, i % times);
                    request.begin(words.len());
                    words.iter().for_each(|word| request.argument(word));
                    Slot::of(&words[1])
                },
                &mut |i, reply| {
                    expect_no_error(reply)?;
                    let group = i / times;
                    let values = read.entry(group).or_default();
                    values.push(number(reply));
                    if values.len() as u64 == times {
                        match values.iter().position(Option::is_none) {
                            Some(key) => self.mark_no_number(index, group, key as u64),
                            None => {
                                let values: Vec<_> = values.iter().copied().flatten().collect();
                                checked += u64::from(self.verify_rule(index, group, &values, None));
                            }
                        }
                        read.remove(&group);
                    }
                    Ok(())
                },
            )?;
            let verifier = &self.context.verifier;
            verifier.checked_after(index, checked);
            let unknown = self.unknown.iter().filter(|unknown| unknown.load(Relaxed) > 0).count();
            if rule.counts && unknown > 0 {
                let coverage =
                    format!("all groups but {unknown} with transactions of unknown outcome");
                verifier.set_coverage(index, coverage);
                if unknown as u64 == self.context.groups {
                    let why = "every group has a transaction of unknown outcome";
                    verifier.mark_undecided_in(index, || why.to_owned());
                }
            }
        }
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        // The names of the keys that transactions make depend on what they pick and read.
        remove_found(client, &self.context.keys).map_err(|Failure { cause, message }| Failure {
            cause,
            message: format!("finding the keys of a workload file: {message}"),
        })
    }

    fn kinds(&self) -> Vec<String> {
        self.parsed.transactions.iter().map(|transaction| transaction.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[setup]]
        command = "SET $tag:a:$key 100"
        [[transaction]]
        name = "move"
        pick = { b = "other key", c = "key", amount = "1..10" }
        watch = ["$tag:a:$c"]
        read = { x = "GET $tag:a:$c" }
        when = "x >= amount"
        write = ["SET $tag:a:$c $(x - amount)"]
        [[invariant]]
        read = "GET $tag:a:$key"
        expect = "sum == 100 * keys"
    "#;

    #[test]
    fn a_file_is_read() {
        let parsed = parse(GOOD).expect("a good file");
        let picks = parsed.transactions[0].picks.iter().map(|(_, pick)| *pick).collect::<Vec<_>>();
        assert_eq!(picks, [Pick::Between(1, 10), Pick::Key, Pick::OtherKey]);
        assert_eq!(parsed.rule_names, ["sum == 100 * keys"]);
        assert!(!parsed.rules[0].counts);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, named) in [
            ("\"other key\"", "\"another key\"", "another key"),
            ("x >= amount", "x >= amuont", "amuont"),
            ("SET $tag:a:$c", "SET a:$c", "$tag"),
            ("$(x - amount)", "$(x - )", "move"),
            ("name =", "nme =", "nme"),
            ("1..10", "10..1", "amount"),
            ("keys\"", "key\"", "invariant"),
            ("GET $tag:a:$c\" }", "GET $tag:a:$x\" }", "\"x\""),
            ("{ x =", "{ amount =", "amount"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error =
                parse(&GOOD.replace(from, to)).err().unwrap_or_else(|| panic!("{to} is wrong"));
            assert!(error.contains(named), "{to}: {error}");
        }
    }
}
