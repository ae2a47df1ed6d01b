//! The form of members in replies.

use crate::command::pace::{Strides, units};
use crate::resp::{Proto, Sink};
use crate::text::number::write_f64;

/// Writes members, one after the other. A member with its score is an array of two in RESP3 and two
/// elements in RESP2.
pub(super) struct Reply<'s, 'o, 'p> {
    pub(super) out: &'s mut Sink<'o>,
    pub(super) strides: Strides<'p>,
    with_scores: bool,
    pub(super) is_nested: bool,
    /// The digits of the current score, reused so that all of them take one allocation.
    digits: Vec<u8>,
}

impl<'s, 'o, 'p> Reply<'s, 'o, 'p> {
    pub(super) fn new(out: &'s mut Sink<'o>, strides: Strides<'p>, with_scores: bool) -> Self {
        let is_nested = with_scores && out.proto == Proto::Resp3;
        Self { out, strides, with_scores, is_nested, digits: Vec::new() }
    }

    pub(super) fn head(&mut self, members: usize) {
        let flat = self.with_scores && !self.is_nested;
        self.out.array(if flat { 2 * members } else { members });
    }

    pub(super) fn member(&mut self, name: &[u8], score: f64) {
        self.strides.step(units(name.len()));
        if self.is_nested {
            self.out.array(2);
        }
        self.out.bulk(name);
        if self.with_scores {
            self.score(score);
        }
    }

    pub(super) fn score(&mut self, score: f64) {
        match self.out.proto {
            Proto::Resp2 => {
                self.digits.clear();
                write_f64(&mut self.digits, score);
                self.out.bulk(&self.digits);
            }
            Proto::Resp3 => self.out.double(score),
        }
    }
}
