//! The plain road, kept to compare the fast one with: a line at a time, each part of it looked for from the
//! start, every word copied, every command fed to the replay before the next line is looked at.

use super::connections::Shown;
use super::line::{Prefix, is_around, split};
use super::*;
use crate::report::Report;
use crate::report::proof::json;
use proptest::prelude::*;

/// What MONITOR shows, taken apart by cutting.
fn bare(line: &[u8]) -> Option<MonitorLine<'_>> {
    fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
        let place = text.iter().position(|&byte| byte == at)?;
        Some((&text[..place], &text[place + 1..]))
    }
    let whole = |digits: &[u8]| -> Option<u64> {
        let is_plain = digits.iter().all(u8::is_ascii_digit);
        is_plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
    };
    let line = line.strip_prefix(b"+").unwrap_or(line);
    let (time, rest) = cut(line, b' ')?;
    let (seconds, parts) = cut(time, b'.')?;
    let is_time = (1..=12).contains(&seconds.len())
        && (3..=12).contains(&parts.len())
        && parts.iter().all(u8::is_ascii_digit);
    let seconds = is_time.then(|| whole(seconds)).flatten()?;
    let digits = parts.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    let parts = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let rest = rest.strip_prefix(b"[")?;
    let (database, rest) = cut(rest, b' ')?;
    let close = rest.windows(3).position(|three| three == b"] \"")?;
    Some(MonitorLine {
        prefix: Prefix::default(),
        at_us: seconds * 1_000_000 + parts,
        database: whole(database)?,
        client: &rest[..close],
        command: &rest[close + 2..],
        client_and_command: rest,
    })
}

/// Reads a recording of one server, or of several; returns its trouble: the first line and how many.
fn read_plainly(text: &[u8], replay: &mut Replay) -> Option<(u64, u64)> {
    let mut reader = Reader::new(replay);
    let (mut shape, mut words, mut trouble) = (None, Words::default(), None);
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        let line = line.trim_ascii();
        let (prefix, rest) = split(line);
        let mut take = || {
            let Some(shown) = bare(rest) else {
                return if is_around(line) { Some(()) } else { None };
            };
            if *shape.get_or_insert(prefix.shape) != prefix.shape {
                return None;
            }
            words.clear();
            words.split(shown.command).ok()?;
            let MonitorLine { at_us, database, client, .. } = shown;
            let args = words.args()?;
            let spot = Spot::Line(number);
            reader.see(prefix.source, &Shown { args, client, database, at_us, spot }).ok()
        };
        if take().is_none() {
            trouble.get_or_insert((number, 0)).1 += 1;
        }
    }
    reader.end();
    trouble
}

fn report(replay: &Replay) -> String {
    json::json(&Report::of(&replay.found(), &[], false))
}

/// Commands as clients send them, some wrong, with words that MONITOR quotes.
fn command() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "[a-c]:[0-9]{1,3}",
        "\\{[a-b]\\}:[a-z_]{1,6}",
        "s:[0-9a-f]{16}",
        "2026-11-[0-9]{2}",
        "(ä|\\\\xff|\\\\n|\\\\\"| ){1,3}[a-z]?",
    ];
    let value = prop_oneof!["[a-z ]{0,30}", "(\\\\\"|\\\\\\\\|\\\\x0[0-9]|[a-z]){0,20}", "v{900}"];
    (0_usize..24, key.clone(), key, value).prop_map(|(of, key, other, value)| {
        let words: &[&str] = match of {
            0..4 => &["get", &key],
            4..7 => &["SET", &key, &value],
            7 => &["mget", &key, &other, &key],
            8 => &["mset", &key, &value, &other, &value],
            9 => &["multi"],
            10 | 11 => &["exec"],
            12 => &["watch", &key],
            13 => &["unwatch"],
            14 => &["discard"],
            15 => &["eval", "return 1", "1", &key, &value],
            16 => &["select", "1"],
            17 => &["hello", "3"],
            18 => &["sort", &key, "by", "w_*", "get", &other],
            19 => &["client", "setname", &value],
            20 => &["zunionstore", &key, "2", &key, &other],
            21 => &["nosuch.command", &key],
            22 => &["dbsize"],
            _ => &["incrby", &key, "5"],
        };
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        words.join(" ")
    })
}

fn line() -> impl Strategy<Value = String> {
    let client = prop_oneof![
        9 => "a:[1-4]",
        1 => "unix:/s",
        2 => Just("lua".to_owned()),
        1 => "\\[::1\\]:[1-2]"
    ];
    let shown = (0_u64..3, 0_u64..40, 0_u64..9, client, command()).prop_map(
        |(seconds, micros, database, client, command)| {
            let database = database / 8;
            let micros = micros * 500;
            format!("170000000{seconds}.{micros:06} [{database} {client}] {command}")
        },
    );
    let other = prop_oneof![
        "[a-z]{0,5}",
        "1\\.00000[0-9] \\[0 a:1\\] \"(get|\\\\)",
        "[+0-9.\\[\\] \"a]{0,30}"
    ];
    prop_oneof![20 => shown, 1 => other]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// On one core and on two, the fast road finds what the plain one finds, to the byte of the report.
    #[test]
    fn both_roads_lead_to_one_report(
        lines in prop::collection::vec(line(), 0..90),
        prefix in prop::sample::select(vec!["", "+", "redis-1  | ", "[pod/r-0/r] "]),
        end in prop::sample::select(vec!["\n", "\r\n", ""]),
    ) {
        let mut text = lines.iter().map(|line| format!("{prefix}{line}")).collect::<Vec<_>>().join("\n");
        text += end;
        let mut plain = Replay::new(3);
        let trouble = read_plainly(text.as_bytes(), &mut plain);
        for cores in [1, 2] {
            let (mut from, mut progress) = (text.as_bytes(), |_| ());
            let mut replay = Replay::new(3);
            let mut window = FileWindow::new(&mut from, &mut progress);
            let found = super::read(&mut window, &mut replay, cores).trouble;
            let found = found.map(|found| match found.spot {
                Spot::Line(number) => (number, found.lines.unwrap_or(0)),
                _ => (0, 0),
            });
            prop_assert_eq!(found, trouble);
            prop_assert_eq!(report(&replay), report(&plain));
        }
    }

    #[test]
    fn a_line_is_taken_apart_as_by_cutting(
        text in "(\\+)?[0-9]{0,13}[.x]?[0-9]{2,13} ?\\[?[0-9]{0,21} ?[a-z\\]:0-9 ]{0,9}(\\] \")?[a-z\"\\\\ ]{0,9}"
    ) {
        let found = MonitorLine::parse(text.as_bytes());
        let (prefix, rest) = split(text.as_bytes());
        prop_assert_eq!(found, bare(rest).map(|found| MonitorLine { prefix, ..found }));
    }
}
