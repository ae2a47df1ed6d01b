use super::id_map::IdMap;
use super::*;
use crate::rdb::{self, Decoded, Known};
use proptest::collection::vec;
use proptest::prelude::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A step on a stream.
#[derive(Clone, Debug)]
enum Act {
    Add(u64, u64, Fields),
    Delete(usize),
    TrimLen(u64, bool),
    TrimId(usize, bool),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..12),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (0..200_i64).prop_map(|n| n.to_string().into_bytes()),
        (0..900_usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let of_names = |names: &'static [&'static [u8]]| {
        vec(text(), names.len()).prop_map(|values| {
            names.iter().map(|name| name.to_vec()).zip(values).collect::<Vec<_>>()
        })
    };
    prop_oneof![
        3 => of_names(&[b"name", b"12"]),
        1 => of_names(&[b"name", b"13"]),
        1 => vec((text(), text()), 1..4),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..3_u64, 0..3_u64, fields()).prop_map(|(ms, seq, of)| Act::Add(ms, seq, of)),
        4 => any::<usize>().prop_map(Act::Delete),
        1 => (0..20_u64, any::<bool>()).prop_map(|(len, about)| Act::TrimLen(len, about)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, about)| Act::TrimId(at, about)),
    ]
}

fn limits() -> impl Strategy<Value = NodeLimits> {
    let sizes = prop::sample::select(&[(100, 4096), (1, 4096), (3, 0), (0, 200), (0, 0)][..]);
    sizes.prop_map(|(entries_max, bytes_max)| NodeLimits { entries_max, bytes_max })
}

fn text_of(element: crate::rdb::listpack_cursor::PackedElement<'_>) -> Vec<u8> {
    match element {
        crate::rdb::listpack_cursor::PackedElement::Int(value) => value.to_string().into_bytes(),
        crate::rdb::listpack_cursor::PackedElement::Text(text) => text.to_vec(),
    }
}

fn contents<'a>(entries: impl Iterator<Item = StreamEntry<'a>>) -> Vec<(StreamId, Fields)> {
    let of_entry = |entry: StreamEntry<'_>| {
        let pairs: Fields = entry.pairs().map(|(name, of)| (text_of(name), text_of(of))).collect();
        assert_eq!(pairs.len(), entry.fields());
        (entry.id(), pairs)
    };
    entries.map(of_entry).collect()
}

/// A stream as plain as can be.
#[derive(Default)]
struct Model {
    entries: BTreeMap<StreamId, Fields>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
}

impl Model {
    /// An id that is there, or was, or is near one.
    fn some_id(&self, at: usize) -> StreamId {
        let ids: Vec<StreamId> = self.entries.keys().copied().collect();
        match at % (ids.len() + 2) {
            0 => StreamId { ms: at as u64 % 7, seq: 1 },
            1 => self.last_id.next().unwrap_or(self.last_id),
            n => ids[n - 2],
        }
    }

    fn perform(&mut self, act: &Act, log: &mut StreamLog, limits: NodeLimits) {
        match act {
            Act::Add(ms, seq, fields) => {
                let mut id = StreamId { ms: self.last_id.ms + ms, seq: *seq };
                if id <= self.last_id {
                    id = self.last_id.next().expect("ids are small");
                }
                let pairs = fields.iter().map(|(name, value)| (&name[..], &value[..]));
                log.add(id, pairs, limits);
                self.entries.insert(id, fields.clone());
                self.last_id = id;
                self.added += 1;
            }
            Act::Delete(at) => {
                let id = self.some_id(*at);
                let is_there = self.entries.remove(&id).is_some();
                assert_eq!(log.delete(id), is_there);
                if is_there {
                    self.max_deleted_id = self.max_deleted_id.max(id);
                }
            }
            Act::TrimLen(len_max, is_approximate) => {
                let excess = (self.entries.len() as u64).saturating_sub(*len_max);
                self.trim(TrimTo::Len(*len_max), *is_approximate, excess, log);
            }
            Act::TrimId(at, is_approximate) => {
                let id = self.some_id(*at);
                let excess = self.entries.range(..id).count() as u64;
                self.trim(TrimTo::Id(id), *is_approximate, excess, log);
            }
        }
    }

    /// An exact trim removes just what exceeds, an approximate one no more than that.
    fn trim(&mut self, to: TrimTo, is_approximate: bool, excess: u64, log: &mut StreamLog) {
        let trimmed = log.trim(to, is_approximate, 0, |_| ());
        assert!(trimmed == excess || is_approximate && trimmed < excess, "{trimmed} of {excess}");
        for _ in 0..trimmed {
            self.entries.pop_first();
        }
    }

