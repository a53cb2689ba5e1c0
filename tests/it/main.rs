//! The whole product from outside: every promise is a test, and this list is their table of contents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::too_many_lines, missing_debug_implementations)]

mod harness;

mod aibtcdev;
mod assertion;
mod audit;
mod backflow;
mod backstage;
mod backstop;
mod bad_input;
mod book;
mod bounds;
mod caching;
mod cases;
mod commands;
mod corpus;
mod cors;
mod coverage;
mod doors;
mod drain;
mod egress;
mod examples;
mod fail_closed;
mod framing;
mod http2;
mod import;
mod key_commands;
mod limits;
mod malformed;
mod management;
mod mfa;
mod otlp;
mod panel;
mod reload;
mod secrets;
mod shadow;
mod store;
mod streams;
mod suggest;
mod tls;
mod token_commands;
mod trial;
mod upstream_side;
mod usage;
mod websocket;
