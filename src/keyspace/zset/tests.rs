//! The sorted set against a plain one: a map from members to scores, and the list of both in order.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRanks(usize, usize),
}

fn name(n: u32) -> Vec<u8> {
    // Some spell integers, some are too long to be stored in place.
    match n % 5 {
        0 => n.to_string(),
        1 => format!("a-member-with-a-long-name-{n}"),
        _ => format!("m{n}"),
    }
    .into_bytes()
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0_u32..4).prop_map(f64::from),
        4 => (-500_i32..500).prop_map(|n| f64::from(n) / 8.0),
        1 => Just(0.1),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn step(names: u32) -> impl Strategy<Value = Step> {
    let name = move || (0..names).prop_map(name);
    prop_oneof![
        12 => (name(), score()).prop_map(|(name, score)| Step::Set(name, score)),
        4 => name().prop_map(Step::Remove),
        1 => (0_usize..2000, 0_usize..30).prop_map(|(from, len)| Step::RemoveRanks(from, len)),
    ]
}

#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn in_order(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, &score)| (name.clone(), score)).collect();
        all.sort_by(|a, b| compare(a.1, b.1).then_with(|| a.0.cmp(&b.0)));
        all
    }
}

fn listed(members: Members<'_>) -> Vec<(Vec<u8>, f64)> {
    members.map(|(name, score)| (name.to_vec(), score)).collect()
}

/// Checks every read against the model.
fn assert_same(zset: &Zset, model: &Model, hasher: &KeyHasher) {
    zset.assert_invariants(hasher);
    let mut all = model.in_order();
    assert_eq!(zset.len(), all.len());
    assert_eq!(listed(zset.members()), all);
    let numbered = zset.indexed();
    let by_number: BTreeSet<_> = (0..all.len()).map(|n| numbered.at(n).0.to_vec()).collect();
    assert!(by_number.iter().eq(model.0.keys()));
    let probes = [f64::NEG_INFINITY, -0.0, 0.1, 2.0, 60.0, f64::INFINITY];
    let edges = probes
        .iter()
        .flat_map(|&score| [false, true].map(|is_exclusive| ScoreBound { score, is_exclusive }))
        .collect::<Vec<_>>();
    for &min in &edges {
        for &max in &edges {
            let fits = |score: f64| {
                (if min.is_exclusive { score > min.score } else { score >= min.score })
                    && (if max.is_exclusive { score < max.score } else { score <= max.score })
            };
            let ranks = zset.ranks_by_score(min, max);
            let wanted: Vec<_> = all.iter().filter(|(_, score)| fits(*score)).cloned().collect();
            assert_eq!(listed(zset.range(ranks, false)), wanted, "{min:?} {max:?}");
        }
    }
    for (rank, (name, score)) in all.iter().enumerate() {
        assert_eq!(zset.rank(name, hasher), Some(rank));
        assert_eq!(zset.score(name, hasher), Some(*score));
    }
    assert_eq!(zset.rank(b"missing", hasher), None);
    all.reverse();
    assert_eq!(listed(zset.range(0..all.len(), true)), all);
}

