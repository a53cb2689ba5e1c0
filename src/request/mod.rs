//! What a door read into one canonical view, or a refusal: path, host, method and headers, compared in this form alone from here on.
//! Repairs nothing that two parties could read in two ways.

pub mod cookie;
pub mod host;
pub mod method;
pub mod path;
pub mod query;
pub mod rpc;
pub mod spelling;
pub mod view;

pub use host::HostName;
pub use method::Method;
pub use path::NormalPath;
pub use view::{Body, Headers, Link, Malformed, RawRequest, RequestView, Shown, Values};
