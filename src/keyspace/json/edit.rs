//! Changing a document. What is packed stays packed while it is short enough; else it becomes a tree,
//! one level at a time, from the document down to the place of the change.

use super::build::RUN_LEN;
use super::node::{Array, Json, Member, Piece};
use super::packed::{self, BODY_LEN_MAX, Children, HEAD_LEN, Unpacked};
use crate::keyspace::Blob;
use crate::keyspace::table::KeyHasher;
use std::ops::Range;

/// A run of packed elements that is longer is split.
const RUN_LEN_MAX: usize = 2 * RUN_LEN;

/// A child in the bytes of its packed container.
struct Found {
    /// Its value.
    value: Range<usize>,
    /// Its value with its key.
    whole: Range<usize>,
}

/// Finds child `at` in the children that begin at `from`.
fn find(bytes: &[u8], from: usize, mut children: Children<'_>, at: usize) -> Option<Found> {
    let start = from + children.byte_len(at);
    let child = children.nth(at)?;
    let end = start + packed::child_len(child);
    debug_assert!(end <= bytes.len(), "a child is inside of its container");
    Some(Found { value: end - child.1.len()..end, whole: start..end })
}

/// Returns the children of a packed container, if it is one.
fn children_of(bytes: &[u8]) -> Option<Children<'_>> {
    match packed::read(bytes) {
        Unpacked::Scalar(_) => None,
        Unpacked::Array(children) | Unpacked::Object(children) => Some(children),
    }
}

/// Puts `new` in the place of `range`.
fn splice(bytes: &mut Blob, range: Range<usize>, new: &[u8]) {
    if range.len() == new.len() {
        bytes.bytes_mut()[range].copy_from_slice(new);
        return;
    }
    let mut all = Vec::with_capacity(bytes.len() - range.len() + new.len());
    all.extend_from_slice(&bytes[..range.start]);
    all.extend_from_slice(new);
    all.extend_from_slice(&bytes[range.end..]);
    *bytes = all.into();
}

/// Changes the heads of containers that begin at these places: their bodies are `by` longer.
fn lengthen(bytes: &mut Blob, heads: &[usize], by: isize) {
    if by == 0 {
        return;
    }
    let bytes = bytes.bytes_mut();
    for &at in heads {
        let (body, children) = packed::head(&bytes[at..]);
        packed::set_head(bytes, at, body.saturating_add_signed(by), children);
    }
}

/// Replaces the value at `place` below the value that begins at `from`, if the containers around it
/// do not get too long; `around` are the heads of those outside of it.
fn update_packed(
    bytes: &mut Blob,
    from: usize,
    place: &[u32],
    change: &mut dyn FnMut(&mut Json),
) -> Option<Json> {
    let (mut heads, mut range) = (Vec::with_capacity(place.len()), from..from);
    range.end = from + packed::len_of(&bytes[from..]);
    for &at in place {
        let children = children_of(&bytes[range.start..])?;
        heads.push(range.start);
        range = find(bytes, range.start + HEAD_LEN, children, at as usize)?.value;
    }
    let mut value = Json::Packed(bytes[range.clone()].into());
    change(&mut value);
    let Json::Packed(new) = &value else { return Some(value) };
    let by = new.len() as isize - range.len() as isize;
    let body = heads.first().map_or(0, |&head| packed::head(&bytes[head..]).0);
    if body.saturating_add_signed(by) > BODY_LEN_MAX {
        return Some(value);
    }
    splice(bytes, range, new);
    lengthen(bytes, &heads, by);
    None
}

impl Json {
    /// Changes the value at a place, which exists: positions from the document down.
    pub fn update(&mut self, place: &[u32], hasher: &KeyHasher, change: &mut dyn FnMut(&mut Self)) {
        let Some((&first, rest)) = place.split_first() else { return change(self) };
        match self {
            Self::Packed(bytes) => {
                if let Some(value) = update_packed(bytes, 0, place, change) {
                    let mut value = Some(value);
                    self.grow(hasher);
                    debug_assert!(!matches!(self, Self::Packed(_)), "a place is in containers");
                    if !matches!(self, Self::Packed(_)) {
                        self.update(place, hasher, &mut |old| {
                            if let Some(value) = value.take() {
                                *old = value;
                            }
                        });
                    }
                }
            }
            Self::Array(array) => array.update(first as usize, rest, hasher, change),
            Self::Object(object) => {
                if (first as usize) < object.members.len() {
                    object.members.at_mut(first as usize).update(rest, hasher, change);
                }
            }
        }
    }

