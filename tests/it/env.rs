//! The only file of the tests that reads the clock and the environment.
#![expect(clippy::disallowed_methods, reason = "the tests read clock and environment here only")]

use std::time::{Duration, Instant};

use crate::wire::PATIENCE;

/// A setting for a test run, from the environment.
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes a server of the tests slow.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Calls `ask` until it returns something, for at most [`PATIENCE`].
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if started.elapsed() > PATIENCE {
            return None;
        }
        // The observed process needs the processor too.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a test is among those that the arguments of the test program select.
pub(crate) fn selects(test: &str) -> bool {
    is_selected(std::env::args().skip(1), test)
}

/// The filter as libtest applies it.
fn is_selected(mut words: impl Iterator<Item = String>, test: &str) -> bool {
    /// Options with a value that is a word of its own.
    const WITH_VALUE: &[&str] =
        &["--test-threads", "--logfile", "--color", "--format", "--shuffle-seed", "-Z"];
    let (mut filters, mut skipped, mut exact) = (Vec::new(), Vec::new(), false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--exact" => exact = true,
            "--skip" => skipped.extend(words.next()),
            option if WITH_VALUE.contains(&option) => drop(words.next()),
            option if option.starts_with('-') => {
                skipped.extend(option.strip_prefix("--skip=").map(str::to_owned));
            }
            _ => filters.push(word),
        }
    }
    let fits = |filter: &String| if exact { test == filter } else { test.contains(filter) };
    (filters.is_empty() || filters.iter().any(fits)) && !skipped.iter().any(fits)
}

/// Prints a line that the harness shows beside a failure of the running test.
#[expect(clippy::print_stderr, reason = "the harness shows it beside the failure")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

#[test]
fn tests_are_selected_as_libtest_does() {
    for (line, selected) in [
        ("", true),
        ("--nocapture --test-threads 1", true),
        ("b::c", true),
        ("x b", true),
        ("x", false),
        ("--test-threads 1 x", false),
        ("--exact b::c", false),
        ("a::b::c --exact", true),
        ("a --skip b", false),
        ("--skip=b", false),
        ("--skip x a", true),
    ] {
        let words = line.split_whitespace().map(str::to_owned);
        assert_eq!(is_selected(words, "a::b::c"), selected, "{line:?}");
    }
}
