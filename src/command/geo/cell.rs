//! Cells of the earth's surface: longitude and latitude halved again and again.
//!
//! ```text
//! longitude  -180 … 180               bit 1 of each pair
//! latitude   -85.05112878 … 85.05…    bit 0 of each pair
//! ```
//!
//! A cell of `step` pairs of bits is one of 4^step. A member's score is its cell of 26 steps, 52 bits,
//! which a double holds exactly; a larger cell is a range of scores.

/// The steps of a member's cell.
pub(super) const STEP_MAX: u32 = 26;

/// The lowest and highest longitude.
pub(super) const LONGITUDE: (f64, f64) = (-180.0, 180.0);
/// The lowest and highest latitude, those of a square map (EPSG:3857).
pub(super) const LATITUDE: (f64, f64) = (-85.051_128_78, 85.051_128_78);
/// The latitudes of the usual geohash.
const WHOLE_LATITUDE: (f64, f64) = (-90.0, 90.0);

/// A point, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bits: u64,
    pub(super) step: u32,
}

/// The edges of a cell, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edges {
    pub(super) west: f64,
    pub(super) east: f64,
    pub(super) south: f64,
    pub(super) north: f64,
}

/// The bits of the longitude.
const LONGITUDE_BITS: u64 = 0xAAAA_AAAA_AAAA_AAAA;
/// The bits of the latitude.
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;

/// Returns the bits of `value` with a gap after each.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDE_BITS),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Returns every second bit, from the lowest on: undoes [`spread`].
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDE_BITS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// Returns the number of the part that `value` is in, of 2^step parts of a range.
fn part(value: f64, (low, high): (f64, f64), step: u32) -> u32 {
    ((value - low) / (high - low) * (1_u64 << step) as f64) as u32
}

impl Point {
    /// Returns whether it is within the limits.
    pub(super) fn is_valid(self) -> bool {
        let is_within = |value: f64, (low, high): (f64, f64)| !(value < low || value > high);
        is_within(self.longitude, LONGITUDE) && is_within(self.latitude, LATITUDE)
    }

    /// Returns the cell that it is in.
    pub(super) fn cell(self, step: u32) -> Cell {
        self.cell_between(LATITUDE, step)
    }

    fn cell_between(self, latitude: (f64, f64), step: u32) -> Cell {
        let latitude = part(self.latitude, latitude, step);
        let longitude = part(self.longitude, LONGITUDE, step);
        Cell { bits: spread(latitude) | spread(longitude) << 1, step }
    }

    /// Returns the point that a member's score stands for: the middle of its cell.
    pub(super) fn of_score(score: f64) -> Self {
        let edges = Cell { bits: bits_of(score), step: STEP_MAX }.edges();
        let middle = |low: f64, high: f64, (least, most): (f64, f64)| {
            // The maximum comes first, as in Redis; neither is NaN.
            ((low + high) / 2.0).min(most).max(least)
        };
        Self {
            longitude: middle(edges.west, edges.east, LONGITUDE),
            latitude: middle(edges.south, edges.north, LATITUDE),
        }
    }

    /// Returns the usual geohash, of 11 characters. 52 bits are enough for ten; the last is `0`.
    pub(super) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = self.cell_between(WHOLE_LATITUDE, STEP_MAX).bits;
        std::array::from_fn(|at| match at {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - 5 * (at + 1)) & 31) as usize],
        })
    }
}

/// Returns a score as the bits of a cell, converted as C does on x86-64, whatever the score is.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1_u64 << 63) as f64;
    if score < HALF {
        return score as i64 as u64;
    }
    let rest = score - HALF;
    let low = if rest < HALF { rest as i64 } else { i64::MIN };
    low as u64 ^ 1 << 63
}

/// Returns a score as the integer that WITHHASH shows.
pub(super) fn shown_bits(score: f64) -> i64 {
    // C converts a number too large to the lowest integer.
    if score < i64::MAX as f64 { score as i64 } else { i64::MIN }
}

impl Cell {
    /// Returns its bits as the score of a member.
    pub(super) fn score(self) -> f64 {
        self.aligned() as f64
    }

    /// Returns the lowest score within it, and the lowest one behind it.
    pub(super) fn scores(self) -> (f64, f64) {
        let next = Self { bits: self.bits.wrapping_add(1), ..self };
        (self.score(), next.score())
    }

