//! The certificate that a client showed in the handshake into what a request may go by.
//! Believes it no longer than the authorities of the request's own snapshot do.

use std::cell::Cell;

use rustls::pki_types::CertificateDer;

use crate::config::tls::Authorities;
use crate::credential::certificate::Certificate;

#[derive(Debug)]
pub struct Client {
    certificate: Certificate,
    chain: Vec<CertificateDer<'static>>,
    /// By whom it was looked at last, and whether they vouched for it.
    judged: Cell<([u8; 32], bool)>,
}

impl Client {
    /// Of a chain that these authorities have verified just now. `None` where the certificate cannot be read.
    pub fn verified(chain: &[CertificateDer<'_>], by: &Authorities) -> Option<Self> {
        let certificate = Certificate::from_der(chain.first()?)?;
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(Self { certificate, chain, judged: Cell::new((by.id, true)) })
    }

    pub fn is_over(&self, now: i64) -> bool {
        now > self.certificate.not_after
    }

    /// A reload can have changed whom to believe; the connection is then looked at again.
    pub fn certificate(&self, authorities: Option<&Authorities>, now: i64) -> Option<&Certificate> {
        let authorities = authorities?;
        let (id, vouched) = self.judged.get();
        let vouched = if id == authorities.id { vouched } else { authorities.vouch_for(&self.chain, now) };
        self.judged.set((authorities.id, vouched));
        vouched.then_some(&self.certificate)
    }
}
