//! Arguments into one command. Exit status: 0 yes, 1 no, 2 used wrongly.

use std::process::ExitCode;

use clap::Parser;

/// A request is a dozen small allocations, most of them in libraries; this one serves them for a third of the price.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scopegate::cli::Cli::parse().run()
}
