//! The gate as it is deployed: the real proxies with the files of `deploy/`, the real command, a real application.
//! `tests/run tools` installs the proxies; without them these tests fail, they do not skip.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on should stop")]

mod application;
mod assertion;
mod audit;
mod backstage_tokens;
mod browser;
mod chosen;
mod client;
mod clients;
mod coverage;
mod demo;
mod deploy;
mod differential;
mod envoy;
mod examples;
mod faults;
mod firebase;
mod gate;
mod grpc;
mod haproxy;
mod helm;
mod image;
mod ingress_nginx;
mod injector;
mod intercept;
mod jwt;
mod limits;
mod managed;
mod message;
mod mfa;
mod modes;
mod mtls;
mod network;
mod panel;
mod places;
mod postgres;
mod process;
mod promises;
mod provider;
mod rate_limit_service;
mod redis;
mod rollout;
mod schemathesis;
mod shadow;
#[path = "../it/harness/sign.rs"]
mod sign;
mod sockets;
mod stage;
mod store;
mod telemetry;
mod together;
mod tokens;
mod volume;
mod websocket;

/// Every promise at every front.
macro_rules! fronts {
    ($($name:ident: $front:ident),* $(,)?) => {$(
        mod $name {
            use crate::stage::{Front, Stage};
            use crate::{chosen, promises};

            fn stage() -> Stage {
                Stage::start(Front::$front)
            }

            #[test]
            fn every_token_opens_what_its_scopes_say_and_nothing_else() {
                promises::matrix(&stage());
            }

            #[test]
            fn no_token_and_a_wrong_token_are_challenged() {
                promises::challenges(&stage());
            }

            #[test]
            fn a_missing_scope_is_named() {
                promises::missing_scope(&stage());
            }

            #[test]
            fn the_application_hears_of_the_caller_from_the_gate_alone() {
                promises::identity(&stage());
            }

            #[test]
            fn a_forged_identity_never_arrives_in_any_spelling() {
                promises::forgeries(&stage());
            }

            #[test]
            fn a_header_of_the_operators_choice_arrives_from_the_gate_alone() {
                chosen::arrives(&chosen::stage(Front::$front));
            }

            #[test]
            fn a_request_is_judged_by_what_it_is_not_by_what_it_says_of_itself() {
                promises::descriptions(&stage());
            }

            #[test]
            fn path_tricks_open_nothing() {
                promises::paths(&stage());
            }

            #[test]
            fn without_the_gate_nothing_gets_through() {
                promises::closed(&mut stage());
            }

            #[test]
            fn two_authorizations_are_refused() {
                promises::two_authorizations(&stage());
            }

            #[test]
            fn a_limit_that_is_used_up_says_when_to_come_again() {
                promises::used_up(&Stage::start_with(Front::$front, promises::LIMIT));
            }

            #[test]
            fn bodies_arrive_whole_and_tool_calls_are_seen_whole_or_denied() {
                promises::bodies(&stage());
            }
        }
    )*};
}

fronts! {
    envoy_grpc: EnvoyGrpc,
    envoy_grpc_with_plain_headers: EnvoyGrpcPlainHeaders,
    envoy_unix: EnvoyUnix,
    envoy_http: EnvoyHttp,
    nginx: Nginx,
    traefik: Traefik,
    caddy: Caddy,
    proxy_door: Proxy,
}
