#![doc = include_str!("README.md")]

pub mod app;
pub mod assertion;
pub mod cli;
pub mod config;
pub mod coverage;
pub mod credential;
pub mod fetch;
pub mod gate;
pub mod identity;
pub mod injector;
pub mod introspection;
pub mod jose;
pub mod keys;
pub mod limits;
pub mod live;
pub mod management;
pub mod mfa;
pub mod openapi;
pub mod panel;
pub mod policy;
pub mod principal;
pub mod request;
pub mod scope;
pub mod store;
pub mod suggest;
pub mod telemetry;
pub mod transport;

/// Envoy's external authorization, v3, as far as Scopegate speaks it.
#[allow(
    missing_debug_implementations,
    clippy::all,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    unused_qualifications,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("envoy.service.auth.v3");
}
