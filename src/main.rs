//! The binary: words in, an exit code out.

use std::process::ExitCode;

/// Faster than the system's allocator on the request's way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    serin::cli::main()
}
