//! Building a document from its text: packed where it is short.

use super::node::{Array, Json, Object};
use super::packed::{self, ARRAY, BODY_LEN_MAX, Children, HEAD_LEN, Number, Scalar};
use crate::keyspace::table::KeyHasher;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;

/// From so many members on, the keys of an object that is read are kept to find duplicates.
const KEYS_LINEAR_MAX: usize = 16;
/// A run of packed elements of a long array ends when it is about this long.
pub(super) const RUN_LEN: usize = BODY_LEN_MAX / 2;

impl Json {
    /// Reads the JSON value at the beginning of a text; whatever follows it is ignored, as RedisJSON
    /// ignores it. The nesting is limited (128).
    ///
    /// # Errors
    /// The text is malformed: where, in the words of the parser that RedisJSON has as well.
    pub fn parse(text: &str, hasher: &KeyHasher) -> Result<Self, serde_json::Error> {
        Self::from_reader(&mut serde_json::Deserializer::from_str(text), hasher)
    }

    /// The same, but nothing may follow the value.
    ///
    /// # Errors
    /// The text is malformed.
    pub fn parse_whole(text: &str, hasher: &KeyHasher) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Self::from_reader(&mut reader, hasher)?;
        reader.end()?;
        Ok(value)
    }

    fn from_reader<'de, R: serde_json::de::Read<'de>>(
        reader: &mut serde_json::Deserializer<R>,
        hasher: &KeyHasher,
    ) -> Result<Self, serde_json::Error> {
        let mut builder = Builder { hasher, bytes: Vec::new() };
        let tree = Value(&mut builder).deserialize(reader)?;
        Ok(tree.unwrap_or_else(|| {
            builder.bytes.shrink_to_fit();
            Self::Packed(builder.bytes.into())
        }))
    }
}

/// What is being built: `bytes` ends with the packed values whose containers are not complete.
struct Builder<'h> {
    hasher: &'h KeyHasher,
    bytes: Vec<u8>,
}

/// A value that was built: a tree, or `None` if it is packed at the end of the builder's bytes.
type Built = Option<Json>;

