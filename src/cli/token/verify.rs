//! `scopegate token verify`: a JWT and the keys of a file into yes, or no and why.
//! Checks by the rules of `kind: jwt`; takes no algorithm that was not named.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde_json::Value;

use super::{contents, secret, secret_base64, standard_input, without_line_end};
use crate::config::quantity;
use crate::gate::unix_now;
use crate::jose::{Algorithm, Claims, Jws, Key, KeySet, Origin, Refusal};
use crate::principal::Cause;
use crate::principal::jwt::{BACKSTAGE_SUB, Failed, Jwt, MAX_LEEWAY, Parsed, Preset, Rules};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("key").required(true)))]
pub struct Verify {
    /// A JSON Web Key Set, or one JSON Web Key
    #[arg(long, value_name = "FILE", group = "key", value_parser = file)]
    jwks: Option<PathBuf>,
    /// A public key or certificate in PEM
    #[arg(long, value_name = "FILE", group = "key", value_parser = file)]
    pem: Option<PathBuf>,
    /// A shared secret, less one line end
    #[arg(long, value_name = "FILE", group = "key", value_parser = file)]
    secret_file: Option<PathBuf>,
    /// A shared secret in base64, as Backstage's
    #[arg(long, value_name = "FILE", group = "key", value_parser = file)]
    secret_base64_file: Option<PathBuf>,
    /// An algorithm that is allowed, such as RS256; several with commas, or given more than once
    #[arg(long, value_name = "ALG", required = true, value_delimiter = ',', value_parser = algorithm)]
    alg: Vec<Algorithm>,
    /// Check the signature alone; the payload may be anything
    #[arg(long, conflicts_with_all = ["issuer", "audience", "leeway", "typ"])]
    no_claims: bool,
    /// The `iss` that the token must have
    #[arg(long)]
    issuer: Option<String>,
    /// A name, of which the token's `aud` must have one; may be given more than once
    #[arg(long)]
    audience: Vec<String>,
    /// By how much clocks may differ, up to 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = leeway)]
    leeway: i64,
    /// The only `typ` that will do, such as `at+jwt`
    #[arg(long)]
    typ: Option<String>,
    /// Print the claims
    #[arg(long)]
    pub json: bool,
}

impl Verify {
    pub fn run(self) -> Result<bool, String> {
        let keys = self.keys()?;
        let text = standard_input()?;
        let token = without_line_end(&text);
        match self.check(token, keys, unix_now()) {
            Ok(payload) if self.json => println!("{payload:#}"),
            Ok(_) => println!("valid"),
            Err(reason) => return Err(format!("invalid: {reason}")),
        }
        Ok(true)
    }

    fn keys(&self) -> Result<KeySet, String> {
        if let Some(file) = &self.jwks {
            let read = KeySet::from_jwks(&contents(file)?, Origin::Local);
            let (keys, warnings) = read.map_err(|fault| format!("{} is no usable key set: {fault}", file.display()))?;
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            return Ok(keys);
        }
        if let Some(file) = &self.pem {
            return Key::from_pem(&contents(file)?).map(KeySet::single).map_err(|fault| format!("{} is no usable key: {fault}", file.display()));
        }
        let (secret, file) = match (&self.secret_file, &self.secret_base64_file) {
            (Some(file), _) => (secret(file)?, file),
            (None, Some(file)) => (secret_base64(file)?, file),
            (None, None) => return Err("there are no keys; name a file with --jwks".into()),
        };
        let least = self.alg.iter().map(|algorithm| algorithm.min_hmac()).max().unwrap_or_default();
        if secret.len() < least && self.secret_file.is_some() {
            eprintln!(
                "warning: {} holds a secret of {} bytes; a source of `kind: jwt` wants {least} for this algorithm",
                file.display(),
                secret.len()
            );
        }
        Ok(KeySet::single(Key::hmac(&secret)))
    }

    /// The payload, or why it does not count.
    fn check(&self, token: &str, keys: KeySet, now: i64) -> Result<Value, String> {
        let jws = Jws::parse(token).map_err(|fault| fault.as_str())?;
        keys.verify(&jws, &self.alg).map_err(|refusal| self.refused(&jws, refusal))?;
        let payload = serde_json::from_slice(jws.payload()).unwrap_or_else(|_| String::from_utf8_lossy(jws.payload()).into());
        if self.no_claims {
            return Ok(payload);
        }
        let claims = Claims::parse(jws.payload()).map_err(|fault| format!("{}; --no-claims checks the signature alone", fault.as_str()))?;
        let parsed = Parsed { jws, claims: claims.into() };
        let jwt = Jwt { keys: Arc::new(Arc::new(keys)), rules: self.rules(&parsed.claims) };
        let proof = jwt.prove(&parsed, now).map_err(|failed| self.failed(&parsed, failed))?;
        if proof.bound.is_some() {
            eprintln!("note: the token is bound to a client certificate (`cnf`), and counts with that alone");
        }
        Ok(payload)
    }

