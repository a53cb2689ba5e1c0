//! The client certificate of a connection into a principal, by the names that the operator listed.
//! Believes only the gate's own handshake and the proxy that checked the certificate, over its own channel, never a header of the client's.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Bytes;

use super::Cause;
use super::caller::Listed;
use super::roles::{RoleSetId, Roles};
use crate::credential::certificate::Certificate;
use crate::request::Shown;
use crate::scope::ScopeSet;

/// What an identity is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A URI of the subject alternative names, such as `spiffe://cluster.local/ns/a/sa/b`.
    Spiffe(Box<str>),
    /// A DNS name of the subject alternative names; compared without case.
    Dns(Box<str>),
    /// The whole subject, as in RFC 4514.
    Subject(Box<str>),
}

#[derive(Debug)]
pub struct Identity {
    pub name: Name,
    pub id: Box<str>,
    pub scopes: ScopeSet,
    pub roles: RoleSetId,
    pub tenant: Option<Box<str>>,
}

/// What a certificate says. Of the gate's own handshake it counts to its last second, however long the connection lives; of a proxy's
/// that is the proxy's to say.
pub fn read(shown: Shown<'_>, now: i64) -> Result<Cow<'_, Certificate>, Cause> {
    match shown {
        Shown::Text(text) => Certificate::parse(text).map(Cow::Owned).ok_or(Cause::Malformed),
        Shown::Own(certificate) if now > certificate.not_after => Err(Cause::Expired),
        Shown::Own(certificate) => Ok(Cow::Borrowed(certificate)),
    }
}

/// The identities of a source, in the order of the file.
#[derive(Debug)]
pub struct Identities(pub Vec<Identity>);

impl Identities {
    /// The first identity that the peer has.
    pub fn find<'s>(&'s self, principal: Option<&str>, certificate: Option<&Certificate>, roles: &'s Roles) -> Option<Listed<'s>> {
        let named = |identity: &&Identity| match certificate {
            Some(certificate) => identity.name.is_in(certificate),
            None => principal.is_some_and(|principal| identity.name.is(principal)),
        };
        self.0.iter().find(named)?.listed(roles)
    }

    pub fn by_id<'s>(&'s self, id: &str, roles: &'s Roles) -> Option<Listed<'s>> {
        self.0.iter().find(|identity| &*identity.id == id)?.listed(roles)
    }
}

impl Identity {
    pub fn listed<'s>(&'s self, roles: &'s Roles) -> Option<Listed<'s>> {
        let roles = roles.set(self.roles)?;
        Some(Listed { id: &self.id, scopes: &self.scopes, roles, tenant: self.tenant.as_deref(), restricted: false, until: None })
    }
}

impl Name {
    fn is_in(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Spiffe(uri) => certificate.uris.iter().any(|said| **said == **uri),
            Self::Dns(name) => certificate.names.iter().any(|said| said.eq_ignore_ascii_case(name)),
            Self::Subject(subject) => is_same_subject(subject, &certificate.subject),
        }
    }

    /// A principal as Envoy puts it: the URI, or else the DNS name, or else the subject, and it does not say which. Each kind has a
    /// form that the others cannot have, so that a DNS name cannot pass for a subject.
    fn is(&self, principal: &str) -> bool {
        let (is_uri, is_subject) = (principal.contains("://"), principal.contains('='));
        match self {
            Self::Spiffe(uri) => is_uri && principal == &**uri,
            Self::Dns(name) => !is_uri && !is_subject && principal.eq_ignore_ascii_case(name),
            Self::Subject(subject) => !is_uri && is_subject && is_same_subject(subject, principal),
        }
    }
}

/// Whether it goes on with the one before it (`+`), its type, whether its value is `#` and hexadecimal, and the value.
type Attribute = (bool, String, bool, Vec<u8>);

/// RFC 4514 leaves its writers a choice of escapes, and types have no case: OpenSSL, and so Envoy, writes `emailAddress` and `\C3\A9`.
fn is_same_subject(one: &str, other: &str) -> bool {
    one == other || attributes(one).is_some_and(|one| attributes(other) == Some(one))
}

