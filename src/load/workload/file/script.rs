//! The transactions of a workload file, and the checks of its invariants during the run.

use super::{Command, EVERYWHERE, FileWorkload, Pick, Transaction, number};
use crate::load::random::Rng;
use crate::load::script::{Exec, Moment, Next, Outcome, RoundWriter, Script};
use crate::load::verifier::{KeyValues, Record};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The transactions of one user.
pub(super) struct Run {
    workload: Arc<FileWorkload>,
    user: u32,
    number: i64,
    /// The index of the transaction.
    kind: usize,
    group: u64,
    tag: Vec<u8>,
    /// By number: those of [`EVERYWHERE`], then the picks, then the values read.
    variables: Vec<Option<i64>>,
    round: Round,
    exec: Exec,
    /// A buffer for one word.
    word: Vec<u8>,
    /// Whether an expression of the current round had no value.
    has_no_value: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Read,
    Write,
    Unwatch,
}

impl Run {
    pub(super) fn new(workload: Arc<FileWorkload>, user: u32) -> Self {
        Self {
            workload,
            user,
            number: 0,
            kind: 0,
            group: 0,
            tag: Vec::new(),
            variables: Vec::new(),
            round: Round::Read,
            exec: Exec::NoReply,
            word: Vec::new(),
            has_no_value: false,
        }
    }

    fn is_reading_at_all(transaction: &Transaction) -> bool {
        !transaction.reads.is_empty() || !transaction.watch.is_empty()
    }

    /// What follows once the values have been read.
    fn finish_read(&mut self) -> Next {
        let transaction = &self.workload.parsed.transactions[self.kind];
        let malformed = |why: &str| Next::Done(Outcome::Malformed(why.to_owned()));
        let when = transaction.when.as_ref().map_or(Some(1), |when| when.value(&self.variables));
        let Some(when) = when else {
            return malformed("a value read is not a number, or the condition has no value");
        };
        let writes = when != 0 && !transaction.write.is_empty();
        if !writes {
            // Without a WATCH there is nothing to undo.
            if transaction.watch.is_empty() {
                return Next::Done(if when == 0 { Outcome::Declined } else { Outcome::Committed });
            }
            self.round = Round::Unwatch;
            return Next::Round;
        }
        self.round = Round::Write;
        // All values to write are computed before anything is sent.
        let mut words = transaction.write.iter().flat_map(|command| &command.words);
        if words.all(|word| word.fill(&self.tag, &self.variables, &mut self.word).is_some()) {
            Next::Round
        } else {
            malformed("a value cannot be computed from what was read")
        }
    }

    fn send(
        (tag, variables): (&[u8], &[Option<i64>]),
        command: &Command,
        changes: bool,
        word: &mut Vec<u8>,
        out: &mut RoundWriter<'_>,
    ) -> Option<()> {
        out.begin(command.words.len(), changes);
        let mut all = Some(());
        for template in &command.words {
            // A request that has begun must be completed; the round then counts as malformed.
            if template.fill(tag, variables, word).is_none() {
                all = None;
            }
            out.argument(word);
        }
        all
    }
}

impl Script for Run {
    fn choose(&mut self, rng: &mut Rng) {
        let FileWorkload { context, parsed, .. } = &*self.workload;
        self.number += 1;
        let weights = parsed.transactions.iter().map(|transaction| u64::from(transaction.weight));
        let mut at = rng.u64(0..weights.clone().sum::<u64>().max(1));
        self.kind = weights
            .enumerate()
            .find_map(|(kind, weight)| {
                let is_it = at < weight;
                at = at.saturating_sub(weight);
                is_it.then_some(kind)
            })
            .unwrap_or(0);
        let transaction = &parsed.transactions[self.kind];
        self.group = context.group.pick(rng);
        context.keys.tag(self.group, &mut self.tag);
        self.variables.clear();
        self.variables.resize(transaction.names.len(), None);
        let known = [self.group as i64, context.groups as i64, context.keys_per_group as i64];
        for (place, number) in self
            .variables
            .iter_mut()
            .zip(known.into_iter().chain([i64::from(self.user), self.number]))
        {
            *place = Some(number);
        }
        let mut keys: Vec<u64> = Vec::new();
        for (at, pick) in &transaction.picks {
            let number = match *pick {
                Pick::Between(first, last) => rng.i64(first..=last),
                Pick::Key => {
                    keys.push(context.key.pick(rng));
                    keys[keys.len() - 1] as i64
                }
                Pick::OtherKey => {
                    let mut key = context.key.pick(rng);
                    // A group has at least as many keys as are picked, so this ends.
                    while keys.contains(&key) {
                        key = (key + 1) % context.keys_per_group;
                    }
                    keys.push(key);
                    key as i64
                }
            };
            self.variables[*at] = Some(number);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.tag)
    }

