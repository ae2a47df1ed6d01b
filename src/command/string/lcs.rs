//! LCS: the longest common subsequence of two strings, by the textbook dynamic programming.
//!
//! ```text
//!            b ─►  o h m y        A cell is the length for the prefixes of a and b that end there.
//!        a    0  0 0 0 0 0        Equal bytes: one more than the cell up and left. Else the larger
//!        │ m  0  0 0 1 1 1        of the cells above and to the left.
//!        ▼ y  0  0 0 1 1 2
//! ```
//!
//! The path back from the last cell gives the subsequence. It needs to know of each cell only
//! whether the one above is larger than the one to the left, so that one row of lengths and one bit
//! per cell are enough. If both are equal it goes left, as Redis does: clients see which of several
//! longest subsequences is found.

use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::Text;
use crate::resp::Sink;
use std::ops::Range;

/// Strings of this many bytes and more are refused.
const STRING_LEN_END: usize = u32::MAX as usize - 1;
/// Redis takes four bytes for each cell and refuses a table that is larger than the longest string.
/// The same limit applies here, as it bounds the time as well.
const CELL_BYTES: u64 = 4;
/// A larger table is refused even if the longest string is longer: Redis would not get the memory,
/// and here it would block the shard for minutes.
const TABLE_BYTES_MAX: u64 = 64 << 30;
/// This many cells take about as long as one step of a loop over elements.
const CELLS_PER_STEP: usize = 16;

/// What LCS returns, by its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Bytes,
    Len,
    Runs {
        /// Shorter runs are left out.
        len_min: usize,
        with_len: bool,
    },
}

/// A part of the subsequence without a gap in either string.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Where it begins in the first string.
    a: usize,
    /// Where it begins in the second.
    b: usize,
    len: usize,
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]
pub(super) fn lcs(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let keys = [cx.key(args.at(1)), cx.key(args.at(2))];
    let mut lens = [0; 2];
    let mut strings = true;
    for (key, len) in keys.into_iter().zip(&mut lens) {
        match cx.text(key) {
            Ok(text) => *len = text.map_or(0, |text| text.len()),
            Err(_) => strings = false,
        }
    }
    if !strings {
        return Err(Refusal::of("ERR The specified keys must contain string values"));
    }
    let output = options(args)?;
    check_table(lens, cx.string_len_max)?;

    // Only one of the two can be borrowed from the keyspace; a copy is cheap compared with the
    // table.
    let Cx { keyspace, pace, .. } = cx;
    let step = &mut |units| pace.step(units);
    let a = keyspace.peek(keys[0]).and_then(|entry| entry.value().as_text());
    let a = a.as_deref().unwrap_or_default().to_vec();
    let b = keyspace.peek(keys[1]).and_then(|entry| entry.value().as_text());
    let b = b.unwrap_or(Text::Bytes(b""));
    match output {
        Output::Len => out.count(last_row(&a, &b, None, step)?),
        Output::Bytes => {
            let (_, runs) = trace_back(&a, &b, step)?;
            let bytes: Vec<u8> =
                runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]).copied().collect();
            out.bulk(&bytes);
        }
        Output::Runs { len_min, with_len } => {
            let (len, mut runs) = trace_back(&a, &b, step)?;
            runs.retain(|run| run.len >= len_min);
            out.map(2);
            out.bulk(b"matches");
            out.array(runs.len());
            for run in runs {
                out.array(2 + usize::from(with_len));
                for range in [run.a..run.a + run.len, run.b..run.b + run.len] {
                    write_range(range, out);
                }
                if with_len {
                    out.count(run.len);
                }
            }
            out.bulk(b"len");
            out.count(len);
        }
    }
    Ok(())
}

/// Writes the first and the last position of a range that is not empty.
fn write_range(range: Range<usize>, out: &mut Sink<'_>) {
    out.array(2);
    out.count(range.start);
    out.count(range.end - 1);
}

fn options(args: Args<'_>) -> Result<Output, Refusal> {
    let (mut len, mut idx, mut len_min, mut with_len) = (false, false, 0, false);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "IDX") {
            idx = true;
        } else if args.is(i, "LEN") {
            len = true;
        } else if args.is(i, "WITHMATCHLEN") {
            with_len = true;
        } else if args.is(i, "MINMATCHLEN") && i + 1 < args.len() {
            i += 1;
            // A negative number counts as 0, one out of range as the longest.
            len_min = usize::try_from(args.int(i)?.max(0)).unwrap_or(usize::MAX);
        } else {
            return Err(Refusal::SYNTAX);
        }
        i += 1;
    }
    match (idx, len) {
        (true, true) => {
            Err(Refusal::of("ERR If you want both the length and indexes, please just use IDX."))
        }
        (true, false) => Ok(Output::Runs { len_min, with_len }),
        (false, true) => Ok(Output::Len),
        (false, false) => Ok(Output::Bytes),
    }
}

/// Rejects a table that would take too long or, in Redis, too much memory.
fn check_table(lens: [usize; 2], string_len_max: u64) -> Outcome {
    if lens.iter().any(|&len| len >= STRING_LEN_END) {
        return Err(Refusal::of("ERR String too long for LCS"));
    }
    let [rows, columns] = lens.map(|len| len as u64 + 1);
    match (rows * columns).checked_mul(CELL_BYTES) {
        Some(bytes) if bytes > string_len_max => Err(Refusal::of(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        )),
        Some(bytes) if bytes <= TABLE_BYTES_MAX => Ok(()),
        _ => Err(NO_MEMORY),
    }
}

