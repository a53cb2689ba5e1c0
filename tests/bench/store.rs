//! A store of a million managed keys in SQLite: start, refresh, memory, and what it costs to decide on one.

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::credential::key_format;
use scopegate::keys::Registry;
use scopegate::live::Live;
use scopegate::live::shelf::Bookkeeper;
use scopegate::policy::Outcome;
use scopegate::policy::judge::Question;
use scopegate::request::{Body, RawRequest};
use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store, Value};
use scopegate::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use crate::processes::{Server, free_port, scopegate};
use crate::{Effort, Table, files};

const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
/// Rows of one statement, and statements of one transaction.
const ROWS: usize = 200;
const STATEMENTS: usize = 50;
/// Keys that are looked up; more than fit a core's own caches.
const PREPARED: usize = 65_536;

fn key(number: usize) -> String {
    let hex = files::token(number);
    let digits = hex.rsplit('_').next().unwrap();
    key_format::form("live", &format!("{number:08}"), &digits[..30]).unwrap().to_string()
}

fn open(folder: &std::path::Path) -> Store {
    Store::open(&Place::Sqlite(folder.join("scopegate.db")), Arc::new(StoreKeys::parse(KEYS).unwrap())).unwrap()
}

/// A store with so many keys, and its file of keys beside it.
async fn fill(folder: &std::path::Path, count: usize) {
    std::fs::write(folder.join("store.keys"), KEYS).unwrap();
    std::fs::set_permissions(folder.join("store.keys"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let store = open(folder);
    store.prepare().await.unwrap();
    let row = |row: usize| {
        let at = |column: usize| row * 3 + column;
        format!(
            "(${}, '', 'bench', ${}, 'scopegate', ${}, '1', '[\"orders:read\",\"orders:write\"]', '[]', 1, 0, 'bench', 0, 1)",
            at(1),
            at(2),
            at(3)
        )
    };
    let sql = "INSERT INTO api_keys (id, tenant, name, prefix, form, digest, pepper, scopes, roles, enabled, created_at, created_by, request_count, version) VALUES ";
    let sql: &'static str = (sql.to_owned() + &(0..ROWS).map(row).collect::<Vec<_>>().join(", ")).leak();
    for batch in 0..count / ROWS / STATEMENTS {
        let mut atomic = store.atomic().await.unwrap();
        for statement in 0..STATEMENTS {
            let first = (batch * STATEMENTS + statement) * ROWS;
            let values = (first..first + ROWS).flat_map(|number| {
                let key = key(number);
                let (_, digest) = store.keys.peppers.newest(&key);
                let prefix = key_format::parse(&key).unwrap().prefix.to_owned();
                [Value::from(format!("{number:08}")), Value::from(prefix), Value::from(digest.0.as_slice())]
            });
            atomic.execute(sql, values.collect()).await.unwrap();
        }
        atomic.commit().await.unwrap();
    }
    store.change().await.unwrap().commit().await.unwrap();
    store.close().await;
}

fn configuration(more: &str) -> String {
    let routes: String = (0..10).map(|number| format!("  GET /service-{number}/orders/{number}/{{item}}: orders:read\n")).collect();
    format!("{more}\ncredentials: {{keys: {{kind: api_key}}}}\nroutes:\n{routes}")
}

/// Seconds from the start of the process until it is ready, and resident bytes then.
fn start(folder: &std::path::Path) -> (f64, f64) {
    let port = free_port();
    let config = folder.join("scopegate.yaml");
    let more = format!(
        "listen: {{ext_authz: 'off', forward_auth: 'off', admin: 127.0.0.1:{port}}}\nstore: sqlite:scopegate.db\nreload: {{watch: false}}\ntelemetry: {{audit: 'off'}}"
    );
    std::fs::write(&config, configuration(&more)).unwrap();
    let started = Instant::now();
    let server = Server::start(Command::new(scopegate()).arg("serve").arg("--config").arg(&config), port);
    let ready = || {
        let address = format!("127.0.0.1:{port}");
        Command::new(scopegate()).args(["healthcheck", "--address", &address]).output().is_ok_and(|output| output.status.success())
    };
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(120), "never ready");
        std::thread::sleep(Duration::from_millis(5));
    }
    let elapsed = started.elapsed().as_secs_f64();
    // What the reading needed is given back in a moment.
    std::thread::sleep(Duration::from_secs(3));
    (elapsed, server.resident().unwrap())
}

