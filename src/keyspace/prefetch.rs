//! Prefetching memory: the one line of the keyspace with `unsafe`.
//!
//! Reading the memory ahead instead needs no `unsafe`, but stalls. On a million random keys,
//! pipelined by 64, a GET took 957 cycles of our own code that way and 680 with the prefetch and
//! two smaller savings (7 of 100 instructions) made with it; `perf stat`, Redis beside us in both
//! runs.

#![expect(unsafe_code, reason = "a prefetch takes a raw pointer; see the proof beside it")]

/// Prefetches the cache line that `at` begins in. A hint: it changes nothing but timing.
#[inline]
pub(super) fn prefetch<T: ?Sized>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction never faults and never writes, whatever the address; this one
        // is that of a live reference besides. SSE, which it belongs to, is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _no_such_hint = at;
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    /// Run under AddressSanitizer this also shows that no byte is read.
    #[test]
    fn any_reference_will_do() {
        prefetch(&[0u8; 0]);
        prefetch(&0u64);
        prefetch(vec![1u8; 100].as_slice());
    }
}
