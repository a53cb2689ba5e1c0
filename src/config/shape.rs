//! The keys of the configuration, once: what is known, of which shape, with which default. The file is checked against this table,
//! `scopegate schema` prints it, and a test holds the README to it.

mod credential;

use serde_json::{Map, Value as Json, json};

use credential::CREDENTIAL;

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub doc: &'static str,
}

#[derive(Debug)]
pub enum Shape {
    Text,
    Bool,
    /// A whole number from 1.
    Count,
    Duration,
    Size,
    /// One text or a list of them.
    Texts,
    Object(&'static [Key]),
    List(&'static Self),
    /// Any key; the text says what a key is.
    Map(&'static Self, &'static str),
    /// By the kind of the value: text, list or mapping.
    Either(&'static [Self]),
    /// What may be said, and what the contract knows beside it.
    Choice(&'static [&'static str], &'static [&'static str]),
}

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc }
}

pub static FILE: Shape = Shape::Object(&[
    key(
        "upstream",
        Shape::Either(&[Shape::Text, Shape::Object(UPSTREAM)]),
        "the service behind the proxy door, a URL or these keys; without it that door is off",
    ),
    key("listen", Shape::Object(LISTEN), "addresses of the doors, `host:port` or `unix:/path`; `off` closes one"),
    key(
        "trusted_proxies",
        Shape::Texts,
        "networks whose X-Forwarded-*, PROXY and forward-auth headers are believed; default `[127.0.0.0/8, \"::1/128\"]`",
    ),
    key("credentials", Shape::Map(&Shape::Object(CREDENTIAL), "a name of your choice"), "where scopes come from; the order is the order of trial"),
    key(
        "roles",
        Shape::Map(&Shape::Either(&[Shape::Text, Shape::Texts, Shape::Object(ROLE)]), "a role"),
        "role to scopes; `default: NAME` is the role of a principal that has none",
    ),
    key(
        "routes",
        Shape::Map(&Shape::Either(&[Shape::Text, Shape::Texts, Shape::Object(ROUTE)]), "a pattern, `[METHOD ][HOST]/path/{name}/{rest...}`"),
        "pattern to requirement: `public`, `authenticated`, `deny`, a scope, a list of scopes, or the keys of a route",
    ),
    key("default", Shape::Either(&[Shape::Text, Shape::Texts, Shape::Object(ROUTE)]), "the requirement where no pattern matches; default `deny`"),
    key("forward", Shape::Object(FORWARD), "what the upstream is told"),
    key("telemetry", Shape::Object(TELEMETRY), "where audit lines and traces go"),
    key("reload", Shape::Object(RELOAD), "what starts a reload beside SIGHUP and `POST /reload`"),
    key(
        "strict_file_modes",
        Shape::Bool,
        "a file of tokens or secrets that other users may read is a fault; default `false`, a warning. Root's file of mode `0440` is for a group of this process, as in a pod",
    ),
    key("drain_timeout", Shape::Duration, "how long requests in flight may go on after SIGTERM; default `30s`"),
    key(
        "cors",
        Shape::Object(CORS),
        "pages in browsers that may call; preflights are answered before authentication, WebSockets of other origins are refused",
    ),
    key("egress", Shape::List(&Shape::Object(EGRESS)), "listeners for the service's own calls, to which a credential is added"),
    key("key_cache", Shape::Text, "folder for copies of fetched key sets; default `scopegate-keys` beside this file, `off` for none"),
    key("tls", Shape::Object(TLS), "the proxy door's own TLS, for HTTP/1.1 and HTTP/2; read again on reload"),
    key(
        "proxy_protocol",
        Shape::Bool,
        "`true`: connections of `trusted_proxies` begin with a PROXY protocol header, version 1 or 2; default `false`",
    ),
    key("bounds", Shape::Object(BOUNDS), "what a client of the proxy door may take"),
    key("lame_duck", Shape::Duration, "how long SIGTERM leaves the doors open, unready, before the drain begins; default `5s`"),
    key("reuse_port", Shape::Bool, "`true`: a new process may listen on the same ports before this one ends; default `false`"),
    key(
        "store",
        Shape::Either(&[Shape::Text, Shape::Object(STORE)]),
        "where managed keys, roles, profiles, revocations and second factors are kept: `sqlite:/path` or `postgres://…`, or these keys; default `sqlite:scopegate.db` beside this file where something needs one, else none",
    ),
    key("store_keys", Shape::Object(STORE_KEYS), "what the store's content is hashed and encrypted under; never kept in the store"),
    key("management", Shape::Object(MANAGEMENT), "the API for what is in the store; always at the admin door"),
    key("limits", Shape::Object(LIMITS), "where `rate_limit` is counted"),
    key(
        "mode",
        Shape::Choice(&["enforce", "shadow"], &[]),
        "`shadow`: every route decides, records and lets pass what it would deny; malformed requests are refused all the same; default `enforce`",
    ),
]);

