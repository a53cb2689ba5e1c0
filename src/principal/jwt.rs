//! A signed token into what it proves: the shape that a source takes, the signature, and the rules for its claims (RFC 7519, 8725, 9068).
//! Takes nothing on the word of the token: algorithms, keys, issuer and audience come from the configuration.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Cause;
use super::world::Keys;
use crate::jose::{Algorithm, Claims, Jws, KeySet, Refusal};

/// The longest leeway that a source may have, in seconds.
pub const MAX_LEEWAY: i64 = 300;
/// Firebase: "a non-empty string", of no more than 128 characters in its own SDK.
const MAX_FIREBASE_SUB: usize = 128;
/// The subject of every token of Backstage's shared-secret scheme.
pub const BACKSTAGE_SUB: &str = "backstage-server";

/// What a source takes for a proof, and the keys that it is checked with.
#[derive(Debug)]
pub struct Jwt {
    pub keys: Arc<dyn Keys>,
    pub rules: Rules,
}

/// What a token must be beside being signed.
#[derive(Clone, Debug)]
pub struct Rules {
    pub algorithms: Box<[Algorithm]>,
    /// The header's `typ`, where only one will do; else none, `JWT` or that of RFC 9068.
    pub typ: Option<Box<str>>,
    pub issuer: Option<Box<str>>,
    pub audiences: Box<[Box<str>]>,
    /// Seconds by which clocks may differ.
    pub leeway: i64,
    /// Seconds between `iat`, or else now, and `exp`.
    pub max_lifetime: Option<i64>,
    pub preset: Preset,
}

/// Rules that a family of tokens adds to those of a JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preset {
    Plain,
    /// A Firebase ID token; the emulator signs none of its own.
    Firebase {
        unsigned: bool,
    },
    /// Backstage's shared-secret scheme.
    BackstageServer,
    /// A token of this Backstage plugin for ours.
    BackstagePlugin {
        subject: Box<str>,
    },
    /// Backstage's `externalAccess` of type `jwks`.
    BackstageExternal,
}

/// A token taken apart once, for every source that may want it.
pub struct Parsed<'a> {
    pub jws: Jws<'a>,
    pub claims: Arc<Claims>,
}

impl<'a> Parsed<'a> {
    /// `None` for whatever is not a compact JWS with a claims set.
    pub fn read(token: &'a str) -> Option<Self> {
        let jws = Jws::parse(token).ok()?;
        let claims = Arc::new(Claims::parse(jws.payload()).ok()?);
        Some(Self { jws, claims })
    }
}

/// A proof: until when, under which keys.
#[derive(Debug)]
pub struct Proof {
    pub until: i64,
    pub keys: Option<Arc<KeySet>>,
    /// Which of the keys it was.
    pub key: usize,
    pub bound: Option<[u8; 32]>,
}

/// Why a token proves nothing to a source.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// Meant for another source, by this difference.
    NotOurs(Cause),
    /// A newer key set may know better.
    UnknownKey,
    /// There is no key set to ask.
    NoKeys,
    Because(Cause),
}

impl Jwt {
    /// Proves a token at `now`. The claims count only once this has said yes.
    pub fn prove(&self, parsed: &Parsed<'_>, now: i64) -> Result<Proof, Failed> {
        self.rules.is_ours(parsed).map_err(Failed::NotOurs)?;
        let (keys, key) = if parsed.jws.header.unsigned { (None, 0) } else { self.signed(parsed, now)? };
        let until = self.rules.check(parsed, now).map_err(Failed::Because)?;
        let bound = bound(&parsed.claims).map_err(Failed::Because)?;
        Ok(Proof { until, keys, key, bound })
    }

    fn signed(&self, parsed: &Parsed<'_>, now: i64) -> Result<(Option<Arc<KeySet>>, usize), Failed> {
        let keys = self.keys.current(now).ok_or(Failed::NoKeys)?;
        if matches!(self.rules.preset, Preset::Firebase { .. } | Preset::BackstagePlugin { .. }) && parsed.jws.header.kid.is_none() {
            return Err(Failed::Because(Cause::Claims));
        }
        match keys.verify(&parsed.jws, &self.rules.algorithms) {
            Ok(key) => Ok((Some(keys), key)),
            Err(Refusal::UnknownKey) => Err(Failed::UnknownKey),
            Err(Refusal::Algorithm | Refusal::AmbiguousKey | Refusal::Signature) => Err(Failed::Because(Cause::Signature)),
        }
    }
}

