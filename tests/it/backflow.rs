//! Backflow's security page, row by row, with the example that was finished by hand, and what the import makes of the same configuration.

use serde_json::{Value, json};

use crate::harness::everywhere::{Doors, Request, Said};
use crate::harness::process::{Serving, refused, run, scopegate};
use crate::harness::sign::{Issuer, firebase, hs256, now};
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, example, until, write_secret};

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const PROJECT: &str = "project-1";
const VARIABLES: [(&str, &str); 2] = [("JWT_SECRET", SECRET), ("FIREBASE_PROJECT_ID", PROJECT)];

/// Where the tests' own Firebase publishes its keys.
struct Firebase {
    issuer: Issuer,
    keys: Upstream,
}

impl Firebase {
    async fn start() -> Self {
        let issuer = Issuer::new();
        let set = issuer.key_set();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=3600\r\ncontent-length: {}\r\n\r\n", set.len());
        Self { issuer, keys: Upstream::answering(Box::leak((head + &set).into_boxed_str())).await }
    }

    fn token(&self, more: &[(&str, Value)]) -> String {
        let mut claims = firebase(PROJECT, "firebase-user-1");
        more.iter().for_each(|(name, value)| claims[*name] = value.clone());
        self.issuer.token(&claims)
    }

    /// The configuration with the keys of this Firebase.
    fn in_place(&self, config: &str) -> String {
        let line = config.lines().find(|line| line.contains("project_id:")).unwrap();
        let url = format!("keys_url: http://{}/keys", self.keys.address);
        let with = match line.strip_suffix('}') {
            Some(flow) => format!("{flow}, {url}}}"),
            None => format!("{line}\n    {url}"),
        };
        config.replace(line, &with)
    }
}

/// A gate that has its keys.
async fn gate(firebase: &Firebase, config: &str) -> Gate {
    let gate = example::gate("backflow", &example::filled(&firebase.in_place(config), &VARIABLES)).await;
    until("the keys of Firebase", async || (gate.readyz().await.0 == 200).then_some(())).await;
    gate
}

fn finished() -> String {
    example::text("backflow", "finished.yaml")
}

async fn start() -> (Firebase, Gate) {
    let firebase = Firebase::start().await;
    let gate = gate(&firebase, &finished()).await;
    (firebase, gate)
}

/// A token of the application's, with these claims beside its usual ones.
fn token(more: &[(&str, Value)]) -> String {
    let mut claims = json!({"iss": "https://api.example.com", "sub": "user-123", "tenant_id": "tenant-123", "iat": now(), "exp": now() + 3600});
    more.iter().for_each(|(name, value)| claims[*name] = value.clone());
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims)
}

fn role(name: &str) -> String {
    token(&[("role", name.into())])
}

fn users() -> Request {
    Request::get("/admin/users")
}