const NO_MEMORY: Refusal =
    Refusal::of("ERR Insufficient memory, failed allocating transient memory for LCS");

/// One bit for each cell: whether the cell above is larger than the cell to the left. The bit of
/// two equal bytes has no meaning.
struct Ups {
    words_per_row: usize,
    bits: Vec<u64>,
}

impl Ups {
    fn get(&self, row: usize, column: usize) -> bool {
        self.bits[row * self.words_per_row + column / 64] >> (column % 64) & 1 == 1
    }
}

/// Allocates `len` zeros, or fails if there is no memory for them.
fn zeros<T: Default + Clone>(len: usize) -> Result<Vec<T>, Refusal> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| NO_MEMORY)?;
    all.resize(len, T::default());
    Ok(all)
}

/// Fills the table row by row. Returns its last cell, the length of the longest common subsequence.
fn last_row(
    a: &[u8],
    b: &[u8],
    mut ups: Option<&mut Ups>,
    step: &mut dyn FnMut(usize),
) -> Result<usize, Refusal> {
    let mut lengths: Vec<u32> = zeros(b.len())?;
    for (row, &x) in a.iter().enumerate() {
        let (mut up_left, mut left) = (0, 0);
        for (word, ys) in b.chunks(64).enumerate() {
            let mut bits = 0;
            for (bit, (&y, cell)) in ys.iter().zip(&mut lengths[word * 64..]).enumerate() {
                let up = *cell;
                bits |= u64::from(up > left) << bit;
                left = if x == y { up_left + 1 } else { up.max(left) };
                *cell = left;
                up_left = up;
            }
            if let Some(ups) = &mut ups {
                ups.bits[row * ups.words_per_row + word] = bits;
            }
        }
        step(1 + b.len() / CELLS_PER_STEP);
    }
    Ok(lengths.last().copied().unwrap_or(0) as usize)
}

/// Returns the length of the longest common subsequence and its runs, the last one first.
fn trace_back(
    a: &[u8],
    b: &[u8],
    step: &mut dyn FnMut(usize),
) -> Result<(usize, Vec<Run>), Refusal> {
    let words_per_row = b.len().div_ceil(64);
    let mut ups = Ups { words_per_row, bits: zeros(a.len() * words_per_row)? };
    let len = last_row(a, b, Some(&mut ups), step)?;

    step((a.len() + b.len()) / CELLS_PER_STEP);
    let mut runs = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        let same = a[..i].iter().rev().zip(b[..j].iter().rev()).take_while(|(x, y)| x == y).count();
        if same > 0 {
            (i, j) = (i - same, j - same);
            runs.push(Run { a: i, b: j, len: same });
        } else if ups.get(i - 1, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    Ok((len, runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: &str, b: &str) -> (usize, Vec<(usize, usize, usize)>) {
        let (len, runs) =
            trace_back(a.as_bytes(), b.as_bytes(), &mut |_| ()).expect("memory for a few bytes");
        assert_eq!(len, runs.iter().map(|run| run.len).sum::<usize>());
        (len, runs.iter().map(|run| (run.a, run.b, run.len)).collect())
    }

    #[test]
    fn runs_from_the_last_to_the_first() {
        assert_eq!(found("", "abc"), (0, vec![]));
        assert_eq!(found("abc", ""), (0, vec![]));
        assert_eq!(found("abc", "xyz"), (0, vec![]));
        assert_eq!(found("abc", "abc"), (3, vec![(0, 0, 3)]));
        assert_eq!(found("ohmytext", "mynewtext"), (6, vec![(4, 5, 4), (2, 0, 2)]));
        // Of the paths to "a" and to "b", the one that skips a byte of the second string is taken.
        assert_eq!(found("ab", "ba"), (1, vec![(1, 0, 1)]));
    }

    #[test]
    fn runs_across_the_words_of_a_row() {
        let (long, gap) = ("x".repeat(200), "-");
        let other = format!("{}{gap}{}", "x".repeat(70), "x".repeat(130));
        assert_eq!(found(&long, &other), (200, vec![(70, 71, 130), (0, 0, 70)]));
        assert_eq!(found(&other, &long), (200, vec![(71, 70, 130), (0, 0, 70)]));
    }

    #[test]
    fn every_row_is_a_step() {
        let mut steps = Vec::new();
        last_row(&[b'a'; 1000], &[b'b'; 1600], None, &mut |units| steps.push(units))
            .expect("memory for a row");
        assert_eq!(steps, [101; 1000]);
    }

    #[test]
    fn tables_up_to_the_longest_string() {
        let text = |lens, max| check_table(lens, max).map_err(|r| r.text().to_vec());
        assert_eq!(text([9, 9], 400), Ok(()));
        let too_large = text([9, 9], 399).expect_err("401 bytes are too many");
        assert!(too_large.ends_with(b"exceeds proto-max-bulk-len"));
        assert!(text([STRING_LEN_END, 0], u64::MAX).is_err());
        assert_eq!(text([STRING_LEN_END - 1; 2], u64::MAX), Err(NO_MEMORY.text().to_vec()));
        assert_eq!(text([1 << 18, 1 << 18], u64::MAX), Err(NO_MEMORY.text().to_vec()));
        assert_eq!(text([1 << 17, 1 << 16], u64::MAX), Ok(()));
    }
}