impl Rules {
    /// Whether the token's shape says that it is meant for this source.
    fn is_ours(&self, Parsed { jws, claims }: &Parsed<'_>) -> Result<(), Cause> {
        let signed = match jws.header.alg {
            Some(algorithm) => self.algorithms.contains(&algorithm),
            None => jws.header.unsigned && self.preset == Preset::Firebase { unsigned: true },
        };
        let subject = claims.text("sub").unwrap_or_default();
        let shape = match &self.preset {
            // RFC 8725 §3.12: one issuer's kinds of token must not pass for each other, not even under the same secret.
            Preset::Plain => !(subject == BACKSTAGE_SUB && jws.header.alg.is_some_and(Algorithm::is_hmac)),
            Preset::Firebase { .. } | Preset::BackstageExternal => true,
            Preset::BackstageServer => subject == BACKSTAGE_SUB && claims.get("aud").is_none(),
            Preset::BackstagePlugin { subject: plugin } => subject == &**plugin,
        };
        if !signed || !shape {
            return Err(Cause::Unknown);
        }
        if self.issuer.as_deref().is_some_and(|issuer| claims.text("iss") != Some(issuer)) {
            return Err(Cause::Issuer);
        }
        if !self.takes_type(jws.header.typ.as_deref()) {
            return Err(Cause::Typ);
        }
        Ok(())
    }

    /// RFC 7515 §4.1.9: media types have no case, and `application/` may be left out. RFC 8725 §3.11: no other kind of JWT passes.
    fn takes_type(&self, said: Option<&str>) -> bool {
        match (&self.typ, said) {
            (Some(only), Some(said)) => is_type(said, short_type(only)),
            (Some(_), None) => false,
            (None, None) => true,
            (None, Some(said)) => is_type(said, "jwt") || is_type(said, "at+jwt"),
        }
    }

    /// The claims of a token whose signature holds; gives the second from which it is refused.
    pub fn check(&self, Parsed { jws, claims }: &Parsed<'_>, now: i64) -> Result<i64, Cause> {
        let date = |name: &str| claims.date(name).map_err(|_| Cause::Claims);
        let (expires, issued, not_before) = (date("exp")?.ok_or(Cause::Claims)?, date("iat")?, date("nbf")?);
        let until = expires.saturating_add(self.leeway);
        if now >= until {
            return Err(Cause::Expired);
        }
        if [issued, not_before].into_iter().flatten().any(|start| start > now.saturating_add(self.leeway)) {
            return Err(Cause::NotYetValid);
        }
        self.check_lifetime(expires, issued, now)?;
        if self.issuer.as_deref().is_some_and(|issuer| claims.text("iss") != Some(issuer)) {
            return Err(Cause::Issuer);
        }
        self.check_audience(claims)?;
        if jws.header.typ.as_deref().is_some_and(|typ| is_type(typ, "at+jwt")) {
            // RFC 9068 §2.2.
            let texts = ["iss", "sub", "client_id", "jti"].iter().all(|name| claims.text(name).is_some_and(|text| !text.is_empty()));
            if !texts || issued.is_none() || claims.get("aud").is_none() {
                return Err(Cause::Claims);
            }
        } else if self.typ.is_none() && self.preset == Preset::Plain && ["nonce", "at_hash", "c_hash"].iter().any(|name| claims.get(name).is_some()) {
            // An OpenID Connect ID token says who logged in, and is no access token (RFC 8725 §3.12).
            return Err(Cause::Typ);
        }
        self.check_preset(claims, issued, now)?;
        Ok(until)
    }

