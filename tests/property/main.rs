//! Promises over random input: each is a model of a few lines that the product must agree with, a million times a run.
//!
//! `cargo test --release --test property`. `SCOPEGATE_CASES` scales the number of cases (1 is all, 0.1 a tenth);
//! `SCOPEGATE_SEED` replays the seed that a failure printed.
#![allow(clippy::wildcard_enum_match_arm, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::too_many_lines)]

mod book;
mod coverage;
mod framing;
mod host;
mod json_rpc;
mod judge;
mod limits;
mod path;
mod purity;
mod random;
mod roster;
mod scopes;
mod table;
