//! What a door read into the parts that are told of it: method, path and host in canonical form.
//! Has no query, no header and no body.

use crate::policy::Policy;
use crate::request::{HostName, Malformed, Method, NormalPath, RequestView};

/// A request, as far as anybody is told of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// A name that somebody defined, or `other`.
    pub method: Option<&'static str>,
    /// `None` where there is no canonical one.
    pub path: Option<&'a NormalPath<'a>>,
    /// Only where the policy speaks of hosts.
    pub host: Option<&'a HostName<'a>>,
    /// What was asked by, where anything is loaded.
    pub policy: Option<&'a Policy>,
    /// Space-delimited scopes that the peer added.
    pub extra_scopes: &'a str,
}

impl<'a> Seen<'a> {
    pub fn new<H>(method: &[u8], read: &'a Result<RequestView<'_, H>, Malformed>, policy: Option<&'a Policy>, extra_scopes: &'a str) -> Self {
        let method = Method::parse(method).map(|method| method.known().unwrap_or("other"));
        let view = read.as_ref().ok();
        let host = view.filter(|_| policy.is_some_and(|policy| policy.table.speaks_of_hosts())).and_then(|view| view.host.as_ref());
        Self { method, path: view.map(|view| &view.path), host, policy, extra_scopes }
    }
}
