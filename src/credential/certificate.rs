//! A client certificate as a proxy hands it on into the names that it carries and its thumbprint.
//! Checks no signature and no date: whoever terminated TLS did.

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Longest text that is taken apart; Envoy sends a few KiB.
const MAX: usize = 32 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// RFC 8705 §3.1: SHA-256 of the DER encoding.
    pub sha256: [u8; 32],
    pub uris: Vec<Box<str>>,
    pub names: Vec<Box<str>>,
    /// RFC 4514.
    pub subject: Box<str>,
}

impl Certificate {
    /// Reads PEM, percent-encoded as Envoy's `source.certificate` is, or plain. `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX {
            return None;
        }
        let text = if text.contains(&b'%') { decode(text)? } else { text.to_vec() };
        let der = CertificateDer::from_pem_slice(&text).ok()?;
        let certificate = x509_cert::Certificate::from_der(&der).ok()?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &der).as_ref());
        let (mut uris, mut names) = (Vec::new(), Vec::new());
        let fields = certificate.tbs_certificate();
        if let Some((_, alternative)) = fields.get_extension::<SubjectAltName>().ok()? {
            for name in alternative.0 {
                if let GeneralName::UniformResourceIdentifier(uri) = &name {
                    uris.push(uri.as_str().into());
                } else if let GeneralName::DnsName(dns) = &name {
                    names.push(dns.as_str().into());
                }
            }
        }
        Some(Self { sha256, uris, names, subject: fields.subject().to_string().into() })
    }
}

/// RFC 3986 §2.1, once.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}
