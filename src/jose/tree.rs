//! JSON text into a tree of values, each member name once.
//! Refuses what parsers disagree about: a doubled name at any depth (RFC 7515 §10.12), deep nesting, numbers out of range, text that is not UTF-8.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::MAX_DEPTH;

/// One JSON object and nothing after it.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    // Checked as a whole, because serde_json does not look at all bytes that it skips.
    let text = str::from_utf8(bytes).ok()?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Tree { levels: MAX_DEPTH }.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    if let Value::Object(members) = value { Some(members) } else { None }
}

/// A value with at most so many levels of objects and arrays.
#[derive(Clone, Copy)]
pub(super) struct Tree {
    pub(super) levels: usize,
}

impl Tree {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.levels.checked_sub(1).map(|levels| Self { levels }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        // Room at once for what most tokens claim.
        let mut members = Map::with_capacity(if self.levels == MAX_DEPTH { 14 } else { 0 });
        while let Some(name) = object.next_key::<String>()? {
            if members.insert(name, object.next_value_seed(below)?).is_some() {
                return Err(A::Error::custom("a member name twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_serde_json_makes_of_it() {
        let text = r#" {"a":[1,-2,3.5,true,null,"x\u00e9\ud83d\ude00"],"b":{"a":{}},"":""} "#;
        assert_eq!(object(text.as_bytes()).map(Value::Object), serde_json::from_str(text).ok());
    }

    #[test]
    fn a_doubled_name_is_refused_at_every_depth_and_in_every_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":1}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"x":[0,{"y":[{"a":null,"a":null}]}]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert!(object(text.as_bytes()).is_none(), "{text}");
        }
        assert!(object(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_some());
    }

    #[test]
    fn sixteen_levels_are_read_and_a_seventeenth_is_not() {
        let arrays = |count: usize| format!("{{\"a\":{}{}}}", "[".repeat(count), "]".repeat(count));
        let objects = |count: usize| format!("{}1{}", "{\"a\":".repeat(count), "}".repeat(count));
        assert!(object(arrays(15).as_bytes()).is_some());
        assert!(object(objects(16).as_bytes()).is_some());
        for text in [arrays(16), objects(17), arrays(10_000), objects(10_000), "[".repeat(1 << 20), "{\"a\":[".repeat(100_000)] {
            assert!(object(text.as_bytes()).is_none());
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        let texts: [&[u8]; 25] = [
            b"",
            b" ",
            b"null",
            b"1",
            b"\"a\"",
            b"[]",
            b"{",
            b"{}x",
            b"{}{}",
            b"{}\0",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1,}",
            b"{a:1}",
            b"{'a':1}",
            b"{\"a\":NaN}",
            b"{\"a\":1e999}",
            b"{\"a\":-1e400}",
            b"{\"a\":01}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"\\udc00\":1}",
            b"{\"a\":\"\xc0\xaf\"}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\xed\xa0\x80\"}",
            b"{\"a\":\"\n\"}",
            b"{}/**/",
        ];
        for text in texts {
            assert!(object(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }
}
