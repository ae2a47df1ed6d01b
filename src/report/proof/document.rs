//! What a check found, as plain data: the JSON document is this, field by field, and the other
//! formats are made from it.

use super::gaps::{self, Ended};
use super::groups;
use super::rows::{
    BaselineRow, BigRow, ClientRow, CommandRow, ConflictRow, ExampleRow, GroupRow, KeyRow,
    PatternRow, RuleRow, ShardRow, SlotRow, SourceRow, Totals, TroubleRow, ViolationRow, WayOutRow,
};
use super::{Baseline, EXIT_INPUT, EXIT_NOT_PROVEN, EXIT_VIOLATIONS};
use crate::ledger::key_stats::LargeKey;
use crate::ledger::price::Market;
use crate::ledger::rule::ROWS;
use crate::ledger::violation::{Example, ExampleKey, ViolationKind};
use crate::ledger::{CommandCounts, Group, Ledger, Origin, Rule, Spot, Weight};
use crate::slot::Slot;
use crate::text::display::{plural, printable};
use crate::topology::Topology;
use serde::Serialize;
use std::collections::HashMap;

/// The name and number of the document's schema.
pub(crate) const SCHEMA: &str = "slotway-proof/1";
/// The format of a source of which nothing was read.
pub(crate) const UNREAD: &str = "unread";
/// Most groups in a report: those that cross slots most often.
pub(crate) const GROUPS_MAX: usize = 256;
/// Most slots in a report: the busiest.
pub(crate) const HOT_MAX: usize = 16;
/// Kinds of warnings in the first lines of a page.
const OTHER_RESULTS_MAX: usize = 3;
/// Fewer uses of keys than this are a small run.
const SMALL_USES: u64 = 1000;
/// Most patterns in a report: the most used.
pub(crate) const PATTERNS_MAX: usize = 256;

/// Why a file was not read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Where.
    pub spot: Spot,
    /// The error.
    pub why: String,
    /// Of text: the lines that could not be read, if the rest was.
    pub lines: Option<u64>,
}

/// A file, stdin, or a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its name.
    pub name: String,
    /// The name of its format.
    pub format: &'static str,
    /// Why it is read as that; `None` where there was nothing to choose.
    pub why: Option<String>,
    /// Bytes read.
    pub bytes: u64,
    /// Why not all of it was read.
    pub trouble: Option<Trouble>,
    /// What could not be judged of what was read.
    pub gap: Option<String>,
}

/// What a report is made from.
#[derive(Debug)]
pub struct Found<'a> {
    /// What was recorded.
    pub ledger: &'a Ledger,
    /// Which shard owns which slot, or would.
    pub topology: &'a Topology,
    /// The command of this program that made it: `slotway check`.
    pub title: &'static str,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub schema: &'static str,
    pub version: &'static str,
    pub exit_code: u8,
    pub is_strict: bool,
    pub sources: Vec<SourceRow>,
    pub totals: Totals,
    pub rules: Vec<RuleRow>,
    pub violations: Vec<ViolationRow>,
    pub conflicts: Vec<ConflictRow>,
    pub commits_by_attempts: Vec<u64>,
    /// What has to be done so that every group is in one slot: the choices, the easiest first.
    pub way_out: Vec<WayOutRow>,
    pub groups: Vec<GroupRow>,
    pub patterns: Vec<PatternRow>,
    pub shards: Vec<ShardRow>,
    pub hot_slots: Vec<SlotRow>,
    pub big_keys: Vec<BigRow>,
    pub refused_commands: Vec<CommandRow>,
    pub unknown_commands: Vec<CommandRow>,
    /// What keeps it from being a proof; empty if nothing does.
    pub gaps: Vec<String>,
    pub baseline: Option<BaselineRow>,
    /// How the command of `slotway run` ended.
    #[serde(skip)]
    pub ended: Option<Ended>,
    /// As [`Found::title`].
    #[serde(skip)]
    pub title: &'static str,
    /// Uses of keys by slot, or stored keys if there were no commands: for the map.
    #[serde(skip)]
    pub map: Vec<u64>,
}

