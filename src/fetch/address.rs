//! The text of an operator's URL into an address that may be asked.
//! Refuses plain HTTP to other machines, user names in URLs, and a redirect that leaves its origin.

use http::Uri;
use http::uri::Authority;

const RULE: &str = "`https://` is needed; `http://` goes to this machine only (127.0.0.1, [::1], localhost)";

/// The one rule for every address that the process fetches from. `Err` says what would be right.
pub fn is_allowed(url: &str) -> Result<Uri, &'static str> {
    if url.contains('#') {
        return Err("a URL with a `#fragment` is not an address to ask; leave the fragment out");
    }
    let uri: Uri = url.parse().map_err(|_| "this is no URL; one looks like https://host/path")?;
    obeys(&uri)?;
    Ok(uri)
}

/// As [`is_allowed`], for what is a URI already.
pub fn obeys(uri: &Uri) -> Result<(), &'static str> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("this is no absolute URL; one looks like https://host/path");
    };
    if authority.as_str().contains('@') {
        return Err("a URL with a user name or password in it is not asked; leave them out");
    }
    // The parser takes any digits for a port, and the connector would then quietly use the default one.
    if authority.as_str() != authority.host() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("the port is none; it is a number from 1 to 65535");
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback(authority) => Ok(()),
        _ => Err(RULE),
    }
}

/// Whether only this machine answers there.
pub fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Where a redirect leads: an absolute URL of the same origin or an absolute path (RFC 9110 §10.2.2), otherwise `None`.
pub fn redirected(from: &Uri, location: &[u8]) -> Option<Uri> {
    let location = str::from_utf8(location).ok()?;
    let location = location.split('#').next()?;
    let absolute = if location.starts_with("//") {
        format!("{}:{location}", from.scheme_str()?)
    } else if location.starts_with('/') {
        format!("{}://{}{location}", from.scheme_str()?, from.authority()?)
    } else {
        location.to_owned()
    };
    is_allowed(&absolute).ok().filter(|to| origin(to) == origin(from))
}

/// Scheme, host and port (RFC 6454 §4).
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// An address as it may be logged: a query can hold a key.
pub fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", Authority::as_str);
    let authority = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{authority}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for url in
            ["https://idp.example/jwks", "http://127.0.0.1:9/k", "http://127.9.9.9/", "http://[::1]:80/k", "http://localhost/k", "HTTP://LOCALHOST:1"]
        {
            assert!(is_allowed(url).is_ok(), "{url}");
        }
        let refused = [
            "http://idp.example/jwks",
            "http://128.0.0.1/",
            "http://127.1/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://localhost.evil.example/",
            "http://localhost./",
            "http://127.0.0.1.nip.example/",
            "http://169.254.169.254/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "/jwks",
            "idp.example",
            "",
            "https://",
            "https:///jwks",
            "https://user@idp.example/",
            "https://idp.example@evil.example/",
            "http://localhost@evil.example/",
            "https://idp.example:99999/",
            "https://idp.example:/",
            "https://idp.example:0/",
            "https://idp.example/jwks#fragment",
            "https://idp example/",
        ];
        for url in refused {
            assert!(is_allowed(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_redirect_stays_at_its_origin() {
        let from: Uri = "https://idp.example/a/keys?x=1".parse().unwrap();
        let to = |location: &str| redirected(&from, location.as_bytes()).map(|uri| uri.to_string());
        assert_eq!(to("/b"), Some("https://idp.example/b".into()));
        assert_eq!(to("https://IDP.example:443/b#c"), Some("https://IDP.example:443/b".into()));
        assert_eq!(to("//idp.example/b"), Some("https://idp.example/b".into()));
        for location in
            ["http://idp.example/b", "https://idp.example:444/b", "https://evil.example/b", "//evil.example/b", "b", "", "https:/b", "/\u{7f}"]
        {
            assert_eq!(to(location), None, "{location}");
        }
        assert_eq!(redirected(&from, b"/\xff"), None);
    }

    #[test]
    fn a_shown_address_has_no_query() {
        assert_eq!(shown(&"https://idp.example:8443/keys?key=secret".parse().unwrap()), "https://idp.example:8443/keys");
        assert_eq!(shown(&"https://me:secret@idp.example/keys".parse().unwrap()), "https://idp.example/keys");
    }
}