    fn kind(&self) -> usize {
        self.kind
    }

    fn begin_attempt(&mut self) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        let reads = Self::is_reading_at_all(transaction);
        self.round = if reads { Round::Read } else { Round::Write };
        (self.exec, self.has_no_value) = (Exec::NoReply, false);
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        let Self { workload, kind, tag, variables, round, word, has_no_value, .. } = self;
        let transaction = &workload.parsed.transactions[*kind];
        let mut good = Some(());
        match round {
            Round::Read => {
                if !transaction.watch.is_empty() {
                    let mut keys = Vec::with_capacity(transaction.watch.len());
                    for key in &transaction.watch {
                        good = good.and(key.fill(tag, variables, word));
                        keys.push(word.clone());
                    }
                    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    out.watch(&keys);
                }
                for (_, command) in &transaction.reads {
                    good = good.and(Self::send((tag, variables), command, false, word, out));
                }
            }
            Round::Write => {
                if transaction.multi {
                    out.multi();
                }
                for command in &transaction.write {
                    good = good.and(Self::send((tag, variables), command, true, word, out));
                }
                if transaction.multi {
                    out.exec();
                }
            }
            Round::Unwatch => out.unwatch(),
        }
        *has_no_value = good.is_none();
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        match self.round {
            Round::Read => {
                let first = usize::from(!transaction.watch.is_empty());
                let read = at.checked_sub(first).and_then(|at| transaction.reads.get(at));
                if let Some((place, _)) = read {
                    self.variables[*place] =
                        if reply == Reply::Null { Some(0) } else { reply.integer() };
                }
            }
            Round::Write if transaction.multi && at == transaction.write.len() + 1 => {
                self.exec = Exec::read(reply, transaction.write.len(), |_, _| {});
            }
            _ => {}
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        let transaction = &self.workload.parsed.transactions[self.kind];
        if self.has_no_value {
            let why = "an expression has no value: overflow or division by zero";
            return Next::Done(Outcome::Malformed(why.to_owned()));
        }
        Next::Done(match self.round {
            Round::Read => return self.finish_read(),
            Round::Unwatch if transaction.write.is_empty() => Outcome::Committed,
            Round::Unwatch => Outcome::Declined,
            Round::Write if transaction.multi => self.exec.outcome(),
            Round::Write => Outcome::Committed,
        })
    }

    fn fail_round(&mut self, is_unknown: bool, moment: &Moment) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        // Without MULTI, the commands before the refused one have run.
        let half_done =
            self.round == Round::Write && !transaction.multi && transaction.write.len() > 1;
        if is_unknown || half_done {
            self.record(true, moment);
        }
    }

    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        let place = self.group as usize;
        if is_unknown {
            self.workload.unknown[place].fetch_add(1, Relaxed);
        } else {
            self.workload.commits[place].fetch_add(1, Relaxed);
            let adds = transaction.adds.as_ref().and_then(|adds| adds.value(&self.variables));
            self.workload.added[place].fetch_add(adds.unwrap_or(0), Relaxed);
        }
        if transaction.write.is_empty() {
            return;
        }
        let picked = EVERYWHERE.len()..EVERYWHERE.len() + transaction.picks.len();
        let pairs = |range: std::ops::Range<usize>| {
            let pair = |at: usize| (at as u32, self.variables[at].unwrap_or_default());
            KeyValues::of(&range.map(pair).collect::<Vec<_>>())
        };
        self.workload.context.verifier.record(Record {
            moment: *moment,
            group: self.group,
            kind: self.kind,
            read: pairs(picked.end..self.variables.len()),
            wrote: pairs(picked),
            is_unknown,
        });
    }
}

