//! A text into the parts of a compact JWS (RFC 7515 §7.1), decoded and checked for form; nothing is verified yet.
//! Refuses every second spelling, the JSON serialisations, encrypted tokens and extensions; key material in a header is not looked at.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::tree::Tree;
use super::{Algorithm, Fault, MAX_DEPTH, MAX_HEADER, MAX_KID, MAX_TOKEN};

/// A token that has the form of one.
pub struct Jws<'a> {
    pub header: Header,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// What a header says of its token. None of it is proved, and only `kid` takes part in the choice of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Absent for `none`, in whatever case, and for every name that is not spoken here.
    pub alg: Option<Algorithm>,
    pub typ: Option<Box<str>>,
    pub kid: Option<Box<str>>,
    /// `alg` is exactly `none` and there is no signature: what an emulator issues, and nobody else may.
    pub unsigned: bool,
}

impl<'a> Jws<'a> {
    pub fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_TOKEN {
            return Err(Fault::TooLong);
        }
        let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return Err(Fault::Form) };
        let part = |from: usize, to: usize| token.get(from..to).ok_or(Fault::Form);
        let (header, signature) = (part(0, first)?, part(second + 1, token.len())?);
        let header = header_of(header, signature.is_empty())?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Form);
        Ok(Self { header, signed: part(0, second)?, payload: decode(part(first + 1, second)?)?, signature: decode(signature)? })
    }

    /// Not to be believed before `KeySet::verify` said so.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Debug for Jws<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Jws(…)")
    }
}

fn header_of(part: &str, no_signature: bool) -> Result<Header, Fault> {
    let mut buffer = [0; MAX_HEADER];
    if part.len() > (MAX_HEADER * 4).div_ceil(3) {
        return Err(Fault::TooLong);
    }
    let length = URL_SAFE_NO_PAD.decode_slice(part, &mut buffer).map_err(|_| Fault::Form)?;
    // Checked as a whole, because serde_json does not look at all bytes that it skips.
    let text = buffer.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(Fault::Header)?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let members = Members::deserialize(&mut parser).map_err(|_| Fault::Header)?;
    parser.end().map_err(|_| Fault::Header)?;
    if members.extended {
        return Err(Fault::Critical);
    }
    let Some(Value::String(alg)) = members.alg else { return Err(Fault::Algorithm) };
    let unsigned = alg == "none" && no_signature;
    Ok(Header { alg: Algorithm::parse(&alg), typ: text_of(members.typ)?, kid: text_of(members.kid)?, unsigned })
}

fn text_of(value: Option<Value>) -> Result<Option<Box<str>>, Fault> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_KID => Ok(Some(text.into())),
        Some(_) => Err(Fault::Header),
    }
}

/// The members of a header that matter; the others are read for their form and dropped.
#[derive(Default)]
struct Members {
    alg: Option<Value>,
    typ: Option<Value>,
    kid: Option<Value>,
    /// `crit` (RFC 7515 §4.1.11) or `b64` (RFC 7797) is there, with whatever value.
    extended: bool,
}

