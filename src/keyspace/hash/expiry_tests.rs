//! Fields that expire, against a map of names to ends.

use super::*;
use crate::keyspace::entry::NEVER;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Set(u8),
    Update(u8),
    Remove(u8),
    SetEnd(u8, Millis),
    ClearEnd(u8),
    Pass(Millis),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0_u8..30;
    prop_oneof![
        3 => name().prop_map(Step::Set),
        1 => name().prop_map(Step::Update),
        1 => name().prop_map(Step::Remove),
        4 => (name(), 0_i64..60).prop_map(|(name, after)| Step::SetEnd(name, after)),
        1 => name().prop_map(Step::ClearEnd),
        2 => (0_i64..20).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Against a map of names to ends; packed and not.
    #[test]
    fn fields_expire_in_their_order(
        steps in prop::collection::vec(step(), 0..200),
        entries_max in prop_oneof![Just(512_usize), 0_usize..20],
    ) {
        let hasher = KeyHasher::new(7);
        let limits = PackLimits { entries_max, value_len_max: 64 };
        let (mut hash, mut now) = (Hash::default(), 1000);
        let mut model: BTreeMap<Vec<u8>, Option<Millis>> = BTreeMap::new();
        let name = |n: u8| format!("field:{n}").into_bytes();
        for step in steps {
            match step {
                Step::Set(n) => {
                    let is_new = model.insert(name(n), None).is_none();
                    prop_assert_eq!(hash.set(&name(n), b"1", limits, &hasher), is_new);
                }
                Step::Update(n) => {
                    let is_new = !model.contains_key(&name(n));
                    model.entry(name(n)).or_default();
                    prop_assert_eq!(hash.update(&name(n), b"2", limits, &hasher), is_new);
                }
                Step::Remove(n) => {
                    prop_assert_eq!(hash.remove(&name(n), &hasher), model.remove(&name(n)).is_some());
                }
                Step::SetEnd(n, after) => if let Some(end) = model.get_mut(&name(n)) {
                    *end = Some(now + after);
                    hash.set_end(&name(n), now + after, &hasher);
                },
                Step::ClearEnd(n) => {
                    let had = model.get_mut(&name(n)).and_then(Option::take).is_some();
                    prop_assert_eq!(hash.clear_end(&name(n), &hasher), had);
                }
                Step::Pass(ms) => {
                    now += ms;
                    let before = model.len();
                    model.retain(|_, end| end.is_none_or(|end| end >= now));
                    prop_assert_eq!(hash.take_due(now, &hasher), before - model.len());
                }
            }
            let ends = || model.values().filter_map(|end| *end);
            prop_assert_eq!((hash.len(), hash.ends()), (model.len(), ends().count()));
            if let Some((_, next)) = hash.times() {
                prop_assert_eq!(next, ends().min().unwrap_or(NEVER));
                let all = !model.is_empty() && ends().count() == model.len();
                prop_assert_eq!(hash.last_end(), ends().max().filter(|_| all));
            }
        }
        hash.assert_invariants(&hasher);
        for (name, end) in &model {
            prop_assert!(hash.contains(name, &hasher));
            prop_assert_eq!(hash.end(name, &hasher), *end);
        }
    }
}
