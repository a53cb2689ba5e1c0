//! A JSON-RPC 2.0 body into the calls that it makes (MCP `tools/call`, by `params.name`).
//! Refuses what two readers could read in two ways: doubled members, members that differ in case only, anything after the value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Most calls that one batch may make; more than any client sends, and it bounds the work of a check.
pub const MAX_BATCH: usize = 256;

/// What one message of the body asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `tools/call` of the named tool.
    Tool(Cow<'a, str>),
    /// Any other method, or a response of the client's.
    Other,
}

/// The body was not one unambiguous JSON-RPC message or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRpc;

/// Every call of a body, in order; at least one.
pub fn calls(body: &[u8]) -> Result<Vec<Call<'_>>, NotRpc> {
    // The parser passes over what it skips without a look at its bytes; JSON is UTF-8 throughout (RFC 8259 §8.1).
    let body = str::from_utf8(body).map_err(|_| NotRpc)?;
    let Calls(calls) = serde_json::from_str(body).map_err(|_| NotRpc)?;
    if calls.is_empty() { Err(NotRpc) } else { Ok(calls) }
}

struct Calls<'a>(Vec<Call<'a>>);

impl<'de> Deserialize<'de> for Calls<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CallsVisitor)
    }
}

struct CallsVisitor;

impl<'de> Visitor<'de> for CallsVisitor {
    type Value = Calls<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON-RPC message or batch")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(Calls(vec![message(map)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut calls = Vec::new();
        while let Some(Message(call)) = seq.next_element()? {
            if calls.len() == MAX_BATCH {
                return Err(A::Error::custom("batch too long"));
            }
            calls.push(call);
        }
        Ok(Calls(calls))
    }
}

struct Message<'a>(Call<'a>);

impl<'de> Deserialize<'de> for Message<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MessageVisitor;
        impl<'de> Visitor<'de> for MessageVisitor {
            type Value = Message<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON-RPC message")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                message(map).map(Message)
            }
        }
        deserializer.deserialize_map(MessageVisitor)
    }
}

fn message<'de, A: MapAccess<'de>>(mut map: A) -> Result<Call<'de>, A::Error> {
    let (mut method, mut params, mut answers) = (None, None, false);
    while let Some(Text(key)) = map.next_key()? {
        match folded(&key, &["method", "params"])? {
            Some("method") => once(&mut method, map.next_value::<Text<'_>>()?.0)?,
            Some(_) => once(&mut params, map.next_value::<Params<'_>>()?)?,
            None => {
                answers |= matches!(&*key, "result" | "error");
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    match (method.as_deref(), params) {
        (Some("tools/call"), Some(Params(Some(name)))) => Ok(Call::Tool(name)),
        (Some("tools/call"), _) => Err(A::Error::custom("tools/call without params.name")),
        (Some(_), _) => Ok(Call::Other),
        (None, _) if answers => Ok(Call::Other),
        (None, _) => Err(A::Error::custom("neither a call nor a response")),
    }
}

/// `params`: the `name` member where it is an object that has one.
struct Params<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Params<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ParamsVisitor;
        impl<'de> Visitor<'de> for ParamsVisitor {
            type Value = Params<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("params")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Params(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Params(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut name = None;
                while let Some(Text(key)) = map.next_key()? {
                    if folded(&key, &["name"])?.is_some() {
                        once(&mut name, map.next_value::<Any<'_>>()?.0)?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Params(name.flatten()))
            }
        }
        deserializer.deserialize_any(ParamsVisitor)
    }
}

/// The one of `names` that `key` is. A key that only folds to one is an error: Go's decoder, for one, would take it.
fn folded<E: Error>(key: &str, names: &[&'static str]) -> Result<Option<&'static str>, E> {
    if let Some(name) = names.iter().find(|name| **name == key) {
        return Ok(Some(name));
    }
    // Unicode simple folding maps U+017F to `s` and U+212A to `k`; no other character folds to ASCII.
    let ascii = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
    if names.iter().any(|name| name.eq_ignore_ascii_case(&ascii)) {
        return Err(E::custom("a member differs from a known one in case only"));
    }
    Ok(None)
}

fn once<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a member stands twice")),
    }
}

/// A string, borrowed where it has no escapes.
pub struct Text<'a>(pub Cow<'a, str>);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Text(…)")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

/// A string, or anything else as `None`: `name` means something only to `tools/call`.
struct Any<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Any<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str::<Text<'de>>(raw.get()).ok().map(|text| text.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str) -> Call<'_> {
        Call::Tool(Cow::Borrowed(name))
    }

    #[test]
    fn calls_are_read() {
        for (body, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"execute_query","arguments":{}}}"#, vec![tool("execute_query")]),
            (r#"{"params":{"arguments":{"name":"x","method":"y"},"name":"a"},"method":"tools/call"}"#, vec![tool("a")]),
            (r#"{"method":"tools\/call","params":{"name":"\u0061"}}"#, vec![tool("a")]),
            (r#"{"method":"ping"}"#, vec![Call::Other]),
            (r#"{"method":"x","params":[1,{"name":"y"}]}"#, vec![Call::Other]),
            (r#"{"method":"x","params":{"name":7}}"#, vec![Call::Other]),
            (r#"{"method":"x","params":null}"#, vec![Call::Other]),
            (r#"{"id":1,"result":{}}"#, vec![Call::Other]),
            (r#"[{"method":"ping"},{"method":"tools/call","params":{"name":"b"}}]"#, vec![Call::Other, tool("b")]),
        ] {
            assert_eq!(calls(body.as_bytes()), Ok(expected), "{body}");
        }
    }

    #[test]
    fn two_readings_are_none() {
        for body in [
            "",
            "null",
            "7",
            "\"x\"",
            "[]",
            "[[]]",
            "{}",
            "{\"id\":1}",
            "[7]",
            "{\"method\":7}",
            "{\"method\":\"x\"",
            "{\"method\":\"x\"}}",
            "{\"method\":\"x\"} {}",
            "\u{feff}{\"method\":\"x\"}",
            "{\"method\":\"x\",}",
            "{'method':'x'}",
            r#"{"method":"tools/call"}"#,
            r#"{"method":"tools/call","params":{}}"#,
            r#"{"method":"tools/call","params":["a"]}"#,
            r#"{"method":"tools/call","params":{"name":7}}"#,
            r#"{"method":"tools/call","params":"a"}"#,
            r#"{"method":"ping","method":"tools/call","params":{"name":"a"}}"#,
            r#"{"method":"ping","Method":"tools/call","params":{"name":"a"}}"#,
            r#"{"method":"ping","\u004dethod":"tools/call"}"#,
            r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            "{\"method\":\"tools/call\",\"params\":{\"name\":\"a\"},\"param\u{17f}\":{\"name\":\"b\"}}",
        ] {
            assert_eq!(calls(body.as_bytes()), Err(NotRpc), "{body}");
        }
        let deep = format!("{{\"method\":\"x\",\"params\":{}", "[".repeat(100_000));
        assert_eq!(calls(deep.as_bytes()), Err(NotRpc));
        assert_eq!(calls(b"{\"method\":\"\xff\"}"), Err(NotRpc));
        assert_eq!(calls(b"{\"method\":\"ping\",\"id\":\"\xff\"}"), Err(NotRpc));
        let batch = format!("[{}]", vec![r#"{"method":"x"}"#; MAX_BATCH + 1].join(","));
        assert_eq!(calls(batch.as_bytes()), Err(NotRpc));
    }
}
