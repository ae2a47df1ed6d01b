//! LZF decompression: runs of literal bytes, and copies of what was produced before.
//!
//! ```text
//! 000nnnnn                      n + 1 literal bytes follow
//! lllooooo          oooooooo    copy l + 2 bytes (l below 7), o + 1 bytes back
//! 111ooooo llllllll oooooooo    copy l + 9 bytes, o + 1 bytes back
//! ```
//! A copy may reach into itself: 9 bytes from 1 byte back repeat that byte.

/// Decompresses; returns `None` unless the input is well formed and yields exactly `length` bytes.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut rest = compressed;
    // Not reserved to `length`, which is only a claim: it grows by what is actually produced.
    let mut out = Vec::new();
    while !rest.is_empty() {
        let control = take_byte(&mut rest)?;
        if control < 0x20 {
            let (literal, after) = rest.split_at_checked(control + 1)?;
            rest = after;
            if literal.len() > length - out.len() {
                return None;
            }
            out.extend_from_slice(literal);
            continue;
        }
        let short = control >> 5;
        let copied = if short < 7 { short + 2 } else { take_byte(&mut rest)? + 9 };
        let back = ((control & 0x1F) << 8 | take_byte(&mut rest)?) + 1;
        let from = out.len().checked_sub(back)?;
        if copied > length - out.len() {
            return None;
        }
        if back >= copied {
            out.extend_from_within(from..from + copied);
        } else {
            for at in from..from + copied {
                out.push(out[at]);
            }
        }
    }
    (out.len() == length).then_some(out)
}

fn take_byte(rest: &mut &[u8]) -> Option<usize> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte.into())
}
