//! The operator's file into settings, rules and sources; every fault of it at once, each with its place.
//! What was said (a tree) and what it means (the types of the other rooms) meet in this room only.

pub mod assertion;
pub mod check;
pub mod compile;
pub mod cors;
pub mod credentials;
pub mod egress;
pub mod fault;
pub mod forward;
pub mod limits;
pub mod load;
pub mod management;
pub mod modes;
pub mod overrides;
pub mod proxy;
pub mod quantity;
pub mod settings;
pub mod shape;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod tree;
pub mod variables;

pub use fault::{Fault, Faults};
pub use load::{Input, Loaded, load};
pub use settings::{Address, Settings};