impl Report {
    /// Makes the report of what was found in `sources`. If strict, a warning fails, too.
    #[must_use]
    pub(crate) fn of(found: &Found<'_>, sources: &[Source], is_strict: bool) -> Self {
        Self::of_ended(found, sources, is_strict, None)
    }

    /// The same around a command, given how that ended.
    #[must_use]
    pub(crate) fn of_ended(
        found: &Found<'_>,
        sources: &[Source],
        is_strict: bool,
        ended: Option<Ended>,
    ) -> Self {
        let (ledger, counts) = (found.ledger, found.ledger.counts);
        let shards = found.topology.shards();
        let shard_of = |slot: Slot| found.topology.shard_of(slot);
        let groups = ledger.key_groups.groups();
        let violations = violations(ledger, &groups, &shard_of);
        // Not from the rows: some may have been evicted.
        let rules: Vec<RuleRow> = ROWS
            .iter()
            .map(|row| RuleRow {
                rule: row.name,
                weight: row.weight.name(),
                count: ledger.violations.count(row.rule),
                of: row.rule,
            })
            .collect();
        let units = |weight| ledger.violations.units(weight);
        let (errors, warnings) = (units(Weight::Error), units(Weight::Warning));
        let is_read = sources.iter().all(|source| source.trouble.is_none());
        let key_stats = &ledger.key_stats;
        let market = Market::new(key_stats, shards, &shard_of);
        let mut group_rows = groups::GroupRows::new(&market);
        let (refused, unknown) = (commands(&ledger.refused), commands(&ledger.unknown));
        let gaps = gaps::gaps(found, sources, &refused, &unknown, ended);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: match ended {
                Some(Ended { code: code @ 1.., .. }) => code,
                _ if !is_read => EXIT_INPUT,
                _ if !gaps.is_empty() => EXIT_NOT_PROVEN,
                _ if errors > 0 || is_strict && warnings > 0 => EXIT_VIOLATIONS,
                _ => 0,
            },
            is_strict,
            sources: sources.iter().map(source).collect(),
            totals: Totals {
                shards,
                commands: counts.commands,
                transactions: counts.transactions,
                scripts: counts.scripts,
                refused_commands: ledger.refused.total,
                foreign_commands: counts.foreign,
                divided_commands: counts.divided,
                unknown_commands: ledger.unknown.total,
                key_uses: key_stats.uses,
                stored_keys: key_stats.keys,
                stored_bytes: key_stats.bytes,
                different_keys: key_stats.different_keys(),
                is_exact: key_stats.is_exact() && !ledger.is_sampled,
                is_sampled: ledger.is_sampled,
                dropped: ledger.dropped,
                errors,
                warnings,
                conflicts: ledger.conflicts.total,
                forgotten_rows: ledger.forgotten(),
            },
            rules,
            violations,
            conflicts: conflicts(ledger),
            commits_by_attempts: ledger.conflicts.commits_by_attempts.to_vec(),
            way_out: groups::way_out(&groups, &market),
            groups: groups.iter().take(GROUPS_MAX).map(|group| group_rows.row(group)).collect(),
            patterns: patterns(ledger),
            shards: shard_rows(ledger, shards, &shard_of),
            hot_slots: hot_slots(ledger, &shard_of),
            big_keys: key_stats.big().iter().map(|big| big_row(big, &shard_of)).collect(),
            refused_commands: refused,
            unknown_commands: unknown,
            gaps,
            baseline: None,
            ended,
            title: found.title,
            map: key_stats
                .slots()
                .map(|(_, uses, keys, _)| if key_stats.uses > 0 { uses } else { keys })
                .collect(),
        }
    }

    /// Whether a kind of violation fails the check, unless it is known.
    #[must_use]
    pub(crate) fn counts(&self, row: &ViolationRow) -> bool {
        row.of.weight() == Weight::Error || self.is_strict
    }

    /// Lets the kinds of violations of a baseline pass; `file` is its name.
    pub(crate) fn allow(&mut self, baseline: &Baseline, file: &str) {
        self.violations.iter_mut().for_each(|row| row.is_known = baseline.knows(row));
        let failing = || self.violations.iter().filter(|row| self.counts(row));
        let known = failing().filter(|row| row.is_known).count();
        let new = failing().count() - known;
        // Evicted rows are counted by rule only: whether they were known cannot be decided.
        let of_failing = |row: &&RuleRow| self.is_strict || row.of.weight() == Weight::Error;
        let all: u64 = self.rules.iter().filter(of_failing).map(|row| row.count).sum();
        let has_all_rows = failing().map(|row| row.count).sum::<u64>() == all;
        if self.exit_code == EXIT_VIOLATIONS && new == 0 && has_all_rows {
            self.exit_code = 0;
        }
        let gone = baseline.gone(&self.violations);
        self.baseline = Some(BaselineRow { file: file.to_owned(), known, new, gone });
    }

    /// The outcome in a few words.
    #[must_use]
    pub(crate) fn verdict(&self) -> String {
        let errors = self.totals.errors;
        let violations = plural(errors, "violation");
        match self.exit_code {
            _ if !self.is_whole() => "not everything could be read".to_owned(),
            _ if !self.gaps.is_empty() && errors > 0 => format!("{violations}, and not proven"),
            _ if !self.gaps.is_empty() => "not proven".to_owned(),
            0 if errors > 0 => format!("nothing new: {violations} of known kinds"),
            0 => "no violations".to_owned(),
            _ if errors == 0 => plural(self.totals.warnings, "warning"),
            _ => violations,
        }
    }

    /// The rows that lead units, each with those that came with it in the same units.
    pub(super) fn leading(&self) -> Vec<(&ViolationRow, Vec<&ViolationRow>)> {
        let mut leading: Vec<(usize, &ViolationRow, Vec<&ViolationRow>)> = Vec::new();
        for (at, row) in self.violations.iter().enumerate() {
            // What led its unit may have been evicted.
            if row.units > 0 || row.within.is_none() {
                leading.push((at, row, Vec::new()));
            }
        }
        for row in self.violations.iter().filter(|row| row.units == 0) {
            let lead = leading.iter_mut().find(|(at, ..)| Some(*at) == row.within);
            if let Some((.., with)) = lead {
                with.push(row);
            }
        }
        leading.into_iter().map(|(_, row, with)| (row, with)).collect()
    }

    /// What a cluster would run with another result, and why: `keys a:* (a command that sees one node
    /// only)`.
    pub(super) fn other_results(&self) -> String {
        let leading = self.leading();
        let rows = leading.iter().map(|(row, _)| row).filter(|row| row.weight == "warning");
        let shown: Vec<String> = rows
            .clone()
            .take(OTHER_RESULTS_MAX)
            .map(|row| format!("{} ({})", printable(&row.command), row.title))
            .collect();
        let more = rows.count().saturating_sub(OTHER_RESULTS_MAX) as u64;
        let more =
            if more > 0 { format!(" and {} more", plural(more, "kind")) } else { String::new() };
        format!("a cluster would run it with another result: {}{more}", shown.join(", "))
    }

    /// The errors that no hashtag mends, among the rules that were broken.
    pub(super) fn other_rules(&self) -> impl Iterator<Item = Rule> {
        let is_broken = |rule: &Rule| self.violations.iter().any(|row| row.of == *rule);
        [Rule::ScriptWithoutKeys, Rule::OtherDatabase, Rule::SortByPattern]
            .into_iter()
            .filter(is_broken)
    }

    /// Whether all violations are by one client.
    pub(super) fn has_one_client(&self) -> bool {
        let mut clients = self.violations.iter().flat_map(|row| &row.clients);
        let first = clients.next();
        let is_first = |row: &ClientRow| first.is_some_and(|first| first.is_same(row));
        clients.all(is_first) && self.violations.iter().all(|row| row.other_clients == 0)
    }

    /// Whether so little was seen that tables of keys and slots would say nothing.
    pub(super) fn is_small(&self) -> bool {
        self.totals.stored_keys == 0 && self.totals.key_uses < SMALL_USES
    }

    /// Whether everything was read.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.sources.iter().all(|source| source.trouble.is_none())
    }

    /// Whether the command of `slotway run` failed.
    pub(super) fn has_failed(&self) -> bool {
        self.ended.is_some_and(|ended| ended.code != 0)
    }

    /// Whether it is the report of `slotway run`.
    pub(super) fn is_run(&self) -> bool {
        self.sources.iter().any(|source| source.format == "run")
    }

    /// Whether one hashtag fixes all.
    pub(super) fn has_one_tag(&self) -> bool {
        self.way_out.first().is_some_and(|way| way.tags.len() == 1 && way.mends == way.of)
    }

    /// The hashtag that would fix a violation.
    pub(super) fn tag_for(&self, row: &ViolationRow) -> Option<&str> {
        self.groups.get(row.group?)?.tag.as_deref()
    }
}

