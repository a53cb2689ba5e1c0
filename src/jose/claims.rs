//! A payload into claims, read by name or by path and by type (RFC 7519).
//! Judges no claim: when a token counts and for whom is the caller's to say.

use std::fmt;

use serde_json::{Map, Value};

use super::{Fault, tree};

/// Largest NumericDate: beyond it a double no longer tells two seconds apart.
const MAX_DATE: u64 = 1 << 53;

/// The members of a payload.
#[derive(Default)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub fn parse(payload: &[u8]) -> Result<Self, Fault> {
        tree::object(payload).map(Self).ok_or(Fault::Claims)
    }

    /// The whole path as one name, else split at a dot, the rest read the same way below:
    /// `https://a.example/roles`, `realm_access.roles`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        find(&self.0, path)
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// A NumericDate (RFC 7519 §2) in whole seconds. What is there and is none is a fault, never an absent claim.
    pub fn date(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        date(value).map(Some).ok_or(Fault::Claims)
    }

    /// The words of a string, or the strings of a list; none where the claim is absent.
    pub fn texts(&self, path: &str) -> Result<Vec<&str>, Fault> {
        match self.get(path) {
            None => Ok(Vec::new()),
            Some(Value::String(words)) => Ok(words.split(' ').filter(|word| !word.is_empty()).collect()),
            Some(Value::Array(list)) => list.iter().map(|value| value.as_str().ok_or(Fault::Claims)).collect(),
            Some(_) => Err(Fault::Claims),
        }
    }
}

fn find<'c>(members: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    members.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| {
            let below = members.get(path.get(..dot)?)?.as_object()?;
            find(below, path.get(dot + 1..)?)
        })
    })
}

fn date(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_u64() {
        return (seconds <= MAX_DATE).then_some(seconds.cast_signed());
    }
    let seconds = number.as_f64()?;
    (0.0..=MAX_DATE as f64).contains(&seconds).then_some(seconds as i64)
}

impl fmt::Debug for Claims {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Claims(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        Claims::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_path_is_one_name_before_it_is_split() {
        let claims = claims(
            r#"{"sub":"u","https://x.example/roles":["a"],"realm_access":{"roles":["b"],"a.b":{"c":1}},
                "a":{"b":2,"x":3},"a.b":{"y":4},"a.b.z":5}"#,
        );
        let number = |path: &str| claims.get(path).and_then(Value::as_u64);
        assert_eq!(claims.text("sub"), Some("u"));
        assert_eq!(claims.texts("https://x.example/roles"), Ok(vec!["a"]));
        assert_eq!(claims.texts("realm_access.roles"), Ok(vec!["b"]));
        assert_eq!(number("realm_access.a.b.c"), Some(1));
        assert_eq!((number("a.x"), number("a.b.y"), number("a.b.z")), (Some(3), Some(4), Some(5)));
        assert!(claims.get("a.b").unwrap().is_object());
        for absent in ["", ".", "sub.", ".sub", "sub.x", "realm_access.", "realm_access..roles", "a.c", "A"] {
            assert!(claims.get(absent).is_none(), "{absent:?}");
        }
    }

    #[test]
    fn a_date_is_a_number_in_range_or_a_fault() {
        let date = |value: &str| claims(&format!("{{\"exp\":{value}}}")).date("exp");
        assert_eq!(claims("{}").date("exp"), Ok(None));
        assert_eq!(claims(r#"{"a":{"exp":1},"a.exp":1}"#).date("exp"), Ok(None));
        for (value, seconds) in [("0", 0), ("-0", 0), ("1700000000", 1_700_000_000), ("1.7e9", 1_700_000_000), ("1700000000.9", 1_700_000_000)] {
            assert_eq!(date(value), Ok(Some(seconds)), "{value}");
        }
        assert_eq!(date("9007199254740992"), Ok(Some(1 << 53)));
        for value in [
            "\"1700000000\"",
            "\"99999999999\"",
            "true",
            "null",
            "[]",
            "[1700000000]",
            "{}",
            "-1",
            "-0.5",
            "9007199254740993",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "1e300",
        ] {
            assert_eq!(date(value), Err(Fault::Claims), "{value}");
        }
        for value in ["1e999", "1e400", "NaN", "Infinity"] {
            assert!(Claims::parse(format!("{{\"exp\":{value}}}").as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn texts_come_from_words_and_lists_of_strings_only() {
        let claims = claims(r#"{"s":" a  b ","l":["a b",""],"e":[],"n":1,"m":["a",1],"o":{},"z":null,"t":true,"empty":""}"#);
        assert_eq!(claims.texts("s"), Ok(vec!["a", "b"]));
        assert_eq!(claims.texts("l"), Ok(vec!["a b", ""]));
        assert_eq!(claims.texts("e"), Ok(vec![]));
        assert_eq!(claims.texts("empty"), Ok(vec![]));
        assert_eq!(claims.texts("absent"), Ok(vec![]));
        for path in ["n", "m", "o", "z", "t"] {
            assert_eq!(claims.texts(path), Err(Fault::Claims), "{path}");
        }
        assert_eq!(claims.text("l"), None);
        assert_eq!(format!("{claims:?}"), "Claims(…)");
    }
}
