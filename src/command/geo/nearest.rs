//! The first few of many in order, as Redis finds them.
//!
//! Where only some of the results are returned, Redis sorts just these: a quicksort (Bentley and
//! McIlroy, "Engineering a sort function") that leaves out the parts behind them. The order of equal
//! elements is what that leaves, and the one part of it that shows.

use std::cmp::Ordering;

/// A part of fewer elements is sorted by insertion.
const SMALL: usize = 7;
/// From more elements on, nine of them choose the pivot.
const LARGE: usize = 40;

/// Sorts elements so far that the first `count` are those that come first, in order.
pub(super) fn sort_first<T>(
    elements: &mut [T],
    count: usize,
    compare: impl Fn(&T, &T) -> Ordering + Copy,
) {
    // As many partitions as halves, and twice as many: more means elements that were made for it.
    let rounds_max = 2 * (usize::BITS - elements.len().leading_zeros()) as usize + 16;
    partition(elements, 0, count, rounds_max, compare);
}

/// Sorts the elements that begin at `start` of all, as far as they are among the first `count`.
fn partition<T>(
    mut elements: &mut [T],
    mut start: usize,
    count: usize,
    mut rounds_left: usize,
    compare: impl Fn(&T, &T) -> Ordering + Copy,
) {
    loop {
        if elements.len() < SMALL {
            return insertion_sort(elements, compare);
        }
        if rounds_left == 0 {
            return elements.sort_by(compare);
        }
        rounds_left -= 1;
        let pivot = pivot_of(elements, compare);
        elements.swap(0, pivot);
        let (less, greater) = around_first(elements, compare);
        let len = elements.len();
        let (before, rest) = elements.split_at_mut(less);
        if less > 1 && (start == 0 || start < count) {
            partition(before, start, count, rounds_left, compare);
        }
        let behind_start = start + len - greater;
        if greater <= 1 || (behind_start > 0 && behind_start >= count) {
            return;
        }
        let at = rest.len() - greater;
        (elements, start) = (&mut rest[at..], behind_start);
    }
}

fn insertion_sort<T>(elements: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    for end in 1..elements.len() {
        let mut at = end;
        while at > 0 && compare(&elements[at - 1], &elements[at]).is_gt() {
            elements.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Returns the position of the pivot: the middle one of three, or of three middle ones.
fn pivot_of<T>(elements: &[T], compare: impl Fn(&T, &T) -> Ordering + Copy) -> usize {
    let len = elements.len();
    let median = |a: usize, b: usize, c: usize| {
        let is = |one: usize, other: usize| compare(&elements[one], &elements[other]);
        if is(a, b).is_lt() {
            match () {
                () if is(b, c).is_lt() => b,
                () if is(a, c).is_lt() => c,
                () => a,
            }
        } else {
            match () {
                () if is(b, c).is_gt() => b,
                () if is(a, c).is_lt() => a,
                () => c,
            }
        }
    };
    let (mut low, mut middle, mut high) = (0, len / 2, len - 1);
    if len == SMALL {
        return middle;
    }
    if len > LARGE {
        let eighth = len / 8;
        low = median(low, low + eighth, low + 2 * eighth);
        middle = median(middle - eighth, middle, middle + eighth);
        high = median(high - 2 * eighth, high - eighth, high);
    }
    median(low, middle, high)
}

/// Puts those less than the first element to the front and those greater to the end, the equal ones
/// between. Returns how many are less and how many are greater.
fn around_first<T>(elements: &mut [T], compare: impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let len = elements.len();
    // Equal ones gather at both ends, and go to the middle last:
    // pivot and equal │ less │ not seen yet │ greater │ equal
    //           equal_end   low            high    equal_start
    let (mut equal_end, mut low) = (1, 1);
    let (mut high, mut equal_start) = (len, len);
    loop {
        while low < high {
            match compare(&elements[low], &elements[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    elements.swap(equal_end, low);
                    equal_end += 1;
                }
                Ordering::Less => {}
            }
            low += 1;
        }
        while low < high {
            match compare(&elements[high - 1], &elements[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    elements.swap(high - 1, equal_start - 1);
                    equal_start -= 1;
                }
                Ordering::Greater => {}
            }
            high -= 1;
        }
        if low >= high {
            break;
        }
        elements.swap(low, high - 1);
        low += 1;
        high -= 1;
    }
    let (less, greater) = (low - equal_end, equal_start - high);
    let front = equal_end.min(less);
    for at in 0..front {
        elements.swap(at, low - front + at);
    }
    let back = greater.min(len - equal_start);
    for at in 0..back {
        elements.swap(low + at, len - back + at);
    }
    (less, greater)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_ones_are_in_order(
            values in proptest::collection::vec(prop_oneof![0..10_u32, any::<u32>()], 1..300),
            count in 1_usize..320,
        ) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let count = count.min(values.len());
            let mut first = values.clone();
            sort_first(&mut first, count, u32::cmp);
            prop_assert_eq!(&first[..count], &sorted[..count]);
            first.sort_unstable();
            prop_assert_eq!(first, sorted);
        }
    }

    /// As many comparisons as a sort takes, whatever the order.
    #[test]
    fn no_order_takes_long() {
        const LEN: u32 = 20_000;
        let organ: Vec<u32> = (0..LEN / 2).chain((0..LEN / 2).rev()).collect();
        let ascending: Vec<u32> = (0..LEN).collect();
        let descending: Vec<u32> = (0..LEN).rev().collect();
        for values in [organ, ascending, descending, vec![7; LEN as usize]] {
            let compared = std::cell::Cell::new(0);
            let compare = |a: &u32, b: &u32| {
                compared.set(compared.get() + 1);
                a.cmp(b)
            };
            sort_first(&mut values.clone(), LEN as usize, compare);
            assert!(compared.get() < 40 * LEN, "{}", compared.get());
        }
    }
}
