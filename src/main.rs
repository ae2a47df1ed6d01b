//! The `slotway` program: everything is in the library.

/// The allocator: replies, keys and values are many small allocations from several threads; the
/// system's allocator is slower at those and returns less memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    slotway::internals::main()
}