    fn check(&self, log: &StreamLog) {
        let all: Vec<(StreamId, Fields)> =
            self.entries.iter().map(|(id, fields)| (*id, fields.clone())).collect();
        assert_eq!(contents(log.range(StreamId::MIN, StreamId::MAX)), all);
        let mut backwards = contents(log.range_back(StreamId::MIN, StreamId::MAX));
        backwards.reverse();
        assert_eq!(backwards, all);
        assert_eq!(log.len(), all.len() as u64);
        let end = |entry: Option<&(StreamId, Fields)>| entry.map_or(StreamId::MIN, |(id, _)| *id);
        assert_eq!(log.first_id(), end(all.first()));
        assert_eq!(log.last_entry_id(), end(all.last()));
        assert_eq!(log.last_id, self.last_id);
        assert_eq!(log.max_deleted_id, self.max_deleted_id);
        assert_eq!(log.entries_added, self.added);
    }
}

fn restored(stream: &Stream) -> Stream {
    match rdb::decode(&rdb::encode_stream(&stream.parts(), Known::Redis7), Known::Redis7) {
        Ok(Decoded::Stream(parts)) => Stream::from_parts(*parts),
        other => panic!("{other:?} is no stream"),
    }
}

proptest! {
    #[test]
    fn a_stream_is_its_model(acts in vec(act(), 0..120), limits in limits(), edges: [usize; 2]) {
        let (mut model, mut stream) = (Model::default(), Stream::default());
        for act in &acts {
            model.perform(act, &mut stream.log, limits);
        }
        model.check(&stream.log);
        let ids = edges.map(|at| model.some_id(at));
        let (start, end) = (ids[0].min(ids[1]), ids[0].max(ids[1]));
        let within: Vec<(StreamId, Fields)> =
            model.entries.range(start..=end).map(|(id, of)| (*id, of.clone())).collect();
        prop_assert_eq!(&contents(stream.log.range(start, end)), &within);
        let mut backwards = contents(stream.log.range_back(start, end));
        backwards.reverse();
        prop_assert_eq!(backwards, within);
        prop_assert!(start == end || stream.log.range(end, start).next().is_none());
        for id in ids {
            let entry = stream.log.entry(id).map(|entry| entry.id());
            prop_assert_eq!(entry, model.entries.contains_key(&id).then_some(id));
        }
        model.check(&restored(&stream).log);
    }

    #[test]
    fn a_map_of_ids_is_a_sorted_map(
        steps in vec((0..40_u64, 0..5_u64, 0..4_u8), 0..600),
        descends: bool,
        from in (0..40_u64, 0..5_u64),
    ) {
        let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
        for (n, (ms, seq, how)) in steps.into_iter().enumerate() {
            let ms = if descends { 40 - ms } else { ms };
            let id = StreamId { ms: if how == 3 { n as u64 } else { ms }, seq };
            match how {
                0 | 3 => prop_assert_eq!(map.insert(id, n), model.insert(id, n)),
                1 => prop_assert_eq!(map.remove(id), model.remove(&id)),
                _ => prop_assert_eq!(map.get_mut(id).map(|value| { *value += 1; *value }),
                                     model.get_mut(&id).map(|value| { *value += 1; *value })),
            }
            prop_assert_eq!(map.len(), model.len());
        }
        let from = StreamId { ms: from.0, seq: from.1 };
        let of_model = |from| model.range(from..).map(|(id, value)| (*id, *value)).collect::<Vec<_>>();
        let of_map = |from| map.range(from).map(|(id, value)| (id, *value)).collect::<Vec<_>>();
        prop_assert_eq!(of_map(from), of_model(from));
        prop_assert_eq!(of_map(StreamId::MIN), of_model(StreamId::MIN));
        prop_assert_eq!(map.iter().count(), map.len());
        prop_assert_eq!((map.first(), map.last()),
                        (model.keys().next().copied(), model.keys().next_back().copied()));
        prop_assert!(model.keys().all(|id| map.get(*id) == model.get(id)));
    }

    #[test]
    fn what_is_pending_is_pending_with_one_consumer(
        steps in vec((0..30_u64, 0..4_usize, 0..8_u8), 0..300),
    ) {
        const NAMES: [&[u8]; 4] = [b"a", b"bob", b"c", b"12"];
        let (mut group, mut model) = (Group::new(StreamId::MIN, -1), BTreeMap::new());
        let mut present = [false; 4];
        for (n, (ms, who, how)) in steps.into_iter().enumerate() {
            let id = StreamId { ms, seq: 0 };
            match how {
                0..=3 => {
                    let number = group.add_consumer(NAMES[who], n as i64);
                    present[who] = true;
                    group.assign(id, number, n as i64, 1);
                    model.insert(id, (who, n as i64));
                }
                4..=6 => prop_assert_eq!(group.acknowledge(id), model.remove(&id).is_some()),
                _ => {
                    let before = model.len();
                    model.retain(|_, (its, _)| *its != who);
                    let expected = present[who].then_some(before - model.len());
                    prop_assert_eq!(group.remove_consumer(NAMES[who], || ()), expected);
                    present[who] = false;
                }
            }
            let pending: Vec<_> = group.pending().iter().map(|(id, pending)| {
                (id, (group.consumer_of(pending).name().to_vec(), pending.delivered_at))
            }).collect();
            let expected: Vec<_> =
                model.iter().map(|(id, (who, at))| (*id, (NAMES[*who].to_vec(), *at))).collect();
            prop_assert_eq!(pending, expected);
            let of_consumers: usize = group.consumers().map(|one| one.pending().len()).sum();
            prop_assert_eq!(of_consumers, model.len());
        }
        let mut stream = Stream::default();
        stream.add_group(b"g", group);
        let again = restored(&stream).parts();
        // Redis 7.0 does not store when a consumer was active.
        prop_assert_eq!(&again.groups[0].pending, &stream.parts().groups[0].pending);
    }

    /// Whatever a payload says, nothing that is done with the stream panics.
    #[test]
    fn changed_payloads_are_refused_or_usable(
        acts in vec(act(), 0..40),
        version in prop::sample::select(&[19_u8, 15, 21][..]),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 0..6),
        limits in limits(),
    ) {
        let (mut model, mut stream) = (Model::default(), Stream::default());
        for act in &acts {
            model.perform(act, &mut stream.log, limits);
        }
        let mut group = Group::new(StreamId { ms: 3, seq: 0 }, 1);
        let number = group.add_consumer(b"c", 5);
        model.entries.keys().for_each(|id| group.assign(*id, number, 7, 1));
        stream.add_group(b"g", group);
        let mut payload = rdb::encode_stream(&stream.parts(), Known::Redis7);
        payload.truncate(payload.len() - 10);
        payload[0] = version;
        for (at, byte, how) in changes {
            let at = at.index(payload.len());
            match how {
                0 => payload[at] = byte,
                1 => payload[at] ^= 1 << (byte % 8),
                2 => payload.insert(at, byte),
                _ if payload.len() > 1 => drop(payload.remove(at)),
                _ => {}
            }
        }
        let Ok(Decoded::Stream(parts)) = rdb::decode(&rdb::seal(payload), Known::Valkey9) else { return Ok(()) };
        let mut stream = Stream::from_parts(*parts);
        contents(stream.log.range(StreamId::MIN, StreamId::MAX));
        let ids: Vec<StreamId> =
            contents(stream.log.range_back(StreamId::MIN, StreamId::MAX)).iter().map(|(id, _)| *id).collect();
        let _shown = (stream.log.radix_nodes(), stream.memory(), stream.weight());
        for (_, group) in stream.groups() {
            let _lag = stream.log.lag(group, crate::dialect::Lags::Valkey9);
            assert_eq!(group.consumers().map(|one| one.pending().len()).sum::<usize>(), group.pending().len());
        }
        for id in ids.iter().step_by(2) {
            stream.log.delete(*id);
        }
        if let Some(id) = stream.log.next_id(9) {
            stream.log.add(id, [(&b"f"[..], &b"v"[..])].into_iter(), limits);
        }
        assert!(rdb::decode(&rdb::encode_stream(&stream.parts(), Known::Redis7), Known::Redis7).is_ok());
        stream.log.trim(TrimTo::Id(StreamId { ms: 4, seq: 0 }), false, 0, |_| ());
        stream.log.trim(TrimTo::Len(0), false, 0, |_| ());
    }
}

/// As counted by the reference: XINFO STREAM.
#[test]
fn the_radix_tree_has_the_nodes_that_redis_counts() {
    let one_by_one = NodeLimits { entries_max: 1, bytes_max: 0 };
    let count = |ids: &[(u64, u64)]| {
        let mut log = StreamLog::default();
        for &(ms, seq) in ids {
            log.add(StreamId { ms, seq }, [(&b"f"[..], &b"v"[..])].into_iter(), one_by_one);
        }
        log.radix_nodes()
    };
    assert_eq!(count(&[]), 1);
    assert_eq!(count(&[(1, 1)]), 2);
    assert_eq!(count(&[(1, 1), (1, 2)]), 4);
    assert_eq!(count(&[(1, 1), (2, 1)]), 6);
    assert_eq!(count(&[(1, 1), (256, 1)]), 6);
}
