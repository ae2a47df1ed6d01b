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
    Origin::new(one).to(other).whole()
}

/// Returns the distance, in metres, of points whose haversine this is.
fn metres(haversine: f64) -> f64 {
    2.0 * EARTH_RADIUS * haversine.sqrt().asin()
}

/// A point that distances are measured from, in radians.
#[derive(Clone, Copy)]
struct Origin {
    longitude: f64,
    latitude: f64,
    /// Of the latitude.
    cosine: f64,
}

/// The way to another point.
#[derive(Clone, Copy)]
struct Way {
    /// The sines of half the differences.
    north: f64,
    east: f64,
    /// Of the latitudes, here and there.
    cosine: f64,
    other_cosine: f64,
}

impl Origin {
    fn new(point: Point) -> Self {
        let (longitude, latitude) = (point.longitude * DEGREE, point.latitude * DEGREE);
        Self { longitude, latitude, cosine: latitude.cos() }
    }

    fn to(self, point: Point) -> Way {
        let (longitude, latitude) = (point.longitude * DEGREE, point.latitude * DEGREE);
        Way {
            north: ((latitude - self.latitude) / 2.0).sin(),
            east: ((longitude - self.longitude) / 2.0).sin(),
            cosine: self.cosine,
            other_cosine: latitude.cos(),
        }
    }
}

impl Way {
    fn whole(self) -> f64 {
        let Self { north, east, cosine, other_cosine } = self;
        metres(north * north + cosine * other_cosine * east * east)
    }

    /// Along the meridian.
    fn northward(self) -> f64 {
        metres(self.north * self.north)
    }

    /// At the other latitude.
    fn eastward(self) -> f64 {
        metres(self.other_cosine * self.other_cosine * self.east * self.east)
    }
}

/// An area with what is computed once for many points.
pub(super) struct Sieve {
    centre: Point,
    from: Origin,
    /// In metres.
    shape: Shape,
    /// The differences in degrees beyond which a point is outside.
    north_max: f64,
    east_max: f64,
}

impl Sieve {
    /// Returns the distance of a point from the centre, in metres, if it is within the area.
    pub(super) fn distance(&self, point: Point) -> Option<f64> {
        // Most points are too far in one direction, which takes no sine to find.
        if (point.latitude - self.centre.latitude).abs() > self.north_max {
            return None;
        }
        let east = (point.longitude - self.centre.longitude).abs();
        if east.min(360.0 - east) > self.east_max {
            return None;
        }
        let way = self.from.to(point);
        // Written so that NaN is within, as in Redis.
        match self.shape {
            Shape::Circle { radius } => {
                let distance = way.whole();
                if distance > radius { None } else { Some(distance) }
            }
            Shape::Box { width, height } => {
                let is_outside = way.eastward() > width / 2.0 || way.northward() > height / 2.0;
                if is_outside { None } else { Some(way.whole()) }
            }
        }
    }
}

impl Area {
    /// Returns the test of points: which are within the area.
    pub(super) fn sieve(&self) -> Sieve {
        // A distance is off by less than a metre anywhere: points up to there are measured.
        let angle = |metres: f64| (metres * (1.0 + 1e-9) + 1.0) / EARTH_RADIUS;
        let degrees = |radians: f64| radians / DEGREE + 1e-5;
        let latitude = self.centre.latitude.abs();
        let (shape, north, east) = match self.shape {
            Shape::Circle { radius } => {
                let radius = radius * self.unit;
                let angle = angle(radius);
                // Where the meridian touches the circle, unless a pole is within it.
                let sine = angle.sin() / (latitude * DEGREE).cos();
                let east = if angle < PI / 2.0 && sine < 1.0 { sine.asin() } else { PI };
                (Shape::Circle { radius }, angle, east)
            }
            Shape::Box { width, height } => {
                let (width, height) = (width * self.unit, height * self.unit);
                let (north, half) = (angle(height / 2.0), angle(width / 2.0) / 2.0);
                // Nearest to a pole a metre spans the most degrees.
                let highest = (latitude * DEGREE + north).min(PI / 2.0);
                let sine = half.sin() / highest.cos();
                let east = if half < PI / 2.0 && sine < 1.0 { 2.0 * sine.asin() } else { PI };
                (Shape::Box { width, height }, north, east)
            }
        };
        Sieve {
            centre: self.centre,
            from: Origin::new(self.centre),
            shape,
            north_max: degrees(north),
            east_max: degrees(east),
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
            if area.sieve().distance(point).is_some() {
                let score = point.cell(STEP_MAX).score();
                let is_in = |cell: &Cell| cell.scores().0 <= score && score < cell.scores().1;
                prop_assert_eq!(cells.iter().filter(|cell| is_in(cell)).count(), 1);
            }
        }

        /// What is left out without being measured is outside.
        #[test]
        fn a_sieve_is_exact(
            centre in (-180.0..=180.0_f64, -85.0..=85.0_f64),
            other in (-180.0..=180.0_f64, -85.0..=85.0_f64),
            near in (-0.1..0.1_f64, -0.1..0.1_f64),
            is_near: bool,
            // As a share of the distance.
            share in prop_oneof![0.9999999..1.0000001_f64, 0.0..3.0_f64],
        ) {
            let point = |(longitude, latitude): (f64, f64)| Point { longitude, latitude };
            let centre = point(centre);
            let other = match is_near {
                false => point(other),
                true => point((centre.longitude + near.0, centre.latitude + near.1)),
            };
            let distance = distance(centre, other);
            let length = distance * share;
            let circle = Area { centre, shape: Shape::Circle { radius: length }, unit: 1.0 };
            let is_within = distance <= length;
            prop_assert_eq!(circle.sieve().distance(other).is_some(), is_within);
            let way = Origin::new(centre).to(other);
            for (width, height) in [(share, 1.1), (1.1, share), (share, share)] {
                let (width, height) = (width * 2.0 * way.eastward(), height * 2.0 * way.northward());
                let area = Area { centre, shape: Shape::Box { width, height }, unit: 1.0 };
                let is_within = !(way.eastward() > width / 2.0 || way.northward() > height / 2.0);
                prop_assert_eq!(area.sieve().distance(other).is_some(), is_within);
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
                let _any = area.sieve().distance(Point::of_score(longitude));
            }
        }
    }
}
