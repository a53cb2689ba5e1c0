//! What holds at every front, whichever program it is.
//! A promise that a proxy cannot carry is named where it is checked.

use crate::client::Ask;
use crate::message::Message;
use crate::stage::{Front, Stage};

const TOKENS: [&str; 4] = ["agent-prod-01", "operator-01", "prometheus", "admin"];

/// Of requests that no route of the example speaks of.
pub const LIMIT: &str = "default: {authenticated: true, rate_limit: {rate: 2/d}}";

const EXECUTE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"execute_query","arguments":{"sql":"select 1"}}}"#;
const ANALYZE: &[u8] = br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"analyze_query","arguments":{"sql":"select 1"}}}"#;

/// Backstop's fourteen operations: method, target, body, and the scope that each needs.
const OPERATIONS: [(&str, &str, &[u8], &str); 14] = [
    ("GET", "/health", b"", ""),
    ("POST", "/", EXECUTE, "query:execute"),
    ("POST", "/", ANALYZE, "query:analyze"),
    ("GET", "/pending", b"", "approval:read"),
    ("POST", "/approve/42", b"{}", "approval:write"),
    ("POST", "/deny/42", b"{}", "approval:write"),
    ("GET", "/metadata/snapshots", b"", "metadata:read"),
    ("GET", "/metadata/audit", b"", "metadata:read"),
    ("GET", "/metadata/alerts", b"", "metadata:read"),
    ("GET", "/metadata/health", b"", "metadata:read"),
    ("GET", "/metrics", b"", "metrics:read"),
    ("POST", "/admin/pause", b"", "admin:*"),
    ("POST", "/admin/resume", b"", "admin:*"),
    ("GET", "/admin/status", b"", "admin:*"),
];

fn operation(method: &str, target: &str, body: &[u8]) -> Ask {
    let ask = Ask::new(method, target);
    if method == "POST" { ask.header("Content-Type", "application/json").body(body) } else { ask }
}

