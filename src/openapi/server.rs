//! `servers` into the path that goes before every path of the document, and the hosts that it is served at.
//! Asks nobody; a variable is its default.

use serde_json::Value;

/// Where operations are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Without a slash at its end; empty for the root.
    pub base: String,
    pub hosts: Vec<String>,
    /// Base paths of other servers, which differ.
    pub others: Vec<String>,
}

/// `None` where nothing is said.
pub fn place(servers: Option<&Value>) -> Option<Place> {
    let mut place: Option<Place> = None;
    for server in servers.and_then(Value::as_array)? {
        let Some(url) = server.get("url").and_then(Value::as_str) else { continue };
        let (host, base) = split(&filled(url, server.get("variables")));
        match &mut place {
            None => place = Some(Place { base, hosts: host.into_iter().collect(), others: Vec::new() }),
            Some(place) if place.base == base => place.hosts.extend(host),
            Some(place) if !place.others.contains(&base) => place.others.push(base),
            Some(_) => {}
        }
    }
    place
}

/// A base path as the operator names it.
pub fn base(text: &str) -> Result<String, String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!("`{}` is no base path; it begins with `/`, such as `/api/v1`", text.escape_debug()));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The URL with every variable's default in its place; one without is left as a parameter.
fn filled(url: &str, variables: Option<&Value>) -> String {
    let mut text = url.to_owned();
    for (name, variable) in variables.and_then(Value::as_object).into_iter().flatten() {
        let default = match variable.get("default") {
            Some(Value::String(default)) => default.clone(),
            Some(Value::Number(default)) => default.to_string(),
            Some(_) | None => continue,
        };
        text = text.replace(&format!("{{{name}}}"), &default);
    }
    text
}

/// Host and base path. A host that is still a parameter is none.
fn split(url: &str) -> (Option<String>, String) {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let behind = url.split_once("://").map(|(_, behind)| behind).or_else(|| url.strip_prefix("//"));
    let (authority, path) = match behind {
        Some(behind) => behind.split_at_checked(behind.find('/').unwrap_or(behind.len())).unwrap_or((behind, "")),
        None => ("", url),
    };
    // A relative URL is one from where the document is served, of which nothing is known.
    let path = if path.starts_with('/') { path } else { "" };
    let name = authority.rsplit('@').next().unwrap_or_default();
    let name = if name.starts_with('[') { name } else { name.split(':').next().unwrap_or_default() };
    let host = (!name.is_empty() && !name.contains(['{', '}'])).then(|| name.to_ascii_lowercase());
    (host, path.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_is_a_base_path_and_hosts() {
        for (servers, base, hosts) in [
            (json!([{"url": "https://a.test/v1/"}]), "/v1", &["a.test"][..]),
            (json!([{"url": "https://A.test:8443"}, {"url": "http://b.test/"}]), "", &["a.test", "b.test"]),
            (json!([{"url": "/api"}]), "/api", &[]),
            (json!([{"url": "/"}]), "", &[]),
            (json!([{"url": "api"}]), "", &[]),
            (json!([{"url": "//c.test/x"}]), "/x", &["c.test"]),
            (json!([{"url": "{host}/v1", "variables": {"host": {"default": "https://api.test"}}}]), "/v1", &["api.test"]),
            (json!([{"url": "https://{tenant}.api.test/{version}/x", "variables": {"version": {"default": 2}}}]), "/2/x", &[]),
            (json!([{"url": "https://a.test/{version}"}]), "/{version}", &["a.test"]),
        ] {
            let place = place(Some(&servers)).unwrap();
            assert_eq!(
                (place.base.as_str(), place.hosts.as_slice(), place.others.len()),
                (base, &*hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>(), 0),
                "{servers}"
            );
        }
        assert_eq!((place(None), place(Some(&json!([])))), (None, None));
        let two = place(Some(&json!([{"url": "/v1"}, {"url": "/v2"}, {"url": "https://a.test/v2"}]))).unwrap();
        assert_eq!((two.base.as_str(), two.others.as_slice()), ("/v1", &["/v2".to_owned()][..]));
    }
}