fn source(source: &Source) -> SourceRow {
    let trouble = source.trouble.as_ref().map(|trouble| TroubleRow {
        at: spot(trouble.spot).unwrap_or_default(),
        why: trouble.why.clone(),
        lines: trouble.lines,
    });
    SourceRow {
        name: source.name.clone(),
        format: source.format,
        why: source.why.clone(),
        bytes: source.bytes,
        trouble,
    }
}

fn spot(spot: Spot) -> Option<String> {
    match spot {
        Spot::Live => None,
        Spot::Line(number) => Some(format!("line {number}")),
        Spot::Byte(number) => Some(format!("byte {number}")),
    }
}

fn violations(
    ledger: &Ledger,
    groups: &[Group],
    shard_of: &dyn Fn(Slot) -> usize,
) -> Vec<ViolationRow> {
    let all = ledger.violations.rows();
    let at: HashMap<&ViolationKind, usize> =
        all.iter().enumerate().map(|(at, (kind, _))| (*kind, at)).collect();
    let rows = all.iter().map(|(kind, row)| ViolationRow {
        of: kind.rule,
        rule: kind.rule.name(),
        title: kind.rule.row().title,
        weight: kind.rule.weight().name(),
        command: kind.command.to_string(),
        patterns: kind.patterns.iter().map(ToString::to_string).collect(),
        count: row.count,
        units: row.units,
        within: row.within.as_ref().and_then(|lead| at.get(lead)).copied(),
        refused: row.refused,
        is_known: false,
        first_ms: row.first_ms,
        last_ms: row.last_ms,
        clients: row
            .clients
            .iter()
            .map(|(origin, count)| ClientRow {
                name: origin.name.clone(),
                library: origin.library.clone(),
                address: origin.address.clone(),
                test: origin.test.clone(),
                count: *count,
            })
            .collect(),
        other_clients: row.other_clients,
        examples: row.examples.iter().map(|example| example_row(example, shard_of)).collect(),
        advice: row.from.map(|from| from.to_string()),
        group: groups.iter().take(GROUPS_MAX).position(|group| {
            let mut patterns = kind.patterns.iter();
            !kind.patterns.is_empty() && patterns.all(|pattern| group.patterns.contains(pattern))
        }),
    });
    rows.collect()
}

