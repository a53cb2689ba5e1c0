//! One limit across replicas in a real Redis, and what becomes of it when Redis is gone, frozen, restarted or wants a password.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use socket2::{Domain, Socket, Type};

use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::redis::Redis;
use crate::stage::{Front, Stage};

const TOKEN: &str = "token-of-the-app-1";

fn desk() -> Desk {
    Desk::new().file("tokens.json", &json!([{"id": "app", "token": TOKEN, "scopes": ["app:use"]}]).to_string())
}

/// A gate with one route, of which `limit` is the rate.
fn config(backend: &str, timeout: &str, limit: Json) -> Json {
    json!({
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"GET /x": {"scopes": ["app:use"], "rate_limit": limit}},
        "limits": {"backend": backend, "timeout": timeout},
        "reload": {"watch": false},
    })
}

fn status(gate: &Gate) -> u16 {
    gate.ask(&Ask::get("/x").token(TOKEN)).status
}

/// How many of `tries` are let through; nothing but 200 and 429 is an answer.
fn allowed(gate: &Gate, tries: usize) -> usize {
    let statuses: Vec<u16> = (0..tries).map(|_| status(gate)).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

fn fallbacks(gate: &Gate) -> u64 {
    let metrics = gate.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("scopegate_limits_fallback_total "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[test]
fn two_replicas_have_one_limit_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]);
    let daily = config(&redis.url(), "10s", json!({"rate": "1/d", "burst": 20}));
    let gates = [desk().serve(&daily), desk().serve(&daily)];
    let counts: Vec<usize> = (0..15).flat_map(|_| gates.each_ref().map(|gate| allowed(gate, 1))).collect();
    assert_eq!(counts, [vec![1; 20], vec![0; 10]].concat());
    // One round trip each, and nobody decided alone.
    assert_eq!(redis.calls("evalsha"), 30);
    assert_eq!(gates.each_ref().map(fallbacks), [0, 0]);
    let keys = redis.ask("KEYS *");
    assert!(keys.starts_with("*1\r\n$48\r\nscopegate:limit:") && !keys.contains("app"), "{keys}");
}

#[test]
fn what_comes_back_with_time_comes_back_for_both_together() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]);
    let quick = config(&redis.url(), "10s", json!({"rate": "50/s", "burst": 10}));
    let gates = [desk().serve(&quick), desk().serve(&quick)];
    let (start, mut sum) = (Instant::now(), 0);
    for _ in 0..200 {
        sum += gates.each_ref().map(|gate| allowed(gate, 1)).iter().sum::<usize>();
    }
    let most = 10.0 + 50.0 * start.elapsed().as_secs_f64();
    assert!(sum >= 10 && sum as f64 <= most, "{sum} of at most {most}");
    assert_eq!(gates.each_ref().map(fallbacks), [0, 0]);
}

#[test]
fn without_redis_each_goes_on_by_what_it_let_through_itself_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path(), &[]);
    let gate = desk().serve(&config(&redis.url(), "10s", json!({"rate": "1/d", "burst": 10})));
    assert_eq!(allowed(&gate, 4), 4);
    redis.kill();
    // Ten less the four that it has let through while Redis counted.
    assert_eq!((allowed(&gate, 10), fallbacks(&gate)), (6, 10));
    let back = Redis::at(folder.path(), redis.port, &[]);
    back.until_called("evalsha", || assert!(matches!(status(&gate), 200 | 429)));
    let until_then = fallbacks(&gate);
    // Redis remembers nothing of before.
    assert_eq!(allowed(&gate, 12), 9);
    assert_eq!(fallbacks(&gate), until_then);
    assert!(gate.process.said().contains("Redis is back"), "{}", gate.process.said());
}

#[test]
fn a_redis_that_says_nothing_costs_one_wait_and_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]);
    let gate = desk().serve(&config(&redis.url(), "3s", json!({"rate": "1000/d"})));
    assert_eq!((allowed(&gate, 3), fallbacks(&gate)), (3, 0));
    redis.freeze();
    let start = Instant::now();
    assert_eq!((allowed(&gate, 30), fallbacks(&gate)), (30, 30));
    // Thirty waits would be ninety seconds.
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
    redis.thaw();
    redis.until_called("evalsha", || assert_eq!(status(&gate), 200));
    let until_then = fallbacks(&gate);
    assert_eq!((allowed(&gate, 5), fallbacks(&gate)), (5, until_then));
}

#[test]
fn a_gate_starts_without_redis_and_finds_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let port = crate::process::free_port();
    let gate = desk().serve(&config(&format!("redis://127.0.0.1:{port}"), "1s", json!({"rate": "1000/d"})));
    assert_eq!((allowed(&gate, 3), fallbacks(&gate)), (3, 3));
    let redis = Redis::at(folder.path(), port, &[]);
    redis.until_called("evalsha", || assert_eq!(status(&gate), 200));
}

#[test]
fn a_redis_that_has_forgotten_the_script_is_given_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]);
    let gate = desk().serve(&config(&redis.url(), "10s", json!({"rate": "1/d", "burst": 5})));
    assert_eq!(allowed(&gate, 2), 2);
    assert_eq!(redis.ask("SCRIPT FLUSH"), "+OK\r\n");
    assert_eq!((allowed(&gate, 5), fallbacks(&gate)), (3, 0));
}

#[test]
fn a_password_opens_redis_and_is_told_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &["--requirepass", "redis-password-7f3a"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/3", redis.port);
    let limit = || json!({"rate": "1/d", "burst": 5});
    let desk = desk().file("redis.url", &format!("{}\n", url("redis-password-7f3a")));
    let mut right = config("memory", "10s", limit());
    right["limits"] = json!({"backend_file": "redis.url", "timeout": "10s"});
    let right = desk.serve(&right);
    assert_eq!((allowed(&right, 7), fallbacks(&right)), (5, 0));
    let wrong = self::desk().serve(&config(&url("wrong-password-9c1b"), "10s", limit()));
    assert_eq!((allowed(&wrong, 7), fallbacks(&wrong)), (5, 7));
    assert!(wrong.process.said().contains("Redis is out of reach"), "{}", wrong.process.said());
    for gate in [&right, &wrong] {
        let told = gate.process.said() + &gate.metrics() + &gate.readyz().1.to_string();
        assert!(!told.contains("password-"), "{told}");
    }
}

/// Status of a request to a front, from an address of this machine.
fn from(address: [u8; 4], stage: &Stage) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], stage.port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = Ask::get("/anything").token(stage.token("admin"));
    ask.exchange(stream).unwrap().status
}

#[test]
fn each_client_of_a_proxy_that_asks_has_its_own() {
    for front in [Front::Nginx, Front::Traefik, Front::Caddy, Front::Proxy] {
        let stage = Stage::start_with(front, "default: {authenticated: true, rate_limit: {rate: 2/d, per: ip}}");
        for (last, expected) in [(2, [200, 200, 429]), (3, [200, 200, 429]), (2, [429, 429, 429])] {
            assert_eq!([(); 3].map(|()| from([127, 0, 0, last], &stage)), expected, "{front:?} 127.0.0.{last}");
        }
    }
}