const STORE: &[Key] = &[
    key("url", Shape::Text, "`sqlite:/path` or `postgres://user@host/database`"),
    key("url_file", Shape::Text, "a file with it"),
    key(
        "stale_for",
        Shape::Duration,
        "how long the gate goes on with what it knows while the store is out of reach, 503 from then on; default `30s`",
    ),
];

const STORE_KEYS: &[Key] = &[key(
    "file",
    Shape::Text,
    "one key a line, `id:base64` of 32 bytes, the first for what is new; default `store.keys` beside a SQLite store, made when absent",
)];

const MANAGEMENT: &[Key] = &[key("expose", Shape::Bool, "`true`: at the proxy door too; default `false`")];

const LIMITS: &[Key] = &[
    key("backend", Shape::Text, "`memory`, or `redis://host:port` or `rediss://…` for one limit across replicas; default `memory`"),
    key("backend_file", Shape::Text, "a file with it"),
    key("timeout", Shape::Duration, "how long a request waits for Redis before its own count is used; default `50ms`"),
];

const MFA: &[Key] = &[key("max_age", Shape::Duration, "how long ago the second factor may have been shown; default `15m`")];

const RATE_LIMIT: &[Key] = &[
    key("rate", Shape::Text, "`10/s`, `100/m`, `1000/h` or `10000/d`"),
    key("burst", Shape::Count, "how many at once; default the rate's number"),
    key(
        "per",
        Shape::Choice(&["principal", "tenant", "ip", "route"], &[]),
        "who shares it: `principal`, `tenant`, `ip` (an IPv6 client by its /64) or `route`; default `principal`",
    ),
];

const UPSTREAM: &[Key] = &[
    key(
        "url",
        Shape::Text,
        "`http://host:port`, `https://host` (HTTP/2 where the server offers it), `h2c://host:port` (HTTP/2 without TLS), `unix:/path`, or `original_destination`",
    ),
    key("ca", Shape::Text, "`https`: PEM file of the certificates to believe, in place of the public ones"),
    key("cert", Shape::Text, "`https`: PEM file of the gate's own certificate, where the upstream asks for one"),
    key("key", Shape::Text, "`https`: PEM file of its private key"),
    key(
        "mark",
        Shape::Count,
        "`original_destination`: mark of the gate's own connections, by which rules exempt them (`SO_MARK`, needs CAP_NET_ADMIN); default none",
    ),
    key("connect_timeout", Shape::Duration, "default `2s`"),
    key("response_timeout", Shape::Duration, "to the response head, streams are not cut; default `60s`"),
];

const TLS: &[Key] = &[
    key(
        "cert",
        Shape::Texts,
        "PEM file of the certificate with its chain; of several, the one that names the host asked for (SNI), or else the first",
    ),
    key("key", Shape::Texts, "PEM file of the private key; one for each `cert`, in its order"),
    key("client_ca", Shape::Text, "PEM file of authorities: clients may show a certificate of theirs, which `kind: mtls` reads"),
    key("require_client", Shape::Bool, "`true`: no connection without such a certificate; default `false`"),
];

const BOUNDS: &[Key] = &[
    key("connections", Shape::Count, "open at a time; more are closed at once; default `16384`"),
    key("streams", Shape::Count, "requests in flight on an HTTP/2 connection; default `128`"),
    key("head", Shape::Size, "request line and header fields, 431 beyond; default `60KiB`, at most `1MiB`"),
    key("headers", Shape::Count, "header fields, 431 beyond; default `100`"),
    key("target", Shape::Size, "path and query, 414 beyond; default `8KiB`, at most `60KiB`"),
    key("handshake_time", Shape::Duration, "for PROXY header, TLS handshake and the first byte; default `10s`"),
    key("head_time", Shape::Duration, "from the first byte of a head to its last, 408 beyond; default `10s`"),
    key("idle", Shape::Duration, "between two requests; default `60s`"),
    key("body_idle", Shape::Duration, "without a byte of a request's body, 408 beyond; default `30s`"),
    key("body_rate", Shape::Size, "a second of body on average after the first ten seconds, 408 beyond; default `100B`"),
    key("send_idle", Shape::Duration, "without a byte taken of an answer; default `60s`"),
    key("tunnel_idle", Shape::Duration, "without a byte either way in a WebSocket; default `1h`"),
    key("control_frames", Shape::Count, "HTTP/2 frames a second that carry no request, in bursts of ten times that; default `100`"),
];

