//! A request as the judge of what a cluster refuses sees it ([`judge::Command`]), read off its row.

use super::generic::{CopyOptions, DATABASES};
use super::{Args, Invocation, Run, SessionCommand, Spec, flag, sort};
use crate::ledger::judge::{self, Traits};
use crate::slot::Footprint;
use crate::text::number::parse_i64;
use std::borrow::Cow;

impl judge::Command for Invocation<'_> {
    fn name(&self) -> Cow<'_, str> {
        self.spec.full_name()
    }

    fn footprint(&self) -> Footprint {
        self.footprint
    }

    fn traits(&self) -> Traits {
        let Self { spec, args, .. } = *self;
        let has = |flag| spec.flags & flag != 0;
        Traits {
            reads_by_pattern: has(flag::READS_UNNAMED)
                && sort::reads_by_pattern(args, spec.writes()),
            is_node_local: has(flag::NODE_LOCAL),
            is_between_databases: has(flag::OTHER_DATABASE),
            chooses_database: chooses_database(spec, args),
            crosses_undeclared: spec.crosses_undeclared(args),
        }
    }

    fn each_with_slot(&self, found: &mut dyn FnMut(&[u8])) {
        self.spec.each_with_slot(self.args, found);
    }

    fn each_key(&self, found: &mut dyn FnMut(&[u8])) {
        self.spec.each_key(self.args, found);
    }

    fn glob(&self) -> Option<Cow<'_, [u8]>> {
        /// Where the options of SCAN begin.
        const OPTIONS: usize = 2;
        let at = match self.spec.name {
            "keys" => 1,
            "scan" => (OPTIONS..self.args.len()).find(|&at| self.args.is(at, "match"))? + 1,
            _ => return None,
        };
        self.args.get(at).map(Cow::Borrowed)
    }
}

impl Invocation<'_> {
    /// Whether a rule about single commands may be broken: most rows have nothing that one is about, and
    /// then the slots decide alone.
    #[must_use]
    pub(crate) fn may_break_rules(&self) -> bool {
        const MARKS: u64 =
            flag::READS_UNNAMED | flag::NODE_LOCAL | flag::OTHER_DATABASE | flag::NAMES_DATABASE;
        matches!(self.footprint, Footprint::Crossing { .. })
            || self.spec.flags & MARKS != 0
            || matches!(self.spec.run, Run::Session(SessionCommand::Select))
    }
}

/// Whether these arguments choose a database other than number 0.
fn chooses_database(spec: &Spec, args: Args<'_>) -> bool {
    match spec.run {
        Run::Session(SessionCommand::Select) => {
            let number = args.get(1).and_then(parse_i64);
            number.and_then(|number| i32::try_from(number).ok()).is_some_and(|number| number != 0)
        }
        _ => {
            spec.has(flag::NAMES_DATABASE)
                && CopyOptions::of(args, DATABASES).is_ok_and(|options| options.leaves_database_0())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that may break no rule have none of the traits that the rules are about.
    #[test]
    fn what_may_break_no_rule_breaks_none() {
        for line in [
            "get a",
            "sort a by w_*",
            "dbsize",
            "swapdb 0 1",
            "select 1",
            "copy a b db 1",
            "mget a b",
            "ping",
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let bytes = words.concat();
            let mut at = 0;
            let spans: Vec<crate::resp::Span> = words
                .iter()
                .map(|word| {
                    at += word.len();
                    crate::resp::Span::new(at - word.len(), word.len())
                })
                .collect();
            let call = crate::command::resolve(Args::new(&bytes, &spans)).expect(line);
            let breaks = judge::reach(&call).chain(judge::scope(&call, true)).count()
                + judge::choice(&call).into_iter().count();
            assert_eq!(breaks > 0, call.may_break_rules(), "{line}");
        }
    }

    /// What sees all keys of the shards in view and names none is node-local, and nothing else.
    #[test]
    fn node_local_rows_are_those_that_read_or_write_all_keys() {
        let rows =
            crate::command::all().flat_map(|spec| [spec].into_iter().chain(spec.subcommands));
        for spec in rows {
            let touches = spec.flags & (flag::READ | flag::WRITE) != 0;
            let sees_all = matches!(spec.run, Run::Cluster(_)) && spec.keys.is_empty() && touches;
            let is_marked = spec.flags & flag::NODE_LOCAL != 0;
            assert_eq!(is_marked, sees_all, "{}", spec.full_name());
        }
    }
}
