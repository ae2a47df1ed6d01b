//! The list against a plain deque, after every step, and its memory against that of Redis.

use super::*;
use proptest::prelude::*;

#[test]
fn a_list_is_two_words() {
    assert_eq!(size_of::<List>(), 16);
}

#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<u8>),
    PushMany(End, usize),
    Pop(End, usize),
    Keep(usize, usize),
    Set(usize, Vec<u8>),
    InsertBeside(Vec<u8>, bool, Vec<u8>),
    Remove(Vec<u8>, End, usize),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

/// Mostly a few distinct ones, so that searches find something.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0_u32..12).prop_map(|n: u32| n.to_string().into_bytes()),
        2 => (0_u32..5).prop_map(|n| format!("text {n}").into_bytes()),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (100_usize..3000).prop_map(|len| vec![b'x'; len]),
        1 => (3000_usize..70_000).prop_map(|len| vec![b'x'; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (end(), text()).prop_map(|(end, text)| Step::Push(end, text)),
        3 => (end(), 1_usize..400).prop_map(|(end, count)| Step::PushMany(end, count)),
        4 => (end(), 1_usize..4).prop_map(|(end, count)| Step::Pop(end, count)),
        2 => (end(), 1_usize..900).prop_map(|(end, count)| Step::Pop(end, count)),
        1 => any::<(usize, usize)>().prop_map(|(a, b)| Step::Keep(a, b)),
        6 => (any::<usize>(), text()).prop_map(|(index, text)| Step::Set(index, text)),
        6 => (text(), any::<bool>(), text()).prop_map(|(p, b, t)| Step::InsertBeside(p, b, t)),
        3 => (text(), end(), prop_oneof![1_usize..4, Just(usize::MAX)])
            .prop_map(|(text, end, max)| Step::Remove(text, end, max)),
    ]
}

fn texts_of(iter: Iter<'_>) -> Vec<Vec<u8>> {
    iter.map(|text| text.to_vec()).collect()
}

fn apply_to_model(model: &mut VecDeque<Vec<u8>>, step: &Step) -> usize {
    let push = |model: &mut VecDeque<Vec<u8>>, end: End, text: Vec<u8>| match end {
        End::Front => model.push_front(text),
        End::Back => model.push_back(text),
    };
    let position = |model: &VecDeque<Vec<u8>>, sought: &Vec<u8>, end: End| match end {
        End::Front => model.iter().position(|text| text == sought),
        End::Back => model.iter().rposition(|text| text == sought),
    };
    match step {
        Step::Push(end, text) => push(model, *end, text.clone()),
        Step::PushMany(end, count) => {
            (0..*count).for_each(|n| push(model, *end, n.to_string().into_bytes()));
        }
        Step::Pop(End::Front, count) => drop(model.drain(..(*count).min(model.len()))),
        Step::Pop(End::Back, count) => model.truncate(model.len().saturating_sub(*count)),
        Step::Keep(start, end) => {
            *model = model.drain(*start..*end).collect();
        }
        Step::Set(index, text) => match model.get_mut(*index) {
            Some(old) => old.clone_from(text),
            None => return 0,
        },
        Step::InsertBeside(pivot, is_behind, text) => match position(model, pivot, End::Front) {
            Some(at) => model.insert(at + usize::from(*is_behind), text.clone()),
            None => return 0,
        },
        Step::Remove(text, end, max) => {
            let mut removed = 0;
            while removed < *max
                && let Some(at) = position(model, text, *end)
            {
                model.remove(at);
                removed += 1;
            }
            return removed;
        }
    }
    1
}

fn apply(list: &mut List, step: &Step, limit: PieceLimit) -> usize {
    match step {
        Step::Push(end, text) => list.push(*end, text, limit),
        Step::PushMany(end, count) => {
            (0..*count).for_each(|n| list.push(*end, n.to_string().as_bytes(), limit));
        }
        Step::Pop(end, count) => list.pop(*end, *count),
        Step::Keep(start, end) => list.keep(*start..*end),
        Step::Set(index, text) => return list.set(*index, text, limit).into(),
        Step::InsertBeside(pivot, is_behind, text) => {
            return list.insert_beside(pivot, *is_behind, text, limit, |_| ()).into();
        }
        Step::Remove(text, end, max) => {
            return list.remove(text, *end, *max, limit, |_| ());
        }
    }
    1
}

