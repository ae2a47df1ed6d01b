//! The options of the commands for fields that expire, as Redis 8 and Valkey 9 read them. Which error
//! comes first is measured (`tests/transcripts/hash-expiry-*.txt`).

use crate::command::conditions::Conditions;
use crate::command::{Args, Cx, Refusal};
use crate::dialect::servers;
use crate::keyspace::Millis;
use crate::resp::until_nul;
use crate::text::number::parse_i64;

/// The latest time at which a field may expire in Redis, in milliseconds since the epoch.
const END_MAX: Millis = (1 << 46) - 1;

const NOT_POSITIVE: Refusal = Refusal::of("ERR Number of fields must be a positive integer");
const NO_FIELDS: Refusal =
    Refusal::of("ERR Mandatory argument FIELDS is missing or not at the right position");
const OTHER_NUMBER: Refusal =
    Refusal::of("ERR The `numfields` parameter must match the number of arguments");
const NEGATIVE: Refusal = Refusal::of("ERR invalid expire time, must be >= 0");
/// Valkey's for nearly all of these.
const NUMBER: Refusal =
    Refusal::of("ERR numfields should be greater than 0 and match the provided number of fields");

/// A time in an argument: a span from now, or a time since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// In milliseconds: 1 or 1000.
    pub(super) ms: Millis,
    /// Counted from now.
    pub(super) from_now: bool,
}

impl Unit {
    /// The options that name one.
    const WORDS: [(&'static str, Self); 4] = [
        ("ex", Self { ms: 1000, from_now: true }),
        ("px", Self { ms: 1, from_now: true }),
        ("exat", Self { ms: 1000, from_now: false }),
        ("pxat", Self { ms: 1, from_now: false }),
    ];

    fn of(args: Args<'_>, at: usize) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| args.is(at, word)).map(|&(_, unit)| unit)
    }

    /// Returns the time in argument `at`, in milliseconds since the epoch.
    pub(super) fn time(self, cx: &Cx<'_>, args: Args<'_>, at: usize) -> Result<Millis, Refusal> {
        let number = args.int(at)?;
        let is_valkey = cx.product.has_valkey_field_options;
        if number < 0 && !is_valkey {
            return Err(NEGATIVE);
        }
        let latest = if is_valkey { Millis::MAX } else { END_MAX };
        let from = if self.from_now { cx.now() } else { 0 };
        let time = number.checked_mul(self.ms).and_then(|span| span.checked_add(from));
        time.filter(|&time| number >= 0 && time <= latest).ok_or_else(|| {
            Refusal::invalid_expire(&String::from_utf8_lossy(args.at(0)).to_ascii_lowercase())
        })
    }
}

/// What a request does to the ends of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// HGETEX leaves it, HSETEX removes it.
    #[default]
    Unsaid,
    /// PERSIST: removes it.
    Clear,
    /// KEEPTTL: leaves it.
    Keep,
    /// Sets it to the time in this argument.
    At(Unit, usize),
}

/// Which fields a request names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    args: Args<'a>,
    first: usize,
    /// The argument behind the last one.
    end: usize,
    /// Arguments for each: 2 with values.
    step: usize,
}