    fn aligned(self) -> u64 {
        self.bits << (2 * (STEP_MAX - self.step))
    }

    /// Returns its edges.
    pub(super) fn edges(self) -> Edges {
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        // A power of two: multiplying is as exact as dividing.
        let share = 1.0 / (1_u64 << self.step) as f64;
        let edge =
            |part: u32, (low, high): (f64, f64)| low + f64::from(part) * share * (high - low);
        Edges {
            west: edge(longitude, LONGITUDE),
            east: edge(longitude.wrapping_add(1), LONGITUDE),
            south: edge(latitude, LATITUDE),
            north: edge(latitude.wrapping_add(1), LATITUDE),
        }
    }

    /// Returns the cell that is so many cells further east and north, at most one; beyond the last
    /// one comes the first.
    pub(super) fn neighbour(self, east: i8, north: i8) -> Self {
        let within = u64::MAX >> (64 - 2 * self.step);
        let moved = |own: u64, by: i8| {
            let (own, others) = (own & within, !own & within);
            let bits = self.bits & own;
            // A carry passes through the bits between.
            let moved = if by > 0 { (bits | others).wrapping_add(1) } else { bits.wrapping_sub(1) };
            moved & own
        };
        // What does not move keeps bits beyond its step, too.
        let longitude = match east {
            0 => self.bits & LONGITUDE_BITS,
            _ => moved(LONGITUDE_BITS, east),
        };
        let latitude = match north {
            0 => self.bits & LATITUDE_BITS,
            _ => moved(LATITUDE_BITS, north),
        };
        Self { bits: longitude | latitude, step: self.step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place() {
        let palermo = Point { longitude: 13.361_389, latitude: 38.115_556 };
        let cell = palermo.cell(STEP_MAX);
        assert_eq!(cell.bits, 3_479_099_956_230_698);
        let middle = Point::of_score(cell.score());
        assert!((middle.longitude - palermo.longitude).abs() < 1e-5);
        assert!((middle.latitude - palermo.latitude).abs() < 1e-5);
        assert_eq!(&middle.geohash(), b"sqc8b49rny0");
    }

    #[test]
    fn the_first_cell_comes_after_the_last() {
        for step in [1, 2, 13, STEP_MAX] {
            let corner = Cell { bits: 0, step };
            let opposite = corner.neighbour(-1, -1);
            assert_eq!(opposite.bits, u64::MAX >> (64 - 2 * step), "{step}");
            assert_eq!(opposite.neighbour(1, 1), corner, "{step}");
        }
    }

    #[test]
    fn any_score_is_a_point() {
        for score in [0.0, -1.0, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 4.6e18, 9.3e18] {
            let point = Point::of_score(score);
            assert!(point.is_valid(), "{score} {point:?}");
            let _any = (point.geohash(), shown_bits(score));
        }
        assert_eq!((bits_of(-1.0), bits_of(f64::INFINITY)), (u64::MAX, 0));
        assert_eq!((bits_of(1e19), shown_bits(1e19)), (10_000_000_000_000_000_000, i64::MIN));
    }

    proptest! {
        #[test]
        fn a_point_is_in_its_cell_and_neighbours_are_beside_it(
            longitude in LONGITUDE.0..LONGITUDE.1,
            latitude in LATITUDE.0..LATITUDE.1,
            step in 1..=STEP_MAX,
            (east, north) in (-1_i8..=1, -1_i8..=1),
        ) {
            let cell = Point { longitude, latitude }.cell(step);
            let edges = cell.edges();
            prop_assert!(edges.west <= longitude && longitude <= edges.east);
            prop_assert!(edges.south <= latitude && latitude <= edges.north);
            prop_assert_eq!(gather(spread(cell.bits as u32)), cell.bits as u32);
            let (low, high) = cell.scores();
            let own = Point { longitude, latitude }.cell(STEP_MAX).score();
            prop_assert!(low <= own && own < high);
            prop_assert_eq!(cell.neighbour(east, north).neighbour(-east, -north), cell);
            let other = cell.neighbour(east, 0).edges();
            let is_near = |one: f64, other: f64| (one - other).abs() < 1e-9;
            if east == 1 && edges.east < 179.9 {
                prop_assert!(is_near(other.west, edges.east));
            }
            if east == -1 && edges.west > -179.9 {
                prop_assert!(is_near(other.east, edges.west));
            }
        }
    }
}
