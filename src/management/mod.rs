//! Managed keys, roles, profiles and revocations over HTTP.
//! Grants nobody what the caller does not hold, and reaches no other tenant's rows.

pub mod grants;
pub mod names;
