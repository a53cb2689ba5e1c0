//! PEM text (RFC 7468) into the one public key that it holds.
//! Refuses private keys, and texts with a choice of keys: which one was meant is not guessed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::{Key, KeyFault, der};

pub(super) fn key(text: &[u8]) -> Result<Key, KeyFault> {
    if memmem::find(text, b"PRIVATE KEY-----").is_some() {
        return Err(KeyFault::Private);
    }
    let text = str::from_utf8(text).map_err(|_| KeyFault::Form("no PEM text"))?;
    let sections = sections(text).ok_or(KeyFault::Form("no PEM text"))?;
    let chain = sections.iter().all(|(label, _)| *label == "CERTIFICATE");
    match sections.as_slice() {
        [] => Err(KeyFault::Form("no PEM text: `-----BEGIN PUBLIC KEY-----` or `-----BEGIN CERTIFICATE-----` would begin a key")),
        [_, _, ..] if !chain => Err(KeyFault::Form("more than one key in a PEM text")),
        [(label, bytes), ..] => match *label {
            "PUBLIC KEY" => der::public_key(bytes),
            "RSA PUBLIC KEY" => der::rsa(bytes),
            "CERTIFICATE" => der::certificate(bytes),
            _ => Err(KeyFault::Kind),
        },
    }
}

/// Each section's label and content. Text around the sections is explanation (RFC 7468 §5.2).
fn sections(text: &str) -> Option<Vec<(&str, Vec<u8>)>> {
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ") else { continue };
        let label = label.strip_suffix("-----")?;
        let mut content = String::new();
        loop {
            let line = lines.next()?;
            match line.strip_prefix("-----END ") {
                Some(end) if end.strip_suffix("-----") == Some(label) => break,
                Some(_) => return None,
                None => content.push_str(line),
            }
        }
        sections.push((label, STANDARD.decode(content).ok()?));
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{Algorithm, Jws, KeySet};
    use super::*;

    fn facts() -> Value {
        serde_json::from_str(include_str!("../../tests/vectors/x509.json")).unwrap()
    }

    fn fault(text: impl AsRef<[u8]>) -> KeyFault {
        key(text.as_ref()).unwrap_err()
    }

    #[test]
    fn certificates_vouch_for_their_keys_whatever_their_dates_say() {
        let facts = facts();
        for (name, text) in facts["certificates"].as_object().unwrap() {
            let text = text.as_str().unwrap();
            let token = facts["tokens"][name].as_str().unwrap();
            for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("subject=/CN={name}\n\n{text}"), text.trim_end().to_owned()] {
                let set = KeySet::single(key(text.as_bytes()).unwrap());
                assert_eq!(set.verify(&Jws::parse(token).unwrap(), &Algorithm::ALL), Ok(0), "{name}");
            }
        }
    }

    #[test]
    fn keys_of_other_kinds_and_weak_ones_are_refused() {
        let facts = facts();
        for (name, text) in facts["other"].as_object().unwrap() {
            assert_eq!(fault(text.as_str().unwrap()), KeyFault::Kind, "{name}");
        }
        for name in ["small", "small_certificate"] {
            assert_eq!(fault(facts[name].as_str().unwrap()), KeyFault::Weak("an RSA key of less than 2048 bits"), "{name}");
        }
    }

    #[test]
    fn private_keys_are_refused_wherever_they_stand() {
        let facts = facts();
        let certificate = facts["certificates"]["rsa"].as_str().unwrap();
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY"] {
            let private = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
            for text in [private.clone(), format!("{certificate}{private}"), format!("{private}{certificate}")] {
                assert_eq!(fault(text), KeyFault::Private, "{label}");
            }
        }
    }

    #[test]
    fn one_text_holds_one_key_and_nothing_broken() {
        let facts = facts();
        let (small, certificate) = (facts["small"].as_str().unwrap(), facts["certificates"]["p256"].as_str().unwrap());
        let form = |text: &str| matches!(fault(text), KeyFault::Form(_));
        assert!(form(&certificate.replace("END CERTIFICATE", "END X509 CERTIFICATE")));
        assert!(form(&format!("{small}{small}")) && form(&format!("{small}{certificate}")) && form(&format!("{certificate}{small}")));
        let texts = [
            "",
            "\n",
            "secret",
            "{\"keys\":[]}",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n",
            "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nA*==\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY\nAAAA\n-----END PUBLIC KEY",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----",
        ];
        for text in texts {
            assert!(form(text), "{text:?}");
        }
        assert!(matches!(fault(b"-----BEGIN \xff"), KeyFault::Form(_)));
        assert_eq!(fault("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----"), KeyFault::Kind);
    }

    #[test]
    fn a_cut_or_lengthened_key_is_refused() {
        let facts = facts();
        let text = facts["certificates"]["p384"].as_str().unwrap();
        let content = sections(text).unwrap().remove(0).1;
        assert!(der::certificate(&content).is_ok());
        for length in 0..content.len() {
            assert!(der::certificate(&content[..length]).is_err(), "{length}");
            assert!(der::public_key(&content[..length]).is_err() && der::rsa(&content[..length]).is_err(), "{length}");
        }
        assert!(der::certificate(&[&content[..], &[0]].concat()).is_err());
    }
}