proptest! {
    #[test]
    fn behaves_as_a_deque(
        steps in prop::collection::vec(step(), 0..60),
        setting in prop_oneof![Just(-2_i64), Just(-1), Just(-5), Just(0), 1_i64..40],
        probes in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let limit = PieceLimit::of(setting);
        let (mut list, mut model) = (List::default(), VecDeque::new());
        for mut step in steps {
            match &mut step {
                Step::Keep(start, end) => {
                    (*start, *end) = (*start % (model.len() + 1), *end % (model.len() + 1));
                    (*start, *end) = (*(&*start).min(end), *(&*start).max(end));
                }
                // Sometimes one beyond the last.
                Step::Set(index, _) => *index %= model.len() + 1,
                _ => {}
            }
            prop_assert_eq!(
                apply(&mut list, &step, limit), apply_to_model(&mut model, &step), "{:?}", step
            );
            list.assert_invariants(limit);
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(&texts_of(list.iter()), &Vec::from(model.clone()));
        }
        let mut back = texts_of(list.iter_from(End::Back, 0));
        back.reverse();
        prop_assert_eq!(&back, &Vec::from(model.clone()));
        let peek = |end| list.peek(end).map(|text| text.to_vec());
        prop_assert_eq!(peek(End::Front), model.front().cloned());
        prop_assert_eq!(peek(End::Back), model.back().cloned());
        prop_assert!(list.get(model.len()).is_none());
        for probe in probes.iter().filter(|_| !model.is_empty()) {
            let index = probe.index(model.len());
            let found = list.get(index);
            prop_assert_eq!(found.as_deref(), Some(&model[index][..]));
            let rest: Vec<_> = model.range(index..).cloned().collect();
            prop_assert_eq!(texts_of(list.iter_from(End::Front, index)), rest);
            let mut rest: Vec<_> = model.range(..model.len() - index).cloned().collect();
            rest.reverse();
            prop_assert_eq!(texts_of(list.iter_from(End::Back, index)), rest);
            let (sought, text) = (EncodedElement::of(&model[index]), &model[index]);
            let mut iter = list.iter();
            for other in &model {
                prop_assert_eq!(iter.next_is(&sought), Some(other == text));
            }
            prop_assert_eq!(iter.next_is(&sought), None);
        }
    }
}

/// Returns what Redis takes for the same elements, by its layout: 40 bytes, and for every 8 KiB a
/// node of 32 bytes and a listpack, whose memory comes in the same classes.
fn theirs(texts: &[Vec<u8>]) -> usize {
    let (mut all, mut used) = (40, 0);
    for text in texts {
        if used == 0 || used + text.len() + 8 > 8192 {
            all += if used > 0 { 32 + piece::class(used) } else { 0 };
            used = 7;
        }
        used += crate::keyspace::packed_item::tests::listpack_entry_len(text);
    }
    all + 32 + piece::class(used)
}

#[test]
fn takes_no_more_memory_than_in_redis() {
    let limit = PieceLimit::of(-2);
    for count in [1, 2, 3, 10, 100, 1000, 100_000] {
        for kind in 0..3 {
            let texts: Vec<_> = (0..count)
                .map(|n| match kind {
                    0 => n.to_string().into_bytes(),
                    1 => format!("element:{n:012}").into_bytes(),
                    _ => vec![b'x'; 200],
                })
                .collect();
            for end in [End::Front, End::Back] {
                let mut list = List::default();
                texts.iter().for_each(|text| list.push(end, text, limit));
                let (ours, theirs) = (list.memory(), theirs(&texts));
                assert!(ours <= theirs, "{count} of kind {kind}: {ours} {theirs}");
                // And it shrinks with the elements.
                list.pop(End::Back, count - 1);
                assert!(list.memory() <= 256, "{} bytes", list.memory());
            }
        }
    }
}
