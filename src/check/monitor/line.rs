//! A line of MONITOR, perhaps behind what a log puts before it.
//!
//! ```text
//! 1339518083.107412 [0 127.0.0.1:60866] "keys" "*"              redis-cli; over telnet with a + before it
//! redis-1  | 1339518083.107412 [0 …                             docker compose
//! Nov 30 03:00:00 host redis-cli[123]: 1339518083.107412 [0 …   journald, syslog; also with ISO times
//! [pod/redis-0/redis] 2026-11-30T03:00:00.12Z 1339518083.1…     kubectl logs --prefix --timestamps
//! ```
//!
//! A prefix is taken off only if a whole line of MONITOR follows. The names in it (the service, the
//! pod, the host with its process) say which server was monitored.

/// Parts of a prefix.
const PARTS_MAX: usize = 4;
/// Bytes of a name in a prefix.
const NAME_LEN_MAX: usize = 256;
/// Digits of a time.
const SECONDS_DIGITS_MAX: usize = 12;

/// A line of MONITOR: the command, and what precedes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MonitorLine<'a> {
    pub(crate) prefix: Prefix<'a>,
    /// Microseconds since the epoch.
    pub(crate) at_us: u64,
    pub(crate) database: u64,
    /// `127.0.0.1:60866`, `unix:/run/redis.sock`, `lua`.
    pub(crate) client: &'a [u8],
    /// Quoted words.
    pub(crate) command: &'a [u8],
    /// Both, with the bracket between them.
    pub(crate) client_and_command: &'a [u8],
}

/// What a log puts before a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix<'a> {
    pub(crate) shape: Shape,
    /// The name in it; empty if there is none.
    pub(crate) source: &'a [u8],
}

/// The parts of a prefix, in order.
pub(crate) type Shape = [Option<Part>; PARTS_MAX];

/// A part of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `redis-1  | `.
    Compose,
    /// `[pod/redis-0/redis] `.
    Pod,
    /// `2026-11-30T03:00:00.123456789Z `, `Nov 30 03:00:00 `, and their like.
    Time,
    /// `host redis-cli[123]: `, behind a time.
    Process,
    /// `stdout F `, behind a time: the log files of Kubernetes' nodes.
    Stream,
}

impl Part {
    /// What puts it there.
    fn writer(self) -> &'static str {
        match self {
            Self::Compose => "docker compose",
            Self::Pod => "kubectl --prefix",
            Self::Time => "a log's time",
            Self::Process => "journald or syslog",
            Self::Stream => "a container's log file",
        }
    }
}

/// Returns what puts such a prefix before lines; `None` for no prefix.
pub(crate) fn writer(shape: Shape) -> Option<&'static str> {
    let parts = || shape.iter().flatten();
    parts().find(|part| **part != Part::Time).or(parts().next()).map(|part| part.writer())
}

impl<'a> MonitorLine<'a> {
    /// Parses a line, whose end may have been cut off.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        if let Some(found) = bare(line) {
            return Some(found);
        }
        let (prefix, rest) = split(line);
        bare(rest).map(|found| Self { prefix, ..found })
    }
}

/// Splits a line into what a log put before it, and the rest.
pub(crate) fn split(line: &[u8]) -> (Prefix<'_>, &[u8]) {
    let mut prefix = Prefix::default();
    let mut rest = without_color(line);
    for at in 0..PARTS_MAX {
        if bare(rest).is_some() {
            break;
        }
        let before = at.checked_sub(1).and_then(|at| prefix.shape[at]);
        let Some((part, source, behind)) = part(rest, before) else { break };
        prefix.shape[at] = Some(part);
        if !source.is_empty() {
            prefix.source = source;
        }
        rest = without_color(behind);
    }
    (prefix, rest)
}

