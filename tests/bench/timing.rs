//! Whether the time of an answer tells an unknown key, a wrong secret, a disabled key and a good one from each other.
//! Welch's t over interleaved samples; from 4.5 on two of them would be told apart (the threshold of leakage tests, TVLA).

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::credential::key_format;
use scopegate::jose::KeySet;
use scopegate::keys::Registry;
use scopegate::principal::book::Book;
use scopegate::principal::pepper::Peppers;
use scopegate::principal::record::{Changes, Key};
use scopegate::principal::{Asked, Backing, Proof, Sources, Wanted};
use scopegate::request::{RawRequest, RequestView};
use scopegate::scope::Scope;

use crate::{Effort, Table};

const KINDS: [&str; 4] = ["unknown", "wrong secret", "disabled", "right"];
const SAMPLES: usize = 100_000;
/// Not measured.
const WARM_UP: usize = 20_000;
/// Texts of each kind: whoever measures shows few of them again and again.
const TEXTS: usize = 16;
const NOW: i64 = 1_700_000_000;
const CONFIG: &str = "credentials: {keys: {kind: api_key}}\nroutes: {/: app:use}\n";

/// Key `number` with a secret of its own or of another.
fn text(number: usize, secret: usize) -> String {
    key_format::form("live", &format!("{number:08}"), &format!("{secret:030}")).unwrap().to_string()
}

/// Every second key is disabled.
fn sources(count: usize) -> Sources {
    let peppers = Peppers::new([("bench", b"the pepper of the bench".as_slice())]).unwrap();
    let scopes: Arc<[Scope]> = Arc::new([Scope::parse("app:use").unwrap()]);
    let key = |number: usize| {
        let digest = peppers.newest(&text(number, number)).1;
        Key { scopes: Arc::clone(&scopes), enabled: number.is_multiple_of(2), ..Key::new(format!("{number:08}"), digest) }
    };
    let book = Arc::new(Book::default().with(Changes { keys: (0..count).map(key).collect(), ..Changes::default() }));
    let input = Input::Text { name: "bench.yaml", text: CONFIG.into() };
    let mut sources = load(&input, &|_| None, &TagKey::new([7; 32]), &Registry::offline()).unwrap_or_else(|faults| panic!("{faults}")).sources;
    sources.back(Backing { shelf: Arc::new(book), peppers: Arc::new(peppers), factors: Arc::new(KeySet::of(Vec::new())) });
    sources
}

/// Nanoseconds of one answer, and whether it was a yes.
fn sample(sources: &Sources, presented: &str) -> (f64, bool) {
    let headers: [(&str, &[u8]); 1] = [("x-api-key", presented.as_bytes())];
    let raw = RawRequest { method: b"GET", target: b"/", host: None, headers: &&headers[..], link: Default::default() };
    let view = RequestView::read(&raw).unwrap();
    let started = Instant::now();
    let proof = sources.authenticate(black_box(&view), Asked { now: NOW, wanted: Wanted::default(), settled: &[] });
    let good = matches!(black_box(&proof), Proof::Caller(_));
    drop(proof);
    (started.elapsed().as_nanos() as f64, good)
}

/// The same order each time, and none that a predictor could learn.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) as usize
}

fn samples(sources: &Sources) -> [Vec<f64>; 4] {
    let texts = [
        |number: usize| text(50_000_000 + number, number),
        |number: usize| text(number * 2, 50_000_000 + number),
        |number: usize| text(number * 2 + 1, number * 2 + 1),
        |number: usize| text(number * 2, number * 2),
    ];
    let texts = texts.map(|text| (0..TEXTS).map(text).collect::<Vec<_>>());
    let (mut state, mut times) = (0x9E37_79B9_7F4A_7C15, [(); 4].map(|()| Vec::with_capacity(SAMPLES)));
    for round in 0..WARM_UP + SAMPLES * KINDS.len() {
        let mut kind = next(&mut state) % KINDS.len();
        while times[kind].len() == SAMPLES {
            kind = (kind + 1) % KINDS.len();
        }
        // Each sample has a text of its own, at an address of its own.
        let presented = texts[kind][next(&mut state) % TEXTS].clone();
        let (time, good) = sample(sources, &presented);
        assert_eq!(good, kind == 3);
        if round >= WARM_UP {
            times[kind].push(time);
        }
    }
    times
}

fn moments(list: &[f64]) -> (f64, f64) {
    let count = list.len() as f64;
    let mean = list.iter().sum::<f64>() / count;
    (mean, list.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
}

fn welch(one: &[f64], other: &[f64]) -> f64 {
    let ((one, of_one), (other, of_other)) = (moments(one), moments(other));
    (one - other) / (of_one + of_other).sqrt()
}

fn median(list: &[f64]) -> f64 {
    let mut list = list.to_vec();
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

pub fn measure(effort: Effort, table: &mut Table) {
    let sources = sources(effort.tokens);
    let times = samples(&sources);
    let medians = times.iter().map(|times| format!("{:.0}", median(times))).collect::<Vec<_>>().join(", ");
    table.row(format!("managed keys: medians of {}, ns", KINDS.join(", ")), medians, "the same");
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let t = welch(&times[one], &times[other]);
        table.row(format!("managed keys: Welch's t of {} and {}, {SAMPLES} each", KINDS[one], KINDS[other]), format!("{t:+.2}"), "|t| < 4.5");
    }
}
