//! The `slotway` program: everything is in the library.

/// Replies, keys and values are many small blocks from several threads; the system's allocator
/// serves those slower and returns less memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    slotway::cli::main()
}
