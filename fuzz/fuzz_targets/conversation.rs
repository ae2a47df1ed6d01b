//! Any bytes, cut anywhere, through the whole path of a request: no panic, and the same replies as
//! in one piece. `cargo +nightly fuzz run conversation`.
#![no_main]

#[path = "../../tests/it/conversation.rs"]
mod conversation;

use conversation::converse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (cut, bytes) = data;
    let cut = usize::from(cut) * bytes.len() / 256;
    let (front, back) = bytes.split_at(cut);
    assert_eq!(converse(&[bytes]), converse(&[front, back]));
});