const LISTEN: &[Key] = &[
    key("proxy", Shape::Text, "reverse proxy; default `127.0.0.1:8080` where there is an upstream"),
    key("ext_authz", Shape::Text, "Envoy's gRPC external authorization; default `127.0.0.1:9191`"),
    key("forward_auth", Shape::Text, "nginx, Traefik, Caddy and Envoy over HTTP; default `127.0.0.1:9192`"),
    key("admin", Shape::Text, "health, metrics, reload, explain; default `127.0.0.1:9190`"),
];

const CORS: &[Key] = &[
    key("origins", Shape::Texts, "`https://host[:port]` as browsers send it; `*` for all, without credentials"),
    key("credentials", Shape::Bool, "whether pages may send cookies; default `false`"),
    key("max_age", Shape::Duration, "how long browsers keep a preflight's answer; default `10m`, at most `2h`"),
];

const EGRESS: &[Key] = &[
    key("listen", Shape::Text, "`127.0.0.1:PORT` or `unix:/path`: whoever reaches it speaks as this service"),
    key("url", Shape::Text, "where the calls go, `https://host` or `http://host:port`"),
    key("backstage", Shape::Object(EGRESS_KEY), "adds a Backstage service token of one hour, made anew every ten minutes"),
    key("bearer_file", Shape::Text, "adds the token in this file, which is read again when it changes"),
];

const EGRESS_KEY: &[Key] = &[key("key", Shape::Text, "shared secret, base64"), key("key_file", Shape::Text, "a file with it")];

const ROLE: &[Key] = &[key("inherits", Shape::Texts, "roles whose scopes are added"), key("scopes", Shape::Texts, "scopes that the role grants")];

const ROUTE: &[Key] = &[
    key("scopes", Shape::Texts, "all of these"),
    key("any_scopes", Shape::Texts, "one of these"),
    key("credentials", Shape::Texts, "only these sources"),
    key("roles", Shape::Texts, "one of these"),
    key("authenticated", Shape::Bool, "`true`: any caller"),
    key("tools", Shape::Map(&Shape::Texts, "a tool"), "JSON-RPC `tools/call`: `params.name` to the scopes that it needs"),
    key("max_body", Shape::Size, "longest body that `tools` inspects; default `64KiB`"),
    key("allow_paths", Shape::Texts, "`encoded_slash`, `semicolon`, `empty_segment`: what paths of this route may contain"),
    key(
        "preflight",
        Shape::Choice(&["answer", "pass", "require"], &[]),
        "what becomes of CORS preflights: answered here, passed to the upstream, or like any request; default `answer`; needs `cors`",
    ),
    key("query_credentials", Shape::Bool, "`true`: `query:` places are read on every request, not on WebSocket upgrades alone; default `false`"),
    key("websocket", Shape::Bool, "`false`: a WebSocket is refused; an open one is closed when its credential ends; default `true`"),
    key("mfa", Shape::Object(MFA), "a second factor, shown of late (RFC 9470)"),
    key("public", Shape::Bool, "`true`: as the short form `public`, where there is a `rate_limit` or another key beside it"),
    key("rate_limit", Shape::Either(&[Shape::Text, Shape::Object(RATE_LIMIT)]), "at most so many requests, 429 beyond: `10/m`, or these keys"),
    key(
        "mode",
        Shape::Choice(&["enforce", "shadow"], &[]),
        "`shadow`: decide, record and let pass; `enforce`: denied, whatever `mode` says for the whole gate; default that one",
    ),
];

const FORWARD: &[Key] = &[
    key(
        "headers",
        Shape::Map(&Shape::Text, "a header"),
        "header to template: `{{auth.id}}`, `credential`, `scopes`, `tenant`, `role`, `roles`, or any claim such as `{{auth.email}}`",
    ),
    key(
        "assertion",
        Shape::Object(ASSERTION),
        "a short-lived signed JWT of who calls; its public keys are at the operator's door, `/.well-known/jwks.json`",
    ),
];

const ASSERTION: &[Key] = &[
    key("key_file", Shape::Text, "the private key: ECDSA P-256, Ed25519, or RSA of 2048 bits and more; PEM, read again on reload"),
    key("header", Shape::Text, "the header that carries it; default `x-scopegate-assertion`"),
    key("ttl", Shape::Duration, "how long one counts, at most `1h` and never longer than the credential; default `60s`"),
    key("issuer", Shape::Text, "its `iss`; default `scopegate`"),
    key("audience", Shape::Text, "its `aud`; default none"),
];