    /// Puts elements before element `at` of an array, or at its end.
    pub fn insert(&mut self, at: usize, elements: Vec<Self>, hasher: &KeyHasher) {
        if let Self::Packed(bytes) = self {
            let Unpacked::Array(children) = packed::read(bytes) else { return };
            let (body, count) = packed::head(bytes);
            let new = all_packed(&elements, BODY_LEN_MAX.saturating_sub(body));
            if let Some(new) = new {
                let from = HEAD_LEN + children.byte_len(at);
                splice(bytes, from..from, &new);
                let count = count + elements.len();
                packed::set_head(bytes.bytes_mut(), 0, body + new.len(), count);
                return;
            }
            self.grow(hasher);
        }
        if let Self::Array(array) = self {
            for (n, element) in elements.into_iter().enumerate() {
                array.insert(at + n, element);
            }
        }
    }

    /// Keeps only these elements of an array.
    pub fn keep(&mut self, range: Range<usize>) {
        match self {
            Self::Packed(bytes) => {
                let Unpacked::Array(children) = packed::read(bytes) else { return };
                let from = HEAD_LEN + children.byte_len(range.start);
                let to = HEAD_LEN + children.byte_len(range.end);
                let mut kept = bytes[..HEAD_LEN].to_vec();
                kept.extend_from_slice(&bytes[from..to]);
                packed::set_head(&mut kept, 0, to - from, range.len());
                *bytes = kept.into();
            }
            Self::Array(array) => array.keep(range),
            Self::Object(_) => {}
        }
    }

    /// Removes a child; the last member of an object moves into the place of the one that is removed.
    pub fn remove(&mut self, at: usize) {
        match self {
            Self::Packed(bytes) => remove_packed(bytes, at),
            Self::Array(array) => array.remove(at),
            Self::Object(object) => {
                if at < object.members.len() {
                    object.members.remove(at, &object.hasher);
                }
            }
        }
    }

    /// Sets a member of an object; a new one is the last.
    pub fn put(&mut self, key: &[u8], value: Self, hasher: &KeyHasher) {
        if let Self::Packed(bytes) = self {
            let Unpacked::Object(children) = packed::read(bytes) else { return };
            if let Some((at, _)) = children.find(key) {
                let mut value = Some(value);
                return self.update(&[at as u32], hasher, &mut |old| {
                    if let Some(value) = value.take() {
                        *old = value;
                    }
                });
            }
            let (body, count) = packed::head(bytes);
            if let Self::Packed(value) = &value
                && body + value.len() + key.len() + HEAD_LEN <= BODY_LEN_MAX
            {
                let mut new = Vec::with_capacity(key.len() + value.len() + HEAD_LEN);
                packed::put_key(&mut new, key);
                new.extend_from_slice(value);
                let end = bytes.len();
                splice(bytes, end..end, &new);
                packed::set_head(bytes.bytes_mut(), 0, body + new.len(), count + 1);
                return;
            }
            self.grow(hasher);
        }
        if let Self::Object(object) = self {
            object.put(key, value);
        }
    }
}

/// Returns these values in a row, if all are packed and they take no more than `len_max` bytes.
fn all_packed(values: &[Json], len_max: usize) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for value in values {
        let Json::Packed(bytes) = value else { return None };
        if all.len() + bytes.len() > len_max {
            return None;
        }
        all.extend_from_slice(bytes);
    }
    Some(all)
}

fn remove_packed(bytes: &mut Blob, at: usize) {
    let Some(children) = children_of(bytes) else { return };
    let (body, count) = packed::head(bytes);
    let Some(found) = find(bytes, HEAD_LEN, children, at) else { return };
    let mut rest = bytes[..found.whole.start].to_vec();
    let is_object = matches!(packed::read(bytes), Unpacked::Object(_));
    match find(bytes, HEAD_LEN, children, count - 1) {
        Some(last) if is_object && at + 1 < count => {
            rest.extend_from_slice(&bytes[last.whole.clone()]);
            rest.extend_from_slice(&bytes[found.whole.end..last.whole.start]);
        }
        _ => rest.extend_from_slice(&bytes[found.whole.end..]),
    }
    packed::set_head(&mut rest, 0, body - found.whole.len(), count - 1);
    *bytes = rest.into();
}

impl Array {
    fn update(
        &mut self,
        at: usize,
        rest: &[u32],
        hasher: &KeyHasher,
        change: &mut dyn FnMut(&mut Json),
    ) {
        let Some((p, at)) = self.piece_of(at) else { return };
        match &mut self.pieces[p] {
            Piece::One(value) => value.update(rest, hasher, change),
            Piece::Run { count, bytes } => {
                let from = Children::of_run(bytes, *count as usize).byte_len(at);
                let value = update_packed(bytes, from, rest, change);
                let is_long = bytes.len() > RUN_LEN_MAX && *count > 1;
                match value {
                    None if is_long => self.halve(p),
                    None => {}
                    Some(value) => {
                        let mut value = Some(value);
                        let p = self.single_out(p, at);
                        if let Piece::One(element) = &mut self.pieces[p] {
                            element.update(rest, hasher, &mut |old| {
                                if let Some(value) = value.take() {
                                    *old = value;
                                }
                            });
                        }
                    }
                }
            }
        }
    }

