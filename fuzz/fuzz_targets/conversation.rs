//! Any bytes, split anywhere, through the whole path of a request: no panic, and the same replies
//! as in one piece. From the root of the repository:
//!
//! ```text
//! mkdir -p fuzz/corpus/conversation
//! cargo +nightly fuzz run -s none --no-trace-compares conversation fuzz/corpus/conversation fuzz/seeds -- \
//!     -dict=fuzz/commands.dict -max_len=600
//! ```
//!
//! There is hardly any `unsafe` to check, so nothing is lost without the address sanitizer, and a
//! run is several times as fast. Findings go to `fuzz/seeds`, which `cargo test` runs too.
#![no_main]

#[path = "../../tests/it/conversation.rs"]
mod conversation;
#[path = "../../tests/it/fuzzing.rs"]
mod fuzzing;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::check(input));
