//! Values into OTLP's protobuf (opentelemetry-proto v1), by hand, because a span is written for every request and its fields never change.
//! Knows fields by the byte that stands before them, and no message by name.

/// Before a field that has a length: strings, bytes and messages.
pub const fn piece(field: u8) -> u8 {
    field << 3 | 2
}

pub const fn whole(field: u8) -> u8 {
    field << 3
}

pub const fn eight(field: u8) -> u8 {
    field << 3 | 1
}

/// A value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Any<'a> {
    Text(&'a str),
    Whole(u64),
    Real(f64),
    Bool(bool),
}

pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    // Seven bits a byte, and zero takes one too.
    ((value | 1).ilog2() / 7) as usize + 1
}

pub fn bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    varint(out, value);
}

pub fn fixed(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A message that is written where it stands. Its length takes four bytes whatever it is, which every reader takes (protobuf has no
/// shortest form), so that nothing is written twice.
pub fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = out.len() - at - 4;
    let padded = [length | 0x80, length >> 7 | 0x80, length >> 14 | 0x80, length >> 21 & 0x7f].map(|byte| byte as u8);
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&padded);
    }
}

/// `KeyValue { key = 1, value = 2: AnyValue { string_value = 1, bool_value = 2, int_value = 3, double_value = 4 } }`.
pub fn attribute(out: &mut Vec<u8>, tag: u8, key: &str, value: Any<'_>) {
    let value_len = match value {
        Any::Text(text) => 1 + varint_len(text.len()) + text.len(),
        Any::Whole(number) => 1 + varint_len(usize::try_from(number).unwrap_or(usize::MAX)),
        Any::Real(_) => 9,
        Any::Bool(_) => 2,
    };
    out.push(tag);
    varint(out, (1 + varint_len(key.len()) + key.len() + 1 + varint_len(value_len) + value_len) as u64);
    bytes(out, piece(1), key.as_bytes());
    out.push(piece(2));
    varint(out, value_len as u64);
    match value {
        Any::Text(text) => bytes(out, piece(1), text.as_bytes()),
        Any::Bool(said) => number(out, whole(2), said.into()),
        Any::Whole(value) => number(out, whole(3), value),
        Any::Real(value) => fixed(out, eight(4), value.to_bits()),
    }
}

/// The next message of those that [`message`] wrote one behind the other, and what follows it.
pub fn next(written: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = written.get(1..5)?.iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    written.split_at_checked(5 + length)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{KeyValue, KeyValueList, any_value::Value};
    use prost::Message;

    use super::*;

    #[test]
    fn others_read_what_is_written() {
        let long = "long ".repeat(100_000);
        let values = [
            Any::Text(""),
            Any::Text("grün"),
            Any::Text(&long),
            Any::Whole(0),
            Any::Whole(127),
            Any::Whole(1 << 40),
            Any::Real(0.5),
            Any::Bool(true),
        ];
        let mut out = Vec::new();
        for value in values {
            attribute(&mut out, piece(1), "some.key", value);
        }
        let read = KeyValueList::decode(&*out).unwrap();
        let told: Vec<Value> = read
            .values
            .into_iter()
            .map(|KeyValue { key, value, .. }| {
                assert_eq!(key, "some.key");
                value.unwrap().value.unwrap()
            })
            .collect();
        let text = |text: &str| Value::StringValue(text.to_owned());
        let numbers = [Value::IntValue(0), Value::IntValue(127), Value::IntValue(1 << 40), Value::DoubleValue(0.5), Value::BoolValue(true)];
        assert_eq!(told, [&[text(""), text("grün"), text(&long)][..], &numbers].concat());
    }

    #[test]
    fn messages_stand_one_behind_the_other() {
        let mut out = Vec::new();
        for length in [0, 1, 200, 70_000] {
            message(&mut out, piece(1), |out| out.extend(std::iter::repeat_n(7, length)));
        }
        let (mut rest, mut lengths) = (&*out, Vec::new());
        while let Some((one, more)) = next(rest) {
            lengths.push(one.len() - 5);
            rest = more;
        }
        assert_eq!((lengths, rest.len()), (vec![0, 1, 200, 70_000], 0));
        assert_eq!(next(out.get(..3).unwrap()), None);
    }
}