    fn check_lifetime(&self, expires: i64, issued: Option<i64>, now: i64) -> Result<(), Cause> {
        // Backstage's tokens have no `iat`; what one says of itself there is not believed.
        let start = issued.filter(|_| self.preset != Preset::BackstageServer).unwrap_or(now);
        let grace = if self.preset == Preset::BackstageServer { 60 } else { self.leeway };
        match self.max_lifetime {
            Some(most) if expires.saturating_sub(start) > most.saturating_add(grace) => Err(Cause::Lifetime),
            Some(_) | None => Ok(()),
        }
    }

    /// RFC 7519 §4.1.3: a token that names audiences is refused by everyone whom it does not name.
    fn check_audience(&self, claims: &Claims) -> Result<(), Cause> {
        let ours = |said: &str| self.audiences.iter().any(|audience| **audience == *said);
        match claims.get("aud") {
            None if self.audiences.is_empty() => Ok(()),
            None => Err(Cause::Audience),
            Some(Value::String(said)) if ours(said) => Ok(()),
            Some(Value::Array(list)) if !matches!(self.preset, Preset::Firebase { .. }) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                if texts.ok_or(Cause::Claims)?.into_iter().any(ours) { Ok(()) } else { Err(Cause::Audience) }
            }
            Some(_) => Err(Cause::Audience),
        }
    }

    fn check_preset(&self, claims: &Claims, issued: Option<i64>, now: i64) -> Result<(), Cause> {
        match &self.preset {
            Preset::Plain | Preset::BackstageServer | Preset::BackstageExternal => Ok(()),
            Preset::BackstagePlugin { .. } => issued.map(drop).ok_or(Cause::Claims),
            Preset::Firebase { .. } => {
                let signed_in = claims.date("auth_time").ok().flatten().ok_or(Cause::Claims)?;
                let subject = claims.text("sub").unwrap_or_default();
                if issued.is_none() || subject.is_empty() || subject.chars().count() > MAX_FIREBASE_SUB {
                    return Err(Cause::Claims);
                }
                if signed_in > now.saturating_add(self.leeway) { Err(Cause::NotYetValid) } else { Ok(()) }
            }
        }
    }
}

fn is_type(said: &str, short: &str) -> bool {
    short_type(said).eq_ignore_ascii_case(short)
}

/// Without `application/`.
fn short_type(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, short)) if prefix.eq_ignore_ascii_case(PREFIX) => short,
        Some(_) | None => typ,
    }
}

/// RFC 7800: a token that is bound to a key is no bearer token. Only a certificate's thumbprint (RFC 8705 §3.1) can be checked here.
pub fn bound(claims: &Claims) -> Result<Option<[u8; 32]>, Cause> {
    let members = match claims.get("cnf") {
        None => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Cause::Bound),
    };
    let only = members.get("x5t#S256").filter(|_| members.len() == 1).and_then(Value::as_str);
    let thumbprint = only.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    thumbprint.map(Some).ok_or(Cause::Bound)
}