const TELEMETRY: &[Key] = &[
    key("audit", Shape::Either(&[Shape::Text, Shape::Object(AUDIT)]), "one JSON line a decision: `stdout`, `off`, or these keys; default `stdout`"),
    key(
        "otlp",
        Shape::Either(&[Shape::Text, Shape::Object(OTLP)]),
        "where traces, metrics and logs go over OTLP/gRPC, `http://collector:4317`, or these keys",
    ),
];

const AUDIT: &[Key] = &[
    key("file", Shape::Text, "the file, relative to this file; default standard output"),
    key("max_size", Shape::Size, "size at which the file is put aside as `FILE.1` and begun anew; default `100MiB`"),
    key("keep", Shape::Count, "how many files that were put aside are kept; default `5`"),
    key("sample", Shape::Text, "the share of allowed requests that are written, such as `1%`; denials always are; default `100%`"),
    key("paths", Shape::Bool, "whether lines tell the path, without its query, long values cut; default `true`"),
];

const OTLP: &[Key] = &[
    key("endpoint", Shape::Text, "`http://collector:4317` or `https://…`; default the standard `OTEL_EXPORTER_OTLP_ENDPOINT`"),
    key("signals", Shape::Texts, "of `traces`, `metrics` and `logs` those that are sent; default all"),
    key(
        "sample",
        Shape::Text,
        "the share of traces that begin here which are recorded, such as `10%`; a caller's own decision holds; default `100%`",
    ),
];

const RELOAD: &[Key] = &[
    key("signal", Shape::Bool, "SIGHUP; always on, `false` is refused"),
    key("watch", Shape::Bool, "a change on disk, Kubernetes' `..data` links included; default `true`"),
];

/// JSON Schema, draft 2020-12.
pub fn schema() -> Json {
    let mut schema = json_of(&FILE);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".into(), json!("Scopegate configuration"));
    }
    schema
}

fn json_of(shape: &Shape) -> Json {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Count => json!({"type": "integer", "minimum": 1}),
        Shape::Duration => json!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|.*(\\$\\{|\\{\\{env\\.).*)$"}),
        Shape::Size => json!({"type": "string", "pattern": "^([0-9]+(B|KB|KiB|MB|MiB)|.*(\\$\\{|\\{\\{env\\.).*)$"}),
        Shape::Texts => json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        Shape::Choice(choices, _) => json!({"enum": choices}),
        Shape::Map(inner, what) => json!({"type": "object", "description": what, "additionalProperties": json_of(inner)}),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(json_of).collect::<Vec<_>>()}),
        Shape::List(inner) => json!({"type": "array", "items": json_of(inner)}),
        Shape::Object(keys) => {
            let mut properties = Map::new();
            for key in *keys {
                let mut property = json_of(&key.shape);
                if let Some(object) = property.as_object_mut() {
                    object.insert("description".into(), json!(key.doc));
                }
                properties.insert(key.name.into(), property);
            }
            json!({"type": "object", "properties": properties, "additionalProperties": false})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a key: its dotted name and what it says.
    fn rows(prefix: &str, shape: &Shape, out: &mut Vec<String>) {
        match shape {
            Shape::Object(keys) => {
                for key in *keys {
                    let name = format!("{prefix}{}", key.name);
                    out.push(format!("| `{name}` | {} |", key.doc.replace('|', "\\|")));
                    rows(&format!("{name}."), &key.shape, out);
                }
            }
            Shape::Map(inner, _) => rows(&format!("{prefix}*."), inner, out),
            Shape::List(inner) => rows(&format!("{}[].", prefix.trim_end_matches('.')), inner, out),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| rows(prefix, shape, out)),
            Shape::Text | Shape::Bool | Shape::Count | Shape::Duration | Shape::Size | Shape::Texts | Shape::Choice(..) => {}
        }
    }

    #[test]
    fn the_readme_lists_every_key_with_its_default() {
        let mut expected = Vec::new();
        rows("", &FILE, &mut expected);
        // `default` takes what a route takes.
        expected.retain(|row| !row.starts_with("| `default."));
        let readme = include_str!("../../README.md");
        let missing: Vec<_> = expected.iter().filter(|row| !readme.contains(*row)).collect();
        assert!(missing.is_empty(), "README.md lacks:\n{}", missing.iter().map(|row| row.as_str()).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_schema_names_what_the_file_may_say() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert!(schema["properties"]["routes"].is_object() && schema["properties"]["credentials"].is_object());
    }
}
