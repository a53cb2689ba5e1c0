//! The client certificate of a connection into a principal, by the names that the operator listed.
//! Believes only what the proxy that checked the certificate says over its own channel, never a header of the client's.

use super::caller::Listed;
use super::roles::{RoleSetId, Roles};
use crate::credential::certificate::Certificate;
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
        Some(Listed { id: &self.id, scopes: &self.scopes, roles, tenant: self.tenant.as_deref(), restricted: false })
    }
}

impl Name {
    fn is_in(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Spiffe(uri) => certificate.uris.iter().any(|said| **said == **uri),
            Self::Dns(name) => certificate.names.iter().any(|said| said.eq_ignore_ascii_case(name)),
            Self::Subject(subject) => *certificate.subject == **subject,
        }
    }

    /// A principal as Envoy puts it: the URI, or else the DNS name, or else the subject, and it does not say which. Each kind has a
    /// form that the others cannot have, so that a DNS name cannot pass for a subject.
    fn is(&self, principal: &str) -> bool {
        let (is_uri, is_subject) = (principal.contains("://"), principal.contains('='));
        match self {
            Self::Spiffe(uri) => is_uri && principal == &**uri,
            Self::Dns(name) => !is_uri && !is_subject && principal.eq_ignore_ascii_case(name),
            Self::Subject(subject) => !is_uri && is_subject && principal == &**subject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_of_one_kind_is_not_taken_for_another() {
        let spiffe = Name::Spiffe("spiffe://cluster.local/ns/a/sa/b".into());
        assert!(spiffe.is("spiffe://cluster.local/ns/a/sa/b"));
        assert!(!spiffe.is("spiffe://cluster.local/ns/a/sa/b2") && !spiffe.is("SPIFFE://cluster.local/ns/a/sa/b"));
        let dns = Name::Dns("client.example.com".into());
        assert!(dns.is("Client.example.com") && !dns.is("CN=client.example.com") && !dns.is("client.example.com.evil.org"));
        let subject = Name::Subject("CN=client,O=Example".into());
        assert!(subject.is("CN=client,O=Example") && !subject.is("client") && !subject.is("cn=client,O=Example"));
    }
}