    fn rules(&self, claims: &Claims) -> Rules {
        let preset =
            if claims.text("sub") == Some(BACKSTAGE_SUB) && self.alg == [Algorithm::Hs256] { Preset::BackstageServer } else { Preset::Plain };
        Rules {
            algorithms: self.alg.as_slice().into(),
            typ: self.typ.as_deref().map(Box::from),
            issuer: self.issuer.as_deref().map(Box::from),
            audiences: self.audience.iter().map(|audience| audience.as_str().into()).collect(),
            leeway: self.leeway,
            max_lifetime: None,
            preset,
        }
    }

    fn refused(&self, jws: &Jws<'_>, refusal: Refusal) -> String {
        let allowed = self.alg.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(", ");
        match refusal {
            Refusal::Algorithm => {
                let said = jws.header.alg.map_or("none, or one that is not spoken here", Algorithm::as_str);
                format!("its algorithm is {said}; what is allowed and fits the key is {allowed}")
            }
            Refusal::UnknownKey => match &jws.header.kid {
                Some(kid) => format!("no key has the id `{}` that it names", kid.escape_debug()),
                None => "no key fits its algorithm".into(),
            },
            Refusal::AmbiguousKey => "several keys have the id that it names".into(),
            Refusal::Signature => "the signature does not hold".into(),
        }
    }

    /// The signature holds, and the claims do not.
    fn failed(&self, parsed: &Parsed<'_>, failed: Failed) -> String {
        let said = |name: &str| parsed.claims.get(name).map_or("absent".to_owned(), |value| format!("`{value}`"));
        let instant = |name: &str| parsed.claims.date(name).ok().flatten().and_then(|at| Timestamp::from_second(at).ok());
        match failed {
            Failed::NotOurs(Cause::Issuer) => format!("its issuer is {}, and not the one that --issuer names", said("iss")),
            Failed::NotOurs(_) => {
                let typ = parsed.jws.header.typ.as_deref().map_or("absent".into(), |typ| format!("`{}`", typ.escape_debug()));
                format!("it is another kind of token, by its `typ` ({typ}) or its `sub` and `aud`")
            }
            Failed::UnknownKey | Failed::NoKeys => "no key is its own".into(),
            Failed::Because(cause) => match cause {
                Cause::Expired => instant("exp").map_or_else(|| "it has expired".into(), |end| format!("it expired at {end}")),
                Cause::NotYetValid => "its `nbf` or `iat` is in the future".into(),
                Cause::Issuer => format!("its issuer is {}, and not the one that --issuer names", said("iss")),
                Cause::Audience => format!("its audience is {}, and none that --audience names", said("aud")),
                Cause::Claims if parsed.claims.get("exp").is_none() => "it has no `exp`, so that it would count for ever".into(),
                Cause::Claims => "a claim is absent or of another type than it must have".into(),
                Cause::Typ => "it is an ID token, which tells who logged in, and no access token; --typ takes it all the same".into(),
                Cause::Bound => "it is bound to a key (`cnf`) that a bearer cannot show".into(),
                other @ (Cause::Malformed
                | Cause::Unknown
                | Cause::Disabled
                | Cause::Signature
                | Cause::UnknownKey
                | Cause::Lifetime
                | Cause::Inactive
                | Cause::Revoked
                | Cause::NoProfile) => other.as_str().into(),
            },
        }
    }
}

/// Standard input has the token.
fn file(text: &str) -> Result<PathBuf, String> {
    if text == "-" { Err("standard input has the token; name a file".into()) } else { Ok(text.into()) }
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| format!("known are {}", Algorithm::ALL.map(Algorithm::as_str).join(", ")))
}

fn leeway(text: &str) -> Result<i64, String> {
    let seconds = quantity::duration(text).and_then(|duration| i64::try_from(duration.as_secs()).ok());
    seconds.filter(|seconds| *seconds <= MAX_LEEWAY).ok_or_else(|| "a leeway is a duration such as `30s`, up to `5m`".into())
}