struct Value<'b, 'h>(&'b mut Builder<'h>);

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = Built;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Built, D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_, '_> {
    fn scalar<E>(self, scalar: Scalar<'_>) -> Result<Built, E> {
        packed::put(&mut self.0.bytes, scalar);
        Ok(None)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = Built;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Built, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Built, E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Built, E> {
        self.scalar(Scalar::Number(Number::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Built, E> {
        self.scalar(Scalar::Number(Number::Uint(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Built, E> {
        self.scalar(Scalar::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Built, E> {
        self.scalar(Scalar::String(value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Built, A::Error> {
        let builder = self.0;
        let mut array = NewArray::begin(builder);
        while let Some(built) = elements.next_element_seed(Value(builder))? {
            array.push(builder, built);
        }
        Ok(array.finish(builder))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Built, A::Error> {
        let builder = self.0;
        let mut object = NewObject::begin(builder);
        while let Some(place) = members.next_key_seed(Key { builder, object: &mut object })? {
            let built = members.next_value_seed(Value(builder))?;
            object.push(builder, place, built);
        }
        Ok(object.finish(builder))
    }
}

/// An array that is being built.
struct NewArray {
    /// Where its head is.
    at: usize,
    /// How many elements are behind the head.
    run: usize,
    /// Those before, if it has become a tree.
    tree: Option<Box<Array>>,
}

impl NewArray {
    fn begin(builder: &mut Builder<'_>) -> Self {
        let at = builder.bytes.len();
        packed::put_head(&mut builder.bytes, ARRAY);
        Self { at, run: 0, tree: None }
    }

    fn body(&self, builder: &Builder<'_>) -> usize {
        builder.bytes.len() - self.at - HEAD_LEN
    }

    fn push(&mut self, builder: &mut Builder<'_>, built: Built) {
        match built {
            Some(value) => self.flush(builder).push_one(value),
            None => {
                self.run += 1;
                let len_max = if self.tree.is_some() { RUN_LEN } else { BODY_LEN_MAX };
                if self.body(builder) > len_max {
                    self.flush(builder);
                }
            }
        }
    }

    fn flush(&mut self, builder: &mut Builder<'_>) -> &mut Array {
        let tree = self.tree.get_or_insert_default();
        let from = self.at + HEAD_LEN;
        tree.push_run(self.run, &builder.bytes[from..]);
        builder.bytes.truncate(from);
        self.run = 0;
        tree
    }

    fn finish(mut self, builder: &mut Builder<'_>) -> Built {
        if self.tree.is_none() {
            let body = self.body(builder);
            packed::set_head(&mut builder.bytes, self.at, body, self.run);
            return None;
        }
        self.flush(builder).pieces.shrink_to_fit();
        builder.bytes.truncate(self.at);
        self.tree.map(Json::Array)
    }
}

/// An object that is being built.
struct NewObject {
    /// Where its head is.
    at: usize,
    /// How many members are behind the head.
    count: usize,
    /// The hashes of their keys, from [`KEYS_LINEAR_MAX`] members on.
    hashes: HashSet<u64, foldhash::fast::FixedState>,
    /// All of them, if it has become a tree.
    tree: Option<Box<Object>>,
}

/// Where the value of a member goes.
enum Place {
    /// Behind its key, which is at the end of the bytes since they were so long.
    Behind(usize),
    /// In the place of an earlier value of that key.
    Over(Vec<u8>),
    /// Into the tree.
    Tree(Vec<u8>),
}

struct Key<'k, 'h> {
    builder: &'k mut Builder<'h>,
    object: &'k mut NewObject,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Place;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Place, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Place;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Place, E> {
        Ok(self.object.key(self.builder, key.as_bytes()))
    }
}

impl NewObject {
    fn begin(builder: &mut Builder<'_>) -> Self {
        let at = builder.bytes.len();
        packed::put_head(&mut builder.bytes, packed::OBJECT);
        Self { at, count: 0, hashes: HashSet::default(), tree: None }
    }

    fn members<'b>(&self, builder: &'b Builder<'_>) -> Children<'b> {
        Children::of_entries(&builder.bytes[self.at + HEAD_LEN..], self.count)
    }

    fn key(&mut self, builder: &mut Builder<'_>, key: &[u8]) -> Place {
        if self.tree.is_some() {
            return Place::Tree(key.into());
        }
        if self.may_have(builder, key) && self.members(builder).find(key).is_some() {
            return Place::Over(key.into());
        }
        let from = builder.bytes.len();
        packed::put_key(&mut builder.bytes, key);
        Place::Behind(from)
    }

    /// Whether the key may be there already.
    fn may_have(&mut self, builder: &Builder<'_>, key: &[u8]) -> bool {
        if self.count < KEYS_LINEAR_MAX {
            return true;
        }
        if self.hashes.is_empty() {
            let keys = self.members(builder).filter_map(|(key, _)| key);
            self.hashes = keys.map(|key| builder.hasher.wide_hash(key)).collect();
        }
        !self.hashes.insert(builder.hasher.wide_hash(key))
    }

    fn push(&mut self, builder: &mut Builder<'_>, place: Place, built: Built) {
        let key = match (place, built) {
            (Place::Behind(_), None) => {
                self.count += 1;
                if builder.bytes.len() - self.at - HEAD_LEN > BODY_LEN_MAX {
                    self.grow(builder, builder.bytes.len());
                }
                return;
            }
            (Place::Behind(from), Some(value)) => {
                let key = packed::key(&builder.bytes[from..]).to_vec();
                builder.bytes.truncate(from);
                self.grow(builder, from).put(&key, value);
                return;
            }
            (Place::Over(key) | Place::Tree(key), Some(value)) => {
                let end = builder.bytes.len();
                self.grow(builder, end).put(&key, value);
                return;
            }
            (Place::Over(key) | Place::Tree(key), None) => key,
        };
        // The value stands behind the members that are there, without its key.
        let members = self.members(builder);
        let end = match self.tree {
            Some(_) => self.at + HEAD_LEN,
            None => self.at + HEAD_LEN + members.byte_len(self.count),
        };
        let value = Json::Packed(builder.bytes[end..].into());
        builder.bytes.truncate(end);
        self.grow(builder, end).put(&key, value);
    }

    /// Makes it a tree of the members that end at `end`, if it is none.
    fn grow(&mut self, builder: &mut Builder<'_>, end: usize) -> &mut Object {
        let count = std::mem::take(&mut self.count);
        let from = self.at + HEAD_LEN;
        let tree = self.tree.get_or_insert_with(|| Box::new(Object::new(builder.hasher)));
        for (key, value) in Children::of_entries(&builder.bytes[from..end], count) {
            tree.put(key.unwrap_or_default(), Json::Packed(value.into()));
        }
        builder.bytes.truncate(from);
        tree
    }

    fn finish(self, builder: &mut Builder<'_>) -> Built {
        match self.tree {
            None => {
                let body = builder.bytes.len() - self.at - HEAD_LEN;
                packed::set_head(&mut builder.bytes, self.at, body, self.count);
                None
            }
            Some(tree) => {
                builder.bytes.truncate(self.at);
                Some(Json::Object(tree))
            }
        }
    }
}
