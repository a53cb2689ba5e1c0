//! `scopegate token inspect`: a JWT into its header and claims, with times that people can read.
//! Verifies nothing, and says so in what it prints.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::jose::{Claims, Jws};

/// Takes what a decoder of tokens would refuse, since it is looked at and no more.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Claims that are seconds since 1970.
const TIMES: [&str; 5] = ["iat", "nbf", "exp", "auth_time", "updated_at"];

pub fn inspect(text: &str, now: i64) -> Result<Value, String> {
    let text = text.trim();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or(text, |(_, token)| token.trim_start());
    if token.is_empty() {
        return Err("standard input is empty; it is a JWT".into());
    }
    if token.starts_with('{') {
        return Err("standard input is JSON; a JWT is three parts of base64url with dots between them".into());
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, _] = parts.as_slice() else {
        return Err(match parts.len() {
            5 => "standard input is an encrypted token (JWE), which nobody without its key can look into".into(),
            count => format!("standard input has {count} parts; a JWT is three parts with dots between them"),
        });
    };
    let header = LENIENT.decode(header).map_err(|_| "the first part is not base64url")?;
    let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| "the first part is no JSON object, and so no header")?;
    let payload = LENIENT.decode(payload).map_err(|_| "the second part is not base64url")?;
    let mut shown = json!({"verified": false, "header": header});
    let Some(out) = shown.as_object_mut() else { return Ok(shown) };
    match serde_json::from_slice::<Map<String, Value>>(&payload) {
        Ok(claims) => {
            let times = times(&claims);
            let expires = claims.get("exp").and_then(seconds).map(|end| expires_in(end, now));
            out.insert("claims".into(), Value::Object(claims));
            out.insert("times".into(), Value::Object(times));
            out.extend(expires.map(|expires| ("expires_in".into(), json!(expires))));
        }
        // RFC 7515 signs any bytes.
        Err(_) => {
            out.insert("payload".into(), json!(str::from_utf8(&payload).map_err(|_| "the second part is neither JSON nor text")?));
        }
    }
    let fault = Jws::parse(token).err().or_else(|| Claims::parse(&payload).err());
    out.extend(fault.map(|fault| ("refused".into(), json!(format!("the gate takes no such token: {}", fault.as_str())))));
    Ok(shown)
}

fn times(claims: &Map<String, Value>) -> Map<String, Value> {
    let readable = |name: &str| {
        let time = Timestamp::from_second(claims.get(name).and_then(seconds)?).ok()?;
        Some((name.to_owned(), json!(time.to_string())))
    };
    TIMES.into_iter().filter_map(readable).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and an instant that far away is none")]
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

fn expires_in(end: i64, now: i64) -> String {
    let left = end.saturating_sub(now);
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = left.unsigned_abs();
    let mut words = Vec::new();
    for (size, unit) in units {
        if rest >= size {
            words.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    words.truncate(2);
    match left {
        ..=-1 => format!("expired {} ago", words.join(" ")),
        0 => "0s".into(),
        1.. => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_the_two_largest_units() {
        for (left, said) in [(0, "0s"), (59, "59s"), (3600, "1h"), (3661, "1h 1m"), (90_061, "1d 1h"), (-61, "expired 1m 1s ago")] {
            assert_eq!(expires_in(1_700_000_000 + left, 1_700_000_000), said);
        }
        assert!(expires_in(i64::MAX, -5).ends_with('h') && expires_in(i64::MIN, 5).starts_with("expired"));
    }
}
