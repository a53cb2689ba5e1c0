//! A token as a case describes it, sound or not: what a header and claims say, who signs, and what is done to the result.
//! `exp`, `nbf`, `iat` and `auth_time` are seconds from now where they are texts like `+300`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::case::bytes;
use super::outside::World;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mint {
    /// The token of the file's `good` that this one is but for what is said here.
    like: Option<String>,
    /// Who signs; see `Keys::sign`.
    key: Option<String>,
    /// What the header says; by itself what the key is for.
    alg: Option<String>,
    /// What is done, where the header does not say it.
    sign: Option<String>,
    header: toml::Table,
    claims: toml::Table,
    /// Claims that are left out.
    without: Vec<String>,
    /// Members by the text that they have.
    header_json: BTreeMap<String, String>,
    json: BTreeMap<String, String>,
    /// Text before the closing brace.
    header_more: String,
    more: String,
    /// The text of the whole part.
    header_whole: Option<String>,
    whole: Option<String>,
    change: Option<Change>,
}

/// What is done to a token; to the parts before they are signed, so that only a reader that looks closely refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    HeaderPadded,
    HeaderWithSpace,
    HeaderTrailingBits,
    PayloadPadded,
    PayloadStandardAlphabet,
    PayloadWithSpace,
    PayloadWithNewline,
    PayloadTrailingBits,
    PayloadEscaped,
    // From here on after the signature.
    HeaderChanged,
    ClaimsChanged,
    SignatureBit,
    SignaturePadded,
    SignatureTrailingBits,
    SignatureWithSpace,
    SignatureEmpty,
    SignatureShorter,
    SignatureLonger,
    SignatureZero,
    /// r is the order of the curve, or beyond it by the r that was.
    SignatureOfOrder,
    OnePart,
    TwoParts,
    FourParts,
    FiveParts,
    JsonFlat,
    JsonGeneral,
}

impl Mint {
    fn over(self, base: &Self) -> Self {
        let mut all = base.clone();
        all.like = None;
        all.header.extend(self.header);
        all.without.retain(|name| !self.claims.contains_key(name) && !self.json.contains_key(name));
        all.claims.extend(self.claims);
        all.without.extend(self.without);
        all.header_json.extend(self.header_json);
        all.json.extend(self.json);
        all.header_more.push_str(&self.header_more);
        all.more.push_str(&self.more);
        // Another key is for another algorithm.
        all.alg = if self.key.is_some() { self.alg } else { self.alg.or(all.alg) };
        all.key = self.key.or(all.key);
        all.sign = self.sign.or(all.sign);
        all.header_whole = self.header_whole.or(all.header_whole);
        all.whole = self.whole.or(all.whole);
        all.change = self.change.or(all.change);
        all
    }

    pub fn token(&self, good: &BTreeMap<String, Self>, world: &World, now: i64) -> String {
        let mint = match &self.like {
            None => self.clone(),
            Some(name) => self.clone().over(good.get(name).unwrap_or_else(|| panic!("no good {name}"))),
        };
        let key = mint.key.as_deref().unwrap_or("rsa");
        let alg = mint.alg.clone().unwrap_or_else(|| usual(key).to_owned());
        let pen = Pen { world, now };
        let mut header = mint.header.clone();
        header.insert("alg".into(), toml::Value::String(alg.clone()));
        let header = pen.part(&mint.header_whole, (&header, &mint.header_json, &[]), &mint.header_more);
        let payload = pen.part(&mint.whole, (&mint.claims, &mint.json, &mint.without), &mint.more);
        let signed = format!("{}.{}", encoded(header, mint.change, 0), encoded(payload, mint.change, 1));
        let signature = world.keys.sign(key, mint.sign.as_ref().unwrap_or(&alg), signed.as_bytes());
        finished(&signed, signature, mint.change)
    }
}

fn usual(key: &str) -> &'static str {
    match key.trim_end_matches('2') {
        "rsa" => "RS256",
        "ec" => "ES256",
        "ec384" => "ES384",
        "ed" => "EdDSA",
        _ => "HS256",
    }
}

/// Writes what a case says in its own words.
pub struct Pen<'w> {
    pub world: &'w World,
    pub now: i64,
}

type Members<'m> = (&'m toml::Table, &'m BTreeMap<String, String>, &'m [String]);

