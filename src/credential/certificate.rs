//! A client certificate, of the own handshake or as a proxy hands it on, into the names that it carries and its thumbprint.
//! Checks no signature and no date: whoever terminated TLS did.

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

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
    /// Its first and its last second, since 1970 (RFC 5280 §4.1.2.5).
    pub not_before: i64,
    pub not_after: i64,
}

impl Certificate {
    /// Reads PEM, percent-encoded as Envoy's `source.certificate` is, or plain. `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX {
            return None;
        }
        let text = if text.contains(&b'%') { decode(text)? } else { text.to_vec() };
        Self::from_der(&CertificateDer::from_pem_slice(&text).ok()?)
    }

    /// Reads the DER encoding.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, der).as_ref());
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
        let second = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let (not_before, not_after) = (second(fields.validity().not_before), second(fields.validity().not_after));
        Some(Self { sha256, uris, names, subject: fields.subject().to_string().into(), not_before, not_after })
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

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("../../tests/vectors/client.pem");

    /// As Envoy writes `source.certificate`.
    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
    }

    #[test]
    fn a_certificate_is_known_by_its_names_and_its_thumbprint() {
        let found = Certificate::parse(PEM.as_bytes()).unwrap();
        // What `openssl x509 -fingerprint -sha256` and `-subject -nameopt RFC2253` say.
        assert_eq!(found.sha256[..4], [0x60, 0xa2, 0x06, 0xa6]);
        assert_eq!(found.sha256[28..], [0x10, 0x54, 0xd4, 0x6b]);
        assert_eq!(found.uris, ["spiffe://cluster.local/ns/a/sa/client".into(), "https://client.example.com/".into()] as [Box<str>; 2]);
        assert_eq!(found.names, ["client.example.com".into(), "*.example.com".into()] as [Box<str>; 2]);
        assert_eq!(&*found.subject, "CN=client,O=Example\\, Inc.,C=DE");
        assert_eq!((found.not_before, found.not_after), (1_795_310_402, 4_948_910_402));
    }

    #[test]
    fn escapes_change_nothing() {
        let plain = Certificate::parse(PEM.as_bytes());
        assert!(plain.is_some());
        let lower = escaped(PEM).replace("%0A", "%0a").replace("%2F", "%2f").replace("%2B", "%2b");
        for text in [escaped(PEM), lower, PEM.replace(' ', "%20"), PEM.replace('\n', "\r\n")] {
            assert_eq!(Certificate::parse(text.as_bytes()), plain, "{text}");
        }
        assert_eq!(Certificate::parse(escaped(&escaped(PEM)).as_bytes()), None, "decoded once");
    }

    #[test]
    fn of_several_the_first_is_the_clients() {
        let other = include_str!("../../tests/vectors/x509.json");
        let other: serde_json::Value = serde_json::from_str(other).unwrap();
        let chain = format!("{PEM}{}", other["certificates"]["rsa"].as_str().unwrap());
        assert_eq!(Certificate::parse(chain.as_bytes()), Certificate::parse(PEM.as_bytes()));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let body = PEM.lines().nth(1).unwrap();
        let texts = [
            String::new(),
            "spiffe://cluster.local/ns/a/sa/client".into(),
            body.into(),
            PEM.replace("CERTIFICATE", "PRIVATE KEY"),
            PEM.replace(body, ""),
            PEM.replace(body, &body[1..]),
            PEM.replacen('M', "!", 1),
            PEM.lines().take(3).collect(),
            format!("{}%", escaped(PEM)),
            format!("{}%4", escaped(PEM)),
            escaped(PEM).replacen("%2D", "%zz", 1),
            escaped(PEM).replacen("%2D", "%2", 1),
            format!("{PEM}{}", " ".repeat(MAX)),
        ];
        for text in texts {
            assert!(Certificate::parse(text.as_bytes()).is_none(), "{text:.60}");
        }
        assert!(Certificate::parse(&[0xff; 64]).is_none());
    }
}