/// A name, borrowed where the text spells it without escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JWS header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        let mut others: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Name(name)) = object.next_key()? {
            let value = object.next_value_seed(Tree { levels: MAX_DEPTH - 1 })?;
            let place = match &*name {
                "alg" => &mut members.alg,
                "typ" => &mut members.typ,
                "kid" => &mut members.kid,
                other => {
                    // At most some 170 names fit in a header.
                    if others.contains(&name) {
                        return Err(A::Error::custom("a member name twice"));
                    }
                    members.extended |= matches!(other, "crit" | "b64");
                    others.push(name);
                    continue;
                }
            };
            if place.replace(value).is_some() {
                return Err(A::Error::custom("a member name twice"));
            }
        }
        Ok(members)
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a member name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token of this header, `{}` and a signature of one zero byte.
    fn token(header: impl AsRef<[u8]>) -> String {
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    }

    fn header(header: impl AsRef<[u8]>) -> Result<Header, Fault> {
        Jws::parse(&token(header)).map(|jws| jws.header)
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#" {"kid":"k\u0031","alg":"RS256","x":[{}],"typ":"at+jwt"} "#);
        let jws = Jws::parse(&text).unwrap();
        let named = |text: &str| Some(Box::from(text));
        assert_eq!(jws.header, Header { alg: Some(Algorithm::Rs256), typ: named("at+jwt"), kid: named("k1"), unsigned: false });
        assert_eq!((jws.payload(), jws.signature()), (b"{}".as_slice(), [0].as_slice()));
        assert_eq!(jws.signed(), text.strip_suffix(".AA").unwrap().as_bytes());
        assert_eq!(format!("{jws:?}"), "Jws(…)");
    }

    #[test]
    fn a_token_has_three_parts_and_is_not_decoded_otherwise() {
        let good = token(r#"{"alg":"HS256"}"#);
        assert!(Jws::parse(&good).is_ok());
        let parts: Vec<_> = good.split('.').collect();
        let texts = [
            String::new(),
            ".".into(),
            "..".into(),
            "a".into(),
            parts[0].into(),
            parts[..2].join("."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.e30"),
            // RFC 7516: an encrypted token has five.
            format!("{good}.e30.AA"),
            format!("{good}..") + parts[0],
            "x.x.x.x.x".into(),
        ];
        for text in texts {
            let fault = if text == ".." { Fault::Header } else { Fault::Form };
            assert_eq!(Jws::parse(&text).err(), Some(fault), "{text}");
        }
    }

    #[test]
    fn only_canonical_base64url_is_decoded() {
        let good = token(r#"{"alg":"HS256"}"#);
        let parts: Vec<_> = good.split('.').collect();
        // Padding, the other alphabet, white space, other bytes, a lone character.
        for bad in ["e30=", "e3 0", " e30", "e30 ", "e30\n", "e30\r\n", "e\t30", "e3+_", "e3/-", "e3%3D", "e30\0", "é30", "e30?", "e", "e30ee"] {
            for place in 0..3 {
                let mut parts = parts.clone();
                parts[place] = bad;
                assert_eq!(Jws::parse(&parts.join(".")).err(), Some(Fault::Form), "{bad:?} at {place}");
            }
        }
        // One byte is two characters of which the last leaves four bits over; two bytes, three and two.
        for (canonical, others) in [("AA", ["AB", "AP", "A_"]), ("AAA", ["AAB", "AAD", "AA_"])] {
            assert!(Jws::parse(&format!("{}.{canonical}.{canonical}", parts[0])).is_ok());
            for other in others {
                assert_eq!(Jws::parse(&format!("{}.{other}.AA", parts[0])).err(), Some(Fault::Form), "{other}");
                assert_eq!(Jws::parse(&format!("{}.AA.{other}", parts[0])).err(), Some(Fault::Form), "{other}");
            }
        }
        // In the header too: sixteen bytes leave four bits over.
        let spaced = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"} "#);
        assert!(Jws::parse(&format!("{spaced}.e30.AA")).is_ok());
        assert_eq!(Jws::parse(&format!("{}B.e30.AA", &spaced[..spaced.len() - 1])).err(), Some(Fault::Form));
    }

    #[test]
    fn a_header_is_one_json_object_with_each_member_once() {
        let texts: [&[u8]; 26] = [
            b"",
            b"null",
            b"1",
            b"[]",
            b"[\"alg\",\"HS256\"]",
            b"\"alg\"",
            b"{",
            b"{\"alg\":\"HS256\"}{}",
            b"{\"alg\":\"HS256\"}x",
            b"{\"alg\":\"HS256\",}",
            b"{alg:\"HS256\"}",
            b"\xef\xbb\xbf{\"alg\":\"HS256\"}",
            b"{\"alg\":\"HS256\",\"x\":\"\xc0\xaf\"}",
            b"{\"alg\":\"HS256\",\"x\":\"\xff\"}",
            b"{\"alg\":\"HS256\",\"x\":\"\\ud800\"}",
            b"{\"alg\":\"HS256\",\"\\udfff\":1}",
            b"{\"alg\":\"HS256\",\"x\":1e999}",
            b"{\"alg\":\"HS256\",\"alg\":\"none\"}",
            b"{\"alg\":\"none\",\"alg\":\"HS256\"}",
            b"{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}",
            b"{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"a\"}",
            b"{\"alg\":\"HS256\",\"typ\":\"a\",\"typ\":\"b\"}",
            b"{\"alg\":\"HS256\",\"x\":1,\"x\":1}",
            b"{\"alg\":\"HS256\",\"x\":1,\"\\u0078\":1}",
            b"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"kty\":\"RSA\"}}",
            b"{\"alg\":\"HS256\",\"x\":[{\"y\":{\"a\":1,\"a\":1}}]}",
        ];
        for text in texts {
            assert_eq!(header(text).err(), Some(Fault::Header), "{}", String::from_utf8_lossy(text));
        }
        let deep = |levels: usize| format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(header(deep(15)).is_ok());
        assert_eq!(header(deep(16)).err(), Some(Fault::Header));
        assert_eq!(header(deep(480)).err(), Some(Fault::Header));
    }

    #[test]
    fn the_algorithm_is_a_known_name_or_none_of_ours() {
        assert_eq!(header("{}").err(), Some(Fault::Algorithm));
        for value in ["null", "1", "true", "[]", "[\"HS256\"]", "{}", "{\"alg\":\"HS256\"}"] {
            assert_eq!(header(format!("{{\"alg\":{value}}}")).err(), Some(Fault::Algorithm), "{value}");
        }
        for name in ["none", "None", "NONE", "nOnE", "", "ES512", "ES256K", "HS1", "hs256", " HS256", "RSA-OAEP", "dir"] {
            let parsed = header(format!("{{\"alg\":\"{name}\"}}")).unwrap();
            assert_eq!((parsed.alg, parsed.unsigned), (None, false), "{name}");
        }
    }

    #[test]
    fn only_exactly_none_without_a_signature_is_unsigned() {
        let unsigned = |alg: &str, rest: &str| {
            let text = format!("{}.e30{rest}", URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}")));
            Jws::parse(&text).map(|jws| (jws.header.alg, jws.header.unsigned))
        };
        assert_eq!(unsigned("none", "."), Ok((None, true)));
        assert_eq!(unsigned("none", ".AA"), Ok((None, false)));
        assert_eq!(unsigned("none", ""), Err(Fault::Form));
        assert_eq!(unsigned("HS256", "."), Ok((Some(Algorithm::Hs256), false)));
        for alg in ["None", "NONE", "nOnE", "none ", "non\\u0065x", ""] {
            assert_eq!(unsigned(alg, "."), Ok((None, false)), "{alg}");
        }
    }

    #[test]
    fn type_and_key_id_are_texts_of_bounded_length() {
        for name in ["typ", "kid"] {
            for value in ["null", "1", "true", "[]", "[\"a\"]", "{}"] {
                assert_eq!(header(format!("{{\"alg\":\"HS256\",\"{name}\":{value}}}")).err(), Some(Fault::Header), "{name} {value}");
            }
            let long = |length: usize| format!("{{\"alg\":\"HS256\",\"{name}\":\"{}\"}}", "é".repeat(length / 2));
            assert!(header(long(256)).is_ok());
            assert_eq!(header(long(258)).err(), Some(Fault::Header));
        }
        for kid in ["../../dev/null", "' OR 1=1--", "", " ", "http://169.254.169.254/"] {
            assert_eq!(header(format!("{{\"alg\":\"HS256\",\"kid\":\"{kid}\"}}")).unwrap().kid.as_deref(), Some(kid));
        }
    }

    #[test]
    fn no_extension_is_critical_and_no_payload_unencoded() {
        for value in ["[\"exp\"]", "[]", "[\"x\"]", "[\"b64\"]", "null", "\"x\"", "{}", "true", "[1]"] {
            assert_eq!(header(format!("{{\"alg\":\"HS256\",\"crit\":{value},\"x\":1}}")).err(), Some(Fault::Critical), "{value}");
        }
        for text in ["\"b64\":false", "\"b64\":true", "\"b64\":null", "\"b64\":false,\"crit\":[\"b64\"]", "\"\\u0063rit\":[\"x\"]"] {
            assert_eq!(header(format!("{{{text},\"alg\":\"HS256\"}}")).err(), Some(Fault::Critical), "{text}");
        }
    }

    #[test]
    fn keys_and_addresses_of_keys_in_a_header_are_not_looked_at() {
        let own = r#""jku":"http://169.254.169.254/","x5u":["?"],"x5c":7,"x5t":null,"jwk":{"kty":"oct","k":"AA"}"#;
        let parsed = header(format!("{{\"alg\":\"HS256\",{own}}}")).unwrap();
        assert_eq!(parsed, Header { alg: Some(Algorithm::Hs256), ..Header::default() });
    }

    #[test]
    fn long_tokens_and_long_headers_are_refused_before_they_are_decoded() {
        let sized = |length: usize| format!("{{\"alg\":\"HS256\",\"x\":\"{}\"}}", "a".repeat(length - 22));
        for length in 1020..=MAX_HEADER {
            assert_eq!(sized(length).len(), length);
            assert!(header(sized(length)).is_ok(), "{length}");
        }
        for length in MAX_HEADER + 1..1030 {
            assert_eq!(header(sized(length)).err(), Some(Fault::TooLong), "{length}");
        }
        let start = token(r#"{"alg":"HS256"}"#);
        let long = |length: usize| format!("{start}{}", "A".repeat(length - start.len()));
        assert!(Jws::parse(&long(MAX_TOKEN)).is_ok());
        for length in [MAX_TOKEN + 1, 100 * 1024] {
            assert_eq!(Jws::parse(&long(length)).err(), Some(Fault::TooLong));
        }
        assert_eq!(Jws::parse(&"[".repeat(1 << 20)).err(), Some(Fault::TooLong));
    }
}