/// Takes the colour off that docker compose gives a name: `ESC [ 36 m`.
fn without_color(mut text: &[u8]) -> &[u8] {
    while let Some(behind) = text.strip_prefix(b"\x1b[") {
        let len = behind.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        match behind[len..].strip_prefix(b"m") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    text
}

/// Whether a line belongs to a recording without being a command: what redis-cli, telnet and
/// journalctl print around it.
pub(crate) fn is_around(line: &[u8]) -> bool {
    let (prefix, rest) = split(line);
    let rest = rest.trim_ascii();
    let begins = |start: &[u8]| rest.starts_with(start);
    let is_process = prefix.shape.contains(&Some(Part::Process));
    matches!(rest, b"" | b"OK" | b"+OK")
        || rest.eq_ignore_ascii_case(b"monitor")
        || (is_process && prefix.source.windows(9).any(|name| name == b" systemd["))
        || begins(b"-- ") && rest.ends_with(b"--")
        || begins(b"Trying ")
        || begins(b"Connected to ")
        || begins(b"Escape character is ")
        || begins(b"Warning: Using a password with ")
}

/// Parses a line without a prefix.
fn bare(line: &[u8]) -> Option<MonitorLine<'_>> {
    let line = line.strip_prefix(b"+").unwrap_or(line);
    if let Some((at_us, rest)) = usual_time(line) {
        return behind_time(at_us, rest);
    }
    let (seconds, rest) = line.split_at(digits(line));
    let rest = rest.strip_prefix(b".")?;
    let (parts, rest) = rest.split_at(digits(rest));
    let is_time = (1..=SECONDS_DIGITS_MAX).contains(&seconds.len())
        && (3..=SECONDS_DIGITS_MAX).contains(&parts.len());
    let rest = rest.strip_prefix(b" [").filter(|_| is_time)?;
    let value = |number, digit: &u8| number * 10 + u64::from(digit - b'0');
    let seconds = seconds.iter().fold(0, value);
    // Microseconds, whatever the number of digits.
    let parts = parts.iter().chain(std::iter::repeat(&b'0')).take(6).fold(0, value);
    behind_time(seconds * 1_000_000 + parts, rest)
}

/// Parses the ten digits of seconds and the six of microseconds that servers write, up to the bracket;
/// `None` if they are not that many.
#[inline]
fn usual_time(line: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = line.split_first_chunk::<19>()?;
    let marks = (time[10], time[17], time[18]) == (b'.', b' ', b'[');
    let eight = |at: usize| *time[at..].first_chunk::<8>().expect("within nineteen bytes");
    // The last two digits of the seconds, and all six behind the point in its place.
    let mut parts = eight(9);
    (parts[0], parts[1]) = (time[8], time[9]);
    let (seconds, parts) = (eight_digits(eight(0))?, eight_digits(parts)?);
    marks.then_some((seconds * 100_000_000 + parts, rest))
}

/// Returns the number that eight digits are, computed side by side.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(text);
    let digits = word ^ (ONES * 0x30);
    // A digit is below ten: adding 0x76 does not reach the upper bit, and that bit is not set.
    if (digits | digits.wrapping_add(ONES * 0x76)) & (ONES * 0x80) != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF)
}

/// Parses what follows the time and the opening bracket.
#[inline]
fn behind_time(at_us: u64, rest: &[u8]) -> Option<MonitorLine<'_>> {
    let (database, rest) = match rest {
        [b'0', b' ', rest @ ..] => (0, rest),
        _ => {
            let (database, rest) = rest.split_at(digits(rest));
            (whole(database)?, rest.strip_prefix(b" ")?)
        }
    };
    let close = address_end(rest)?;
    Some(MonitorLine {
        prefix: Prefix::default(),
        at_us,
        database,
        client: &rest[..close],
        command: &rest[close + 2..],
        client_and_command: rest,
    })
}

/// Returns the position of the bracket behind the address: the first one with a word behind it.
#[inline]
fn address_end(text: &[u8]) -> Option<usize> {
    let is_end = |at: usize| text[at..].starts_with(b"] \"");
    // Addresses of IPv6 have brackets of their own.
    let first = memchr::memchr(b']', text)?;
    if is_end(first) {
        return Some(first);
    }
    memchr::memchr_iter(b']', text).find(|&at| is_end(at))
}

