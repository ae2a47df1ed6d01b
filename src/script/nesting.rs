//! Room for tables that are nested deep: a script decides how deep, and the thread's stack must not.

/// Room that one more level always has, in bytes.
const ROOM: usize = 64 * 1024;
/// How much the stack grows by when there is less, in bytes.
const GROWTH: usize = 1 << 20;

/// Goes one level deeper.
pub(super) fn deeper<R>(level: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(ROOM, GROWTH, level)
}
