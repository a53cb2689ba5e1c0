//! One whole decision in process, against one SHA-256 of the same token.

use std::hint::black_box;
use std::time::Instant;

use scopegate::config::{Input, Loaded, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::policy::Outcome;
use scopegate::policy::judge::Question;
use scopegate::request::{Body, RawRequest};

use crate::{Effort, Table, files};

/// Requests that are prepared before the clock starts; more than fit a core's own caches.
const PREPARED: usize = 65_536;

struct Prepared {
    target: String,
    header: String,
}

fn prepare(tokens: usize, routes: usize) -> Vec<Prepared> {
    let spread = |number: usize, bound: usize| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % bound;
    let request =
        |number| Prepared { target: files::target(spread(number, routes)), header: format!("Bearer {}", files::token(spread(number + 77, tokens))) };
    (0..PREPARED).map(request).collect()
}

pub fn loaded(tokens: usize, routes: usize) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let text = files::configuration(&files::tokens(folder.path(), tokens), routes, "");
    load(&Input::Text { name: "bench.yaml", text }, &|_| None, &TagKey::new([7; 32]), &Registry::offline())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// Nanoseconds of one decision, the best of some rounds.
fn decision(loaded: &Loaded, prepared: &[Prepared], rounds: usize) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds * 3 {
        let started = Instant::now();
        for request in prepared {
            let headers: [(&str, &[u8]); 6] = [
                ("user-agent", b"curl/8.5.0"),
                ("accept", b"*/*"),
                ("x-forwarded-proto", b"https"),
                ("x-request-id", b"5f0f4c5e-6a38-4f0e-9f30-0d4b1b6b2a6e"),
                ("authorization", request.header.as_bytes()),
                ("x-forwarded-for", b"203.0.113.7"),
            ];
            let raw = RawRequest {
                method: b"GET",
                target: request.target.as_bytes(),
                host: Some(b"api.example.com"),
                headers: &&headers[..],
                link: Default::default(),
            };
            let question = Question { body: Body::Unread, extra_scopes: "", now: 1_700_000_000, settled: &[] };
            let decision = loaded.policy.decide(&loaded.sources, black_box(&raw), question);
            assert!(matches!(black_box(&decision).outcome, Outcome::Allow(_)));
        }
        best = best.min(started.elapsed().as_nanos() as f64 / prepared.len() as f64);
    }
    best
}

/// Nanoseconds of a decision among few tokens and routes.
pub fn one(effort: Effort) -> f64 {
    decision(&loaded(1000, 10), &prepare(1000, 10), effort.rounds)
}

fn sha256(prepared: &[Prepared], rounds: usize) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds * 3 {
        let started = Instant::now();
        for request in prepared {
            black_box(ring::digest::digest(&ring::digest::SHA256, black_box(&request.header.as_bytes()[7..])));
        }
        best = best.min(started.elapsed().as_nanos() as f64 / prepared.len() as f64);
    }
    best
}

pub fn measure(effort: Effort, table: &mut Table) {
    let ask = |tokens: usize, routes: usize| {
        let (loaded, prepared) = (loaded(tokens, routes), prepare(tokens, routes));
        (decision(&loaded, &prepared, effort.rounds), sha256(&prepared, effort.rounds))
    };
    let (large, sha) = ask(effort.tokens, effort.routes);
    let (few_tokens, _) = ask(1000, effort.routes);
    let (few_routes, _) = ask(1000, 10);
    table.ratio(format!("decision ÷ one SHA-256 of its token ({large:.0} ns, {sha:.0} ns)"), (large, sha), "≤ 1.0");
    table.ratio(format!("decision at all tokens ÷ at 1 k ({few_tokens:.0} ns)"), (large, few_tokens), "≤ 2");
    table.ratio(format!("decision at all routes ÷ at 10 ({few_routes:.0} ns)"), (few_tokens, few_routes), "≤ 1.5");
}