fn example_row(example: &Example, shard_of: &dyn Fn(Slot) -> usize) -> ExampleRow {
    ExampleRow {
        keys: example.keys.iter().map(|key| key_row(key, shard_of)).collect(),
        keys_hidden: example.keys_hidden,
        place: example.place,
        client: example.origin.shown(),
        label: Origin { address: String::new(), ..example.origin.clone() }.shown(),
        at_ms: example.at_ms,
        spot: spot(example.spot),
        line: if let Spot::Line(number) = example.spot { Some(number) } else { None },
    }
}

/// The row of one key.
pub(super) fn key_row(key: &ExampleKey, shard_of: &dyn Fn(Slot) -> usize) -> KeyRow {
    let (slot, shard) = (key.slot.number(), shard_of(key.slot));
    let hex = key.bytes.as_ref().map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect());
    KeyRow { key: key.key.clone(), hex, hashed: key.hashed.clone(), slot, shard }
}

fn commands(counted: &CommandCounts) -> Vec<CommandRow> {
    let rows = counted.rows().into_iter();
    rows.map(|(command, count)| CommandRow { command: command.to_owned(), count }).collect()
}

fn conflicts(ledger: &Ledger) -> Vec<ConflictRow> {
    let rows = ledger.conflicts.rows().into_iter().map(|(kind, row)| ConflictRow {
        pattern: kind.pattern.to_string(),
        command: kind.command.to_string(),
        count: row.count,
        own: row.own,
        ages: row.ages.to_vec(),
        example: row.example.clone(),
        loser: row.loser.shown(),
        winner: row.winner.shown(),
    });
    rows.collect()
}

