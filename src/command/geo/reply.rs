//! How distances and coordinates are spelled.

use crate::resp::{Proto, Sink};
use std::io::Write;

/// Writes a distance: four digits behind the point, as a byte string in either protocol.
pub(super) fn distance(out: &mut Sink<'_>, distance: f64) {
    // A sum of squares beyond 1 has no arc sine; C spells what comes of it so.
    if distance.is_nan() {
        return out.bulk(b"-nan");
    }
    spelled(|text| write!(text, "{distance:.4}"), |text| out.bulk(text));
}

/// Writes a coordinate: 17 digits behind the point at most, as a byte string in RESP2.
pub(super) fn coordinate(out: &mut Sink<'_>, degrees: f64) {
    spelled(
        |text| write!(text, "{degrees:.17}"),
        |text| {
            let zeros = text.iter().rev().take_while(|&&digit| digit == b'0').count();
            let text = &text[..text.len() - zeros];
            let text = text.strip_suffix(b".").unwrap_or(text);
            let text = if text == b"-0" { b"0" } else { text };
            match out.proto {
                Proto::Resp2 => out.bulk(text),
                Proto::Resp3 => {
                    out.raw(b",");
                    out.raw(text);
                    out.raw(b"\r\n");
                }
            }
        },
    );
}

/// Spells a number without a heap allocation. Distances and coordinates are far shorter than the room
/// for them, even a distance in the smallest unit.
fn spelled(spell: impl FnOnce(&mut &mut [u8]) -> std::io::Result<()>, write: impl FnOnce(&[u8])) {
    let mut text = [0; 64];
    let mut rest = &mut text[..];
    let fits = spell(&mut rest).is_ok();
    debug_assert!(fits, "a number is short");
    let unused = rest.len();
    write(&text[..64 - unused]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, write: impl FnOnce(&mut Sink<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Sink::new(&mut out, proto));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn numbers_are_spelled_as_c_does() {
        for (degrees, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (180.0, "180"),
            (-180.0, "-180"),
            (13.361_389_338_970_184, "13.36138933897018433"),
            // Halfway between two: to the even one.
            (45.0 / 262_144.0, "0.0001716613769531"),
        ] {
            let resp3 = written(Proto::Resp3, |out| coordinate(out, degrees));
            assert!(resp3.starts_with(&format!(",{expected}")), "{resp3}");
        }
        assert_eq!(written(Proto::Resp2, |out| coordinate(out, 1.5)), "$3\r\n1.5\r\n");
        assert_eq!(written(Proto::Resp3, |out| distance(out, 2.000_06)), "$6\r\n2.0001\r\n");
        assert_eq!(written(Proto::Resp2, |out| distance(out, 0.0)), "$6\r\n0.0000\r\n");
        assert_eq!(written(Proto::Resp2, |out| distance(out, f64::NAN)), "$4\r\n-nan\r\n");
    }
}
