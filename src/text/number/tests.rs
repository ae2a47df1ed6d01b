use proptest::prelude::*;

use super::*;

fn printed(value: f64) -> String {
    let mut out = Vec::new();
    write_f64(&mut out, value);
    String::from_utf8(out).expect("digits are ASCII")
}

#[test]
fn an_integer_has_one_spelling() {
    for (text, value) in [
        ("0", 0),
        ("7", 7),
        ("-1", -1),
        ("10", 10),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
    }
    for text in [
        "",
        "-",
        "+1",
        "-0",
        "00",
        "01",
        "-01",
        "--1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "1\0",
        "\0",
        "9223372036854775808",
        "-9223372036854775809",
        "10000000000000000000",
        "99999999999999999999999",
        "١",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
    }
}

/// Recorded from the reference server: ZADD with the text as score, then ZSCORE.
#[test]
fn doubles_are_read_and_printed_as_the_reference_does() {
    for (text, reply) in [
        ("3", "3"),
        ("3.1", "3.1000000000000001"),
        ("+5", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("+.5", "0.5"),
        ("-.5e1", "-5"),
        ("0.0001", "0.0001"),
        ("0.00001", "1.0000000000000001e-05"),
        ("1e16", "10000000000000000"),
        ("1e17", "1e+17"),
        ("1e21", "1e+21"),
        ("123456789012345680", "1.2345678901234568e+17"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("2.98023223876953125E-8", "2.9802322387695312e-08"),
        ("5e-324", "4.9406564584124654e-324"),
        ("4e-324", "4.9406564584124654e-324"),
        ("0e400", "0"),
        ("inf", "inf"),
        ("+inf", "inf"),
        ("-inf", "-inf"),
        ("INFINITY", "inf"),
        ("0x1p3", "8"),
        ("0x.8", "0.5"),
        ("0x1.", "1"),
        ("0X1P-1074", "4.9406564584124654e-324"),
        ("0x1.8p-1075", "4.9406564584124654e-324"),
        ("0x0p99999999999999999", "0"),
        ("0x1.fffffffffffffp1023", "1.7976931348623157e+308"),
    ] {
        let value = parse_f64(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"));
        assert_eq!(printed(value), reply, "{text}");
    }
    assert_eq!(printed(-0.0), "-0");
}

#[test]
fn what_is_no_double_is_refused() {
    let long = format!("{}e-4", "1".repeat(400));
    for text in [
        "",
        "+",
        ".",
        "-.",
        " 1",
        "1 ",
        "1\0",
        "nan",
        "-nan",
        "nan(foo)",
        "infinit",
        "i",
        "--1",
        "+-1",
        "1e",
        "1e+",
        "1e5.",
        "1_0",
        "1,5",
        "1f",
        "0x",
        "0x.",
        "0x1p",
        "0x1p+",
        "0b1",
        "2e-324",
        "1e-400",
        "1e400",
        "1e5000000000000000000000",
        "0x1p1024",
        "0x1p-1075",
        "0x1p-99999999999999999999",
        "0x1p99999999999999999999",
        "0x1.fffffffffffff8p1023",
        &long,
    ] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_f64(b"1\xff"), None);
}

proptest! {
    #[test]
    fn integers_come_back(value: i64) {
        let mut out = b"x".to_vec();
        write_i64(&mut out, value);
        prop_assert_eq!(out[1..].to_vec(), value.to_string().into_bytes());
        prop_assert_eq!(parse_i64(&out[1..]), Some(value));
    }

    #[test]
    fn an_accepted_integer_is_its_own_spelling(text in "[-+ ]?[0-9]{0,21}") {
        if let Some(value) = parse_i64(text.as_bytes()) {
            prop_assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn doubles_come_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        let text = printed(value);
        prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
    }

    /// Hexadecimal takes the road through our own rounding: it must meet the standard library's.
    #[test]
    fn hexadecimal_rounds_as_an_integer_does(value: u64, shift in -40_i32..40) {
        let text = format!("0x{value:x}p{shift}");
        prop_assert_eq!(parse_f64(text.as_bytes()), Some(value as f64 * 2_f64.powi(shift)));
    }

    #[test]
    fn no_bytes_panic(text in proptest::collection::vec(proptest::sample::select(&b"0019.xXeEpP+-infa \0\xff"[..]), 0..24)) {
        let _ = parse_i64(&text);
        let _ = parse_f64(&text);
        let _ = extended::Extended::parse(&text);
    }
}