fn remove() -> Request {
    Request::new("DELETE", "/admin/users/7")
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_tokens_of_the_application_and_of_firebase_are_taken_and_a_key_that_nobody_made_is_not() {
    let (firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    for (request, credential) in [(users().bearer(&role("user")), "jwt"), (Request::get("/profile").bearer(&firebase.token(&[])), "firebase")] {
        let said = doors.ask(&request).await;
        assert_eq!((said.status, said.told("x-scopegate-credential").as_deref()), (200, Some(credential)));
    }
    let key = Request::new("POST", "/partner/orders").header("x-api-key", "key-of-somebody-1");
    assert!(doors.ask(&key).await.is_denied(401, "invalid_credential"));
    assert!(doors.ask(&Request::new("POST", "/partner/orders").bearer(&role("admin"))).await.is_denied(401, "wrong_credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_the_secret_comes_from_the_environment_in_every_spelling() {
    let (firebase, upstream) = (Firebase::start().await, Upstream::start().await);
    let said = "\"{{env.JWT_SECRET}}\"";
    let example = firebase.in_place(&finished());
    for spelling in [said, "\"${JWT_SECRET}\"", "\"&#123;&#123;env.JWT_SECRET&#125;&#125;\""] {
        let desk = example::desk("backflow", &example.replace(said, spelling), upstream.address);
        let config = desk.path().join("scopegate.yaml");
        let serving = Serving::start(&config, &VARIABLES).await;
        let line = format!("GET /admin/users HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", role("user"));
        assert_eq!(ask(serving.address("proxy"), line).await.status, 200, "{spelling}");
        // The text itself, and nothing, are no secrets.
        for text in [spelling.trim_matches('"'), ""] {
            let forged = hs256(text.as_bytes(), &json!({"alg": "HS256"}), &json!({"iss": "https://api.example.com", "sub": "x", "exp": now() + 60}));
            let line = format!("GET /admin/users HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {forged}\r\n\r\n");
            assert_eq!(ask(serving.address("proxy"), line).await.status, 401, "{spelling}");
        }
        let project = VARIABLES[1];
        assert!(refused(&config, &[project]).contains("variable `JWT_SECRET` is not set in the environment"), "{spelling}");
        assert!(refused(&config, &[project, ("JWT_SECRET", "")]).contains("variable `JWT_SECRET` is empty in the environment"), "{spelling}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_route_that_requires_auth_is_401_without_a_token_and_200_with_one() {
    let (_firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    assert!(doors.ask(&users()).await.is_denied(401, "no_credential"));
    assert_eq!(doors.ask(&users().bearer(&role("user"))).await.status, 200);
    for bad in [
        token(&[("exp", (now() - 120).into())]),
        token(&[("exp", (now() + 48 * 3600).into())]),
        token(&[("exp", Value::Null)]),
        token(&[("iss", "https://elsewhere.example.com".into())]),
        token(&[("iss", Value::Null)]),
        token(&[("nbf", (now() + 600).into())]),
        token(&[("aud", "another-service".into())]),
        hs256(b"another-secret-of-more-than-32-characters", &json!({"alg": "HS256"}), &json!({"iss": "https://api.example.com", "exp": now() + 60})),
        role("user") + "x",
    ] {
        assert!(doors.ask(&users().bearer(&bad)).await.is_denied(401, "invalid_credential"), "{bad}");
    }
    for open in ["/public", "/health"] {
        assert_eq!(doors.ask(&Request::get(open)).await.status, 200, "{open}");
    }
    assert!(doors.ask(&Request::get("/nowhere").bearer(&role("admin"))).await.is_denied(403, "no_rule"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_the_token_is_a_bearer() {
    let (_firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let token = role("user");
    assert_eq!(doors.ask(&users().header("authorization", &format!("Bearer {token}"))).await.status, 200);
    for value in [token.clone(), format!("Token {token}"), format!("JWT {token}")] {
        assert!(doors.ask(&users().header("authorization", &value)).await.is_denied(401, "no_credential"), "{value}");
    }
    for request in [users().header("x-access-token", &token), users().header("cookie", &format!("token={token}"))] {
        assert!(doors.ask(&request).await.is_denied(401, "no_credential"));
    }
    assert!(doors.ask(&Request::get(format!("/admin/users?token={token}"))).await.is_denied(401, "no_credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_the_command_makes_the_tokens_that_the_gate_takes() {
    let (_firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    write_secret(&gate.folder.path().join("secret"), SECRET);
    let mint = |more: &[&str]| {
        let claims = ["--claim", "iss=https://api.example.com", "--claim", "sub=user-123", "--claim", "tenant_id=tenant-123"];
        let mut command = scopegate();
        command.args(["token", "mint", "--secret-file", "secret"]).args(claims).args(more).current_dir(gate.folder.path());
        let (status, token, error) = run(&mut command);
        assert_eq!(status, 0, "{error}");
        token.trim().to_owned()
    };
    for (more, status) in
        [(&["--claim", "role=admin"][..], 200), (&["--claim", "role=editor"], 403), (&["--claim", "role=admin", "--ttl", "48h"], 401)]
    {
        assert_eq!(doors.ask(&remove().bearer(&mint(more))).await.status, status, "{more:?}");
    }
    let said = doors.ask(&users().bearer(&mint(&["--claim", "role=admin"]))).await;
    assert_eq!((said.told("x-user-id").as_deref(), said.told("x-tenant-id").as_deref()), (Some("user-123"), Some("tenant-123")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_what_templates_say_of_the_caller_arrives_as_headers() {
    let (firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let said = doors.ask(&users().bearer(&role("editor")).header("x-user-id", "root").header("x-user-role", "admin")).await;
    for (name, value) in [
        ("x-user-id", "user-123"),
        ("x-user-role", "editor"),
        ("x-tenant-id", "tenant-123"),
        ("x-scopegate-id", "user-123"),
        ("x-scopegate-roles", "editor"),
        ("x-scopegate-tenant", "tenant-123"),
    ] {
        assert_eq!(said.told(name).as_deref(), Some(value), "{name}");
    }
    assert!(!said.forwards("root") && !said.forwards("eyJ"), "a client's copy, or the token, goes on: {said:?}");
    let said = doors.ask(&Request::get("/profile").bearer(&firebase.token(&[("role", "editor".into())]))).await;
    assert_eq!((said.told("x-user-id").as_deref(), said.told("x-user-role").as_deref()), (Some("firebase-user-1"), Some("editor")));
    let said = doors.ask(&Request::get("/public").bearer(&role("editor")).header("x-user-role", "admin").header("X_User_Id", "root")).await;
    assert_eq!((said.status, said.told("x-user-id"), said.told("x-user-role")), (200, None, None), "nobody is known where nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_the_projects_id_is_all_that_verification_takes() {
    let (firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let mut profile = async |token: &str| doors.ask(&Request::get("/profile").bearer(token)).await;
    assert_eq!(profile(&firebase.token(&[])).await.status, 200);
    let other = "https://securetoken.google.com/project-2";
    for claims in [
        &[("aud", json!("project-2"))][..],
        &[("iss", other.into())],
        &[("aud", "project-2".into()), ("iss", other.into())],
        &[("iss", "https://accounts.google.com".into())],
        &[("exp", (now() - 120).into())],
        &[("auth_time", (now() + 600).into())],
        &[("auth_time", Value::Null)],
        &[("sub", "".into())],
    ] {
        assert!(profile(&firebase.token(claims)).await.is_denied(401, "invalid_credential"), "{claims:?}");
    }
    // Another's key under the same name, and the application's own secret.
    let stranger = Issuer::new().token(&firebase_claims());
    let own = hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "kid": "one"}), &firebase_claims());
    for token in [stranger, own] {
        assert!(profile(&token).await.is_denied(401, "invalid_credential"));
    }
}

fn firebase_claims() -> Value {
    firebase(PROJECT, "firebase-user-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_a_route_of_one_provider_takes_no_tokens_of_the_other() {
    let (firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let (theirs, ours) = (firebase.token(&[("role", "admin".into())]), role("admin"));
    for (request, token, allowed) in [
        (Request::get("/profile"), &theirs, true),
        (Request::get("/profile"), &ours, false),
        (users(), &ours, true),
        (users(), &theirs, false),
        (remove(), &ours, true),
        (remove(), &theirs, false),
    ] {
        let said = doors.ask(&request.bearer(token)).await;
        if allowed { assert_eq!(said.status, 200) } else { assert!(said.is_denied(401, "wrong_credential"), "{said:?}") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_who_has_no_role_is_a_user() {
    let (_firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let posts = Request::get("/posts/7");
    for (token, told, status) in [
        (token(&[]), Some("user"), 200),
        (role("user"), Some("user"), 200),
        (role("editor"), Some("editor"), 200),
        // Nobody defined it, and so nobody said what it may.
        (role("wizard"), None, 403),
    ] {
        let said = doors.ask(&posts.clone().bearer(&token)).await;
        assert_eq!((said.status, said.told("x-user-role").as_deref()), (status, told));
        assert!(doors.ask(&remove().bearer(&token)).await.is_denied(403, "insufficient_scope"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_required_permission_is_401_to_nobody_and_403_to_whoever_lacks_it() {
    let (_firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    assert!(doors.ask(&remove()).await.is_denied(401, "no_credential"));
    assert_eq!(doors.ask(&remove().bearer(&role("admin"))).await.status, 200);
    // A permission of the token's own does as well.
    assert_eq!(doors.ask(&remove().bearer(&token(&[("permissions", json!(["users:delete"]))]))).await.status, 200);
    for token in [role("user"), role("editor"), token(&[("permissions", json!(["users:read", "posts:*"]))])] {
        assert!(doors.ask(&remove().bearer(&token)).await.is_denied(403, "insufficient_scope"));
    }
    let reply = ask(gate.proxy(), format!("DELETE /admin/users/7 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", role("user"))).await;
    let body = r#"{"error":"insufficient_scope","message":"Token does not have users:delete scope","required_scope":"users:delete"}"#;
    assert_eq!(reply.text(), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_the_tenant_is_the_tokens_and_nobody_elses_word() {
    let (firebase, gate) = start().await;
    let mut doors = Doors::open(&gate).await;
    let mut tenant = async |request: Request| doors.ask(&request).await;
    let said = tenant(users().bearer(&role("user"))).await;
    assert_eq!(said.told("x-tenant-id").as_deref(), Some("tenant-123"));
    let said = tenant(users().bearer(&role("user")).header("X-Tenant-ID", "tenant-123")).await;
    assert_eq!((said.status, said.told("x-tenant-id").as_deref()), (200, Some("tenant-123")));
    let said = tenant(users().bearer(&role("user")).header("X-Tenant-ID", "tenant-666")).await;
    assert!(said.is_denied(403, "wrong_tenant"), "{said:?}");
    let none = token(&[("tenant_id", Value::Null)]);
    let said = tenant(users().bearer(&none).header("X-Tenant-ID", "tenant-666")).await;
    assert_eq!((said.status, said.told("x-tenant-id"), said.told("x-scopegate-tenant")), (200, None, None));
    let theirs = firebase.token(&[("firebase", json!({"sign_in_provider": "password", "tenant": "tenant-7"}))]);
    let said = tenant(Request::get("/profile").bearer(&theirs)).await;
    assert_eq!(said.told("x-tenant-id").as_deref(), Some("tenant-7"));
    for odd in [json!(7), json!(["tenant-123"]), json!(""), json!("tenant 123")] {
        assert!(tenant(users().bearer(&token(&[("tenant_id", odd.clone())]))).await.is_denied(401, "invalid_credential"), "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_a_secret_of_under_32_characters_does_not_start() {
    let (firebase, upstream) = (Firebase::start().await, Upstream::start().await);
    let desk = example::desk("backflow", &firebase.in_place(&finished()), upstream.address);
    let config = desk.path().join("scopegate.yaml");
    let (short, enough) = ("x".repeat(31), "x".repeat(32));
    let said = refused(&config, &[("JWT_SECRET", &short), VARIABLES[1]]);
    assert!(said.contains("credential `jwt` has a secret that is too short for HS256; it is at least 32 bytes") && !said.contains(&short), "{said}");
    Serving::start(&config, &[("JWT_SECRET", &enough), VARIABLES[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_import_makes_decides_as_the_example_does() {
    let firebase = Firebase::start().await;
    let (status, imported, error) = run(scopegate().args(["import", "backflow", "backflow.json"]).current_dir(example::folder("backflow")));
    assert_eq!(status, 0, "{error}");
    let imported: String = imported.lines().filter(|line| !line.starts_with("upstream:")).map(|line| format!("{line}\n")).collect();
    let (by_hand, imported) = (gate(&firebase, &finished()).await, gate(&firebase, &imported).await);
    let mut doors = [Doors::open(&by_hand).await, Doors::open(&imported).await];
    let requests = ["/health", "/public", "/admin/users", "/profile", "/posts", "/posts/7", "/files/a/b", "/admin/users/", "/ui", "/doc", "/nowhere"];
    let requests = requests.map(Request::get).into_iter();
    let others = ["/public", "/admin/users", "/partner/orders", "/payouts", "/notify"].map(|target| Request::new("POST", target));
    let requests: Vec<Request> = requests.chain(others).chain([remove(), Request::new("DELETE", "/admin/users")]).collect();
    let tokens = [
        None,
        Some(role("user")),
        Some(role("editor")),
        Some(role("admin")),
        Some(token(&[])),
        Some(token(&[("exp", (now() - 120).into())])),
        Some(token(&[("exp", (now() + 48 * 3600).into())])),
        Some(token(&[("iss", "https://elsewhere.example.com".into())])),
        Some(firebase.token(&[])),
        Some(firebase.token(&[("aud", "project-2".into())])),
        Some("not-a-token-of-anybody".to_owned()),
    ];
    let mut kinds: Vec<(u16, Option<String>)> = Vec::new();
    for (request, token) in requests.iter().flat_map(|request| tokens.iter().map(move |token| (request, token))) {
        let request = token.iter().fold(request.clone(), |request, token| request.bearer(token));
        let [ours, theirs]: [Said; 2] = [doors[0].ask(&request).await, doors[1].ask(&request).await];
        assert_eq!((ours.status, &ours.reason), (theirs.status, &theirs.reason), "{request:?}");
        assert_eq!(ours.told("x-scopegate-id"), theirs.told("x-scopegate-id"), "{request:?}");
        if !kinds.contains(&(ours.status, ours.reason.clone())) {
            kinds.push((ours.status, ours.reason));
        }
    }
    assert_eq!(kinds.len(), 7, "allowed, and every way to be refused: {kinds:?}");
}
