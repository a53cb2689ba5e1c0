//! The pure rooms, built once more with nothing around them: a runtime, a logger or a source of randomness in one does not compile here.
//! Holds no code of its own; what std itself offers (clocks, files, threads) is looked for by the property tests.

#[path = "../../../src/credential/mod.rs"]
pub mod credential;
#[path = "../../../src/identity.rs"]
pub mod identity;
#[path = "../../../src/jose/mod.rs"]
pub mod jose;
#[path = "../../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../../src/principal/mod.rs"]
pub mod principal;
#[path = "../../../src/request/mod.rs"]
pub mod request;
#[path = "../../../src/scope.rs"]
pub mod scope;
