//! Doors: bytes into a question for the gate, and its verdict into bytes.
//! No door knows a scope, a token or a rule.

pub mod address;
pub mod admin;
pub mod answer;
pub mod arrival;
pub mod bounds;
pub mod client;
pub mod connect;
pub mod descriptors;
pub mod destination;
mod drain;
pub mod egress;
pub mod ext_authz;
pub mod forward_auth;
pub mod framing;
pub mod headers;
pub mod leftover;
pub mod linger;
pub mod listener;
pub mod proxy;
pub mod proxy_protocol;
pub mod pulse;
pub mod rewound;
pub mod seats;
pub mod worker;