/// Returns how many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

/// The first part of a prefix, the name in it, and the rest. `before` is the part before it.
fn part(text: &[u8], before: Option<Part>) -> Option<(Part, &[u8], &[u8])> {
    if before == Some(Part::Time) {
        for mark in [&b"stdout F "[..], b"stderr F "] {
            if let Some(rest) = text.strip_prefix(mark) {
                return Some((Part::Stream, b"", rest));
            }
        }
        if let Some((name, rest)) = process(text) {
            return Some((Part::Process, name, rest));
        }
    }
    if let Some(rest) = time(text) {
        return Some((Part::Time, b"", rest));
    }
    if let Some(rest) = text.strip_prefix(b"[pod/") {
        let close = rest.iter().take(NAME_LEN_MAX).position(|&byte| byte == b']')?;
        let behind = rest[close..].strip_prefix(b"] ")?;
        return Some((Part::Pod, &text[1..close + 5], behind));
    }
    let (name, rest) = cut(text, b'|')?;
    let name = name.strip_suffix(b" ")?.trim_ascii_end();
    let is_name = is_name(name, b"._-@/") && name.first()?.is_ascii_alphanumeric();
    is_name.then(|| (Part::Compose, name, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// `host redis-cli[123]: `; the number may be missing.
fn process(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (host, rest) = cut(text, b' ')?;
    let (program, behind) = cut(rest, b' ')?;
    let program = program.strip_suffix(b":")?;
    let is_good = is_name(host, b"._-:") && is_name(program, b"._-@/[]");
    is_good.then(|| (&text[..host.len() + 1 + program.len()], behind))
}

fn is_name(name: &[u8], marks: &[u8]) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte))
}

/// Takes a time and the blank behind it off: ISO 8601 with or without weekday and zone, that of
/// syslog, and seconds since the epoch.
fn time(text: &[u8]) -> Option<&[u8]> {
    let syslog = || like(text, "Aaa ?0 00:00:00");
    let iso = || {
        let day = like(text, "Aaa 0000-00-00").or_else(|| like(text, "0000-00-00"))?;
        let behind = day.strip_prefix(b"T").or_else(|| day.strip_prefix(b" "))?;
        like(behind, "00:00:00")
    };
    let rest = match syslog().or_else(iso) {
        Some(rest) => zone(fraction(rest)),
        None => {
            let (seconds, _) = cut(text, b'.')?;
            let is_time = (9..=SECONDS_DIGITS_MAX).contains(&seconds.len());
            let rest =
                (is_time && whole(seconds).is_some()).then(|| fraction(&text[seconds.len()..]))?;
            (rest.len() + seconds.len() < text.len()).then_some(rest)?
        }
    };
    rest.strip_prefix(b" ")
}

fn fraction(text: &[u8]) -> &[u8] {
    match text {
        [b'.' | b',', rest @ ..] => {
            &rest[rest.iter().take_while(|byte| byte.is_ascii_digit()).count()..]
        }
        _ => text,
    }
}

fn zone(text: &[u8]) -> &[u8] {
    let forms = ["Z", "+0000", "-0000", "+00:00", "-00:00", " UTC", " AAAA", " AAA"];
    forms
        .iter()
        .find_map(|form| like(text, form).filter(|rest| rest.starts_with(b" ")))
        .unwrap_or(text)
}

/// Takes off a text of this form: 0 is a digit, ? a digit or a blank, A and a are letters.
fn like<'t>(text: &'t [u8], form: &str) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(form.len())?;
    let fits = |(&byte, of): (&u8, u8)| match of {
        b'0' => byte.is_ascii_digit(),
        b'?' => byte.is_ascii_digit() || byte == b' ',
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        of => byte == of,
    };
    start.iter().zip(form.bytes()).all(fits).then_some(rest)
}