impl<'a> Fields<'a> {
    /// Returns the fields.
    pub(super) fn names(self) -> impl Iterator<Item = &'a [u8]> {
        (self.first..self.end).step_by(self.step).map(move |at| self.args.at(at))
    }

    /// Returns the fields, each with the argument after it.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let Self { args, first, end, step } = self;
        (first..end).step_by(step).map(move |at| (args.at(at), args.at(at + 1)))
    }

    /// Returns how many there are.
    pub(super) fn len(self) -> usize {
        (self.end - self.first) / self.step
    }

    /// Reads them where Redis expects `FIELDS`, at argument `at`; `not_positive` says that their number
    /// is none.
    fn of_redis(args: Args<'a>, at: usize, not_positive: Refusal) -> Result<Self, Refusal> {
        if args.len() < at + 2 || !args.is(at, "fields") {
            return Err(NO_FIELDS);
        }
        let number = parse_i64(args.at(at + 1)).filter(|&number| number > 0).ok_or(not_positive)?;
        let fields = Self { args, first: at + 2, end: args.len(), step: 1 };
        if usize::try_from(number) != Ok(fields.len()) {
            return Err(OTHER_NUMBER);
        }
        Ok(fields)
    }

    /// Reads them where Valkey has found `FIELDS`, at argument `at`; `refusal` says that their number
    /// is another.
    fn of_valkey(
        args: Args<'a>,
        at: usize,
        step: usize,
        refusal: Refusal,
    ) -> Result<Self, Refusal> {
        let number = args.int(at + 1)?;
        let fields = Self { args, first: at + 2, end: args.len(), step };
        let given = args.len() - fields.first;
        let is_right = usize::try_from(number).ok().and_then(|number| number.checked_mul(step));
        if number <= 0 || is_right != Some(given) {
            return Err(refusal);
        }
        Ok(fields)
    }

    /// Returns where `FIELDS` is, from argument `from` on; something comes after it.
    fn find_in_valkey(args: Args<'a>, from: usize) -> Result<usize, Refusal> {
        (from..args.len() - 1).find(|&at| args.is(at, "fields")).ok_or(NUMBER)
    }

    /// Those of HTTL, HPERSIST, HGETDEL and their kin, which have no options: `FIELDS` is argument 2.
    pub(super) fn at_2(cx: &Cx<'_>, args: Args<'a>, asks: bool) -> Result<Self, Refusal> {
        if !cx.product.has_valkey_field_options {
            return Self::of_redis(args, 2, NOT_POSITIVE);
        }
        if !args.is(2, "fields") {
            return Err(Refusal::SYNTAX);
        }
        Self::of_valkey(args, 2, 1, if asks { Refusal::SYNTAX } else { NUMBER })
    }
}

/// The options of HEXPIRE and its kin.
pub(super) struct ExpireOptions<'a> {
    pub(super) time: Millis,
    pub(super) conditions: Conditions,
    pub(super) fields: Fields<'a>,
}

impl<'a> ExpireOptions<'a> {
    pub(super) fn of(cx: &Cx<'_>, args: Args<'a>, unit: Unit) -> Result<Self, Refusal> {
        if cx.product.has_valkey_field_options {
            let at = Fields::find_in_valkey(args, 3)?;
            let conditions = Conditions::of(args.from(3).take(at - 3))?;
            let fields = Fields::of_valkey(args, at, 1, NUMBER)?;
            return Ok(Self { time: unit.time(cx, args, 2)?, conditions, fields });
        }
        let time = unit.time(cx, args, 2)?;
        let not_positive = Refusal::of("ERR Parameter `numFields` should be greater than 0");
        if cx.product.is_of(servers::REDIS8_10) {
            let read = AnyOrder::read(cx, args, 3, Options::Expire(not_positive))?;
            return Ok(Self { time, conditions: read.conditions, fields: read.fields });
        }
        // One condition at the most.
        let mut conditions = Conditions::default();
        let mut at = 4;
        match () {
            () if args.is(3, "nx") => conditions.no_expiry = true,
            () if args.is(3, "xx") => conditions.has_expiry = true,
            () if args.is(3, "gt") => conditions.later = true,
            () if args.is(3, "lt") => conditions.earlier = true,
            () => at = 3,
        }
        Ok(Self { time, conditions, fields: Fields::of_redis(args, at, not_positive)? })
    }
}

/// Which options a command has that Redis 8.10 takes in any order, before the fields and behind them.
enum Options {
    /// A condition; and what is said of a number of fields that is none.
    Expire(Refusal),
    /// An end, or PERSIST.
    GetEx,
    /// An end or KEEPTTL, and FNX or FXX.
    SetEx,
}

impl Options {
    const ENDS_OF_HGETEX: Refusal =
        Refusal::of("ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified");
    const ENDS_OF_HSETEX: Refusal =
        Refusal::of("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
    const EXISTENCE: Refusal = Refusal::of("ERR Only one of FXX or FNX arguments can be specified");

    fn bad_number(&self) -> Refusal {
        match self {
            Self::Expire(refusal) => refusal.clone(),
            Self::GetEx | Self::SetEx => Refusal::of("ERR invalid number of fields"),
        }
    }
}

/// What was read of options in any order.
struct AnyOrder<'a> {
    conditions: Conditions,
    end: End,
    fields_exist: Option<bool>,
    fields: Fields<'a>,
}

