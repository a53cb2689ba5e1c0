//! Backflow's keys, roles, second factors and limits, through Envoy and at the proxy door, on SQLite and on PostgreSQL.
//! Every call goes in by the front door, as Backflow's clients do it.

use serde_json::{Value, json};
use totp_rs::Builder;

use super::super::{SECRET, signed};
use super::PROJECT;
use crate::client::{Answer, Ask};
use crate::managed::block;
use crate::message::Message;
use crate::postgres::Database;
use crate::process::until;
use crate::sign::now;
use crate::stage::{Front, Script, Stage};

const STORE_KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const PARTNER: &str = "/partner/orders";
/// What the example allows a key, less what a test has patience for.
const LIMIT: usize = 20;

/// One way in.
struct Way<'s> {
    stage: &'s Stage,
    port: u16,
    owner: String,
}

fn token(subject: &str, role: &str) -> String {
    let claims = json!({"iss": "https://api.example.com", "sub": subject, "tenant_id": "tenant-123", "role": role});
    let mut claims = claims.as_object().cloned().unwrap();
    claims.extend([("iat".to_owned(), now().into()), ("exp".to_owned(), (now() + 3600).into())]);
    signed(&claims.into())
}

#[test]
fn every_row_about_the_store_on_sqlite() {
    let stage = play(String::new());
    both_ways(&stage);
    let folder = stage.folder.path();
    let files = std::fs::read_dir(folder).unwrap().flatten().filter(|file| file.file_name().to_string_lossy().starts_with("scopegate.db"));
    let kept: Vec<u8> = files.flat_map(|file| std::fs::read(file.path()).unwrap()).collect();
    assert!(!kept.is_empty());
    is_hidden(&stage, &String::from_utf8_lossy(&kept));
}

#[test]
fn every_row_about_the_store_on_postgresql() {
    let database = block(Database::new());
    let stage = play(format!("store: {}\nstore_keys: {{file: store.keys}}\n", database.url()));
    both_ways(&stage);
    is_hidden(&stage, &database.dump());
}

fn play(more: String) -> Stage {
    let script = Script::of("backflow", "finished.yaml", &[("JWT_SECRET", SECRET), ("FIREBASE_PROJECT_ID", PROJECT)], ("/health", 200));
    let edits = vec![
        // The key set of Firebase is out of reach here and has tests of its own.
        ("  firebase: {kind: firebase, project_id: \"{{env.FIREBASE_PROJECT_ID}}\"}\n", String::new()),
        ("{credentials: firebase}", "deny".to_owned()),
        ("rate: 100/m", format!("rate: {LIMIT}/d")),
    ];
    Stage::play(Front::EnvoyManaged, &Script { edits, more, beside: vec![("store.keys", STORE_KEYS)], ..script })
}

fn both_ways(stage: &Stage) {
    for port in [stage.port, stage.proxy_door] {
        let way = Way { stage, port, owner: token(&format!("owner-at-{port}"), "owner") };
        let key = way.keys();
        way.rotation();
        way.limit(&key);
        way.roles();
        way.factors();
    }
}

/// F-12: what is kept holds no key, of which `prefix` is shown.
fn is_hidden(stage: &Stage, kept: &str) {
    let way = Way { stage, port: stage.proxy_door, owner: token("owner-last", "owner") };
    let made = way.create("Last", &["orders:write"]);
    let (key, prefix) = (text(&made["key"]), text(&made["prefix"]));
    assert!(key.starts_with(&prefix) && key.len() == prefix.len() + 36, "{prefix}");
    let said = stage.gate.said();
    for secret in [&key[prefix.len()..], &key] {
        assert!(!kept.contains(secret) && !said.contains(secret));
    }
    assert!(kept.contains("Production API"), "the dump has the rows");
    // No `sg_live_…` that is kept or written is as long as a key, whatever column comes behind it.
    for text in [kept, &said] {
        for found in text.split("sg_live_").collect::<Vec<_>>().get(1..).unwrap_or_default() {
            let length = found.bytes().take_while(u8::is_ascii_alphanumeric).count();
            assert!(length < 38, "{length} characters behind `sg_live_`");
        }
    }
}