pub fn matrix(stage: &Stage) {
    let mut wrong = Vec::new();
    for id in TOKENS {
        for (method, target, body, scope) in OPERATIONS {
            let (answer, seen) = stage.ask(&operation(method, target, body).token(stage.token(id)));
            let inspected = target == "/";
            let hidden = inspected && !stage.front.shows_bodies();
            let opens = (scope.is_empty() || stage.holds(id, scope)) && !hidden;
            let arrived = matches!(&seen[..], [one] if one.word(0) == method && one.word(1) == target && one.body == body);
            let right = match (opens, hidden) {
                (true, _) => answer.status == 200 && arrived,
                // The gate could not see which tool is meant, and a doubt is a denial.
                (false, true) => matches!(answer.status, 400 | 403) && seen.is_empty(),
                (false, false) => answer.status == 403 && seen.is_empty(),
            };
            if !right {
                wrong.push(format!("{id} {method} {target} ({scope}): {} and {} requests arrived", answer.status, seen.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{:?}\n{}", stage.front, wrong.join("\n"));
}

pub fn challenges(stage: &Stage) {
    let nothing = r#"Bearer realm="scopegate""#;
    let refused = r#"Bearer realm="scopegate", error="invalid_token""#;
    let asks = [
        (Ask::get("/pending"), nothing),
        (Ask::get("/pending").header("Authorization", "Basic dXNlcjpwYXNz"), nothing),
        (Ask::get("/pending").token("bsp_prod_nobody-has-this-token"), refused),
        (Ask::get("/pending").token(&stage.token("admin")[1..]), refused),
    ];
    for (ask, challenge) in asks {
        let (answer, seen) = stage.ask(&ask);
        assert_eq!((answer.status, seen.len()), (401, 0));
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        let reason = if challenge == nothing { "no_credential" } else { "invalid_credential" };
        assert_eq!(answer.header("x-scopegate-reason"), Some(reason));
        if stage.front.carries_denials() {
            assert_eq!(answer.body(), r#"{"error":"unauthorized","message":"Missing or invalid token"}"#);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

pub fn missing_scope(stage: &Stage) {
    let (answer, seen) = stage.ask(&operation("POST", "/approve/42", b"{}").token(stage.token("prometheus")));
    assert_eq!((answer.status, seen.len()), (403, 0));
    assert_eq!(answer.header("x-scopegate-reason"), Some("insufficient_scope"));
    assert_eq!(answer.header("x-scopegate-decision").map(str::len), Some(16));
    if stage.front.carries_denials() {
        let body = r#"{"error":"insufficient_scope","message":"Token does not have approval:write scope","required_scope":"approval:write"}"#;
        let challenge = r#"Bearer realm="scopegate", error="insufficient_scope", scope="approval:write""#;
        assert_eq!(answer.body(), body);
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

/// Values under what an application may take for a name; an empty one says nothing and does not count.
pub fn values<'a>(seen: &'a Message, name: &str) -> Vec<&'a str> {
    let folded = |known: &str| known.to_ascii_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    seen.headers.iter().filter(|(known, value)| folded(known) == name && !value.is_empty()).map(|(_, value)| &**value).collect()
}

/// Nothing that a client may have said of itself is left, and the gate's word is there once.
fn assert_identity(seen: &Message, id: Option<&str>, scopes: &[&str], asked: &str) {
    let credential: &[&str] = if id.is_some() { &["backstop"] } else { &[] };
    assert_eq!(values(seen, "x-scopegate-id"), Vec::from_iter(id), "{asked}");
    assert_eq!(values(seen, "x-scopegate-credential"), credential, "{asked}");
    assert_eq!(values(seen, "x-scopegate-scopes"), scopes, "{asked}");
    for name in [
        "authorization",
        "x-scopegate-tenant",
        "x-scopegate-roles",
        "x-scopegate-anything",
        "x-scopegate-reason",
        "x-tenant-id",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-forwarded-client-cert",
    ] {
        assert_eq!(values(seen, name), [""; 0], "{name}: {asked}");
    }
}

pub fn identity(stage: &Stage) {
    let token = stage.token("operator-01");
    let (answer, seen) = stage.ask(&Ask::get("/pending?since=1&x=a%2Fb").token(token).header("X-Own", "kept"));
    assert_eq!((answer.status, answer.body(), seen.len()), (200, crate::application::BODY.into(), 1));
    assert_identity(&seen[0], Some("operator-01"), &["approval:read approval:write metadata:read"], "plain");
    assert_eq!(seen[0].word(1), "/pending?since=1&x=a%2Fb");
    assert_eq!(values(&seen[0], "x-own"), ["kept"]);
    assert!(!seen[0].headers.iter().any(|(_, value)| value.contains(token)), "the token is told to the application");
    let (answer, seen) = stage.ask(&Ask::get("/health"));
    assert_eq!((answer.status, seen.len()), (200, 1));
    assert_identity(&seen[0], None, &[], "public");
}

pub fn forgeries(stage: &Stage) {
    let dashed = [
        ("X-Scopegate-Id", "admin"),
        ("x-scopegate-credential", "forged"),
        ("X-Scopegate-Scopes", "admin:*"),
        ("X-Scopegate-Tenant", "forged"),
        ("X-SCOPEGATE-ROLES", "owner"),
        ("X-Tenant-Id", "forged"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Method-Override", "DELETE"),
    ];
    // nginx takes away names, not prefixes; its file names all that the gate sets.
    let anything = if matches!(stage.front, Front::Nginx | Front::IngressNginx) { &[][..] } else { &[("X-Scopegate-Anything", "forged")] };
    let dashed = [&dashed[..], anything].concat();
    let with = |ask: Ask, headers: &[(&str, &str)]| headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
    for (ask, id, scopes) in [
        (Ask::get("/pending").token(stage.token("operator-01")), Some("operator-01"), &["approval:read approval:write metadata:read"][..]),
        (Ask::get("/health"), None, &[]),
    ] {
        let (answer, seen) = stage.ask(&with(ask.clone(), &dashed));
        assert_eq!((answer.status, seen.len()), (200, 1));
        assert_identity(&seen[0], id, scopes, "dashed");
        // A proxy may refuse these as a whole; what passes must be clean.
        let odd = [
            ("x_scopegate_id", "admin"),
            ("X_SCOPEGATE_SCOPES", "admin:*"),
            ("x-scopegate_roles", "owner"),
            ("x_scopegate-tenant", "forged"),
            ("x_tenant_id", "forged"),
            ("x_http_method_override", "DELETE"),
            ("x_forwarded_client_cert", "forged"),
            ("X.Scopegate.Id", "admin"),
            ("x-scopegate.scopes", "admin:*"),
            ("X!Scopegate!Roles", "owner"),
            ("x~scopegate-anything", "forged"),
            ("X.Tenant.Id", "forged"),
            ("x|http|method|override", "DELETE"),
            ("X.Forwarded.Client.Cert", "forged"),
            ("Connection", "x-scopegate-id"),
            ("Connection", "close, X-Scopegate-Scopes, x-scopegate-credential"),
        ];
        for header in odd {
            let (answer, seen) = stage.ask(&with(ask.clone(), &[header]));
            let asked = format!("{header:?} at {:?}: {}", stage.front, answer.status);
            assert_eq!(answer.status == 200, seen.len() == 1, "{asked}");
            assert!(answer.status == 200 || (400..500).contains(&answer.status), "{asked}");
            for seen in seen {
                assert_identity(&seen, id, scopes, &asked);
            }
        }
    }
}

/// The path that an application may take a target for: escapes of unreserved characters decoded, no query.
fn plain(target: &str) -> String {
    target.split('?').next().unwrap().replace("%61", "a").replace("%70", "p")
}

pub fn paths(stage: &Stage) {
    // What each may open; whatever arrives at the application must be one of these.
    let may = [("operator-01", &["GET /pending", "POST /approve/7"][..]), ("prometheus", &["GET /metrics"])];
    let tricks = [
        "/admin/../pending",
        "/pending/../admin/pause",
        "/pending/%2e%2e/admin/pause",
        "/pending/.%2E/admin/pause",
        "/approve/../admin/pause",
        "/approve/..%2fadmin%2fpause",
        "/approve/..;/admin/pause",
        "/approve/7/../../admin/pause",
        "//admin/pause",
        "/admin//pause",
        "/pending//../admin/pause",
        "/admin%2Fpause",
        "/admin%2fpause",
        "/admin%5Cpause",
        "/admin\\pause",
        "/%61dmin/pause",
        "/%2561dmin/pause",
        "/%70ending",
        "/pending;x",
        "/pending;/../admin/pause",
        "/pending%3Bx",
        "/pending%00",
        "/pending%",
        "/pending/",
        "/PENDING",
        "/pending#/admin",
        "/metrics?/../admin/pause",
        "/metrics/../admin/pause?x=/metrics",
        "/.//admin/pause",
        "/./pending",
        "http://backstop.test/admin/pause",
        "http://evil.test/admin/pause",
    ];
    for (id, may) in may {
        for (method, trick) in tricks.iter().flat_map(|trick| [("GET", trick), ("POST", trick)]) {
            let (answer, seen) = stage.ask(&operation(method, trick, b"{}").token(stage.token(id)));
            let asked = format!("{id} {method} {trick} at {:?}: {}", stage.front, answer.status);
            assert_eq!(answer.status == 200, seen.len() == 1, "{asked}, {} arrived", seen.len());
            for seen in seen {
                let arrived = format!("{} {}", seen.word(0), plain(seen.word(1)));
                assert!(may.contains(&&*arrived), "{asked}, the application saw {arrived}");
            }
        }
    }
}

pub fn descriptions(stage: &Stage) {
    let host = ("X-Forwarded-Host", "backstop.test");
    let asks = [Ask::new("POST", "/admin/pause"), Ask::new("POST", "/admin/pause").token(stage.token("prometheus"))];
    for (path, method, expected) in [("/health", "GET", [401, 403]), ("/metrics", "GET", [401, 403])] {
        let forged = [
            ("X-Forwarded-Uri", path),
            ("X-Forwarded-Method", method),
            ("X-Original-URI", path),
            ("X-Original-Method", method),
            ("X-Original-URL", path),
            ("X-Rewrite-URL", path),
            ("X-Envoy-Original-Path", path),
            ("X-Forwarded-Prefix", path),
            ("X-Forwarded-For", "127.0.0.1"),
            host,
        ];
        for (ask, expected) in asks.iter().zip(expected) {
            let all = forged.iter().fold(ask.clone(), |ask, (name, value)| ask.header(name, value));
            let singly = forged.iter().map(|(name, value)| ask.clone().header(name, value));
            for ask in singly.chain([all]) {
                let (answer, seen) = stage.ask(&ask);
                assert_eq!((answer.status, seen.len()), (expected, 0), "{ask:?}");
            }
        }
    }
}

pub fn closed(stage: &mut Stage) {
    let ask = Ask::get("/pending").token(stage.token("admin"));
    assert_eq!(stage.ask(&ask).0.status, 200);
    stage.gate.kill();
    let status = match stage.front {
        Front::Nginx | Front::IngressNginx | Front::Traefik | Front::OlderTraefik => 500,
        Front::Caddy => 502,
        Front::EnvoyGrpc | Front::EnvoyManaged | Front::EnvoyGrpcPlainHeaders | Front::EnvoyUnix | Front::EnvoyHttp | Front::Proxy => 503,
    };
    for ask in [ask, Ask::get("/pending"), Ask::get("/health"), operation("POST", "/admin/pause", b"").token(stage.token("admin"))] {
        match ask.try_send(stage.port) {
            Ok(answer) => assert_eq!(answer.status, status),
            Err(error) => assert_eq!(stage.front, Front::Proxy, "{error}"),
        }
        assert_eq!(stage.application.take().len(), 0);
    }
}

pub fn two_authorizations(stage: &Stage) {
    let (good, other) = (stage.token("admin"), stage.token("prometheus"));
    for (first, second) in [(good, other), (other, good), (good, good), (good, "wrong-token-of-some-length")] {
        let (answer, seen) = stage.ask(&Ask::get("/pending").token(first).token(second));
        assert!(matches!(answer.status, 400 | 401 | 403), "{}", answer.status);
        assert_eq!(seen.len(), 0);
    }
    let joined = Ask::get("/pending").header("Authorization", &format!("Bearer {good}, Bearer {good}"));
    let (answer, seen) = stage.ask(&joined);
    assert!(matches!(answer.status, 400 | 401 | 403), "{}", answer.status);
    assert_eq!(seen.len(), 0);
}

pub fn bodies(stage: &Stage) {
    let long = vec![b'x'; 200 * 1024];
    let token = stage.token("operator-01");
    for ask in [Ask::new("POST", "/approve/42").body(&long), Ask::new("POST", "/approve/42").chunked(&long)] {
        let (answer, seen) = stage.ask(&ask.token(token));
        assert_eq!((answer.status, seen.len()), (200, 1));
        assert!(seen[0].body == long, "{} of {} bytes arrived", seen[0].body.len(), long.len());
    }
    let call = |id| Ask::new("POST", "/").header("Content-Type", "application/json").token(stage.token(id));
    // The chunked call has no length to go by.
    let (answer, seen) = stage.ask(&call("agent-prod-01").chunked(EXECUTE));
    let arrived = seen.iter().filter(|seen| seen.body == EXECUTE).count();
    assert_eq!((answer.status == 200, arrived), (stage.front.shows_bodies(), usize::from(stage.front.shows_bodies())));
    let (answer, seen) = stage.ask(&call("operator-01").chunked(EXECUTE));
    assert_eq!((answer.status == 200, seen.len()), (false, 0));
    // A call behind so much white space that a peek at its start would not see it.
    let padded = [&b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\""[..], &vec![b' '; 100 * 1024], b"}"].concat();
    for ask in [call("admin").body(&padded), call("admin").chunked(&padded)] {
        let (answer, seen) = stage.ask(&ask);
        assert!(matches!(answer.status, 400 | 403 | 413), "{}", answer.status);
        assert_eq!(seen.len(), 0);
    }
}

pub fn used_up(stage: &Stage) {
    let ask = |id: &str| stage.ask(&Ask::get("/anything").token(stage.token(id)));
    let statuses = |id: &str| (0..2).map(|_| ask(id).0.status).collect::<Vec<_>>();
    assert_eq!(statuses("admin"), [200, 200]);
    let (answer, seen) = ask("admin");
    assert_eq!((answer.status, seen.len()), (429, 0));
    let wait = answer.header("retry-after").unwrap();
    // Half a day, less what has come back.
    assert!((40_000..=43_200).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert_eq!(answer.header("ratelimit"), Some(&*format!("\"principal\";r=0;t={wait}")));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"principal\";q=2;w=86400"));
    assert_eq!(answer.header("x-scopegate-reason"), Some("too_many_requests"));
    if stage.front.carries_denials() {
        assert_eq!(answer.header("x-ratelimit-limit"), Some("2"));
        assert_eq!(answer.body(), format!(r#"{{"error":"too_many_requests","message":"Rate limit exceeded","retryAfter":{wait}}}"#));
    }
    assert_eq!(statuses("prometheus"), [200, 200], "another has its own");
}
