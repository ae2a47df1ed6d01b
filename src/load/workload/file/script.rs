//! What a user does by a workload file, and who looks at its invariants meanwhile.

use super::{Command, EVERYWHERE, FileWorkload, Pick, Transaction};
use crate::load::chance::Chance;
use crate::load::script::{Ask, Exec, Moment, Next, Outcome, Script};
use crate::load::verifier::{Facts, Note};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A user.
pub(super) struct Run {
    workload: Arc<FileWorkload>,
    user: u32,
    number: i64,
    /// Which transaction.
    kind: usize,
    group: u64,
    tag: Vec<u8>,
    /// By number: see [`EVERYWHERE`], then what is picked, then what is read.
    variables: Vec<Option<i64>>,
    step: Step,
    exec: Exec,
    /// Replies of a write without MULTI that are errors are the crew's to hear of.
    word: Vec<u8>,
    /// An expression that had no value.
    has_no_value: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Reading,
    Writing,
    Leaving,
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
            step: Step::Reading,
            exec: Exec::Strange,
            word: Vec::new(),
            has_no_value: false,
        }
    }

    fn is_reading_at_all(transaction: &Transaction) -> bool {
        !transaction.reads.is_empty() || !transaction.watch.is_empty()
    }

    fn settle(&self, moment: &Moment, unknown: bool) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        let place = self.group as usize;
        if unknown {
            self.workload.unknown[place].fetch_add(1, Relaxed);
        } else {
            self.workload.commits[place].fetch_add(1, Relaxed);
            let adds = transaction.adds.as_ref().and_then(|adds| adds.value(&self.variables));
            self.workload.added[place].fetch_add(adds.unwrap_or(0), Relaxed);
        }
        let picked = EVERYWHERE.len()..EVERYWHERE.len() + transaction.picks.len();
        let facts = |range: std::ops::Range<usize>| {
            let fact = |at: usize| (at as u32, self.variables[at].unwrap_or_default());
            Facts::of(&range.map(fact).collect::<Vec<_>>())
        };
        self.workload.ground.referee.note(Note {
            moment: *moment,
            group: self.group,
            kind: self.kind,
            read: facts(picked.end..self.variables.len()),
            wrote: facts(picked),
            unknown,
        });
    }

    fn send(
        (tag, variables): (&[u8], &[Option<i64>]),
        command: &Command,
        changes: bool,
        word: &mut Vec<u8>,
        ask: &mut Ask<'_>,
    ) -> Option<()> {
        ask.begin(command.words.len(), changes);
        let mut all = Some(());
        for template in &command.words {
            // A request once begun must be finished; without a value it fails as a whole.
            if template.fill(tag, variables, word).is_none() {
                all = None;
            }
            ask.argument(word);
        }
        all
    }
}

