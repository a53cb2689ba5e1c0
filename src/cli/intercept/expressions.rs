//! Chains of rules into one batch of nf_tables, expression by expression as `nft` compiles the same text (linux/netfilter/nf_tables.h).
//! Names one table, `inet scopegate`: what another has is left alone.

use std::collections::BTreeSet;

use super::netlink::{Batch, bytes, nested, number, text};
use super::rules::{Hook, PRIORITY, Rule, Rules, Then, When};

const TABLE: &str = "scopegate";
/// What the kernel puts a number into, so that no two such sets have the same name.
const SET: &str = "__set%d";
/// IPv4 and IPv6.
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const TCP: u8 = 6;

const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const NEW_SET: u8 = 9;
const NEW_SET_ELEMENTS: u8 = 12;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// The one register of 16 bytes that every expression here loads and compares, and the one of verdicts.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const RETURN: i32 = -5;

/// `NFT_META_…`
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_SKUID: u32 = 10;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;

/// In one message: an attribute holds four times as many.
const ELEMENTS: usize = 1000;

/// The batch that makes the table anew, and what each of its messages asks for.
pub fn batch(rules: &Rules) -> (Vec<u8>, Vec<String>) {
    let mut batch = Batch::begin();
    let mut table = |what: &str, kind, flags| batch.ask(format!("{what} inet {TABLE}"), NFPROTO_INET, kind, flags, &[text(1, TABLE)]);
    // What is not there cannot be deleted.
    table("table", NEW_TABLE, NLM_F_CREATE);
    table("delete table", DELETE_TABLE, 0);
    table("table", NEW_TABLE, NLM_F_CREATE);
    let chains = rules.chains();
    for chain in &chains {
        new_chain(&mut batch, chain.hook);
    }
    for chain in &chains {
        for rule in &chain.rules {
            new_rule(&mut batch, chain.hook, rule);
        }
    }
    batch.end()
}

fn new_chain(batch: &mut Batch, hook: Hook) {
    const ACCEPT: u32 = 1;
    let name = hook.name();
    // `NF_INET_…`
    let hook = match hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
    };
    let hook = [number(1, hook), bytes(2, &PRIORITY.to_be_bytes())];
    let attributes = [text(1, TABLE), text(3, name), text(7, "nat"), number(5, ACCEPT), nested(4, &hook)];
    batch.ask(format!("chain {name}, of type nat"), NFPROTO_INET, NEW_CHAIN, NLM_F_CREATE, &attributes);
}

fn new_rule(batch: &mut Batch, hook: Hook, rule: &Rule<'_>) {
    let mut expressions = Vec::new();
    // Ports and flags are where they are in TCP alone.
    if rule.when.iter().any(|when| matches!(when, When::Ports(_) | When::Opening)) {
        expressions.extend([meta(META_L4PROTO), compare(EQUAL, &[TCP])]);
    }
    for when in &rule.when {
        expressions.extend(condition(batch, when));
    }
    expressions.extend(end(rule.then));
    let attributes = [text(1, TABLE), text(2, hook.name()), nested(4, &expressions)];
    batch.ask(rule.to_string(), NFPROTO_INET, NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &attributes);
}

/// What is compared with numbers of this machine is in its order, what is compared with a packet in the network's.
fn condition(batch: &mut Batch, when: &When<'_>) -> Vec<Vec<u8>> {
    // `IFNAMSIZ`: the whole name, and not what it begins with.
    const LOOPBACK: &[u8; 16] = b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    match when {
        When::FromLoopback => vec![meta(META_IIFNAME), compare(EQUAL, LOOPBACK)],
        When::ToLoopback => vec![meta(META_OIFNAME), compare(EQUAL, LOOPBACK)],
        When::LoopbackAddress => {
            let address = payload(Header::Network, 16, 1);
            vec![meta(META_NFPROTO), compare(EQUAL, &[NFPROTO_IPV4]), address, compare(EQUAL, &[127])]
        }
        When::OtherMachine => vec![destination_type(), compare(UNEQUAL, &RTN_LOCAL.to_ne_bytes())],
        When::User(uid) => vec![meta(META_SKUID), compare(EQUAL, &uid.to_ne_bytes())],
        When::Mark(mark) => vec![meta(META_MARK), compare(EQUAL, &mark.to_ne_bytes())],
        When::Ports(ports) => vec![payload(Header::Transport, 2, 2), one_of(batch, ports)],
        When::Opening => opening().into(),
    }
}

