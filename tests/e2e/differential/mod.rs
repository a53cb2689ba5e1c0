//! The same bytes to the gate and to nginx, HAProxy, Caddy and Envoy: what comes out behind each of them, compared.
//! Takes nobody's word for an answer: what counts is what reached the upstream.

mod inputs;
mod programs;
mod recorder;
mod tables;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use inputs::{EXCEPTIONS, Input, Promise};
use programs::{Kind, PEERS, Program};
use recorder::{Record, Seen};

/// What came out behind one program: whole requests in their order, and what was not well-formed.
#[derive(Clone, Debug, Default)]
struct Outcome {
    whole: Vec<Seen>,
    malformed: Vec<String>,
}

#[test]
fn what_reaches_the_upstream_is_never_more_than_the_strictest_of_the_proxies_lets_through() {
    let table = inputs::all();
    let names = table.iter().map(|input| &*input.name).collect::<Vec<_>>();
    for (name, kind, _) in EXCEPTIONS {
        assert!(names.contains(name), "no input is called {name:?} ({kind:?})");
    }
    assert!(table.len() >= 170 && table.iter().filter(|input| matches!(input.promise, Promise::All(_))).count() >= 20);
    let kinds = [&[Kind::Gate, Kind::GateLong], &PEERS[..]].concat();
    let faults = std::thread::scope(|scope| {
        let started = kinds.iter().map(|kind| scope.spawn(|| Program::start(*kind))).collect::<Vec<_>>();
        let programs = started.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>();
        let faults = judge(&table, &programs, 50);
        let again = table.iter().filter(|input| faults.iter().any(|(name, _)| *name == input.name)).cloned().collect::<Vec<_>>();
        // A program that was only slow has its time now.
        if again.is_empty() { faults } else { judge(&again, &programs, 1000) }
    });
    let faults = faults.iter().map(|(name, fault)| format!("{name}\n    {fault}\n")).collect::<String>();
    assert!(faults.is_empty(), "\n{faults}");
}

fn judge(table: &[Input], programs: &[Program], patience: usize) -> Vec<(String, String)> {
    let outcomes = std::thread::scope(|scope| {
        let threads = programs.iter().map(|program| (program.kind, scope.spawn(move || play(table, program, patience)))).collect::<Vec<_>>();
        threads.into_iter().map(|(kind, thread)| (kind, thread.join().unwrap())).collect::<Vec<_>>()
    });
    let mut faults = Vec::new();
    for (index, input) in table.iter().enumerate() {
        let of = |wanted: Kind| &outcomes.iter().find(|(kind, _)| *kind == wanted).unwrap().1[index];
        let peers = PEERS.iter().filter(|peer| !EXCEPTIONS.iter().any(|(name, kind, _)| *name == input.name && kind == *peer));
        let peers = peers.map(|peer| (*peer, of(*peer))).collect::<Vec<_>>();
        for gate in [Kind::Gate, Kind::GateLong] {
            faults.extend(verdict(input, (gate, of(gate)), &peers).map(|fault| (input.name.clone(), fault)));
        }
    }
    faults
}

fn verdict(input: &Input, (gate, ours): (Kind, &Outcome), peers: &[(Kind, &Outcome)]) -> Option<String> {
    if !ours.malformed.is_empty() {
        return Some(format!("behind {gate:?}, not well-formed: {:?}", ours.malformed));
    }
    if let Some((peer, theirs)) = peers.iter().find(|(_, theirs)| !holds(&theirs.whole, &ours.whole)) {
        return Some(format!("{gate:?} let through {:?}, {peer:?} {:?}", ours.whole, theirs.whole));
    }
    match &input.promise {
        Promise::AtMost(most) if ours.whole.len() > *most => Some(format!("{gate:?} let through {:?}", ours.whole)),
        Promise::AtMost(_) => None,
        Promise::All(expected) => {
            let all = [&[(gate, ours)], peers].concat();
            let other = all.into_iter().find(|(_, outcome)| !same(&outcome.whole, expected));
            other.map(|(kind, outcome)| format!("{kind:?} let through {:?}, not {expected:?}", outcome.whole))
        }
    }
}

/// Whether each of `part` is there, as often.
fn holds(whole: &[Seen], part: &[Seen]) -> bool {
    let mut whole = whole.to_vec();
    part.iter().all(|seen| whole.iter().position(|other| other == seen).map(|at| whole.remove(at)).is_some())
}

fn same(seen: &[Seen], expected: &[Seen]) -> bool {
    seen.len() == expected.len() && holds(seen, expected)
}

/// Every input on a connection of its own, all of them at once; then `patience` requests more, until no more comes out.
fn play(table: &[Input], program: &Program, patience: usize) -> Vec<Outcome> {
    let before = program.recorder.records().len();
    let open = table.iter().map(|input| send(input, program)).collect::<Vec<_>>();
    let (mut count, mut quiet) = (0, 0);
    while quiet < patience {
        assert!(program.marker(), "{:?} answers no more", program.kind);
        let now = program.recorder.records().len();
        quiet = if now == count { quiet + 1 } else { 0 };
        count = now;
    }
    drop(open);
    let mut outcomes: HashMap<String, Outcome> = HashMap::new();
    for record in program.recorder.records().drain(before..) {
        // Every request of an input has its mark, in the target or in a field.
        let text = String::from_utf8_lossy(record.bytes());
        let mark = text.find("qz").and_then(|at| text.get(at..at + 5)).unwrap_or_default().to_owned();
        let outcome = outcomes.entry(mark).or_default();
        match record {
            Record::Whole { seen, .. } if seen.target.ends_with("/first") => {}
            Record::Whole { seen, .. } => outcome.whole.push(seen),
            Record::Malformed { why, .. } => outcome.malformed.push(format!("{why}: {text:?}")),
        }
    }
    assert!(!outcomes.contains_key(""), "{:?}: {:?}", program.kind, outcomes[""]);
    table.iter().map(|input| outcomes.remove(&input.mark).unwrap_or_default()).collect()
}

fn send(input: &Input, program: &Program) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    if program.kind == Kind::GateLong {
        let first = format!("POST /{}/first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", input.mark);
        stream.write_all(first.as_bytes()).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"\r\n\r\nok") {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    // A refusal may come, and the connection end, before all is written.
    let _ = stream.write_all(&input.bytes);
    if input.ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    stream
}