    /// Splits run `p` before element `at`, which is inside of it.
    fn split(&mut self, p: usize, at: usize) {
        let Piece::Run { count, bytes } = &self.pieces[p] else { return };
        let (count, at) = (*count, at as u32);
        let from = Children::of_run(bytes, count as usize).byte_len(at as usize);
        let behind = Piece::Run { count: count - at, bytes: bytes[from..].into() };
        self.pieces[p] = Piece::Run { count: at, bytes: bytes[..from].into() };
        self.pieces.insert(p + 1, behind);
    }

    fn halve(&mut self, p: usize) {
        let count = self.pieces[p].count();
        self.split(p, count / 2);
    }

    /// Makes element `at` of piece `p` a piece of its own; returns which one.
    fn single_out(&mut self, mut p: usize, at: usize) -> usize {
        if at > 0 {
            self.split(p, at);
            p += 1;
        }
        if self.pieces[p].count() > 1 {
            self.split(p, 1);
        }
        if let Piece::Run { bytes, .. } = &mut self.pieces[p] {
            self.pieces[p] = Piece::One(Json::Packed(std::mem::replace(bytes, (&[][..]).into())));
        }
        p
    }

    fn insert(&mut self, at: usize, element: Json) {
        self.len += 1;
        // An element between two pieces goes to the end of the first.
        let (p, at) = match at.checked_sub(1).and_then(|before| self.piece_of(before)) {
            Some((p, before)) => (p, before + 1),
            None => (0, 0),
        };
        let Json::Packed(new) = &element else {
            return self.insert_piece(p, at, Piece::One(element));
        };
        match self.pieces.get_mut(p) {
            Some(Piece::Run { count, bytes }) if bytes.len() + new.len() <= RUN_LEN_MAX => {
                let from = Children::of_run(bytes, *count as usize).byte_len(at);
                splice(bytes, from..from, new);
                *count += 1;
            }
            _ => {
                let run = Piece::Run { count: 1, bytes: new.clone() };
                self.insert_piece(p, at, run);
            }
        }
    }

    /// Puts a piece behind the first `at` elements of piece `p`.
    fn insert_piece(&mut self, p: usize, at: usize, piece: Piece) {
        match self.pieces.get(p).map(Piece::count) {
            None => self.pieces.push(piece),
            Some(_) if at == 0 => self.pieces.insert(p, piece),
            Some(count) if at == count => self.pieces.insert(p + 1, piece),
            Some(_) => {
                self.split(p, at);
                self.pieces.insert(p + 1, piece);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let Some((p, at)) = self.piece_of(at) else { return };
        self.len -= 1;
        match &mut self.pieces[p] {
            Piece::Run { count, bytes } if *count > 1 => {
                let children = Children::of_run(bytes, *count as usize);
                let Some(found) = find(bytes, 0, children, at) else { return };
                splice(bytes, found.whole, &[]);
                *count -= 1;
            }
            _ => {
                self.pieces.remove(p);
            }
        }
    }

    fn keep(&mut self, range: Range<usize>) {
        let mut begin = 0;
        let mut kept = Vec::new();
        for piece in std::mem::take(&mut self.pieces) {
            let count = piece.count();
            let from = range.start.clamp(begin, begin + count) - begin;
            let to = range.end.clamp(begin, begin + count) - begin;
            begin += count;
            match piece {
                _ if from >= to => {}
                Piece::Run { count, bytes } if to - from < count as usize => {
                    let children = Children::of_run(&bytes, count as usize);
                    let part = &bytes[children.byte_len(from)..children.byte_len(to)];
                    kept.push(Piece::Run { count: (to - from) as u32, bytes: part.into() });
                }
                piece => kept.push(piece),
            }
        }
        self.pieces = kept;
        self.len = self.pieces.iter().map(Piece::count).sum();
    }
}

impl Member {
    fn update(&mut self, rest: &[u32], hasher: &KeyHasher, change: &mut dyn FnMut(&mut Json)) {
        match self {
            Self::Packed(bytes) => {
                let from = bytes.len() - Self::packed_value(bytes).len();
                if let Some(value) = update_packed(bytes, from, rest, change) {
                    let mut value = Some(value);
                    let mut whole = Json::Packed(bytes[from..].into());
                    whole.update(rest, hasher, &mut |old| {
                        if let Some(value) = value.take() {
                            *old = value;
                        }
                    });
                    *self = Self::new(packed::key(bytes), whole);
                }
            }
            Self::Tree(member) => member.1.update(rest, hasher, change),
        }
    }
}
