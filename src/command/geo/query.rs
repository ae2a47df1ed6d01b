//! The arguments of GEOSEARCH, GEORADIUS and their kin.
//!
//! The four forms share their options. Each argument is checked as it is read, which decides
//! the error among several.

use super::area::{Area, Shape};
use super::cell::Point;
use crate::command::{Args, Refusal};
use crate::text::number::parse_f64;

/// A command of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// GEORADIUS key longitude latitude radius unit
    Radius { may_store: bool },
    /// GEORADIUSBYMEMBER key member radius unit
    RadiusByMember { may_store: bool },
    /// GEOSEARCH key
    Search,
    /// GEOSEARCHSTORE destination key
    SearchStore,
}

/// The order of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    AsFound,
    Ascending,
    Descending,
}

/// A search.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// `None` if the key is missing: then nothing is searched.
    pub(super) area: Option<Area>,
    pub(super) order: Order,
    /// How many are returned at most; 0 for all.
    pub(super) count: usize,
    /// ANY: the first ones that are found will do.
    pub(super) any: bool,
    pub(super) with_distance: bool,
    pub(super) with_hash: bool,
    pub(super) with_coordinates: bool,
    /// Where the results are stored.
    pub(super) store: Option<&'a [u8]>,
    /// The scores that are stored are distances.
    pub(super) stores_distance: bool,
}

