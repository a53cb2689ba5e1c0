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