/// A script that reads one group after the other with MULTI … EXEC and checks it.
pub(super) struct Audit {
    workload: Arc<FileWorkload>,
    rules: Vec<usize>,
    /// The index into `rules`.
    at: usize,
    group: u64,
    tag: Vec<u8>,
    commands: Vec<Vec<Vec<u8>>>,
    values: Vec<Option<i64>>,
    /// The key whose value is not a number, if there is one.
    odd_key: Option<u64>,
    exec: Exec,
}

impl Audit {
    pub(super) fn new(workload: Arc<FileWorkload>, rules: Vec<usize>) -> Self {
        Self {
            workload,
            rules,
            at: 0,
            group: 0,
            tag: Vec::new(),
            commands: Vec::new(),
            values: Vec::new(),
            odd_key: None,
            exec: Exec::NoReply,
        }
    }
}

impl Script for Audit {
    fn choose(&mut self, _chance: &mut Rng) {
        self.at = (self.at + 1) % self.rules.len();
        if self.at == 0 {
            self.group = (self.group + 1) % self.workload.context.groups;
        }
        let workload = &self.workload;
        workload.context.keys.tag(self.group, &mut self.tag);
        let rule = &workload.parsed.rules[self.rules[self.at]];
        let keys = 0..workload.times(rule.each);
        self.commands =
            keys.map(|key| workload.fill_command(&rule.read, self.group, key)).collect();
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.tag)
    }

    fn begin_attempt(&mut self) {
        self.exec = Exec::NoReply;
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        out.multi();
        for words in &self.commands {
            out.begin(words.len(), false);
            words.iter().for_each(|word| out.argument(word));
        }
        out.exec();
    }

    fn read_reply(&mut self, at: usize, reply: Reply<'_>) {
        if at == self.commands.len() + 1 {
            let Self { values, odd_key, .. } = self;
            values.clear();
            *odd_key = None;
            self.exec = Exec::read(reply, self.commands.len(), |key, value| match number(value) {
                Some(value) => values.push(value),
                None => *odd_key = Some(key as u64),
            });
        }
    }

    fn finish_round(&mut self, moment: &Moment) -> Next {
        if self.exec == Exec::Ran(None) {
            let rule = self.rules[self.at];
            if let Some(key) = self.odd_key {
                self.workload.mark_no_number(rule, self.group, key);
            } else if self.workload.verify_rule(rule, self.group, &self.values, Some(moment)) {
                self.workload.context.verifier.checked_during(rule, 1);
            }
        }
        Next::Done(Outcome::Committed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileNames, parse};
    use super::*;
    use crate::load::plan::Plan;
    use crate::load::random::{Purpose, rng};
    use crate::load::report::Verdict;
    use crate::load::workload::Context;
    use std::sync::atomic::{AtomicI64, AtomicU64};

    const FILE: &str = r#"
        [[transaction]]
        name = "look"
        pick = { k = "key" }
        read = { a = "GET $tag:x:$k" }
        [[invariant]]
        read = "GET $tag:x:$key"
        expect = "sum >= commits"
    "#;

    #[test]
    fn a_read_only_transaction_counts_as_a_commit_but_is_no_evidence() {
        let parsed = parse(FILE).expect("a good file");
        let names = FileNames { kinds: Vec::new(), variables: Vec::new() };
        let context = Context::new(&Plan::default(), &["an invariant"], Box::new(names));
        let groups = context.groups;
        let workload = Arc::new(FileWorkload {
            context,
            parsed,
            commits: (0..groups).map(|_| AtomicU64::new(0)).collect(),
            added: (0..groups).map(|_| AtomicI64::new(0)).collect(),
            unknown: (0..groups).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut script = Run::new(Arc::clone(&workload), 0);
        let moment = Moment::default();
        script.choose(&mut rng(1, 0, Purpose::Choices));
        script.begin_attempt();
        script.read_reply(0, Reply::of(b"$1\r\n5\r\n"));
        assert_eq!(script.finish_round(&moment), Next::Done(Outcome::Committed));
        script.record(false, &moment);
        assert_eq!(workload.commits[script.group as usize].load(Relaxed), 1);
        let verifier = &workload.context.verifier;
        verifier.record_violation(0, None, || "wrong".to_owned(), script.group, &[]);
        let verdicts = verifier.verdicts();
        let Verdict::Broken { evidence, .. } = &verdicts[0].verdict else { panic!("{verdicts:?}") };
        assert!(evidence[0].transactions.is_empty(), "{evidence:?}");
    }
}
