//! Arguments into one command. Exit status: 0 yes, 1 no, 2 used wrongly.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    scopegate::cli::Cli::parse().run()
}