impl Way<'_> {
    fn send(&self, ask: &Ask) -> (Answer, Vec<Message>) {
        self.stage.ask_at(self.port, ask)
    }

    /// A call of the API.
    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.call_as(&self.owner, (method, path), body)
    }

    fn call_as(&self, token: &str, (method, path): (&str, &str), body: &Value) -> (u16, Value) {
        let ask = Ask::new(method, path).token(token);
        let ask = if body.is_null() { ask } else { ask.header("Content-Type", "application/json").body(body.to_string().as_bytes()) };
        let (answer, seen) = self.send(&ask);
        assert!(seen.is_empty(), "{method} {path} reached the application");
        (answer.status, serde_json::from_str(&answer.body()).unwrap_or_default())
    }

    fn create(&self, name: &str, scopes: &[&str]) -> Value {
        let (status, made) = self.call("POST", "/tenant/api-keys", &json!({"name": name, "scopes": scopes}));
        assert_eq!(status, 201, "{made}");
        made
    }

    fn order(&self, key: &str) -> (u16, Vec<Message>) {
        let (answer, seen) = self.send(&Ask::new("POST", PARTNER).header("X-Api-KEY", key));
        assert_eq!(seen.len(), usize::from(answer.status == 200), "{}", answer.body());
        (answer.status, seen)
    }

    /// F-09 to F-11, F-13 and F-14. Gives a key that was used twice.
    fn keys(&self) -> String {
        let made = self.create("Production API", &["*"]);
        let (id, key) = (text(&made["id"]), text(&made["key"]));
        assert_eq!((&made["name"], &made["scopes"]), (&json!("Production API"), &json!(["*"])), "F-09");
        let (_, listed) = self.call("GET", "/tenant/api-keys", &Value::Null);
        assert!(listed.to_string().contains(&id) && !listed.to_string().contains(&key), "F-09: shown once");
        let (status, seen) = self.order(&key);
        let told = ["x-tenant-id", "x-scopegate-id", "x-api-key"].map(|name| seen[0].header(name));
        assert_eq!((status, told), (200, [Some("tenant-123"), Some(&*id), None]), "F-10, F-11");
        let elsewhere = Ask::new("POST", PARTNER).header("x-api-key", &key).header("X-Tenant-ID", "tenant-666");
        assert_eq!(self.send(&elsewhere).0.status, 403, "F-11");
        let reader = text(&self.create("Reader", &["posts:read"])["key"]);
        assert_eq!((self.order(&reader).0, self.order(&key).0), (403, 200), "F-13");
        let unknown = format!("{}{}", &key[..20], "0".repeat(key.len() - 20));
        assert_eq!((self.order(&unknown).0, self.order("").0), (401, 401), "F-01");
        let beyond = json!({"name": "Too much", "scopes": ["*"]});
        assert_eq!(self.call_as(&token("user-5", "admin"), ("POST", "/tenant/api-keys"), &beyond).0, 403, "F-09: of who may");
        until("F-14: both uses are counted", || {
            let (_, row) = self.call("GET", &format!("/tenant/api-keys/{id}"), &Value::Null);
            row["request_count"] == 2 && row["last_used_at"].is_string()
        });
        key
    }

    /// F-15. Who is refused takes nothing of the limit, so that a reader's key may ask again and again: 403 as long as it counts.
    fn rotation(&self) {
        let turn = |made: &Value, grace: u32| {
            let path = format!("/tenant/api-keys/{}/rotate", text(&made["id"]));
            let (status, turned) = self.call("POST", &path, &json!({"grace_seconds": grace}));
            (status, text(&turned["key"]))
        };
        let made = self.create("Turning", &["orders:write"]);
        let first = text(&made["key"]);
        let (status, second) = turn(&made, 3600);
        assert_eq!((status, self.order(&first).0, self.order(&second).0), (200, 200, 200), "F-15: both in the grace");
        assert_eq!(turn(&made, 0).0, 409);
        let made = self.create("Turning reader", &["posts:read"]);
        let first = text(&made["key"]);
        let (status, second) = turn(&made, 3);
        assert_eq!((status, self.order(&second).0), (200, 403), "F-15: the new one counts at once");
        until("F-15: the old one ends with its grace", || self.order(&first).0 == 401);
        assert_eq!(self.order(&second).0, 403, "F-15: and the new one goes on");
    }

    /// F-24.
    fn limit(&self, used_twice: &str) {
        let left = LIMIT - 2;
        let answers: Vec<u16> = (0..=left).map(|_| self.order(used_twice).0).collect();
        assert_eq!(answers, [vec![200; left], vec![429]].concat());
    }

    /// F-18, and F-16 of who has no role.
    fn roles(&self) {
        let (subject, role) = (format!("somebody-at-{}", self.port), format!("support-{}", self.port));
        let claims = json!({"iss": "https://api.example.com", "sub": subject, "tenant_id": "tenant-123", "iat": now(), "exp": now() + 3600});
        let remove = || self.send(&Ask::new("DELETE", "/admin/users/7").token(&signed(&claims))).0.status;
        assert_eq!((self.call("GET", "/rbac/roles", &Value::Null).0, remove()), (200, 403), "F-18, F-17");
        let (_, permissions) = self.call("GET", "/rbac/permissions", &Value::Null);
        assert!(permissions.to_string().contains("users:delete"), "{permissions}");
        let made = self.call("POST", "/rbac/roles", &json!({"name": role, "description": "", "permissions": ["users:delete"], "inherits": ["user"]}));
        assert_eq!(made.0, 201, "{}", made.1);
        let (status, said) = self.call("POST", "/rbac/assign", &json!({"subject": subject, "role": role}));
        assert!(matches!(status, 200 | 201) && remove() == 200, "{status} {said}");
        let elsewhere = json!({"iss": "https://api.example.com", "sub": subject, "tenant_id": "tenant-9", "iat": now(), "exp": now() + 3600});
        assert_eq!(self.send(&Ask::new("DELETE", "/admin/users/7").token(&signed(&elsewhere))).0.status, 403, "another tenant's somebody");
    }

    /// F-19 to F-21.
    fn factors(&self) {
        let ada = token(&format!("ada-at-{}", self.port), "user");
        let mfa = |path: &str, body: Value| self.call_as(&ada, ("POST", path), &body);
        let payout = |shown: Option<&str>| {
            let ask = Ask::new("POST", "/payouts").token(&ada);
            let (answer, seen) = self.send(&shown.map_or(ask.clone(), |shown| ask.header("X-MFA-Token", shown)));
            assert!(seen.iter().all(|seen| seen.header("x-mfa-token").is_none()));
            answer
        };
        let refused = payout(None);
        assert_eq!(refused.status, 401);
        assert!(
            refused.body().contains("insufficient_user_authentication") && refused.header("www-authenticate").unwrap().contains("max_age=\"300\"")
        );
        let (status, setup) = mfa("/mfa/setup", json!({}));
        assert!(status == 200 && text(&setup["qr_svg"]).starts_with("<"), "F-20");
        let step = now() / 30;
        let secret = from_base32(&text(&setup["secret"]));
        let code = |step: i64| {
            let totp = Builder::new().with_secret(secret.clone()).with_skew(0).build_noncompliant();
            totp.generate(u64::try_from(step * 30).unwrap()).to_string()
        };
        assert_eq!(mfa("/mfa/enable", json!({})).0, 409, "F-21: not without a code");
        assert_eq!(mfa("/mfa/verify", json!({"code": code(step)})).1, json!({"verified": true}), "F-21");
        let (status, on) = mfa("/mfa/enable", json!({}));
        let codes = on["backup_codes"].as_array().cloned().unwrap_or_default();
        assert_eq!((status, codes.len()), (200, 10), "F-21");
        let (status, shown) = mfa("/mfa/verify", json!({"code": code(step + 1)}));
        let shown = text(&shown["mfa_token"]);
        assert_eq!((status, payout(Some(&shown)).status), (200, 200), "F-20");
        let (_, left) = self.call_as(&ada, ("GET", "/mfa/backup-codes"), &Value::Null);
        assert_eq!(left["remaining"], 10, "F-20");
        assert_eq!(mfa("/mfa/disable", json!({"code": codes[0]})).0, 200, "F-20");
        assert_eq!(payout(Some(&shown)).status, 401, "what was shown ends with it");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// RFC 4648 §6.
fn from_base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let digit = if letter.is_ascii_uppercase() { letter - b'A' } else { letter - b'2' + 26 };
        held = held << 5 | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}