fn patterns(ledger: &Ledger) -> Vec<PatternRow> {
    let rows = ledger.key_stats.patterns().into_iter().take(PATTERNS_MAX);
    rows.map(|(pattern, stats)| PatternRow {
        pattern: pattern.to_string(),
        uses: stats.uses,
        keys: stats.keys,
        bytes: stats.bytes,
        bytes_max: stats.bytes_max,
        slots: stats.slots(),
        example: stats.example.clone(),
    })
    .collect()
}

fn shard_rows(ledger: &Ledger, shards: usize, shard_of: &dyn Fn(Slot) -> usize) -> Vec<ShardRow> {
    let mut rows: Vec<Option<ShardRow>> = vec![None; shards];
    for (slot, uses, keys, bytes) in ledger.key_stats.slots() {
        let shard = shard_of(slot);
        let Some(place) = rows.get_mut(shard) else { continue };
        let (number, none) = (slot.number(), (0, 0, 0));
        let row = place.get_or_insert(ShardRow {
            shard,
            first_slot: number,
            last_slot: number,
            uses: none.0,
            keys: none.1,
            bytes: none.2,
        });
        row.last_slot = number;
        row.uses += uses;
        row.keys += keys;
        row.bytes += bytes;
    }
    rows.into_iter().flatten().collect()
}

fn hot_slots(ledger: &Ledger, shard_of: &dyn Fn(Slot) -> usize) -> Vec<SlotRow> {
    let key_stats = &ledger.key_stats;
    let all = if key_stats.uses > 0 { key_stats.uses } else { key_stats.keys };
    let weight = |uses: u64, keys: u64| if key_stats.uses > 0 { uses } else { keys };
    let mut rows: Vec<SlotRow> = key_stats
        .slots()
        .filter(|&(_, uses, keys, _)| weight(uses, keys) > 0)
        .map(|(slot, uses, keys, bytes)| SlotRow {
            slot: slot.number(),
            shard: shard_of(slot),
            uses,
            keys,
            bytes,
            share: weight(uses, keys) as f64 / all as f64,
        })
        .collect();
    rows.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.slot.cmp(&b.slot)));
    rows.truncate(HOT_MAX);
    rows
}

fn big_row(big: &LargeKey, shard_of: &dyn Fn(Slot) -> usize) -> BigRow {
    BigRow {
        key: big.key.clone(),
        kind: big.kind.clone(),
        bytes: big.bytes,
        slot: big.slot.number(),
        shard: shard_of(big.slot),
    }
}