fn end(then: Then) -> Vec<Vec<u8>> {
    match then {
        Then::Return => vec![immediate(VERDICT, nested(2, &[bytes(1, &RETURN.to_be_bytes())]))],
        Then::Redirect(port) => {
            const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
            let redirect = [number(1, REGISTER), number(3, NF_NAT_RANGE_PROTO_SPECIFIED)];
            vec![immediate(REGISTER, bytes(1, &port.to_be_bytes())), expression("redir", &redirect)]
        }
    }
}

/// A set without a name of its own belongs to the rule that looks into it, and goes with it.
fn one_of(batch: &mut Batch, ports: &BTreeSet<u16>) -> Vec<u8> {
    const ANONYMOUS_AND_CONSTANT: u32 = 3;
    /// How `nft` shows the elements: `inet_service`.
    const TYPE: u32 = 13;
    if let (Some(port), 1) = (ports.first(), ports.len()) {
        return compare(EQUAL, &port.to_be_bytes());
    }
    let of = |what: &str| format!("{what} of ports");
    let id = batch.asked();
    let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
    let set = [
        text(1, TABLE),
        text(2, SET),
        number(3, ANONYMOUS_AND_CONSTANT),
        number(4, TYPE),
        number(5, 2),
        number(10, id),
        nested(9, &[number(1, count)]),
    ];
    batch.ask(of("a set"), NFPROTO_INET, NEW_SET, NLM_F_CREATE, &set);
    let elements: Vec<Vec<u8>> = ports.iter().map(|port| nested(1, &[nested(1, &[bytes(1, &port.to_be_bytes())])])).collect();
    for elements in elements.chunks(ELEMENTS) {
        let attributes = [text(1, TABLE), text(2, SET), number(4, id), nested(3, elements)];
        batch.ask(of("elements of a set"), NFPROTO_INET, NEW_SET_ELEMENTS, NLM_F_CREATE, &attributes);
    }
    expression("lookup", &[text(1, SET), number(2, REGISTER), number(4, id)])
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, attributes)])
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(2, key), number(1, REGISTER)])
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, how), nested(3, &[bytes(1, value)])])
}

/// `NFT_PAYLOAD_…_HEADER`
#[derive(Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

fn payload(header: Header, offset: u32, length: u32) -> Vec<u8> {
    expression("payload", &[number(1, REGISTER), number(2, header as u32), number(3, offset), number(4, length)])
}

const RTN_LOCAL: u32 = 2;

fn destination_type() -> Vec<u8> {
    const OF_DESTINATION: u32 = 2;
    const ADDRESS_TYPE: u32 = 3;
    expression("fib", &[number(3, OF_DESTINATION), number(2, ADDRESS_TYPE), number(1, REGISTER)])
}

fn opening() -> [Vec<u8>; 3] {
    const SYN: u8 = 2;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    let (mask, nothing) = (nested(4, &[bytes(1, &[FIN_SYN_RST_ACK])]), nested(5, &[bytes(1, &[0])]));
    let masked = expression("bitwise", &[number(1, REGISTER), number(2, REGISTER), number(3, 1), mask, nothing]);
    [payload(Header::Transport, 13, 1), masked, compare(EQUAL, &[SYN])]
}

fn immediate(register: u32, value: Vec<u8>) -> Vec<u8> {
    expression("immediate", &[number(1, register), nested(2, &[value])])
}