/// The parts of an area, as far as they were read.
#[derive(Default)]
struct Parts {
    centre: Option<Point>,
    /// FROMMEMBER was given, or FROMLONLAT.
    from: Option<CentreBy>,
    shape: Option<(Shape, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CentreBy {
    Member,
    Coordinates,
}

/// Returns where a member is, `None` if there is no such member. Without it the key is missing.
pub(super) type Locate<'l> = Option<&'l dyn Fn(&[u8]) -> Option<Point>>;

const NO_MEMBER: Refusal = Refusal::of("ERR could not decode requested zset member");

/// Reads a number, with an error of its own.
fn number(arg: &[u8], error: &'static str) -> Result<f64, Refusal> {
    parse_f64(arg).ok_or(Refusal::of(error))
}

/// Reads longitude and latitude, arguments `at` and the next one.
pub(super) fn coordinates(args: Args<'_>, at: usize) -> Result<Point, Refusal> {
    let point = Point { longitude: args.float(at)?, latitude: args.float(at + 1)? };
    if point.is_valid() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    let pair = format!("{longitude:.6},{latitude:.6}");
    Err(Refusal::new(format!("ERR invalid longitude,latitude pair {pair}")))
}

/// Returns one of a unit in metres; argument `at`.
pub(super) fn unit(args: Args<'_>, at: usize) -> Result<f64, Refusal> {
    match () {
        () if args.is(at, "m") => Ok(1.0),
        () if args.is(at, "km") => Ok(1000.0),
        () if args.is(at, "ft") => Ok(0.3048),
        () if args.is(at, "mi") => Ok(1609.34),
        () => Err(Refusal::of("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// Reads radius and unit, arguments `at` and the next one.
fn circle(args: Args<'_>, at: usize) -> Result<(Shape, f64), Refusal> {
    let radius = number(args.at(at), "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Refusal::of("ERR radius cannot be negative"));
    }
    Ok((Shape::Circle { radius }, unit(args, at + 1)?))
}

/// Reads width, height and unit, arguments from `at` on.
fn box_of(args: Args<'_>, at: usize) -> Result<(Shape, f64), Refusal> {
    let width = number(args.at(at), "ERR need numeric width")?;
    let height = number(args.at(at + 1), "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(Refusal::of("ERR height or width cannot be negative"));
    }
    Ok((Shape::Box { width, height }, unit(args, at + 2)?))
}

impl<'a> Query<'a> {
    /// Reads the arguments.
    pub(super) fn of(args: Args<'a>, form: Form, locate: Locate<'_>) -> Result<Self, Refusal> {
        let mut query = Self {
            area: None,
            order: Order::AsFound,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_coordinates: false,
            store: (form == Form::SearchStore).then(|| args.at(1)),
            stores_distance: false,
        };
        let mut parts = Parts::default();
        let mut i = match form {
            Form::Radius { .. } => {
                parts.centre = Some(coordinates(args, 2)?);
                parts.shape = Some(circle(args, 4)?);
                6
            }
            Form::RadiusByMember { .. } => {
                if let Some(locate) = locate {
                    parts.centre = Some(locate(args.at(2)).ok_or(NO_MEMBER)?);
                    parts.shape = Some(circle(args, 3)?);
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => 3,
        };
        while i < args.len() {
            i += match query.read_option(args, form, i)? {
                0 => parts.read(args, form, i, locate)?,
                read => read,
            };
        }
        query.check(args, form, &parts)?;
        if let (Some(_), Some(centre), Some((shape, unit))) = (locate, parts.centre, parts.shape) {
            query.area = Some(Area { centre, shape, unit });
        }
        // The closest ones are meant, unless any will do.
        if query.count > 0 && query.order == Order::AsFound && !query.any {
            query.order = Order::Ascending;
        }
        Ok(query)
    }

    /// Reads the option at argument `i` and its values; returns how many arguments that are, 0 if it
    /// is none of these.
    fn read_option(&mut self, args: Args<'a>, form: Form, i: usize) -> Result<usize, Refusal> {
        let has_value = i + 1 < args.len();
        let may_store = matches!(
            form,
            Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true }
        );
        match () {
            () if args.is(i, "withdist") => self.with_distance = true,
            () if args.is(i, "withhash") => self.with_hash = true,
            () if args.is(i, "withcoord") => self.with_coordinates = true,
            () if args.is(i, "any") => self.any = true,
            () if args.is(i, "asc") => self.order = Order::Ascending,
            () if args.is(i, "desc") => self.order = Order::Descending,
            () if args.is(i, "count") && has_value => {
                let count = args.int(i + 1)?;
                self.count = usize::try_from(count)
                    .ok()
                    .filter(|&count| count > 0)
                    .ok_or(Refusal::of("ERR COUNT must be > 0"))?;
                return Ok(2);
            }
            () if args.is(i, "store") && has_value && may_store => {
                (self.store, self.stores_distance) = (Some(args.at(i + 1)), false);
                return Ok(2);
            }
            () if args.is(i, "storedist") && has_value && may_store => {
                (self.store, self.stores_distance) = (Some(args.at(i + 1)), true);
                return Ok(2);
            }
            () if args.is(i, "storedist") && form == Form::SearchStore => {
                self.stores_distance = true;
            }
            () => return Ok(0),
        }
        Ok(1)
    }

    /// Refuses options that do not go together, or are missing.
    fn check(&self, args: Args<'_>, form: Form, parts: &Parts) -> Result<(), Refusal> {
        let is_search = matches!(form, Form::Search | Form::SearchStore);
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_coordinates) {
            let what = if form == Form::SearchStore {
                "GEOSEARCHSTORE"
            } else {
                "STORE option in GEORADIUS"
            };
            return Err(Refusal::new(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let lacking = |what: &str| {
            // The name as the client has written it.
            let mut text = format!("ERR exactly one of {what} can be specified for ").into_bytes();
            text.extend_from_slice(args.at(0));
            Refusal::new(text)
        };
        if is_search && parts.from.is_none() {
            return Err(lacking("FROMMEMBER or FROMLONLAT"));
        }
        if is_search && parts.shape.is_none() {
            return Err(lacking("BYRADIUS and BYBOX"));
        }
        if self.any && self.count == 0 {
            return Err(Refusal::of("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

impl Parts {
    /// Reads a part of the area of GEOSEARCH, at argument `i`; returns how many arguments that are.
    fn read(
        &mut self,
        args: Args<'_>,
        form: Form,
        i: usize,
        locate: Locate<'_>,
    ) -> Result<usize, Refusal> {
        let values = args.len() - i - 1;
        if !matches!(form, Form::Search | Form::SearchStore) {
            return Err(Refusal::SYNTAX);
        }
        let is_circle = matches!(self.shape, Some((Shape::Circle { .. }, _)));
        let is_box = matches!(self.shape, Some((Shape::Box { .. }, _)));
        let may_be = |from: CentreBy| self.from.is_none_or(|own| own == from);
        match () {
            () if args.is(i, "frommember") && values >= 1 && may_be(CentreBy::Member) => {
                if let Some(locate) = locate {
                    self.centre = Some(locate(args.at(i + 1)).ok_or(NO_MEMBER)?);
                }
                self.from = Some(CentreBy::Member);
                Ok(2)
            }
            () if args.is(i, "fromlonlat") && values >= 2 && may_be(CentreBy::Coordinates) => {
                self.centre = Some(coordinates(args, i + 1)?);
                self.from = Some(CentreBy::Coordinates);
                Ok(3)
            }
            () if args.is(i, "byradius") && values >= 2 && !is_box => {
                self.shape = Some(circle(args, i + 1)?);
                Ok(3)
            }
            () if args.is(i, "bybox") && values >= 3 && !is_circle => {
                self.shape = Some(box_of(args, i + 1)?);
                Ok(4)
            }
            () => Err(Refusal::SYNTAX),
        }
    }
}