/// Nanoseconds of a decision on a managed key, and of one SHA-256 of it.
fn decisions(keeper: &Bookkeeper, effort: Effort) -> (f64, f64) {
    let mut loaded = load(
        &Input::Text { name: "bench.yaml", text: configuration("upstream: http://127.0.0.1:9") },
        &|_| None,
        &TagKey::new([7; 32]),
        &Registry::offline(),
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    loaded.sources.back(keeper.backing());
    let prepared: Vec<String> = (0..PREPARED).map(|number| key((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % effort.tokens)).collect();
    let (mut decision, mut sha) = (f64::MAX, f64::MAX);
    for _ in 0..effort.rounds * 3 {
        let started = Instant::now();
        for key in &prepared {
            let headers: [(&str, &[u8]); 3] = [("user-agent", b"curl/8.5.0"), ("accept", b"*/*"), ("x-api-key", key.as_bytes())];
            let raw = RawRequest {
                method: b"GET",
                target: b"/service-1/orders/1/x",
                host: Some(b"a.example.com"),
                headers: &&headers[..],
                link: Default::default(),
            };
            let question = Question { body: Body::Unread, extra_scopes: "", now: 1_700_000_000, settled: &[] };
            let decided = loaded.policy.decide(&loaded.sources, black_box(&raw), question);
            assert!(matches!(black_box(&decided).outcome, Outcome::Allow(_)), "{decided:?}");
        }
        decision = decision.min(started.elapsed().as_nanos() as f64 / prepared.len() as f64);
        let started = Instant::now();
        for key in &prepared {
            black_box(ring::digest::digest(&ring::digest::SHA256, black_box(key.as_bytes())));
        }
        sha = sha.min(started.elapsed().as_nanos() as f64 / prepared.len() as f64);
    }
    (decision, sha)
}

/// Milliseconds until a change of one key holds on this node, its commit aside; the median.
async fn refresh(keeper: &Bookkeeper) -> f64 {
    let mut times = Vec::new();
    for number in 0..21 {
        let mut change = keeper.store().change().await.unwrap();
        let version = change.version;
        let values = vec![Value::from(version), Value::from(format!("{number:08}"))];
        change.execute("UPDATE api_keys SET name = 'changed', version = $1 WHERE id = $2", values).await.unwrap();
        change.commit().await.unwrap();
        let started = Instant::now();
        keeper.refresh().await.unwrap();
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

pub fn measure(effort: Effort, table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    runtime.block_on(fill(few.path(), ROWS * STATEMENTS));
    runtime.block_on(fill(many.path(), effort.tokens));
    let (_, small) = start(few.path());
    let (seconds, large) = start(many.path());
    let each = (large - small) / (effort.tokens - ROWS * STATEMENTS) as f64;
    table.row("start until ready, all managed keys in SQLite", format!("{seconds:.1} s"), "");
    table.row("resident bytes per managed key", format!("{each:.0}"), "");
    runtime.block_on(async {
        let (live, telemetry) = (Arc::new(Live::default()), Arc::new(Telemetry::default()));
        let started = Instant::now();
        let (keeper, first) = Bookkeeper::start(open(many.path()), Duration::from_secs(60), (&live, &telemetry), CancellationToken::new());
        first.await.unwrap().unwrap();
        let read = started.elapsed().as_secs_f64();
        table.row(format!("reading all of it ({} keys)", keeper.keys()), format!("{read:.1} s"), "");
        table.row("refresh after a change of one key", format!("{:.2} ms", refresh(&keeper).await), "");
        let (decision, sha) = decisions(&keeper, effort);
        table.ratio(format!("decision on a managed key ÷ one SHA-256 of it ({decision:.0} ns, {sha:.0} ns)"), (decision, sha), "");
    });
}