fn whole(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BARE: &str = r#"1339518083.107412 [0 127.0.0.1:60866] "keys" "*""#;

    #[test]
    fn a_prefix_is_taken_off() {
        for (prefix, source, by) in [
            ("", "", None),
            ("+", "", None),
            ("redis-1  | ", "redis-1", Some("docker compose")),
            ("\x1b[36mredis-1  | \x1b[0m", "redis-1", Some("docker compose")),
            ("shop.redis_2 |", "shop.redis_2", Some("docker compose")),
            ("redis-1  | 2026-11-30T03:00:00.123456789Z ", "redis-1", Some("docker compose")),
            ("redis.1.k3x@node    | ", "redis.1.k3x@node", Some("docker compose")),
            ("2026-11-30T03:00:00.123456789Z ", "", Some("a log's time")),
            ("2026-11-30 03:00:00,123 ", "", Some("a log's time")),
            (
                "2026-11-30T03:00:00+0100 h redis-cli[7]: ",
                "h redis-cli[7]",
                Some("journald or syslog"),
            ),
            (
                "2026-11-30T03:00:00.12+01:00 h redis-cli: ",
                "h redis-cli",
                Some("journald or syslog"),
            ),
            ("Mon 2026-11-30 03:00:00 UTC h r[7]: ", "h r[7]", Some("journald or syslog")),
            ("Nov 30 03:00:00 h redis-cli[123]: ", "h redis-cli[123]", Some("journald or syslog")),
            (
                "Nov  3 03:00:00.123456 h redis-cli[123]: ",
                "h redis-cli[123]",
                Some("journald or syslog"),
            ),
            ("1796007906.365565 h redis-cli[9]: ", "h redis-cli[9]", Some("journald or syslog")),
            ("[pod/redis-0/redis] ", "pod/redis-0/redis", Some("kubectl --prefix")),
            ("[pod/r-0/r] 2026-11-30T03:00:00.1Z ", "pod/r-0/r", Some("kubectl --prefix")),
            ("2026-11-30T03:00:00.123456789Z stdout F ", "", Some("a container's log file")),
        ] {
            let line = format!("{prefix}{BARE}");
            let found = MonitorLine::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(found.prefix.source, source.as_bytes(), "{line}");
            assert_eq!(writer(found.prefix.shape), by, "{line}");
            assert_eq!(
                (found.at_us, found.client),
                (1_339_518_083_107_412, &b"127.0.0.1:60866"[..])
            );
            assert_eq!(found.command, br#""keys" "*""#, "{line}");
            assert!(is_around(format!("{prefix}OK").as_bytes()) || prefix == "+", "{line}");
        }
    }

    #[test]
    fn other_lines_are_none_of_monitor() {
        for line in [
            "1339518083.107412 [0 127.0.0.1:60866] keys",
            "1339518083 [0 127.0.0.1:60866] \"keys\"",
            "1339518083.1x7 [0 127.0.0.1:60866] \"keys\"",
            "say 1339518083.107412 [0 127.0.0.1:60866] \"keys\"",
            "a b | 1339518083.107412 [0 127.0.0.1:60866] \"keys\"",
            "13395180831339518083.107412 [0 127.0.0.1:60866] \"keys\"",
            "2026-11-30T03:00:00Z stdout P 1339518083.107412 [0 127.0.0.1:60866] \"keys\"",
            "",
        ] {
            assert_eq!(MonitorLine::parse(line.as_bytes()), None, "{line}");
        }
        let six = MonitorLine::parse(b"1.5000 [15 [::1]:52345] \"get\" \"] \\\"\"").expect("IPv6");
        assert_eq!((six.client, six.database, six.at_us), (&b"[::1]:52345"[..], 15, 1_500_000));
        let around = "Nov 30 03:00:00 h systemd[1]: Started redis-monitor.service.";
        assert!(is_around(around.as_bytes()) && is_around(b"Trying 127.0.0.1..."));
        assert!(!is_around(b"Nov 30 03:00:00 h sshd[1]: Accepted") && !is_around(b"what"));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(
            b"0123456789.:-+[]|/ \"TZaNovUTCpod_redis\xff".to_vec()), 0..60))
        {
            let _any = (MonitorLine::parse(&bytes), is_around(&bytes));
        }
    }
}
