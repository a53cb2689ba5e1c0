//! An issuer into the address of its key set, by the issuer's own document (OpenID Connect Discovery 1.0 §4).
//! Takes no document that speaks for another issuer, and no address of this machine from one that is elsewhere.

use http::Uri;
use serde::Deserialize;

use crate::fetch::address::{is_allowed, is_loopback};

/// An issuer as the operator wrote it, and where its document is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer {
    name: Box<str>,
    document: Uri,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// `Err` says what would be right.
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        if is_allowed(name)?.query().is_some() {
            return Err("an issuer has no `?query`");
        }
        let document = is_allowed(&format!("{}/.well-known/openid-configuration", name.strip_suffix('/').unwrap_or(name)))?;
        Ok(Self { name: name.into(), document })
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub fn document(&self) -> &Uri {
        &self.document
    }

    /// The address of the keys, from the document.
    pub fn keys(&self, document: &[u8]) -> Result<Uri, String> {
        let Document { issuer, jwks_uri } =
            serde_json::from_slice(document).map_err(|_| "the answer is no discovery document with `issuer` and `jwks_uri`".to_owned())?;
        if issuer != *self.name {
            let slash = if issuer.trim_end_matches('/') == self.name.trim_end_matches('/') { ", with or without a slash at its end" } else { "" };
            return Err(format!("the document does not speak for `{}`: its `issuer` is another text{slash}", self.name));
        }
        let uri = is_allowed(&jwks_uri).map_err(|rule| format!("`jwks_uri` cannot be asked: {rule}"))?;
        let here = |uri: &Uri| uri.authority().is_some_and(is_loopback);
        if here(&uri) && !here(&self.document) {
            return Err("`jwks_uri` is an address of this machine, and the issuer is not".into());
        }
        Ok(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(issuer: &str, document: &str) -> Result<String, String> {
        Issuer::parse(issuer).unwrap().keys(document.as_bytes()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_document_is_below_the_issuer() {
        for (name, path) in
            [("https://idp.example", "/"), ("https://idp.example/", "/"), ("https://idp.example/t/1", "/t/1/"), ("https://idp.example/t/1/", "/t/1/")]
        {
            let document = Issuer::parse(name).unwrap().document.to_string();
            assert_eq!(document, format!("https://idp.example{path}.well-known/openid-configuration"));
        }
        for name in ["http://idp.example", "https://idp.example?x", "https://idp.example#x", "idp.example", ""] {
            assert!(Issuer::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_document_speaks_for_its_own_issuer_only() {
        let document = r#"{"issuer":"https://idp.example","jwks_uri":"https://keys.example/set","other":[1]}"#;
        assert_eq!(keys("https://idp.example", document).unwrap(), "https://keys.example/set");
        for other in ["https://idp.example/", "https://IDP.example", "https://idp.example/tenant", "https://evil.example"] {
            assert!(keys(other, document).is_err(), "{other}");
        }
    }

    #[test]
    fn an_address_of_keys_obeys_the_rule() {
        let with = |uri: &str| keys("https://idp.example", &format!(r#"{{"issuer":"https://idp.example","jwks_uri":"{uri}"}}"#));
        for uri in ["http://idp.example/set", "/set", "", "https://127.0.0.1/set", "http://localhost:8080/admin", "https://[::1]/set", "file:///set"]
        {
            assert!(with(uri).is_err(), "{uri}");
        }
        let local = r#"{"issuer":"http://localhost:1","jwks_uri":"http://127.0.0.1:2/set"}"#;
        assert_eq!(keys("http://localhost:1", local).unwrap(), "http://127.0.0.1:2/set");
        for broken in ["", "{}", "<html>", r#"{"issuer":"https://idp.example"}"#, r#"{"issuer":"https://idp.example","jwks_uri":7}"#] {
            assert!(keys("https://idp.example", broken).is_err(), "{broken}");
        }
    }
}
