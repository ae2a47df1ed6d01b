use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Extended {
    Extended::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
}

fn human(number: Extended) -> String {
    let mut out = Vec::new();
    number.write_human(&mut out);
    String::from_utf8(out).expect("digits are ASCII")
}

/// Recorded from the reference server: SET to the first text, INCRBYFLOAT by the second.
#[test]
fn sums_are_the_reference_servers() {
    let table = [
        ("0", "0", "0"),
        ("0.1", "0.2", "0.3"),
        ("1.1", "2.2", "3.3"),
        ("10.5", "0.1", "10.6"),
        ("3", "1.0e2", "103"),
        ("5.0e3", "2.0e2", "5200"),
        ("-5", "5", "0"),
        ("-0", "-0", "0"),
        ("0.1", "-0.1", "0"),
        ("0.3", "-0.30000000000000001", "-0.00000000000000001"),
        ("1", "0x1p3", "9"),
        ("0x1.8p1", "0X.8P-1", "3.25"),
        ("+5", "5.", "10"),
        (".5", "-.25", "0.25"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551615", "2", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("18446744073709551616", "2", "18446744073709551618"),
        ("18446744073709551616", "3", "18446744073709551620"),
        ("36893488147419103232", "2", "36893488147419103232"),
        ("36893488147419103232", "6", "36893488147419103240"),
        ("9223372036854775807", "0.5", "9223372036854775807.5"),
        ("9223372036854775807", "0.25", "9223372036854775807"),
        ("9223372036854775808", "0.5", "9223372036854775808"),
        ("9223372036854775808", "-0.5", "9223372036854775807.5"),
        ("-9223372036854775808", "-0.75", "-9223372036854775809"),
        ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
        ("0.00000000000000001", "0", "0.00000000000000001"),
        ("0.000000000000000005", "0", "0"),
        ("0.000000000000000006", "0", "0.00000000000000001"),
        ("-0.000000000000000004", "0", "0"),
        ("0x1p-18", "0", "0.00000381469726562"),
        ("0x3p-18", "0", "0.00001144409179688"),
        ("0x5p-18", "0", "0.00001907348632812"),
        ("0.000000000000000011102230246251565", "0", "0.00000000000000001"),
        ("1e19", "-1", "9999999999999999999"),
        ("1e20", "-1", "100000000000000000000"),
        ("1e30", "1e-30", "1000000000000000000024696061952"),
        ("1e30", "-1e30", "0"),
        ("1e-4940", "1e-4940", "0"),
        ("3e-4951", "0", "0"),
        (
            "1e100",
            "0",
            "9999999999999999999669353532207342619498699019828496079271391541752018669482644324418977840117055488",
        ),
        ("0.1234567890123456789", "0", "0.12345678901234568"),
        ("3.14159265358979323846", "2.71828182845904523536", "5.85987448204883847"),
        ("99999999999999999999", "0.5", "100000000000000000000"),
        ("2.5e17", "2.5e-17", "250000000000000000"),
        ("0.000000000000000000000000000000", "1", "1"),
        ("0e999999999999999999999999", "7", "7"),
    ];
    for (a, b, sum) in table {
        assert_eq!(human(parse(a) + parse(b)), sum, "{a} + {b}");
        assert_eq!(human(parse(b) + parse(a)), sum, "{b} + {a}");
    }
}

/// Recorded from the reference server, which refuses each as not a valid float.
#[test]
fn what_is_no_number_is_refused() {
    for text in [
        "",
        "+",
        ".",
        "1e",
        "1e+",
        "e1",
        " 1",
        "1 ",
        "1\0",
        "1.2.3",
        "1e5.",
        "0x",
        "0x.",
        "0x1p",
        "0x1g",
        "nan",
        "-NaN",
        "infinit",
        "1.2e4932",
        "1.18973149535723176506e4932",
        "1e-4951",
        "1.8e-4951",
        "0x1p16384",
        "0x1.ffffffffffffffffp16383",
        "0x1p-16446",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0x1p99999999999999999999",
        "0x1p-99999999999999999999",
    ] {
        assert!(Extended::parse(text.as_bytes()).is_none(), "{text:?}");
    }
}

#[test]
fn the_text_ends_below_5120_bytes() {
    let longest = format!("{}1", "0".repeat(5118));
    assert_eq!(human(parse(&longest)), "1");
    assert!(Extended::parse(format!("0{longest}").as_bytes()).is_none());
}

#[test]
fn the_ends_of_the_range() {
    // The largest number has 4933 digits before the point, and its printed form reads back.
    let largest = human(parse("0x1.fffffffffffffffep16383"));
    assert_eq!(largest.len(), 4933);
    assert!(largest.starts_with("118973149535723176502"));
    assert_eq!(human(parse(&largest)), largest);
    // Half of the smallest and a little: rounds up to it, and so is not refused.
    assert_eq!(human(parse("0x1.8p-16446")), "0");
    assert!(parse("0x1p-16445").is_finite());
    // The sum of two halves of what lies beyond the range.
    assert!(!(parse("0x1p16383") + parse("0x1p16383")).is_finite());
    assert!(!(parse(&largest) + parse("0x1p16319")).is_finite());
    assert_eq!(human(parse(&largest) + parse("0x1p16318")), largest);
}

#[test]
fn infinities_are_read_but_are_not_finite() {
    for text in ["inf", "+inf", "-INF", "Infinity", "-infinity"] {
        assert!(!parse(text).is_finite(), "{text}");
        assert!(!(parse(text) + parse("1")).is_finite(), "{text}");
        assert!(!(parse("1") + parse(text)).is_finite(), "{text}");
    }
}

proptest! {
    /// Whole numbers up to 64 bits are exact, and the sum of two rounds to 64 bits, half to even.
    #[test]
    fn whole_sums_round_to_64_bits(a in -(1_i128 << 64) + 1..1 << 64, b in -(1_i128 << 64) + 1..1 << 64) {
        let exact = a + b;
        let nearest = if exact.unsigned_abs() < 1 << 64 {
            exact
        } else {
            // 65 bits: of the two even neighbours, a tie takes the one that is a multiple of 4.
            let down = exact.div_euclid(2) * 2;
            if exact == down || down.rem_euclid(4) == 0 { down } else { down + 2 }
        };
        prop_assert_eq!(human(parse(&a.to_string()) + parse(&b.to_string())), nearest.to_string());
    }

    /// Up to 17 decimals print as they were read while 64 bits can distinguish them from their
    /// neighbours.
    #[test]
    fn short_decimals_come_back(whole in 0_u64..10, fraction in 1_u64..100_000_000_000_000_000) {
        let text = format!("{whole}.{fraction:017}");
        let text = text.trim_end_matches('0');
        prop_assert_eq!(human(parse(text)), text);
    }

    /// Printing is stable: what a stored value prints is what it reads back as.
    #[test]
    fn a_printed_number_prints_the_same_again(text in "-?[0-9]{1,30}(\\.[0-9]{0,30})?(e-?[0-9]{1,3})?") {
        let once = human(parse(&text));
        prop_assert_eq!(human(parse(&once)), once);
    }

    #[test]
    fn the_order_of_a_sum_is_without_effect(
        a in "-?[0-9]{1,25}\\.[0-9]{0,25}(e-?[0-9]{1,3})?",
        b in "-?[0-9]{1,25}\\.[0-9]{0,25}(e-?[0-9]{1,3})?",
    ) {
        prop_assert_eq!(human(parse(&a) + parse(&b)), human(parse(&b) + parse(&a)));
    }
}
