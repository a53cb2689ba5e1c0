//! Two PEM files into what the webhook speaks TLS with, read anew when they change.
//! A pair that is not to be used changes nothing: who connects is shown the old one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::config::tls;
use crate::gate::unix_now;
use crate::live::watch::Watch;

pub struct Certificates {
    cert: String,
    key: String,
    current: ArcSwap<ServerConfig>,
}

impl Certificates {
    /// `Err` has one line a fault.
    pub fn read(cert: &str, key: &str) -> Result<Arc<Self>, Vec<String>> {
        let current = ArcSwap::new(read(cert, key)?);
        Ok(Arc::new(Self { cert: cert.to_owned(), key: key.to_owned(), current }))
    }

    /// For whoever connects next.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    pub fn renew(&self) {
        match read(&self.cert, &self.key) {
            Ok(config) => {
                self.current.store(config);
                tracing::info!("the certificate is read anew");
            }
            Err(faults) => {
                for fault in faults {
                    tracing::error!("the new certificate is refused, the old one stays: {fault}");
                }
            }
        }
    }

    /// Until the process ends.
    pub fn follow(self: &Arc<Self>) -> std::io::Result<()> {
        let own = Arc::clone(self);
        Watch::default().follow(vec![PathBuf::from(&self.cert), PathBuf::from(&self.key)], move || own.renew())
    }
}

fn read(cert: &str, key: &str) -> Result<Arc<ServerConfig>, Vec<String>> {
    let (config, warnings) = tls::of_files(cert, key, unix_now())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// Holds a private key.
impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates").field("cert", &self.cert).finish_non_exhaustive()
    }
}