fn run(steps: Vec<Step>, limits: PackLimits, check_every: usize) {
    let hasher = KeyHasher::new(3);
    let (mut zset, mut model) = (Zset::default(), Model::default());
    let mut was_packed = true;
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::Set(name, score) => {
                let old = model.0.get(&name).copied();
                assert_eq!(zset.set(&name, score, limits, &hasher), old.is_none());
                was_packed &= old.is_some()
                    || (name.len() <= limits.value_len_max && model.0.len() < limits.entries_max);
                // Equal scores leave the member as it is, with the sign of its zero.
                if old != Some(score) {
                    model.0.insert(name, score);
                }
            }
            Step::Remove(name) => {
                let was_there = model.0.remove(&name).is_some();
                assert_eq!(zset.score(&name, &hasher).is_some(), was_there);
                assert_eq!(zset.remove(&name, &hasher), was_there);
            }
            Step::RemoveRanks(from, len) => {
                let all = model.in_order();
                let start = if all.is_empty() { 0 } else { from % all.len() };
                let end = (start + len).min(all.len());
                zset.remove_ranks(start..end, &hasher, || ());
                for (name, _) in &all[start..end] {
                    model.0.remove(name);
                }
            }
        }
        assert_eq!(zset.is_packed(), was_packed);
        if i % check_every == 0 {
            assert_same(&zset, &model, &hasher);
        }
    }
    assert_same(&zset, &model, &hasher);
    assert_same(&zset.clone(), &model, &hasher);
    for limits in [limits, PackLimits { entries_max: 0, value_len_max: 0 }] {
        let mut builder = ZsetBuilder::default();
        for (name, &score) in &model.0 {
            builder.put(name, 1.0, &hasher, |_| 1.0);
            builder.put(name, 7.0, &hasher, |_| score);
        }
        assert_eq!(builder.len(), model.0.len());
        assert_same(&builder.finish(limits), &model, &hasher);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_small_one_behaves_as_a_sorted_map(steps in prop::collection::vec(step(60), 0..150), entries_max in 0_usize..90) {
        run(steps, PackLimits { entries_max, value_len_max: 64 }, 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_large_one_behaves_as_a_sorted_map(steps in prop::collection::vec(step(2000), 0..4000)) {
        run(steps, PackLimits { entries_max: 0, value_len_max: 0 }, 1000);
    }

    /// Members added in order and removed from one end, as in a queue or a time window.
    #[test]
    fn a_queue_keeps_its_order(
        count in 1_u32..4000,
        pops in prop::collection::vec((any::<bool>(), 1_usize..400), 0..12),
        downwards in any::<bool>(),
    ) {
        let hasher = KeyHasher::new(3);
        let limits = PackLimits { entries_max: 0, value_len_max: 0 };
        let (mut zset, mut model) = (Zset::default(), Model::default());
        for n in 0..count {
            let score = if downwards { -f64::from(n) } else { f64::from(n) };
            zset.set(&name(n), score, limits, &hasher);
            model.0.insert(name(n), score);
        }
        zset.assert_invariants(&hasher);
        for (from_end, len) in pops {
            let all = model.in_order();
            let len = len.min(all.len());
            let ranks = if from_end { all.len() - len..all.len() } else { 0..len };
            zset.remove_ranks(ranks.clone(), &hasher, || ());
            for (name, _) in &all[ranks] {
                model.0.remove(name);
            }
            zset.assert_invariants(&hasher);
        }
        assert_same(&zset, &model, &hasher);
    }

    #[test]
    fn members_of_one_score_are_found_by_name(
        names in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..4), 0..400),
        probes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 1..6),
        entries_max in prop_oneof![Just(0_usize), Just(1000)],
    ) {
        let hasher = KeyHasher::new(3);
        let limits = PackLimits { entries_max, value_len_max: 64 };
        let mut zset = Zset::default();
        for name in &names {
            zset.set(name, 0.0, limits, &hasher);
        }
        let mut edges = vec![LexBound::First, LexBound::Last];
        edges.extend(probes.iter().flat_map(|probe| [LexBound::Inclusive(probe), LexBound::Exclusive(probe)]));
        for &min in &edges {
            for &max in &edges {
                let wanted: Vec<_> = names
                    .iter()
                    .filter(|name| !min.is_behind(name) && max.is_reached_from(name))
                    .cloned()
                    .collect();
                for from_end in [false, true] {
                    let found = zset.range(zset.ranks_by_lex(min, max, from_end), false);
                    let found: Vec<_> = found.map(|(name, _)| name.to_vec()).collect();
                    prop_assert_eq!(&found, &wanted, "{:?} {:?}", min, max);
                }
            }
        }
    }

    #[test]
    fn a_scan_meets_what_stays(
        stay in 0_u32..300,
        count in 1_usize..40,
        changes in prop::collection::vec((any::<bool>(), 1000_u32..1300), 0..400),
    ) {
        let (hasher, limits) = (KeyHasher::new(5), PackLimits { entries_max: 16, value_len_max: 64 });
        let mut zset = Zset::default();
        for n in (0..stay).chain(1000..1150) {
            zset.set(&name(n), n.into(), limits, &hasher);
        }
        let (mut met, mut cursor, mut changes) = (BTreeSet::new(), 0, changes.into_iter());
        loop {
            let (members, next) = zset.page(cursor, count, &hasher);
            met.extend(members.into_iter().map(|(name, _)| name.to_vec()));
            cursor = next;
            if cursor == 0 {
                break;
            }
            for (add, n) in changes.by_ref().take(9) {
                if add {
                    zset.set(&name(n), 0.0, limits, &hasher);
                } else {
                    zset.remove(&name(n), &hasher);
                }
            }
        }
        prop_assert!((0..stay).all(|n| met.contains(&name(n))));
    }
}

/// As in Redis, which keeps whole scores of small sorted sets as integers.
#[test]
fn the_sign_of_zero_is_kept_by_large_ones_only() {
    let hasher = KeyHasher::new(1);
    for (entries_max, bits) in [(0, (-0.0_f64).to_bits()), (1, 0)] {
        let (mut zset, limits) = (Zset::default(), PackLimits { entries_max, value_len_max: 9 });
        zset.set(b"m", -0.0, limits, &hasher);
        zset.set(b"m", 0.0, limits, &hasher);
        assert_eq!(zset.score(b"m", &hasher).map(f64::to_bits), Some(bits));
    }
}

/// What a listpack takes, and so what a pack may take at most: the score's digits are an entry too.
#[test]
fn a_pack_takes_no_more_than_a_listpack() {
    let hasher = KeyHasher::new(1);
    let limits = PackLimits { entries_max: 128, value_len_max: 64 };
    // An entry's encoding and length take a byte each; integers take 1, 2, 3, 4, 5 or 9 and one.
    let scores = [(0.0, 2), (127.0, 2), (-1.0, 3), (4000.0, 3), (-4097.0, 4), (70_000.0, 5)];
    let more = [(1_700_000_000.0, 6), (1_700_000_000_123.0, 10), (0.5, 5), (-0.0, 4), (0.1, 21)];
    for (score, listpack_bytes) in scores.into_iter().chain(more) {
        let mut zset = Zset::default();
        zset.set(b"member", score, limits, &hasher);
        let before = zset.memory();
        zset.set(b"nember", score, limits, &hasher);
        assert!(zset.memory() - before <= 1 + 6 + 1 + listpack_bytes, "{score}");
    }
}