impl Pen<'_> {
    fn part(&self, whole: &Option<String>, (members, json, without): Members<'_>, more: &str) -> Vec<u8> {
        if let Some(whole) = whole {
            return bytes(&self.text(whole));
        }
        let mut out = b"{".to_vec();
        let mut put = |name: &str, value: &[u8]| {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend(format!("{}:", Value::from(name)).into_bytes());
            out.extend(value);
        };
        for (name, value) in members.iter().filter(|(name, _)| !without.contains(name) && !json.contains_key(*name)) {
            put(name, self.value(name, value).to_string().as_bytes());
        }
        json.iter().for_each(|(name, text)| put(name, &bytes(&self.text(text))));
        out.extend(bytes(&self.text(more)));
        out.push(b'}');
        out
    }

    fn value(&self, name: &str, value: &toml::Value) -> Value {
        let mut value = serde_json::to_value(value).unwrap();
        let is_date = ["exp", "nbf", "iat", "auth_time"].contains(&name);
        if let (true, Some(text)) = (is_date, value.as_str())
            && text.starts_with(['+', '-'])
        {
            return match text.parse::<i64>() {
                Ok(seconds) => (self.now + seconds).into(),
                Err(_) => (self.now as f64 + text.parse::<f64>().unwrap()).into(),
            };
        }
        self.expand(&mut value);
        value
    }

    fn expand(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|value| self.expand(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.expand(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `{now+60}`, `{trap}`, `{rsa2.jwk}`, `{rsa2.x5c}`, `{ec.thumbprint}`, `{300*text}`; other braces stand for themselves.
    pub fn text(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(start) = rest.find('{') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            match rest.find('}').and_then(|end| Some((self.word(&rest[1..end])?, end))) {
                Some((word, end)) => {
                    out.push_str(&word);
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out + rest
    }

    fn word(&self, word: &str) -> Option<String> {
        let keys = &self.world.keys;
        if let Some(offset) = word.strip_prefix("now") {
            let offset = if offset.is_empty() { 0 } else { offset.parse::<i64>().ok()? };
            return Some((self.now + offset).to_string());
        }
        if let Some((count, text)) = word.split_once('*') {
            return Some(text.repeat(count.parse().ok()?));
        }
        match word.split_once('.') {
            None if word == "trap" => Some(format!("http://{}", self.world.trap.address)),
            Some((name, "jwk")) => Some(keys.jwk(name).to_string()),
            Some((name, "x5c")) => Some(base64::engine::general_purpose::STANDARD.encode(keys.certificate_of_file(name))),
            Some((name, "thumbprint")) => Some(keys.thumbprint(name)),
            Some(_) | None => None,
        }
    }
}

/// One part as it is signed. `which` is 0 for the header and 1 for the payload.
fn encoded(mut part: Vec<u8>, change: Option<Change>, which: usize) -> String {
    let mine = |header: Change, payload: Change| change == Some([header, payload][which]);
    let (trailing, padded) = (mine(Change::HeaderTrailingBits, Change::PayloadTrailingBits), mine(Change::HeaderPadded, Change::PayloadPadded));
    // A length that leaves bits over, and takes padding.
    while (trailing || padded) && part.len() % 3 != 1 {
        part.insert(1, b' ');
    }
    let text = URL_SAFE_NO_PAD.encode(&part);
    if trailing {
        return other_bits(&text);
    }
    if padded {
        return text + "==";
    }
    if mine(Change::HeaderWithSpace, Change::PayloadWithSpace) {
        return text.split_at(4).0.to_owned() + " " + text.split_at(4).1;
    }
    match (which, change) {
        (1, Some(Change::PayloadWithNewline)) => text + "\n",
        (1, Some(Change::PayloadEscaped)) => text.replacen('e', "%65", 1),
        (1, Some(Change::PayloadStandardAlphabet)) => {
            let standard = text.replace('-', "+").replace('_', "/");
            assert_ne!(text, standard, "a payload that has neither character");
            standard
        }
        _ => text,
    }
}

/// The same bytes, with a bit set that belongs to none of them.
fn other_bits(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (body, last) = text.split_at(text.len() - 1);
    let place = ALPHABET.iter().position(|byte| *byte == last.as_bytes()[0]).unwrap();
    assert!(text.len() % 4 > 1 && place % 4 == 0, "no bits are left over in {text}");
    format!("{body}{}", char::from(ALPHABET[place + 1]))
}

fn finished(signed: &str, mut signature: Vec<u8>, change: Option<Change>) -> String {
    let (header, payload) = signed.split_once('.').unwrap();
    let more = |part: &str| {
        let mut bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        bytes.truncate(bytes.len() - 1);
        URL_SAFE_NO_PAD.encode([bytes, b",\"more\":1}".to_vec()].concat())
    };
    let whole = |header: &str, payload: &str, signature: &[u8]| format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
    let token = whole(header, payload, &signature);
    match change {
        Some(Change::HeaderChanged) => whole(&more(header), payload, &signature),
        Some(Change::ClaimsChanged) => whole(header, &more(payload), &signature),
        Some(Change::SignatureBit) => {
            signature[7] ^= 1;
            whole(header, payload, &signature)
        }
        Some(Change::SignaturePadded) => format!("{token}{}", ["", "", "==", "="][token.rsplit('.').next().unwrap().len() % 4]),
        Some(Change::SignatureTrailingBits) => format!("{signed}.{}", other_bits(token.rsplit('.').next().unwrap())),
        Some(Change::SignatureWithSpace) => format!("{} {}", &token[..token.len() - 4], &token[token.len() - 4..]),
        Some(Change::SignatureEmpty) => format!("{signed}."),
        Some(Change::SignatureShorter) => whole(header, payload, &signature[1..]),
        Some(Change::SignatureLonger) => whole(header, payload, &[&signature[..], &[0]].concat()),
        Some(Change::SignatureZero) => whole(header, payload, &vec![0; signature.len()]),
        Some(Change::SignatureOfOrder) => {
            // FIPS 186-4 §D.1.2.3.
            let order =
                b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
            signature[..32].copy_from_slice(order);
            whole(header, payload, &signature)
        }
        Some(Change::OnePart) => header.into(),
        Some(Change::TwoParts) => signed.into(),
        Some(Change::FourParts) => format!("{token}.e30"),
        Some(Change::FiveParts) => format!("{token}.e30.AA"),
        Some(Change::JsonFlat) => {
            serde_json::json!({"payload": payload, "protected": header, "signature": URL_SAFE_NO_PAD.encode(&signature)}).to_string()
        }
        Some(Change::JsonGeneral) => {
            let one = serde_json::json!({"protected": header, "signature": URL_SAFE_NO_PAD.encode(&signature)});
            serde_json::json!({"payload": payload, "signatures": [one]}).to_string()
        }
        Some(_) | None => token,
    }
}