fn attributes(subject: &str) -> Option<Vec<Attribute>> {
    let (mut list, mut joined, mut bytes) = (Vec::new(), false, subject.bytes().peekable());
    loop {
        let mut kind = String::new();
        loop {
            match bytes.next()? {
                b'=' => break,
                byte => kind.push(char::from(byte.to_ascii_lowercase())),
            }
        }
        // Two names of 1.2.840.113549.1.9.1.
        let kind = if kind == "email" { "emailaddress".into() } else { kind };
        let is_encoded = bytes.next_if_eq(&b'#').is_some();
        let mut value = Vec::new();
        let end = loop {
            match bytes.next() {
                Some(b'\\') => value.push(escaped(&mut bytes)?),
                end @ (Some(b',' | b'+') | None) => break end,
                Some(byte) => value.push(byte),
            }
        };
        list.push((joined, kind, is_encoded, value));
        match end {
            Some(end) => joined = end == b'+',
            None => return Some(list),
        }
    }
}

/// Two hexadecimal digits, or the byte itself.
fn escaped(bytes: &mut Peekable<Bytes<'_>>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let first = bytes.next()?;
    match digit(first) {
        Some(high) => u8::try_from(high * 16 + digit(bytes.next()?)?).ok(),
        None => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_counts_to_its_last_second_where_the_gate_itself_took_it() {
        let text = include_bytes!("../../tests/vectors/client.pem");
        let own = Certificate::parse(text).unwrap();
        assert_eq!(read(Shown::Own(&own), own.not_after).as_deref(), Ok(&own));
        assert_eq!(read(Shown::Own(&own), own.not_after + 1), Err(Cause::Expired));
        // Of a proxy's handshake the proxy knows.
        assert_eq!(read(Shown::Text(text), own.not_after + 1).as_deref(), Ok(&own));
        assert_eq!(read(Shown::Text(b"x"), own.not_after), Err(Cause::Malformed));
    }

    #[test]
    fn a_principal_of_one_kind_is_not_taken_for_another() {
        let spiffe = Name::Spiffe("spiffe://cluster.local/ns/a/sa/b".into());
        assert!(spiffe.is("spiffe://cluster.local/ns/a/sa/b"));
        assert!(!spiffe.is("spiffe://cluster.local/ns/a/sa/b2") && !spiffe.is("SPIFFE://cluster.local/ns/a/sa/b"));
        let dns = Name::Dns("client.example.com".into());
        assert!(dns.is("Client.example.com") && !dns.is("CN=client.example.com") && !dns.is("client.example.com.evil.org"));
        let subject = Name::Subject("CN=client,O=Example".into());
        assert!(subject.is("CN=client,O=Example") && !subject.is("client") && !subject.is("CN=Client,O=Example"));
    }

    #[test]
    fn a_subject_is_the_same_in_every_spelling_of_rfc_4514_and_no_other() {
        let known = "CN=J\u{fc}rgen,EMAIL=a@b.test+SERIALNUMBER=7,O=Caf\u{e9}\\, GmbH";
        assert!(is_same_subject(known, r"cn=J\C3\BCrgen,emailAddress=a@b.test+serialNumber=7,O=Caf\c3\a9\2C GmbH"));
        for (one, other) in [
            ("CN=a,O=b", "CN=A,O=b"),
            ("CN=a,O=b", "O=b,CN=a"),
            ("CN=a,O=b", "CN=a+O=b"),
            ("CN=a,O=b", r"CN=a\,O=b"),
            ("CN=a,O=b", "CN=a"),
            ("CN=a", "CN=a,"),
            ("CN=#0c0161", r"CN=\#0c0161"),
            ("CN=a", "OU=a"),
        ] {
            assert!(is_same_subject(one, one) && !is_same_subject(one, other) && !is_same_subject(other, one), "{one} {other}");
        }
        // What is cut short is no subject.
        assert!(!is_same_subject(r"CN=a\", r"cn=a\") && !is_same_subject(r"CN=a\4", r"cn=a\4") && !is_same_subject("CN", "cn"));
    }
}
