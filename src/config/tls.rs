//! `tls`, and `upstream`'s certificates, into what the proxy door speaks TLS with on either side.
//! Never falls back: a file that cannot be read is a fault of the whole reading.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

/// With the rest of the snapshot, so that a renewed certificate comes with a reload.
#[derive(Clone, Default)]
pub struct Tls {
    /// Towards clients.
    pub server: Option<Arc<ServerConfig>>,
    /// Towards an `https` upstream.
    pub client: Option<Arc<ClientConfig>>,
}

/// Holds private keys.
impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("server", &self.server.is_some()).field("client", &self.client.is_some()).finish()
    }
}
