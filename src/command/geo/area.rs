//! The area of a search, a circle or a box, and the nine cells that cover it.
//!
//! The cells are so large that the area is within the one of its centre and the eight around that.
//! Those that the area does not reach are left out. Every step is computed as Redis does it, with the
//! same rounding: which cells are searched, and in what order, decides the order of the results.

use super::cell::{Cell, Point, STEP_MAX};
use std::f64::consts::PI;

/// The earth's radius, in metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the length of the equator, in metres.
const HALF_EQUATOR: f64 = 20_037_726.37;
/// A degree, in radians.
const DEGREE: f64 = PI / 180.0;

/// What is searched; lengths are in `unit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// Where is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) centre: Point,
    pub(super) shape: Shape,
    /// One unit of the shape's lengths, in metres.
    pub(super) unit: f64,
}

/// Returns the distance of two points, in metres: along a great circle, by the haversine formula.
pub(super) fn distance(one: Point, other: Point) -> f64 {
    let (latitude, other_latitude) = (one.latitude * DEGREE, other.latitude * DEGREE);
    let (longitude, other_longitude) = (one.longitude * DEGREE, other.longitude * DEGREE);
    let u = ((other_latitude - latitude) / 2.0).sin();
    let v = ((other_longitude - longitude) / 2.0).sin();
    let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
    2.0 * EARTH_RADIUS * a.sqrt().asin()
}

/// Returns whether two latitudes, in degrees, are certainly further apart than so many metres. It
/// costs nothing beside the distance itself, which is off by less than a metre anywhere.
fn is_far_north_or_south(one: f64, other: f64, metres: f64) -> bool {
    (one - other).abs() * (DEGREE * EARTH_RADIUS) > metres * (1.0 + 1e-9) + 1.0
}

impl Area {
    /// Returns the distance of a point from the centre, in metres, if it is within the area.
    pub(super) fn distance_within(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let radius = radius * self.unit;
                if is_far_north_or_south(self.centre.latitude, point.latitude, radius) {
                    return None;
                }
                let distance = distance(self.centre, point);
                // Written so that NaN is within, as in Redis.
                if distance > radius { None } else { Some(distance) }
            }
            Shape::Box { width, height } => {
                let (width, height) = (width * self.unit, height * self.unit);
                if is_far_north_or_south(self.centre.latitude, point.latitude, height / 2.0) {
                    return None;
                }
                let to_west_or_east = Point { longitude: self.centre.longitude, ..point };
                let to_north_or_south = Point { latitude: self.centre.latitude, ..point };
                let is_outside = distance(point, to_west_or_east) > width / 2.0
                    || distance(point, to_north_or_south) > height / 2.0;
                if is_outside { None } else { Some(distance(self.centre, point)) }
            }
        }
    }

    /// Returns the edges of the area, in degrees: west, south, east, north.
    fn bounds(&self) -> [f64; 4] {
        let Point { longitude, latitude } = self.centre;
        let (height, width) = match self.shape {
            Shape::Circle { radius } => (self.unit * radius, self.unit * radius),
            Shape::Box { width, height } => (self.unit * (height / 2.0), self.unit * (width / 2.0)),
        };
        let north = height / EARTH_RADIUS / DEGREE;
        // The edge that is nearer to a pole spans more degrees.
        let widest = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = width / EARTH_RADIUS / (widest * DEGREE).cos() / DEGREE;
        [longitude - east, latitude - north, longitude + east, latitude + north]
    }

    /// Returns how many steps cells have that are about as large as the area.
    fn step(&self) -> u32 {
        let mut radius = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        radius *= self.unit;
        if radius == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1;
        while radius < HALF_EQUATOR {
            radius *= 2.0;
            step += 1;
        }
        // Cells become narrow towards the poles.
        let latitude = self.centre.latitude.abs();
        step -= 2 + i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }

    /// Returns the cells that cover the area, in the order in which they are searched. A cell that is
    /// the same as the one before it is left out.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> {
        let [west, south, east, north] = self.bounds();
        let mut step = self.step();
        let mut centre = self.centre.cell(step);
        let beside = |cell: Cell, east, north| cell.neighbour(east, north).edges();
        let is_too_small = beside(centre, 0, 1).north < north
            || beside(centre, 0, -1).south > south
            || beside(centre, 1, 0).east < east
            || beside(centre, -1, 0).west > west;
        if step > 1 && is_too_small {
            step -= 1;
            centre = self.centre.cell(step);
        }
        let edges = centre.edges();
        let is_reached = move |(to_east, to_north): (i8, i8)| {
            step < 2
                || !((edges.south < south && to_north < 0)
                    || (edges.north > north && to_north > 0)
                    || (edges.west < west && to_east < 0)
                    || (edges.east > east && to_east > 0))
        };
        /// East and north of the centre.
        const ORDER: [(i8, i8); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut last = None;
        ORDER.into_iter().filter(move |&place| is_reached(place)).filter_map(move |place| {
            let cell = centre.neighbour(place.0, place.1);
            // The centre is not compared, as in Redis.
            let is_same = last == Some(cell);
            last = if place == (0, 0) || is_same { last } else { Some(cell) };
            (!is_same).then_some(cell)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A point within the area is in one of the cells, wherever the cells do not end: near the
        /// poles and the date line Redis misses some, and so does this.
        #[test]
        fn cells_cover_the_area(
            longitude in -170.0..170.0_f64,
            latitude in -60.0..60.0_f64,
            // Up to some hundred kilometres.
            (radius, other) in (1.0..500_000.0_f64, 1.0..500_000.0_f64),
            (east, north) in (-1.0..1.0_f64, -1.0..1.0_f64),
            is_box: bool,
        ) {
            let centre = Point { longitude, latitude };
            let shape = match is_box {
                false => Shape::Circle { radius },
                true => Shape::Box { width: radius, height: other },
            };
            let area = Area { centre, shape, unit: 1.0 };
            let [west, south, most_east, most_north] = area.bounds();
            let point = Point {
                longitude: longitude + east * (most_east - west) / 2.0,
                latitude: latitude + north * (most_north - south) / 2.0,
            };
            prop_assume!(point.is_valid());
            let cells: Vec<Cell> = area.cells().collect();
            prop_assert!(!cells.is_empty() && cells.len() <= 9);
            if area.distance_within(point).is_some() {
                let score = point.cell(STEP_MAX).score();
                let is_in = |cell: &Cell| cell.scores().0 <= score && score < cell.scores().1;
                prop_assert_eq!(cells.iter().filter(|cell| is_in(cell)).count(), 1);
            }
        }

        #[test]
        fn any_area_has_cells(
            longitude in -180.0..=180.0_f64,
            latitude in -85.051_128_78..=85.051_128_78_f64,
            lengths in (
                prop_oneof![0.0..1e9_f64, Just(0.0), Just(f64::MAX), Just(f64::INFINITY), Just(1e-300)],
                prop_oneof![0.0..1e9_f64, Just(0.0), Just(f64::INFINITY)],
            ),
            unit in prop_oneof![Just(1.0), Just(1609.34)],
        ) {
            let centre = Point { longitude, latitude };
            for shape in [
                Shape::Circle { radius: lengths.0 },
                Shape::Box { width: lengths.0, height: lengths.1 },
            ] {
                let area = Area { centre, shape, unit };
                prop_assert!((1..=9).contains(&area.cells().count()));
                let _any = area.distance_within(Point::of_score(longitude));
            }
        }
    }
}