impl<'a> AnyOrder<'a> {
    fn read(cx: &Cx<'_>, args: Args<'a>, first: usize, options: Options) -> Result<Self, Refusal> {
        let (mut given, mut end) = (Vec::new(), End::Unsaid);
        let (mut fields_exist, mut fields) = (None, None);
        let mut at = first;
        while at < args.len() {
            if args.is(at, "fields") {
                if fields.is_some() {
                    return Err(Refusal::of("ERR FIELDS keyword specified multiple times"));
                }
                let read = Self::fields_at(args, at, &options)?;
                fields = Some(read);
                at = read.end;
                continue;
            }
            at += match options {
                Options::Expire(_) => {
                    let words = ["nx", "xx", "gt", "lt"];
                    let word = words.into_iter().find(|word| args.is(at, word));
                    given.push(word.ok_or_else(|| unknown_argument(args, at))?);
                    1
                }
                Options::SetEx if args.is(at, "fnx") || args.is(at, "fxx") => {
                    if fields_exist.is_some() {
                        return Err(Options::EXISTENCE);
                    }
                    fields_exist = Some(args.is(at, "fxx"));
                    1
                }
                Options::GetEx | Options::SetEx => {
                    Self::end(cx, args, at, matches!(options, Options::SetEx), &mut end)?
                }
            };
        }
        let fields = fields.ok_or(Refusal::of("ERR missing FIELDS argument"))?;
        given.dedup();
        if given.len() > 1 {
            return Err(Refusal::of("ERR Multiple condition flags specified"));
        }
        let conditions = Conditions::of(given.into_iter().map(str::as_bytes))?;
        Ok(Self { conditions, end, fields_exist, fields })
    }

    fn fields_at(args: Args<'a>, at: usize, options: &Options) -> Result<Fields<'a>, Refusal> {
        let step = if matches!(options, Options::SetEx) { 2 } else { 1 };
        if matches!(options, Options::Expire(_)) && at + 2 >= args.len() {
            return Err(Refusal::of(
                "ERR FIELDS requires at least numfields and one field argument",
            ));
        }
        let Some(number) = args.get(at + 1) else {
            let name = String::from_utf8_lossy(args.at(0)).to_ascii_lowercase();
            return Err(Refusal::arity(&name));
        };
        let number = parse_i64(number).and_then(|number| i32::try_from(number).ok());
        let number = number.and_then(|number| usize::try_from(number).ok()).filter(|&n| n > 0);
        let number = number.ok_or_else(|| options.bad_number())?;
        let end = number.checked_mul(step).and_then(|count| count.checked_add(at + 2));
        let end = end.filter(|&end| end <= args.len());
        let end = end.ok_or(Refusal::of("ERR wrong number of arguments"))?;
        Ok(Fields { args, first: at + 2, end, step })
    }

    fn end(
        cx: &Cx<'_>,
        args: Args<'a>,
        at: usize,
        sets: bool,
        end: &mut End,
    ) -> Result<usize, Refusal> {
        let unit = Unit::of(args, at);
        let (word, without, twice) = match sets {
            true => ("keepttl", End::Keep, Options::ENDS_OF_HSETEX),
            false => ("persist", End::Clear, Options::ENDS_OF_HGETEX),
        };
        if unit.is_none() && !args.is(at, word) {
            return Err(unknown_argument(args, at));
        }
        if *end != End::Unsaid {
            return Err(twice);
        }
        let Some(unit) = unit else {
            *end = without;
            return Ok(1);
        };
        if at + 1 >= args.len() {
            return Err(Refusal::of("ERR missing expire time"));
        }
        unit.time(cx, args, at + 1)?;
        *end = End::At(unit, at + 1);
        Ok(2)
    }
}

fn unknown_argument(args: Args<'_>, at: usize) -> Refusal {
    Refusal::new([b"ERR unknown argument: ", until_nul(args.at(at))].concat())
}

impl<'a> From<AnyOrder<'a>> for UntilOptions<'a> {
    fn from(read: AnyOrder<'a>) -> Self {
        let AnyOrder { end, fields_exist, fields, .. } = read;
        Self { end, fields_exist, key_exists: None, fields }
    }
}

/// The options of HGETEX and HSETEX.
pub(super) struct UntilOptions<'a> {
    pub(super) end: End,
    /// FNX, or FXX: none of the fields may exist, or all of them have to.
    pub(super) fields_exist: Option<bool>,
    /// NX, or XX: the key may not exist, or has to.
    pub(super) key_exists: Option<bool>,
    pub(super) fields: Fields<'a>,
}