impl Script for Run {
    fn choose(&mut self, chance: &mut Chance) {
        let FileWorkload { ground, parsed, .. } = &*self.workload;
        self.number += 1;
        let weights = parsed.transactions.iter().map(|transaction| u64::from(transaction.weight));
        let mut at = chance.u64(0..weights.clone().sum::<u64>().max(1));
        self.kind = weights
            .enumerate()
            .find_map(|(kind, weight)| {
                let is_it = at < weight;
                at = at.saturating_sub(weight);
                is_it.then_some(kind)
            })
            .unwrap_or(0);
        let transaction = &parsed.transactions[self.kind];
        self.group = ground.group.pick(chance);
        ground.keys.tag(self.group, &mut self.tag);
        self.variables.clear();
        self.variables.resize(transaction.names.len(), None);
        let known = [self.group as i64, ground.groups as i64, ground.keys_per_group as i64];
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
                Pick::Between(first, last) => chance.i64(first..=last),
                Pick::Key => {
                    keys.push(ground.key.pick(chance));
                    keys[keys.len() - 1] as i64
                }
                Pick::OtherKey => {
                    let mut key = ground.key.pick(chance);
                    // There are more keys than are picked, so this ends.
                    while keys.contains(&key) {
                        key = (key + 1) % ground.keys_per_group;
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

    fn rewind(&mut self) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        let reads = Self::is_reading_at_all(transaction);
        self.step = if reads { Step::Reading } else { Step::Writing };
        (self.exec, self.has_no_value) = (Exec::Strange, false);
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        let Self { workload, kind, tag, variables, step, word, has_no_value, .. } = self;
        let transaction = &workload.parsed.transactions[*kind];
        let mut good = Some(());
        match step {
            Step::Reading => {
                if !transaction.watch.is_empty() {
                    let mut keys = Vec::with_capacity(transaction.watch.len());
                    for key in &transaction.watch {
                        good = good.and(key.fill(tag, variables, word));
                        keys.push(word.clone());
                    }
                    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    ask.watch(&keys);
                }
                for (_, command) in &transaction.reads {
                    good = good.and(Self::send((tag, variables), command, false, word, ask));
                }
            }
            Step::Writing => {
                if transaction.multi {
                    ask.multi();
                }
                for command in &transaction.write {
                    good = good.and(Self::send((tag, variables), command, true, word, ask));
                }
                if transaction.multi {
                    ask.exec();
                }
            }
            Step::Leaving => ask.unwatch(),
        }
        *has_no_value = good.is_none();
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        match self.step {
            Step::Reading => {
                let first = usize::from(!transaction.watch.is_empty());
                let read = at.checked_sub(first).and_then(|at| transaction.reads.get(at));
                if let Some((place, _)) = read {
                    self.variables[*place] =
                        if reply == Reply::Null { Some(0) } else { reply.integer() };
                }
            }
            Step::Writing if transaction.multi && at == transaction.write.len() + 1 => {
                self.exec = Exec::of(reply, transaction.write.len(), |_, _| {});
            }
            _ => {}
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        let transaction = &self.workload.parsed.transactions[self.kind];
        if self.has_no_value {
            self.settle(moment, true);
            let strange = "an expression without a value: an overflow or a division by zero";
            return Next::Done(Outcome::Malformed(strange.to_owned()));
        }
        let outcome = match self.step {
            Step::Reading => {
                let when = transaction.when.as_ref().map_or(Some(1), |w| w.value(&self.variables));
                let writes = !transaction.write.is_empty();
                match when {
                    None => {
                        let strange = "what was read is no number, or the condition has no value";
                        return Next::Done(Outcome::Malformed(strange.to_owned()));
                    }
                    Some(when) if when != 0 && writes => self.step = Step::Writing,
                    // Who has watched nothing can simply go.
                    Some(when) if transaction.watch.is_empty() => {
                        return Next::Done(if when == 0 {
                            Outcome::Declined
                        } else {
                            Outcome::Committed
                        });
                    }
                    Some(_) => self.step = Step::Leaving,
                }
                // The values of what is to be written are computed before anything is sent.
                if self.step == Step::Writing {
                    let words = transaction.write.iter().flat_map(|command| &command.words);
                    let mut word = std::mem::take(&mut self.word);
                    let good = words
                        .clone()
                        .all(|w| w.fill(&self.tag, &self.variables, &mut word).is_some());
                    self.word = word;
                    if !good {
                        let strange = "a value cannot be computed from what was read";
                        return Next::Done(Outcome::Malformed(strange.to_owned()));
                    }
                }
                return Next::Again;
            }
            Step::Leaving if transaction.write.is_empty() => Outcome::Committed,
            Step::Leaving => Outcome::Declined,
            Step::Writing if transaction.multi => self.exec.outcome(),
            Step::Writing => Outcome::Committed,
        };
        match outcome {
            Outcome::Committed => self.settle(moment, false),
            Outcome::Malformed(_) => self.settle(moment, true),
            Outcome::Declined | Outcome::Aborted => {}
        }
        Next::Done(outcome)
    }

    fn failed(&mut self, unknown: bool, moment: &Moment) {
        let transaction = &self.workload.parsed.transactions[self.kind];
        // Without MULTI, the commands before the one that was refused have run.
        let half_done =
            self.step == Step::Writing && !transaction.multi && transaction.write.len() > 1;
        if unknown || half_done {
            self.settle(moment, true);
        }
    }
}

/// Reads whole groups in MULTI … EXEC and judges them.
pub(super) struct Audit {
    workload: Arc<FileWorkload>,
    rules: Vec<usize>,
    /// Which rule of `rules`.
    at: usize,
    group: u64,
    tag: Vec<u8>,
    commands: Vec<Vec<Vec<u8>>>,
    values: Vec<Option<i64>>,
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
            exec: Exec::Strange,
        }
    }
}

impl Script for Audit {
    fn choose(&mut self, _chance: &mut Chance) {
        self.at = (self.at + 1) % self.rules.len();
        if self.at == 0 {
            self.group = (self.group + 1) % self.workload.ground.groups;
        }
        let workload = &self.workload;
        workload.ground.keys.tag(self.group, &mut self.tag);
        let rule = &workload.parsed.rules[self.rules[self.at]];
        let keys = 0..workload.times(rule.each);
        self.commands = keys.map(|key| workload.filled(&rule.read, self.group, key)).collect();
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.tag)
    }

    fn rewind(&mut self) {
        self.exec = Exec::Strange;
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        ask.multi();
        for words in &self.commands {
            ask.begin(words.len(), false);
            words.iter().for_each(|word| ask.argument(word));
        }
        ask.exec();
    }

    fn hear(&mut self, at: usize, reply: Reply<'_>) {
        if at == self.commands.len() + 1 {
            let values = &mut self.values;
            values.clear();
            self.exec =
                Exec::of(reply, self.commands.len(), |_, value| values.push(value.integer()));
        }
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        if self.exec == Exec::Ran(None) {
            let rule = self.rules[self.at];
            self.workload.ground.referee.checked_during(rule, 1);
            self.workload.judge(rule, self.group, &self.values, Some(moment));
        }
        Next::Done(Outcome::Committed)
    }
}