impl std::fmt::Debug for Parsed<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Parsed(…)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::{HmacKey, Key, sign_hs256};

    const NOW: i64 = 2_000_000_000;
    const SECRET: &[u8] = b"a secret of the tests of these rules";

    fn rules(preset: Preset) -> Rules {
        let algorithms = Box::new([Algorithm::Hs256]);
        Rules { algorithms, typ: None, issuer: None, audiences: Box::default(), leeway: 60, max_lifetime: None, preset }
    }

    fn firebase(unsigned: bool) -> Rules {
        Rules { issuer: Some("i".into()), audiences: Box::new(["a".into()]), ..rules(Preset::Firebase { unsigned }) }
    }

    fn signed(header: &Value, claims: &Value) -> String {
        sign_hs256(&HmacKey::new(SECRET), header, claims)
    }

    fn at(rules: Rules, token: &str, now: i64) -> Result<i64, Failed> {
        let jwt = Jwt { keys: Arc::new(Arc::new(KeySet::single(Key::hmac(SECRET)))), rules };
        jwt.prove(&Parsed::read(token).unwrap(), now).map(|proof| proof.until)
    }

    fn prove(rules: Rules, claims: &Value) -> Result<i64, Failed> {
        at(rules, &signed(&json!({"alg": "HS256"}), claims), NOW)
    }

    fn refused<T>(cause: Cause) -> Result<T, Failed> {
        Err(Failed::Because(cause))
    }

    #[test]
    fn each_date_is_taken_to_the_second() {
        for leeway in [0, 60, MAX_LEEWAY] {
            let with = |claims: Value| prove(Rules { leeway, ..rules(Preset::Plain) }, &claims);
            assert_eq!(with(json!({"exp": NOW - leeway + 1})), Ok(NOW + 1));
            assert_eq!(with(json!({"exp": NOW - leeway})), refused(Cause::Expired));
            for name in ["nbf", "iat"] {
                assert_eq!(with(json!({"exp": NOW + 900, name: NOW + leeway})), Ok(NOW + 900 + leeway), "{name}");
                assert_eq!(with(json!({"exp": NOW + 900, name: NOW + leeway + 1})), refused(Cause::NotYetValid), "{name}");
            }
        }
    }

    #[test]
    fn a_life_is_counted_from_its_start_or_from_now() {
        let with = |claims: Value| prove(Rules { max_lifetime: Some(600), ..rules(Preset::Plain) }, &claims).map(drop);
        assert_eq!(with(json!({"exp": NOW + 660})), Ok(()));
        assert_eq!(with(json!({"exp": NOW + 661})), refused(Cause::Lifetime));
        assert_eq!(with(json!({"iat": NOW - 100, "exp": NOW + 560})), Ok(()));
        assert_eq!(with(json!({"iat": NOW - 100, "exp": NOW + 561})), refused(Cause::Lifetime));
        // Backstage's scheme has no leeway and no `iat`; its peers' clocks may differ by a minute.
        let server = Rules { max_lifetime: Some(3600), leeway: 0, ..rules(Preset::BackstageServer) };
        let with = |claims: Value| prove(server.clone(), &claims).map(drop);
        assert_eq!(with(json!({"sub": BACKSTAGE_SUB, "exp": NOW + 3660})), Ok(()));
        assert_eq!(with(json!({"sub": BACKSTAGE_SUB, "exp": NOW + 3661})), refused(Cause::Lifetime));
        assert_eq!(with(json!({"sub": BACKSTAGE_SUB, "iat": NOW - 9, "exp": NOW + 3661})), refused(Cause::Lifetime));
    }

    #[test]
    fn a_token_is_offered_only_where_its_shape_says_so() {
        let exp = NOW + 60;
        let server = json!({"sub": BACKSTAGE_SUB, "exp": exp});
        let not_ours = |rules: Rules, header: Value, claims: &Value| match at(rules, &signed(&header, claims), NOW) {
            Err(Failed::NotOurs(cause)) => Some(cause),
            Err(Failed::UnknownKey | Failed::NoKeys | Failed::Because(_)) | Ok(_) => None,
        };
        let hs = || json!({"alg": "HS256"});
        assert_eq!(not_ours(rules(Preset::Plain), hs(), &server), Some(Cause::Unknown));
        assert_eq!(not_ours(rules(Preset::BackstageServer), hs(), &server), None);
        assert_eq!(not_ours(rules(Preset::BackstageServer), hs(), &json!({"sub": "u", "exp": exp})), Some(Cause::Unknown));
        assert_eq!(not_ours(rules(Preset::BackstageServer), hs(), &json!({"sub": BACKSTAGE_SUB, "aud": null, "exp": exp})), Some(Cause::Unknown));
        let plugin = || rules(Preset::BackstagePlugin { subject: "catalog".into() });
        assert_eq!(not_ours(plugin(), hs(), &json!({"sub": "catalog2", "exp": exp})), Some(Cause::Unknown));
        for alg in ["HS384", "none", "None", "RS256"] {
            assert_eq!(not_ours(rules(Preset::Plain), json!({"alg": alg}), &json!({"exp": exp})), Some(Cause::Unknown), "{alg}");
        }
        let issued = || Rules { issuer: Some("i".into()), ..rules(Preset::Plain) };
        for claims in [json!({}), json!({"iss": "i/"}), json!({"iss": ["i"]}), json!({"iss": "I"})] {
            assert_eq!(not_ours(issued(), json!({"alg": "HS256", "typ": "other"}), &claims), Some(Cause::Issuer), "{claims}");
        }
        assert_eq!(not_ours(issued(), json!({"alg": "HS256", "typ": "other"}), &json!({"iss": "i"})), Some(Cause::Typ));
    }

    #[test]
    fn types_have_no_case_and_no_prefix() {
        let takes = |only: Option<&str>, said: Option<&str>| Rules { typ: only.map(Box::from), ..rules(Preset::Plain) }.takes_type(said);
        for said in [None, Some("JWT"), Some("jwt"), Some("application/jwt"), Some("at+JWT"), Some("APPLICATION/at+jwt")] {
            assert!(takes(None, said), "{said:?}");
        }
        for said in ["", "JWS", "jwt ", "application/application/jwt", "dpop+jwt", "application/"] {
            assert!(!takes(None, Some(said)), "{said:?}");
        }
        assert!(takes(Some("at+jwt"), Some("application/AT+JWT")) && takes(Some("application/At+Jwt"), Some("at+jwt")));
        assert!(!takes(Some("at+jwt"), None) && !takes(Some("at+jwt"), Some("JWT")));
    }

    #[test]
    fn the_signature_is_asked_before_any_claim_is_judged() {
        let stranger = sign_hs256(&HmacKey::new(b"another"), &json!({"alg": "HS256"}), &json!({"exp": 1, "aud": "x", "cnf": {}}));
        assert_eq!(at(rules(Preset::Plain), &stranger, NOW), refused(Cause::Signature));
    }

    #[test]
    fn only_the_emulators_own_unsigned_token_passes_and_only_where_it_may() {
        let claims = json!({"iss": "i", "aud": "a", "sub": "u", "iat": NOW, "auth_time": NOW, "exp": NOW + 60});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let unsigned = |alg: &str, rest: &str| format!("{}.{}.{rest}", part(&json!({"alg": alg, "typ": "JWT"})), part(&claims));
        assert_eq!(at(firebase(true), &unsigned("none", ""), NOW), Ok(NOW + 120));
        for (alg, rest) in [("none", "AA"), ("None", ""), ("", ""), ("HS256", "")] {
            assert!(at(firebase(true), &unsigned(alg, rest), NOW).is_err(), "{alg} {rest}");
        }
        for rules in [firebase(false), rules(Preset::Plain), rules(Preset::BackstageServer), rules(Preset::BackstageExternal)] {
            assert_eq!(at(rules, &unsigned("none", ""), NOW), Err(Failed::NotOurs(Cause::Unknown)));
        }
        // The rules of its claims hold for it too.
        assert_eq!(at(firebase(true), &unsigned("none", ""), NOW + 120), refused(Cause::Expired));
    }

    #[test]
    fn only_a_certificates_thumbprint_binds_and_every_other_member_refuses() {
        let bound = |cnf: &str| bound(&Claims::parse(format!("{{\"cnf\":{cnf}}}").as_bytes()).unwrap());
        let thumbprint = URL_SAFE_NO_PAD.encode([7; 32]);
        assert_eq!(bound(&format!("{{\"x5t#S256\":\"{thumbprint}\"}}")), Ok(Some([7; 32])));
        assert_eq!(super::bound(&Claims::parse(b"{}").unwrap()), Ok(None));
        let (short, long) = (URL_SAFE_NO_PAD.encode([7; 31]), URL_SAFE_NO_PAD.encode([7; 33]));
        for text in [short, long, format!("{thumbprint}="), String::new()] {
            assert_eq!(bound(&format!("{{\"x5t#S256\":\"{text}\"}}")), Err(Cause::Bound), "{text}");
        }
        for other in ["null", "{}", "[]", "\"x\"", "1", "{\"jkt\":\"x\"}", "{\"x5t#S256\":1}", "{\"x\":1}"] {
            assert_eq!(bound(other), Err(Cause::Bound), "{other}");
        }
        assert_eq!(bound(&format!("{{\"x5t#S256\":\"{thumbprint}\",\"jkt\":\"x\"}}")), Err(Cause::Bound));
    }
}