impl<'a> UntilOptions<'a> {
    pub(super) fn of_hgetex(cx: &Cx<'_>, args: Args<'a>) -> Result<Self, Refusal> {
        if cx.product.has_valkey_field_options {
            return Self::of_valkey(args, false);
        }
        if cx.product.is_of(servers::REDIS8_10) {
            return Ok(AnyOrder::read(cx, args, 2, Options::GetEx)?.into());
        }
        let (end, at) = match Unit::of(args, 2) {
            Some(unit) => {
                unit.time(cx, args, 3)?;
                (End::At(unit, 3), 4)
            }
            None if args.is(2, "persist") => (End::Clear, 3),
            None => (End::Unsaid, 2),
        };
        let fields = Fields::of_redis(args, at, NOT_POSITIVE)?;
        Ok(Self { end, fields_exist: None, key_exists: None, fields })
    }

    pub(super) fn of_hsetex(cx: &Cx<'_>, args: Args<'a>) -> Result<Self, Refusal> {
        if cx.product.has_valkey_field_options {
            return Self::of_valkey(args, true);
        }
        if cx.product.is_of(servers::REDIS8_10) {
            return Ok(AnyOrder::read(cx, args, 2, Options::SetEx)?.into());
        }
        let (mut end, mut fields_exist, mut at) = (End::Unsaid, None, 2);
        while at < args.len() {
            let unit = Unit::of(args, at).filter(|_| at + 1 < args.len());
            if args.is(at, "fields") {
                let fields = Self::fields_of_hsetex(args, at)?;
                return Ok(Self { end, fields_exist, key_exists: None, fields });
            } else if args.is(at, "fnx") || args.is(at, "fxx") {
                if fields_exist.is_some() {
                    return Err(Refusal::of(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                fields_exist = Some(args.is(at, "fxx"));
            } else if unit.is_some() || args.is(at, "keepttl") {
                if end != End::Unsaid {
                    return Err(Refusal::of(
                        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                    ));
                }
                end = unit.map_or(End::Keep, |unit| End::At(unit, at + 1));
                if let Some(unit) = unit {
                    unit.time(cx, args, at + 1)?;
                    at += 1;
                }
            } else {
                return Err(unknown_argument(args, at));
            }
            at += 1;
        }
        Err(Refusal::of("ERR missing FIELDS argument"))
    }

    fn fields_of_hsetex(args: Args<'a>, at: usize) -> Result<Fields<'a>, Refusal> {
        if args.len() < at + 4 {
            return Err(Refusal::arity("hsetex"));
        }
        let number =
            parse_i64(args.at(at + 1)).filter(|number| (1..=i64::from(i32::MAX)).contains(number));
        let number = number.ok_or(Refusal::of("ERR invalid number of fields"))?;
        let fields = Fields { args, first: at + 2, end: args.len(), step: 2 };
        if (args.len() - fields.first) as i64 != 2 * number {
            return Err(Refusal::arity("hsetex"));
        }
        Ok(fields)
    }

    fn of_valkey(args: Args<'a>, sets: bool) -> Result<Self, Refusal> {
        let behind = Fields::find_in_valkey(args, 2)?;
        let (mut end, mut fields_exist, mut key_exists) = (End::Unsaid, None, None);
        let mut at = 2;
        while at < behind {
            let unit = Unit::of(args, at).filter(|_| at + 1 < behind);
            let next = match unit {
                Some(unit) => End::At(unit, at + 1),
                None if sets && args.is(at, "keepttl") => End::Keep,
                None if !sets && args.is(at, "persist") => End::Clear,
                None => {
                    let (flag, wanted) = match () {
                        () if sets && args.is(at, "fnx") => (&mut fields_exist, false),
                        () if sets && args.is(at, "fxx") => (&mut fields_exist, true),
                        () if sets && args.is(at, "nx") => (&mut key_exists, false),
                        () if sets && args.is(at, "xx") => (&mut key_exists, true),
                        () => return Err(Refusal::SYNTAX),
                    };
                    if flag.replace(wanted).is_some_and(|before| before != wanted) {
                        return Err(Refusal::SYNTAX);
                    }
                    at += 1;
                    continue;
                }
            };
            let is_same = match (end, next) {
                (End::Unsaid, _) => true,
                (End::At(before, _), End::At(unit, _)) => before == unit,
                (before, next) => before == next,
            };
            if !is_same {
                return Err(Refusal::SYNTAX);
            }
            at += if unit.is_some() { 2 } else { 1 };
            end = next;
        }
        let fields = Fields::of_valkey(args, behind, if sets { 2 } else { 1 }, NUMBER)?;
        Ok(Self { end, fields_exist, key_exists, fields })
    }
}
